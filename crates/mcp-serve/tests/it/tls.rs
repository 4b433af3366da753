//! TLS: what is agreed on in handshakes, and everything that holds without it.

mod clients;
mod files;
mod reload;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Extension, Router, body::Body, routing};
use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mcp_serve::{
    Config,
    client::Client,
    test_util::{Authority, Issued, RawClient, TestServer, install, trusting},
    tls::{Files, Tls},
};
use rustls::{ClientConfig, ProtocolVersion, pki_types::ServerName};
use tempfile::TempDir;
use tokio::{net::TcpStream, sync::Notify};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::edge::start;

const SOON: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(20);

/// A root, a certificate of it in files, and a server that presents it.
struct Stage {
    root: Authority,
    folder: TempDir,
    files: Files,
    tls: Arc<Tls>,
    server: TestServer,
}

impl Stage {
    async fn new() -> Self {
        Self::with(|_| (), |_, _| ()).await
    }

    /// With settings, and with what a test does to the files before they are read.
    async fn with(
        set: impl FnOnce(&mut Config),
        prepare: impl FnOnce(&Authority, &mut Files),
    ) -> Self {
        let root = Authority::root("root");
        let folder = tempfile::tempdir().unwrap();
        let mut files = install(folder.path(), &root.issue());
        prepare(&root, &mut files);
        let tls = Arc::new(Tls::load(files.clone()).unwrap().look_every(SOON / 5));
        let mut config = Config {
            tls: Some(tls.clone()),
            ..Config::default()
        };
        set(&mut config);
        let server = start(routes(), config).await;
        Self {
            root,
            folder,
            files,
            tls,
            server,
        }
    }

    /// A client of HTTP/1.1 without a certificate.
    fn client(&self) -> Arc<ClientConfig> {
        self.client_with(None)
    }

    fn client_with(&self, own: Option<&Issued>) -> Arc<ClientConfig> {
        Arc::new(trusting(&self.root, own, &["http/1.1"]))
    }

    async fn connect(&self) -> RawClient {
        let connected = RawClient::connect_tls(self.server.addr(), self.client()).await;
        connected.unwrap()
    }

    /// What a handshake with `client` comes to.
    async fn shake(&self, client: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.server.addr()).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let shaking = TlsConnector::from(client).connect(name, stream);
        tokio::time::timeout(PATIENCE, shaking).await.unwrap()
    }
}

fn routes() -> Router {
    let told = Arc::new(Notify::new());
    let tells = told.clone();
    Router::new()
        .route("/hello", routing::get(|| async { "hello" }))
        .route(
            "/flood",
            routing::get(|| async { Body::from(vec![b'x'; 64 << 20]) }),
        )
        .route(
            "/who",
            routing::get(|Extension(client): Extension<Client>| async move { who(&client) }),
        )
        // A stream with an event for each call of `/tell`.
        .route(
            "/events",
            routing::get(move || async move {
                let events = stream::unfold(told, |told| async move {
                    told.notified().await;
                    Some((Ok::<_, std::io::Error>("data: told\n\n"), told))
                });
                (
                    [("content-type", "text/event-stream")],
                    Body::from_stream(events),
                )
            }),
        )
        .route(
            "/tell",
            routing::get(move || async move { tells.notify_one() }),
        )
}

fn who(client: &Client) -> String {
    let thumbprint = client.certificate.map(|bytes| {
        let hex = bytes.iter().map(|byte| format!("{byte:02x}"));
        hex.collect::<String>()
    });
    format!(
        "{} {} {}",
        client.scheme.as_str(),
        client.address,
        thumbprint.unwrap_or_default()
    )
}

