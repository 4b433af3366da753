//! Bombs for notes: arguments, queries and searches that are cheap to send and dear to answer.

use std::time::{Duration, Instant};

use mcp_serve::test_util::{Legacy, RawClient, RawResponse};
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::process::Served;

/// Far more than any of it takes on a busy machine.
const BOUND: Duration = Duration::from_secs(20);

/// The most that an answer to nonsense may be long, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

async fn rest(served: &Served, method: &str, path: &str, body: &str) -> RawResponse {
    let mut client = RawClient::connect(served.address).await.unwrap();
    let json = [("Content-Type", "application/json")];
    let begun = Instant::now();
    let answer = client.request(method, path, &json, body.as_bytes()).await;
    let answer = answer.unwrap();
    assert!(begun.elapsed() < BOUND, "{path:.60} {body:.60}");
    assert!(
        answer.body.len() < ANSWER_BYTES_MAX,
        "{path:.60} {body:.60} has an answer of {} bytes",
        answer.body.len()
    );
    answer
}

async fn call(legacy: &mut Legacy, name: &str, arguments: Value) -> Value {
    let text = arguments.to_string();
    let begun = Instant::now();
    let params = json!({"name": name, "arguments": arguments});
    let answer = legacy.call("tools/call", params).await.unwrap();
    assert!(begun.elapsed() < BOUND, "{text:.60}");
    let length = answer.last().to_string().len();
    assert!(
        length < ANSWER_BYTES_MAX,
        "{text:.60} has an answer of {length} bytes"
    );
    answer.last()
}

/// Members that no shape has, values of every wrong kind, as many and as deep as fit.
fn arguments() -> Vec<(&'static str, Value)> {
    let members = |count: usize| -> Value {
        let all = (0..count).map(|n| (format!("{n:x}"), json!(0)));
        Value::Object(all.collect())
    };
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    vec![
        ("many unknown members", members(60_000)),
        ("a long unknown member", json!({"x".repeat(900_000): 1})),
        (
            "many tags",
            json!({"title": "a", "content": "b", "tags": vec!["t"; 200_000]}),
        ),
        (
            "many bad tags",
            json!({"title": "a", "content": "b", "tags": vec![1; 300_000]}),
        ),
        (
            "a long tag",
            json!({"title": "a", "content": "b", "tags": ["t".repeat(900_000)]}),
        ),
        (
            "a long title",
            json!({"title": "a".repeat(900_000), "content": "b"}),
        ),
        (
            "a long text",
            json!({"title": "a", "content": "b".repeat(900_000)}),
        ),
        (
            "many controls",
            json!({"title": "a", "content": "\u{1}".repeat(100_000)}),
        ),
        (
            "deep",
            json!({"title": deep, "content": deep, "tags": deep}),
        ),
        (
            "a large number",
            json!({"title": 1e300, "content": u64::MAX, "tags": -1}),
        ),
        (
            "many titles",
            json!({"title": vec!["a"; 200_000], "content": "b"}),
        ),
    ]
}

