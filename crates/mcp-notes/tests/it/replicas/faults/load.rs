//! A steady load of few calls of several kinds, begun by the clock whatever became of those before,
//! and what became of each.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use mcp_serve::test_util::{Legacy, Modern, RpcAnswer, post};
use serde_json::{Value, json};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::super::{host, legacy, modern};

/// How often a call of each kind begins.
pub(super) const EVERY: Duration = Duration::from_millis(200);
/// How often the note is changed that somebody listens to, in calls of the other kinds.
const CHANGE_EVERY: usize = 2;
/// A call that takes longer hangs.
const HANGS: Duration = Duration::from_secs(9);
/// The longest load, whatever happens.
const TICKS_MAX: usize = 450;
/// Sessions that are used again and again; as many replicas are no divisor of it.
const SESSIONS: usize = 3;

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A note is read.
    Read,
    /// A note is made, or changed.
    Write,
    /// Something is asked in a session of an older revision.
    Session,
    /// Such a session is opened.
    Opening,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Session, Self::Opening];
}

/// A call that has ended.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) kind: Kind,
    pub(super) begun: Instant,
    pub(super) took: Duration,
    pub(super) outcome: Outcome,
    /// The title of the note that it was to make.
    pub(super) title: Option<String>,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// A clear answer that it did not go, by its status or code.
    Refused(String),
    /// Anything else, in words.
    Wrong(String),
}

/// Calls that go on until they are told to stop.
pub(super) struct Load {
    world: Arc<World>,
    ticking: JoinHandle<()>,
}

struct World {
    places: Vec<SocketAddr>,
    /// A note to read, and one to change.
    notes: [String; 2],
    sessions: Vec<Mutex<Legacy>>,
    is_over: AtomicBool,
    calls: Mutex<Vec<Call>>,
}

impl Load {
    /// Begins. Every replica is known to work.
    pub(super) async fn start(places: &[SocketAddr]) -> Self {
        let mut notes = Vec::new();
        for title in ["read", "changed"] {
            let new = json!({ "title": title, "content": "text" });
            let made = caller(places[0])
                .call("tools/call", tool("create_note", &new))
                .await;
            let made = made.unwrap().result()["structuredContent"]["id"].clone();
            notes.push(made.as_str().unwrap().to_owned());
        }
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            sessions.push(Mutex::new(legacy(places[0]).await));
        }
        let world = Arc::new(World {
            places: places.to_vec(),
            notes: notes.try_into().unwrap(),
            sessions,
            is_over: AtomicBool::new(false),
            calls: Mutex::default(),
        });
        let ticking = tokio::spawn(go_on(world.clone()));
        Self { world, ticking }
    }

    /// The id of the note that is changed all the time, at the first replica.
    pub(super) fn changed(&self) -> &str {
        &self.world.notes[1]
    }

    /// The id of the note that is read all the time.
    pub(super) fn read(&self) -> &str {
        &self.world.notes[0]
    }

    /// What has ended so far, by when it began.
    pub(super) fn calls(&self) -> Vec<Call> {
        let mut calls = self.world.calls.lock().unwrap().clone();
        calls.sort_by_key(|call| call.begun);
        calls
    }

    /// Begins nothing more and waits for what has begun.
    pub(super) async fn stop(&mut self) {
        self.world.is_over.store(true, Ordering::Relaxed);
        let ended = timeout(HANGS * 2, &mut self.ticking).await;
        ended.expect("calls hang").unwrap();
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.ticking.abort();
    }
}

