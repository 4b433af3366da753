//! What is going on in the sessions of the older revisions on this replica: running calls, answers
//! that can be taken up again, and streams of change notifications. Sessions go by their digest here,
//! as they do between replicas.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rmcp::model::RequestId;
use tokio::time::Instant;
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use super::stream::Log;
use crate::{
    auth::Principal,
    lifecycle::Lifecycle,
    session::{SessionDigest, SessionStore},
};

/// A finished answer is kept for a client that lost its connection for so long.
const KEPT_FINISHED: Duration = Duration::from_mins(2);
/// Answers kept for one session.
const KEPT_PER_SESSION: usize = 16;
/// Answers kept for all sessions together.
const KEPT_MAX: usize = 1024;
/// Calls that run at the same time in all sessions together.
const CALLS_MAX: usize = 10_000;
const SWEEP_EVERY: Duration = Duration::from_secs(15);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The calls that run on this replica, by session and request id. A client that gives two of them the
/// same id at two replicas breaks the protocol, and is not found out: both run.
#[derive(Debug, Default)]
pub(super) struct Calls {
    running: Mutex<Running>,
    engaged: TaskTracker,
}

#[derive(Debug, Default)]
struct Running {
    of: HashMap<SessionDigest, HashMap<RequestId, CancellationToken>>,
    /// How many there are in all sessions together.
    count: usize,
}

impl Calls {
    /// Enters a call, of which at most `max` may run in one session.
    pub(super) fn enter(
        self: &Arc<Self>,
        session: &SessionDigest,
        id: &RequestId,
        ct: CancellationToken,
        max: usize,
    ) -> Result<Entered, NotEntered> {
        let mut running = lock(&self.running);
        if let Some(calls) = running.of.get(session) {
            if calls.contains_key(id) {
                return Err(NotEntered::Duplicate);
            }
            if calls.len() >= max {
                return Err(NotEntered::TooMany);
            }
        }
        if running.count >= CALLS_MAX {
            return Err(NotEntered::TooMany);
        }
        let calls = running.of.entry(*session).or_default();
        calls.insert(id.clone(), ct);
        running.count += 1;
        Ok(Entered {
            calls: self.clone(),
            session: *session,
            id: id.clone(),
            _engaged: self.engage(),
        })
    }

    /// Cancels one call; `false` when it does not run.
    pub(super) fn cancel(&self, session: &SessionDigest, id: &RequestId) -> bool {
        let running = lock(&self.running);
        let call = running.of.get(session).and_then(|calls| calls.get(id));
        call.inspect(|ct| ct.cancel()).is_some()
    }

    /// Cancels every call of a session that has ended.
    pub(super) fn cancel_all(&self, session: &SessionDigest) {
        if let Some(calls) = lock(&self.running).of.get(session) {
            calls.values().for_each(CancellationToken::cancel);
        }
    }

    /// Counts as a running call for [`Self::idle`] until it is dropped.
    pub(super) fn engage(&self) -> TaskTrackerToken {
        self.engaged.token()
    }

    /// Waits until nothing runs, once nothing new is to begin.
    pub(super) async fn idle(&self) {
        self.engaged.close();
        self.engaged.wait().await;
    }
}

/// Why a call may not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotEntered {
    /// One with its id runs already in the session.
    Duplicate,
    /// As many as may run do.
    TooMany,
}

/// A call in [`Calls`], taken out on drop.
#[derive(Debug)]
pub(super) struct Entered {
    calls: Arc<Calls>,
    session: SessionDigest,
    id: RequestId,
    _engaged: TaskTrackerToken,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut running = lock(&self.calls.running);
        running.count -= 1;
        if let Some(calls) = running.of.get_mut(&self.session) {
            calls.remove(&self.id);
            if calls.is_empty() {
                running.of.remove(&self.session);
            }
        }
    }
}

/// Answers that stream and can be taken up again, by stream id.
#[derive(Debug, Default)]
pub(super) struct Logs {
    kept: Mutex<HashMap<String, Kept>>,
}

#[derive(Debug)]
struct Kept {
    session: SessionDigest,
    log: Arc<Log>,
    since: Instant,
    finished: Option<Instant>,
}

impl Logs {
    pub(super) fn keep(&self, session: &SessionDigest, id: String, log: Arc<Log>) {
        let mut kept = lock(&self.kept);
        let is_own = |it: &Kept| it.session == *session;
        let own_full = kept.values().filter(|it| is_own(it)).count() >= KEPT_PER_SESSION;
        if own_full || kept.len() >= KEPT_MAX {
            let among = kept.iter().filter(|(_, it)| !own_full || is_own(it));
            let oldest = among.min_by_key(|(_, it)| (!it.log.is_finished(), it.since));
            if let Some(id) = oldest.map(|(id, _)| id.clone()) {
                kept.remove(&id);
            }
        }
        let since = Instant::now();
        kept.insert(
            id,
            Kept {
                session: *session,
                log,
                since,
                finished: None,
            },
        );
    }

    /// The answer `id` if it is one of this session.
    pub(super) fn find(&self, session: &SessionDigest, id: &str) -> Option<Arc<Log>> {
        lock(&self.kept)
            .get(id)
            .filter(|it| it.session == *session)
            .map(|it| it.log.clone())
    }

    pub(super) fn forget_all(&self, session: &SessionDigest) {
        lock(&self.kept).retain(|_, it| it.session != *session);
    }

