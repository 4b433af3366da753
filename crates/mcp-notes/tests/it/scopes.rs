//! What a credential allows: each operation needs its scope on every face, and nothing a caller
//! writes around an operation changes what it needs.

use mcp_serve::test_util::{Legacy, TestServer, post};
use serde_json::{Value, json};

use crate::{
    desk::Desk,
    people::{ByName, Person},
};

const NOTES: &str = "/api/v1/notes";

async fn open() -> (Desk, TestServer, String) {
    let desk = Desk::new().await;
    let server = desk.serve_to(ByName::authenticator()).await;
    let id = Person::new(&server, "ann")
        .write("title", "text", &[])
        .await;
    (desk, server, id)
}

/// Whether the note is as it was written.
async fn is_untouched(server: &TestServer, id: &str) -> bool {
    let note = Person::new(server, "ann")
        .tool("get_note", json!({"id": id}))
        .await;
    note["version"] == 1
}

/// The letters of the scopes that allow what is asked for: read, write, delete, admin.
fn letters(scopes: &str) -> Vec<char> {
    let first = |scope: &str| scope.chars().nth("notes:".len());
    scopes.split_whitespace().filter_map(first).collect()
}

#[tokio::test]
async fn every_operation_needs_its_scope_on_both_faces() {
    let (_desk, server, id) = open().await;
    let note = format!("{NOTES}/{id}");
    let search = format!("{NOTES}/search?q=x");
    // Bodies that are refused after the scope: nothing is changed by those who may.
    let rest = [
        ("GET", NOTES, "rwda"),
        ("HEAD", NOTES, "rwda"),
        ("GET", &note, "rwda"),
        ("GET", &search, "rwda"),
        ("POST", NOTES, "wa"),
        ("PUT", &note, "wa"),
        ("PATCH", &note, "wa"),
        ("DELETE", &format!("{NOTES}/no-such"), "da"),
        ("GET", "/api/v1/openapi.json", "-rwda"),
    ];
    let tool = |name: &str| json!({"name": name, "arguments": {}});
    let uri = json!({"uri": format!("note:///{id}")});
    let completed = json!({"ref": {"type": "ref/resource", "uri": "note:///{id}"},
        "argument": {"name": "id", "value": ""}});
    let mcp = [
        ("tools/call", tool("get_note"), "rwda"),
        ("tools/call", tool("list_notes"), "rwda"),
        ("tools/call", tool("search_notes"), "rwda"),
        ("tools/call", tool("create_note"), "wa"),
        ("tools/call", tool("update_note"), "wa"),
        ("tools/call", tool("delete_note"), "da"),
        ("tools/call", tool("no_such_tool"), "-rwda"),
        ("resources/list", json!({}), "rwda"),
        ("resources/read", uri, "rwda"),
        ("prompts/get", json!({"name": "tidy_tags"}), "rwda"),
        ("completion/complete", completed, "rwda"),
        ("subscriptions/listen", json!({"notifications": 7}), "rwda"),
        ("server/discover", json!({}), "-rwda"),
        ("tools/list", json!({}), "-rwda"),
        ("prompts/list", json!({}), "-rwda"),
        ("resources/templates/list", json!({}), "-rwda"),
    ];
    for granted in [
        "",
        "notes:read",
        "notes:write",
        "notes:delete",
        "notes:admin",
        "other:read",
    ] {
        let mut person = Person::scoped(&server, "ann", granted);
        let held = match granted {
            "" | "other:read" => vec!['-'],
            _ => letters(granted),
        };
        let may = |needed: &str| needed.contains(held.as_slice());
        for (method, path, needed) in rest {
            let answer = person.rest(method, path, "[]").await;
            assert_eq!(
                answer.status != 403,
                may(needed),
                "{granted}: {method} {path}"
            );
            if answer.status == 403 {
                let challenge = answer.header("www-authenticate").unwrap();
                assert!(challenge.contains("insufficient_scope"), "{challenge}");
            }
        }
        for (method, params, needed) in &mcp {
            let answer = person.mcp(method, params.clone()).await;
            assert_eq!(
                answer.status() != 403,
                may(needed),
                "{granted}: {method} {params}"
            );
        }
    }
    assert!(is_untouched(&server, &id).await);
}

#[tokio::test]
async fn the_challenge_names_what_is_held_and_what_is_needed() {
    let (_desk, server, id) = open().await;
    let mut reader = Person::scoped(&server, "ann", "notes:read other");
    let params = json!({"name": "delete_note", "arguments": {"id": id}});
    let over_mcp = reader.mcp("tools/call", params).await.head;
    let over_rest = reader.rest("DELETE", &format!("{NOTES}/{id}"), "").await;
    assert_eq!((over_mcp.status, over_rest.status), (403, 403));
    for challenge in [
        over_mcp.header("www-authenticate"),
        over_rest.header("www-authenticate"),
    ] {
        let challenge = challenge.unwrap();
        assert!(
            challenge.contains("scope=\"notes:delete notes:read other\""),
            "{challenge}"
        );
    }
    assert!(is_untouched(&server, &id).await);
}

/// The header fields with `name` set to `value`.
fn with(mut headers: Vec<(String, String)>, name: &str, value: &str) -> Vec<(String, String)> {
    headers.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
    headers.push((name.to_owned(), value.to_owned()));
    headers
}

