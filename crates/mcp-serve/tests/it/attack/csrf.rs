//! Cross-site request forgery: what a page of another site can make a browser send without asking.

use mcp_serve::Config;

use super::{Target, public};
use crate::transport::probe;

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"slow","arguments":{"millis":0}}}"#;

/// What a form or a script may send without a preflight (Fetch section 2.2.2), and what looks like
/// JSON to whoever looks carelessly.
const SIMPLE_TYPES: [&str; 10] = [
    "text/plain",
    "text/plain;charset=UTF-8",
    "text/plain; application/json",
    "text/plain, application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=application/json",
    "application/json-seq",
    "application/jsonp",
    "text/json",
    "",
];

#[tokio::test]
async fn csrf_by_types_that_need_no_preflight() {
    let mut running = probe::start().await;
    let session = running.server.legacy("2025-11-25").await;
    for content_type in SIMPLE_TYPES {
        let mut headers = session.session_headers();
        headers.retain(|(name, _)| name != "Content-Type");
        headers.push(("Content-Type".to_owned(), content_type.to_owned()));
        let body = serde_json::from_str(CALL).unwrap();
        let answer = mcp_serve::test_util::post(running.server.addr(), "/mcp", &headers, &body);
        assert_eq!(answer.await.unwrap().status(), 415, "{content_type}");
    }
    let mut headers = session.session_headers();
    headers.retain(|(name, _)| name != "Content-Type");
    let body = serde_json::from_str(CALL).unwrap();
    let answer = mcp_serve::test_util::post(running.server.addr(), "/mcp", &headers, &body);
    assert_eq!(answer.await.unwrap().status(), 415);
    assert!(running.fates.try_recv().is_err(), "the tool was called");
}

#[tokio::test]
async fn csrf_by_a_form_of_another_page() {
    let target = Target::start(public()).await;
    let form = b"=%7B%22title%22%3A%22forged%22%7D";
    for origin in ["https://evil.example", "null", "https://notes.example.com"] {
        for path in ["/notes", "/mcp"] {
            let headers = [
                ("Host", "notes.example.com"),
                ("Origin", origin),
                ("Content-Type", "application/x-www-form-urlencoded"),
            ];
            let answer = target.ask("POST", path, &headers, form).await;
            assert_eq!(answer.status, 403, "{origin} {path}");
        }
    }
    assert_eq!(target.reached(), 0);
}

#[tokio::test]
async fn csrf_by_a_header_that_changes_the_method() {
    let target = Target::start(Config::default()).await;
    for name in [
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
    ] {
        let override_it = [(name, "DELETE"), ("Content-Type", "text/plain")];
        // To MCP it stays a POST, whose type is wrong; DELETE would have asked for a session.
        let answer = target.ask("POST", "/mcp", &override_it, b"{}").await;
        assert_eq!(answer.status, 415, "{name}");
        let answer = target.ask("GET", "/mcp?_method=DELETE", &override_it, b"");
        assert_eq!(answer.await.status, 400, "{name}");
    }
}

#[tokio::test]
async fn csrf_by_a_method_that_is_thought_harmless() {
    let mut running = probe::start().await;
    let session = running.server.legacy("2025-11-25").await;
    let headers = session.session_headers();
    let headers: Vec<_> = headers
        .iter()
        .map(|it| (it.0.as_str(), it.1.as_str()))
        .collect();
    for method in ["HEAD", "OPTIONS", "PUT", "PATCH", "TRACE", "QUERY", "post"] {
        let mut client = running.server.connect().await;
        client
            .send_request(method, "/mcp", &headers, CALL.as_bytes())
            .await
            .unwrap();
        let answer = client.read_head().await.unwrap();
        assert_eq!(answer.status, 405, "{method}");
    }
    assert!(running.fates.try_recv().is_err(), "the tool was called");
}

#[tokio::test]
async fn a_page_of_another_site_cannot_embed_what_it_wants_to_measure() {
    let target = Target::start(public()).await;
    let host = ("Host", "notes.example.com");
    let page = |site, mode, dest| {
        [
            host,
            ("Sec-Fetch-Site", site),
            ("Sec-Fetch-Mode", mode),
            ("Sec-Fetch-Dest", dest),
        ]
    };
    let foreign = [
        page("cross-site", "no-cors", "image"),
        page("cross-site", "no-cors", "script"),
        page("same-site", "no-cors", "image"),
        page("cross-site", "navigate", "iframe"),
        page("cross-site", "navigate", "object"),
        page("cross-site", "cors", "empty"),
        page("nonsense", "navigate", "empty"),
    ];
    for headers in foreign {
        for path in ["/notes", "/nowhere", "/mcp"] {
            let answer = target.ask("GET", path, &headers, b"").await;
            assert_eq!(answer.status, 403, "{path} {headers:?}");
        }
    }
    let post = page("cross-site", "navigate", "document");
    assert_eq!(target.ask("POST", "/notes", &post, b"").await.status, 403);
    assert_eq!(target.reached(), 0);

    // Pages of this server, addresses typed in, links, and what is no browser.
    let own = [
        page("same-origin", "cors", "empty"),
        page("none", "navigate", "document"),
        page("cross-site", "navigate", "document"),
    ];
    for headers in own {
        let answer = target.ask("GET", "/notes", &headers, b"").await;
        assert_eq!(answer.status, 200, "{headers:?}");
    }
    let listed = [
        host,
        ("Origin", "https://app.example.com"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "cors"),
    ];
    assert_eq!(target.ask("PUT", "/notes", &listed, b"").await.status, 200);
    let node = [host, ("Sec-Fetch-Mode", "cors")];
    assert_eq!(target.ask("PUT", "/notes", &node, b"").await.status, 200);
}

#[tokio::test]
async fn a_foreign_page_learns_nothing_of_the_report_of_health() {
    let target = Target::start(public()).await;
    let host = ("Host", "notes.example.com");
    let own = target.ask("GET", "/health", &[host], b"").await;
    let embedded = [
        host,
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "no-cors"),
    ];
    let foreign = target.ask("GET", "/health", &embedded, b"").await;
    assert_eq!(foreign.status, 200);
    assert!(own.json()["version"].is_string(), "{own:?}");
    let report = foreign.json();
    let mut members: Vec<_> = report.as_object().unwrap().keys().collect();
    members.retain(|name| !["status", "timestamp"].contains(&name.as_str()));
    assert!(members.is_empty(), "{report}");
}
