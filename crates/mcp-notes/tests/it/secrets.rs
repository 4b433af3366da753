//! Secrets and the text of notes stay where they belong, whatever goes wrong.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use mcp_serve::test_util::{Legacy, Modern, RawClient};
use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, BufReader},
    process::Child,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::process::{PATIENCE, command, run, signal, stderr, stdout, text};

/// Every canary has this in it, and nothing else has.
const CANARY: &str = "c4n4ry";

/// What came back to clients where the text of notes has no place.
#[derive(Default)]
struct Bodies(Vec<(String, String)>);

impl Bodies {
    fn keep(&mut self, what: &str, body: String) {
        self.0.push((what.to_owned(), body));
    }
}

fn canary(what: &str) -> String {
    format!("{CANARY}{what}")
}

#[tokio::test]
async fn no_secret_or_note_text_reaches_any_log() {
    for format in ["json", "pretty"] {
        scenario(format).await;
    }
}

/// A server of which every word is kept.
struct Watched {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
    reading: [JoinHandle<()>; 2],
}

impl Watched {
    /// Starts a server that logs all it can, as `format`.
    async fn start(folder: &Path, format: &str, vars: &[(&str, &str)]) -> Self {
        let mut command = command(folder, &["serve"], vars);
        let loud = [
            ("LOG_LEVEL", "trace"),
            ("LOG_FORMAT", format),
            ("PORT", "0"),
            ("AUDIT_LOG", "audit.jsonl"),
            ("RUST_BACKTRACE", "full"),
            ("DRAIN_SECONDS", "1"),
        ];
        let mut child = command.envs(loud).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut log = String::new();
        let address = loop {
            let read = timeout(PATIENCE, out.read_line(&mut log)).await.unwrap();
            assert!(read.unwrap() > 0, "{log}");
            if let Some((_, rest)) = log.split_once("127.0.0.1:") {
                let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
                break format!("127.0.0.1:{port}").parse().unwrap();
            }
        };
        let err = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(log));
        let reading = [
            tokio::spawn(keep(out, Arc::clone(&log))),
            tokio::spawn(keep(err, Arc::clone(&log))),
        ];
        Self {
            child,
            address,
            log,
            reading,
        }
    }

    /// All that it has said by now.
    fn said(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// All that it said until it stopped.
    async fn stop(mut self) -> String {
        signal(&self.child, "TERM").await;
        let ended = timeout(PATIENCE, self.child.wait()).await.unwrap();
        assert!(ended.unwrap().success());
        for reading in &mut self.reading {
            timeout(PATIENCE, reading).await.unwrap().unwrap();
        }
        self.said()
    }
}

async fn keep(mut from: impl AsyncBufRead + Unpin, log: Arc<Mutex<String>>) {
    let mut line = String::new();
    while from.read_line(&mut line).await.unwrap() > 0 {
        log.lock().unwrap().push_str(&line);
        line.clear();
    }
}

async fn scenario(format: &str) {
    let folder = tempdir().unwrap();
    let vars = [("BODY_BYTES_MAX", "20000")];
    let watched = Watched::start(folder.path(), format, &vars).await;
    let address = watched.address;

    let mut bodies = Bodies::default();
    let id = notes(address).await;
    failures(address, &id, &mut bodies).await;
    store_failure(address, folder.path(), &mut bodies).await;
    // A body that never comes to its end is cut by the drain. The interim answer says that the server
    // has begun to read it.
    let mut stuck = RawClient::connect(address).await.unwrap();
    let head = format!(
        "POST /api/v1/notes HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: 500\r\nexpect: 100-continue\r\n\r\n"
    );
    stuck.send(head.as_bytes()).await.unwrap();
    assert_eq!(stuck.read_head().await.unwrap().status, 100);
    let half = format!("{{\"title\":\"{}", canary("half"));
    stuck.send(half.as_bytes()).await.unwrap();
    let log = watched.stop().await;

    let audit = fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    assert!(
        audit.contains("create_note") && audit.contains("\"unavailable\""),
        "{audit}"
    );
    assert!(log.contains("the notes store failed"), "{log}");
    for (what, text) in [("the log", &log), ("the audit log", &audit)] {
        let line = text.lines().find(|line| line.contains(CANARY));
        assert_eq!(line, None, "{what} ({format})");
    }
    for (what, body) in &bodies.0 {
        assert!(!body.contains(CANARY), "{what}: {body}");
    }
}

