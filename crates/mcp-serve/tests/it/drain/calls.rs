//! Tool calls that are under way when the server is asked to stop: each finishes with its result.

use std::{sync::Arc, time::Duration};

use axum::Router;
use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mcp_serve::{
    Config,
    test_util::{RpcAnswer, SseEvent, TestServer},
};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock,
        ProgressNotificationParam, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::Semaphore};

use super::{PATIENCE, refuses_connections};

const SLOW: &str = "slow";
const CALLS_MAX: usize = 3;

/// A handler whose one tool ends when the test says so, and tells its progress before and after.
#[derive(Clone)]
struct Worker {
    begun: Arc<Semaphore>,
    may_end: Arc<Semaphore>,
    dropped: Arc<Semaphore>,
}

/// Tells that a call ended without its result.
struct Unfinished(Option<Arc<Semaphore>>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(dropped) = &self.0 {
            dropped.add_permits(1);
        }
    }
}

impl ServerHandler for Worker {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        let schema = json!({ "type": "object" }).as_object().cloned();
        (name == SLOW).then(|| Tool::new(SLOW, "Takes its time", Arc::new(schema.unwrap())))
    }

    async fn call_tool(
        &self,
        _request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let mut unfinished = Unfinished(Some(self.dropped.clone()));
        let tell = async |step: u8| {
            if let Some(token) = context.meta.get_progress_token() {
                let progress = ProgressNotificationParam::new(token, f64::from(step));
                let _ = context.peer.notify_progress(progress).await;
            }
        };
        tell(1).await;
        self.begun.add_permits(1);
        self.may_end.acquire().await.unwrap().forget();
        tell(2).await;
        unfinished.0 = None;
        Ok(CallToolResult::success(vec![ContentBlock::text("finished")]).into())
    }
}

/// A server with a [`Worker`].
struct Working {
    server: TestServer,
    worker: Worker,
}

impl Working {
    async fn start() -> Self {
        let worker = Worker {
            begun: Arc::new(Semaphore::new(0)),
            may_end: Arc::new(Semaphore::new(0)),
            dropped: Arc::new(Semaphore::new(0)),
        };
        let own = worker.clone();
        let server = TestServer::start(move || own.clone(), Router::new(), Config::default()).await;
        Self { server, worker }
    }

    async fn has_begun(&self) {
        let begun = tokio::time::timeout(PATIENCE, self.worker.begun.acquire());
        begun.await.expect("the call begins").unwrap().forget();
    }

    /// Asks the server to stop, lets all calls end, and waits for both.
    async fn stop_around<T>(mut self, answer: impl Future<Output = T>) -> T {
        self.server.begin_stop();
        refuses_connections(&self.server).await;
        self.worker.may_end.add_permits(CALLS_MAX);
        let answer = answer.await;
        let drained = self.server.stop().await;
        assert!(drained.is_clean(), "{drained:?}");
        assert!(drained.took < PATIENCE, "{drained:?}");
        answer
    }
}

fn call() -> Value {
    json!({ "name": SLOW, "arguments": {} })
}

fn assert_finished(message: &Value) {
    assert_eq!(
        message["result"]["content"][0]["text"], "finished",
        "{message}"
    );
}

fn assert_answered(answer: &RpcAnswer) {
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert_finished(&answer.last());
}

#[tokio::test]
async fn a_call_finishes_with_its_result() {
    let working = Working::start().await;
    let mut client = working.server.modern();
    let call = tokio::spawn(async move { client.call("tools/call", call()).await });
    working.has_begun().await;
    let answer = working.stop_around(call).await;
    assert_answered(&answer.unwrap().unwrap());
}

