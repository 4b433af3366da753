//! The generic cell rate algorithm, which every limiter follows: a budget is known by the time at
//! which it is full again.
//!
//! Times are whole microseconds, the unit of Redis' clock and exact in the numbers of its scripts.

use std::time::Duration;

use super::{Budget, Class, Decision};

/// A budget as the rule needs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    class: Class,
    budget: Budget,
    /// What one request costs.
    interval: u64,
    /// The most that may be owed.
    most: u64,
}

impl Rule {
    pub(super) fn new(class: Class, budget: Budget) -> Self {
        let interval = micros(budget.period() / budget.burst());
        Self {
            class,
            budget,
            interval,
            // Rounding in the interval must not cost the last request of a burst.
            most: interval * u64::from(budget.burst()),
        }
    }

    /// The kind of work.
    pub(super) fn class(&self) -> Class {
        self.class
    }

    /// The most that may be owed.
    pub(super) fn most(&self) -> u64 {
        self.most
    }

    /// What `count` requests cost. More than there ever are cost as much as one too many.
    pub(super) fn cost(&self, count: u32) -> u64 {
        let most = self.budget.burst().saturating_add(1);
        self.interval * u64::from(count.min(most))
    }

    /// What is owed once `cost` is paid at `now` out of a budget that is full at `full_at`. None of
    /// it is paid when that is more than may be owed.
    pub(super) fn owed(&self, now: u64, full_at: u64, cost: u64) -> u64 {
        full_at.saturating_sub(now).min(self.most) + cost
    }

    /// Whether so much may be owed.
    pub(super) fn allows(&self, owed: u64) -> bool {
        owed <= self.most
    }

    /// What is owed after that: a refusal costs nothing.
    pub(super) fn debt(&self, owed: u64, cost: u64) -> u64 {
        if self.allows(owed) {
            owed
        } else {
            owed.saturating_sub(cost)
        }
    }

    /// What the caller is told.
    pub(super) fn decision(&self, owed: u64) -> Decision {
        let (remaining, after) = if self.allows(owed) {
            let left = (self.most - owed) / self.interval.max(1);
            (Some(u32::try_from(left).unwrap_or(u32::MAX)), owed)
        } else {
            (None, owed - self.most)
        };
        Decision {
            class: self.class,
            budget: self.budget,
            remaining,
            is_alone: false,
            after: Duration::from_micros(after),
        }
    }
}

/// Whole microseconds of `time`.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
