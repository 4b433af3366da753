//! Answers that stream: progress, cancellation, clients that go away, come back or do not read, and
//! the server's questions to older clients.

use std::time::Duration;

use mcp_serve::test_util::{Legacy, Next, RawClient, SseEvent, SseReader};
use serde_json::{Value, json};

use super::{
    SOON,
    probe::{Fate, Running, start, start_with},
    sessions::get_status,
};

fn slow(millis: u64) -> Value {
    json!({"name": "slow", "arguments": {"millis": millis}})
}

fn count(to: u64, bytes: usize) -> Value {
    let arguments = json!({"to": to, "bytes": bytes});
    json!({"name": "count", "arguments": arguments, "_meta": {"progressToken": "p"}})
}

async fn next(stream: &mut SseReader) -> SseEvent {
    loop {
        match stream.next_event(SOON).await {
            Next::Event(event) if event.data.trim().is_empty() && event.retry.is_none() => {}
            Next::Event(event) => return event,
            other => panic!("no event but {other:?}"),
        }
    }
}

/// Posts a message and goes away without waiting for the answer, once the call has begun.
async fn post_and_go(running: &mut Running, headers: &[(String, String)], body: &Value) {
    let headers: Vec<_> = headers
        .iter()
        .map(|it| (it.0.as_str(), it.1.as_str()))
        .collect();
    let mut client = RawClient::connect(running.server.addr()).await.unwrap();
    let body = body.to_string();
    client
        .send_request("POST", "/mcp", &headers, body.as_bytes())
        .await
        .unwrap();
    assert_eq!(running.fate().await, Fate::Begun);
}

#[tokio::test]
async fn a_modern_client_that_goes_away_cancels_its_call() {
    let mut running = start().await;
    for token in [None, Some(json!("p"))] {
        let mut modern = running.server.modern();
        if let Some(token) = token {
            modern.meta.insert("progressToken".into(), token);
        }
        let (headers, body) = modern.request("tools/call", slow(60_000));
        post_and_go(&mut running, &headers, &body).await;
        assert_eq!(running.fate().await, Fate::Dropped);
    }
}

#[tokio::test]
async fn an_older_client_that_goes_away_does_not_cancel_its_call() {
    let mut running = start().await;
    let mut legacy = running.server.legacy("2025-11-25").await;
    let body = legacy.body("tools/call", slow(300));
    post_and_go(&mut running, &legacy.session_headers(), &body).await;
    assert_eq!(running.fate().await, Fate::Done);
}

#[tokio::test]
async fn an_older_client_cancels_with_a_notification_and_only_in_its_session() {
    let mut running = start().await;
    let mut legacy = running.server.legacy("2025-11-25").await;
    let mut other = running.server.legacy("2025-11-25").await;
    let body = legacy.body("tools/call", slow(60_000));
    let call = {
        let (legacy, body) = (legacy.clone(), body.clone());
        tokio::spawn(async move { legacy.post(&body).await })
    };
    assert_eq!(running.fate().await, Fate::Begun);
    let cancel = json!({"requestId": body["id"], "reason": "changed my mind"});
    assert_eq!(
        other
            .notify("notifications/cancelled", cancel.clone())
            .await
            .unwrap()
            .status(),
        202
    );
    assert!(
        running.fates.try_recv().is_err(),
        "the call of another session was cancelled"
    );
    legacy
        .notify("notifications/cancelled", cancel)
        .await
        .unwrap();
    assert_eq!(running.fate().await, Fate::Dropped);
    assert!(
        call.await.unwrap().unwrap().messages.is_empty(),
        "a cancelled call was answered"
    );
}

