//! Which request is taken how: the status matrix of one endpoint for both eras.

use mcp_serve::test_util::RawResponse;
use serde_json::{Value, json};

use super::probe::{Fate, Running, start, start_with};

async fn post(running: &Running, headers: &[(&str, &str)], body: &[u8]) -> RawResponse {
    let mut all = vec![
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
    ];
    all.extend_from_slice(headers);
    let mut client = running.server.connect().await;
    client.request("POST", "/mcp", &all, body).await.unwrap()
}

fn code(answer: &RawResponse) -> i64 {
    assert_eq!(
        answer.header("content-type"),
        Some("application/json"),
        "{answer:?}"
    );
    let error = answer.json();
    assert_eq!(error["jsonrpc"], "2.0");
    error["error"]["code"].as_i64().unwrap_or_default()
}

const MODERN: (&str, &str) = ("MCP-Protocol-Version", "2026-07-28");

#[tokio::test]
async fn what_is_not_json_is_a_parse_error_in_both_eras() {
    let running = start().await;
    for headers in [&[][..], &[MODERN][..]] {
        for body in ["", "{", "{\"jsonrpc\":\"2.0\",", "\u{1}", "{\"a\":1}}"] {
            let answer = post(&running, headers, body.as_bytes()).await;
            assert_eq!((answer.status, code(&answer)), (400, -32700), "{body}");
            assert!(answer.json().get("id").is_none());
        }
        let answer = post(
            &running,
            headers,
            b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}",
        )
        .await;
        assert_eq!((answer.status, code(&answer)), (400, -32700));
    }
}

#[tokio::test]
async fn what_is_json_and_no_message_is_an_invalid_request() {
    let running = start().await;
    for body in [
        json!(1),
        json!([]),
        json!({"jsonrpc": "2.0", "id": null, "method": "ping"}),
        json!({"jsonrpc": "2.0", "id": 1.5, "method": "ping"}),
        json!({"id": 1, "method": "ping"}),
    ] {
        let answer = post(&running, &[], body.to_string().as_bytes()).await;
        assert_eq!((answer.status, code(&answer)), (400, -32600), "{body}");
    }
}

