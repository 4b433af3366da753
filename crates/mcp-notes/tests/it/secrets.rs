//! Secrets and the text of notes stay where they belong, whatever goes wrong.

use std::{fs, process::Stdio, time::Duration};

use mcp_serve::test_util::{Legacy, Modern, RawClient};
use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    time::timeout,
};

use crate::process::{PATIENCE, command, run, signal, stderr, stdout};

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

async fn scenario(format: &str) {
    let folder = tempdir().unwrap();
    let vars = [
        ("LOG_LEVEL", "trace"),
        ("LOG_FORMAT", format),
        ("PORT", "0"),
        ("AUDIT_LOG", "audit.jsonl"),
        ("RUST_BACKTRACE", "full"),
        ("BODY_BYTES_MAX", "20000"),
        ("DRAIN_SECONDS", "1"),
    ];
    let mut command = command(folder.path(), &["serve"], &vars);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
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
    let mut err = child.stderr.take().unwrap();
    let reading = tokio::spawn(async move {
        let mut errors = String::new();
        let (a, b) = tokio::join!(
            out.read_to_string(&mut log),
            err.read_to_string(&mut errors)
        );
        a.unwrap();
        b.unwrap();
        log + &errors
    });

    let mut bodies = Bodies::default();
    let id = notes(address).await;
    failures(address, &id, &mut bodies).await;
    store_failure(address, folder.path(), &mut bodies).await;
    // A body that never comes to its end is cut by the drain.
    let mut stuck = RawClient::connect(address).await.unwrap();
    let head = format!(
        "POST /api/v1/notes HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{{\"title\":\"{}",
        canary("half")
    );
    stuck.send(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    signal(&child, "TERM").await;
    timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    let log = timeout(PATIENCE, reading).await.unwrap().unwrap();

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
async fn notes(address: std::net::SocketAddr) -> String {
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
async fn failures(address: std::net::SocketAddr, id: &str, bodies: &mut Bodies) {
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
async fn store_failure(
    address: std::net::SocketAddr,
    folder: &std::path::Path,
    bodies: &mut Bodies,
) {
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

#[tokio::test]
async fn no_command_shows_a_secret_of_the_settings() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("store");
    fs::write(&path, canary("bare")).unwrap();
    let path = path.to_str().unwrap();
    for store in [
        format!("mongodb://u:{CANARY}@h/n"),
        format!("mongodb://h/n?tlsCertificateKeyFilePassword={CANARY}"),
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
}
