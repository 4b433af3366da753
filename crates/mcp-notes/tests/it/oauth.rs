//! The server as its people meet it with `AUTH_MODE=oauth`: a real authorization server beside it, and
//! the OAuth flow of an official client in front.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use axum::{Router, routing};
use mcp_serve::test_util::{RawClient, TestServer, tool};
use rmcp::ServerHandler;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::process::{PATIENCE, Served, run, stderr};

/// Longer than a run takes on a busy machine.
const DRIVER_PATIENCE: Duration = Duration::from_mins(3);

/// The steps of `oauth/drive.mjs`.
const STEPS: usize = 9;

fn script(name: &str) -> std::path::PathBuf {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    clients.join("oauth").join(name)
}

/// A process of oidc-provider; it is gone when this is dropped.
struct Provider {
    issuer: String,
    _process: Child,
}

impl Provider {
    async fn start() -> Self {
        let mut process = Command::new(tool("node"))
            .arg(script("provider.mjs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
        let issuer = line.expect("the provider says where it is");
        Self {
            issuer,
            _process: process,
        }
    }
}

/// An address that is known before the server that is behind it: its public URL is a setting.
struct Front {
    address: SocketAddr,
    behind: watch::Sender<Option<SocketAddr>>,
    _task: JoinHandle<()>,
}

impl Front {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (behind, target) = watch::channel(None);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let mut target = target.clone();
                connections.spawn(async move {
                    let known = target.wait_for(Option::is_some).await;
                    let Ok(Some(address)) = known.map(|address| *address) else {
                        return;
                    };
                    if let Ok(mut server) = TcpStream::connect(address).await {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self {
            address,
            behind,
            _task: task,
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_client_gets_a_token_steps_up_and_survives_new_keys() {
    let (provider, front) = (Provider::start().await, Front::open().await);
    let folder = tempfile::tempdir().unwrap();
    let url = front.url();
    let vars = [
        ("AUTH_MODE", "oauth"),
        ("OAUTH_ISSUERS", provider.issuer.as_str()),
        ("OAUTH_TYPED_TOKENS", "true"),
        ("PUBLIC_URL", url.as_str()),
        ("LOG_LEVEL", "trace"),
    ];
    let server = Served::start(folder.path(), &vars).await;
    front.behind.send_replace(Some(server.address));
    let run = Command::new(tool("node"))
        .arg(script("drive.mjs"))
        .args([format!("{url}/mcp"), provider.issuer.clone()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let run = timeout(DRIVER_PATIENCE, run)
        .await
        .expect("the driver ends in time")
        .unwrap();
    let report = String::from_utf8_lossy(&run.stdout);
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{report}\n{errors}");
    let done = report.lines().filter(|line| line.starts_with("ok "));
    assert_eq!(done.count(), STEPS, "{report}");
    let (status, log) = server.stop().await;
    assert!(status.success());
    for line in log {
        let line = line.to_string();
        assert!(!line.contains("eyJ"), "a token in the log: {line}");
    }
}

/// The server of an issuer speaks no MCP.
#[derive(Clone)]
struct Nothing;

impl ServerHandler for Nothing {}

/// What `client_secret_basic` makes of the client `notes` with the password `sesame`.
const LOGIN: &str = "bm90ZXM6c2VzYW1l";

#[tokio::test]
async fn an_opaque_token_is_looked_up_and_nothing_secret_is_logged() {
    let said = |headers: http::HeaderMap| async move {
        let login = headers.get("authorization").unwrap();
        assert_eq!(login, &format!("Basic {LOGIN}"));
        let said = json!({
            "active": true,
            "sub": "alice",
            "aud": "http://127.0.0.1:9/mcp",
            "exp": jiff::Timestamp::now().as_second() + 300,
            "scope": "notes:read",
        });
        ([("content-type", "application/json")], said.to_string())
    };
    let routes = Router::new().route("/introspect", routing::post(said));
    let issuer = TestServer::start(|| Nothing, routes, mcp_serve::Config::default()).await;
    let (folder, url) = (tempfile::tempdir().unwrap(), issuer.url());
    let endpoint = format!("{url}/introspect");
    let vars = [
        ("AUTH_MODE", "oauth"),
        ("OAUTH_ISSUERS", url.as_str()),
        ("OAUTH_INTROSPECTION_URL", endpoint.as_str()),
        ("OAUTH_INTROSPECTION_CLIENT_ID", "notes"),
        ("OAUTH_INTROSPECTION_CLIENT_SECRET", "sesame"),
        ("PUBLIC_URL", "http://127.0.0.1:9"),
        ("LOG_LEVEL", "trace"),
    ];
    let server = Served::start(folder.path(), &vars).await;
    let mut client = RawClient::connect(server.address).await.unwrap();
    let headers = [("Authorization", "Bearer opaque-token")];
    let path = "/api/v1/notes";
    let answer = client.request("GET", path, &headers, b"").await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let (status, log) = server.stop().await;
    assert!(status.success());
    assert!(!log.is_empty());
    for line in log {
        let line = line.to_string();
        for secret in ["opaque-token", "sesame", LOGIN] {
            assert!(!line.contains(secret), "{line}");
        }
    }
}

#[tokio::test]
async fn certificates_of_authorities_that_cannot_be_read_stop_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("issuers.pem");
    let vars = [
        ("AUTH_MODE", "oauth"),
        ("OAUTH_ISSUERS", "https://login.example.com"),
        ("PUBLIC_URL", "https://notes.example.com"),
        ("OAUTH_CA_PATH", path.to_str().unwrap()),
        ("PORT", "0"),
    ];
    for wrong in [None, Some("no certificate")] {
        if let Some(text) = wrong {
            std::fs::write(&path, text).unwrap();
        }
        let output = run(folder.path(), &["serve"], &vars).await;
        assert!(!output.status.success());
        let told = stderr(&output);
        assert!(told.contains("OAUTH_CA_PATH"), "{told}");
        assert!(told.contains("issuers.pem"), "{told}");
    }
}