#[tokio::test]
async fn scope_bypass_through_the_headers_mcp_name_and_mcp_method() {
    let (_desk, server, id) = open().await;
    let delete = json!({"name": "delete_note", "arguments": {"id": id}});
    let mut reader = Person::scoped(&server, "ann", "notes:read");
    let lies = [
        ("Mcp-Name", "get_note"),
        ("Mcp-Name", "no_such"),
        ("Mcp-Method", "tools/list"),
    ];
    for (name, value) in lies {
        let (headers, body) = reader.modern.request("tools/call", delete.clone());
        let headers = with(headers, name, value);
        let answer = post(server.addr(), "/mcp", &headers, &body).await.unwrap();
        assert!([400, 403].contains(&answer.status()), "{name}: {answer:?}");
        // The older revisions know no such fields, and they count for nothing there.
        let session = reader.legacy().await;
        let headers = with(session.session_headers(), name, value);
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": delete});
        let answer = post(server.addr(), "/mcp", &headers, &body).await.unwrap();
        assert_eq!(answer.status(), 403, "{name}: {answer:?}");
    }
    // A tool that may be called stays so under the name of one that may not: no way to confuse
    // the policy into asking for less, nor the handler into doing more.
    let params = json!({"name": "get_note", "arguments": {"id": id}});
    let (headers, body) = reader.modern.request("tools/call", params);
    let headers = with(headers, "Mcp-Name", "delete_note");
    let answer = post(server.addr(), "/mcp", &headers, &body).await.unwrap();
    assert_eq!(answer.status(), 400, "{answer:?}");
    assert!(is_untouched(&server, &id).await);
}

/// A session of the only revision that has batches.
async fn batching(server: &TestServer, scopes: &str) -> Legacy {
    let headers = [("X-User", "ann"), ("X-Scopes", scopes)];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let headers = headers.to_vec();
    Legacy::initialize_with(server.addr(), "2025-03-26", json!({}), headers)
        .await
        .unwrap()
}

#[tokio::test]
async fn scope_bypass_through_a_batch() {
    let (_desk, server, id) = open().await;
    let call = |number: u64, tool: &str| {
        json!({"jsonrpc": "2.0", "id": number, "method": "tools/call",
            "params": {"name": tool, "arguments": {"id": id}}})
    };
    let reader = batching(&server, "notes:read").await;
    let harmless = json!([call(1, "get_note"), call(2, "get_note")]);
    assert_eq!(reader.post(&harmless).await.unwrap().messages.len(), 2);
    let notification = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": 9}});
    for batch in [
        json!([call(1, "get_note"), call(2, "delete_note")]),
        json!([call(1, "delete_note"), call(2, "get_note")]),
        json!([call(1, "delete_note")]),
        json!([notification, call(1, "delete_note")]),
        json!([{"jsonrpc": "1.0"}, call(1, "delete_note")]),
        json!([call(1, "get_note"), call(1, "delete_note")]),
    ] {
        let answer = reader.post(&batch).await.unwrap();
        assert_eq!(answer.status(), 403, "{batch}: {answer:?}");
    }
    assert!(is_untouched(&server, &id).await);
    let deleter = batching(&server, "notes:delete").await;
    let answer = deleter
        .post(&json!([call(1, "get_note"), call(2, "delete_note")]))
        .await;
    assert_eq!(answer.unwrap().status(), 200);
    let gone = Person::new(&server, "ann")
        .tool("get_note", json!({"id": id}))
        .await;
    assert_eq!(gone["error"]["code"], "not_found");
}

#[tokio::test]
async fn scope_bypass_through_repeated_members_of_the_body() {
    let (_desk, server, id) = open().await;
    let mut reader = Person::scoped(&server, "ann", "notes:read");
    let names = [
        r#""name": "delete_note", "name": "get_note""#,
        r#""name": "get_note", "name": "delete_note""#,
        r#""name": "get_note", "n\u0061me": "delete_note""#,
    ];
    for name in names {
        let (headers, body) = reader
            .modern
            .request("tools/call", json!({"name": "get_note"}));
        let text = body.to_string().replace(r#""name":"get_note""#, name);
        let text = text.replacen(
            r#""params":{"#,
            &format!(r#""params":{{"arguments":{{"id":"{id}"}},"#),
            1,
        );
        assert!(text.contains("delete_note") && text.contains(&id));
        let headers: Vec<_> = headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        let mut client = server.connect().await;
        let answer = client
            .request("POST", "/mcp", &headers, text.as_bytes())
            .await
            .unwrap();
        assert_ne!(answer.status, 500, "{name}: {}", answer.text());
        assert!(
            is_untouched(&server, &id).await,
            "{name}: {}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn scope_bypass_through_other_spellings_of_a_path() {
    let (_desk, server, id) = open().await;
    let nobody = Person::scoped(&server, "ann", "");
    let paths = [
        format!("{NOTES}/{id}"),
        format!("{NOTES}/%6eote-1"),
        format!("{NOTES}/{id}?"),
        format!("{NOTES}/{id}/"),
        format!("{NOTES}//{id}"),
        format!("{NOTES}/./{id}"),
        format!("{NOTES}/x/../{id}"),
        format!("/api/v1//notes/{id}"),
        format!("/api/v1/mcp/notes/{id}"),
        format!("/API/v1/notes/{id}"),
        format!("/api/v1/docs/../notes/{id}"),
        format!("http://{}{NOTES}/{id}", server.addr()),
        format!("{NOTES}/search%3Fq=text"),
        format!("{NOTES}/%73earch?q=text"),
        format!("{NOTES}/search?q=text"),
    ];
    for path in &paths {
        for method in ["GET", "HEAD", "PATCH", "DELETE", "get", "delete"] {
            let answer = nobody.rest(method, path, r#"{"title": "new"}"#).await;
            let is_refused = [403, 404, 405, 400].contains(&answer.status);
            assert!(
                is_refused,
                "{method} {path}: {} {}",
                answer.status,
                answer.text()
            );
            assert!(!answer.text().contains("\"text\""), "{method} {path}");
        }
    }
    assert!(is_untouched(&server, &id).await);
    let _: Value = nobody.rest("GET", "/api/v1/openapi.json", "").await.json();
}
