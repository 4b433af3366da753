//! Whole requests to an MCP server, from the host they name to the handler and back, without a socket: header and body
//! parsing of both eras, the guard, the client's address, sessions, event ids, the stream of an answer.

use std::{cell::RefCell, net::SocketAddr, sync::Arc};

use http::HeaderValue;
use mcp_serve::{
    Config, Server,
    client::{Peer, Scheme, TrustedProxies},
    fuzz,
};
use rmcp::{
    ServerHandler, handler::server::router::tool::ToolRouter, handler::server::wrapper::Parameters,
    schemars, tool, tool_handler, tool_router,
};
use tokio::runtime::{Builder, Runtime};

use crate::request;

/// In a header field this stands for the id of a session that there is.
const SESSION: &str = "SESSION";

/// After so many inputs the server is made anew, so that a finding does not depend on all that came before.
const INPUTS_PER_SERVER: u32 = 1000;

/// The server never panics, never fails and always answers, and what it calls JSON is JSON.
pub fn mcp_request(data: &[u8]) {
    thread_local! {
        static EDGE: RefCell<Option<Edge>> = const { RefCell::new(None) };
    }
    EDGE.with_borrow_mut(|edge| {
        let edge = edge.get_or_insert_with(Edge::new);
        edge.ask(data);
        if edge.left == 0 {
            *edge = Edge::new();
        }
    });
}

#[derive(Clone)]
struct Echo {
    tools: Arc<ToolRouter<Self>>,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Words {
    words: String,
    #[serde(default)]
    times: u8,
}

#[tool_router]
impl Echo {
    /// Says what it is told, as often as it is told.
    #[tool]
    fn echo(Parameters(Words { words, times }): Parameters<Words>) -> String {
        words.repeat(usize::from(times))
    }
}

#[tool_handler(router = self.tools)]
impl ServerHandler for Echo {}

type Factory = Box<dyn Fn() -> Echo + Send + Sync>;

struct Edge {
    runtime: Runtime,
    server: Server<Factory>,
    peer: Peer,
    session: HeaderValue,
    left: u32,
}

impl Edge {
    fn new() -> Self {
        // With a clock that jumps whenever there is nothing to do, an hour of silence costs nothing.
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build();
        let runtime = runtime.expect("a runtime");
        let echo = Echo {
            tools: Arc::new(Echo::tool_router()),
        };
        let factory: Factory = Box::new(move || echo.clone());
        let config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            trusted_proxies: TrustedProxies::parse("127.0.0.0/8, 10.0.0.0/8, fd00::/8")
                .expect("networks"),
            ..Config::default()
        };
        let server = runtime.block_on(Server::bind(factory, axum::Router::new(), config));
        let mut edge = Self {
            runtime,
            server: server.expect("a server on a free port"),
            peer: Peer {
                address: SocketAddr::from(([127, 0, 0, 1], 50_000)),
                scheme: Scheme::Http,
                certificate: None,
                is_hidden: false,
            },
            session: HeaderValue::from_static("none"),
            left: INPUTS_PER_SERVER,
        };
        edge.begin_session();
        edge
    }

    fn begin_session(&mut self) {
        let initialize = b"POST /mcp\nhost: localhost\ncontent-type: application/json\n\
            accept: application/json, text/event-stream\n\n\
            {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-11-25\",\
            \"capabilities\":{\"sampling\":{},\"elicitation\":{}},\"clientInfo\":{\"name\":\"f\",\"version\":\"1\"}}}";
        let request = request::read(initialize).expect("a request");
        let (parts, _) = self
            .runtime
            .block_on(fuzz::answer(&self.server, request, &self.peer));
        let session = parts.headers.get("mcp-session-id").cloned();
        self.session = session.expect("a session");
    }

    fn ask(&mut self, data: &[u8]) {
        self.left -= 1;
        let Some(mut request) = request::read(data) else {
            return;
        };
        for value in request.headers_mut().values_mut() {
            let text = value.to_str().unwrap_or_default();
            if text.contains(SESSION) {
                let with = text.replace(SESSION, self.session.to_str().unwrap_or_default());
                *value = HeaderValue::try_from(with).expect("a header field");
            }
        }
        let is_end = request.method() == http::Method::DELETE;
        let (parts, body) = self
            .runtime
            .block_on(fuzz::answer(&self.server, request, &self.peer));
        assert_ne!(parts.status, 500, "{}", String::from_utf8_lossy(&body));
        let media = parts
            .headers
            .get("content-type")
            .map_or(&b""[..], |it| it.as_bytes());
        if media.ends_with(b"json") && !body.is_empty() {
            let json: Result<serde_json::Value, _> = serde_json::from_slice(&body);
            assert!(json.is_ok(), "{}", String::from_utf8_lossy(&body));
        }
        assert_eq!(parts.headers["x-content-type-options"], "nosniff");
        if is_end && parts.status.is_success() {
            self.begin_session();
        }
    }
}
