//! Rate limits: budgets by caller and kind of work, and calls in flight.

use std::{fmt::Write as _, time::Duration};

use mcp_serve::{
    limit::{Budget, Budgets, ByClass},
    test_util::RawClient,
};
use serde_json::{Value, json};

use super::super::probe::{Fate, start_with};
use super::*;

/// Budgets that do not fill again while a test runs.
fn budgets(each: u32) -> Budgets {
    let budget = Budget::new(each, Duration::from_hours(1));
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
        auth_failure: budget,
    }
}

fn call(name: &str) -> Value {
    json!({"name": name, "arguments": {}})
}

#[tokio::test]
async fn one_request_too_many_gets_429_with_its_id_and_when_to_come_again() {
    let mut book = None;
    let running = start_with(|config| {
        book = Some(guarded(config).1);
        config.budgets = budgets(3);
    })
    .await;
    let mut ali = modern(&running, "ali write");
    for left in (0..3).rev() {
        let answer = ali.call("tools/call", call("echo")).await.unwrap();
        assert_eq!(answer.status(), 200);
        let policy = parameters(answer.head.header("ratelimit-policy").unwrap());
        assert_eq!((policy["q"], policy["w"]), (3, 3600));
        assert_eq!(
            parameters(answer.head.header("ratelimit").unwrap())["r"],
            left
        );
        assert_eq!(answer.head.header("retry-after"), None);
    }
    let refused = ali.call("tools/call", call("echo")).await.unwrap();
    assert_eq!((refused.status(), refused.error_code()), (429, -32000));
    assert_eq!(refused.last()["id"], 4);
    let message = refused.last()["error"]["message"].clone();
    assert_eq!(message, "Rate limit exceeded (search)");
    let wait: u64 = refused.head.header("retry-after").unwrap().parse().unwrap();
    assert!((1100..=1200).contains(&wait), "{wait}");
    assert_eq!(
        parameters(refused.head.header("ratelimit").unwrap())["r"],
        0
    );
    let heard = book.unwrap().0.lock().unwrap().clone();
    assert_eq!(
        heard,
        [("ali".into(), "tools/call echo".into(), 429, "rate")]
    );

    // Other kinds of work and other callers have their own.
    assert_eq!(
        ali.call("tools/list", json!({})).await.unwrap().status(),
        200
    );
    let mut bo = modern(&running, "bo write");
    assert_eq!(
        bo.call("tools/call", call("echo")).await.unwrap().status(),
        200
    );
}

#[tokio::test]
async fn rate_limit_evasion_by_many_sessions_connections_and_pipelining_fails() {
    let running = start_with(|config| {
        guarded(config);
        config.budgets = budgets(5);
    })
    .await;
    let mut served = 0;
    for _ in 0..4 {
        let mut older = legacy(&running, "ali read").await;
        for _ in 0..2 {
            let answer = older.call("tools/call", call("echo")).await.unwrap();
            served += usize::from(answer.status() == 200);
        }
    }
    assert_eq!(served, 5);

    let mut bo = modern(&running, "bo read");
    let (headers, body) = bo.request("tools/call", call("echo"));
    let headers: Vec<_> = headers
        .iter()
        .map(|it| (it.0.as_str(), it.1.as_str()))
        .collect();
    let body = body.to_string();
    let mut client = running.server.connect().await;
    for _ in 0..8 {
        let sent = client.send_request("POST", "/mcp", &headers, body.as_bytes());
        sent.await.unwrap();
    }
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(client.read_response(false).await.unwrap().status);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429, 429]);
}

#[tokio::test]
async fn opening_sessions_has_a_budget_of_its_own() {
    let running = start_with(|config| {
        guarded(config);
        config.budgets = budgets(2);
    })
    .await;
    legacy(&running, "ali").await;
    legacy(&running, "ali").await;
    let headers = bearer("ali");
    let third = Legacy::initialize_with(running.server.addr(), "2025-11-25", json!({}), headers);
    let refused = third.await.unwrap_err().to_string();
    assert!(
        refused.contains("Rate limit exceeded (session)"),
        "{refused}"
    );
    let mut ali = modern(&running, "ali");
    // The notifications of the two sessions came out of the reads.
    assert_eq!(
        ali.call("tools/list", json!({})).await.unwrap().status(),
        429
    );
}

