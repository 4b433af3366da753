//! [`Limiter`] within one process.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    Budget, Caller, Class, Decision, Limiter,
    gcra::{Rule, micros},
};

const SHARDS: usize = 16;

/// Callers that are counted at the same time, over all shards. A full budget needs no entry, so
/// only those count that asked for something lately.
const CALLERS_MAX: usize = 200_000;

/// How often entries are looked for that can be forgotten, in microseconds.
const CLEAN_EVERY: u64 = 30_000_000;

/// Budgets of one process, in maps that forget whoever has not asked for a while.
#[derive(Debug)]
pub struct MemoryLimiter {
    epoch: Instant,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    /// When the budget of a caller will be full again, in microseconds since the epoch.
    full_at: HashMap<(Caller, Class), u64>,
    /// When to look for entries that can be forgotten.
    clean_at: u64,
}

impl Default for MemoryLimiter {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl MemoryLimiter {
    /// Takes `count` requests out of a budget, or none.
    pub fn take_now(&self, caller: &Caller, class: Class, budget: Budget, count: u32) -> Decision {
        let now = micros(self.epoch.elapsed());
        self.take_at(now, caller, Rule::new(class, budget), count)
    }

    /// The same at `now`, in microseconds since the epoch.
    pub(super) fn take_at(&self, now: u64, caller: &Caller, rule: Rule, count: u32) -> Decision {
        let key = (caller.clone(), rule.class());
        let mut shard = self.shard(&key, now);
        let full_at = shard.full_at.get(&key).copied().unwrap_or(now);
        let owed = rule.owed(now, full_at, rule.cost(count));
        if rule.allows(owed) && count > 0 {
            shard.full_at.insert(key, now + owed);
        }
        rule.decision(owed)
    }

    /// Takes down that the caller owes so many microseconds, whatever it owed before.
    pub(super) fn owe(&self, caller: &Caller, class: Class, owed: u64) {
        if owed == 0 {
            return;
        }
        let now = micros(self.epoch.elapsed());
        let key = (caller.clone(), class);
        self.shard(&key, now).full_at.insert(key, now + owed);
    }

    /// Where the budget is that `key` names, with room for it.
    fn shard(&self, key: &(Caller, Class), now: u64) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        let shard = self.shards[index].lock();
        let mut shard = shard.unwrap_or_else(PoisonError::into_inner);
        shard.clean(now);
        shard
    }
}

impl Shard {
    fn clean(&mut self, now: u64) {
        let full = self.full_at.len() >= CALLERS_MAX / SHARDS;
        if !full && now < self.clean_at {
            return;
        }
        self.full_at.retain(|_, full_at| *full_at > now);
        self.clean_at = now + CLEAN_EVERY;
        if self.full_at.len() < CALLERS_MAX / SHARDS {
            return;
        }
        // So many callers at once are an attack; those who asked least lose least.
        let mut times: Vec<u64> = self.full_at.values().copied().collect();
        let (_, median, _) = {
            let middle = times.len() / 2;
            times.select_nth_unstable(middle)
        };
        let median = *median;
        self.full_at.retain(|_, full_at| *full_at > median);
    }
}

#[async_trait]
impl Limiter for MemoryLimiter {
    async fn take(&self, caller: &Caller, class: Class, budget: Budget, count: u32) -> Decision {
        self.take_now(caller, class, budget, count)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn budget(burst: u32) -> Budget {
        Budget::new(burst, Duration::from_mins(1)).unwrap()
    }

    fn caller(last: u8) -> Caller {
        Caller::at([192, 0, 2, last].into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_the_next_waits_and_time_gives_back() {
        let limiter = MemoryLimiter::default();
        for left in (0..100).rev() {
            let decision = limiter.take_now(&caller(1), Class::Read, budget(100), 1);
            assert_eq!(decision.remaining, Some(left));
        }
        let refused = limiter.take_now(&caller(1), Class::Read, budget(100), 1);
        assert_eq!(
            (refused.remaining, refused.after),
            (None, Duration::from_millis(600))
        );
        tokio::time::advance(Duration::from_millis(600)).await;
        assert!(
            limiter
                .take_now(&caller(1), Class::Read, budget(100), 1)
                .is_allowed()
        );
        assert!(
            !limiter
                .take_now(&caller(1), Class::Read, budget(100), 1)
                .is_allowed()
        );
        tokio::time::advance(Duration::from_mins(1)).await;
        let full = limiter.take_now(&caller(1), Class::Read, budget(100), 1);
        assert_eq!(full.remaining, Some(99));
    }

    #[tokio::test(start_paused = true)]
    async fn budgets_are_apart_by_caller_and_class() {
        let limiter = MemoryLimiter::default();
        assert!(
            limiter
                .take_now(&caller(1), Class::Write, budget(1), 1)
                .is_allowed()
        );
        assert!(
            !limiter
                .take_now(&caller(1), Class::Write, budget(1), 1)
                .is_allowed()
        );
        assert!(
            limiter
                .take_now(&caller(2), Class::Write, budget(1), 1)
                .is_allowed()
        );
        assert!(
            limiter
                .take_now(&caller(1), Class::Read, budget(1), 1)
                .is_allowed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_period_that_does_not_divide_gives_the_whole_burst() {
        let limiter = MemoryLimiter::default();
        for _ in 0..7 {
            assert!(
                limiter
                    .take_now(&caller(1), Class::Read, budget(7), 1)
                    .is_allowed()
            );
        }
        assert!(
            !limiter
                .take_now(&caller(1), Class::Read, budget(7), 1)
                .is_allowed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_passes_whole_or_costs_nothing() {
        let limiter = MemoryLimiter::default();
        let take = |count| limiter.take_now(&caller(1), Class::Read, budget(10), count);
        assert_eq!(take(8).remaining, Some(2));
        assert_eq!(take(3).remaining, None);
        assert_eq!(take(2).remaining, Some(0));
    }

    #[test]
    fn callers_that_come_once_are_forgotten() {
        let mut shard = Shard::default();
        for number in 0..CALLERS_MAX / SHARDS {
            let address = u32::try_from(number).unwrap().to_be_bytes();
            let full_at = u64::try_from(number + 1).unwrap();
            shard
                .full_at
                .insert((Caller::at(address.into()), Class::Read), full_at);
        }
        shard.clean(0);
        assert!(shard.full_at.len() <= CALLERS_MAX / SHARDS / 2);
        shard.clean(3_600_000_000);
        assert!(shard.full_at.is_empty());
    }
}
