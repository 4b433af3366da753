//! What this process shares with other replicas where there is a Redis, and has for itself where
//! there is none.

use std::{sync::Arc, time::Duration};

use mcp_serve::{
    events::{Events, MemoryEvents, RedisEvents},
    health::Check,
    limit::RedisLimiter,
    redis::Redis,
    session::{self, MemorySessions, RedisSessions},
};

use crate::config::Config;

/// The longest that the end waits for what other replicas are still to be told.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// The connection to the other replicas, if there is one.
pub(super) struct Replicas {
    redis: Option<(Redis, Arc<RedisEvents>)>,
    events: Arc<dyn Events>,
}

impl Replicas {
    /// What replicas on `redis` share. Must be called where the runtime runs.
    pub(super) fn new(redis: Option<Redis>) -> Self {
        let Some(redis) = redis else {
            return Self {
                redis: None,
                events: Arc::new(MemoryEvents::default()),
            };
        };
        let events = Arc::new(RedisEvents::new(redis.clone()));
        Self {
            events: events.clone(),
            redis: Some((redis, events)),
        }
    }

    /// The channel on which changes travel.
    pub(super) fn events(&self) -> &Arc<dyn Events> {
        &self.events
    }

    /// Makes a server one of the replicas.
    pub(super) fn join(&self, serve: &mut mcp_serve::Config, config: &Config) {
        serve.events = self.events.clone();
        let mut limits = session_limits(config);
        limits.observer = serve.metrics.session_observer();
        let Some((redis, events)) = &self.redis else {
            serve.sessions = Arc::new(MemorySessions::new(limits));
            return;
        };
        let grace = config.redis.session_grace;
        serve.sessions = Arc::new(RedisSessions::new(redis.clone(), limits, grace));
        serve.signals = events.clone();
        let limiter = Arc::new(RedisLimiter::new(redis.clone()));
        serve.limiter = limiter.clone();
        let redis = Arc::new(redis.check(config.redis.required));
        let checks: [Arc<dyn Check>; 3] = [redis, events.clone(), limiter];
        serve.checks.extend(checks);
    }

    /// Tells other replicas what they are still to be told.
    pub(super) async fn close(&self) {
        if let Some((_, events)) = &self.redis {
            events.flush(FLUSH_MAX).await;
        }
    }
}

fn session_limits(config: &Config) -> session::Limits {
    session::Limits {
        idle: config.session_ttl,
        lifetime: config.session_lifetime,
        sessions_max: config.sessions_max.get(),
        per_principal_max: config.sessions_per_principal_max.get(),
        ..session::Limits::default()
    }
}