#[tokio::test]
async fn a_batch_costs_what_its_messages_cost_and_passes_whole_or_not_at_all() {
    let mut running = start_with(|config| {
        guarded(config);
        config.budgets = budgets(3);
    })
    .await;
    let older = legacy(&running, "batch write").await;
    let batch = |count: usize| -> Value {
        let slow = |id| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": call("slow")});
        (0..count).map(slow).collect()
    };
    assert_eq!(older.post(&batch(2)).await.unwrap().status(), 200);
    for fate in [Fate::Begun, Fate::Begun, Fate::Done, Fate::Done] {
        assert_eq!(running.fate().await, fate);
    }
    assert_eq!(older.post(&batch(2)).await.unwrap().status(), 429);
    assert!(running.fates.try_recv().is_err());
    assert_eq!(older.post(&batch(1)).await.unwrap().status(), 200);
}

#[tokio::test]
async fn callers_without_a_name_are_counted_by_address_and_probes_and_preflights_are_free() {
    let mut config = Config {
        budgets: budgets(2),
        ..Config::default()
    };
    config.mcp.keep_alive = Duration::from_secs(1);
    let routes = axum::Router::new().route("/hello", axum::routing::get(|| async { "hello" }));
    let server = crate::edge::start(routes, config).await;
    let mut client = server.connect().await;
    for path in ["/livez", "/readyz", "/health", "/livez", "/readyz"] {
        let probe = client.get(path).await.unwrap();
        assert_eq!(
            (probe.status, probe.header("ratelimit")),
            (200, None),
            "{path}"
        );
        let preflight = [
            ("Origin", "http://localhost:5000"),
            ("Access-Control-Request-Method", "POST"),
        ];
        let answer = client
            .request("OPTIONS", "/mcp", &preflight, b"")
            .await
            .unwrap();
        assert_eq!(answer.status, 204);
    }
    assert_eq!(client.get("/hello").await.unwrap().status, 200);
    let mut other = server.connect().await;
    assert_eq!(other.get("/hello").await.unwrap().status, 200);
    let refused = client.get("/hello").await.unwrap();
    assert_eq!(refused.status, 429);
    assert_eq!(
        refused.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(refused.json()["detail"], "Rate limit exceeded (read)");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(other.get("/nothing").await.unwrap().status, 429);
}

#[tokio::test]
async fn refused_credentials_run_into_a_limit_and_right_ones_still_pass() {
    let mut book = None;
    let running = start_with(|config| {
        book = Some(guarded(config).1);
        config.budgets = budgets(3);
    })
    .await;
    let mut wrong = modern(&running, "");
    for _ in 0..3 {
        assert_eq!(
            wrong.call("tools/list", json!({})).await.unwrap().status(),
            401
        );
    }
    let refused = wrong.call("tools/list", json!({})).await.unwrap();
    assert_eq!(refused.status(), 429);
    assert!(refused.head.header("retry-after").is_some());
    let mut ali = modern(&running, "ali");
    assert_eq!(
        ali.call("tools/list", json!({})).await.unwrap().status(),
        200
    );
    // A client that has no credential yet must be able to learn that it needs one.
    let mut nobody = running.server.modern();
    assert_eq!(
        nobody.call("tools/list", json!({})).await.unwrap().status(),
        401
    );
    let heard = book.unwrap().0.lock().unwrap().clone();
    let reasons: Vec<_> = heard.iter().map(|it| (it.2, it.3)).collect();
    let unknown = (401, "unknown");
    assert_eq!(
        reasons,
        [unknown, unknown, unknown, (429, "rate"), (401, "missing")]
    );
}

#[tokio::test]
async fn calls_in_flight_have_a_limit_that_follows_the_work_and_not_the_connection() {
    let mut running = start_with(|config| {
        guarded(config);
        config.limits.calls_per_caller_max = 2;
    })
    .await;
    let older = legacy(&running, "ali write").await;
    let headers = older.session_headers();
    let headers: Vec<_> = headers
        .iter()
        .map(|it| (it.0.as_str(), it.1.as_str()))
        .collect();
    for id in 1..=2 {
        let params = json!({"name": "slow", "arguments": {"millis": 60_000}});
        let body = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
        let mut client = RawClient::connect(running.server.addr()).await.unwrap();
        let body = body.to_string();
        client
            .send_request("POST", "/mcp", &headers, body.as_bytes())
            .await
            .unwrap();
        assert_eq!(running.fate().await, Fate::Begun);
        // The client goes; a session's call goes on.
    }
    let mut ali = modern(&running, "ali write");
    let refused = ali.call("tools/list", json!({})).await.unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(
        refused.last()["error"]["message"],
        "too many requests of yours are running"
    );
    assert_eq!(refused.head.header("retry-after"), Some("1"));
    let mut bo = modern(&running, "bo write");
    assert_eq!(
        bo.call("tools/list", json!({})).await.unwrap().status(),
        200
    );
    // The end of the session gets through, ends its calls, and frees their places.
    assert_eq!(older.delete().await.unwrap(), 204);
    for _ in 0..2 {
        assert_eq!(running.fate().await, Fate::Dropped);
    }
    let again = ali.call("tools/list", json!({})).await.unwrap();
    assert_eq!(again.status(), 200);
}

#[tokio::test]
async fn a_batch_that_can_never_pass_is_told_so_and_a_mixed_one_spends_nothing_in_vain() {
    let running = start_with(|config| {
        guarded(config);
        config.budgets = budgets(4);
    })
    .await;
    let older = legacy(&running, "batch write").await;
    let tool = |name: &str, id: usize| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": call(name)});
    let echoes = |count: usize| -> Value { (0..count).map(|id| tool("echo", id)).collect() };
    let never = older.post(&echoes(5)).await.unwrap();
    assert_eq!(
        (never.status(), never.head.header("retry-after")),
        (413, None)
    );

    assert_eq!(older.post(&echoes(3)).await.unwrap().status(), 200);
    // One write would do, two searches do not: the write is not spent.
    for _ in 0..6 {
        let mixed = json!([tool("slow", 1), tool("echo", 2), tool("echo", 3)]);
        let refused = older.post(&mixed).await.unwrap();
        assert_eq!(refused.status(), 429);
        let message = refused.last()["error"]["message"].clone();
        assert_eq!(message, "Rate limit exceeded (search)");
    }
    let writes: Value = (0..4).map(|id| tool("slow", id)).collect();
    assert_eq!(older.post(&writes).await.unwrap().status(), 200);
}

#[tokio::test]
async fn what_cannot_be_read_costs_as_much_as_what_can() {
    let running = start_with(|config| {
        guarded(config);
        config.budgets = budgets(5);
    })
    .await;
    // The notification that the session is open is the first read.
    let older = legacy(&running, "batch write").await;
    let broken = json!([1, 2]);
    assert_eq!(older.post(&broken).await.unwrap().status(), 200);
    assert_eq!(older.post(&json!(3)).await.unwrap().status(), 400);
    assert_eq!(older.post(&broken).await.unwrap().status(), 429);
    assert_eq!(older.post(&json!([])).await.unwrap().status(), 400);
    assert_eq!(older.post(&json!(3)).await.unwrap().status(), 429);
}

#[tokio::test]
async fn who_has_used_up_its_reads_can_still_cancel_and_leave() {
    let mut running = start_with(|config| {
        guarded(config);
        config.budgets = budgets(2);
    })
    .await;
    let mut older = legacy(&running, "ali write").await;
    let slow = json!({"name": "slow", "arguments": {"millis": 60_000}});
    let body = older.body("tools/call", slow);
    let call = {
        let older = older.clone();
        let body = body.clone();
        tokio::spawn(async move { older.post(&body).await })
    };
    assert_eq!(running.fate().await, Fate::Begun);
    while older.call("ping", json!({})).await.unwrap().status() == 200 {}
    let cancel = json!({"requestId": body["id"]});
    let answer = older.notify("notifications/cancelled", cancel).await;
    assert_eq!(answer.unwrap().status(), 202);
    assert_eq!(running.fate().await, Fate::Dropped);
    assert_eq!(older.delete().await.unwrap(), 204);
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn memory_flood_by_bodies_that_never_end_has_a_limit_for_each_caller() {
    let running = start_with(|config| {
        guarded(config);
        config.limits.calls_per_caller_max = 3;
    })
    .await;
    let mut ali = modern(&running, "ali read");
    let (headers, body) = ali.request("tools/call", call("echo"));
    let length = body.to_string().len();
    let mut head = format!("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n");
    for (name, value) in &headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    head.push_str("\r\n{");
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = running.server.connect().await;
        client.send(head.as_bytes()).await.unwrap();
        clients.push(client);
    }
    // The three have their places when one more has none.
    let refused = tokio::time::timeout(super::super::SOON, async {
        loop {
            let answer = ali.call("tools/call", call("echo")).await.unwrap();
            if answer.status() != 200 {
                return answer;
            }
        }
    });
    let refused = refused.await.unwrap();
    assert_eq!(refused.status(), 429);
    let mut bo = modern(&running, "bo read");
    assert_eq!(
        bo.call("tools/call", call("echo")).await.unwrap().status(),
        200
    );
    let rest = body.to_string();
    clients[0].send(&rest.as_bytes()[1..]).await.unwrap();
    assert_eq!(clients[0].read_response(false).await.unwrap().status, 200);
    assert_eq!(
        ali.call("tools/call", call("echo")).await.unwrap().status(),
        200
    );
}

#[tokio::test]
async fn a_network_that_has_only_wrong_credentials_is_a_suspect_to_the_authenticator() {
    let running = start_with(|config| {
        guarded(config);
        config.authenticator = Arc::new(Wary);
        config.budgets = budgets(2);
    })
    .await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let answer = modern(&running, "wrong")
            .call("tools/list", json!({}))
            .await;
        statuses.push(answer.unwrap().status());
    }
    assert_eq!(statuses, [401, 401, 429]);
    let mut asked = modern(&running, "unknown yet");
    assert_eq!(
        asked.call("tools/list", json!({})).await.unwrap().status(),
        429
    );
    let mut known = modern(&running, "known");
    assert_eq!(
        known.call("tools/list", json!({})).await.unwrap().status(),
        200
    );
}

