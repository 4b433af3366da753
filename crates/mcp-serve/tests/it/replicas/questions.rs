//! What a client sends about a call that runs on another replica: answers and cancellations.

use std::time::Duration;

use mcp_serve::{
    signals::{Answer, Signal, Signals as _},
    test_util::{Legacy, SseReader},
};
use rmcp::model::RequestId;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::stage::{Over, Probed, SOON, Stage, next};
use crate::transport::{probe::Fate, sessions::named};

async fn ask(session: &mut Legacy, tool: &str, arguments: Value) -> (SseReader, Value) {
    let call = json!({"name": tool, "arguments": arguments});
    let mut stream = session.open("tools/call", call).await.unwrap();
    let question = next(&mut stream).await.json();
    (stream, question)
}

fn answer(question: &Value, result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": question["id"], "result": result})
}

#[tokio::test]
async fn questions_of_one_replica_are_answered_at_another() {
    let stage = Stage::fixture(Over::Memory).await;
    let mut session = stage.open("me").await;
    let accepted = json!({"action": "accept", "content": {"username": "u", "email": "e"}});
    let sampled = json!({
        "role": "assistant", "model": "m", "content": {"type": "text", "text": "a model's words"},
    });
    for (tool, arguments, method, result, told) in [
        (
            "test_elicitation",
            json!({"message": "Who?"}),
            "elicitation/create",
            accepted,
            "\"u\"",
        ),
        (
            "test_sampling",
            json!({"prompt": "Say"}),
            "sampling/createMessage",
            sampled,
            "a model's words",
        ),
    ] {
        for other in [1, 2] {
            let (mut stream, question) = ask(&mut session, tool, arguments.clone()).await;
            assert_eq!(question["method"], method);
            let posted = session
                .at(stage.at(other))
                .post(&answer(&question, &result))
                .await;
            assert_eq!(posted.unwrap().status(), 202);
            let text = next(&mut stream).await.json()["result"]["content"][0]["text"].to_string();
            assert!(text.contains(&told.replace('"', "\\\"")), "{tool} {text}");
        }
    }
    // That the user would not answer is an answer too.
    let call = json!({"message": "Who?"});
    let (mut stream, question) = ask(&mut session, "test_elicitation", call).await;
    let refused = json!({"jsonrpc": "2.0", "id": question["id"],
        "error": {"code": -1, "message": "not now"}});
    session.at(stage.at(2)).post(&refused).await.unwrap();
    assert_eq!(next(&mut stream).await.json()["result"]["isError"], true);
}