#[tokio::test]
async fn deep_json_is_refused_and_the_server_lives_on() {
    let running = start().await;
    let mut modern = running.server.modern();
    let legacy = running.server.legacy("2025-11-25").await;
    let (headers, body) = modern.request("tools/call", json!({"name": "echo", "arguments": {}}));
    let deep = format!(r#"{{"text":{}{}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    let body = body
        .to_string()
        .replace(r#""arguments":{}"#, &format!(r#""arguments":{deep}"#));
    for headers in [headers, legacy.session_headers()] {
        let headers: Vec<_> = headers
            .iter()
            .map(|it| (it.0.as_str(), it.1.as_str()))
            .collect();
        let mut client = running.server.connect().await;
        let answer = client
            .request("POST", "/mcp", &headers, body.as_bytes())
            .await
            .unwrap();
        assert!(answer.status < 500, "{answer:?}");
        assert!([-32602, -32700].contains(&code(&answer)), "{answer:?}");
    }
    assert_eq!(
        modern.call("tools/list", json!({})).await.unwrap().status(),
        200
    );
}

#[tokio::test]
async fn the_media_types_are_negotiated() {
    let running = start().await;
    let mut client = running.server.connect().await;
    let json = ("Content-Type", "application/json; charset=utf-8");
    let none = client
        .request("POST", "/mcp", &[json, ("Accept", "text/html")], b"{}")
        .await
        .unwrap();
    assert_eq!((none.status, code(&none)), (406, -32600));
    let plain = [("Content-Type", "text/plain"), ("Accept", "*/*")];
    let plain = client.request("POST", "/mcp", &plain, b"{}").await.unwrap();
    assert_eq!((plain.status, code(&plain)), (415, -32600));
    let (mut headers, body) = running.server.modern().request("tools/list", json!({}));
    headers.retain(|(name, _)| name != "Accept");
    let answer = mcp_serve::test_util::post(running.server.addr(), "/mcp", &headers, &body).await;
    assert_eq!(
        answer.unwrap().head.header("content-type"),
        Some("application/json")
    );
    headers.push(("Accept".into(), "text/event-stream".into()));
    let answer = mcp_serve::test_util::post(running.server.addr(), "/mcp", &headers, &body).await;
    let answer = answer.unwrap();
    assert_eq!(
        answer.head.header("content-type"),
        Some("text/event-stream")
    );
    assert!(answer.result()["tools"].is_array());
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let running = start_with(|config| {
        config.limits.body_bytes_max = 1000;
    })
    .await;
    let answer = post(&running, &[], &vec![b' '; 1001]).await;
    assert_eq!((answer.status, code(&answer)), (413, -32600));
}

#[tokio::test]
async fn each_era_refuses_the_methods_of_the_other() {
    let running = start().await;
    let mut modern = running.server.modern();
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "prompts/list",
        "no/such",
    ] {
        let answer = modern
            .call(method, json!({"uri": "test:a", "level": "info"}))
            .await
            .unwrap();
        assert_eq!(
            (answer.status(), answer.error_code()),
            (404, -32601),
            "{method}"
        );
    }
    let mut legacy = running.server.legacy("2025-11-25").await;
    for method in [
        "server/discover",
        "subscriptions/listen",
        "prompts/list",
        "no/such",
    ] {
        let body = legacy.body(method, json!({}));
        // `server/discover` is modern whoever asks, and lacks its `_meta` then.
        let expected = if method == "server/discover" {
            (400, -32602)
        } else {
            (200, -32601)
        };
        let answer = legacy.post(&body).await.unwrap();
        assert_eq!((answer.status(), answer.error_code()), expected, "{method}");
    }
}

#[tokio::test]
async fn parameters_that_do_not_fit_are_invalid_params_in_both_eras() {
    let running = start().await;
    let mut modern = running.server.modern();
    let mut legacy = running.server.legacy("2025-06-18").await;
    for (method, params) in [
        ("tools/call", json!({"name": "echo", "arguments": []})),
        ("tools/call", json!({"name": "echo", "arguments": "x"})),
        ("resources/read", json!({})),
        ("tools/list", json!({"cursor": 1})),
    ] {
        let answer = modern.call(method, params.clone()).await.unwrap();
        assert_eq!(
            (answer.status(), answer.error_code()),
            (200, -32602),
            "{method} {params}"
        );
        let answer = legacy.call(method, params.clone()).await.unwrap();
        assert_eq!(
            (answer.status(), answer.error_code()),
            (200, -32602),
            "{method} {params}"
        );
    }
    let body = json!({"jsonrpc": "2.0", "id": "x", "method": "tools/list", "params": [1]});
    let answer = legacy.post(&body).await.unwrap();
    assert_eq!(
        (answer.error_code(), &answer.last()["id"]),
        (-32602, &json!("x"))
    );
}

#[tokio::test]
async fn a_resource_that_is_not_there_has_the_code_of_its_era() {
    let running = start().await;
    let params = json!({"uri": "test:none"});
    let modern = running
        .server
        .modern()
        .call("resources/read", params.clone())
        .await
        .unwrap();
    assert_eq!(
        (modern.error_code(), &modern.last()["error"]["data"]["uri"]),
        (-32602, &params["uri"])
    );
    let mut legacy = running.server.legacy("2025-11-25").await;
    assert_eq!(
        legacy
            .call("resources/read", params)
            .await
            .unwrap()
            .error_code(),
        -32002
    );
}

#[tokio::test]
async fn other_http_methods_are_told_which_there_are() {
    let running = start().await;
    let mut client = running.server.connect().await;
    let put = client.request("PUT", "/mcp", &[], b"").await.unwrap();
    assert_eq!(
        (put.status, put.header("allow")),
        (405, Some("GET, POST, DELETE"))
    );
    for method in ["GET", "DELETE"] {
        let answer = client
            .request(method, "/mcp", &[MODERN], b"")
            .await
            .unwrap();
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some("POST")),
            "{method}"
        );
    }
}

