//! Change notifications in both eras.

use mcp_serve::{
    events::{Change, Event, Events},
    test_util::{Next, SseReader},
};
use serde_json::{Value, json};

use super::{
    SOON,
    probe::{Running, start, start_with},
};

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

async fn next(stream: &mut SseReader) -> Value {
    loop {
        match stream.next_event(SOON).await {
            Next::Event(event) if event.data.trim().is_empty() => {}
            Next::Event(event) => return event.json(),
            other => panic!("no message but {other:?}"),
        }
    }
}

async fn subscribe(running: &Running, filter: Value) -> SseReader {
    let mut modern = running.server.modern();
    modern.open("subscriptions/listen", filter).await.unwrap()
}

fn listen(filter: &Value) -> Value {
    json!({"notifications": filter})
}

#[tokio::test]
async fn a_listener_hears_what_it_asked_for_and_nothing_else() {
    let running = start().await;
    let filter = json!({
        "resourcesListChanged": true,
        "promptsListChanged": true,
        "resourceSubscriptions": ["test:a"],
    });
    let mut stream = running
        .server
        .modern()
        .open("subscriptions/listen", listen(&filter))
        .await
        .unwrap();
    let acknowledged = next(&mut stream).await;
    assert_eq!(
        acknowledged["method"],
        "notifications/subscriptions/acknowledged"
    );
    // The server has no prompts, so nothing about them was promised.
    let honoured = json!({"resourcesListChanged": true, "resourceSubscriptions": ["test:a"]});
    assert_eq!(acknowledged["params"]["notifications"], honoured);
    assert_eq!(acknowledged["params"]["_meta"][SUBSCRIPTION], 1);

    running.publish(Change::Tools);
    running.publish(Change::Resource("test:b".into()));
    running.events.publish(Event {
        audience: Some("others".into()),
        change: Change::Resources,
    });
    running.publish(Change::Resource("test:a".into()));
    running.publish(Change::Resources);
    let updated = next(&mut stream).await;
    assert_eq!(updated["method"], "notifications/resources/updated");
    assert_eq!(
        updated["params"],
        json!({"uri": "test:a", "_meta": {SUBSCRIPTION: 1}})
    );
    let changed = next(&mut stream).await;
    assert_eq!(changed["method"], "notifications/resources/list_changed");
    assert_eq!(changed["params"]["_meta"][SUBSCRIPTION], 1);
}

#[tokio::test]
async fn nothing_is_lost_between_the_acknowledgement_and_the_first_event() {
    let running = start().await;
    for round in 0..100 {
        let filter = listen(&json!({"toolsListChanged": true}));
        let mut stream = subscribe(&running, filter).await;
        let Next::Event(_) = stream.next_event(SOON).await else {
            panic!("no acknowledgement")
        };
        running.publish(Change::Tools);
        let heard = next(&mut stream).await;
        assert_eq!(
            heard["method"], "notifications/tools/list_changed",
            "round {round}"
        );
    }
}

#[tokio::test]
async fn a_drain_ends_a_subscription_with_its_result() {
    let mut running = start().await;
    let filter = listen(&json!({"toolsListChanged": true}));
    let mut modern = running.server.modern();
    let mut stream = modern.open("subscriptions/listen", filter).await.unwrap();
    next(&mut stream).await;
    running.server.begin_stop();
    let result = next(&mut stream).await;
    assert_eq!(
        (&result["id"], &result["result"]["resultType"]),
        (&json!(1), &json!("complete"))
    );
    assert_eq!(result["result"]["_meta"][SUBSCRIPTION], 1);
    assert!(stream.rest(SOON).await.is_empty());
}

#[tokio::test]
async fn too_many_resources_are_refused_before_the_stream() {
    let running = start_with(|config| config.mcp.listen_resources_max = 2).await;
    let filter = listen(&json!({"resourceSubscriptions": ["test:1", "test:2", "test:3"]}));
    let answer = running
        .server
        .modern()
        .call("subscriptions/listen", filter)
        .await
        .unwrap();
    assert_eq!(answer.error_code(), -32602);
}

#[tokio::test]
async fn a_slow_listener_is_told_that_something_changed() {
    let running = start().await;
    let filter = listen(&json!({"toolsListChanged": true, "resourceSubscriptions": ["test:a"]}));
    let mut stream = subscribe(&running, filter).await;
    next(&mut stream).await;
    // More at once than the channel keeps, so that the listener misses some.
    for _ in 0..5000 {
        running.publish(Change::Resources);
    }
    let heard = [next(&mut stream).await, next(&mut stream).await];
    assert_eq!(heard[0]["method"], "notifications/tools/list_changed");
    assert_eq!(heard[1]["params"]["uri"], "test:a");
}

