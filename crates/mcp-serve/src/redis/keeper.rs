//! Makes the connection, watches it, and makes it again.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    sentinel,
    settings::{Address, Kind, Settings, SettingsError},
    trouble::{self, SILENT},
    wire::Wire,
    with_jitter,
};
use crate::metrics::{Dependency, Metrics};

/// What calls, the keeper and subscriptions share.
pub(super) struct Core {
    pub(super) settings: Settings,
    state: watch::Sender<State>,
    pub(super) up: watch::Sender<bool>,
    /// Why it is down.
    reason: Mutex<String>,
    /// Whether the log says that it is.
    was_away: AtomicBool,
    /// Failures since the last success.
    failures: AtomicU32,
    /// The number of the newest connection.
    newest: AtomicU64,
    /// Which of several servers is to be asked first.
    pub(super) first: AtomicUsize,
    complaints: mpsc::Sender<Complaint>,
    pub(super) metrics: Metrics,
    pub(super) calls: Dependency,
    /// How long the last beat took, in microseconds.
    beat_micros: AtomicU64,
}

#[derive(Clone)]
enum State {
    /// There is none, for a moment: calls wait.
    Connecting,
    /// Calls use it.
    Up(Live),
    /// Redis is away: calls fail.
    Down,
}

/// A connection that works as far as is known.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) wire: Wire,
    /// Each connection has another.
    pub(super) number: u64,
    /// The server that it leads to; `None` for a cluster.
    pub(super) address: Option<Address>,
}

/// What is wrong with a connection.
pub(super) struct Complaint {
    number: u64,
    wrong: Wrong,
}

#[derive(Clone, Copy)]
enum Wrong {
    /// It ended, or leads to the wrong server: another may stand in a moment.
    Lost,
    /// Redis is there and does not answer.
    Silent,
    /// Of a cluster: part of it works. It is used until there is a better one.
    Stale,
}

/// So many failures in a row mean that Redis is away.
const FAILURES_MAX: u32 = 5;
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How often a connection is asked whether it works.
const BEAT: Duration = Duration::from_secs(1);
/// Complaints beyond those that wait are about the same.
const COMPLAINTS: usize = 8;

impl Core {
    /// Without a connection, and with the complaints that the keeper reads.
    pub(super) fn new(
        settings: Settings,
        metrics: &Metrics,
    ) -> Result<(Self, mpsc::Receiver<Complaint>), SettingsError> {
        settings.check()?;
        let (complaints, inbox) = mpsc::channel(COMPLAINTS);
        let core = Self {
            settings,
            state: watch::Sender::new(State::Connecting),
            up: watch::Sender::new(false),
            reason: Mutex::new("there is no connection yet".to_owned()),
            was_away: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            newest: AtomicU64::new(0),
            first: AtomicUsize::new(0),
            complaints,
            metrics: metrics.clone(),
            calls: metrics.dependency("redis"),
            beat_micros: AtomicU64::new(0),
        };
        Ok((core, inbox))
    }

