//! How Redis fares, for the report on health.

use std::time::Duration;

use async_trait::async_trait;

use super::Redis;
use crate::health::Check;

/// The check `redis`.
#[derive(Debug)]
pub struct RedisCheck {
    redis: Redis,
    required: bool,
}

impl RedisCheck {
    pub(super) fn new(redis: Redis, required: bool) -> Self {
        Self { redis, required }
    }
}

#[async_trait]
impl Check for RedisCheck {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn check(&self) -> Result<(), String> {
        self.redis.trouble().map_or(Ok(()), Err)
    }

    fn is_vital(&self) -> bool {
        self.required
    }

    fn dependency(&self) -> Option<&'static str> {
        Some("redis")
    }

    fn latency(&self) -> Option<Duration> {
        Some(self.redis.latency())
    }
}