/// Knows one credential, and would ask somebody else about others, where every one but `wrong` is
/// right.
struct Wary;

#[async_trait]
impl Authenticator for Wary {
    async fn authenticate(&self, parts: &Parts) -> Result<Principal, AuthError> {
        let field = parts.headers["authorization"].to_str().unwrap();
        let is_suspect = parts.extensions.get::<mcp_serve::auth::Suspect>().is_some();
        match field {
            "Bearer known" => Ok(Principal::new("known")),
            "Bearer wrong" => Err(refused()),
            _ if is_suspect => Err(refused()),
            _ => Ok(Principal::new("asked")),
        }
    }
}

fn refused() -> AuthError {
    AuthError::Unauthenticated {
        reason: "unknown",
        challenge: "Bearer".into(),
    }
}

/// Never answers.
struct Away;

#[async_trait]
impl mcp_serve::limit::Limiter for Away {
    async fn take(
        &self,
        _caller: &mcp_serve::limit::Caller,
        _class: Class,
        _budget: Budget,
        _count: u32,
    ) -> mcp_serve::limit::Decision {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_limiter_that_does_not_answer_keeps_nobody_out() {
    let running = start_with(|config| {
        guarded(config);
        config.budgets = budgets(1);
        config.limiter = Arc::new(Away);
    })
    .await;
    let mut ali = modern(&running, "ali read");
    for _ in 0..2 {
        assert_eq!(
            ali.call("tools/list", json!({})).await.unwrap().status(),
            200
        );
    }
}
