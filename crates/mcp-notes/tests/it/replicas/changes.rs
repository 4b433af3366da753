//! A change at one replica, as subscribers at the others hear of it.

use std::time::{Duration, Instant};

use mcp_serve::test_util::{Next, SseReader};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{Site, legacy, load::Caller, modern};
use crate::process::PATIENCE;

const CHANGES: usize = 100;

/// Tells when changes of the list arrive.
fn listen(mut stream: SseReader, heard: mpsc::UnboundedSender<Instant>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Next::Event(event) = stream.next_event(PATIENCE).await {
            let is_change = event.data.contains("resources/list_changed");
            if is_change && heard.send(Instant::now()).is_err() {
                return;
            }
        }
    })
}

/// The streams of one replica: one of each era, open.
async fn streams(site: &Site, number: usize) -> [SseReader; 2] {
    let wanted = json!({ "notifications": { "resourcesListChanged": true } });
    let mut modern = modern(site.place(number));
    let mut listen = modern.open("subscriptions/listen", wanted).await.unwrap();
    // A session that was opened elsewhere.
    let session = legacy(site.place(0)).await.at(site.place(number));
    let mut get = session.open_get().await.unwrap();
    for stream in [&mut listen, &mut get] {
        assert!(matches!(stream.next_event(PATIENCE).await, Next::Event(_)));
    }
    [listen, get]
}

#[tokio::test]
async fn a_change_at_one_replica_is_heard_at_the_others() {
    let site = Site::start(&[]).await;
    let mut writer = Caller::Modern(modern(site.place(0)));
    let mut listeners = Vec::new();
    for number in [1, 2] {
        for stream in streams(&site, number).await {
            let (heard, hearing) = mpsc::unbounded_channel();
            listeners.push((hearing, listen(stream, heard)));
        }
    }
    let (mut delays, mut writing) = (Vec::new(), Vec::new());
    for number in 0..CHANGES {
        let begun = Instant::now();
        let new = json!({ "title": format!("change {number}"), "content": "text" });
        writer.tool("create_note", new).await.unwrap();
        let done = Instant::now();
        writing.push(done - begun);
        for (hearing, _) in &mut listeners {
            let heard = tokio::time::timeout(PATIENCE, hearing.recv()).await;
            delays.push(heard.unwrap().unwrap().saturating_duration_since(done));
        }
    }
    let (median, p99) = quantiles(&mut delays);
    let (write, _) = quantiles(&mut writing);
    println!("heard after the answer: median {median:?}, p99 {p99:?}; a write: median {write:?}");
    assert!(median < Duration::from_secs(1), "{median:?}");
    for (_, task) in listeners {
        task.abort();
    }
    site.fleet.stop().await;
}

/// The median, and what all but a hundredth are below.
fn quantiles(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

#[tokio::test]
async fn a_subscriber_hears_of_its_note_in_the_order_of_its_changes() {
    let site = Site::start(&[]).await;
    let mut writer = Caller::Modern(modern(site.place(0)));
    let new = json!({ "title": "watched", "content": "0" });
    let note = writer.tool("create_note", new).await.unwrap();
    let id = note["id"].as_str().unwrap();
    let uri = format!("note:///{id}");
    let wanted = json!({ "notifications": { "resourceSubscriptions": [uri] } });
    let mut modern = modern(site.place(1));
    let mut listen = modern.open("subscriptions/listen", wanted).await.unwrap();
    assert!(matches!(listen.next_event(PATIENCE).await, Next::Event(_)));
    for version in 1..=3 {
        let change =
            json!({ "id": id, "content": version.to_string(), "expected_version": version });
        let changed = writer.tool("update_note", change).await.unwrap();
        let event = listen.next_event(PATIENCE).await.event().json();
        assert_eq!(
            event["method"], "notifications/resources/updated",
            "{event}"
        );
        // Whoever reads at another replica after that finds the change.
        let mut reader = Caller::Modern(super::modern(site.place(2)));
        let found: Value = reader.tool("get_note", json!({ "id": id })).await.unwrap();
        assert_eq!(found["version"], changed["version"]);
    }
    site.fleet.stop().await;
}
