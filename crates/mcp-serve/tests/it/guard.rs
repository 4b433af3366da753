//! Hosts, origins and CORS: what a page on another site, or one behind a rebound name, can do.

use axum::{Router, routing};
use mcp_serve::{
    Config,
    config::{AllowedHosts, AllowedOrigins},
    test_util::{RawResponse, TestServer},
};

use super::edge::{assert_rpc_error, guarded_config, start};

fn public() -> Config {
    Config {
        allowed_hosts: AllowedHosts::parse("notes.example.com,alt.example.com:8443,[2001:db8::1]")
            .unwrap(),
        allowed_origins: AllowedOrigins::parse(
            "https://app.example.com,http://dev.example.com:5173",
        )
        .unwrap(),
        ..Config::default()
    }
}

fn routes() -> Router {
    Router::new().route("/hello", routing::get(|| async { "hello" }))
}

async fn get(server: &TestServer, path: &str, headers: &[(&str, &str)]) -> RawResponse {
    server
        .connect()
        .await
        .request("GET", path, headers, b"")
        .await
        .unwrap()
}

/// Sends a head as it stands and reads the status.
async fn status_of(server: &TestServer, head: &str) -> u16 {
    let mut client = server.connect().await;
    client.send(head.as_bytes()).await.unwrap();
    client.read_response(false).await.unwrap().status
}

#[tokio::test]
async fn dns_rebinding_by_host_alone_is_refused_before_authentication_and_body() {
    let server = start(routes(), guarded_config()).await;
    let mut client = server.connect().await;
    // The body never comes: the answer must not wait for it.
    let head = "POST /mcp HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1000\r\n\r\n";
    client.send(head.as_bytes()).await.unwrap();
    assert_rpc_error(&client.read_response(false).await.unwrap(), 403, -32600);
}

#[tokio::test]
async fn dns_rebinding_by_origin_alone_and_by_both_is_refused() {
    let server = start(routes(), Config::default()).await;
    let mut client = server.connect().await;
    let evil = ("Origin", "http://evil.example");
    let answer = client
        .request("POST", "/mcp", &[evil], b"{}")
        .await
        .unwrap();
    assert_rpc_error(&answer, 403, -32600);
    let both = [("Host", "evil.example"), evil];
    let answer = server
        .connect()
        .await
        .request("POST", "/mcp", &both, b"{}")
        .await
        .unwrap();
    assert_rpc_error(&answer, 403, -32600);
}

#[tokio::test]
async fn only_listed_hosts_are_served() {
    let server = start(routes(), public()).await;
    for host in [
        "notes.example.com",
        "NOTES.example.com",
        "notes.example.com:443",
        "notes.example.com:9999",
        "notes.example.com.",
        "alt.example.com:8443",
        "[2001:db8::1]",
        "[2001:DB8:0::1]:3000",
    ] {
        assert_eq!(
            get(&server, "/hello", &[("Host", host)]).await.status,
            200,
            "{host}"
        );
    }
    for host in [
        "localhost",
        "127.0.0.1",
        "example.com",
        "x.notes.example.com",
        "notes.example.com.evil.example",
        "notes.example.comx",
        "alt.example.com",
        "alt.example.com:8444",
        "[2001:db8::2]",
        "[::1]",
    ] {
        assert_eq!(
            get(&server, "/hello", &[("Host", host)]).await.status,
            403,
            "{host}"
        );
    }
}

#[tokio::test]
async fn a_host_that_is_none_is_a_bad_request() {
    let server = start(routes(), public()).await;
    for host in [
        "",
        "user@notes.example.com",
        "notes.example.com:",
        "notes.example.com:+443",
        "notes.example.com:443x",
        "notes.example.com:99999",
        "notes.example.com, evil.example",
        "notes.example.com/evil",
        "2001:db8::1",
        "[2001:db8::1",
    ] {
        assert_eq!(
            get(&server, "/hello", &[("Host", host)]).await.status,
            400,
            "{host}"
        );
    }
}

#[tokio::test]
async fn a_request_names_its_host_exactly_once() {
    let server = start(routes(), public()).await;
    assert_eq!(status_of(&server, "GET /hello HTTP/1.1\r\n\r\n").await, 400);
    assert_eq!(status_of(&server, "GET /hello HTTP/1.0\r\n\r\n").await, 400);
    let twice = [("Host", "notes.example.com"), ("Host", "notes.example.com")];
    assert_eq!(get(&server, "/hello", &twice).await.status, 400);
    let evil_second = [("Host", "notes.example.com"), ("Host", "evil.example")];
    assert_eq!(get(&server, "/hello", &evil_second).await.status, 400);
}

