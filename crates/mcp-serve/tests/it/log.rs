//! What the log says of a request, and what it never says.

use std::{
    io,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, body::Bytes, routing};
use mcp_serve::{Config, telemetry, test_util::TestServer};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ServerCapabilities,
        ServerConfig, Tool,
    },
    service::RequestContext,
};
use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};
use tracing::Dispatch;
use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt};

use super::edge::start;

#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(crate) fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The access lines.
    pub(crate) fn access(&self) -> Vec<Value> {
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

/// While there is one subscriber alone, what a thread without it comes upon first is written for nobody.
static ANOTHER: LazyLock<Dispatch> =
    LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));

/// The log of this thread at the level `trace`, the most that can ever be written.
pub(crate) fn log() -> (Lines, tracing::subscriber::DefaultGuard) {
    LazyLock::force(&ANOTHER);
    let lines = Lines::default();
    let layer = tracing_subscriber::fmt::layer()
        .json()
        .with_writer(lines.clone());
    let subscriber = tracing_subscriber::registry()
        .with(telemetry::filter("trace".parse().unwrap()))
        .with(layer);
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
    client.get("/nowhere/at/all").await.unwrap();
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

/// A handler with a tool that takes short texts and one that panics with what it was told.
#[derive(Clone)]
struct Talker;

impl ServerHandler for Talker {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        let schema = json!({
            "type": "object",
            "properties": { "content": { "type": "string", "maxLength": 100 } },
        });
        let known = ["say", "panic"].into_iter().find(|known| *known == name)?;
        let schema = schema.as_object().cloned()?;
        Some(Tool::new(known, "A tool", Arc::new(schema)))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let content = arguments["content"].as_str().unwrap_or_default();
        match request.name.as_ref() {
            "say" => Ok(CallToolResult::success(vec![ContentBlock::text(content)]).into()),
            "panic" => panic!("as asked with {content}"),
            _ => Err(ErrorData::invalid_params("Unknown tool", None)),
        }
    }
}

#[tokio::test]
async fn no_query_body_token_or_session_reaches_the_log() {
    let (lines, _guard) = log();
    let server = TestServer::start(|| Talker, routes(), Config::default()).await;
    let mut client = server.legacy("2025-11-25").await;
    client.path = "/mcp?token=SECRET-query".to_owned();
    client.headers = vec![
        ("Authorization".to_owned(), "Bearer SECRET-token".to_owned()),
        ("Cookie".to_owned(), "SECRET-cookie".to_owned()),
    ];
    let session = client.session.clone().unwrap();
    let too_long = "SECRET-".repeat(20);
    let calls = [
        ("say", "SECRET-text"),
        ("say", &too_long),
        ("panic", "SECRET-text"),
        ("SECRET-tool", "SECRET-text"),
    ];
    let mut seen = Vec::new();
    for (name, content) in calls {
        let params = json!({ "name": name, "arguments": { "content": content } });
        let mut body = client.body("tools/call", params);
        body["id"] = json!(format!("SECRET-{}", body["id"]));
        let answer = client.post(&body).await.unwrap().last();
        let is_error = answer["result"]["isError"] == true;
        seen.push((is_error, answer["error"]["code"].as_i64()));
    }
    // The calls met what they were made for: an answer, the schema, a panic, an unknown tool.
    assert_eq!(seen[0], (false, None));
    assert!(
        seen[1] == (true, None) || seen[1].1 == Some(-32602),
        "{seen:?}"
    );
    assert_eq!(seen[2], (false, Some(-32603)));
    assert!(seen[3].1.is_some(), "{seen:?}");

    let mut raw = server.connect().await;
    for path in ["/items/SECRET-path?token=SECRET-query", "/SECRET-path"] {
        let headers = [("Mcp-Session-Id", "SECRET-session")];
        let body = b"SECRET-body";
        raw.request("POST", path, &headers, body).await.unwrap();
    }
    assert!(server.stop().await.is_clean());

    let text = lines.text();
    assert!(text.contains("handler panicked"), "{text}");
    // Two of the session's opening, the calls and the two paths.
    assert_eq!(lines.access().len(), 2 + calls.len() + 2);
    for line in text.lines() {
        let tells = line.contains("SECRET") || line.contains(&session);
        assert!(!tells, "{line}");
    }
}

/// Panics in every place where a request can meet one, in a process that keeps a log of them.
async fn panics() {
    telemetry::init("trace", telemetry::Format::Json, telemetry::Output::Stdout).unwrap();
    telemetry::log_panics();
    let text = "SECRET-\u{e9}-text".to_owned();
    let quoting = || async {
        let body = "SECRET-body".to_owned();
        body.parse::<u8>().unwrap().to_string()
    };
    let routes = Router::new()
        .route("/quoting", routing::get(quoting))
        .route("/literal", routing::get(literal));
    let server = TestServer::start(|| Talker, routes, Config::default()).await;
    let mut client = server.connect().await;
    for path in ["/quoting", "/literal"] {
        assert_eq!(client.get(path).await.unwrap().status, 500);
    }
    let params = json!({ "name": "panic", "arguments": { "content": text } });
    let mut modern = server.modern();
    let answer = modern.call("tools/call", params.clone()).await.unwrap();
    assert_eq!(answer.last()["error"]["code"], -32603);
    let mut legacy = server.legacy("2025-11-25").await;
    let answer = legacy.call("tools/call", params).await.unwrap();
    assert_eq!(answer.last()["error"]["code"], -32603);
    let (a, b) = (text.clone(), text.clone());
    let tasks = [
        tokio::spawn(async move { assert_eq!(a, "another") }),
        tokio::task::spawn_blocking(move || assert!(b[..8].is_empty())),
        tokio::spawn(async move { panic!("{text}") }),
    ];
    for task in tasks {
        assert!(task.await.unwrap_err().is_panic());
    }
    assert!(server.stop().await.is_clean());
}

async fn literal() -> &'static str {
    panic!("as it stands in the source")
}

#[tokio::test]
async fn the_log_says_where_a_panic_was_and_nothing_that_it_quotes() {
    const HERE: &str = "log::the_log_says_where_a_panic_was_and_nothing_that_it_quotes";
    const IS_CHILD: &str = "PANICS_ARE_LOGGED";
    // The hook is one for the whole process, and the other tests want their own.
    if std::env::var_os(IS_CHILD).is_some() {
        return panics().await;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", HERE, "--nocapture"])
        .env(IS_CHILD, "1")
        .output();
    let output = timeout(Duration::from_mins(1), child)
        .await
        .unwrap()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(output.status.success(), "{said}");
    let lines = said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let panics: Vec<Value> = lines
        .filter(|line: &Value| line["msg"] == "a thread panicked")
        .collect();
    assert_eq!(panics.len(), 7, "{said}");
    for line in &panics {
        assert!(
            line["location"].as_str().unwrap().contains(".rs:"),
            "{line}"
        );
    }
    let told = panics.iter().filter_map(|line| line["literal"].as_str());
    assert_eq!(told.collect::<Vec<_>>(), ["as it stands in the source"]);
    assert!(!said.contains("SECRET"), "{said}");
}
