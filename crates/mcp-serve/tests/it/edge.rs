//! What every request and every answer has, whatever the route: ids, error bodies, security
//! headers, deadlines, and a handler's panic that harms nobody else.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{Extension, Router, body::Bytes, routing};
use http::request::Parts;
use mcp_serve::{
    Config, Server,
    auth::{AuthError, Authenticator, Principal},
    telemetry::RequestId,
    test_util::{RawResponse, TestServer},
};
use rmcp::ServerHandler;
use serde_json::{Value, json};

/// A handler with nothing but rmcp's defaults.
#[derive(Clone)]
pub(crate) struct Nothing;

impl ServerHandler for Nothing {}

/// A server with these routes and settings.
pub(crate) async fn start(routes: Router, config: Config) -> TestServer {
    TestServer::start(|| Nothing, routes, config).await
}

fn routes() -> Router {
    Router::new()
        .route("/hello", routing::get(|| async { "hello" }))
        .route("/items/{id}", routing::get(|| async { "item" }))
        .route("/panic", routing::get(panics))
        .route("/never", routing::get(std::future::pending::<()>))
        .route("/echo", routing::post(|body: Bytes| async move { body }))
        .route(
            "/id",
            routing::get(
                |Extension(id): Extension<RequestId>| async move { id.as_str().to_owned() },
            ),
        )
        .route(
            "/who",
            routing::get(
                |Extension(who): Extension<Principal>| async move { who.key().to_owned() },
            ),
        )
}

async fn panics() -> &'static str {
    panic!("a defect in a handler")
}

fn assert_problem(answer: &RawResponse, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    for member in ["type", "title", "detail"] {
        assert!(problem[member].is_string(), "{problem}");
    }
}

pub(crate) fn assert_rpc_error(answer: &RawResponse, status: u16, code: i64) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let error = answer.json();
    assert_eq!(error["jsonrpc"], "2.0");
    assert_eq!(error["error"]["code"], code);
    assert!(error["error"]["message"].is_string());
    assert!(
        error.get("id").is_none(),
        "the id of an unread request is unknown: {error}"
    );
}

#[tokio::test]
async fn a_setting_that_no_server_can_run_with_is_named_before_the_address_is_taken() {
    let mut config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        ..Config::default()
    };
    config.mcp.keep_alive = Duration::ZERO;
    let refused = Server::bind(|| Nothing, Router::new(), config).await;
    let error = refused.unwrap_err().to_string();
    assert_eq!(error, "mcp.keep_alive must not be zero");
}

#[tokio::test]
async fn errors_outside_mcp_are_problem_documents() {
    let server = start(routes(), Config::default()).await;
    let mut client = server.connect().await;
    assert_problem(&client.get("/nowhere").await.unwrap(), 404);
    let answer = client.request("DELETE", "/hello", &[], b"").await.unwrap();
    assert_problem(&answer, 405);
    assert_eq!(answer.header("allow"), Some("GET,HEAD"));
    // The connection has served all of it.
    assert_eq!(client.get("/hello").await.unwrap().text(), "hello");
}

#[tokio::test]
async fn mcp_is_served_on_its_paths_with_and_without_a_slash() {
    let server = start(Router::new(), Config::default()).await;
    for path in ["/mcp", "/mcp/", "/api/v1/mcp", "/api/v1/mcp/"] {
        let answer = server
            .connect()
            .await
            .request("POST", path, &[], b"{")
            .await
            .unwrap();
        assert_ne!(answer.status, 404, "{path}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/json"),
            "{path} {answer:?}"
        );
    }
    for path in ["/mcp//", "/MCP", "/mcp/x", "/api/v1/mcp/notes"] {
        let answer = server
            .connect()
            .await
            .request("POST", path, &[], b"{")
            .await
            .unwrap();
        assert_problem(&answer, 404);
    }
}

#[tokio::test]
async fn every_answer_has_the_security_headers() {
    let server = start(routes(), Config::default()).await;
    let requests = [
        ("GET", "/hello", &[][..]),
        ("GET", "/nowhere", &[]),
        ("GET", "/panic", &[]),
        ("DELETE", "/hello", &[]),
        ("POST", "/mcp", &[]),
        ("GET", "/livez", &[]),
        ("POST", "/mcp", &[("Host", "evil.example")]),
        ("POST", "/echo", &[("Content-Length", "99999999")]),
    ];
    for (method, path, headers) in requests {
        let answer = server
            .connect()
            .await
            .request(method, path, headers, b"")
            .await
            .unwrap();
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
            (
                "content-security-policy",
                "default-src 'none'; frame-ancestors 'none'",
            ),
            ("cache-control", "no-store"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{method} {path}: {name}");
        }
        assert_eq!(answer.header("server"), None);
        assert!(
            answer
                .header("vary")
                .is_some_and(|vary| vary.contains("origin"))
        );
        assert!(answer.header("x-request-id").is_some(), "{method} {path}");
    }
}

#[tokio::test]
async fn a_route_may_set_its_own_policy() {
    let page = || async {
        [
            ("content-security-policy", "default-src 'self'"),
            ("cache-control", "private, no-cache"),
        ]
    };
    let server = start(
        Router::new().route("/page", routing::get(page)),
        Config::default(),
    )
    .await;
    let answer = server.connect().await.get("/page").await.unwrap();
    assert_eq!(
        answer.header("content-security-policy"),
        Some("default-src 'self'")
    );
    assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
}