#[tokio::test]
async fn an_older_client_hears_of_what_it_subscribed_to_on_its_stream() {
    let running = start().await;
    for version in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut legacy = running.server.legacy(version).await;
        let mut stream = legacy.open_get().await.unwrap();
        let a = json!({"uri": "test:a"});
        assert_eq!(
            legacy
                .call("resources/subscribe", a.clone())
                .await
                .unwrap()
                .result(),
            json!({})
        );
        let refused = legacy
            .call("resources/subscribe", json!({"uri": "no:b"}))
            .await
            .unwrap();
        assert_eq!(refused.error_code(), -32002);
        running.publish(Change::Resource("test:b".into()));
        running.publish(Change::Resource("test:a".into()));
        let heard = next(&mut stream).await;
        let expected =
            json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": a});
        assert_eq!(heard, expected, "{version}");
        legacy.call("resources/unsubscribe", a).await.unwrap();
        running.publish(Change::Resource("test:a".into()));
        running.publish(Change::Resources);
        let heard = next(&mut stream).await;
        assert_eq!(
            heard["method"], "notifications/resources/list_changed",
            "{version}"
        );
    }
}

#[tokio::test]
async fn what_others_change_does_not_keep_a_stream_silent() {
    let running = start().await;
    let filter = listen(&json!({"toolsListChanged": true}));
    let mut stream = subscribe(&running, filter).await;
    next(&mut stream).await;
    let (events, stop) = (
        running.events.clone(),
        tokio_util::sync::CancellationToken::new(),
    );
    let others = tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
        loop {
            events.publish(Event {
                audience: Some("others".into()),
                change: Change::Tools,
            });
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }));
    let quiet = stream.next_event(std::time::Duration::from_secs(2)).await;
    assert!(!matches!(quiet, Next::Event(_)), "{quiet:?}");
    assert!(stream.comments() >= 2, "{} comments", stream.comments());
    stop.cancel();
    others.await.unwrap();
}

#[tokio::test]
async fn one_principal_cannot_have_streams_without_end() {
    let running = start_with(|config| config.mcp.listens_per_principal_max = 1).await;
    let filter = listen(&json!({"toolsListChanged": true}));
    let first = subscribe(&running, filter.clone()).await;
    let refused = running
        .server
        .modern()
        .call("subscriptions/listen", filter.clone())
        .await
        .unwrap();
    assert_eq!(
        (refused.status(), refused.head.header("retry-after")),
        (429, Some("1"))
    );
    drop(first);
    let again = async {
        while running
            .server
            .modern()
            .open("subscriptions/listen", filter.clone())
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, again)
        .await
        .expect("the place is free again");
}

#[tokio::test]
async fn a_session_has_one_stream_and_the_newest_is_it() {
    let running = start().await;
    let legacy = running.server.legacy("2025-11-25").await;
    let mut first = legacy.open_get().await.unwrap();
    let mut second = legacy.open_get().await.unwrap();
    drop(legacy.open_get().await.unwrap());
    let mut third = legacy.open_get().await.unwrap();
    assert!(
        second
            .rest(SOON)
            .await
            .iter()
            .all(|event| event.data.trim().is_empty())
    );
    assert!(
        first
            .rest(SOON)
            .await
            .iter()
            .all(|event| event.data.trim().is_empty())
    );
    running.publish(Change::Tools);
    assert_eq!(
        next(&mut third).await["method"],
        "notifications/tools/list_changed"
    );
    assert_eq!(legacy.delete().await.unwrap(), 204);
    assert!(third.rest(SOON).await.is_empty());
}

#[tokio::test]
async fn a_client_that_comes_back_is_told_what_it_may_have_missed() {
    let running = start().await;
    let mut legacy = running.server.legacy("2025-11-25").await;
    let mut stream = legacy.open_get().await.unwrap();
    let Next::Event(opening) = stream.next_event(SOON).await else {
        panic!("no opening event")
    };
    legacy
        .call("resources/subscribe", json!({"uri": "test:a"}))
        .await
        .unwrap();
    drop(stream);
    running.publish(Change::Resource("test:a".into()));
    legacy
        .headers
        .push(("Last-Event-ID".into(), opening.id.unwrap()));
    let mut stream = legacy.open_get().await.unwrap();
    let mut heard = Vec::new();
    for _ in 0..3 {
        heard.push(
            next(&mut stream).await["method"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    assert!(
        heard.contains(&"notifications/resources/updated".to_owned()),
        "{heard:?}"
    );
    assert!(
        heard.contains(&"notifications/resources/list_changed".to_owned()),
        "{heard:?}"
    );
}
