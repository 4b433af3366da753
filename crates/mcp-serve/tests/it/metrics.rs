//! What the server counts: each number moves by what should move it, and by nothing else.

mod formats;
mod readers;
mod replicas;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mcp_serve::{
    Config,
    limit::{Budget, Budgets, ByClass},
    session::{self, MemorySessions},
    test_util::{Next, RawClient, Samples},
};
use serde_json::{Value, json};

use crate::{
    edge::guarded_config,
    transport::probe::{self, Fate, Running, start_with},
};

/// What time and the reading itself move.
const ALWAYS: &[&str] = &[
    "process_",
    "http_server_request_duration_seconds_count{http_request_method=\"GET\",http_route=\"/metrics\"",
    "http_server_active_requests{http_request_method=\"GET\"}",
];

/// Waits until exactly this has moved since `before`; names are shortened as [`short`] says.
async fn moved(running: &Running, before: &Samples, expected: &[&str]) -> Samples {
    let address = running.server.addr();
    let mut expected: Vec<_> = expected.iter().map(|it| (*it).to_owned()).collect();
    expected.sort();
    let told = |now: &Samples| {
        let mut told: Vec<_> = now
            .moved(before, ALWAYS)
            .iter()
            .map(|it| short(it))
            .collect();
        told.sort();
        told
    };
    // What a client has its answer of may not be counted yet.
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let now = Samples::of(address).await;
        if told(&now) == expected {
            let later = Samples::of(address).await;
            assert_eq!(told(&later), expected);
            return later;
        }
        if Instant::now() > end {
            assert_eq!(told(&now), expected);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A series without the names of its labels, and with short names for the longest ones.
fn short(series: &str) -> String {
    let mut text = series.to_owned();
    for (long, short) in [
        ("http_server_request_duration_seconds_count", "http"),
        ("mcp_server_operation_duration_seconds_count", "operation"),
        ("mcp_tool_call_duration_seconds_count", "time"),
        ("mcp_tool_calls_total", "call"),
        ("mcp_rate_limit_decisions_total", "rate"),
        ("mcp_auth_failures_total", "auth"),
        ("mcp_session_duration_seconds_count", "session"),
        ("mcp_active_sessions", "sessions"),
        ("mcp_sse_streams", "streams"),
        ("http_server_active_requests", "active"),
    ] {
        text = text.replace(long, short);
    }
    let mut out = String::new();
    for part in text.split('"') {
        // Names of labels stand between the values.
        let is_name = part.ends_with('=');
        out.push_str(if is_name && part.contains('{') {
            part.split_once('{').map_or("", |(name, _)| name)
        } else if is_name {
            ""
        } else {
            part
        });
        if is_name {
            out.push(' ');
        }
    }
    out.replace('}', "")
}

fn call(name: &str, arguments: Value) -> Value {
    let mut params = json!({"name": name});
    params["arguments"] = arguments;
    params
}

#[tokio::test]
async fn each_number_moves_by_what_should_move_it_and_by_nothing_else() {
    let running = probe::start().await;
    let mut client = running.server.connect().await;
    let mut modern = running.server.modern();
    let mut so_far = Samples::of(running.server.addr()).await;

    client.get("/nowhere/at/all").await.unwrap();
    so_far = moved(&running, &so_far, &["http GET unmatched 404 +1"]).await;
    client.get("/livez").await.unwrap();
    so_far = moved(&running, &so_far, &["http GET /livez 200 +1"]).await;
    client.request("BREW", "/mcp", &[], b"").await.unwrap();
    so_far = moved(&running, &so_far, &["http _OTHER /mcp 405 +1"]).await;

    let (modern_echo, refused) = ("operation tools/call echo 2026-07-28 tcp", "-32602");
    let cases = [
        (
            "echo",
            json!({}),
            modern_echo.to_owned() + "  +1",
            "echo success",
        ),
        (
            "echo",
            json!({"text": 7}),
            modern_echo.to_owned() + " tool_error +1",
            "echo tool_error",
        ),
        (
            "fail",
            json!({}),
            "operation tools/call fail 2026-07-28 tcp -32603 +1".into(),
            "fail internal",
        ),
        (
            "panic",
            json!({}),
            "operation tools/call panic 2026-07-28 tcp -32603 +1".into(),
            "panic internal",
        ),
        (
            "no such tool",
            json!({}),
            format!("operation tools/call _unknown 2026-07-28 tcp {refused} +1"),
            "_unknown invalid_params",
        ),
    ];
    for (tool, arguments, operation, status) in cases {
        modern
            .call("tools/call", call(tool, arguments))
            .await
            .unwrap();
        let label = status.split(' ').next().unwrap();
        let (count, time) = (format!("call {status} +1"), format!("time {label} +1"));
        let expected = ["http POST /mcp 200 +1", &operation, &count, &time];
        so_far = moved(&running, &so_far, &expected).await;
    }

    modern.call("no/such/method", json!({})).await.unwrap();
    let operation = "operation _unknown  2026-07-28 tcp -32601 +1";
    so_far = moved(&running, &so_far, &["http POST /mcp 404 +1", operation]).await;
    let body = (b"{", "operation _unknown  _unknown tcp -32700 +1");
    let headers = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
    ];
    client
        .request("POST", "/mcp", &headers, body.0)
        .await
        .unwrap();
    moved(&running, &so_far, &["http POST /mcp 400 +1", body.1]).await;
}

#[tokio::test]
async fn a_session_is_counted_while_it_is_open_and_once_when_it_ends() {
    let running = probe::start().await;
    let so_far = Samples::of(running.server.addr()).await;
    let mut legacy = running.server.legacy("2025-06-18").await;
    let opened = [
        "http POST /mcp 200 +1",
        "http POST /mcp 202 +1",
        "operation initialize  2025-06-18 tcp  +1",
        "operation notifications/initialized  2025-06-18 tcp  +1",
        "sessions memory +1",
    ];
    let so_far = moved(&running, &so_far, &opened).await;

    legacy
        .call("tools/call", call("echo", json!({})))
        .await
        .unwrap();
    let called = [
        "http POST /mcp 200 +1",
        "operation tools/call echo 2025-06-18 tcp  +1",
        "call echo success +1",
        "time echo +1",
    ];
    let so_far = moved(&running, &so_far, &called).await;

    let get = legacy.open_get().await.unwrap();
    let so_far = moved(&running, &so_far, &["streams get +1"]).await;
    drop(get);
    let closed = ["http GET /mcp 200 +1", "streams get -1"];
    let so_far = moved(&running, &so_far, &closed).await;

    assert_eq!(legacy.delete().await.unwrap(), 204);
    let ended = [
        "http DELETE /mcp 204 +1",
        "session +1",
        "sessions memory -1",
    ];
    let so_far = moved(&running, &so_far, &ended).await;

    legacy.call("tools/list", json!({})).await.unwrap();
    let unknown = [
        "http POST /mcp 404 +1",
        "operation tools/list  _unknown tcp -32001 +1",
    ];
    moved(&running, &so_far, &unknown).await;
}

#[tokio::test]
async fn a_batch_is_as_many_calls_as_are_in_it() {
    let running = probe::start().await;
    let mut legacy = running.server.legacy("2025-03-26").await;
    let address = running.server.addr();
    let opened = |now: &Samples| now.text.contains("notifications/initialized");
    let so_far = Samples::until(address, "the session is open", opened).await;
    let open = |now: &Samples| now.get("mcp_active_sessions{store=\"memory\"}") > 0.5;
    Samples::until(address, "it is counted", open).await;
    let batch = json!([
        legacy.body("tools/call", call("echo", json!({}))),
        legacy.body("tools/call", call("echo", json!({}))),
        legacy.body("tools/call", call("made up", json!({}))),
        {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"},
        7,
    ]);
    legacy.post(&batch).await.unwrap();
    let expected = [
        "http POST /mcp 200 +1",
        "operation tools/call echo 2025-03-26 tcp  +2",
        "operation tools/call _unknown 2025-03-26 tcp -32602 +1",
        "operation notifications/roots/list_changed  2025-03-26 tcp  +1",
        "operation _unknown  _unknown tcp -32600 +1",
        "call echo success +2",
        "call _unknown invalid_params +1",
        "time echo +2",
        "time _unknown +1",
        "sessions memory +1",
    ];
    moved(&running, &so_far, &expected).await;
}

#[tokio::test]
async fn sessions_that_nobody_ends_are_counted_once_too() {
    let (probe, _) = probe::probe();
    let mut config = Config::default();
    config.sessions = Arc::new(MemorySessions::new(session::Limits {
        idle: Duration::from_millis(300),
        observer: config.metrics.session_observer(),
        ..session::Limits::default()
    }));
    let server =
        mcp_serve::test_util::TestServer::start(move || probe.clone(), axum::Router::new(), config)
            .await;
    let mut legacy = server.legacy("2025-11-25").await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    for _ in 0..3 {
        legacy.call("tools/list", json!({})).await.unwrap();
    }
    let name = "mcp_session_duration_seconds_count";
    let ended = |now: &Samples| now.get(name) > 0.5;
    let now = Samples::until(server.addr(), "the end is noticed", ended).await;
    assert!((now.get(name) - 1.0).abs() < 0.1);
    let (sum, bucket) = (
        now.get("mcp_session_duration_seconds_sum"),
        now.get("mcp_session_duration_seconds_bucket{le=\"1\"}"),
    );
    assert!((0.3..1.0).contains(&sum) && bucket > 0.5, "{sum} {bucket}");
    let closed = |now: &Samples| now.get("mcp_active_sessions{store=\"memory\"}") < 0.5;
    Samples::until(server.addr(), "it is open no more", closed).await;
}

#[tokio::test]
async fn streams_count_while_they_are_open_and_calls_when_they_end() {
    let mut running = probe::start().await;
    let mut modern = running.server.modern();
    let so_far = Samples::of(running.server.addr()).await;
    let filter = json!({"notifications": {"toolsListChanged": true}});
    let mut listen = modern.open("subscriptions/listen", filter).await.unwrap();
    assert!(matches!(
        listen.next_event(Duration::from_secs(10)).await,
        Next::Event(_)
    ));
    let open = ["active POST +1", "streams listen +1"];
    let so_far = moved(&running, &so_far, &open).await;
    drop(listen);
    let closed = [
        "active POST -1",
        "streams listen -1",
        "http POST /mcp 200 +1",
        "operation subscriptions/listen  2026-07-28 tcp  +1",
    ];
    let so_far = moved(&running, &so_far, &closed).await;

    // A client that goes away has cancelled what it asked for.
    let (headers, body) = modern.request("tools/call", call("slow", json!({"millis": 60_000})));
    let headers: Vec<_> = headers.iter().map(|it| (&*it.0, &*it.1)).collect();
    let (mut client, body) = (running.server.connect().await, body.to_string());
    let sent = client.send_request("POST", "/mcp", &headers, body.as_bytes());
    sent.await.unwrap();
    assert_eq!(running.fate().await, Fate::Begun);
    drop(client);
    assert_eq!(running.fate().await, Fate::Dropped);
    let gone = [
        "http POST /mcp 499 +1",
        "operation tools/call slow 2026-07-28 tcp cancelled +1",
        "call slow tool_error +1",
        "time slow +1",
    ];
    moved(&running, &so_far, &gone).await;
}

/// One of each kind of work, and then no more.
fn budgets() -> Budgets {
    let budget = Budget::new(1, Duration::from_hours(1));
    let all = ByClass {
        read: budget,
        write: budget,
        search: budget,
        session: budget,
        control: budget,
    };
    Budgets {
        anonymous: all.clone(),
        principal: all,
        auth_failure: None,
    }
}

#[tokio::test]
async fn what_is_refused_is_counted_with_its_reason() {
    let running = start_with(|config| config.budgets = budgets()).await;
    let mut modern = running.server.modern();
    let mut so_far = Samples::of(running.server.addr()).await;
    for (status, decision, outcome) in [(200, "allowed", ""), (429, "limited", "rate_limited")] {
        modern
            .call("tools/call", call("echo", json!({})))
            .await
            .unwrap();
        let told = if outcome.is_empty() {
            "success"
        } else {
            outcome
        };
        let revision = if outcome.is_empty() {
            "2026-07-28"
        } else {
            "_unknown"
        };
        let expected = [
            format!("http POST /mcp {status} +1"),
            format!("rate write {decision} +1"),
            format!("operation tools/call echo {revision} tcp {outcome} +1"),
            format!("call echo {told} +1"),
            "time echo +1".to_owned(),
        ];
        let expected: Vec<_> = expected.iter().map(String::as_str).collect();
        so_far = moved(&running, &so_far, &expected).await;
    }
}

#[tokio::test]
async fn credentials_that_are_refused_are_counted_by_reason_and_never_told() {
    let (probe, _) = probe::probe();
    let config = Config { ..guarded_config() };
    let metrics = config.metrics.clone();
    let server =
        mcp_serve::test_util::TestServer::start(move || probe.clone(), axum::Router::new(), config)
            .await;
    let mut client = server.connect().await;
    let read = async || {
        let sesame = [("Authorization", "Bearer sesame")];
        let mut client = RawClient::connect(server.addr()).await.unwrap();
        let answer = client
            .request("GET", "/metrics", &sesame, b"")
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
        Samples::parse(&answer.text())
    };
    let before = read().await;
    for field in ["Bearer wrong-and-secret", "Bearer other-and-secret"] {
        let headers = [("Authorization", field)];
        client
            .request("GET", "/hello", &headers, b"")
            .await
            .unwrap();
    }
    client.get("/metrics").await.unwrap();
    // Probes without a credential are no failures.
    client.get("/readyz").await.unwrap();
    let now = read().await;
    let failures: Vec<_> = now.moved(&before, ALWAYS).into_iter().collect();
    let failures: Vec<_> = failures
        .iter()
        .filter(|it| it.contains("auth_failures"))
        .collect();
    let all: f64 = failures
        .iter()
        .map(|it| it.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert!((all - 3.0).abs() < 0.1, "{failures:?}");
    assert!(!now.text.contains("secret") && !now.text.contains("sesame"));
    drop(metrics);
}

#[tokio::test]
async fn whatever_callers_make_up_adds_no_series() {
    let running = probe::start().await;
    let mut modern = running.server.modern();
    let mut client = running.server.connect().await;
    // The reading has a series too.
    Samples::of(running.server.addr()).await;
    let mut sizes = Vec::new();
    for round in 0..2 {
        for number in 0..60 {
            let made_up = format!("Made{round}x{number}\"}}\\");
            modern.call(&made_up, json!({})).await.ok();
            modern
                .call("tools/call", call(&made_up, json!({})))
                .await
                .unwrap();
            modern.version = format!("2027-{round}1-{number:02}");
            modern.call("tools/list", json!({})).await.unwrap();
            modern.version = "2026-07-28".to_owned();
            let path = format!("/made-up/{round}/{number}");
            client.get(&path).await.unwrap();
            let verb = format!("MADE{round}UP{number}");
            client.request(&verb, &path, &[], b"").await.unwrap();
            let headers = [("Mcp-Session-Id", &*path), ("X-Request-Id", &*verb)];
            client
                .request("DELETE", "/mcp", &headers, b"")
                .await
                .unwrap();
        }
        let now = Samples::of(running.server.addr()).await;
        let text = now.text.to_ascii_lowercase();
        assert!(!text.contains("made") && !text.contains("2027-"), "{text}");
        sizes.push(now.series().count());
    }
    assert_eq!(sizes[0], sizes[1]);
    assert!(sizes[0] < 400, "{sizes:?}");
}

#[tokio::test]
async fn no_session_no_token_and_no_text_is_in_any_label() {
    let running = probe::start().await;
    let mut legacy = running.server.legacy("2025-11-25").await;
    let session = legacy.session.clone().unwrap();
    let text = json!({"text": "the plan"});
    legacy.call("tools/call", call("echo", text)).await.unwrap();
    let uri = json!({"uri": "note:///the-plan"});
    legacy.call("resources/read", uri).await.unwrap();
    let mut client = running.server.connect().await;
    let headers = [("Authorization", "Bearer my-token")];
    client
        .request("GET", "/items/the-plan?q=the-plan", &headers, b"")
        .await
        .unwrap();
    let now = Samples::of(running.server.addr()).await;
    for secret in [
        session.as_str(),
        "plan",
        "my-token",
        "127.0.0.1",
        "test-client",
    ] {
        assert!(!now.text.contains(secret), "{secret}");
    }
}