/// Notes that are full of canaries, and all that can be done with them.
async fn notes(address: SocketAddr) -> String {
    let mut mcp = Modern::new(address);
    let new =
        json!({ "title": canary("title"), "content": canary("text"), "tags": [canary("tag")] });
    let create = json!({ "name": "create_note", "arguments": new });
    let made = mcp.call("tools/call", create).await.unwrap().result();
    let id = made["structuredContent"]["id"].as_str().unwrap().to_owned();
    let update = json!({ "id": id, "content": canary("newer"), "expected_version": 7 });
    for (name, arguments) in [
        ("search_notes", json!({ "query": canary("query") })),
        (
            "list_notes",
            json!({ "title_prefix": canary("prefix"), "tag": canary("tag") }),
        ),
        ("update_note", update),
        ("get_note", json!({ "id": canary("id!") })),
        (
            "create_note",
            json!({ "title": 5, canary("member"): canary("value") }),
        ),
        (&canary("tool"), json!({})),
    ] {
        let call = json!({ "name": name, "arguments": arguments });
        mcp.call("tools/call", call).await.unwrap();
    }
    mcp.call("resources/read", json!({ "uri": canary("://uri") }))
        .await
        .unwrap();
    mcp.call(&canary("/method"), json!({})).await.unwrap();
    let complete = json!({ "ref": { "type": "ref/resource", "uri": "note:///{id}" },
        "argument": { "name": "id", "value": canary("typed") } });
    mcp.call("completion/complete", complete).await.unwrap();
    let mut legacy = Legacy::initialize(address, "2025-11-25").await.unwrap();
    let get = json!({ "name": "get_note", "arguments": { "id": id } });
    legacy.call("tools/call", get).await.unwrap();
    id
}

/// Requests with secrets in every place, all of which are refused or fail.
async fn failures(address: SocketAddr, id: &str, bodies: &mut Bodies) {
    let secret = canary("secret");
    let bearer = format!("Bearer {secret}");
    let cookie = format!("session={secret}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("cookie", cookie.as_str()),
        ("mcp-session-id", secret.as_str()),
        ("x-api-key", secret.as_str()),
        ("content-type", "application/json"),
    ];
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let broken = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","{secret}"#);
    let large = format!("{{\"title\":\"{}\"}}", secret.repeat(3000));
    let note = format!("/api/v1/notes/{id}");
    for (what, method, path, body) in [
        (
            "a token in the query",
            "GET",
            format!("/api/v1/notes?access_token={secret}"),
            "",
        ),
        (
            "a token in the query of mcp",
            "POST",
            format!("/mcp?access_token={secret}"),
            list,
        ),
        ("a session that is not", "POST", "/mcp".into(), list),
        (
            "a body that is not JSON",
            "POST",
            "/mcp".into(),
            broken.as_str(),
        ),
        (
            "a note that is too large",
            "POST",
            "/api/v1/notes".into(),
            large.as_str(),
        ),
        ("a change that is not JSON", "PATCH", note, broken.as_str()),
        ("health", "GET", "/health".into(), ""),
        ("ready", "GET", "/readyz".into(), ""),
    ] {
        let mut client = RawClient::connect(address).await.unwrap();
        let answer = client
            .request(method, &path, &headers, body.as_bytes())
            .await;
        bodies.keep(what, answer.unwrap().text());
    }
    let hosted = [("host", "evil.example"), ("authorization", bearer.as_str())];
    let mut client = RawClient::connect(address).await.unwrap();
    let answer = client
        .request("GET", &format!("/{secret}"), &hosted, b"")
        .await;
    bodies.keep("another host", answer.unwrap().text());
    let mut client = RawClient::connect(address).await.unwrap();
    let line = format!("GET /{secret} HTTP/9.9\r\n{secret}\r\n\r\n");
    client.send(line.as_bytes()).await.unwrap();
    if let Ok(answer) = client.read_response(false).await {
        bodies.keep("what is no HTTP", answer.text());
    }
}

