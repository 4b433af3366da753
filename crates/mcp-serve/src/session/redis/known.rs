//! What a replica remembers of sessions that Redis told it of: it saves reading a record again, and
//! carries sessions over a short time without Redis.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::session::{Session, SessionDigest};

/// A bounded map. Redis decides on every request; nothing in here is asked while it answers.
pub(super) struct Known {
    entries_max: usize,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    map: HashMap<SessionDigest, Entry>,
    /// How often something was forgotten.
    forgotten: u64,
}

/// A session as Redis last told.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) session: Arc<Session>,
    pub(super) generation: Arc<str>,
    /// When Redis was asked.
    asked: Instant,
    /// Its absolute end.
    ends: Instant,
}

/// The time before Redis was asked.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    at: Instant,
    forgotten: u64,
}

impl Known {
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            entries_max: entries_max.max(1),
            entries: Mutex::default(),
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // No code that can panic runs under this lock.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered of a session. To be called before Redis is asked.
    pub(super) fn ask(&self, digest: &SessionDigest) -> (Option<Entry>, Asked) {
        let entries = self.entries();
        let asked = Asked {
            at: Instant::now(),
            forgotten: entries.forgotten,
        };
        (entries.map.get(digest).cloned(), asked)
    }

    /// Whether it is still remembered.
    pub(super) fn has(&self, digest: &SessionDigest) -> bool {
        self.entries().map.contains_key(digest)
    }

    /// Redis said that the record is as it was.
    pub(super) fn renew(&self, digest: &SessionDigest, asked: Asked) {
        if let Some(entry) = self.entries().map.get_mut(digest) {
            entry.asked = entry.asked.max(asked.at);
        }
    }

    /// Redis said what the record is, with `left` until its absolute end.
    pub(super) fn learn(
        &self,
        digest: SessionDigest,
        session: Arc<Session>,
        generation: Arc<str>,
        asked: Asked,
        left: Duration,
    ) {
        let mut entries = self.entries();
        // What was forgotten after the question may be this one: its answer is older news.
        if entries.forgotten != asked.forgotten {
            return;
        }
        entries.make_room(self.entries_max);
        let entry = Entry {
            session,
            generation,
            asked: asked.at,
            ends: asked.at + left,
        };
        entries.map.insert(digest, entry);
    }

    /// The session has ended: answers that are under way tell nothing new of it.
    pub(super) fn forget(&self, digest: &SessionDigest) {
        let mut entries = self.entries();
        entries.forgotten += 1;
        entries.map.remove(digest);
    }

    /// There is no such session. Asked for at any rate by anybody, so answers that are under way
    /// still count.
    pub(super) fn drop_unknown(&self, digest: &SessionDigest) {
        self.entries().map.remove(digest);
    }

    /// Drops what has ended by its time, whoever used it elsewhere.
    pub(super) fn sweep(&self, idle: Duration) {
        let now = Instant::now();
        let lives = |entry: &Entry| now < entry.ends && now < entry.asked + idle;
        self.entries().map.retain(|_, entry| lives(entry));
    }
}

impl Entries {
    /// When full, the half that was asked for longest ago goes at once: looking for the oldest one
    /// each time would take too long.
    fn make_room(&mut self, entries_max: usize) {
        if self.map.len() < entries_max {
            return;
        }
        let mut asked: Vec<_> = self.map.values().map(|entry| entry.asked).collect();
        let half = asked.len() / 2;
        let (_, median, _) = asked.select_nth_unstable(half);
        let median = *median;
        self.map.retain(|_, entry| entry.asked > median);
    }
}

impl Entry {
    /// Whether the session may go on without Redis, which was last asked at most `grace` ago.
    pub(super) fn holds(&self, grace: Duration, idle: Duration) -> bool {
        let now = Instant::now();
        now < self.asked + grace && now < self.asked + idle && now < self.ends
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::{
        ClientCapabilities, Implementation, InitializeRequestParams, ProtocolVersion,
    };

    use super::*;
    use crate::{auth::Principal, session::SessionId};

    const GRACE: Duration = Duration::from_mins(1);
    const IDLE: Duration = Duration::from_hours(1);

    fn learn(known: &Known, digest: SessionDigest, asked: Asked, left: Duration) {
        let info = Implementation::new("test", "1");
        let client = InitializeRequestParams::new(ClientCapabilities::default(), info);
        let principal = Principal::new("me");
        let session = Session::new(principal, ProtocolVersion::V_2025_11_25, client);
        known.learn(digest, Arc::new(session), "1".into(), asked, left);
    }

    fn get(known: &Known, digest: &SessionDigest) -> Option<Entry> {
        known.ask(digest).0
    }

    fn digest() -> SessionDigest {
        SessionId::random().unwrap().digest()
    }

    #[tokio::test(start_paused = true)]
    async fn grace_is_counted_from_the_last_question_and_ends_with_the_session() {
        let known = Known::new(10);
        let (long, short) = (digest(), digest());
        learn(&known, long, known.ask(&long).1, IDLE);
        learn(&known, short, known.ask(&short).1, GRACE / 2);
        tokio::time::advance(GRACE / 2).await;
        assert!(!get(&known, &short).unwrap().holds(GRACE, IDLE));
        known.renew(&long, known.ask(&long).1);
        tokio::time::advance(GRACE / 2).await;
        assert!(get(&known, &long).unwrap().holds(GRACE, IDLE));
        assert!(!get(&known, &long).unwrap().holds(GRACE, GRACE / 2));
        tokio::time::advance(GRACE / 2).await;
        assert!(!get(&known, &long).unwrap().holds(GRACE, IDLE));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_older_than_the_end_brings_nothing_back() {
        let known = Known::new(10);
        let ended = digest();
        let (_, asked) = known.ask(&ended);
        known.forget(&ended);
        learn(&known, ended, asked, IDLE);
        known.renew(&ended, asked);
        assert!(get(&known, &ended).is_none());
        learn(&known, ended, known.ask(&ended).1, IDLE);
        assert!(get(&known, &ended).is_some());
        // Others who try ids do not keep it from learning.
        let (_, asked) = known.ask(&ended);
        known.drop_unknown(&ended);
        let other = digest();
        learn(&known, other, asked, IDLE);
        assert!(get(&known, &other).is_some() && get(&known, &ended).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn it_stays_small_and_keeps_what_was_asked_for_last() {
        let known = Known::new(8);
        let digests: Vec<_> = (0..100).map(|_| digest()).collect();
        for digest in &digests {
            tokio::time::advance(Duration::from_millis(1)).await;
            learn(&known, *digest, known.ask(digest).1, IDLE);
            assert!(known.entries().map.len() <= 8);
            assert!(get(&known, digest).is_some());
        }
        assert!(get(&known, &digests[98]).is_some());
        known.sweep(Duration::ZERO);
        assert!(known.entries().map.is_empty());
    }
}