#[tokio::test]
async fn http_1_and_http_2_are_agreed_on_by_alpn() {
    let stage = Stage::new().await;
    let answer = stage.connect().await.get("/who").await.unwrap();
    assert_eq!(
        (answer.status, answer.text().trim()),
        (200, "https 127.0.0.1")
    );

    let client = Arc::new(trusting(&stage.root, None, &["h2", "http/1.1"]));
    let stream = stage.shake(client).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("https://{}/who", stage.server.addr()));
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "https 127.0.0.1 ");
    drop(sender);

    let other = Arc::new(trusting(&stage.root, None, &["spdy/3"]));
    let refused = stage.shake(other).await.unwrap_err().to_string();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    let none = Arc::new(trusting(&stage.root, None, &[]));
    let mut client = RawClient::connect_tls(stage.server.addr(), none)
        .await
        .unwrap();
    assert_eq!(client.get("/hello").await.unwrap().text(), "hello");
    drop(client);
    assert!(stage.server.stop().await.is_clean());
}

#[tokio::test]
async fn versions_1_2_and_1_3_are_spoken_and_1_1_is_not() {
    let stage = Stage::new().await;
    for (version, name) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(stage.root.certificate()).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = stage.shake(Arc::new(client)).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(name));
        let mut client = RawClient::over(stream, stage.server.addr());
        assert_eq!(client.get("/hello").await.unwrap().status, 200);
    }
    // A hello of TLS 1.1 (RFC 4346 section 7.4.1.2): version, random bytes, no session, two suites,
    // no compression, and one extension: ECDSA with SHA-256 (RFC 5246 section 7.4.1.4.1).
    let mut body = vec![3, 2];
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0xc0, 0x13, 0, 0x2f, 1, 0]);
    body.extend([0, 8, 0, 13, 0, 4, 0, 2, 4, 3]);
    let length = u8::try_from(body.len()).unwrap();
    let mut hello = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    hello.extend(body);
    let mut client = stage.server.connect().await;
    client.send(&hello).await.unwrap();
    let answer = client.read_to_end().await.unwrap();
    let protocol_version = 70;
    assert_eq!(answer[0], 21, "{answer:?}");
    assert_eq!(answer[5..], [2, protocol_version]);
}

#[tokio::test]
async fn who_speaks_http_in_the_clear_is_told_what_is_expected() {
    let stage = Stage::new().await;
    let mut client = stage.server.connect().await;
    let answer = client.get("/hello").await.unwrap();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("https"), "{}", answer.text());
    assert!(client.is_closed_within(PATIENCE).await);
    // Anything else is left without a word.
    for bytes in [&b"\x80\x2e\x01\x03\x01"[..], b"\0", b"\xff\xff\xff"] {
        let mut client = stage.server.connect().await;
        client.send(bytes).await.unwrap();
        assert!(client.is_closed_within(PATIENCE).await, "{bytes:?}");
    }
    assert_eq!(
        stage.connect().await.get("/hello").await.unwrap().status,
        200
    );
}

#[tokio::test]
async fn a_handshake_that_does_not_begin_or_end_is_not_waited_for() {
    let short = |config: &mut Config| {
        config.limits.first_byte = 2 * SOON;
        config.limits.header_read = 2 * SOON;
    };
    let stage = Stage::with(short, |_, _| ()).await;
    let begun = Instant::now();
    let mut silent = stage.server.connect().await;
    let mut halfway = stage.server.connect().await;
    halfway.send(&[22, 3, 1, 1, 0, 1]).await.unwrap();
    assert!(silent.is_closed_within(PATIENCE).await);
    assert!(halfway.is_closed_within(PATIENCE).await);
    // One that shakes hands and then asks for nothing is not kept either.
    let mut secured = stage.connect().await;
    assert!(secured.is_closed_within(PATIENCE).await);
    assert!(begun.elapsed() >= 2 * SOON);
    let drained = stage.server.stop().await;
    assert!(drained.is_clean() && drained.took < PATIENCE, "{drained:?}");
}

