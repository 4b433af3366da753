//! [`SessionStore`] within one process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    EndReason, Limits, Session, SessionChange, SessionEnd, SessionError, SessionId, SessionStore,
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
    entries: HashMap<SessionId, Entry>,
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
        open.entries.insert(id.clone(), entry);
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
            .filter_map(|(id, entry)| Some((id.clone(), self.ended(entry, now)?)))
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
        let entry = open.entries.get_mut(id)?;
        if entry.session.principal != *principal {
            return None;
        }
        let Some((reason, at)) = self.ended(entry, now) else {
            entry.used = now;
            return Some(with(entry));
        };
        let end = open.remove(id, reason, at);
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
    fn remove(&mut self, id: &SessionId, reason: EndReason, at: Instant) -> Option<SessionEnd> {
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
    fn longest_idle(&self, principal: Option<&Principal>) -> Option<(SessionId, Instant)> {
        self.entries
            .iter()
            .filter(|(_, entry)| principal.is_none_or(|it| entry.session.principal == *it))
            .min_by_key(|(_, entry)| entry.used)
            .map(|(id, entry)| (id.clone(), entry.used))
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
        let end = self.open().remove(id, EndReason::Deleted, Instant::now());
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rmcp::model::{
        ClientCapabilities, Implementation, InitializeRequestParams, ProtocolVersion,
    };

    use super::*;

    fn session(who: &str) -> Session {
        let client = InitializeRequestParams::new(
            ClientCapabilities::default(),
            Implementation::new("test", "1"),
        );
        Session::new(Principal::new(who), ProtocolVersion::V_2025_11_25, client)
    }

    fn counting(limits: &Limits) -> (MemorySessions, Arc<Mutex<Vec<EndReason>>>) {
        let ends = Arc::new(Mutex::new(Vec::new()));
        let seen = ends.clone();
        let observer = Arc::new(move |end: SessionEnd| seen.lock().unwrap().push(end.reason));
        (
            MemorySessions::new(Limits {
                observer,
                ..limits.clone()
            }),
            ends,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_used_session_outlives_its_idle_time_and_an_idle_one_does_not() {
        let (sessions, ends) = counting(&Limits::default());
        let me = Principal::new("me");
        let id = sessions.create(session("me")).await.unwrap();
        for _ in 0..10 {
            tokio::time::advance(Duration::from_mins(30)).await;
            assert!(sessions.touch(&id, &me).await.unwrap().is_some());
        }
        tokio::time::advance(Duration::from_hours(1)).await;
        assert!(sessions.touch(&id, &me).await.unwrap().is_none());
        assert!(sessions.touch(&id, &me).await.unwrap().is_none());
        sessions.sweep().await;
        assert_eq!(*ends.lock().unwrap(), [EndReason::Idle]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_in_use_ends_at_its_lifetime() {
        let limits = Limits {
            lifetime: Duration::from_secs(5000),
            ..Limits::default()
        };
        let (sessions, ends) = counting(&limits);
        let me = Principal::new("me");
        let id = sessions.create(session("me")).await.unwrap();
        tokio::time::advance(Duration::from_mins(50)).await;
        assert!(sessions.touch(&id, &me).await.unwrap().is_some());
        tokio::time::advance(Duration::from_secs(2000)).await;
        sessions.sweep().await;
        assert_eq!(*ends.lock().unwrap(), [EndReason::Lifetime]);
        assert_eq!(sessions.count().await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn to_others_a_session_does_not_exist() {
        let (sessions, ends) = counting(&Limits::default());
        let id = sessions.create(session("me")).await.unwrap();
        let other = Principal::new("other");
        let change = SessionChange::Subscribe("note:///1".into());
        assert!(sessions.touch(&id, &other).await.unwrap().is_none());
        assert!(!sessions.change(&id, &other, change).await.unwrap());
        assert!(!sessions.delete(&id, &other).await.unwrap());
        assert!(
            sessions
                .touch(&id, &Principal::new("me"))
                .await
                .unwrap()
                .is_some()
        );
        assert!(ends.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn over_the_cap_the_longest_idle_gives_way_and_a_busy_server_refuses() {
        let limits = Limits {
            sessions_max: 2,
            ..Limits::default()
        };
        let (sessions, ends) = counting(&limits);
        let first = sessions.create(session("a")).await.unwrap();
        tokio::time::advance(Duration::from_secs(30)).await;
        sessions.create(session("b")).await.unwrap();
        let refused = sessions.create(session("c")).await.unwrap_err();
        assert_eq!(
            refused,
            SessionError::Full {
                retry_after: Duration::from_secs(30)
            }
        );
        tokio::time::advance(Duration::from_secs(30)).await;
        sessions.create(session("c")).await.unwrap();
        assert!(
            sessions
                .touch(&first, &Principal::new("a"))
                .await
                .unwrap()
                .is_none()
        );
        assert_eq!(*ends.lock().unwrap(), [EndReason::Evicted]);
        assert_eq!(sessions.count().await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_principal_cannot_take_the_sessions_of_others() {
        let limits = Limits {
            per_principal_max: 1,
            ..Limits::default()
        };
        let (sessions, _) = counting(&limits);
        let other = sessions.create(session("other")).await.unwrap();
        tokio::time::advance(Duration::from_mins(10)).await;
        sessions.create(session("me")).await.unwrap();
        assert!(sessions.create(session("me")).await.is_err());
        tokio::time::advance(Duration::from_mins(1)).await;
        sessions.create(session("me")).await.unwrap();
        assert!(
            sessions
                .touch(&other, &Principal::new("other"))
                .await
                .unwrap()
                .is_some()
        );
    }

    #[tokio::test]
    async fn ids_are_long_and_never_printed() {
        let id = SessionId::random().unwrap();
        assert_eq!(id.as_str().len(), 32);
        assert!(!format!("{id:?}").contains(id.as_str()));
        assert_eq!(SessionId::parse(id.as_str()), Some(id));
        assert_eq!(SessionId::parse("with space"), None);
        assert_eq!(SessionId::parse(""), None);
    }
}
