//! Two replicas under load, with somebody who listens; what is found of them when a fault is over.

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

use mcp_serve::test_util::{Next, RawClient, SseReader};
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, timeout},
};

use super::{
    super::{Replica, ask},
    load::{Call, EVERY, Kind, Load, Outcome, caller, tool},
    page::{Cell, Row},
};
use crate::{engine::Database, process::PATIENCE};

/// Requests of one caller within a minute, and how many one asks to see whether it is held to that.
const BUDGET: u32 = 20;
const ASKED: usize = 60;
const AT_ONCE: usize = 10;
/// The load before a fault, in which the replicas find each other.
const BEFORE: Duration = Duration::from_secs(3);
/// Calls of each kind that succeed one after the other when all is well again.
const WELL: usize = 8;
/// The longest time until then.
const WELL_WITHIN: Duration = Duration::from_secs(30);
/// Somebody who listens hears of a change within this time when all is well.
const HEARS_WITHIN: Duration = Duration::from_secs(8);

/// The replicas, the load, the listener, and when the fault was.
pub(super) struct Stage {
    replicas: Vec<Replica>,
    load: Load,
    ear: Ear,
    /// The database, without anything between.
    database: Kept,
    began: Instant,
    over: Option<Instant>,
    passed: Option<u32>,
}

/// Where the notes are.
enum Kept {
    /// Where all tests have them.
    Shared(Database),
    /// Elsewhere, at this address.
    Own(String),
}

/// The longest that any call may take, on a machine that has much to do.
const BOUND: Duration = Duration::from_secs(8);
/// Less than one deadline of a command of Redis: nobody waits for what is known to be away.
const SOON: Duration = Duration::from_millis(400);
pub(super) const EVER: Duration = Duration::MAX;

/// What callers may feel of a fault.
#[derive(Clone, Copy)]
pub(super) struct Bearable {
    /// What calls of each kind may be refused with.
    pub(super) refusals: [&'static [&'static str]; 4],
    /// The longest that half of each kind may take longer than before.
    pub(super) delay: [Duration; 4],
}

/// Without Redis: nobody opens a session, and everything else goes on.
pub(super) const REDIS: Bearable = Bearable {
    refusals: [&[], &[], &[], &["503"]],
    delay: [SOON, SOON, SOON, EVER],
};

/// Without the database: what needs notes says so, and what does not goes on.
pub(super) const DATABASE: Bearable = Bearable {
    refusals: [&["unavailable"], &["unavailable", "unconfirmed"], &[], &[]],
    delay: [EVER, EVER, SOON, EVER],
};

impl Stage {
    /// Replicas on this Redis.
    pub(super) async fn on_redis(redis: &str) -> Self {
        let database = tokio::task::spawn_blocking(Database::new).await.unwrap();
        let url = database.url().to_owned();
        Self::start(redis, &url, Kept::Shared(database)).await
    }

    /// Replicas on this Redis, and on a database at `store`, which is in truth at `database`.
    pub(super) async fn on_database(redis: &str, store: &str, database: String) -> Self {
        Self::start(redis, store, Kept::Own(database)).await
    }

    async fn start(redis: &str, store: &str, database: Kept) -> Self {
        let budget = BUDGET.to_string();
        let vars = [
            ("REDIS_URL", redis),
            ("NOTES_STORE", store),
            ("RATE_LIMIT_ANONYMOUS", &budget),
            ("RATE_LIMIT_SESSIONS", &budget),
        ];
        let replicas = vec![Replica::start(&vars).await, Replica::start(&vars).await];
        for replica in &replicas {
            is_ready(replica.place).await;
        }
        let places: Vec<_> = replicas.iter().map(|it| it.place).collect();
        let load = Load::start(&places).await;
        let ear = Ear::open(places[1], load.changed()).await;
        sleep(BEFORE).await;
        let stage = Self {
            replicas,
            load,
            ear,
            database,
            began: Instant::now(),
            over: None,
            passed: None,
        };
        let calls = stage.load.calls();
        let failed: Vec<_> = calls.iter().filter(|it| !it.is_done()).collect();
        assert!(failed.is_empty(), "before anything is wrong: {failed:?}");
        assert!(calls.len() > WELL, "there is no load");
        stage
    }

