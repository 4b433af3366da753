//! Theft and fixation of sessions across principals. See also `transport/sessions.rs`.

use std::{collections::HashSet, sync::Arc};

use mcp_serve::{
    events::Change,
    test_util::{Legacy, Next, RawClient},
};
use serde_json::json;

use super::PATIENCE;
use crate::transport::{
    gate::Book,
    probe::{Fate, Running, start_with},
    sessions::{get_status, named, session_of},
};

/// The victim's session in the hands of somebody else.
fn stolen(victim: &Legacy) -> Legacy {
    let mut thief = victim.clone();
    thief.headers = vec![("Authorization".to_owned(), "thief".to_owned())];
    thief
}

async fn start() -> Running {
    start_with(named).await
}

#[tokio::test]
async fn a_stolen_session_gives_no_call_no_stream_and_no_end() {
    let book = Arc::new(Book::default());
    let auditor = book.clone();
    let mut running = start_with(|config| {
        named(config);
        config.auditor = Some(auditor);
    })
    .await;
    let mut victim = session_of(&running, "victim").await;
    let mut live = victim.open_get().await.unwrap();
    let opening = live.next_event(PATIENCE).await.event();
    assert_eq!(opening.data, "");
    let mut thief = stolen(&victim);
    for (method, params) in [
        ("tools/list", json!({})),
        (
            "tools/call",
            json!({"name": "slow", "arguments": {"millis": 0}}),
        ),
        ("resources/read", json!({"uri": "test:a"})),
        ("resources/subscribe", json!({"uri": "test:a"})),
        ("resources/unsubscribe", json!({"uri": "test:a"})),
        ("logging/setLevel", json!({"level": "debug"})),
        ("nonsense", json!({})),
    ] {
        let answer = thief.call(method, params).await.unwrap();
        assert_eq!(
            (answer.status(), answer.error_code()),
            (404, -32001),
            "{method}"
        );
    }
    for notification in ["notifications/cancelled", "notifications/initialized", "x"] {
        let answer = thief.notify(notification, json!({"requestId": 1})).await;
        assert_eq!(answer.unwrap().status(), 404, "{notification}");
    }
    assert_eq!(get_status(&thief, running.server.addr()).await, 404);
    assert_eq!(thief.delete().await.unwrap(), 404);
    assert!(running.fates.try_recv().is_err(), "a tool was called");
    let told = book.take();
    assert_eq!(told.len(), 12, "{told:?}");
    for (who, _, status, reason) in &told {
        let entry = (who.as_str(), *status, *reason);
        assert_eq!(entry, ("thief", 404, "session"), "{told:?}");
    }
    for (at, action) in [
        (0, "tools/list"),
        (1, "tools/call slow"),
        (6, "other"),
        (7, "notifications/cancelled"),
        (10, "GET /mcp"),
        (11, "DELETE /mcp"),
    ] {
        assert_eq!(told[at].1, action);
    }
    // The stranger is told the same of a session that never was.
    let real = thief.call("ping", json!({})).await.unwrap();
    thief.session = Some("A".repeat(32));
    let never = thief.call("ping", json!({})).await.unwrap();
    assert_eq!(real.last()["error"], never.last()["error"]);
    // Nothing of it reached the victim, whose stream goes on.
    running.publish(Change::Resources);
    let Next::Event(event) = live.next_event(PATIENCE).await else {
        panic!("the victim's stream is gone");
    };
    assert_eq!(
        event.json()["method"],
        "notifications/resources/list_changed"
    );
    assert_eq!(victim.call("ping", json!({})).await.unwrap().status(), 200);
    let told = book.take();
    assert_eq!(told.len(), 2, "one line for each of the last two: {told:?}");
}

