//! Calls of both eras through nginx, while nothing or much happens to the replicas.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use mcp_serve::test_util::{Legacy, Modern, RpcAnswer};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};

use super::{legacy, modern};
use crate::process::PATIENCE;

/// Longest time that callers go on, whatever happens.
const TIME: Duration = Duration::from_secs(100);

/// Callers who go on until they are told to stop.
pub(super) struct Load {
    at: SocketAddr,
    is_over: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    callers: JoinSet<Tally>,
}

/// What callers met.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// What went wrong, in words.
    pub(super) failures: Vec<String>,
    /// Ids and titles of notes that are kept, as the answers said.
    pub(super) kept: Vec<(String, String)>,
    pub(super) calls: usize,
    pub(super) slowest: Duration,
}

/// A caller of one of the two eras.
pub(super) enum Caller {
    Modern(Modern),
    Legacy(Legacy),
}

impl Caller {
    pub(super) async fn call(&mut self, method: &str, params: Value) -> io::Result<RpcAnswer> {
        match self {
            Self::Modern(modern) => modern.call(method, params).await,
            Self::Legacy(legacy) => legacy.call(method, params).await,
        }
    }

    /// Calls a tool; what it gives, or what went wrong.
    pub(super) async fn tool(&mut self, name: &str, arguments: Value) -> Result<Value, String> {
        let params = json!({ "name": name, "arguments": arguments });
        let answer = self.call("tools/call", params).await;
        let answer = answer.map_err(|error| format!("{name}: {error}"))?;
        let last = answer.last();
        let result = &last["result"];
        if answer.status() == 200 && result["isError"] == false {
            return Ok(result["structuredContent"].clone());
        }
        Err(format!("{name}: {} {last}", answer.status()))
    }
}

impl Load {
    /// So many callers of each era at nginx, who keep notes and read them again.
    pub(super) async fn start(at: SocketAddr, modern_count: usize, legacy_count: usize) -> Self {
        let mut load = Self {
            at,
            is_over: Arc::default(),
            calls: Arc::default(),
            callers: JoinSet::new(),
        };
        for number in 0..modern_count + legacy_count {
            let caller = if number < modern_count {
                Caller::Modern(modern(at))
            } else {
                Caller::Legacy(legacy(at).await)
            };
            let (is_over, calls) = (Arc::clone(&load.is_over), Arc::clone(&load.calls));
            load.callers.spawn(go_on(caller, number, is_over, calls));
        }
        load
    }

    /// Waits until so many more calls are over.
    pub(super) async fn pass(&self, calls: usize) {
        let (begun, end) = (
            self.calls.load(Ordering::Relaxed),
            Instant::now() + PATIENCE,
        );
        while self.calls.load(Ordering::Relaxed) < begun + calls {
            assert!(Instant::now() < end, "calls stand still");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// What they met, after every note that was acknowledged was found again.
    pub(super) async fn stop(mut self) -> Tally {
        self.is_over.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        while let Some(tally) = self.callers.join_next().await {
            let tally = tally.unwrap();
            all.failures.extend(tally.failures);
            all.kept.extend(tally.kept);
            all.calls += tally.calls;
            all.slowest = all.slowest.max(tally.slowest);
        }
        let mut reader = Caller::Modern(modern(self.at));
        for (id, title) in &all.kept {
            let found = reader.tool("get_note", json!({ "id": id })).await.unwrap();
            assert_eq!(&found["title"], title, "an acknowledged note is lost");
        }
        all
    }
}

/// Keeps a note, reads it, lists the tools, and so on.
async fn go_on(
    mut caller: Caller,
    number: usize,
    is_over: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
) -> Tally {
    let (mut tally, begun) = (Tally::default(), Instant::now());
    let mut round = 0;
    while !is_over.load(Ordering::Relaxed) && begun.elapsed() < TIME {
        let (title, asked) = (format!("{number}/{round}"), Instant::now());
        let arguments = json!({ "title": title, "content": "kept under load" });
        let outcome = match (round % 3, tally.kept.last()) {
            (0, _) => {
                let made = caller.tool("create_note", arguments).await;
                made.map(|note| {
                    let id = note["id"].as_str().unwrap().to_owned();
                    tally.kept.push((id, title));
                })
            }
            (1, Some((id, _))) => {
                let found = caller.tool("get_note", json!({ "id": id })).await;
                found.map(drop)
            }
            _ => listed(&mut caller).await,
        };
        tally.failures.extend(outcome.err());
        tally.slowest = tally.slowest.max(asked.elapsed());
        tally.calls += 1;
        calls.fetch_add(1, Ordering::Relaxed);
        round += 1;
    }
    tally
}

async fn listed(caller: &mut Caller) -> Result<(), String> {
    let answer = caller.call("tools/list", json!({})).await;
    let answer = answer.map_err(|error| format!("tools/list: {error}"))?;
    if answer.status() == 200 && answer.last()["result"]["tools"].is_array() {
        return Ok(());
    }
    Err(format!("tools/list: {} {}", answer.status(), answer.last()))
}
