//! Scopes: what a credential allows, decided by the body before anything runs.

use serde_json::json;

use super::super::probe::{Fate, start_with};
use super::*;

const ECHO: &str = "echo";
const SLOW: &str = "slow";

fn call(name: &str) -> serde_json::Value {
    json!({"name": name, "arguments": {}})
}

#[tokio::test]
async fn a_missing_scope_is_a_403_that_names_what_is_granted_and_what_is_needed() {
    let mut book = None;
    let running = start_with(|config| book = Some(guarded(config).1)).await;
    let mut reader = modern(&running, "ali read");
    assert_eq!(
        reader
            .call("tools/call", call(ECHO))
            .await
            .unwrap()
            .status(),
        200
    );

    let refused = reader.call("tools/call", call(SLOW)).await.unwrap();
    assert_eq!(refused.status(), 403);
    assert_eq!(
        refused.head.header("content-type"),
        Some("application/json")
    );
    assert_eq!(
        refused.head.header("www-authenticate"),
        Some("Bearer error=\"insufficient_scope\", scope=\"read write\"")
    );
    assert_eq!(refused.last()["id"], 2);
    assert_eq!(refused.error_code(), -32000);
    let heard = book.unwrap().0.lock().unwrap().clone();
    assert_eq!(
        heard,
        [("ali".into(), "tools/call slow".into(), 403, "scope")]
    );
}

#[tokio::test]
async fn a_wider_scope_includes_the_narrower_one_and_lists_need_none() {
    let running = start_with(|config| drop(guarded(config))).await;
    let mut writer = modern(&running, "ali write");
    assert_eq!(
        writer
            .call("tools/call", call(ECHO))
            .await
            .unwrap()
            .status(),
        200
    );
    let mut nobody = modern(&running, "bo");
    assert_eq!(
        nobody.call("tools/list", json!({})).await.unwrap().status(),
        200
    );
    assert_eq!(
        nobody
            .call("tools/call", call(ECHO))
            .await
            .unwrap()
            .status(),
        403
    );
}

#[tokio::test]
async fn no_stream_opens_without_the_scope_in_either_era() {
    let running = start_with(|config| drop(guarded(config))).await;
    let mut nobody = modern(&running, "bo");
    let listen = json!({"notifications": {"toolsListChanged": true}});
    let refused = nobody.call("subscriptions/listen", listen).await.unwrap();
    assert_eq!(refused.status(), 403);
    let mut older = legacy(&running, "bo").await;
    let status = super::super::sessions::get_status(&older, running.server.addr()).await;
    assert_eq!(status, 403);
    let subscribe = older
        .call("resources/subscribe", json!({"uri": "test:a"}))
        .await;
    assert_eq!(subscribe.unwrap().status(), 403);
}

#[tokio::test]
async fn scope_bypass_through_the_name_header_fails() {
    let mut running = start_with(|config| drop(guarded(config))).await;
    let mut reader = modern(&running, "ali read");
    let (mut headers, body) = reader.request("tools/call", call(SLOW));
    for (name, value) in &mut headers {
        if name.eq_ignore_ascii_case("mcp-name") {
            ECHO.clone_into(value);
        }
    }
    let address = running.server.addr();
    let refused = mcp_serve::test_util::post(address, "/mcp", &headers, &body)
        .await
        .unwrap();
    assert_eq!(refused.status(), 403);

    // In a session the field means nothing at all.
    let mut older = legacy(&running, "ali read").await;
    older.headers.push(("Mcp-Name".into(), ECHO.into()));
    older
        .headers
        .push(("Mcp-Method".into(), "tools/list".into()));
    assert_eq!(
        older.call("tools/call", call(SLOW)).await.unwrap().status(),
        403
    );
    assert!(running.fates.try_recv().is_err());
}

#[tokio::test]
async fn scope_bypass_through_a_batch_fails_and_nothing_of_it_runs() {
    let mut running = start_with(|config| drop(guarded(config))).await;
    let older = legacy(&running, "batch read").await;
    let body = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "notifications/custom"},
        {"jsonrpc": "2.0", "method": "notifications/custom"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call(ECHO)},
        {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": call(SLOW)},
    ]);
    let refused = older.post(&body).await.unwrap();
    assert_eq!(refused.status(), 403);
    assert!(running.fates.try_recv().is_err());
    let wide = legacy(&running, "batch write").await;
    assert_eq!(wide.post(&body).await.unwrap().status(), 200);
    assert_eq!(running.fate().await, Fate::Begun);
}

#[tokio::test]
async fn a_public_route_needs_no_credential_and_its_neighbour_does() {
    let routes = axum::Router::new()
        .route("/open", axum::routing::get(|| async { "open" }))
        .route("/notes", axum::routing::get(|| async { "notes" }));
    let mut config = Config::default();
    let (_, book) = guarded(&mut config);
    let server = crate::edge::start(routes, config).await;
    let mut client = server.connect().await;
    assert_eq!(client.get("/open").await.unwrap().status, 200);
    assert_eq!(client.get("/notes").await.unwrap().status, 401);
    for (credential, status) in [("ali read", 403), ("ali write", 200)] {
        let field = format!("Bearer {credential}");
        let headers = [("Authorization", field.as_str())];
        let answer = client.request("GET", "/notes", &headers, b"").await;
        assert_eq!(answer.unwrap().status, status, "{credential}");
    }
    let heard = book.0.lock().unwrap().clone();
    let expected = [
        ("-".to_owned(), "GET /notes".to_owned(), 401, "missing"),
        ("ali".to_owned(), "GET /notes".to_owned(), 403, "scope"),
    ];
    assert_eq!(heard, expected);
}
