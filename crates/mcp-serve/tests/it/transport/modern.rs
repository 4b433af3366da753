//! What a request of 2026-07-28 must carry, and what its answer carries.

use serde_json::{Value, json};

use super::probe::start;
use mcp_serve::test_util::post;

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

#[tokio::test]
async fn every_result_names_the_server_and_carries_its_cache_hints() {
    let running = start().await;
    let mut modern = running.server.modern();
    let call = json!({"name": "echo", "arguments": {"text": "a"}});
    for (method, params) in [
        ("server/discover", json!({})),
        ("tools/list", json!({})),
        ("tools/call", call.clone()),
    ] {
        let result = modern.call(method, params).await.unwrap().result();
        assert!(
            result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"].is_string(),
            "{method}"
        );
        assert_eq!(result["resultType"], "complete", "{method}");
        assert_eq!(
            result.get("ttlMs").is_some(),
            method != "tools/call",
            "{method}"
        );
    }
    let mut legacy = running.server.legacy("2025-11-25").await;
    for (method, params) in [("tools/list", json!({})), ("tools/call", call)] {
        let result = legacy.call(method, params).await.unwrap().result();
        for key in ["_meta", "resultType", "ttlMs", "cacheScope"] {
            assert!(result.get(key).is_none(), "{method} {key}");
        }
    }
    assert_eq!(
        legacy.call("ping", json!({})).await.unwrap().result(),
        json!({})
    );
}

#[tokio::test]
async fn discovery_offers_the_revisions_that_are_served() {
    let running = start().await;
    let result = running
        .server
        .modern()
        .call("server/discover", json!({}))
        .await
        .unwrap()
        .result();
    let served = ["2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"];
    assert_eq!(result["supportedVersions"], json!(served));
}

/// Makes a correct request an incorrect one.
type Spoil = dyn Fn(&mut Vec<(String, String)>, &mut Value);

#[tokio::test]
async fn headers_and_meta_are_held_against_each_other() {
    let running = start().await;
    let call = json!({"name": "region", "arguments": {"region": "eu"}});
    let cases: [(&str, &Spoil, i64); 9] = [
        (
            "as it should be",
            &|headers, _| headers.push(pair("Mcp-Param-Region", "eu")),
            0,
        ),
        ("an argument without its header", &|_, _| {}, -32020),
        (
            "an argument that its header contradicts",
            &|headers, _| headers.push(pair("Mcp-Param-Region", "us")),
            -32020,
        ),
        (
            "no method header",
            &|headers, _| headers.retain(|it| it.0 != "Mcp-Method"),
            -32020,
        ),
        (
            "another name",
            &|headers, _| set(headers, "Mcp-Name", "echo"),
            -32020,
        ),
        (
            "no version header",
            &|headers, _| headers.retain(|it| it.0 != "MCP-Protocol-Version"),
            -32020,
        ),
        (
            "another version",
            &|headers, _| set(headers, "MCP-Protocol-Version", "2025-11-25"),
            -32020,
        ),
        (
            "no capabilities",
            &|_, body| remove(body, CAPABILITIES),
            -32602,
        ),
        (
            "a version of the future",
            &|headers, body| {
                set(headers, "MCP-Protocol-Version", "2099-01-01");
                body["params"]["_meta"][VERSION] = json!("2099-01-01");
            },
            -32022,
        ),
    ];
    for (name, spoil, expected) in cases {
        let (mut headers, mut body) = running.server.modern().request("tools/call", call.clone());
        spoil(&mut headers, &mut body);
        let answer = post(running.server.addr(), "/mcp", &headers, &body)
            .await
            .unwrap();
        if expected == 0 {
            assert_eq!(answer.result()["content"][0]["text"], "eu", "{name}");
        } else {
            assert_eq!(
                (answer.status(), answer.error_code()),
                (400, expected),
                "{name}"
            );
            assert_eq!(answer.last()["id"], 1, "{name}");
        }
    }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn set(headers: &mut [(String, String)], name: &str, value: &str) {
    for header in headers.iter_mut().filter(|it| it.0 == name) {
        value.clone_into(&mut header.1);
    }
}

fn remove(body: &mut Value, key: &str) {
    body["params"]["_meta"].as_object_mut().unwrap().remove(key);
}

#[tokio::test]
async fn an_unsupported_version_is_told_which_there_are() {
    let running = start().await;
    let mut modern = running.server.modern();
    modern.version = "2027-01-01".to_owned();
    let answer = modern.call("tools/list", json!({})).await.unwrap();
    let data = &answer.last()["error"]["data"];
    assert_eq!(data["requested"], "2027-01-01");
    assert!(
        data["supported"]
            .as_array()
            .unwrap()
            .contains(&json!("2026-07-28"))
    );
}

#[tokio::test]
async fn a_session_id_means_nothing_to_a_modern_request() {
    let running = start().await;
    let mut modern = running.server.modern();
    modern.headers.push(pair("Mcp-Session-Id", "made-up"));
    let answer = modern.call("tools/list", json!({})).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.head.header("mcp-session-id"), None);
}

#[tokio::test]
async fn results_that_say_nothing_of_caching_get_the_hints_of_their_method() {
    let running = start().await;
    let mut modern = running.server.modern();
    for (method, ttl, scope) in [
        ("server/discover", 300_000, "private"),
        ("resources/templates/list", 300_000, "private"),
        ("resources/list", 0, "private"),
        // The handler's own word.
        ("tools/list", 1000, "public"),
    ] {
        let result = modern.call(method, json!({})).await.unwrap().result();
        assert_eq!(
            (&result["ttlMs"], &result["cacheScope"]),
            (&json!(ttl), &json!(scope)),
            "{method}"
        );
    }
}
