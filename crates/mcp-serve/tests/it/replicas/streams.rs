//! The stream of change notifications of a session, of which there is one on all replicas together.

use std::time::Duration;

use mcp_serve::{
    events::{Change, Event},
    session::SessionId,
    signals::{Signal, Signals as _},
    test_util::{Legacy, Next, SseReader},
};
use serde_json::json;
use tokio::time::timeout;

use super::stage::{Probed, SOON, next};

async fn open(session: &Legacy) -> SseReader {
    let mut stream = session.open_get().await.unwrap();
    let opening = stream.next_event(SOON).await.event();
    assert_eq!(opening.data, "");
    stream
}

fn publish(probed: &Probed, change: Change) {
    probed.stage.events.publish(Event {
        audience: None,
        change,
    });
}

#[tokio::test]
async fn a_stream_opened_at_another_replica_closes_the_first() {
    let probed = Probed::start().await;
    let session = probed.stage.open("me").await;
    let other = probed.stage.open("me").await;
    let mut beside = open(&other).await;
    let mut first = open(&session).await;
    for index in [1, 2, 0, 2] {
        let mut second = open(&session.at(probed.stage.at(index))).await;
        assert!(first.rest(SOON).await.is_empty());
        publish(&probed, Change::Tools);
        for stream in [&mut second, &mut beside] {
            let event = next(stream).await.json();
            assert_eq!(event["method"], "notifications/tools/list_changed");
        }
        first = second;
    }
}

#[tokio::test]
async fn of_streams_opened_at_the_same_time_one_stays() {
    let probed = Probed::start().await;
    let session = probed.stage.open("me").await;
    for round in 0..20 {
        let at = |index| session.at(probed.stage.at(index));
        let sessions = [at(0), at(1), at(2)];
        let (a, b, c) = tokio::join!(
            sessions[0].open_get(),
            sessions[1].open_get(),
            sessions[2].open_get()
        );
        let mut open = 0;
        for mut stream in [a.unwrap(), b.unwrap(), c.unwrap()] {
            let ended = loop {
                match stream.next_event(Duration::from_millis(150)).await {
                    Next::Event(_) => {}
                    Next::End => break true,
                    Next::Silence => break false,
                    Next::Broken => panic!("a stream broke off"),
                }
            };
            open += usize::from(!ended);
        }
        assert_eq!(open, 1, "in round {round}");
    }
}

#[tokio::test]
async fn what_a_session_subscribes_to_at_one_replica_is_told_at_another() {
    let probed = Probed::start().await;
    let session = probed.stage.open("me").await;
    let mut stream = open(&session).await;
    let subscribe = json!({"uri": "test:a"});
    let answer = session
        .at(probed.stage.at(1))
        .call("resources/subscribe", subscribe)
        .await;
    assert_eq!(answer.unwrap().result(), json!({}));
    publish(&probed, Change::Resource("test:b".into()));
    publish(&probed, Change::Resource("test:a".into()));
    let event = next(&mut stream).await.json();
    assert_eq!(event["params"]["uri"], "test:a");
}

#[tokio::test]
async fn a_stream_is_newer_than_any_that_was_heard_of_unless_that_cannot_be() {
    let probed = Probed::start().await;
    let session = probed.stage.open("me").await;
    let other = probed.stage.bus.join();
    let mut heard = other.receive();
    let id = SessionId::parse(session.session.as_deref().unwrap()).unwrap();
    let mut newest = 0;
    // Of clocks that are ahead, and of one that cannot be.
    for (ahead_ms, counts) in [
        (1_800_000, true),
        (u64::MAX / 2, false),
        (600_000, true),
        (0, true),
    ] {
        let mut stream = open(&session.at(probed.stage.at(1))).await;
        let told = timeout(SOON, heard.next()).await.unwrap();
        let Some(Signal::StreamOpened { at, .. }) = told else {
            panic!("{told:?}");
        };
        assert!((newest + 1..u64::MAX / 4).contains(&at), "{at} {newest}");
        let (at, tie) = (at + ahead_ms, u64::MAX);
        let session = id.digest();
        other.send(Signal::StreamOpened { session, at, tie });
        assert!(stream.rest(SOON).await.is_empty());
        if counts {
            newest = at;
        }
    }
}
