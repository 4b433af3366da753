//! What the log says of a request, and what it never says.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, body::Bytes, routing};
use mcp_serve::Config;
use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

use super::edge::start;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The access lines.
    fn access(&self) -> Vec<Value> {
        let text = self.text();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .filter(|line| line["target"] == "mcp_serve::access")
            .map(|line| line["fields"].clone())
            .collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The log of this thread at the level `trace`, the most that can ever be written.
fn log() -> (Lines, tracing::subscriber::DefaultGuard) {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(lines.clone())
        .finish();
    (lines, tracing::subscriber::set_default(subscriber))
}

fn routes() -> Router {
    Router::new().route("/items/{id}", routing::post(|_: Bytes| async { "stored" }))
}

#[tokio::test]
async fn every_request_has_one_line_with_the_template_of_its_route() {
    let (lines, _guard) = log();
    let server = start(routes(), Config::default()).await;
    let mut client = server.connect().await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let headers = [("X-Request-Id", "r-1"), ("traceparent", parent.as_str())];
    client
        .request("POST", "/items/7?q=1", &headers, b"x")
        .await
        .unwrap();
    client
        .request("GET", "/nowhere/at/all", &[], b"")
        .await
        .unwrap();
    client
        .request("POST", "/mcp/", &[("Host", "evil.example")], b"")
        .await
        .unwrap();
    assert!(server.stop().await.is_clean());

    let access = lines.access();
    assert_eq!(access.len(), 3, "{access:?}");
    assert_eq!(access[0]["method"], "POST");
    assert_eq!(access[0]["route"], "/items/{id}");
    assert_eq!(access[0]["status"], 200);
    assert_eq!(access[0]["bytes"], 6);
    assert_eq!(access[0]["request_id"], "r-1");
    assert_eq!(access[0]["trace_id"], trace);
    assert!(access[0]["duration_us"].is_u64());
    assert_eq!(
        (&access[1]["route"], &access[1]["status"]),
        (&"unmatched".into(), &404.into())
    );
    assert_eq!(
        (&access[2]["route"], &access[2]["status"]),
        (&"/mcp".into(), &403.into())
    );
}

#[tokio::test]
async fn a_client_that_goes_before_its_answer_is_logged_too() {
    let (lines, _guard) = log();
    let begun = Arc::new(tokio::sync::Semaphore::new(0));
    let in_begun = begun.clone();
    let handler = move || async move {
        in_begun.add_permits(1);
        std::future::pending::<()>().await;
    };
    let server = start(
        Router::new().route("/wait", routing::get(handler)),
        Config::default(),
    )
    .await;
    let mut client = server.connect().await;
    client.send_request("GET", "/wait", &[], b"").await.unwrap();
    begun.acquire().await.unwrap().forget();
    drop(client);
    assert!(server.stop().await.is_clean());
    assert_eq!(lines.access()[0]["status"], 499);
}

#[tokio::test]
async fn no_query_body_token_or_session_reaches_the_log() {
    let (lines, _guard) = log();
    let server = start(routes(), Config::default()).await;
    let headers = [
        ("Authorization", "Bearer SECRET-token"),
        ("Cookie", "SECRET-cookie"),
        ("Mcp-Session-Id", "SECRET-session"),
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
    ];
    let body = br#"{"jsonrpc":"2.0","id":"SECRET-id","method":"tools/call","params":{"name":"create_note","arguments":{"content":"SECRET-text"}}}"#;
    for path in [
        "/items/SECRET-path?token=SECRET-query",
        "/mcp?token=SECRET-query",
        "/SECRET-path",
    ] {
        server
            .connect()
            .await
            .request("POST", path, &headers, body)
            .await
            .unwrap();
    }
    assert!(server.stop().await.is_clean());
    let text = lines.text();
    assert_eq!(lines.access().len(), 3);
    let ours = text
        .lines()
        .filter(|line| line.contains("\"target\":\"mcp_serve"));
    for line in ours {
        assert!(!line.contains("SECRET"), "{line}");
    }
}
