//! [`SessionStore`] within one process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    EndReason, Limits, Session, SessionChange, SessionDigest, SessionEnd, SessionError, SessionId,
    SessionStore,
};
use crate::auth::Principal;

/// Sessions of one process: an entry in a map each, gone when the process goes.
#[derive(Debug)]
pub struct MemorySessions {
    limits: Limits,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    entries: HashMap<SessionDigest, Entry>,
    per_principal: HashMap<Principal, usize>,
}

#[derive(Debug)]
struct Entry {
    session: Arc<Session>,
    created: Instant,
    used: Instant,
}

impl MemorySessions {
    /// An empty store with these bounds.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: Mutex::default(),
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // No code that can panic runs under this lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why and when the entry ended, if its time is over.
    fn ended(&self, entry: &Entry, now: Instant) -> Option<(EndReason, Instant)> {
        let idle = (EndReason::Idle, entry.used + self.limits.idle);
        let lifetime = (EndReason::Lifetime, entry.created + self.limits.lifetime);
        let end = if idle.1 < lifetime.1 { idle } else { lifetime };
        (end.1 <= now).then_some(end)
    }

    fn enter(
        &self,
        session: Session,
        ends: &mut Vec<SessionEnd>,
    ) -> Result<SessionId, SessionError> {
        let id = SessionId::random()?;
        let now = Instant::now();
        let mut open = self.open();
        if self.is_full_for(&open, &session.principal) {
            self.end_expired(&mut open, now, ends);
        }
        if self.is_full_for(&open, &session.principal) {
            let own_full = open.of(&session.principal) >= self.limits.per_principal_max;
            let among = own_full.then_some(&session.principal);
            let retry_after = self.limits.evict_idle;
            let (victim, used) = open
                .longest_idle(among)
                .ok_or(SessionError::Full { retry_after })?;
            let idle = now.duration_since(used);
            if idle < self.limits.evict_idle {
                let retry_after = self.limits.evict_idle.saturating_sub(idle);
                return Err(SessionError::Full { retry_after });
            }
            ends.extend(open.remove(&victim, EndReason::Evicted, now));
        }
        *open
            .per_principal
            .entry(session.principal.clone())
            .or_default() += 1;
        let entry = Entry {
            session: Arc::new(session),
            created: now,
            used: now,
        };
        open.entries.insert(id.digest(), entry);
        Ok(id)
    }

    fn is_full_for(&self, open: &Open, principal: &Principal) -> bool {
        open.of(principal) >= self.limits.per_principal_max
            || open.entries.len() >= self.limits.sessions_max
    }

    fn end_expired(&self, open: &mut Open, now: Instant, ends: &mut Vec<SessionEnd>) {
        let over: Vec<_> = open
            .entries
            .iter()
            .filter_map(|(id, entry)| Some((*id, self.ended(entry, now)?)))
            .collect();
        for (id, (reason, at)) in over {
            ends.extend(open.remove(&id, reason, at));
        }
    }

    /// Tells the observer; never called under the lock, which it might want.
    fn tell(&self, ends: impl IntoIterator<Item = SessionEnd>) {
        for end in ends {
            (self.limits.observer)(end);
        }
    }

    /// Runs `with` on the entry if it lives and is the principal's; ends it if its time is over.
    fn with_entry<T>(
        &self,
        id: &SessionId,
        principal: &Principal,
        with: impl FnOnce(&mut Entry) -> T,
    ) -> Option<T> {
        let now = Instant::now();
        let mut open = self.open();
        let id = id.digest();
        let entry = open.entries.get_mut(&id)?;
        if entry.session.principal != *principal {
            return None;
        }
        let Some((reason, at)) = self.ended(entry, now) else {
            entry.used = now;
            return Some(with(entry));
        };
        let end = open.remove(&id, reason, at);
        drop(open);
        self.tell(end);
        None
    }
}

impl Default for MemorySessions {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Open {
    fn remove(&mut self, id: &SessionDigest, reason: EndReason, at: Instant) -> Option<SessionEnd> {
        let entry = self.entries.remove(id)?;
        if let Some(count) = self.per_principal.get_mut(&entry.session.principal) {
            *count -= 1;
            if *count == 0 {
                self.per_principal.remove(&entry.session.principal);
            }
        }
        Some(SessionEnd {
            reason,
            age: at.duration_since(entry.created),
        })
    }

    /// The session, of `principal` or of anybody, that was idle for the longest time.
    fn longest_idle(&self, principal: Option<&Principal>) -> Option<(SessionDigest, Instant)> {
        self.entries
            .iter()
            .filter(|(_, entry)| principal.is_none_or(|it| entry.session.principal == *it))
            .min_by_key(|(_, entry)| entry.used)
            .map(|(id, entry)| (*id, entry.used))
    }

    fn of(&self, principal: &Principal) -> usize {
        self.per_principal.get(principal).copied().unwrap_or(0)
    }
}

#[async_trait]
impl SessionStore for MemorySessions {
    async fn create(&self, session: Session) -> Result<SessionId, SessionError> {
        let mut ends = Vec::new();
        let created = self.enter(session, &mut ends);
        self.tell(ends);
        created
    }

    async fn touch(
        &self,
        id: &SessionId,
        principal: &Principal,
    ) -> Result<Option<Arc<Session>>, SessionError> {
        Ok(self.with_entry(id, principal, |entry| entry.session.clone()))
    }

    async fn change(
        &self,
        id: &SessionId,
        principal: &Principal,
        change: SessionChange,
    ) -> Result<bool, SessionError> {
        let max = self.limits.subscriptions_max;
        self.with_entry(id, principal, |entry| {
            let session = Arc::make_mut(&mut entry.session);
            match change {
                SessionChange::LogLevel(level) => session.log_level = Some(level),
                SessionChange::Subscribe(uri) => {
                    if session.subscriptions.len() >= max && !session.subscriptions.contains(&uri) {
                        return Err(SessionError::TooManySubscriptions { max });
                    }
                    session.subscriptions.insert(uri);
                }
                SessionChange::Unsubscribe(uri) => {
                    session.subscriptions.remove(&uri);
                }
            }
            Ok(true)
        })
        .unwrap_or(Ok(false))
    }

    async fn delete(&self, id: &SessionId, principal: &Principal) -> Result<bool, SessionError> {
        if self.with_entry(id, principal, |_| ()).is_none() {
            return Ok(false);
        }
        let end = self
            .open()
            .remove(&id.digest(), EndReason::Deleted, Instant::now());
        self.tell(end);
        Ok(end.is_some())
    }

    async fn sweep(&self) {
        let now = Instant::now();
        let mut ends = Vec::new();
        {
            let mut open = self.open();
            self.end_expired(&mut open, now, &mut ends);
        }
        self.tell(ends);
    }

    fn limit(&self) -> Option<usize> {
        Some(self.limits.sessions_max)
    }

    async fn count(&self) -> Result<usize, SessionError> {
        let now = Instant::now();
        let open = self.open();
        Ok(open
            .entries
            .values()
            .filter(|entry| self.ended(entry, now).is_none())
            .count())
    }
}
