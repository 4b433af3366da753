//! Log injection: what a client sends must neither forge a line nor colour a terminal.

use std::{path::Path, process::Stdio};

use mcp_serve::test_util::{Legacy, Modern, RawClient, post};
use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    time::timeout,
};

use crate::process::{PATIENCE, Served, command, signal};

/// A line that nobody has written, in colours, with what JSON and terminals take for an end.
const FORGED: &str = "x\r\n{\"level\":\"info\",\"msg\":\"FORGED\"}\n\u{1b}[31mFORGED\u{1b}[0m\u{9b}31m\
     \u{7}\u{8}\u{0}\u{85}\u{2028}\u{202e}\"}\\";

/// Sends the forged line wherever something may be logged.
async fn attack(address: std::net::SocketAddr) {
    let raw = [
        // What is no HTTP.
        "GET\u{1b}[31mFORGED / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /\u{1b}[31mFORGED HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "FORGED\r\n\r\n",
        // What is.
        "FORGED /FORGED HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /%0d%0aFORGED%1b%5b31m HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /api/v1/notes/%0aFORGED HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /api/v1/notes?tag=%0aFORGED HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: FORGED.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://FORGED\r\n\r\n",
    ];
    for bytes in raw {
        let mut client = RawClient::connect(address).await.unwrap();
        client.send(bytes.as_bytes()).await.unwrap();
        client.read_response(false).await.unwrap();
    }
    for name in [
        "X-Request-Id",
        "traceparent",
        "tracestate",
        "User-Agent",
        "Referer",
        "X-Forwarded-For",
        "Forwarded",
        "Authorization",
        "Mcp-Session-Id",
        "MCP-Protocol-Version",
        "Mcp-Method",
        "Mcp-Name",
        "Last-Event-ID",
        "Content-Type",
    ] {
        for value in ["FORGED\t\u{80}\u{9b}31m", "\"}FORGED{\"", "%0aFORGED"] {
            let mut client = RawClient::connect(address).await.unwrap();
            let headers = [(name, value)];
            let answer = client.request("POST", "/mcp", &headers, b"FORGED").await;
            assert!(answer.unwrap().status < 500, "{name}");
        }
    }
    let mut modern = Modern::new(address);
    let mut legacy = Legacy::initialize(address, "2025-11-25").await.unwrap();
    for (method, params) in [
        (FORGED, json!({})),
        ("tools/call", json!({"name": FORGED, "arguments": {}})),
        (
            "tools/call",
            json!({"name": "get_note", "arguments": {FORGED: FORGED}}),
        ),
        ("prompts/get", json!({"name": FORGED})),
        ("resources/read", json!({"uri": FORGED})),
        ("resources/subscribe", json!({"uri": FORGED})),
        ("completion/complete", json!({"ref": {"type": FORGED}})),
    ] {
        let mut body = legacy.body(method, params.clone());
        body["id"] = json!(FORGED);
        legacy.post(&body).await.unwrap();
        let (mut headers, mut body) = modern.request("ping", params);
        headers.retain(|(name, _)| name != "Mcp-Method");
        body["method"] = json!(method);
        body["params"]["_meta"]["io.modelcontextprotocol/clientInfo"] =
            json!({"name": FORGED, "version": FORGED});
        post(address, "/mcp", &headers, &body).await.unwrap();
    }
    legacy
        .notify(FORGED, json!({"reason": FORGED}))
        .await
        .unwrap();
    let cancel = json!({"requestId": FORGED, "reason": FORGED});
    legacy
        .notify("notifications/cancelled", cancel)
        .await
        .unwrap();
    let answer = json!({"jsonrpc": "2.0", "id": FORGED, "result": {}});
    legacy.post(&answer).await.unwrap();
    let client = json!({"protocolVersion": FORGED, "capabilities": {},
        "clientInfo": {"name": FORGED, "version": FORGED}});
    legacy.call("initialize", client).await.unwrap();
    let note =
        json!({"name": "create_note", "arguments": {"title": "FORGED", "content": "FORGED\n"}});
    assert_eq!(legacy.call("tools/call", note).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_forged_line_stays_out_of_the_log_for_machines() {
    let folder = tempdir().unwrap();
    let vars = [("LOG_LEVEL", "trace"), ("AUDIT_LOG", "stdout")];
    let served = Served::start(folder.path(), &vars).await;
    attack(served.address).await;
    // Every line is read as JSON on the way.
    let (_, log) = served.stop().await;
    let audited = log.iter().filter(|line| line["target"] == "audit").count();
    assert!(audited > 0 && log.len() > audited + 50, "{audited} {log:?}");
    for line in log {
        let is_whole = line["ts"].is_string() || line["time"].is_string();
        assert!(is_whole && line["target"].is_string(), "{line}");
        assert_clean(&line.to_string());
        for value in line.as_object().unwrap().values() {
            assert_clean(value.as_str().unwrap_or_default());
        }
    }
}

/// Neither a word of the attacker's nor a character that means something to a terminal.
fn assert_clean(line: &str) {
    // The method of HTTP is any word without spaces, and is logged as one.
    let line = line.replace("\"method\":\"FORGED\"", "");
    let line = line.replace("method=\"FORGED\"", "");
    assert!(line == "FORGED" || !line.contains("FORGED"), "{line:?}");
    let is_evil = |c: char| c.is_control() && c != '\t' || "\u{2028}\u{202e}".contains(c);
    assert!(!line.contains(is_evil), "{line:?}");
}

#[tokio::test]
async fn a_forged_line_stays_out_of_the_log_for_people() {
    let folder = tempdir().unwrap();
    let lines = log_for_people(folder.path()).await;
    assert!(lines.len() > 50, "{lines:?}");
    for line in lines {
        // A time, a level and a target begin every line.
        let mut words = line.split_whitespace();
        let time = words.next().unwrap_or_default();
        assert!(time.starts_with("20") && time.ends_with('Z'), "{line:?}");
        let level = words.next().unwrap_or_default();
        let levels = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"];
        assert!(levels.contains(&level), "{line:?}");
        assert_clean(&line);
    }
}

async fn log_for_people(folder: &Path) -> Vec<String> {
    let vars = [
        ("PORT", "0"),
        ("LOG_FORMAT", "pretty"),
        ("LOG_LEVEL", "trace"),
    ];
    let mut command = command(folder, &["serve"], &vars);
    let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    while !first.contains("listening") {
        let read = timeout(PATIENCE, out.read_line(&mut first));
        assert_ne!(read.await.unwrap().unwrap(), 0, "{first}");
    }
    let address = first.split("address=").nth(1).unwrap();
    let address = address.split_whitespace().next().unwrap();
    let address = address.parse().unwrap();
    let rest = tokio::spawn(async move {
        let mut rest = Vec::new();
        out.read_to_end(&mut rest).await.unwrap();
        String::from_utf8(rest).expect("a log of UTF-8")
    });
    attack(address).await;
    signal(&child, "TERM").await;
    let rest = timeout(PATIENCE, rest).await.unwrap().unwrap();
    // Only a line feed ends a line; what else could is looked for in the lines.
    let lines = rest.split('\n').filter(|line| !line.is_empty());
    lines.map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn an_answer_never_repeats_what_could_be_taken_for_a_header_or_an_event() {
    let folder = tempdir().unwrap();
    let served = Served::start(folder.path(), &[]).await;
    let split = "x\r\nSet-Cookie: FORGED=1\r\n\r\nid: FORGED\ndata: {}\n\n";
    let mut legacy = Legacy::initialize(served.address, "2025-11-25")
        .await
        .unwrap();
    legacy.headers = vec![("Accept".to_owned(), "text/event-stream".to_owned())];
    let note = json!({"name": "create_note", "arguments": {"title": "a", "content": split.replace('\r', "")}});
    let mut body = legacy.body("tools/call", note);
    body["id"] = json!(split);
    let mut headers = legacy.session_headers();
    headers.retain(|(name, value)| name != "Accept" || !value.contains("json"));
    let answer = post(served.address, "/mcp", &headers, &body).await.unwrap();
    assert_eq!(
        answer.head.header("content-type"),
        Some("text/event-stream")
    );
    assert_eq!(answer.head.header("set-cookie"), None);
    // One message, and its id as it was.
    assert_eq!(answer.messages.len(), 1, "{answer:?}");
    assert_eq!(answer.last()["id"], json!(split));
    let id = answer.result()["structuredContent"]["id"].clone();
    assert_ne!(id, Value::Null);
    let path = "/api/v1/notes/%0d%0aSet-Cookie:%20FORGED=1";
    let mut client = RawClient::connect(served.address).await.unwrap();
    let answer = client.get(path).await.unwrap();
    assert_eq!(answer.header("set-cookie"), None);
}