/// Writing while the database is held by another.
async fn store_failure(address: SocketAddr, folder: &Path, bodies: &mut Bodies) {
    let db = rusqlite::Connection::open(folder.join("data/notes.db")).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let body = json!({ "title": canary("lost"), "content": canary("lost") }).to_string();
    let mut client = RawClient::connect(address).await.unwrap();
    let json = [("content-type", "application/json")];
    let answer = client
        .request("POST", "/api/v1/notes", &json, body.as_bytes())
        .await;
    let answer = answer.unwrap();
    assert_eq!(answer.status, 503);
    bodies.keep("a store that is busy", answer.text());
    let mut mcp = Modern::new(address);
    let note = json!({ "title": canary("lost"), "content": canary("lost") });
    let call = json!({ "name": "create_note", "arguments": note });
    let answer = mcp.call("tools/call", call).await.unwrap().result();
    assert_eq!(answer["isError"], Value::Bool(true));
    bodies.keep("a tool without its store", answer.to_string());
}

/// Makes a token.
async fn token(folder: &Path, args: &[&str]) -> (String, String) {
    let args = [&["token", "create", "--owner", "ann"], args].concat();
    let made = run(folder, &args, &[("AUTH_MODE", "token")]).await;
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    (stdout(&made).trim().to_owned(), stderr(&made))
}

#[tokio::test]
async fn no_token_reaches_any_log_or_answer() {
    for (format, in_file) in [("json", false), ("pretty", true)] {
        let folder = tempdir().unwrap();
        let file = folder.path().join("tokens");
        let mut vars = vec![("AUTH_MODE", "token")];
        let mut good_args = vec!["--name", "good"];
        if in_file {
            vars.push(("TOKENS_FILE", text(&file)));
            good_args.push("--file-line");
        }
        let (good, line) = token(folder.path(), &good_args).await;
        let (revoked, _) = token(folder.path(), &["--name", "revoked"]).await;
        let gone = run(folder.path(), &["token", "revoke", "revoked"], &vars[..1]).await;
        assert_eq!(gone.status.code(), Some(0), "{}", stderr(&gone));
        if in_file {
            fs::write(&file, line).unwrap();
        }
        let last = if good.ends_with('x') { "y" } else { "x" };
        let mistyped = format!("{}{last}", &good[..good.len() - 1]);
        let watched = Watched::start(folder.path(), format, &vars).await;
        let mut bodies = Bodies::default();
        for (what, token, status) in [
            ("good", &good, 200),
            ("revoked", &revoked, 401),
            ("mistyped", &mistyped, 401),
        ] {
            present(watched.address, (what, token), status, &mut bodies).await;
        }
        if in_file {
            // A token where its hash should be: the next requests find the file changed, and wrong.
            fs::write(&file, format!("{good} a b c never\n{revoked}\n")).unwrap();
            let until = Instant::now() + PATIENCE;
            while !watched.said().contains("tokens file is not right") {
                assert!(Instant::now() < until, "{}", watched.said());
                let bearer = format!("Bearer {good}");
                let headers = [("authorization", bearer.as_str())];
                let mut client = RawClient::connect(watched.address).await.unwrap();
                let answer = client.request("GET", "/api/v1/notes", &headers, b"");
                assert_eq!(answer.await.unwrap().status, 200);
                sleep(Duration::from_millis(50)).await;
            }
        }
        let log = watched.stop().await;
        let audit = fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
        for word in ["list_notes", "\"checksum\"", "unknown_tool"] {
            assert!(audit.contains(word), "{word}: {audit}");
        }
        for token in [&good, &revoked, &mistyped] {
            // Neither a token nor half of its random part.
            for piece in [&token[5..26], &token[26..48]] {
                for (what, text) in [("the log", &log), ("the audit log", &audit)] {
                    let line = text.lines().find(|line| line.contains(piece));
                    assert_eq!(line, None, "{what} ({format})");
                }
                for (what, body) in &bodies.0 {
                    assert!(!body.contains(piece), "{what}: {body}");
                }
            }
        }
    }
}