#[tokio::test]
async fn bombs_in_arguments_and_bodies_cost_little() {
    let folder = tempdir().unwrap();
    let served = Served::start(folder.path(), &[]).await;
    let mut legacy = Legacy::initialize(served.address, "2025-11-25")
        .await
        .unwrap();
    for (what, arguments) in arguments() {
        for tool in ["create_note", "search_notes"] {
            let answer = call(&mut legacy, tool, arguments.clone()).await;
            assert_eq!(
                answer["result"]["isError"], true,
                "{tool} {what} {answer:.300}"
            );
        }
        let answer = rest(&served, "POST", "/api/v1/notes", &arguments.to_string()).await;
        assert!(
            (400..500).contains(&answer.status),
            "{what} {}",
            answer.status
        );
    }
    for body in [
        "[".repeat(1_000_000),
        "{\"title\":".repeat(100_000),
        format!("{{\"title\":{}}}", "9".repeat(1_000_000)),
        format!("{{\"title\":1e{}}}", "9".repeat(1_000_000)),
        "{\"title\":1e400}".to_owned(),
        "{\"title\":\"\\ud800\",\"content\":\"a\"}".to_owned(),
        format!("{{{}\"a\":1}}", "\"title\":\"a\",".repeat(70_000)),
        format!("{{\"tags\":[{}\"a\"]}}", "\"a\",".repeat(200_000)),
        "\u{feff}{}".to_owned(),
    ] {
        let answer = rest(&served, "POST", "/api/v1/notes", &body).await;
        assert!((400..500).contains(&answer.status), "{body:.40} {answer:?}");
    }
    let listed = rest(&served, "GET", "/api/v1/notes", "").await.json();
    assert_eq!(listed["notes"], json!([]), "{listed}");
    let (status, _) = served.stop().await;
    assert!(status.success());
}

#[tokio::test]
async fn bombs_in_searches_cost_little() {
    let folder = tempdir().unwrap();
    let served = Served::start(folder.path(), &[]).await;
    let mut legacy = Legacy::initialize(served.address, "2025-11-25")
        .await
        .unwrap();
    for number in 0..30 {
        let words: Vec<_> = (0..1500)
            .map(|n| format!("w{}", n * number % 997))
            .collect();
        let note = json!({"title": format!("note {number}"), "content": words.join(" ")});
        let made = call(&mut legacy, "create_note", note).await;
        assert!(made["result"]["structuredContent"]["id"].is_string());
    }
    let queries = [
        "w1 ".repeat(500),
        "w* ".repeat(500),
        "*".repeat(500),
        "\"".repeat(501),
        "(".repeat(500) + &")".repeat(500),
        "NEAR(w1 w2, 1000000)".to_owned(),
        "w1 OR ".repeat(200) + "w2",
        "NOT ".repeat(200) + "w1",
        "title:w1 AND content:w2 {a b}:w3 ^w4 + -w5".to_owned(),
        "'; DROP TABLE notes; --".to_owned(),
        "\u{0}".to_owned(),
        "\u{301}".repeat(1000),
        "\u{1f468}\u{200d}".repeat(300),
        "a".repeat(1_000_000),
        "%".repeat(1000),
        "_".repeat(1000),
        "w1 -".repeat(300),
    ];
    for query in queries {
        let answer = call(&mut legacy, "search_notes", json!({"query": query})).await;
        assert!(answer["error"].is_null(), "{query:.40} {answer}");
    }
    // And in the address, up to its longest.
    for query in [
        "tag=a&",
        "x=1&",
        "limit=1&",
        "q=%2a%22&",
        "%00=%00&",
        "&",
        "=&",
        "q[]=1&",
    ] {
        for path in ["/api/v1/notes", "/api/v1/notes/search"] {
            let target = format!("{path}?{}", query.repeat(8000 / query.len()));
            let answer = rest(&served, "GET", &target, "").await;
            assert!(answer.status < 500, "{query} {answer:?}");
        }
    }
    for target in [
        "/api/v1/notes?limit=99999999999999999999999999",
        "/api/v1/notes?limit=-1",
        "/api/v1/notes?limit=1e9",
        "/api/v1/notes?cursor=AAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "/api/v1/notes?updated_after=+999999999-12-31T23:59:59Z",
        "/api/v1/notes?title_prefix=%25",
    ] {
        let answer = rest(&served, "GET", target, "").await;
        assert!(answer.status < 500, "{target} {answer:?}");
    }
    // All notes are still there, and found.
    let found = call(
        &mut legacy,
        "search_notes",
        json!({"query": "w0", "limit": 1}),
    )
    .await;
    assert!(
        found["result"]["structuredContent"]["hits"][0]["id"].is_string(),
        "{found}"
    );
    let (status, _) = served.stop().await;
    assert!(status.success());
}