#[tokio::test]
async fn a_request_id_is_taken_given_to_handlers_and_sent_back() {
    let server = start(routes(), Config::default()).await;
    let mut client = server.connect().await;
    let answer = client
        .request("GET", "/id", &[("X-Request-Id", "abc.DEF-1_2")], b"")
        .await
        .unwrap();
    assert_eq!(answer.header("x-request-id"), Some("abc.DEF-1_2"));
    assert_eq!(answer.text(), "abc.DEF-1_2");

    let unfit = [
        ("X-Request-Id", "a b"),
        ("X-Request-Id", "<script>"),
        ("X-Request-Id", ""),
    ];
    for header in unfit {
        let answer = client.request("GET", "/id", &[header], b"").await.unwrap();
        let id = answer.header("x-request-id").unwrap();
        assert_ne!(id, header.1);
        assert_eq!(answer.text(), id);
    }
}

#[tokio::test]
async fn a_panic_costs_one_request_its_answer_and_nothing_else() {
    let server = start(routes(), Config::default()).await;
    let mut client = server.connect().await;
    assert_problem(&client.get("/panic").await.unwrap(), 500);
    // The same connection goes on.
    assert_eq!(client.get("/hello").await.unwrap().text(), "hello");
}

#[tokio::test]
async fn a_route_that_does_not_answer_ends_at_the_deadline() {
    let mut config = Config::default();
    config.limits.request_deadline = Duration::from_millis(50);
    let server = start(routes(), config).await;
    let answer = server.connect().await.get("/never").await.unwrap();
    assert_problem(&answer, 504);
}

/// Knows one password and sometimes nothing at all.
struct Doorman;

#[async_trait]
impl Authenticator for Doorman {
    async fn authenticate(&self, parts: &Parts) -> Result<Principal, AuthError> {
        match parts
            .headers
            .get("authorization")
            .map(http::HeaderValue::as_bytes)
        {
            Some(b"Bearer sesame") => Ok(Principal::new("ali")),
            Some(b"Bearer later") => Err(AuthError::Unavailable),
            Some(b"Bearer never") => std::future::pending().await,
            _ => Err(AuthError::Unauthenticated {
                reason: "test",
                challenge: "Bearer realm=\"notes\"".to_owned(),
            }),
        }
    }

    fn metadata(&self, path: &str) -> Option<Value> {
        let resource = match path {
            "" | "/mcp" => "https://notes.example.com/mcp",
            "/api/v1/mcp" => "https://notes.example.com/api/v1/mcp",
            _ => return None,
        };
        Some(json!({ "resource": resource }))
    }
}

pub(crate) fn guarded_config() -> Config {
    Config {
        authenticator: Arc::new(Doorman),
        ..Config::default()
    }
}

#[tokio::test]
async fn the_caller_is_known_before_any_route_is_reached() {
    let server = start(routes(), guarded_config()).await;
    let mut client = server.connect().await;
    let answer = client.get("/who").await.unwrap();
    assert_problem(&answer, 401);
    assert_eq!(
        answer.header("www-authenticate"),
        Some("Bearer realm=\"notes\"")
    );
    // Nor does a stranger learn which paths exist.
    assert_problem(&client.get("/nowhere").await.unwrap(), 401);

    let answer = client.request("POST", "/mcp", &[], b"{}").await.unwrap();
    assert_rpc_error(&answer, 401, -32600);
    assert!(answer.header("www-authenticate").is_some());

    let later = [("Authorization", "Bearer later")];
    let answer = client.request("POST", "/mcp", &later, b"{}").await.unwrap();
    assert_rpc_error(&answer, 503, -32603);
    assert!(answer.header("retry-after").is_some());

    let sesame = [("Authorization", "Bearer sesame")];
    assert_eq!(
        client
            .request("GET", "/who", &sesame, b"")
            .await
            .unwrap()
            .text(),
        "ali"
    );
}

#[tokio::test]
async fn a_stranger_reads_how_to_get_a_credential() {
    let server = start(routes(), guarded_config()).await;
    let mut client = server.connect().await;
    let at = "/.well-known/oauth-protected-resource";
    for (path, resource) in [
        ("", "https://notes.example.com/mcp"),
        ("/mcp", "https://notes.example.com/mcp"),
        ("/mcp/", "https://notes.example.com/mcp"),
        ("/api/v1/mcp", "https://notes.example.com/api/v1/mcp"),
    ] {
        let answer = client.get(&format!("{at}{path}")).await.unwrap();
        assert_eq!(answer.status, 200, "{path} {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.json(), json!({ "resource": resource }), "{path}");
    }
    assert_problem(&client.get(&format!("{at}/who")).await.unwrap(), 404);
    // Not below that name, so it is a path like any other.
    assert_problem(&client.get(&format!("{at}s")).await.unwrap(), 401);
    let head = client.request("HEAD", at, &[], b"").await.unwrap();
    assert_eq!(head.status, 200);
    let posted = client.request("POST", at, &[], b"").await.unwrap();
    assert_problem(&posted, 405);
    let foreign = [("Origin", "https://evil.example.com")];
    let answer = client.request("GET", at, &foreign, b"").await.unwrap();
    assert_problem(&answer, 403);

    let server = start(routes(), Config::default()).await;
    let answer = server.connect().await.get(at).await.unwrap();
    assert_problem(&answer, 404);
}

#[tokio::test]
async fn a_token_in_the_query_string_is_no_credential() {
    let server = start(routes(), guarded_config()).await;
    let path = "/who?access_token=sesame&authorization=Bearer%20sesame";
    let answer = server.connect().await.get(path).await.unwrap();
    assert_problem(&answer, 401);
}

#[tokio::test]
async fn a_credential_that_takes_too_long_to_check_is_503() {
    let mut config = guarded_config();
    config.limits.request_deadline = Duration::from_millis(50);
    let server = start(routes(), config).await;
    let never = [("Authorization", "Bearer never")];
    let answer = server
        .connect()
        .await
        .request("POST", "/mcp", &never, b"{}")
        .await
        .unwrap();
    assert_rpc_error(&answer, 503, -32603);
}
