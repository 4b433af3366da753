//! Makes the connection, watches it, and makes it again.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
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
    trouble,
    wire::Wire,
    with_jitter,
};

/// What calls, the keeper and subscriptions share.
pub(super) struct Core {
    pub(super) settings: Settings,
    state: watch::Sender<State>,
    pub(super) up: watch::Sender<bool>,
    /// Why it is down.
    reason: Mutex<String>,
    /// Failures since the last success.
    failures: AtomicU32,
    /// The number of the newest connection.
    newest: AtomicU64,
    complaints: mpsc::Sender<Complaint>,
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
    /// Whether Redis did not answer, rather than hang up.
    silent: bool,
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
    ) -> Result<(Self, mpsc::Receiver<Complaint>), SettingsError> {
        settings.check()?;
        let (complaints, inbox) = mpsc::channel(COMPLAINTS);
        let core = Self {
            settings,
            state: watch::Sender::new(State::Connecting),
            up: watch::Sender::new(false),
            reason: Mutex::new("there is no connection yet".to_owned()),
            failures: AtomicU32::new(0),
            newest: AtomicU64::new(0),
            complaints,
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

    /// Redis did not answer over connection `number`, or could not do what it was asked.
    pub(super) fn failed(&self, number: u64) {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_MAX {
            self.complain(number, true);
        }
    }

    /// Connection `number` ended, or leads to a server that is not the primary any more.
    pub(super) fn ended(&self, number: u64) {
        self.complain(number, false);
    }

    fn complain(&self, number: u64, silent: bool) {
        let _ = self.complaints.try_send(Complaint { number, silent });
    }

    /// The number of the connection in use, which changes with each.
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

    fn set_up(&self, live: Live) {
        self.failures.store(0, Ordering::Relaxed);
        self.state.send_replace(State::Up(live));
        if !self.up.send_replace(true) {
            tracing::info!(redis = %self.settings.places(), "Redis is connected");
        }
    }

    fn set_down(&self, reason: String) {
        let is_news = {
            let mut known = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *known, reason.clone()) != reason
        };
        self.state.send_replace(State::Down);
        if self.up.send_replace(false) || is_news {
            tracing::warn!(redis = %self.settings.places(), %reason, "Redis is away");
        }
    }
}

/// Keeps a connection for ever.
pub(super) async fn keep(core: Arc<Core>, mut inbox: mpsc::Receiver<Complaint>) {
    loop {
        let live = connected(&core).await;
        core.set_up(live.clone());
        let ended = watched(&core, &live, &mut inbox).await;
        match ended {
            Ended::Lost => {
                tracing::debug!("the connection to Redis ended");
                core.state.send_replace(State::Connecting);
            }
            Ended::Silent(reason) => core.set_down(reason),
        }
    }
}

/// How a connection ended.
enum Ended {
    /// Another may stand in a moment.
    Lost,
    /// Redis is there and does not answer.
    Silent(String),
}

/// Tries until there is a connection.
async fn connected(core: &Arc<Core>) -> Live {
    let since = Instant::now();
    let mut pause = BACKOFF_MIN;
    loop {
        let number = core.newest.fetch_add(1, Ordering::Relaxed) + 1;
        // What a connection asks of several servers takes several times as long.
        let limit = core.settings.deadlines.connect * 3;
        let tried = timeout(limit, connect(core, number)).await;
        let reason = match tried {
            Ok(Ok(live)) => return live,
            Ok(Err(reason)) => reason,
            Err(_) => "no answer in time".to_owned(),
        };
        if since.elapsed() + pause > core.settings.deadlines.attempt {
            core.set_down(reason);
        }
        sleep(with_jitter(pause)).await;
        pause = (pause * 2).min(BACKOFF_MAX);
    }
}

/// One try to connect; `Err` with the reason in words.
async fn connect(core: &Arc<Core>, number: u64) -> Result<Live, String> {
    let settings = &core.settings;
    let address = match &settings.kind {
        Kind::Single => settings.servers.first().cloned(),
        Kind::Sentinel(name) => Some(sentinel::primary(settings, name).await?),
        Kind::Cluster => None,
    };
    let wire = match &address {
        Some(address) => {
            let weak = Arc::downgrade(core);
            let gone = move || {
                if let Some(core) = weak.upgrade() {
                    core.ended(number);
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

/// Waits until the connection is not to be used any more.
async fn watched(core: &Core, live: &Live, inbox: &mut mpsc::Receiver<Complaint>) -> Ended {
    loop {
        tokio::select! {
            complaint = inbox.recv() => match complaint {
                Some(complaint) if complaint.number != live.number => {}
                Some(complaint) if complaint.silent => {
                    return Ended::Silent("it does not answer in time".to_owned());
                }
                _ => return Ended::Lost,
            },
            () = sleep(BEAT) => {
                if let Some(ended) = beat(core, live).await {
                    return ended;
                }
            }
        }
    }
}

/// Asks whether the connection still works; how it ended when it does not.
async fn beat(core: &Core, live: &Live) -> Option<Ended> {
    let deadline = core.settings.deadlines.attempt;
    // One long command of somebody else is no reason to give up.
    for _ in 0..2 {
        let Ok(answer) = timeout(deadline, live.wire.greet()).await else {
            continue;
        };
        return match answer {
            Ok(Some(said)) if said.objection().is_some() => Some(Ended::Lost),
            Ok(_) => sentinels_disagree(core, live).await.then_some(Ended::Lost),
            Err(_) if live.address.is_none() => Some(Ended::Lost),
            Err(error) if error.is_unrecoverable_error() => Some(Ended::Lost),
            Err(error) => Some(Ended::Silent(trouble::of_connection(&error))),
        };
    }
    Some(Ended::Silent("it does not answer in time".to_owned()))
}

/// Whether the sentinels name another primary, which the old one may not know yet: what it takes
/// until it knows is lost.
async fn sentinels_disagree(core: &Core, live: &Live) -> bool {
    let Kind::Sentinel(name) = &core.settings.kind else {
        return false;
    };
    let found = sentinel::primary(&core.settings, name).await;
    found.is_ok_and(|primary| Some(&primary) != live.address.as_ref())
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").finish_non_exhaustive()
    }
}
