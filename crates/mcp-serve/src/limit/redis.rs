//! [`Limiter`] over Redis: one count for all replicas.
//!
//! While Redis is away each replica counts for itself, and gives its share of every budget: nobody is
//! kept out because of it, and nobody gets much more than before.

mod presence;
mod standing;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use self::{presence::Presence, standing::Standing};
use super::{Budget, Caller, Class, Decision, Limiter, MemoryLimiter, gcra::Rule};
use crate::{
    health::Check,
    redis::{Again, Redis, RedisError, Script},
};

/// The longest that a request waits for Redis before its own replica decides. One try ends before by
/// default, for only what ended counts when it is found out whether Redis is away.
const DEADLINE: Duration = Duration::from_millis(600);

/// Budgets that all replicas on one Redis count together.
///
/// A caller is named by a hash. Every key lives as long as something is owed.
#[derive(Debug)]
pub struct RedisLimiter {
    redis: Redis,
    script: Script,
    /// Counts while Redis does not. Both measure what is owed in time, and a share takes as long to
    /// fill as the whole, so that one can go on where the other stopped.
    local: MemoryLimiter,
    standing: Arc<Standing>,
    _presence: Presence,
}

impl RedisLimiter {
    /// Counts in `redis`. Tells the other replicas in a task that this one is there, so it needs a
    /// runtime; the task ends when the limiter is dropped.
    pub fn new(redis: Redis) -> Self {
        let standing = Arc::new(Standing::default());
        Self {
            _presence: Presence::start(redis.clone(), standing.clone()),
            redis,
            script: Script::new(include_str!("redis/take.lua")),
            local: MemoryLimiter::default(),
            standing,
        }
    }

    /// Replicas that there are, this one among them; while Redis is away, those that there were.
    pub fn replicas(&self) -> u32 {
        self.standing.replicas()
    }

    /// Whether this replica counts for itself, or did within the last seconds.
    pub fn is_local(&self) -> bool {
        !self.redis.is_up() || self.standing.is_local()
    }

    /// How often this replica has decided by itself since it started.
    pub fn local_decisions(&self) -> u64 {
        self.standing.local_decisions()
    }

    /// The time of Redis' clock and what the caller owes, or would owe, in microseconds.
    async fn ask(&self, caller: &Caller, rule: Rule, count: u32) -> Result<(u64, u64), RedisError> {
        let key = self.key(caller, rule.class());
        let taking = self.script.call().key(key);
        let taking = taking.arg(rule.cost(count)).arg(rule.most());
        // What may have been counted must not be counted again.
        let asking = self.redis.eval(&taking, Again::Never);
        let answer = timeout(DEADLINE, asking).await;
        answer.unwrap_or(Err(RedisError::Unavailable))
    }

    /// Names the caller without telling who it is.
    fn key(&self, caller: &Caller, class: Class) -> String {
        let mut digest = Sha256::new();
        match caller {
            Caller::Principal(key) => digest.update(format!("principal {key}")),
            Caller::Network(address) => digest.update(format!("network {address}")),
        }
        let digest = u128::from_be_bytes(digest.finalize()[..16].try_into().unwrap_or_default());
        let class = class.as_str();
        self.redis
            .key(&format!("mcp_rate_limit:{{{digest:032x}}}:{class}"))
    }

    /// What this replica says by itself. What the whole budget allows at once, its share does too.
    fn decide(&self, caller: &Caller, class: Class, budget: Budget, count: u32) -> Decision {
        let share = budget.share(self.replicas());
        let count = if count <= budget.burst() {
            count.min(share.burst())
        } else {
            count
        };
        Decision {
            is_alone: true,
            ..self.local.take_now(caller, class, share, count)
        }
    }
}

#[async_trait]
impl Limiter for RedisLimiter {
    async fn take(&self, caller: &Caller, class: Class, budget: Budget, count: u32) -> Decision {
        let rule = Rule::new(class, budget);
        match self.ask(caller, rule, count).await {
            Ok((_, owed)) => {
                // Who owes something goes on owing it should Redis go.
                let debt = rule.debt(owed, rule.cost(count));
                self.local.owe(caller, class, debt);
                rule.decision(owed)
            }
            Err(error) => {
                self.standing.decided_locally(&error);
                self.decide(caller, class, budget, count)
            }
        }
    }
}

/// Says in the health report whether each replica counts for itself.
#[async_trait]
impl Check for RedisLimiter {
    fn name(&self) -> &'static str {
        "rate_limits"
    }

    async fn check(&self) -> Result<(), String> {
        if !self.is_local() {
            return Ok(());
        }
        Err(match self.standing.known() {
            Some(replicas) => {
                format!("local: this replica counts alone, at its share of {replicas}")
            }
            None => "local: this replica counts alone and has heard of no other".to_owned(),
        })
    }

    fn is_vital(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
