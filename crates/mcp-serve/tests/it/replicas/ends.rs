//! The end of a session, which is its end on every replica.

use std::time::{Duration, Instant};

use mcp_serve::test_util::Next;
use serde_json::json;

use super::stage::{Over, Probed, SOON, slow};
use crate::transport::{
    probe::Fate,
    sessions::{get_status, named},
};

/// How soon a session that was deleted on one replica has ended on all.
const A_SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_session_deleted_at_one_replica_ends_on_all_within_a_second() {
    let mut probed = Probed::start_with(named).await;
    let mut session = probed.stage.open("me").await;
    let bystander = probed.stage.open("me").await;
    let mut beside = bystander.at(probed.stage.at(2)).open_get().await.unwrap();
    beside.next_event(SOON).await.event();
    let (_, mut call, opening) = probed.begin(&mut session).await;
    let mut live = session.at(probed.stage.at(2)).open_get().await.unwrap();
    live.next_event(SOON).await.event();

    let mut thief = session.at(probed.stage.at(1));
    thief.headers = vec![("Authorization".to_owned(), "mallory".to_owned())];
    assert_eq!(thief.delete().await.unwrap(), 404);
    let quiet = live.next_event(Duration::from_millis(300)).await;
    assert_eq!(quiet, Next::Silence, "a thief ended the session");

    let begun = Instant::now();
    assert_eq!(session.at(probed.stage.at(1)).delete().await.unwrap(), 204);
    assert_eq!(probed.fate().await, Fate::Dropped);
    assert!(live.rest(SOON).await.is_empty());
    assert!(
        call.rest(SOON).await.is_empty(),
        "a cancelled call was answered"
    );
    for index in 0..3 {
        let at = probed.stage.at(index);
        let answer = session.at(at).call("ping", json!({})).await.unwrap();
        assert_eq!((answer.status(), answer.error_code()), (404, -32001));
        let mut resumed = session.at(at);
        resumed
            .headers
            .push(("Last-Event-ID".to_owned(), opening.clone()));
        assert_eq!(get_status(&resumed, at).await, 404);
    }
    let took = begun.elapsed();
    println!("ended on all replicas after {took:?}");
    assert!(took < A_SECOND, "{took:?}");
    // The session beside it is as it was.
    let quiet = beside.next_event(Duration::from_millis(300)).await;
    assert_eq!(quiet, Next::Silence);
    let ping = bystander.clone().call("ping", json!({})).await.unwrap();
    assert_eq!(ping.status(), 200);
}

#[tokio::test]
async fn a_replica_that_did_not_hear_of_the_end_serves_the_session_no_more() {
    let mut probed = Probed::start().await;
    let mut session = probed.stage.open("me").await;
    let (_, _call, _) = probed.begin(&mut session).await;
    let mut live = session.open_get().await.unwrap();
    live.next_event(SOON).await.event();
    probed.stage.members[0].leave();
    assert_eq!(session.at(probed.stage.at(1)).delete().await.unwrap(), 204);
    let answer = session.call("ping", json!({})).await.unwrap();
    assert_eq!(answer.status(), 404);
    // The stream asks for the session at its next sign of life.
    live.rest(SOON).await;
}

#[tokio::test]
async fn a_replica_that_heard_of_the_end_does_not_go_on_without_redis() {
    let mut probed = Probed::start_over(Over::Redis, |_| {}).await;
    let session = probed.stage.open("me").await;
    let mut at = session.at(probed.stage.at(1));
    let mut kept = probed.stage.open("me").await.at(probed.stage.at(1));
    let _call = at.open("tools/call", slow(60_000)).await.unwrap();
    assert_eq!(kept.call("ping", json!({})).await.unwrap().status(), 200);
    assert_eq!(probed.fate().await, Fate::Begun);
    assert_eq!(session.at(probed.stage.at(2)).delete().await.unwrap(), 204);
    assert_eq!(probed.fate().await, Fate::Dropped);
    probed.stage.redis.as_mut().unwrap().kill();
    assert_eq!(kept.call("ping", json!({})).await.unwrap().status(), 200);
    assert_eq!(at.call("ping", json!({})).await.unwrap().status(), 503);
}
