//! Path traversal and confusion: paths and URIs that two parsers could take for different places.

use serde_json::{Value, json};

use crate::desk::Desk;

const PRIVATE: &str = "PRIVATE-TEXT";

/// Targets that look like the path of a note, or of MCP, and are none.
const TARGETS: [&str; 40] = [
    "/api/v1/notes/../mcp",
    "/api/v1/notes/..%2fmcp",
    "/api/v1/notes/..%5cmcp",
    "/api/v1/notes/%2e%2e/mcp",
    "/api/v1/notes/%252e%252e/mcp",
    "/api/v1/notes/.%2e/note-1",
    "/api/v1/notes/./note-1",
    "/api/v1/notes//note-1",
    "/api/v1//notes/note-1",
    "//api/v1/notes/note-1",
    "/./api/v1/notes/note-1",
    "/x/../api/v1/notes/note-1",
    "/api/v1/notes/note-1/",
    "/api/v1/notes/note-1/.",
    "/api/v1/notes/note-1/..",
    "/api/v1/notes/note-1%2f",
    "/api/v1/notes%2fnote-1",
    "/api/v1/notes/note-1;x=1",
    "/api/v1/notes;x=1/note-1",
    "/api/v1/notes/note-1%00",
    "/api/v1/notes/note-1%00.html",
    "/api/v1/notes/note-1%0a",
    "/api/v1/notes/note-1%20",
    "/api/v1/notes/%20note-1",
    "/api/v1/notes/note-1%ff",
    "/api/v1/notes/%c0%ae%c0%ae/note-1",
    "/api/v1/notes/note%c0%ad1",
    "/api/v1/notes/note-1%",
    "/api/v1/notes/note-1%u002f",
    "/api/v1/notes/NOTE-1",
    "/API/v1/notes/note-1",
    "/api/v1/notes/note-1.json",
    "/api/v1/notes/*",
    "/api/v1/notes/{id}",
    "/api/v1/mcp/../notes/note-1",
    "/livez/../api/v1/notes/note-1",
    "/livez/..;/api/v1/notes/note-1",
    "/livez%2f..%2fapi/v1/notes/note-1",
    "/health/api/v1/notes/note-1",
    "/livez/",
];

#[tokio::test]
async fn traversal_in_paths_leads_nowhere() {
    let desk = Desk::new().await;
    let server = desk.serve().await;
    let note = json!({"title": "a", "content": PRIVATE}).to_string();
    desk.rest("POST", "/api/v1/notes", &note).await;
    let mut client = server.connect().await;
    let plain = client.get("/api/v1/notes/note-1").await.unwrap();
    assert!(plain.text().contains(PRIVATE), "{plain:?}");
    for target in TARGETS {
        for method in ["GET", "DELETE"] {
            let mut client = server.connect().await;
            let answer = client.request(method, target, &[], b"").await.unwrap();
            assert!(
                [400, 404, 405, 422].contains(&answer.status),
                "{method} {target} {answer:?}"
            );
            assert!(!answer.text().contains(PRIVATE), "{target}");
            // No way leads to MCP, whose errors have another form.
            let kind = answer.header("content-type").unwrap_or_default();
            assert_eq!(kind, "application/problem+json", "{target} {answer:?}");
            // And none past the check of the host.
            let evil = [("Host", "evil.example")];
            let answer = client.request(method, target, &evil, b"").await;
            assert_eq!(answer.unwrap().status, 403, "{target}");
        }
    }
    // Still there, under its one name and under the same one written with escapes.
    for same in ["/api/v1/notes/note-1", "/api/v1/notes/%6eote%2d1"] {
        let answer = server.connect().await.get(same).await.unwrap();
        assert!(answer.text().contains(PRIVATE), "{same}");
    }
}

