//! Bombs and confusion in JSON and JSON-RPC: cheap to send, dear to read, or read in two ways.

use std::time::{Duration, Instant};

use mcp_serve::test_util::RawResponse;
use serde_json::{Value, json};

use crate::transport::probe::{self, Fate, Running};

/// Far more than reading a megabyte takes on a busy machine.
const BOUND: Duration = Duration::from_secs(5);

/// Posts a body as it stands in a session.
async fn post(running: &Running, headers: &[(String, String)], body: &str) -> RawResponse {
    let headers: Vec<_> = headers
        .iter()
        .map(|it| (it.0.as_str(), it.1.as_str()))
        .collect();
    let mut client = running.server.connect().await;
    let begun = Instant::now();
    let answer = client
        .request("POST", "/mcp", &headers, body.as_bytes())
        .await
        .unwrap();
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    answer
}

/// A call of the tool `echo` with `text` in place of its argument.
fn call(text: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{"text":{text}}}}}}}"#
    )
}

/// Values of up to a megabyte that no tool wants.
fn bombs() -> Vec<(&'static str, String)> {
    let deep = |open: &str, close: &str, times| open.repeat(times) + "1" + &close.repeat(times);
    vec![
        ("1e400", "1e400".into()),
        ("-1e400", "-1e400".into()),
        ("1e-400", "1e-400".into()),
        ("a million digits", "9".repeat(1_000_000)),
        ("a long fraction", format!("0.{}", "9".repeat(900_000))),
        ("a long exponent", format!("1e{}", "9".repeat(900_000))),
        ("arrays in arrays", deep("[", "]", 400_000)),
        ("objects in objects", deep("{\"a\":", "}", 140_000)),
        ("arrays to the limit", deep("[", "]", 100)),
        (
            "many small elements",
            format!("[{}0]", "0,".repeat(500_000)),
        ),
        (
            "many empty objects",
            format!("[{}{{}}]", "{},".repeat(300_000)),
        ),
        ("a huge string", format!("\"{}\"", "x".repeat(1_000_000))),
        (
            "a string of escapes",
            format!("\"{}\"", "\\u0000".repeat(160_000)),
        ),
        ("a lone surrogate", "\"\\ud800\"".into()),
        ("surrogates in the wrong order", "\"\\udc00\\ud800\"".into()),
        ("a control character", "\"\u{1}\"".into()),
        ("infinity", "Infinity".into()),
        ("not a number", "NaN".into()),
        ("hexadecimal", "0x10".into()),
        ("a comment", "/**/\"x\"".into()),
        ("a comma too many", "[1,]".into()),
    ]
}

#[tokio::test]
async fn json_bombs_are_refused_in_time() {
    let running = probe::start().await;
    let session = running.server.legacy("2025-11-25").await;
    for (what, bomb) in bombs() {
        let answer = post(&running, &session.session_headers(), &call(&bomb)).await;
        // Refused as JSON, as arguments or as too large, in the words of the protocol.
        let refused = answer.status == 400
            || answer.status == 413
            || answer.json()["error"]["code"] == -32602
            || answer.json()["result"]["isError"] == true;
        assert!(refused, "{what}: {} {:.200}", answer.status, answer.text());
        assert!(answer.body.len() < 4096, "{what} comes back");
    }
    // Where no schema looks: in members that nobody knows, and in `_meta`.
    for (what, bomb) in bombs() {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"ping","x":{bomb},"params":{{"_meta":{{"x":{bomb}}}}}}}"#
        );
        let answer = post(&running, &session.session_headers(), &body).await;
        assert!(answer.status < 500, "{what}: {answer:?}");
        assert!(answer.body.len() < 4096, "{what} comes back");
    }
    let answer = post(&running, &session.session_headers(), &call("\"ok\"")).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn many_keys_that_could_collide_are_read_in_time() {
    let running = probe::start().await;
    let session = running.server.legacy("2025-11-25").await;
    let keys: Vec<_> = (0..70_000).map(|n| format!("\"{n:x}\":0")).collect();
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{{}}}}}}}"#,
        keys.join(",")
    );
    let answer = post(&running, &session.session_headers(), &body).await;
    assert!(answer.body.len() < 4096, "the keys come back");
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_member_that_stands_twice_is_not_read_in_two_ways() {
    let mut running = probe::start().await;
    let session = running.server.legacy("2025-11-25").await;
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"slow"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"},"params":{"name":"slow"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"m\u0065thod":"ping","method":"ping"}"#,
    ] {
        let answer = post(&running, &session.session_headers(), body).await;
        assert_eq!(answer.status, 400, "{body} {answer:?}");
    }
    assert!(running.fates.try_recv().is_err(), "a tool was called");
}