    /// From here on something is wrong.
    pub(super) fn begins(&mut self) {
        self.began = Instant::now();
    }

    /// It is over, or has come to its end by itself.
    pub(super) fn is_over(&mut self) {
        self.over = Some(Instant::now());
    }

    /// Lets it last so long, and sees meanwhile whether callers are held to their budgets.
    pub(super) async fn lasts(&mut self, time: Duration) {
        let end = Instant::now() + time;
        sleep(time / 3).await;
        let begun = Instant::now();
        let passed = self.passes().await;
        // Redis may have decided at first and each replica later.
        let most = 2.0 * f64::from(BUDGET) + refilled(begun) + 1.0;
        assert!(
            passed >= BUDGET / 2 && f64::from(passed) <= most,
            "{passed} of {ASKED} with a budget of {BUDGET}"
        );
        self.passed = Some(passed);
        tokio::time::sleep_until(end).await;
    }

    /// Waits until all is well and weighs what was met.
    pub(super) async fn finish(mut self, bearable: Bearable) -> Row {
        self.becomes_well().await;
        let mut budget = None;
        if let Some(meanwhile) = self.passed {
            for replica in &self.replicas {
                is_ready(replica.place).await;
            }
            let begun = Instant::now();
            let after = self.passes().await;
            // A replica that waited too long for Redis, on a machine that has much to do, says so.
            let alone = if self.count_together().await { 1 } else { 2 };
            let most = f64::from(BUDGET * alone) + refilled(begun) + 1.0;
            let range = f64::from(BUDGET) - 1.0..=most;
            assert!(range.contains(&f64::from(after)), "{after}, not {range:?}");
            budget = Some([meanwhile, after]);
        }
        self.load.stop().await;
        let stopped = Instant::now();
        self.hears().await;
        let calls = self.load.calls();
        self.is_bearable(&calls, bearable);
        self.notes_are_as_answers_said(&calls).await;
        let kinds = Kind::ALL.map(|kind| self.cell(&calls, kind));
        for ((kind, cell), most) in Kind::ALL.iter().zip(&kinds).zip(bearable.delay) {
            let (before, median) = (self.before(&calls, *kind), cell.median());
            // What is slow on this machine is as slow then.
            let most = most.saturating_add(before * 3);
            assert!(
                median <= most,
                "half of {kind:?}: {median:?}, {before:?} before"
            );
        }
        Row {
            kinds,
            well: self.well(&calls),
            is_since_end: self.over.is_some(),
            silence: self.ear.silence(self.began, stopped),
            budget,
        }
    }

    /// From when on recovery is measured.
    fn since(&self) -> Instant {
        self.over.unwrap_or(self.began)
    }

    async fn becomes_well(&self) {
        let since = self.since();
        loop {
            let calls = self.load.calls();
            let is_well = Kind::ALL.iter().all(|kind| {
                let mut last = calls.iter().rev();
                let done = last.by_ref().filter(|it| it.kind == *kind);
                let done = done.take_while(|it| it.is_done() && it.begun > since);
                done.take(WELL).count() == WELL
            });
            if is_well {
                return;
            }
            let failed: Vec<_> = calls.iter().filter(|it| !it.is_done()).collect();
            let last = failed.last();
            assert!(
                since.elapsed() < WELL_WITHIN,
                "not well again, {last:?} at last"
            );
            sleep(EVERY).await;
        }
    }