#[tokio::test]
async fn an_answer_cannot_be_taken_up_by_a_thief() {
    let mut running = start().await;
    let mut victim = session_of(&running, "victim").await;
    let slow =
        json!({"name": "count", "arguments": {"to": 3, "bytes": 1}, "_meta": {"progressToken": 1}});
    let mut stream = victim.open("tools/call", slow).await.unwrap();
    assert_eq!(running.fate().await, Fate::Begun);
    let id = stream.next_event(PATIENCE).await.event().id.unwrap();
    drop(stream);
    let last = ("Last-Event-ID".to_owned(), id);
    // With the victim's session, with the thief's own, and with none.
    let mut with_session = stolen(&victim);
    with_session.headers.push(last.clone());
    assert_eq!(get_status(&with_session, running.server.addr()).await, 404);
    let mut with_own = session_of(&running, "thief").await;
    with_own.headers.push(last.clone());
    assert_eq!(get_status(&with_own, running.server.addr()).await, 400);
    with_own.session = None;
    assert_eq!(get_status(&with_own, running.server.addr()).await, 400);
    // The victim still can.
    victim.headers.push(last);
    let rest = victim.open_get().await.unwrap().rest(PATIENCE).await;
    assert!(rest.last().unwrap().data.contains("counted to 3"));
}

#[tokio::test]
async fn a_thief_cannot_cancel_or_answer_for_the_victim() {
    let mut running = start().await;
    let capabilities = json!({"elicitation": {}});
    let open = |name: &str| {
        let headers = vec![("Authorization".to_owned(), name.to_owned())];
        let address = running.server.addr();
        let capabilities = capabilities.clone();
        async move {
            let opened = Legacy::initialize_with(address, "2025-11-25", capabilities, headers);
            opened.await.unwrap()
        }
    };
    let mut victim = open("victim").await;
    let own = open("thief").await;
    let question = json!({"name": "ask", "arguments": {"question": "Who?"}});
    let mut stream = victim.open("tools/call", question).await.unwrap();
    let asked = loop {
        let event = stream.next_event(PATIENCE).await.event();
        if !event.data.is_empty() {
            break event.json();
        }
    };
    assert_eq!(asked["method"], "elicitation/create");
    let forged = json!({"jsonrpc": "2.0", "id": asked["id"],
        "result": {"action": "accept", "content": {"name": "thief"}}});
    assert_eq!(stolen(&victim).post(&forged).await.unwrap().status(), 404);
    own.post(&forged).await.unwrap();
    let honest = json!({"jsonrpc": "2.0", "id": asked["id"],
        "result": {"action": "accept", "content": {"name": "victim"}}});
    assert_eq!(victim.post(&honest).await.unwrap().status(), 202);
    let rest = stream.rest(PATIENCE).await;
    let text = &rest.last().unwrap().data;
    assert!(text.contains("victim") && !text.contains("thief"), "{text}");

    let slow = json!({"name": "slow", "arguments": {"millis": 500}});
    let body = victim.body("tools/call", slow);
    let cancel = json!({"requestId": body["id"]});
    let call = {
        let (victim, body) = (victim.clone(), body);
        tokio::spawn(async move { victim.post(&body).await })
    };
    assert_eq!(running.fate().await, Fate::Begun);
    let cancelled = "notifications/cancelled";
    let refused = stolen(&victim).notify(cancelled, cancel.clone()).await;
    assert_eq!(refused.unwrap().status(), 404);
    own.clone().notify(cancelled, cancel).await.unwrap();
    assert_eq!(running.fate().await, Fate::Done);
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_session_id_is_never_chosen_by_a_client() {
    let running = start().await;
    let fixed = "0123456789abcdef0123456789abcdef";
    let init = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "x", "version": "1"}}})
    .to_string();
    let path = format!("/mcp?sessionId={fixed}&Mcp-Session-Id={fixed}");
    for path in ["/mcp", &path] {
        let headers = [
            ("Authorization", "victim"),
            ("Content-Type", "application/json"),
            ("Mcp-Session-Id", fixed),
            ("Cookie", "Mcp-Session-Id=0123456789abcdef0123456789abcdef"),
        ];
        let mut client = running.server.connect().await;
        let answer = client.request("POST", path, &headers, init.as_bytes());
        let answer = answer.await.unwrap();
        let given = answer.header("mcp-session-id").unwrap();
        assert_ne!(given, fixed);
        assert_eq!(answer.header("set-cookie"), None);
    }
    // Nor does naming one make it real, for anybody.
    for name in ["victim", "thief"] {
        let mut session = session_of(&running, name).await;
        session.session = Some(fixed.to_owned());
        assert_eq!(session.call("ping", json!({})).await.unwrap().status(), 404);
    }
}

