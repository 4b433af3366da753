//! Replicas that are killed, restarted, added and taken away while they are asked.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use mcp_serve::test_util::{Next, SseReader};
use serde_json::json;
use tokio::{task::JoinHandle, time::sleep};

use super::{
    Site, legacy,
    load::{Caller, Load, Tally},
    modern,
};
use crate::process::PATIENCE;

const MODERN: usize = 4;
const LEGACY: usize = 4;

/// Somebody who always has a stream open, and opens it anew when it ends.
struct Watcher {
    opened: Arc<AtomicUsize>,
    heard: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watcher {
    async fn start(at: SocketAddr, is_modern: bool) -> Self {
        let (opened, heard) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let session = legacy(at).await;
        let (told_opened, told_heard) = (Arc::clone(&opened), Arc::clone(&heard));
        let task = tokio::spawn(async move {
            let mut modern = modern(at);
            loop {
                let stream = if is_modern {
                    let wanted = json!({ "notifications": { "resourcesListChanged": true } });
                    modern.open("subscriptions/listen", wanted).await
                } else {
                    session.open_get().await
                };
                if let Ok(stream) = stream {
                    follow(stream, &told_opened, &told_heard).await;
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
        let watcher = Self {
            opened,
            heard,
            task,
        };
        watcher.hears_beyond(0, &watcher.opened).await;
        watcher
    }

    async fn hears_beyond(&self, count: usize, what: &AtomicUsize) {
        let end = Instant::now() + PATIENCE;
        while what.load(Ordering::Relaxed) <= count {
            assert!(Instant::now() < end, "a stream stays silent");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn follow(mut stream: SseReader, opened: &AtomicUsize, heard: &AtomicUsize) {
    if !matches!(stream.next_event(PATIENCE).await, Next::Event(_)) {
        return;
    }
    opened.fetch_add(1, Ordering::Relaxed);
    while let Next::Event(event) = stream.next_event(PATIENCE).await {
        if event.data.contains("resources/list_changed") {
            heard.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Load and streams of both eras.
struct Life {
    load: Load,
    watchers: [Watcher; 2],
}

impl Life {
    async fn begin(site: &Site) -> Self {
        let front = site.front();
        Self {
            load: Load::start(front, MODERN, LEGACY).await,
            watchers: [
                Watcher::start(front, true).await,
                Watcher::start(front, false).await,
            ],
        }
    }

    /// Ends the load; streams still hear of what happens then.
    async fn end(self, site: &Site) -> Tally {
        let tally = self.load.stop().await;
        for watcher in &self.watchers {
            // One that is being opened anew may miss a change, and hears of the next.
            let (heard, end) = (
                watcher.heard.load(Ordering::Relaxed),
                Instant::now() + PATIENCE,
            );
            let mut writer = Caller::Modern(modern(site.front()));
            while watcher.heard.load(Ordering::Relaxed) == heard {
                assert!(Instant::now() < end, "a stream is not open again");
                let new = json!({ "title": "after all", "content": "text" });
                writer.tool("create_note", new).await.unwrap();
                sleep(Duration::from_millis(100)).await;
            }
        }
        println!(
            "{} calls, {} notes, slowest {:?}, streams opened {:?}, failures {:?}",
            tally.calls,
            tally.kept.len(),
            tally.slowest,
            self.watchers
                .each_ref()
                .map(|it| it.opened.load(Ordering::Relaxed)),
            tally.failures
        );
        tally
    }
}

#[tokio::test]
async fn a_killed_replica_costs_the_calls_that_it_worked_on_and_nothing_else() {
    let mut site = Site::start(&[]).await;
    let life = Life::begin(&site).await;
    life.load.pass(60).await;
    site.fleet.replicas[1].served.take().unwrap().kill().await;
    life.load.pass(150).await;
    site.fleet.replicas[1].begin().await;
    site.fleet.replicas[1].answers().await;
    life.load.pass(60).await;
    let tally = life.end(&site).await;
    // Nobody may send these again: what became of them is not known.
    let in_flight = |it: &String| it.contains(": 502 ") && it.contains("is not known");
    let others: Vec<_> = tally.failures.iter().filter(|it| !in_flight(it)).collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(tally.failures.len() <= MODERN + LEGACY);
    site.fleet.stop().await;
}

#[tokio::test]
async fn a_rolling_restart_fails_no_call() {
    let mut site = Site::start(&[]).await;
    let life = Life::begin(&site).await;
    life.load.pass(60).await;
    for replica in &mut site.fleet.replicas {
        let (status, _) = replica.served.take().unwrap().stop().await;
        assert!(status.success());
        life.load.pass(40).await;
        replica.begin().await;
        // nginx comes back to it when `fail_timeout` is over.
        replica.answers().await;
    }
    life.load.pass(60).await;
    let tally = life.end(&site).await;
    assert_eq!(tally.failures, Vec::<String>::new());
    site.fleet.stop().await;
}

#[tokio::test]
async fn from_one_replica_to_three_and_back_fails_no_call() {
    let mut site = Site::start(&[]).await;
    let places: Vec<_> = (0..3).map(|number| site.place(number)).collect();
    site.fleet.nginx.point_to(&places[..1]);
    let life = Life::begin(&site).await;
    life.load.pass(60).await;
    site.fleet.nginx.point_to(&places);
    for replica in &site.fleet.replicas[1..] {
        replica.answers().await;
    }
    life.load.pass(60).await;
    site.fleet.nginx.point_to(&places[..1]);
    for replica in &mut site.fleet.replicas[1..] {
        let (status, _) = replica.served.take().unwrap().stop().await;
        assert!(status.success());
    }
    life.load.pass(60).await;
    let tally = life.end(&site).await;
    assert_eq!(tally.failures, Vec::<String>::new());
    site.fleet.stop().await;
}