#[tokio::test]
async fn progress_comes_in_order_and_before_the_answer() {
    let running = start().await;
    let mut modern = running.server.modern();
    modern.meta.insert("progressToken".into(), json!(7));
    let answer = modern.call("tools/call", count(20, 0)).await.unwrap();
    let steps: Vec<_> = answer
        .messages
        .iter()
        .map(|it| it["params"]["progress"].as_f64())
        .collect();
    assert_eq!(steps.len(), 21);
    assert!(steps.iter().take(20).is_sorted() && steps[20].is_none());
    assert_eq!(answer.messages[0]["params"]["progressToken"], 7);
    assert_eq!(answer.head.header("x-accel-buffering"), Some("no"));
    assert_eq!(answer.result()["content"][0]["text"], "counted to 20");
    // Without a token nothing but the answer is wanted, and it is plain JSON.
    let answer = running
        .server
        .modern()
        .call("tools/call", json!({"name": "count"}))
        .await
        .unwrap();
    assert_eq!(answer.head.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn a_lost_answer_is_taken_up_again_where_it_broke_off() {
    let running = start().await;
    let mut legacy = running.server.legacy("2025-11-25").await;
    let mut stream = legacy.open("tools/call", count(5, 0)).await.unwrap();
    let Next::Event(opening) = stream.next_event(SOON).await else {
        panic!("no opening event")
    };
    assert!(
        opening.id.is_some() && opening.data.trim().is_empty(),
        "{opening:?}"
    );
    let first = next(&mut stream).await;
    assert_eq!(first.json()["params"]["progress"], 1.0);
    drop(stream);
    let mut resumed = resume(&running, &legacy, &first.id.unwrap()).await;
    let rest: Vec<_> = resumed
        .rest(SOON)
        .await
        .iter()
        .map(SseEvent::json)
        .collect();
    let steps: Vec<_> = rest
        .iter()
        .filter_map(|it| it["params"]["progress"].as_f64())
        .collect();
    assert_eq!(steps, [2.0, 3.0, 4.0, 5.0]);
    assert_eq!(
        rest.last().unwrap()["result"]["content"][0]["text"],
        "counted to 5"
    );

    let from_start = resume(&running, &legacy, &opening.id.unwrap())
        .await
        .rest(SOON)
        .await;
    assert_eq!(from_start.len(), 6);
}

async fn resume(running: &Running, legacy: &Legacy, last: &str) -> SseReader {
    let mut headers = legacy.session_headers();
    headers.push(("Last-Event-ID".into(), last.to_owned()));
    let headers: Vec<_> = headers
        .iter()
        .map(|it| (it.0.as_str(), it.1.as_str()))
        .collect();
    let client = RawClient::connect(running.server.addr()).await.unwrap();
    client
        .open_stream("GET", "/mcp", &headers, b"")
        .await
        .unwrap()
}

#[tokio::test]
async fn an_answer_cannot_be_taken_up_in_another_session() {
    let running = start().await;
    let mut legacy = running.server.legacy("2025-11-25").await;
    let mut stream = legacy.open("tools/call", count(1, 0)).await.unwrap();
    let id = next(&mut stream).await.id.unwrap();
    let mut other = running.server.legacy("2025-11-25").await;
    other.headers.push(("Last-Event-ID".into(), id.clone()));
    assert_eq!(get_status(&other, running.server.addr()).await, 400);
    assert_eq!(resume(&running, &legacy, &id).await.head.status, 200);
}

#[tokio::test]
async fn a_client_that_does_not_read_stalls_nobody() {
    let mut running = start().await;
    let mut deaf = running.server.legacy("2025-11-25").await;
    // 4000 messages of 4 KiB: far more than any socket takes.
    let _unread = deaf.open("tools/call", count(4000, 4096)).await.unwrap();
    let _also = deaf.open_get().await.unwrap();
    assert_eq!(running.fate().await, Fate::Begun);
    let echo = json!({"name": "echo", "arguments": {"text": "a"}});
    for _ in 0..20 {
        let answer = tokio::time::timeout(SOON, deaf.call("tools/call", echo.clone())).await;
        assert_eq!(
            answer.expect("the session is stalled").unwrap().status(),
            200
        );
    }
    // The deaf client's own call runs to its end as well.
    assert_eq!(running.fate().await, Fate::Done);
}

#[tokio::test]
async fn silence_is_filled_with_comments() {
    let running = start().await;
    let mut modern = running.server.modern();
    modern.meta.insert("progressToken".into(), json!(1));
    let mut stream = modern.open("tools/call", slow(2000)).await.unwrap();
    let events = stream.rest(SOON).await;
    assert_eq!(events.len(), 1);
    assert!(stream.comments() >= 2, "{} comments", stream.comments());
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_ended_with_an_answer() {
    let mut running = start_with(|config| {
        config.mcp.request_deadline = Duration::from_millis(200);
        config.mcp.stream_deadline = Duration::from_millis(200);
    })
    .await;
    let answer = running
        .server
        .modern()
        .call("tools/call", slow(60_000))
        .await
        .unwrap();
    assert_eq!(answer.error_code(), -32603);
    let mut legacy = running.server.legacy("2025-11-25").await;
    assert_eq!(
        legacy
            .call("tools/call", slow(60_000))
            .await
            .unwrap()
            .error_code(),
        -32603
    );
    let fates = [running.fate().await, running.fate().await];
    assert_eq!(fates, [Fate::Begun, Fate::Dropped]);
}

#[tokio::test]
async fn the_servers_question_is_answered_by_the_session_that_was_asked() {
    let running = start().await;
    let mut asked = open_to_questions(&running).await;
    let other = open_to_questions(&running).await;
    let ask = json!({"name": "ask", "arguments": {"question": "Who?"}});
    let mut stream = asked.open("tools/call", ask).await.unwrap();
    let question = next(&mut stream).await.json();
    assert_eq!(
        (&question["method"], &question["params"]["message"]),
        (&json!("elicitation/create"), &json!("Who?"))
    );
    let id = &question["id"];
    assert!(
        id.as_str().is_some_and(|id| id.len() >= 22),
        "ids of questions can be guessed: {id}"
    );
    let answer = |name: &str| json!({"jsonrpc": "2.0", "id": id, "result": {"action": "accept", "content": {"name": name}}});
    // An answer of another session, or under another id, reaches nobody.
    assert_eq!(other.post(&answer("Mallory")).await.unwrap().status(), 202);
    let wrong = json!({"jsonrpc": "2.0", "id": 0, "result": {"action": "decline"}});
    assert_eq!(asked.post(&wrong).await.unwrap().status(), 202);
    assert_eq!(asked.post(&answer("Alice")).await.unwrap().status(), 202);
    let result = next(&mut stream).await.json();
    assert_eq!(
        result["result"]["content"][0]["text"],
        r#"{"name":"Alice"}"#
    );
}

#[tokio::test]
async fn a_client_that_takes_no_questions_is_not_asked() {
    let running = start().await;
    let ask = json!({"name": "ask", "arguments": {"question": "Who?"}});
    let mut legacy = running.server.legacy("2025-11-25").await;
    let answer = legacy.call("tools/call", ask.clone()).await.unwrap();
    assert_eq!(
        (answer.messages.len(), &answer.result()["isError"]),
        (1, &json!(true))
    );
    let mut modern = running.server.modern();
    modern.capabilities = json!({"elicitation": {}});
    modern.meta.insert("progressToken".into(), json!(1));
    let answer = modern.call("tools/call", ask).await.unwrap();
    assert_eq!(
        (answer.messages.len(), &answer.result()["isError"]),
        (1, &json!(true))
    );
}

#[tokio::test]
async fn a_client_is_asked_only_what_it_said_that_it_can() {
    let running = start().await;
    let address = running.server.addr();
    let roots = json!({"roots": {}});
    let mut legacy = Legacy::initialize_with(address, "2025-11-25", roots, Vec::new())
        .await
        .unwrap();
    let ask = json!({"name": "ask", "arguments": {"question": "Who?"}});
    let answer = legacy.call("tools/call", ask).await.unwrap();
    assert_eq!(
        (answer.messages.len(), &answer.result()["isError"]),
        (1, &json!(true))
    );
}

async fn open_to_questions(running: &Running) -> Legacy {
    let capabilities = json!({"elicitation": {}});
    let address = running.server.addr();
    Legacy::initialize_with(address, "2025-11-25", capabilities, Vec::new())
        .await
        .unwrap()
}

#[tokio::test]
async fn only_the_revision_that_can_take_answers_up_again_is_sent_away() {
    let running = start().await;
    let away = json!({"name": "away", "arguments": {}, "_meta": {"progressToken": "p"}});
    for version in ["2025-03-26", "2025-06-18"] {
        let mut legacy = running.server.legacy(version).await;
        let answer = legacy.call("tools/call", away.clone()).await.unwrap();
        assert_eq!(answer.result()["content"][0]["text"], "stayed", "{version}");
    }
    let mut legacy = running.server.legacy("2025-11-25").await;
    let mut stream = legacy.open("tools/call", away).await.unwrap();
    let Next::Event(opening) = stream.next_event(SOON).await else {
        panic!("no opening event")
    };
    let sent_away = stream.rest(SOON).await;
    assert!(
        sent_away.iter().any(|event| event.retry.is_some()),
        "{sent_away:?}"
    );
    let rest = resume(&running, &legacy, &opening.id.unwrap())
        .await
        .rest(SOON)
        .await;
    assert_eq!(
        rest.last().unwrap().json()["result"]["content"][0]["text"],
        "gone"
    );
}