#[tokio::test]
async fn batches_are_unpacked_for_the_one_revision_that_has_them() {
    let running = start().await;
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {}},
        {"jsonrpc": "2.0", "id": "two", "method": "tools/call",
            "params": {"name": "echo", "arguments": {"text": "hi"}}},
        {"jsonrpc": "2.0", "id": 3, "method": "no/such"},
        {"jsonrpc": "2.0", "id": 4, "method": "initialize", "params": {}},
        7,
    ]);
    let march = running.server.legacy("2025-03-26").await;
    let answer = march.post(&batch).await.unwrap();
    assert_eq!((answer.status(), answer.messages.len()), (200, 5));
    let by_id = |id: Value| answer.messages.iter().find(|it| it["id"] == id).unwrap();
    assert_eq!(by_id(json!(1))["result"], json!({}));
    assert_eq!(by_id(json!("two"))["result"]["content"][0]["text"], "hi");
    assert_eq!(by_id(json!(3))["error"]["code"], -32601);
    assert_eq!(by_id(json!(4))["error"]["code"], -32600);
    let silent = json!([{"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}]);
    assert_eq!(march.post(&silent).await.unwrap().status(), 202);
    let large = Value::Array(vec![
        json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
        51
    ]);
    assert_eq!(march.post(&large).await.unwrap().error_code(), -32600);

    let june = running.server.legacy("2025-06-18").await;
    let refused = june.post(&batch).await.unwrap();
    assert_eq!((refused.status(), refused.error_code()), (400, -32600));
    let refused = post(&running, &[MODERN], batch.to_string().as_bytes()).await;
    assert_eq!((refused.status, code(&refused)), (400, -32600));
}

#[tokio::test]
async fn a_handler_that_panics_costs_one_request_its_answer() {
    let running = start().await;
    let call = json!({"name": "panic", "arguments": {}});
    let mut modern = running.server.modern();
    let answer = modern.call("tools/call", call.clone()).await.unwrap();
    assert_eq!((answer.status(), answer.error_code()), (200, -32603));
    let mut legacy = running.server.legacy("2025-11-25").await;
    assert_eq!(
        legacy.call("tools/call", call).await.unwrap().error_code(),
        -32603
    );
    assert!(modern.call("tools/list", json!({})).await.unwrap().result()["tools"].is_array());
}

#[tokio::test]
async fn schema_limits_are_enforced_before_the_handler_is_asked() {
    let running = start().await;
    let mut modern = running.server.modern();
    let mut legacy = running.server.legacy("2025-11-25").await;
    for arguments in [
        json!({"text": "longer than ten"}),
        json!({"text": 5}),
        json!({"txet": "a"}),
    ] {
        let call = json!({"name": "echo", "arguments": arguments});
        let answer = modern
            .call("tools/call", call.clone())
            .await
            .unwrap()
            .result();
        assert_eq!(
            (&answer["isError"], &answer["resultType"]),
            (&json!(true), &json!("complete"))
        );
        let answer = legacy.call("tools/call", call).await.unwrap().result();
        assert_eq!(answer["isError"], true);
        assert!(answer.get("resultType").is_none());
        let text = answer["content"][0]["text"].as_str().unwrap().to_owned();
        assert!(
            text.contains("echo") && !text.contains("longer than ten"),
            "{text}"
        );
    }
    let exact = json!({"name": "echo", "arguments": {"text": "ten chars!"}});
    assert_eq!(
        modern.call("tools/call", exact).await.unwrap().result()["content"][0]["text"],
        "ten chars!"
    );
}

#[tokio::test]
async fn a_tool_whose_schema_cannot_be_enforced_is_not_called() {
    let running = start().await;
    let call = json!({"name": "remote", "arguments": {"text": "a"}});
    let answer = running
        .server
        .modern()
        .call("tools/call", call)
        .await
        .unwrap();
    assert_eq!(answer.error_code(), -32603);
}

#[tokio::test]
async fn a_request_that_names_an_older_revision_in_its_meta_needs_a_session() {
    let running = start().await;
    let mut older = running.server.modern();
    older.version = "2025-11-25".to_owned();
    let answer = older.call("tools/list", json!({})).await.unwrap();
    assert_eq!((answer.status(), answer.error_code()), (400, -32000));
}

#[tokio::test]
async fn a_subscription_that_panics_is_answered() {
    let running = start().await;
    let mut legacy = running.server.legacy("2025-11-25").await;
    let panic = json!({"uri": "test:panic"});
    let answer = legacy.call("resources/subscribe", panic).await.unwrap();
    assert_eq!((answer.status(), answer.error_code()), (200, -32603));
}

#[tokio::test]
async fn a_notification_reaches_the_handler_and_its_panic_nobody() {
    let mut running = start().await;
    let mut legacy = running.server.legacy("2025-11-25").await;
    for (method, fates) in [
        ("notifications/panic", &[Fate::Begun][..]),
        ("notifications/own", &[Fate::Begun, Fate::Done][..]),
    ] {
        assert_eq!(
            legacy
                .notify(method, json!({"a": 1}))
                .await
                .unwrap()
                .status(),
            202
        );
        for fate in fates {
            assert_eq!(running.fate().await, *fate, "{method}");
        }
    }
}