    /// When, of each kind, a call had succeeded after which none failed.
    fn well(&self, calls: &[Call]) -> Duration {
        let since = self.since();
        let well = Kind::ALL.iter().map(|kind| {
            let own = || calls.iter().filter(|it| it.kind == *kind);
            let failed = own().filter(|it| !it.is_done()).map(|it| it.begun).max();
            let failed = failed.filter(|it| *it >= self.began);
            let next = failed.and_then(|failed| {
                let later = own().filter(|it| it.begun > failed);
                later.map(|it| it.begun + it.took).min()
            });
            next.map_or(Duration::ZERO, |next| next.saturating_duration_since(since))
        });
        well.max().unwrap_or_default()
    }

    /// The median of a kind while nothing was wrong.
    fn before(&self, calls: &[Call], kind: Kind) -> Duration {
        let before = |it: &&Call| it.kind == kind && it.begun + it.took < self.began;
        let mut took: Vec<_> = calls.iter().filter(before).map(|it| it.took).collect();
        took.sort_unstable();
        took[took.len() / 2]
    }

    fn cell(&self, calls: &[Call], kind: Kind) -> Cell {
        let mut cell = Cell::default();
        let until = self.since() + self.well(calls);
        let touched = |call: &&Call| {
            let is_inside = call.begun + call.took >= self.began && call.begun <= until;
            call.kind == kind && is_inside
        };
        for call in calls.iter().filter(touched) {
            cell.took.push(call.took);
            if let Outcome::Refused(how) = &call.outcome {
                *cell.refused.entry(how.clone()).or_default() += 1;
            }
        }
        cell.took.sort_unstable();
        cell
    }

    /// No call was answered wrongly or too late.
    fn is_bearable(&self, calls: &[Call], bearable: Bearable) {
        let mut complaints = BTreeMap::<String, usize>::new();
        for call in calls {
            let number = Kind::ALL.iter().position(|it| *it == call.kind).unwrap();
            let wrong = match &call.outcome {
                Outcome::Done => None,
                Outcome::Refused(how) if bearable.refusals[number].contains(&how.as_str()) => None,
                Outcome::Refused(how) | Outcome::Wrong(how) => Some(how.clone()),
            };
            let late = (call.took > BOUND).then(|| format!("{:?}", call.took));
            for complaint in wrong.into_iter().chain(late) {
                let at = call.begun.saturating_duration_since(self.began).as_secs();
                let complaint = format!("{:?} after {at} s: {complaint}", call.kind);
                *complaints.entry(complaint).or_default() += 1;
            }
        }
        let logs: Vec<_> = self
            .replicas
            .iter()
            .map(|it| it.served().complaints())
            .collect();
        assert!(complaints.is_empty(), "{complaints:#?} {logs:#?}");
    }

    /// What was acknowledged is kept, and what was refused is not.
    async fn notes_are_as_answers_said(&self, calls: &[Call]) {
        let url = match &self.database {
            Kept::Shared(database) => database.url(),
            Kept::Own(url) => url,
        };
        let client = mongodb::Client::with_uri_str(url).await.unwrap();
        let notes = client.default_database().unwrap();
        let notes = notes.collection::<Document>("mcp_notes");
        let mut found = notes.find(doc! {}).await.unwrap();
        let mut titles = HashSet::new();
        while found.advance().await.unwrap() {
            let note = found.deserialize_current().unwrap();
            let title = note.get_str("title").unwrap().to_owned();
            assert!(titles.insert(title), "a note is there twice: {note}");
        }
        for call in calls {
            let Some(title) = &call.title else { continue };
            let is_kept = titles.contains(title);
            match &call.outcome {
                Outcome::Done => assert!(is_kept, "{title} was acknowledged and is lost"),
                Outcome::Refused(how) if how == "unconfirmed" => {}
                _ => assert!(!is_kept, "{title} was refused and is kept: {call:?}"),
            }
        }
    }