#[tokio::test]
async fn a_call_is_what_its_body_says_and_not_its_headers() {
    let mut running = probe::start().await;
    let mut modern = running.server.modern();
    let slow = json!({"name": "slow", "arguments": {"millis": 0}});
    let (headers, body) = modern.request("tools/call", slow);
    let with = |name: &str, value: Option<&str>| {
        let mut headers = headers.clone();
        headers.retain(|(own, _)| own != name);
        headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        headers
    };
    for spoilt in [
        with("Mcp-Name", Some("echo")),
        with("Mcp-Name", None),
        with("Mcp-Method", Some("tools/list")),
        with("Mcp-Method", None),
    ] {
        let answer = post(&running, &spoilt, &body.to_string()).await;
        assert_eq!(answer.status, 400, "{spoilt:?}");
        assert_eq!(answer.json()["error"]["code"], -32020);
    }
    let mut twice = headers.clone();
    twice.push(("Mcp-Name".into(), "echo".into()));
    assert_eq!(post(&running, &twice, &body.to_string()).await.status, 400);
    assert!(running.fates.try_recv().is_err(), "the tool was called");
    let answer = post(&running, &headers, &body.to_string()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(running.fate().await, Fate::Begun);
}

#[tokio::test]
async fn ids_that_look_alike_stay_apart() {
    let running = probe::start().await;
    let session = running.server.legacy("2025-11-25").await;
    for id in [
        json!("1"),
        json!(1),
        json!(-1),
        json!(i64::MAX),
        json!(""),
        json!("__proto__"),
        json!("\u{202e}\u{0}\n"),
    ] {
        let body = json!({"jsonrpc": "2.0", "id": id, "method": "ping"}).to_string();
        let answer = post(&running, &session.session_headers(), &body).await;
        assert_eq!(answer.json()["id"], id);
    }
    for id in [
        "1.0",
        "1e0",
        "9223372036854775808",
        "true",
        "[1]",
        "{}",
        "null",
        "01",
        "+1",
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        let answer = post(&running, &session.session_headers(), &body).await;
        assert_eq!(answer.status, 400, "{id}");
        assert!(answer.json().get("id").is_none(), "{id}");
    }
}

#[tokio::test]
async fn a_batch_cannot_be_used_to_do_more_than_its_parts() {
    let mut running = probe::start_with(|config| config.mcp.batch_max = 5).await;
    let session = running.server.legacy("2025-03-26").await;
    let ping = |id: u32| json!({"jsonrpc": "2.0", "id": id, "method": "ping"});
    let slow = json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call",
        "params": {"name": "slow", "arguments": {"millis": 0}}});
    let headers = session.session_headers();
    // Too many, nested, empty.
    for batch in [
        json!([ping(1), ping(2), ping(3), ping(4), ping(5), slow]),
        json!([]),
    ] {
        let answer = post(&running, &headers, &batch.to_string()).await;
        assert_eq!(answer.status, 400, "{batch}");
    }
    let nested = json!([[slow], ping(1)]);
    let answer = post(&running, &headers, &nested.to_string()).await;
    assert_eq!(answer.json()[0]["error"]["code"], -32600, "{answer:?}");
    // In a session whose revision has none, or in none, or in somebody else's era.
    let newer = running.server.legacy("2025-11-25").await.session_headers();
    let mut none = headers.clone();
    none.retain(|(name, _)| name != "Mcp-Session-Id");
    let modern = running.server.modern().request("ping", Value::Null).0;
    for headers in [newer, none, modern] {
        let answer = post(&running, &headers, &json!([slow]).to_string()).await;
        assert_eq!(answer.status, 400, "{headers:?}");
    }
    assert!(running.fates.try_recv().is_err(), "the tool was called");
    // A session cannot be opened inside one, and two calls under one id cannot run.
    let init = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-03-26", "capabilities": {},
        "clientInfo": {"name": "x", "version": "1"}}});
    let answer = post(&running, &headers, &json!([init]).to_string()).await;
    assert_eq!(answer.json()[0]["error"]["code"], -32600);
    assert_eq!(answer.header("mcp-session-id"), None);
}