#[tokio::test]
async fn mcp_has_its_paths_and_no_others() {
    let desk = Desk::new().await;
    let server = desk.serve().await;
    let (headers, body) = server.modern().request("tools/list", Value::Null);
    for path in [
        "/%6dcp",
        "/mc%70",
        "/mcp%2f",
        "/mcp%00",
        "/mcp;x",
        "/mcp/.",
        "/mcp/..",
        "/mcp//",
        "//mcp",
        "/./mcp",
        "/x/../mcp",
        "/api/v1/notes/../mcp",
        "/api/v1/%6dcp",
        "/MCP",
        "/mcp%20",
        "/mcp%09",
    ] {
        let answer = mcp_serve::test_util::post(server.addr(), path, &headers, &body).await;
        let status = answer.unwrap().status();
        assert!([400, 404, 405].contains(&status), "{path} {status}");
    }
    let answer = mcp_serve::test_util::post(server.addr(), "/mcp?x=%00", &headers, &body).await;
    assert_eq!(answer.unwrap().status(), 200);
}

#[tokio::test]
async fn traversal_in_note_uris_leads_nowhere() {
    let desk = Desk::new().await;
    let server = desk.serve().await;
    let note = json!({"title": "a", "content": PRIVATE}).to_string();
    desk.rest("POST", "/api/v1/notes", &note).await;
    let mut modern = server.modern();
    let mut legacy = server.legacy("2025-11-25").await;
    let long = format!("note:///{}", "a".repeat(100_000));
    for uri in [
        "note:///../note-1",
        "note:///./note-1",
        "note:///x/../note-1",
        "note:////note-1",
        "note://///note-1",
        "note:///note-1/",
        "note:///note-1/..",
        "note:///..%2fnote-1",
        "note:///%2e%2e/note-1",
        "note:///note%2d1",
        "note:///note-1?x",
        "note:///note-1#x",
        "note:///note-1;x",
        "note:///note-1%00",
        "note:///note-1\u{0}",
        "note:///note-1\n",
        " note:///note-1",
        "note:///note-1 ",
        "note:///note-1\u{200b}",
        "note:///note\u{2010}1",
        "note:///\u{ff4e}ote-1",
        "note://localhost/note-1",
        "note://note-1",
        "note:note-1",
        "NOTE:///note-1",
        "file:///note-1",
        "file:///etc/passwd",
        "http://127.0.0.1/",
        "note:///*",
        "note:///{id}",
        "note:///' OR 1=1 --",
        "note:///",
        long.as_str(),
    ] {
        let params = json!({"uri": uri});
        // A header carries what is no visible ASCII in base64 (Streamable HTTP, "Encoding").
        let read = read_modern(&mut modern, server.addr(), uri).await;
        assert_eq!(read["error"]["code"], -32602, "{uri:.50}");
        for method in ["resources/read", "resources/subscribe"] {
            let answer = legacy.call(method, params.clone()).await.unwrap();
            let code = answer.error_code();
            assert!([-32002, -32602].contains(&code), "{method} {uri:.50}");
            assert!(!answer.last().to_string().contains(PRIVATE), "{uri:.50}");
        }
    }
    let read = read_modern(&mut modern, server.addr(), "note:///note-1").await;
    assert!(read.to_string().contains(PRIVATE));
}

async fn read_modern(
    modern: &mut mcp_serve::test_util::Modern,
    address: std::net::SocketAddr,
    uri: &str,
) -> Value {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let (mut headers, body) = modern.request("resources/read", json!({"uri": uri}));
    for (name, value) in &mut headers {
        if name == "Mcp-Name" && value.len() < 1000 {
            *value = format!("=?base64?{}?=", STANDARD.encode(uri));
        } else if name == "Mcp-Name" {
            value.truncate(1000);
        }
    }
    let answer = mcp_serve::test_util::post(address, "/mcp", &headers, &body).await;
    let answer = answer.unwrap().last();
    if uri.len() > 1000 {
        // The header cannot agree; what is wrong with the URI is never reached.
        assert_eq!(answer["error"]["code"], -32020);
        return json!({"error": {"code": -32602}});
    }
    answer
}