    /// How many requests of a caller pass that come at once, at both replicas.
    async fn passes(&self) -> u32 {
        static LAST: AtomicU8 = AtomicU8::new(0);
        let address = format!("11.0.0.{}", LAST.fetch_add(1, Ordering::Relaxed));
        let mut passed = 0;
        for first in (0..ASKED).step_by(AT_ONCE) {
            let mut asked = JoinSet::new();
            for number in first..ASKED.min(first + AT_ONCE) {
                let mut caller = caller(self.replicas[number % self.replicas.len()].place);
                caller.headers.retain(|(name, _)| name != "X-Forwarded-For");
                let from = ("X-Forwarded-For".to_owned(), address.clone());
                caller.headers.push(from);
                let params = tool("get_note", &json!({ "id": self.load.read() }));
                asked.spawn(
                    async move { caller.call("tools/call", params).await.unwrap().status() },
                );
            }
            for status in asked.join_all().await {
                assert!(matches!(status, 200 | 429), "{status}");
                passed += u32::from(status == 200);
            }
        }
        passed
    }

    /// Whether no replica has counted for itself within the last moments.
    async fn count_together(&self) -> bool {
        let mut together = true;
        for replica in &self.replicas {
            together &= health(replica.place).await["checks"]["rate_limits"]["status"] == "ok";
        }
        together
    }

    /// A change at one replica is heard at the other.
    async fn hears(&self) {
        let before = self.ear.count();
        let begun = Instant::now();
        let change = json!({ "id": self.load.changed(), "content": "the last" });
        let mut caller = caller(self.replicas[0].place);
        let changed = caller
            .call("tools/call", tool("update_note", &change))
            .await;
        assert_eq!(changed.unwrap().result()["isError"], Value::Bool(false));
        while self.ear.count() == before {
            assert!(!self.ear.has_ended(), "the stream of changes ended");
            assert!(begun.elapsed() < HEARS_WITHIN, "the change is not heard");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Call {
    fn is_done(&self) -> bool {
        self.outcome == Outcome::Done
    }
}

/// What a budget gets back after `begun`.
fn refilled(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * f64::from(BUDGET) / 60.0
}

async fn health(place: SocketAddr) -> Value {
    let mut client = RawClient::connect(place).await.unwrap();
    ask(&mut client, "GET", "/readyz", b"").await.json()
}

/// Waits until a replica says that nothing is wrong.
async fn is_ready(place: SocketAddr) {
    let begun = Instant::now();
    loop {
        let report = health(place).await;
        if report["status"] == "ok" {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{report}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Somebody who listens for changes of a note at one replica.
struct Ear {
    heard: Arc<Mutex<Vec<Instant>>>,
    has_ended: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Ear {
    async fn open(place: SocketAddr, note: &str) -> Self {
        let uri = format!("note:///{note}");
        let wanted = json!({ "notifications": { "resourceSubscriptions": [uri] } });
        let opened = caller(place).open("subscriptions/listen", wanted).await;
        let mut stream = opened.unwrap();
        assert!(matches!(stream.next_event(PATIENCE).await, Next::Event(_)));
        let (heard, has_ended) = <(Arc<Mutex<Vec<_>>>, Arc<AtomicBool>)>::default();
        let (tell, end) = (heard.clone(), has_ended.clone());
        let task = tokio::spawn(async move {
            follow(stream, &tell).await;
            end.store(true, Ordering::Relaxed);
        });
        Self {
            heard,
            has_ended,
            task,
        }
    }

    fn count(&self) -> usize {
        self.heard.lock().unwrap().len()
    }

    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// The longest time without a change between the two.
    fn silence(&self, from: Instant, to: Instant) -> Duration {
        let heard = self.heard.lock().unwrap();
        let inside = heard.iter().filter(|it| (from..to).contains(it));
        let mut last = from;
        let mut longest = Duration::ZERO;
        for next in inside.chain([&to]) {
            longest = longest.max(*next - last);
            last = *next;
        }
        longest
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(mut stream: SseReader, heard: &Mutex<Vec<Instant>>) {
    while let Ok(Next::Event(event)) = timeout(PATIENCE, stream.next_event(PATIENCE)).await {
        if event.data.contains("resources/updated") {
            heard.lock().unwrap().push(Instant::now());
        }
    }
}