#[tokio::test]
async fn keys_that_are_magic_elsewhere_are_plain_here() {
    let running = probe::start().await;
    let session = running.server.legacy("2025-11-25").await;
    for key in [
        "__proto__",
        "constructor",
        "prototype",
        "toString",
        "$ref",
        "$where",
        "@type",
    ] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"{key}":{{"isAdmin":true}},"method":"tools/call",
                "params":{{"{key}":{{"x":1}},"name":"echo","arguments":{{"text":"a"}}}}}}"#
        );
        let answer = post(&running, &session.session_headers(), &body).await;
        assert_eq!(answer.json()["result"]["content"][0]["text"], "a", "{key}");
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call",
                "params":{{"name":"echo","arguments":{{"text":"a","{key}":1}}}}}}"#
        );
        let answer = post(&running, &session.session_headers(), &body).await;
        let refused =
            answer.json()["error"]["code"] == -32602 || answer.json()["result"]["isError"] == true;
        assert!(refused, "{key} {answer:?}");
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": key, "params": {}});
        let answer = post(&running, &session.session_headers(), &body.to_string()).await;
        assert_eq!(answer.json()["error"]["code"], -32601, "{key}");
    }
}

#[tokio::test]
async fn a_schema_elsewhere_on_the_network_is_never_fetched() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/schema.json", listener.local_addr().unwrap());
    let running = probe::start_with_remote(&url).await;
    let session = running.server.legacy("2025-11-25").await;
    let mut remote: Value = serde_json::from_str(&call("\"a\"")).unwrap();
    remote["params"]["name"] = json!("remote");
    // What the caller sends may name schemas too.
    remote["params"]["arguments"]["$schema"] = json!(url);
    remote["params"]["arguments"]["$ref"] = json!(url);
    let answer = post(&running, &session.session_headers(), &remote.to_string()).await;
    assert!(answer.json()["result"].is_null(), "{answer:?}");
    let fetched = tokio::time::timeout(Duration::from_millis(500), listener.accept());
    assert!(fetched.await.is_err(), "somebody came for the schema");
}

#[tokio::test]
async fn what_a_client_says_it_is_changes_nothing() {
    let mut running = probe::start().await;
    let names = [
        json!({"name": "admin", "version": "999.0.0", "title": "root"}),
        json!({"name": "test-server", "version": env!("CARGO_PKG_VERSION")}),
        json!({"name": "", "version": ""}),
        json!({"name": "\u{202e}\u{1b}[31m\n<script>", "version": "1; DROP TABLE notes"}),
        json!({"name": "x".repeat(8000), "version": "1", "isAdmin": true, "scopes": ["*"]}),
    ];
    let mut seen = Vec::new();
    for client in names {
        let mut modern = running.server.modern();
        let (headers, mut body) = modern.request("tools/list", json!({}));
        body["params"]["_meta"]["io.modelcontextprotocol/clientInfo"] = client.clone();
        let listed = post(&running, &headers, &body.to_string()).await;
        assert_eq!(listed.status, 200, "{client}");
        let init = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}});
        let mut session = running.server.legacy("2025-11-25").await;
        let opened = session.post(&init).await.unwrap();
        assert_eq!(opened.status(), 200, "{client}");
        session.session = opened.head.header("mcp-session-id").map(Into::into);
        let legacy = session.call("tools/list", json!({})).await.unwrap();
        seen.push((
            listed.json()["result"].clone(),
            opened.result(),
            legacy.result(),
        ));
    }
    assert!(seen.iter().all(|it| *it == seen[0]));
    assert!(running.fates.try_recv().is_err());
}