    /// The connection to use; waits until `deadline` where one is being made.
    pub(super) async fn live(&self, deadline: Instant) -> Option<Live> {
        match &*self.state.borrow() {
            State::Up(live) => return Some(live.clone()),
            State::Down => return None,
            State::Connecting => {}
        }
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Connecting));
        match &*timeout_at(deadline, settled).await.ok()?.ok()? {
            State::Up(live) => Some(live.clone()),
            _ => None,
        }
    }

    /// Redis answered.
    pub(super) fn succeeded(&self) {
        // Most find it so; writing would have all processors fetch it anew.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// Redis did not answer over `live`, or could not do what it was asked.
    pub(super) fn failed(&self, live: &Live) {
        let in_a_row = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if in_a_row >= FAILURES_MAX {
            self.complain(live, Wrong::Silent);
        } else if live.address.is_none() {
            // Other nodes may answer all the while, and another one have the slot by now.
            self.complain(live, Wrong::Stale);
        }
    }

    /// What `live` leads to is not the primary any more.
    pub(super) fn demoted(&self, live: &Live) {
        let stale = live.address.is_none();
        self.complain(live, if stale { Wrong::Stale } else { Wrong::Lost });
    }

    fn complain(&self, live: &Live, wrong: Wrong) {
        self.complain_of(live.number, wrong);
    }

    fn complain_of(&self, number: u64, wrong: Wrong) {
        let _ = self.complaints.try_send(Complaint { number, wrong });
    }

    /// Ends when another connection is in use than `number`.
    pub(super) async fn replaced(&self, number: u64) {
        let mut state = self.state.subscribe();
        let other = |state: &State| matches!(state, State::Up(live) if live.number != number);
        let _ = state.wait_for(other).await;
    }

    pub(super) fn trouble(&self) -> Option<String> {
        if *self.up.borrow() {
            return None;
        }
        let reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        Some(reason.clone())
    }

    pub(super) fn latency(&self) -> Duration {
        Duration::from_micros(self.beat_micros.load(Ordering::Relaxed))
    }

    fn set_up(&self, live: Live) {
        self.failures.store(0, Ordering::Relaxed);
        self.state.send_replace(State::Up(live));
        let was_up = self.up.send_replace(true);
        let redis = self.settings.places();
        // A start without surprises is not worth a line.
        if self.was_away.swap(false, Ordering::Relaxed) {
            tracing::info!(%redis, "Redis is back");
        } else if !was_up {
            tracing::debug!(%redis, "Redis is connected");
        }
    }

    fn set_down(&self, reason: &str) {
        let is_news = {
            let mut known = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
            let is_news = *known != reason;
            reason.clone_into(&mut known);
            is_news
        };
        self.state.send_replace(State::Down);
        self.was_away.store(true, Ordering::Relaxed);
        if self.up.send_replace(false) || is_news {
            tracing::warn!(redis = %self.settings.places(), reason, "Redis is away");
        }
    }
}

/// Keeps a connection for ever.
pub(super) async fn keep(core: Arc<Core>, mut inbox: mpsc::Receiver<Complaint>) {
    let mut better = None;
    loop {
        let live = match better.take() {
            Some(live) => live,
            None => connected(&core).await,
        };
        core.set_up(live.clone());
        let since = Instant::now();
        match watched(&core, &live, &mut inbox).await {
            Ended::Lost => {
                tracing::debug!("the connection to Redis ended");
                core.state.send_replace(State::Connecting);
            }
            Ended::Silent(reason) => core.set_down(&reason),
            Ended::Stale => match attempted(&core).await {
                Ok(live) => better = Some(live),
                Err(reason) => core.set_down(&reason),
            },
        }
        // The next one may end as soon as it stands, too.
        if better.is_none() && since.elapsed() < BEAT {
            sleep(with_jitter(BACKOFF_MIN)).await;
        }
    }
}

/// How a connection ended.
enum Ended {
    Lost,
    /// With the reason in words.
    Silent(String),
    Stale,
}

/// Tries until there is a connection. What is not there soon is away, whatever takes so long.
async fn connected(core: &Arc<Core>) -> Live {
    let connecting = tried(core);
    tokio::pin!(connecting);
    if let Ok(live) = timeout(core.settings.deadlines.connect, &mut connecting).await {
        return live;
    }
    if !matches!(&*core.state.borrow(), State::Down) {
        core.set_down(SILENT);
    }
    connecting.await
}

async fn tried(core: &Arc<Core>) -> Live {
    let since = Instant::now();
    let mut pause = BACKOFF_MIN;
    loop {
        let reason = match attempted(core).await {
            Ok(live) => return live,
            Err(reason) => reason,
        };
        if since.elapsed() + pause > core.settings.deadlines.attempt {
            core.set_down(&reason);
        }
        sleep(with_jitter(pause)).await;
        pause = (pause * 2).min(BACKOFF_MAX);
    }
}

/// One try within its time; `Err` with the reason in words.
async fn attempted(core: &Arc<Core>) -> Result<Live, String> {
    let number = core.newest.fetch_add(1, Ordering::Relaxed) + 1;
    // What a connection asks of several servers takes several times as long.
    let sentinels = match core.settings.kind {
        Kind::Sentinel(_) => u32::try_from(core.settings.servers.len()).unwrap_or(u32::MAX),
        Kind::Single | Kind::Cluster => 0,
    };
    let limit = core.settings.deadlines.connect * sentinels.saturating_add(3);
    let tried = timeout(limit, connect(core, number)).await;
    tried.unwrap_or_else(|_| Err(SILENT.to_owned()))
}