/// Presents a token where it belongs, which gives `status`, and everywhere else.
async fn present(
    address: SocketAddr,
    (what, token): (&str, &str),
    status: u16,
    bodies: &mut Bodies,
) {
    let bearer = format!("Bearer {token}");
    let basic = format!("Basic {token}");
    let cookie = format!("token={token}");
    let note = format!("/api/v1/notes/{token}");
    let query = format!("/api/v1/notes?access_token={token}");
    let search = format!("/api/v1/notes?query={token}");
    for (place, path, header, expected) in [
        (
            "its place",
            "/api/v1/notes",
            Some(("authorization", &bearer)),
            Some(status),
        ),
        (
            "another scheme",
            "/api/v1/notes",
            Some(("authorization", &basic)),
            Some(401),
        ),
        (
            "a cookie",
            "/api/v1/notes",
            Some(("cookie", &cookie)),
            Some(401),
        ),
        ("the query", query.as_str(), None, None),
        (
            "the query beside its place",
            &query,
            Some(("authorization", &bearer)),
            Some(400),
        ),
        ("a search", &search, Some(("authorization", &bearer)), None),
        ("the path", &note, Some(("authorization", &bearer)), None),
    ] {
        let headers: Vec<_> = header
            .iter()
            .map(|(name, it)| (*name, it.as_str()))
            .collect();
        let mut client = RawClient::connect(address).await.unwrap();
        let answer = client.request("GET", path, &headers, b"").await.unwrap();
        let body = answer.text();
        if let Some(expected) = expected {
            assert_eq!(answer.status, expected, "{what} in {place}: {body}");
        }
        // What a path says is told back to who said it.
        if place != "the path" {
            bodies.keep(&format!("{what} in {place}"), body);
        }
    }
    let mut mcp = Modern::new(address);
    mcp.headers.push(("Authorization".into(), bearer));
    let list = json!({ "name": "list_notes", "arguments": {} });
    let answer = mcp.call("tools/call", list).await.unwrap();
    assert_eq!(answer.status(), status, "{what}");
    let odd = json!({ "name": "get_note", "arguments": { "id": token } });
    mcp.call("tools/call", odd).await.unwrap();
    let odd = json!({ "name": token, "arguments": {} });
    mcp.call("tools/call", odd).await.unwrap();
    mcp.call(token, json!({})).await.unwrap();
}

#[tokio::test]
async fn no_command_shows_a_secret_of_the_settings() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("store");
    fs::write(&path, canary("bare")).unwrap();
    let path = path.to_str().unwrap();
    for store in [
        format!("mongodb://u:{CANARY}@h/n?w=0"),
        format!("mongodb://u:{CANARY}@h:port/n"),
        format!("mongodb://h/n?tlsCertificateKeyFilePassword={CANARY}&w=0"),
        format!("sqlite://u:{CANARY}@nowhere/at/all/"),
        canary("bare"),
    ] {
        for vars in [
            [("NOTES_STORE", store.as_str()), ("LOG_LEVEL", "trace")],
            [("NOTES_STORE_FILE", path), ("LOG_LEVEL", "trace")],
        ] {
            for args in [
                &["config"][..],
                &["config", "--json"],
                &["serve"],
                &["stdio"],
            ] {
                let done = run(folder.path(), args, &vars).await;
                assert_eq!(done.status.code(), Some(78), "{}", stderr(&done));
                let shown = stdout(&done) + &stderr(&done);
                assert!(!shown.contains(CANARY), "{args:?}: {shown}");
            }
        }
    }
    // The password of a client, within settings that are right and beside one that is wrong.
    let secret = canary("client");
    let file = folder.path().join("client");
    fs::write(&file, format!("{secret}\n")).unwrap();
    for given in [
        ("OAUTH_INTROSPECTION_CLIENT_SECRET", secret.as_str()),
        ("OAUTH_INTROSPECTION_CLIENT_SECRET_FILE", text(&file)),
    ] {
        for (drain, status) in [("1", 0), ("soon", 78)] {
            let vars = [
                ("AUTH_MODE", "oauth"),
                ("OAUTH_ISSUERS", "http://127.0.0.1:9"),
                ("PUBLIC_URL", "http://127.0.0.1:3000"),
                ("OAUTH_INTROSPECTION_CLIENT_ID", "client"),
                ("ALLOW_PLAIN_HTTP", "true"),
                given,
                ("DRAIN_SECONDS", drain),
            ];
            for args in [&["config"][..], &["config", "--json"]] {
                let done = run(folder.path(), args, &vars).await;
                assert_eq!(done.status.code(), Some(status), "{}", stderr(&done));
                let shown = stdout(&done) + &stderr(&done);
                assert!(!shown.contains(CANARY), "{args:?}: {shown}");
                assert!(status != 0 || shown.contains("CLIENT_SECRET"), "{shown}");
            }
        }
    }
}