#[tokio::test]
async fn an_answer_for_another_session_reaches_no_call_on_any_replica() {
    let probed = Probed::start_with(named).await;
    let stage = &probed.stage;
    let mut asked = stage.open("me").await;
    let mut tap = stage.bus.join().receive();
    let (mut stream, question) = ask(&mut asked, "ask", json!({"question": "Who?"})).await;
    let named = |name: &str| json!({"action": "accept", "content": {"name": name}});
    // Another session of the same caller, one of somebody else, and somebody who has this one's id.
    for (who, status) in [("me", 202), ("mallory", 202)] {
        let other = stage.open(who).await.at(stage.at(1));
        let posted = other.post(&answer(&question, &named("Mallory"))).await;
        assert_eq!(posted.unwrap().status(), status);
    }
    let mut thief = asked.at(stage.at(1));
    thief.headers = vec![("Authorization".to_owned(), "mallory".to_owned())];
    let posted = thief.post(&answer(&question, &named("Mallory"))).await;
    assert_eq!(posted.unwrap().status(), 404);
    // What no question can be called is not even sent on.
    let wrong = json!({"id": 0});
    let at = asked.at(stage.at(1));
    at.post(&answer(&wrong, &named("Mallory"))).await.unwrap();

    // Both answers came to the replica that asked before this one does.
    let posted = at.post(&answer(&question, &named("Alice"))).await;
    assert_eq!(posted.unwrap().status(), 202);
    let result = next(&mut stream).await.json();
    let text = &result["result"]["content"][0]["text"];
    assert_eq!(text, r#"{"name":"Alice"}"#);
    let mut answers = 0;
    while answers < 3 {
        let signal = timeout(SOON, tap.next()).await.unwrap().unwrap();
        if let Signal::Answer { request, .. } = &signal {
            answers += 1;
            assert_ne!(*request, RequestId::Number(0));
        }
        let json = String::from_utf8(signal.to_json().unwrap()).unwrap();
        assert!(!json.contains(asked.session.as_deref().unwrap()), "{json}");
    }
}

#[tokio::test]
async fn a_forged_signal_answers_no_question_of_another_session() {
    let probed = Probed::start().await;
    let stage = &probed.stage;
    let mut asked = stage.open("me").await;
    let other = stage.open("me").await;
    let (mut stream, question) = ask(&mut asked, "ask", json!({"question": "Who?"})).await;
    let digest = |session: &Legacy| {
        let id = session.session.as_deref().unwrap();
        mcp_serve::session::SessionId::parse(id).unwrap().digest()
    };
    let forge = |session: &Legacy, name: &str| Signal::Answer {
        session: digest(session),
        request: RequestId::String(question["id"].as_str().unwrap().into()),
        answer: Answer::Result(json!({"action": "accept", "content": {"name": name}})),
    };
    let forger = stage.bus.join();
    forger.send(forge(&other, "Mallory"));
    forger.send(forge(&asked, "Alice"));
    let result = next(&mut stream).await.json();
    let text = &result["result"]["content"][0]["text"];
    assert_eq!(text, r#"{"name":"Alice"}"#);
}

#[tokio::test]
async fn a_call_is_cancelled_at_another_replica_and_only_in_its_session() {
    let mut probed = Probed::start_with(named).await;
    let mut session = probed.stage.open("me").await;
    for other in [1, 2] {
        let (id, mut stream, _) = probed.begin(&mut session).await;
        let at = probed.stage.at(other);
        let cancel = json!({"requestId": id, "reason": "changed my mind"});
        let mut stranger = probed.stage.open("mallory").await.at(at);
        let answer = stranger
            .notify("notifications/cancelled", cancel.clone())
            .await;
        assert_eq!(answer.unwrap().status(), 202);
        let mut thief = session.at(at);
        thief.headers = vec![("Authorization".to_owned(), "mallory".to_owned())];
        let answer = thief
            .notify("notifications/cancelled", cancel.clone())
            .await;
        assert_eq!(answer.unwrap().status(), 404);
        let quiet = timeout(Duration::from_millis(300), probed.fates.recv()).await;
        assert!(quiet.is_err(), "the call of another session was cancelled");
        let answer = session
            .at(at)
            .notify("notifications/cancelled", cancel)
            .await;
        assert_eq!(answer.unwrap().status(), 202);
        assert_eq!(probed.fate().await, Fate::Dropped);
        assert!(
            stream.rest(SOON).await.is_empty(),
            "a cancelled call was answered"
        );
    }
}

#[tokio::test]
async fn while_others_cannot_be_reached_the_client_is_told_to_come_back() {
    let mut probed = Probed::start().await;
    let mut session = probed.stage.open("me").await;
    let (mut stream, question) = ask(&mut session, "ask", json!({"question": "Who?"})).await;
    let result = json!({"action": "accept", "content": {"name": "Alice"}});
    let answer = answer(&question, &result);
    probed.stage.members[1].leave();
    let away = session.at(probed.stage.at(1)).post(&answer).await.unwrap();
    assert_eq!(
        (away.status(), away.head.header("retry-after")),
        (503, Some("1"))
    );
    let posted = session.at(probed.stage.at(2)).post(&answer).await.unwrap();
    assert_eq!(posted.status(), 202);
    assert!(next(&mut stream).await.data.contains("Alice"));
    // What concerns nobody else goes on.
    let (id, _stream, _) = probed.begin(&mut session.at(probed.stage.at(1))).await;
    let cancel = json!({"requestId": id});
    let mut here = session.at(probed.stage.at(1));
    let _ = here.notify("notifications/cancelled", cancel).await;
}

#[tokio::test]
async fn a_draining_replica_still_hears_what_its_calls_wait_for() {
    let mut probed = Probed::start().await;
    let mut session = probed.stage.open("me").await;
    let (mut stream, question) = ask(&mut session, "ask", json!({"question": "Who?"})).await;
    let soft = probed.stage.servers[0].lifecycle().soft.clone();
    probed.stage.servers[0].begin_stop();
    timeout(SOON, soft.cancelled()).await.unwrap();
    let result = json!({"action": "accept", "content": {"name": "Alice"}});
    let posted = session
        .at(probed.stage.at(1))
        .post(&answer(&question, &result))
        .await;
    assert_eq!(posted.unwrap().status(), 202);
    assert!(next(&mut stream).await.data.contains("Alice"));
    drop(stream);
    let first = probed.stage.servers.remove(0);
    let drained = timeout(SOON, first.stop()).await.unwrap();
    assert!(drained.is_clean(), "{drained:?}");
}
