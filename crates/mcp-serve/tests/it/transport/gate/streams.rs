//! Streams end with the credential that opened them.

use std::time::Duration;

use mcp_serve::{
    events::Change,
    test_util::{Next, SseReader},
};
use serde_json::json;

use super::super::{SOON, probe::start_with};
use super::*;

async fn listening(running: &Running, credential: &str) -> SseReader {
    let listen = json!({"notifications": {"toolsListChanged": true}});
    let mut stream = modern(running, credential)
        .open("subscriptions/listen", listen)
        .await
        .unwrap();
    let first = stream.next_event(SOON).await.event().json();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    stream
}

#[tokio::test]
async fn streams_end_when_the_credential_does() {
    let running = start_with(|config| drop(guarded(config))).await;
    let mut listen = listening(&running, "ali 2 read").await;
    let mut get = legacy(&running, "ali 2 read")
        .await
        .open_get()
        .await
        .unwrap();
    let rest = listen.rest(SOON).await;
    // The older revisions have no last word; the newer one says that it is over.
    assert_eq!(
        rest.last().unwrap().json()["result"]["resultType"],
        "complete"
    );
    assert!(get.rest(SOON).await.iter().all(|it| it.data.is_empty()));
}

#[tokio::test]
async fn nothing_is_told_to_a_caller_whose_credential_was_revoked() {
    let mut names = None;
    let running = start_with(|config| {
        names = Some(guarded(config).0);
        config.mcp.keep_alive = Duration::from_hours(1);
    })
    .await;
    let mut listen = listening(&running, "ali read").await;
    let mut get = legacy(&running, "ali read").await.open_get().await.unwrap();
    assert_eq!(get.next_event(SOON).await.event().data, "");
    let mut other = listening(&running, "bo read").await;
    running.publish(Change::Tools);
    for stream in [&mut listen, &mut get, &mut other] {
        let told = stream.next_event(SOON).await.event().json();
        assert_eq!(told["method"], "notifications/tools/list_changed");
    }
    names.unwrap().revoked.lock().unwrap().insert("ali".into());
    running.publish(Change::Tools);
    let methods = |events: Vec<mcp_serve::test_util::SseEvent>| -> usize {
        let all = events.iter().map(|it| it.json()["method"].is_string());
        all.filter(|told| *told).count()
    };
    assert_eq!(methods(listen.rest(SOON).await), 0);
    assert_eq!(methods(get.rest(SOON).await), 0);
    let told = other.next_event(SOON).await.event().json();
    assert_eq!(told["method"], "notifications/tools/list_changed");
}

#[tokio::test]
async fn a_quiet_stream_of_a_revoked_credential_ends_at_the_next_keep_alive() {
    let mut names = None;
    let running = start_with(|config| names = Some(guarded(config).0)).await;
    let mut listen = listening(&running, "ali read").await;
    let mut get = legacy(&running, "ali read").await.open_get().await.unwrap();
    names.unwrap().revoked.lock().unwrap().insert("ali".into());
    listen.rest(SOON).await;
    get.rest(SOON).await;
    assert!(matches!(get.next_event(SOON).await, Next::End));
}