async fn go_on(world: Arc<World>) {
    let mut calls = JoinSet::new();
    let mut clock = interval(EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 0..TICKS_MAX {
        if world.is_over.load(Ordering::Relaxed) {
            break;
        }
        clock.tick().await;
        for kind in Kind::ALL {
            calls.spawn(call(world.clone(), kind, tick));
        }
        if tick % CHANGE_EVERY == 0 {
            calls.spawn(change(world.clone(), tick));
        }
        while let Some(ended) = calls.try_join_next() {
            ended.unwrap();
        }
    }
    while let Some(ended) = calls.join_next().await {
        ended.unwrap();
    }
}

/// One call, at the replica whose turn it is.
async fn call(world: Arc<World>, kind: Kind, tick: usize) {
    let place = world.places[tick % world.places.len()];
    let title = (kind == Kind::Write).then(|| format!("note {tick}"));
    let asked = async {
        match kind {
            Kind::Read => {
                let params = tool("get_note", &json!({ "id": world.notes[0] }));
                caller(place).call("tools/call", params).await
            }
            Kind::Write => {
                let params = tool("create_note", &json!({ "title": title, "content": "text" }));
                caller(place).call("tools/call", params).await
            }
            Kind::Session => {
                let mut session = world.sessions[tick % SESSIONS].lock().unwrap().at(place);
                session.headers = headers();
                // Others of the session are on their way, so its number is its own.
                let body = json!({ "jsonrpc": "2.0", "id": tick + 9, "method": "tools/list" });
                session.post(&body).await
            }
            Kind::Opening => open(place).await,
        }
    };
    let begun = Instant::now();
    let outcome = within(asked).await;
    world.note(kind, begun, &outcome, title);
    if kind == Kind::Session && outcome == Outcome::Refused("404".to_owned()) {
        // As a client does whose session is lost.
        let opened = Legacy::initialize_with(place, "2025-11-25", json!({}), headers()).await;
        if let Ok(opened) = opened {
            *world.sessions[tick % SESSIONS].lock().unwrap() = opened;
        }
    }
}

/// Changes the note that somebody listens to, at the first replica.
async fn change(world: Arc<World>, tick: usize) {
    let change = json!({ "id": world.notes[1], "content": format!("text {tick}") });
    let begun = Instant::now();
    let mut caller = caller(world.places[0]);
    let asked = caller.call("tools/call", tool("update_note", &change));
    let outcome = within(asked).await;
    world.note(Kind::Write, begun, &outcome, None);
}

impl World {
    fn note(&self, kind: Kind, begun: Instant, outcome: &Outcome, title: Option<String>) {
        self.calls.lock().unwrap().push(Call {
            kind,
            begun,
            took: begun.elapsed(),
            outcome: outcome.clone(),
            title,
        });
    }
}

/// Waits for the answer, but not for ever.
async fn within(asked: impl Future<Output = io::Result<RpcAnswer>>) -> Outcome {
    match timeout(HANGS, asked).await {
        Ok(Ok(answer)) => judge(&answer),
        Ok(Err(error)) => Outcome::Wrong(error.to_string()),
        Err(_) => Outcome::Wrong(format!("no answer within {HANGS:?}")),
    }
}

fn judge(answer: &RpcAnswer) -> Outcome {
    let last = answer.last();
    let result = &last["result"];
    let code = &result["structuredContent"]["error"]["code"];
    match (answer.status(), result["isError"].as_bool()) {
        (200, Some(true)) if matches!(code.as_str(), Some("unavailable" | "unconfirmed")) => {
            Outcome::Refused(code.as_str().unwrap_or_default().to_owned())
        }
        (200, Some(false) | None) if result.is_object() => Outcome::Done,
        (503, _) if answer.head.header("retry-after").is_some() => Outcome::Refused("503".into()),
        (404, _) => Outcome::Refused("404".into()),
        (status, _) => Outcome::Wrong(format!("{status} {last}")),
    }
}

async fn open(place: SocketAddr) -> io::Result<RpcAnswer> {
    let client = json!({ "name": "test-client", "version": "1.0.0" });
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client },
    });
    let own = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    post(place, "/mcp", &[&own[..], &headers()].concat(), &body).await
}

/// A client of revision 2026-07-28 that nobody has seen before.
pub(super) fn caller(place: SocketAddr) -> Modern {
    let mut caller = modern(place);
    caller.headers = headers();
    caller
}

/// The name of the site, and an address of the caller's own, so that its budget is its own.
fn headers() -> Vec<(String, String)> {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let [_, a, b, c] = LAST.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let mut headers = host();
    headers.push(("X-Forwarded-For".to_owned(), format!("10.{a}.{b}.{c}")));
    headers
}

pub(super) fn tool(name: &str, arguments: &Value) -> Value {
    json!({ "name": name, "arguments": arguments })
}