#[tokio::test]
async fn a_target_in_absolute_form_must_agree_with_the_host() {
    let server = start(routes(), public()).await;
    let host = [("Host", "notes.example.com")];
    for (target, status) in [
        ("http://notes.example.com/hello", 200),
        ("http://evil.example/hello", 400),
        ("http://notes.example.com:81/hello", 400),
        ("http://user@notes.example.com/hello", 400),
    ] {
        assert_eq!(get(&server, target, &host).await.status, status, "{target}");
    }
    let both_evil = get(
        &server,
        "http://evil.example/hello",
        &[("Host", "evil.example")],
    )
    .await;
    assert_eq!(both_evil.status, 403);
    let connect = "CONNECT evil.example:443 HTTP/1.1\r\nHost: notes.example.com\r\n\r\n";
    assert_eq!(status_of(&server, connect).await, 400);
}

#[tokio::test]
async fn listed_origins_may_read_with_credentials_and_no_origin_passes() {
    let server = start(routes(), public()).await;
    let host = ("Host", "notes.example.com");
    for origin in ["https://app.example.com", "http://dev.example.com:5173"] {
        let answer = get(&server, "/hello", &[host, ("Origin", origin)]).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
        assert_eq!(
            answer.header("access-control-allow-credentials"),
            Some("true")
        );
        let exposed = answer.header("access-control-expose-headers").unwrap();
        for name in [
            "Mcp-Session-Id",
            "MCP-Protocol-Version",
            "Retry-After",
            "ETag",
            "Location",
            "Link",
            "WWW-Authenticate",
            "X-Request-Id",
        ] {
            assert!(exposed.contains(name), "{name}");
        }
    }
    let answer = get(&server, "/hello", &[host]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn other_origins_are_refused_and_told_nothing() {
    let server = start(routes(), public()).await;
    let host = ("Host", "notes.example.com");
    for origin in [
        "https://evil.example",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "https://notes.example.com",
        "http://localhost:3000",
        "null",
        "",
        "*",
    ] {
        let answer = get(&server, "/hello", &[host, ("Origin", origin)]).await;
        assert_eq!(answer.status, 403, "{origin}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            None,
            "{origin}"
        );
        assert_eq!(
            answer.header("access-control-allow-credentials"),
            None,
            "{origin}"
        );
    }
    let twice = [
        host,
        ("Origin", "https://app.example.com"),
        ("Origin", "https://evil.example"),
    ];
    assert_eq!(get(&server, "/hello", &twice).await.status, 400);
}

#[tokio::test]
async fn pages_of_loopback_may_call_a_loopback_server_without_credentials() {
    let server = start(routes(), Config::default()).await;
    for origin in [
        "http://localhost:6274",
        "https://127.0.0.1:1",
        "http://[::1]",
    ] {
        let answer = get(&server, "/hello", &[("Origin", origin)]).await;
        assert_eq!(answer.status, 200, "{origin}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
}

#[tokio::test]
async fn a_preflight_is_answered_on_every_route_without_a_credential() {
    let mut config = public();
    config.authenticator = guarded_config().authenticator;
    let server = start(routes(), config).await;
    for path in ["/mcp", "/hello", "/nowhere", "/health", "/livez"] {
        let headers = [
            ("Host", "notes.example.com"),
            ("Origin", "https://app.example.com"),
            ("Access-Control-Request-Method", "POST"),
            (
                "Access-Control-Request-Headers",
                "mcp-session-id, Mcp-Param-Region, x-evil",
            ),
        ];
        let mut client = server.connect().await;
        let answer = client
            .request("OPTIONS", path, &headers, b"")
            .await
            .unwrap();
        assert_eq!(answer.status, 204, "{path} {answer:?}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("https://app.example.com"),
            "{path}"
        );
        let allowed = answer.header("access-control-allow-headers").unwrap();
        for name in [
            "content-type",
            "authorization",
            "mcp-session-id",
            "mcp-protocol-version",
            "mcp-method",
            "mcp-name",
            "last-event-id",
            "if-match",
            "if-none-match",
            "idempotency-key",
            "x-request-id",
            "traceparent",
            "tracestate",
            "Mcp-Param-Region",
        ] {
            assert!(
                allowed.split(", ").any(|own| own == name),
                "{name} in {allowed}"
            );
        }
        assert!(!allowed.contains("x-evil"));
        assert!(
            answer
                .header("access-control-allow-methods")
                .unwrap()
                .contains("PATCH")
        );
        assert!(
            answer
                .headers
                .iter()
                .any(|(name, value)| name == "vary" && value == "origin")
        );
    }
}

#[tokio::test]
async fn a_preflight_from_elsewhere_is_refused() {
    let server = start(routes(), public()).await;
    let headers = [
        ("Host", "notes.example.com"),
        ("Origin", "https://evil.example"),
        ("Access-Control-Request-Method", "POST"),
    ];
    let answer = server
        .connect()
        .await
        .request("OPTIONS", "/mcp", &headers, b"")
        .await
        .unwrap();
    assert_eq!(answer.status, 403);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.header("access-control-allow-headers"), None);
}

#[tokio::test]
async fn errors_can_be_read_by_pages_that_may_call() {
    let mut config = public();
    config.authenticator = guarded_config().authenticator;
    let server = start(routes(), config).await;
    let page = [
        ("Host", "notes.example.com"),
        ("Origin", "https://app.example.com"),
    ];
    let answer = get(&server, "/hello", &page).await;
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://app.example.com")
    );
}
