//! [`SessionStore`] in Redis: one set of sessions for all replicas.
//!
//! A session is a hash under `session:{b}DIGEST`, where `b`, the first digit of the digest of its
//! id, is the hash tag of its bucket. Two sorted sets of the same bucket say when each of its sessions
//! was last used and when it ends at the latest, so that one script does all that a request needs in
//! one round trip, also in a cluster. Times are those of Redis.

mod known;
mod record;
mod room;
mod script;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use self::{
    known::{Asked, Known},
    room::Estimate,
    script::{Said, Scripts, Times},
};
use super::{
    EndReason, Limits, Session, SessionChange, SessionDigest, SessionEnd, SessionError, SessionId,
    SessionStore,
};
use crate::{
    auth::Principal,
    redis::{Again, Invocation, Redis, RedisError, Script},
};

/// Sessions of all replicas that share a Redis.
///
/// Redis decides on every request. While it is away, a session that this replica asked it about a
/// short time ago goes on from memory, and everything else is [`SessionError::Unavailable`].
pub struct RedisSessions {
    redis: Redis,
    limits: Limits,
    grace: Duration,
    scripts: Scripts,
    known: Known,
    estimate: Mutex<Estimate>,
}

/// Most sessions that one replica remembers.
const KNOWN_MAX: usize = 10_000;

impl RedisSessions {
    /// The sessions that `redis` has. While it is away, one that this replica knows goes on for
    /// `grace` after Redis was last asked about it.
    pub fn new(redis: Redis, limits: Limits, grace: Duration) -> Self {
        let known_max = limits.sessions_max.min(KNOWN_MAX);
        Self {
            redis,
            limits,
            grace,
            scripts: Scripts::new(),
            known: Known::new(known_max),
            estimate: Mutex::default(),
        }
    }

    /// Begins a script on one session of `principal`.
    fn on<'a>(
        &self,
        script: &'a Script,
        digest: &SessionDigest,
        principal: &Principal,
    ) -> Invocation<'a> {
        let digest = digest.to_string();
        self.keyed(script, &digest)
            .arg(digest)
            .arg(principal.key())
            .arg(millis(self.limits.idle))
            .arg(millis(self.index_life()))
    }

    /// Begins a script with the three keys of a session.
    fn keyed<'a>(&self, script: &'a Script, digest: &str) -> Invocation<'a> {
        let bucket = digest.get(..1).unwrap_or_default();
        let [used, ends] = self.index(bucket);
        let record = self.record(digest);
        script.call().key(record).key(used).key(ends)
    }

    fn record(&self, digest: &str) -> String {
        let bucket = digest.get(..1).unwrap_or_default();
        self.redis.key(&format!("session:{{{bucket}}}{digest}"))
    }

    /// The sorted sets of a bucket: by last use, and by absolute end.
    fn index(&self, bucket: &str) -> [String; 2] {
        ["used", "ends"].map(|by| self.redis.key(&format!("sessions:{{{bucket}}}:{by}")))
    }

    /// No session outlives this, so the sorted sets may go when nothing was opened for so long.
    fn index_life(&self) -> Duration {
        self.limits.lifetime + self.limits.idle
    }

    async fn say(&self, call: Invocation<'_>) -> Result<Said, SessionError> {
        // Every script ends in the same state when it runs twice.
        self.redis.eval(&call, Again::Safe).await.map_err(unable)
    }

    /// What a script said of the session to somebody who uses it.
    async fn heard(
        &self,
        digest: SessionDigest,
        principal: &Principal,
        asked: Asked,
        said: Said,
    ) -> Option<Arc<Session>> {
        match said {
            Said::Record { left, fields } => match record::read(fields, principal) {
                Ok(kept) => {
                    let session = Arc::new(kept.session);
                    let (left, generation) = (Duration::from_millis(left), kept.generation.into());
                    let known = session.clone();
                    self.known.learn(digest, known, generation, asked, left);
                    return Some(session);
                }
                Err(error) => {
                    tracing::error!(%error, "a session in Redis is corrupt and removed");
                    self.known.forget(&digest);
                    let call = self.on(&self.scripts.delete, &digest, principal);
                    // Whoever asks next finds it again if this fails.
                    let _ = self.say(call).await;
                }
            },
            Said::Gone(times) => {
                self.known.forget(&digest);
                self.tell(self.end_by_time(&times));
            }
            Said::None => self.known.drop_unknown(&digest),
            Said::Corrupt | Said::Same | Said::Full | Said::Ended(_) | Said::Used => {
                tracing::error!("a session in Redis is corrupt and removed");
                self.known.forget(&digest);
            }
            Said::Other => {}
        }
        None
    }

    /// The end of a session that nobody ended.
    fn end_by_time(&self, times: &Times) -> SessionEnd {
        let ends = times.ends.unwrap_or(u64::MAX);
        let idle_at = times.used.saturating_add(millis(self.limits.idle));
        if idle_at <= times.now && idle_at < ends {
            self.end(times, EndReason::Idle, idle_at)
        } else if ends <= times.now {
            self.end(times, EndReason::Lifetime, ends)
        } else {
            // Redis gave it up for want of memory.
            self.end(times, EndReason::Evicted, times.now)
        }
    }

    /// The end of a session at `at`, in ms.
    fn end(&self, times: &Times, reason: EndReason, at: u64) -> SessionEnd {
        let created = times
            .ends
            .map(|ends| ends.saturating_sub(millis(self.limits.lifetime)));
        let age = at.saturating_sub(created.unwrap_or(times.used));
        SessionEnd {
            reason,
            age: Duration::from_millis(age),
        }
    }

    fn tell(&self, end: SessionEnd) {
        (self.limits.observer)(end);
    }
}

