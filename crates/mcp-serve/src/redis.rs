//! The connection to Redis, which holds what replicas share: one server, one that Sentinel watches,
//! or a cluster.
//!
//! [`Redis`] connects by itself and again. No call waits longer than [`Settings::with_deadlines`]
//! says, and while Redis is away calls fail at once.

mod call;
mod check;
mod keeper;
mod script;
mod sentinel;
mod settings;
mod subscription;
mod trouble;
mod wire;

use std::{fmt, sync::Arc, time::Duration};

use redis::{Cmd, FromRedisValue};
use tokio::{sync::watch, task::AbortHandle};

use self::keeper::Core;
pub use self::{
    check::RedisCheck,
    script::{Invocation, Script},
    settings::{Deadlines, Settings, SettingsError},
    subscription::{Message, Subscription},
};

use crate::metrics::Metrics;

/// Whether a command may be sent once more when its answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Twice is as good as once.
    Safe,
    /// It may have been done, so it is not sent again. It is when Redis said that it did nothing.
    Never,
}

/// Why a command has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisError {
    /// Redis is away, too slow, or cannot do it at the moment. It may have been done.
    #[error("Redis is unavailable")]
    Unavailable,
    /// Redis said no, such as `OOM`, `NOPERM` or `WRONGTYPE`; or it said what was not expected.
    #[error("Redis refused a command: {0}")]
    Refused(String),
}

/// A connection to Redis that is made in the background and kept. Clones share it; when the last one
/// is dropped it is closed.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    core: Arc<Core>,
    keeper: AbortHandle,
}

impl Redis {
    /// Begins to connect and returns at once. Must be called where a Tokio runtime runs.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        Self::measured(settings, &Metrics::default())
    }

    /// The same; calls over it, and what [`RedisEvents`](crate::events::RedisEvents) hears over it, are
    /// counted in `metrics`.
    pub fn measured(settings: Settings, metrics: &Metrics) -> Result<Self, SettingsError> {
        let (core, inbox) = Core::new(settings, metrics)?;
        let core = Arc::new(core);
        let keeper = tokio::spawn(keeper::keep(core.clone(), inbox)).abort_handle();
        Ok(Self(Arc::new(Inner { core, keeper })))
    }

    /// The key `rest` among the keys of this deployment. What one script touches must have the same
    /// hash tag (`{...}`) in `rest`: the prefix has none.
    pub fn key(&self, rest: &str) -> String {
        format!("{}{rest}", self.0.core.settings.prefix)
    }

    /// The channel `rest` of this deployment. Redis has the same channels for all of its databases, so
    /// that the number of one other than 0 is part of the name.
    pub fn channel(&self, rest: &str) -> String {
        match self.0.core.settings.database {
            0 => self.key(rest),
            number => self.key(&format!("{number}:{rest}")),
        }
    }

    /// Sends a command and waits for its answer: at most three tries, each and all together under a
    /// deadline.
    pub async fn command<T: FromRedisValue>(
        &self,
        command: &Cmd,
        again: Again,
    ) -> Result<T, RedisError> {
        let core = &self.0.core;
        let value = call::call(core, command, again, call::end(core)).await?;
        T::from_redis_value(value).map_err(|_| unexpected())
    }

    /// Runs a script, which is sent whole only to a server that does not know it yet. The deadline is
    /// for both ways together.
    pub async fn eval<T: FromRedisValue>(
        &self,
        invocation: &Invocation<'_>,
        again: Again,
    ) -> Result<T, RedisError> {
        let core = &self.0.core;
        let end = call::end(core);
        let value = match call::call(core, &invocation.by_hash(), again, end).await {
            Err(RedisError::Refused(why)) if why.starts_with("NOSCRIPT") => {
                call::call(core, &invocation.by_source(), again, end).await?
            }
            answer => answer?,
        };
        T::from_redis_value(value).map_err(|_| unexpected())
    }

    /// Whether Redis answers. Short interruptions, which calls wait out, do not count.
    pub fn is_up(&self) -> bool {
        *self.0.core.up.borrow()
    }

    /// Follows [`is_up`](Self::is_up).
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.0.core.up.subscribe()
    }

    /// Why it is away, in words for an operator and without secrets; `None` while it is up.
    pub fn trouble(&self) -> Option<String> {
        self.0.core.trouble()
    }

    /// How long it took to answer when it was last asked whether it is there.
    pub fn latency(&self) -> Duration {
        self.0.core.latency()
    }

    /// Where what goes over it is counted.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.core.metrics
    }

    /// Hears what is published in `channels` from now on, over a connection of its own.
    pub async fn subscribe(&self, channels: &[String]) -> Result<Subscription, RedisError> {
        subscription::subscribe(&self.0.core, channels).await
    }

    /// How it fares, for the report on health. `required` says whether the server is ready without
    /// Redis.
    pub fn check(&self, required: bool) -> RedisCheck {
        RedisCheck::new(self.clone(), required)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("settings", &self.0.core.settings)
            .field("is_up", &self.is_up())
            .finish()
    }
}

fn unexpected() -> RedisError {
    RedisError::Refused("an answer of another kind than expected".to_owned())
}

/// A name that no other replica has. Without randomness they share one: each takes the others for
/// itself, so it hears nothing of them and counts itself alone.
pub(crate) fn random_name() -> String {
    let mut bytes = [0_u8; 16];
    let _ = getrandom::fill(&mut bytes);
    format!("{:032x}", u128::from_be_bytes(bytes))
}

/// `base` and up to a quarter more, so that replicas do not come all at once.
fn with_jitter(base: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness they do, which is no harm worth an error.
    let _ = getrandom::fill(&mut byte);
    base + base * u32::from(byte[0]) / 1024
}