/// One try to connect.
async fn connect(core: &Arc<Core>, number: u64) -> Result<Live, String> {
    let settings = &core.settings;
    let address = match &settings.kind {
        Kind::Single => settings.servers.first().cloned(),
        Kind::Sentinel(name) => Some(sentinel::primary(settings, name, &core.first).await?),
        Kind::Cluster => None,
    };
    let wire = match &address {
        Some(address) => {
            let weak = Arc::downgrade(core);
            let gone = move || {
                if let Some(core) = weak.upgrade() {
                    core.complain_of(number, Wrong::Lost);
                }
            };
            Wire::to(settings, address, gone).await
        }
        None => Wire::to_cluster(settings).await,
    };
    let wire = wire.map_err(|error| trouble::of_connection(&error))?;
    let greeting = wire.greet().await;
    let greeting = greeting.map_err(|error| trouble::of_connection(&error))?;
    if let Some(objection) = greeting.and_then(|said| said.objection()) {
        return Err(objection.to_owned());
    }
    Ok(Live {
        wire,
        number,
        address,
    })
}

/// Waits until the connection is not to be used any more, or there should be a better one.
async fn watched(core: &Core, live: &Live, inbox: &mut mpsc::Receiver<Complaint>) -> Ended {
    let since = Instant::now();
    // Complaints are heard all the while: a server that is silent is asked for longer than calls wait.
    let beating = beats(core, live);
    tokio::pin!(beating);
    loop {
        tokio::select! {
            complaint = inbox.recv() => match complaint {
                Some(complaint) if complaint.number != live.number => {}
                Some(Complaint { wrong: Wrong::Silent, .. }) => {
                    return Ended::Silent(SILENT.to_owned());
                }
                Some(Complaint { wrong: Wrong::Stale, .. }) => {
                    // While part of a cluster is away the next is no better.
                    if since.elapsed() >= BEAT {
                        return Ended::Stale;
                    }
                }
                _ => return Ended::Lost,
            },
            ended = &mut beating => return ended,
        }
    }
}

/// Asks again and again whether the connection still works, until it does not.
async fn beats(core: &Core, live: &Live) -> Ended {
    loop {
        sleep(BEAT).await;
        if let Some(ended) = beat(core, live).await {
            return ended;
        }
    }
}

/// Asks whether the connection still works; how it ended when it does not.
async fn beat(core: &Core, live: &Live) -> Option<Ended> {
    let mut answered = None;
    // One long command of somebody else, or one node of a cluster, is no reason to give up.
    for _ in 0..3 {
        let begun = Instant::now();
        answered = timeout(core.settings.deadlines.attempt, live.wire.greet())
            .await
            .ok();
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        core.beat_micros.store(micros, Ordering::Relaxed);
        if matches!(answered, Some(Ok(_))) {
            break;
        }
    }
    match answered {
        Some(Ok(Some(said))) if said.objection().is_some() => Some(Ended::Lost),
        Some(Ok(_)) => sentinels_disagree(core, live).await.then_some(Ended::Lost),
        _ if live.address.is_none() => Some(Ended::Stale),
        Some(Err(error)) if error.is_unrecoverable_error() => Some(Ended::Lost),
        Some(Err(error)) => Some(Ended::Silent(trouble::of_connection(&error))),
        None => Some(Ended::Silent(SILENT.to_owned())),
    }
}

/// Whether the sentinels name another primary, which the old one may not know yet: what it takes
/// until it knows is lost.
async fn sentinels_disagree(core: &Core, live: &Live) -> bool {
    let Kind::Sentinel(name) = &core.settings.kind else {
        return false;
    };
    let found = sentinel::primary(&core.settings, name, &core.first).await;
    found.is_ok_and(|primary| Some(&primary) != live.address.as_ref())
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").finish_non_exhaustive()
    }
}
