//! The matrix of CORS: origins, routes, methods and outcomes.

use mcp_serve::test_util::RawResponse;

use super::{Target, public};
use crate::edge::guarded_config;

/// Origins that are not `https://app.example.com` and not `http://dev.example.com:5173`.
const FOREIGN: [&str; 22] = [
    "null",
    "*",
    "",
    "https://evil.example",
    "http://app.example.com",
    "https://app.example.com:444",
    "https://app.example.com.evil.example",
    "https://evil-app.example.com",
    "https://evil.app.example.com",
    "https://app.example.comx",
    "https://app-example.com",
    "https://app.example.com@evil.example",
    "https://app.example.com/",
    "https://app.example.com/evil",
    "https://app.example.com?",
    "https://app.example.com#",
    "https://app.example.com, https://evil.example",
    "https://app.example.com https://evil.example",
    "https://evil.example,https://app.example.com",
    "http://dev.example.com",
    "file://",
    "http://localhost:5173",
];

const ROUTES: [(&str, &str); 10] = [
    ("GET", "/notes"),
    ("POST", "/notes"),
    ("DELETE", "/notes/1"),
    ("GET", "/nowhere"),
    ("POST", "/mcp"),
    ("GET", "/mcp"),
    ("PUT", "/mcp"),
    ("GET", "/health"),
    ("GET", "/livez"),
    ("GET", "/.well-known/oauth-protected-resource"),
];

fn allows(answer: &RawResponse) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

fn varies_by_origin(answer: &RawResponse) -> bool {
    let mut varies = answer.headers.iter().filter(|(name, _)| name == "vary");
    varies.any(|(_, value)| value.split(',').any(|field| field.trim() == "origin"))
}

#[tokio::test]
async fn cors_opens_nothing_to_origins_that_are_not_listed() {
    let target = Target::start(public()).await;
    for origin in FOREIGN {
        for (method, path) in ROUTES {
            let headers = [("Host", "notes.example.com"), ("Origin", origin)];
            let answer = target.ask(method, path, &headers, b"").await;
            let is_probe = path == "/health" || path == "/livez";
            let expected = if is_probe { 200 } else { 403 };
            assert_eq!(answer.status, expected, "{origin} {path} {answer:?}");
            let opened = answer
                .headers
                .iter()
                .find(|(name, _)| name.starts_with("access-control-"));
            assert_eq!(opened, None, "{origin} {method} {path}");
            assert!(varies_by_origin(&answer), "{origin} {method} {path}");
        }
    }
    assert_eq!(target.reached(), 0);
}

#[tokio::test]
async fn cors_names_a_listed_origin_and_never_all_of_them() {
    let open = Target::start(public()).await;
    let mut config = public();
    config.authenticator = guarded_config().authenticator;
    let closed = Target::start(config).await;
    for target in [&open, &closed] {
        for origin in ["https://app.example.com", "http://dev.example.com:5173"] {
            // Of the process alone, to whoever asks, and no page needs it.
            let routes = ROUTES.into_iter().filter(|it| it.1 != "/livez");
            for (method, path) in routes {
                let headers = [("Host", "notes.example.com"), ("Origin", origin)];
                let answer = target.ask(method, path, &headers, b"").await;
                assert_eq!(allows(&answer), Some(origin), "{method} {path} {answer:?}");
                assert_eq!(
                    answer.header("access-control-allow-credentials"),
                    Some("true")
                );
                assert!(varies_by_origin(&answer), "{method} {path}");
                let exposed = answer.header("access-control-expose-headers").unwrap();
                assert!(!exposed.contains('*') && !exposed.contains("Set-Cookie"));
            }
        }
    }
    assert_eq!(closed.reached(), 0);
}

#[tokio::test]
async fn cors_of_a_route_cannot_open_what_the_server_closes() {
    let route = axum::routing::get(|| async { [("access-control-allow-origin", "*")] });
    let routes = axum::Router::new().route("/open", route);
    let server = super::start(routes, public()).await;
    let mut client = server.connect().await;
    let host = ("Host", "notes.example.com");
    let answer = client.request("GET", "/open", &[host], b"").await.unwrap();
    assert_eq!((answer.status, allows(&answer)), (200, None));
    let listed = [host, ("Origin", "https://app.example.com")];
    let answer = client.request("GET", "/open", &listed, b"").await.unwrap();
    assert_eq!(allows(&answer), Some("https://app.example.com"));
}

#[tokio::test]
async fn a_preflight_reaches_no_handler_and_promises_nothing_to_strangers() {
    let target = Target::start(public()).await;
    for (_, path) in ROUTES {
        for method in ["GET", "POST", "DELETE", "QUERY", "*"] {
            let asked = [
                ("Host", "notes.example.com"),
                ("Origin", "https://app.example.com"),
                ("Access-Control-Request-Method", method),
                ("Access-Control-Request-Headers", "x-evil, *, cookie"),
                ("Access-Control-Request-Private-Network", "true"),
            ];
            let answer = target.ask("OPTIONS", path, &asked, b"").await;
            assert_eq!(answer.status, 204, "{path}");
            let names = answer.header("access-control-allow-headers").unwrap();
            for name in ["x-evil", "*", "cookie"] {
                assert!(!names.split(", ").any(|own| own == name), "{names}");
            }
            let methods = answer.header("access-control-allow-methods").unwrap();
            assert!(!methods.contains('*') && !methods.contains("TRACE"));
            let private = answer.header("access-control-allow-private-network");
            assert_eq!(private, None);
        }
    }
    for origin in FOREIGN {
        let asked = [
            ("Host", "notes.example.com"),
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
        ];
        let answer = target.ask("OPTIONS", "/notes", &asked, b"").await;
        assert_eq!(answer.status, 403, "{origin}");
        assert_eq!(answer.header("access-control-allow-methods"), None);
    }
    assert_eq!(target.reached(), 0);
}