#[tokio::test]
async fn a_session_stands_in_one_header_and_nowhere_else() {
    let running = start().await;
    let victim = session_of(&running, "victim").await;
    let id = victim.session.clone().unwrap();
    let mut elsewhere = victim.clone();
    elsewhere.session = None;
    for (name, value) in [
        ("Cookie", format!("Mcp-Session-Id={id}")),
        ("X-Mcp-Session-Id", id.clone()),
        ("Mcp_Session_Id", id.clone()),
    ] {
        elsewhere.headers = vec![
            ("Authorization".to_owned(), "victim".to_owned()),
            (name.to_owned(), value),
        ];
        let answer = elsewhere.call("tools/list", json!({})).await.unwrap();
        assert_eq!(answer.status(), 400, "{name}");
    }
    elsewhere.path = format!("/mcp?Mcp-Session-Id={id}&sessionId={id}");
    let answer = elsewhere.call("tools/list", json!({})).await.unwrap();
    assert_eq!(answer.status(), 400);
    // Two ids, of which one is right, are none.
    let mut twice = victim.clone();
    twice
        .headers
        .push(("Mcp-Session-Id".to_owned(), "A".repeat(32)));
    assert_eq!(twice.call("ping", json!({})).await.unwrap().status(), 404);
}

#[tokio::test]
async fn session_ids_cannot_be_guessed() {
    let running = start().await;
    let mut ids = HashSet::new();
    let mut ones = [0_u32; 192];
    for _ in 0..200 {
        let id = session_of(&running, "me").await.session.unwrap();
        let bytes = decode(&id);
        assert_eq!(bytes.len(), 24, "192 bits: {id}");
        for (bit, ones) in ones.iter_mut().enumerate() {
            *ones += u32::from(bytes[bit / 8] >> (bit % 8) & 1);
        }
        assert!(ids.insert(id), "an id comes twice");
    }
    // No bit is constant or counts: one in 10^20 runs of a fair coin is outside of this.
    assert!(
        ones.iter().all(|ones| (30..=170).contains(ones)),
        "{ones:?}"
    );
    // What is near a real one is none.
    let mut near = session_of(&running, "me").await;
    let id = near.session.clone().unwrap();
    for guess in [
        id[..31].to_owned(),
        format!("{id}A"),
        id.to_ascii_lowercase(),
        format!("{id} "),
        format!("{id}%00"),
        format!("{id}*"),
    ] {
        let is_same = guess.trim() == id;
        near.session = Some(guess.clone());
        let status = near.call("ping", json!({})).await.unwrap().status();
        assert_eq!(status, if is_same { 200 } else { 404 }, "{guess:?}");
    }
}

/// The bytes that base64url stands for (RFC 4648 section 5).
fn decode(text: &str) -> Vec<u8> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bits = 0_u32;
    let mut count = 0;
    let mut bytes = Vec::new();
    for letter in text.chars() {
        let value = ALPHABET.find(letter).expect("a letter of base64url");
        bits = bits << 6 | u32::try_from(value).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).unwrap());
        }
    }
    bytes
}

#[tokio::test]
async fn without_a_credential_a_session_is_worth_nothing() {
    let running = start().await;
    let victim = session_of(&running, "victim").await;
    let mut bare = victim.clone();
    bare.headers.clear();
    assert_eq!(bare.call("ping", json!({})).await.unwrap().status(), 401);
    assert_eq!(get_status(&bare, running.server.addr()).await, 401);
    assert_eq!(bare.delete().await.unwrap(), 401);
    // Not even on a connection that has just proven who it is.
    let mut client = RawClient::connect(running.server.addr()).await.unwrap();
    let headers = victim.session_headers();
    let headers: Vec<_> = headers
        .iter()
        .map(|it| (it.0.as_str(), it.1.as_str()))
        .collect();
    let ping = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let known = client.request("POST", "/mcp", &headers, ping).await;
    assert_eq!(known.unwrap().status, 200);
    let without: Vec<_> = headers
        .into_iter()
        .filter(|(name, _)| *name != "Authorization")
        .collect();
    let unknown = client.request("POST", "/mcp", &without, ping).await;
    assert_eq!(unknown.unwrap().status, 401);
}