#[tokio::test]
async fn handshakes_do_not_hold_the_drain() {
    let stage = Stage::new().await;
    let mut halfway = stage.server.connect().await;
    halfway.send(&[22, 3, 1, 1, 0, 1]).await.unwrap();
    let mut secured = stage.connect().await;
    let drained = stage.server.stop().await;
    assert!(drained.is_clean(), "{drained:?}");
    assert!(drained.took < Duration::from_secs(5), "{drained:?}");
    assert!(halfway.is_closed_within(PATIENCE).await);
    assert!(secured.is_closed_within(PATIENCE).await);
}

#[tokio::test]
async fn one_connection_too_many_gets_an_alert() {
    let stage = Stage::with(|config| config.limits.connections_max = 1, |_, _| ()).await;
    let mut first = stage.connect().await;
    assert_eq!(first.get("/hello").await.unwrap().status, 200);
    let refused = stage.shake(stage.client()).await.unwrap_err().to_string();
    assert!(refused.contains("InternalError"), "{refused}");
    assert_eq!(first.get("/hello").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut_off() {
    let stage = Stage::with(|config| config.limits.write_stall = 2 * SOON, |_, _| ()).await;
    let mut other = stage.connect().await;
    assert_eq!(other.get("/hello").await.unwrap().status, 200);
    let before = stage.server.lifecycle().tasks.len();
    let mut client = stage.connect().await;
    client
        .send_request("GET", "/flood", &[], b"")
        .await
        .unwrap();
    let begun = Instant::now();
    while stage.server.lifecycle().tasks.len() > before || begun.elapsed() < SOON {
        assert!(begun.elapsed() < PATIENCE, "the server waits for ever");
        tokio::time::sleep(SOON / 10).await;
    }
    assert!(client.read_response(false).await.is_err());
}

#[tokio::test]
async fn a_slow_reader_that_does_read_gets_everything() {
    let slow = |config: &mut Config| {
        config.limits.write_stall = PATIENCE;
        config.limits.keep_alive_idle = SOON;
    };
    let stage = Stage::with(slow, |_, _| ()).await;
    let mut client = stage.connect().await;
    client
        .send_request("GET", "/flood", &[], b"")
        .await
        .unwrap();
    tokio::time::sleep(3 * SOON).await;
    let head = client.read_head().await.unwrap();
    assert_eq!(head.header("content-length"), Some("67108864"));
    let body = client.read_to_end().await.unwrap();
    assert_eq!(body.len(), 64 << 20);
}

#[tokio::test]
async fn a_call_under_way_finishes_and_the_end_is_said_within_tls() {
    let (begun, may_end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, ends) = (begun.clone(), may_end.clone());
    let slow = Router::new().route(
        "/slow",
        routing::get(move || async move {
            begins.notify_one();
            ends.notified().await;
            "finished"
        }),
    );
    let root = Authority::root("root");
    let folder = tempfile::tempdir().unwrap();
    let tls = Tls::load(install(folder.path(), &root.issue())).unwrap();
    let config = Config {
        tls: Some(Arc::new(tls)),
        ..Config::default()
    };
    let mut server = start(slow, config).await;
    let client = Arc::new(trusting(&root, None, &["http/1.1"]));
    let mut client = RawClient::connect_tls(server.addr(), client).await.unwrap();
    client.send_request("GET", "/slow", &[], b"").await.unwrap();
    begun.notified().await;
    server.begin_stop();
    server.lifecycle().soft.cancelled().await;
    may_end.notify_one();
    assert_eq!(
        client.read_response(false).await.unwrap().text(),
        "finished"
    );
    // Without the alert `close_notify` this would be an error: the end could be an attacker's.
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    assert!(server.stop().await.is_clean());
}

#[tokio::test]
async fn an_idle_connection_ends_with_a_word() {
    let stage = Stage::with(|config| config.limits.keep_alive_idle = SOON, |_, _| ()).await;
    let mut client = stage.connect().await;
    assert_eq!(client.get("/hello").await.unwrap().status, 200);
    assert_eq!(client.read_to_end().await.unwrap(), b"");
}