#[async_trait]
impl SessionStore for RedisSessions {
    async fn create(&self, session: Session) -> Result<SessionId, SessionError> {
        let id = SessionId::random()?;
        let digest = id.digest();
        let client = record::client(&session).ok_or(SessionError::Unavailable)?;
        self.take_place(&session.principal, &digest).await?;
        let place = (session.principal.key(), digest.to_string());
        if let Err(error) = self.make_room().await {
            self.give_place_back(place.0, &place.1).await;
            return Err(error);
        }
        let call = self
            .on(&self.scripts.create, &digest, &session.principal)
            .arg(generation()?)
            .arg(millis(self.limits.lifetime))
            .arg(session.version.as_str())
            .arg(client);
        match self.redis.eval::<u64>(&call, Again::Safe).await {
            Ok(_) => {}
            Err(error @ RedisError::Refused(_)) => {
                self.give_place_back(place.0, &place.1).await;
                return Err(unable(error));
            }
            Err(error) => return Err(unable(error)),
        }
        self.count_one_more();
        Ok(id)
    }

    async fn touch(
        &self,
        id: &SessionId,
        principal: &Principal,
    ) -> Result<Option<Arc<Session>>, SessionError> {
        let digest = id.digest();
        let (known, asked) = self.known.ask(&digest);
        let generation = known.as_ref().map_or("", |entry| &entry.generation);
        let call = self.on(&self.scripts.touch, &digest, principal);
        match (self.say(call.arg(generation)).await, known) {
            (Ok(Said::Same), Some(entry)) => {
                self.known.renew(&digest, asked);
                Ok(Some(entry.session))
            }
            (Ok(said), _) => Ok(self.heard(digest, principal, asked, said).await),
            // What was forgotten while Redis was asked does not go on.
            (Err(_), Some(entry))
                if entry.holds(self.grace, self.limits.idle) && self.known.has(&digest) =>
            {
                Ok((entry.session.principal == *principal).then_some(entry.session))
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn change(
        &self,
        id: &SessionId,
        principal: &Principal,
        change: SessionChange,
    ) -> Result<bool, SessionError> {
        let digest = id.digest();
        let (_, asked) = self.known.ask(&digest);
        let max = self.limits.subscriptions_max;
        let (kind, value): (_, Arc<str>) = match change {
            SessionChange::LogLevel(level) => {
                let text = record::level_text(level).ok_or(SessionError::Unavailable)?;
                ("level", text.into())
            }
            SessionChange::Subscribe(uri) => ("subscribe", uri),
            SessionChange::Unsubscribe(uri) => ("unsubscribe", uri),
        };
        let call = self
            .on(&self.scripts.change, &digest, principal)
            .arg(generation()?)
            .arg(kind)
            .arg(&*value)
            .arg(max);
        match self.say(call).await? {
            Said::Full => Err(SessionError::TooManySubscriptions { max }),
            said => Ok(self.heard(digest, principal, asked, said).await.is_some()),
        }
    }

    async fn delete(&self, id: &SessionId, principal: &Principal) -> Result<bool, SessionError> {
        let digest = id.digest();
        let (_, asked) = self.known.ask(&digest);
        let call = self.on(&self.scripts.delete, &digest, principal);
        match self.say(call).await? {
            Said::Ended(times) => {
                self.known.forget(&digest);
                self.count_one_less();
                self.tell(self.end(&times, EndReason::Deleted, times.now));
                self.give_place_back(principal.key(), &digest.to_string())
                    .await;
                Ok(true)
            }
            said => {
                self.heard(digest, principal, asked, said).await;
                Ok(false)
            }
        }
    }

    async fn sweep(&self) {
        self.known.sweep(self.limits.idle);
        // What cannot be cleared now is cleared the next time, here or by another replica.
        let _ = self.census().await;
    }

    fn limit(&self) -> Option<usize> {
        Some(self.limits.sessions_max)
    }

    fn kind(&self) -> &'static str {
        "redis"
    }

    async fn count(&self) -> Result<usize, SessionError> {
        Ok(self.census().await?.open)
    }

    fn forget(&self, session: &SessionDigest) {
        self.known.forget(session);
    }
}

impl std::fmt::Debug for RedisSessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisSessions")
            .field("redis", &self.redis)
            .field("limits", &self.limits)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

/// What the caller is told when Redis does not do it. Why it is away is logged where the connection
/// is; what it refuses is logged here.
fn unable(error: RedisError) -> SessionError {
    if let RedisError::Refused(reason) = error {
        tracing::error!(reason, "Redis refuses what sessions need");
    }
    SessionError::Unavailable
}

/// A mark that no other state of any record has.
fn generation() -> Result<String, SessionError> {
    let mut bytes = [0_u8; 9];
    getrandom::fill(&mut bytes).map_err(|_| SessionError::Unavailable)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