#[tokio::test]
async fn a_call_with_progress_finishes_its_stream() {
    let working = Working::start().await;
    let mut client = working.server.modern();
    client.meta.insert("progressToken".to_owned(), json!("p"));
    let mut stream = client.open("tools/call", call()).await.unwrap();
    working.has_begun().await;
    let first = stream.next_event(PATIENCE).await.event().json();
    assert_eq!(first["params"]["progress"].as_f64(), Some(1.0), "{first}");
    let rest = working.stop_around(stream.rest(PATIENCE)).await;
    let rest: Vec<_> = rest.iter().map(SseEvent::json).collect();
    assert_eq!(rest.len(), 2, "{rest:?}");
    assert_eq!(
        rest[0]["params"]["progress"].as_f64(),
        Some(2.0),
        "{rest:?}"
    );
    assert_finished(&rest[1]);
}

#[tokio::test]
async fn calls_in_sessions_finish_with_their_results() {
    let working = Working::start().await;
    let mut calls = Vec::new();
    for version in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut client = working.server.legacy(version).await;
        calls.push(tokio::spawn(async move {
            client.call("tools/call", call()).await
        }));
        working.has_begun().await;
    }
    for answer in working.stop_around(join_all(calls)).await {
        assert_answered(&answer.unwrap().unwrap());
    }
}

#[tokio::test]
async fn a_call_over_http2_finishes_with_its_result() {
    let working = Working::start().await;
    let stream = TcpStream::connect(working.server.addr()).await.unwrap();
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let (headers, body) = working.server.modern().request("tools/call", call());
    let mut request = Request::post(working.server.mcp_url());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let body = Full::new(Bytes::from(body.to_string()));
    let call = tokio::spawn(async move {
        let answer = sender.send_request(request.body(body).unwrap()).await;
        answer.unwrap().into_body().collect().await
    });
    working.has_begun().await;
    let answer = working.stop_around(call).await.unwrap().unwrap();
    assert_finished(&serde_json::from_slice(&answer.to_bytes()).unwrap());
}

#[tokio::test]
async fn a_message_for_a_call_under_way_is_taken_during_the_drain() {
    let mut working = Working::start().await;
    let mut client = working.server.legacy("2025-06-18").await;
    let body = client.body("tools/call", call());
    let cancel = json!({
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": { "requestId": body["id"] },
    });
    let another = client.body("tools/call", call());
    let headers = client.session_headers();
    let headers: Vec<_> = headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    let call = tokio::spawn(async move { client.post(&body).await });
    working.has_begun().await;
    // These requests begin before the drain does, and are read to their end within it.
    let mut message = working.server.connect().await;
    message.send(b"PO").await.unwrap();
    let mut late = working.server.connect().await;
    late.send(b"PO").await.unwrap();
    let mut stream = working.server.connect().await;
    stream.send(b"GE").await.unwrap();
    // Connections are taken in their order, so those three are known when this one is answered.
    let live = (working.server.connect().await).get("/livez").await;
    assert_eq!(live.unwrap().status, 200);

    working.server.begin_stop();
    refuses_connections(&working.server).await;
    let origin = [("Origin", "http://localhost:5173")];
    let of_page = [&headers[..], &origin[..]].concat();
    stream
        .send_request("T", "/mcp", &of_page, b"")
        .await
        .unwrap();
    let refused = stream.read_response(false).await.unwrap();
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some());
    let origin = refused.header("access-control-allow-origin");
    assert_eq!(origin, Some("http://localhost:5173"), "a page may read it");

    let another = another.to_string();
    late.send_request("ST", "/mcp", &headers, another.as_bytes())
        .await
        .unwrap();
    let refused = late.read_response(false).await.unwrap();
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some());

    let cancel = cancel.to_string();
    message
        .send_request("ST", "/mcp", &headers, cancel.as_bytes())
        .await
        .unwrap();
    assert_eq!(message.read_response(false).await.unwrap().status, 202);
    let dropped = tokio::time::timeout(PATIENCE, working.worker.dropped.acquire());
    dropped
        .await
        .expect("the call is cancelled")
        .unwrap()
        .forget();
    let drained = working.server.stop().await;
    assert!(drained.is_clean(), "{drained:?}");
    assert!(drained.took < Duration::from_secs(20), "{drained:?}");
    let _ = call.await.unwrap();
}
