//! Sessions of the revisions before 2026-07-28: a record each, and nothing else until a stream needs
//! one.
//!
//! A session never authenticates. It belongs to the principal that opened it, and to everybody else
//! it does not exist.

#![expect(
    deprecated,
    reason = "logging is deprecated since 2026-07-28 and part of what came before"
)]

mod digest;
pub mod memory;
pub mod redis;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rmcp::model::{InitializeRequestParams, LoggingLevel, ProtocolVersion};

use crate::auth::Principal;

pub use self::redis::RedisSessions;
pub use digest::SessionDigest;
pub use memory::MemorySessions;

/// What the server knows of one session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Session {
    /// Who opened it; requests of others are answered as if it did not exist.
    pub principal: Principal,
    /// The revision that `initialize` agreed on.
    pub version: ProtocolVersion,
    /// What the client said of itself in `initialize`.
    pub client: Arc<InitializeRequestParams>,
    /// The level that `logging/setLevel` asked for.
    pub log_level: Option<LoggingLevel>,
    /// URIs that `resources/subscribe` named.
    pub subscriptions: BTreeSet<Arc<str>>,
}

impl Session {
    /// A session as it is right after `initialize`. What `_meta` of that request says is of the
    /// request alone and not kept.
    pub fn new(
        principal: Principal,
        version: ProtocolVersion,
        mut client: InitializeRequestParams,
    ) -> Self {
        client.meta = None;
        Self {
            principal,
            version,
            client: Arc::new(client),
            log_level: None,
            subscriptions: BTreeSet::new(),
        }
    }
}

/// The name of a session: 192 bits of the operating system's randomness, base64url.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId {
    text: Arc<str>,
    /// The store and whoever works for the session ask for it on every request.
    digest: SessionDigest,
}

impl SessionId {
    /// A new id.
    pub fn random() -> Result<Self, SessionError> {
        let mut bytes = [0_u8; 24];
        getrandom::fill(&mut bytes).map_err(|_| SessionError::Unavailable)?;
        Ok(Self::of(&URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// An id as a client sent it: 1 to 128 visible ASCII characters, otherwise `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self::of(text))
    }

    fn of(text: &str) -> Self {
        Self {
            text: text.into(),
            digest: SessionDigest::of(text),
        }
    }

    /// The id as it goes into the `Mcp-Session-Id` header.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What the session is called where its id must not be seen.
    pub fn digest(&self) -> SessionDigest {
        self.digest
    }
}

impl std::fmt::Debug for SessionId {
    /// An id is a secret half of a session, so it is not printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionId(..)")
    }
}

/// A change of a session's record.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SessionChange {
    /// `logging/setLevel`.
    LogLevel(LoggingLevel),
    /// `resources/subscribe`.
    Subscribe(Arc<str>),
    /// `resources/unsubscribe`.
    Unsubscribe(Arc<str>),
}

/// Why the store could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// As many sessions as allowed are open and in use: HTTP 503 with `Retry-After`.
    #[error("too many sessions are open")]
    Full {
        /// When it may be worth another try.
        retry_after: Duration,
    },
    /// More subscriptions than one session may have.
    #[error("a session may have at most {max} subscriptions")]
    TooManySubscriptions {
        /// The limit.
        max: usize,
    },
    /// The store does not answer: HTTP 503 with `Retry-After`.
    #[error("sessions are unavailable at the moment")]
    Unavailable,
}

/// How a session ended; each end is told once to the [observer](Limits::observer).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// The client's DELETE.
    Deleted,
    /// Not used for the idle time.
    Idle,
    /// Older than the absolute lifetime.
    Lifetime,
    /// The longest idle one, for room for a new one.
    Evicted,
}

/// The end of one session.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SessionEnd {
    /// Why.
    pub reason: EndReason,
    /// From `initialize` to the end.
    pub age: Duration,
}

/// Bounds of the sessions of one server.
#[derive(Clone)]
pub struct Limits {
    /// A session that is not used for so long ends. Default 3600 s.
    pub idle: Duration,
    /// A session ends so long after `initialize`, used or not. Default 24 h.
    pub lifetime: Duration,
    /// How many may be open. Default 10 000.
    pub sessions_max: usize,
    /// How many one principal may have open. Default 1 000.
    pub per_principal_max: usize,
    /// When all are taken, the longest idle one gives way if it was idle for so long; otherwise
    /// the new one is refused. Default 60 s.
    pub evict_idle: Duration,
    /// How many URIs one session may subscribe to. Default 256.
    pub subscriptions_max: usize,
    /// Told of every session that ended.
    pub observer: Arc<dyn Fn(SessionEnd) + Send + Sync>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle: Duration::from_hours(1),
            lifetime: Duration::from_hours(24),
            sessions_max: 10_000,
            per_principal_max: 1_000,
            evict_idle: Duration::from_mins(1),
            subscriptions_max: 256,
            observer: Arc::new(|_| {}),
        }
    }
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limits")
            .field("idle", &self.idle)
            .field("lifetime", &self.lifetime)
            .field("sessions_max", &self.sessions_max)
            .field("per_principal_max", &self.per_principal_max)
            .finish_non_exhaustive()
    }
}

/// Where sessions are kept.
///
/// The store is the authority on every request: whether the session exists, whose it is and
/// whether it has ended.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Opens a session.
    async fn create(&self, session: Session) -> Result<SessionId, SessionError>;

    /// The session `id` of `principal`, its idle time begun anew. `None` when there is none, it
    /// has ended, or it belongs to somebody else.
    async fn touch(
        &self,
        id: &SessionId,
        principal: &Principal,
    ) -> Result<Option<Arc<Session>>, SessionError>;

    /// Changes the record; `false` when there is no such session of `principal`.
    async fn change(
        &self,
        id: &SessionId,
        principal: &Principal,
        change: SessionChange,
    ) -> Result<bool, SessionError>;

    /// Ends the session; `false` when there is no such session of `principal`.
    async fn delete(&self, id: &SessionId, principal: &Principal) -> Result<bool, SessionError>;

    /// Ends what has expired. Called now and then; correctness does not depend on it.
    async fn sweep(&self);

    /// Another replica says that this session has ended: what is remembered of it here is to be
    /// forgotten. A store that asks on every request has nothing to do.
    fn forget(&self, _session: &SessionDigest) {}

    /// How many sessions are open.
    async fn count(&self) -> Result<usize, SessionError>;

    /// How many may be open, where that is limited.
    fn limit(&self) -> Option<usize> {
        None
    }

    /// Where they are kept, for the report on health: `memory` of this process, or what replicas
    /// share.
    fn kind(&self) -> &'static str {
        "memory"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_long_and_never_printed() {
        let id = SessionId::random().unwrap();
        assert_eq!(id.as_str().len(), 32);
        assert!(!format!("{id:?}").contains(id.as_str()));
        assert_eq!(SessionId::parse(id.as_str()), Some(id));
        assert_eq!(SessionId::parse("with space"), None);
        assert_eq!(SessionId::parse(""), None);
    }
}