    fn sweep(&self) {
        let now = Instant::now();
        lock(&self.kept).retain(|_, it| {
            if it.log.is_finished() {
                let finished = *it.finished.get_or_insert(now);
                return now.duration_since(finished) < KEPT_FINISHED;
            }
            true
        });
    }
}

/// The stream of change notifications of each session that has one; a new one replaces it, on
/// whichever replica it is opened.
#[derive(Debug, Default)]
pub(super) struct LiveStreams(Mutex<Live>);

#[derive(Debug, Default)]
struct Live {
    of: HashMap<SessionDigest, (Opened, CancellationToken)>,
    /// The newest time of any stream of any replica that this one heard of.
    newest: u64,
}

/// When a stream was opened. Of two streams of one session the greater one stays, and every replica
/// sees the same one as the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Opened {
    /// In milliseconds since 1970, and later than that of any stream that was heard of before.
    pub(super) at: u64,
    /// Tells those of one time apart; random.
    pub(super) tie: u64,
}

/// Times further ahead than this are somebody's mistake and do not become everybody's.
const AHEAD_MAX: Duration = Duration::from_hours(1);

impl LiveStreams {
    /// Enters a stream and ends the one before. The token is cancelled when this one is to end.
    pub(super) fn open(
        self: &Arc<Self>,
        session: &SessionDigest,
        parent: &CancellationToken,
    ) -> (CancellationToken, LiveStream) {
        let token = parent.child_token();
        let mut tie = [0; 8];
        // Without randomness two streams of the same millisecond may both end.
        let _ = getrandom::fill(&mut tie);
        let mut live = lock(&self.0);
        live.newest = wall_ms().max(live.newest.saturating_add(1));
        let opened = Opened {
            at: live.newest,
            tie: u64::from_ne_bytes(tie),
        };
        let before = live.of.insert(*session, (opened, token.clone()));
        drop(live);
        if let Some((_, before)) = before {
            before.cancel();
        }
        let streams = self.clone();
        (
            token,
            LiveStream {
                streams,
                session: *session,
                opened,
            },
        )
    }

    /// Ends the stream of a session that has one elsewhere, unless the one here is newer.
    pub(super) fn replaced(&self, session: &SessionDigest, by: Opened) {
        let mut live = lock(&self.0);
        if by.at <= wall_ms().saturating_add(millis(AHEAD_MAX)) {
            live.newest = live.newest.max(by.at);
        }
        if live.of.get(session).is_some_and(|(own, _)| *own < by)
            && let Some((_, token)) = live.of.remove(session)
        {
            token.cancel();
        }
    }

    /// Ends the stream of a session that has ended.
    pub(super) fn close(&self, session: &SessionDigest) {
        if let Some((_, token)) = lock(&self.0).of.remove(session) {
            token.cancel();
        }
    }
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, millis)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A stream in [`LiveStreams`], taken out on drop.
#[derive(Debug)]
pub(super) struct LiveStream {
    streams: Arc<LiveStreams>,
    session: SessionDigest,
    opened: Opened,
}

impl LiveStream {
    /// When it was opened.
    pub(super) fn opened(&self) -> Opened {
        self.opened
    }
}

impl Drop for LiveStream {
    fn drop(&mut self) {
        let of = &mut lock(&self.streams.0).of;
        if of
            .get(&self.session)
            .is_some_and(|(opened, _)| *opened == self.opened)
        {
            of.remove(&self.session);
        }
    }
}

/// The streams of change notifications that each principal has open.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    open: Mutex<HashMap<Principal, usize>>,
}

impl Listeners {
    /// Counts a stream; `None` when the principal has `max` open.
    pub(super) fn enter(self: &Arc<Self>, principal: &Principal, max: usize) -> Option<Listener> {
        let mut open = lock(&self.open);
        let count = open.entry(principal.clone()).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Listener {
            listeners: self.clone(),
            principal: principal.clone(),
        })
    }
}

/// A stream in [`Listeners`], taken out on drop.
#[derive(Debug)]
pub(super) struct Listener {
    listeners: Arc<Listeners>,
    principal: Principal,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut open = lock(&self.listeners.open);
        if let Some(count) = open.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.principal);
            }
        }
    }
}

/// Starts the task that clears away what has had its time.
pub(super) fn sweep(lifecycle: &Lifecycle, sessions: Arc<dyn SessionStore>, logs: &Arc<Logs>) {
    let soft = lifecycle.soft.clone();
    let logs = logs.clone();
    lifecycle.tasks.spawn(async move {
        let every = async {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                sessions.sweep().await;
                logs.sweep();
            }
        };
        tokio::select! {
            () = every => {}
            () = soft.cancelled() => {}
        }
    });
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::session::SessionId;

    #[test]
    fn of_streams_opened_at_once_on_one_replica_the_newest_stays() {
        let session = SessionId::parse("s").unwrap().digest();
        let parent = CancellationToken::new();
        for _ in 0..2000 {
            let streams = Arc::new(LiveStreams::default());
            let mut opened: Vec<_> = thread::scope(|scope| {
                let open = || streams.open(&session, &parent);
                let both = [scope.spawn(open), scope.spawn(open)];
                both.map(|one| one.join().unwrap()).into()
            });
            opened.sort_by_key(|(_, stream)| stream.opened());
            assert!(opened[0].0.is_cancelled() && !opened[1].0.is_cancelled());
        }
    }
}
