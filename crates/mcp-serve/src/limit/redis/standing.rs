//! How a limiter stands: with the other replicas, or alone.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::redis::RedisError;

/// Without a decision of its own for this time, a replica counts with the others again.
const CALM: Duration = Duration::from_secs(2);

/// What is known of the other replicas, and when this one was last alone.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// 0 while nothing was heard of any.
    replicas: AtomicU32,
    local_decisions: AtomicU64,
    alone: Mutex<Alone>,
}

#[derive(Debug, Default)]
struct Alone {
    /// When a decision was last taken alone.
    last: Option<Instant>,
    /// Whether the log says that this replica is alone.
    is_told: bool,
}

impl Standing {
    /// How many replicas there are, or were when that was last heard.
    pub(super) fn known(&self) -> Option<u32> {
        Some(self.replicas.load(Ordering::Relaxed)).filter(|replicas| *replicas > 0)
    }

    /// The same; one while nothing was heard of any.
    pub(super) fn replicas(&self) -> u32 {
        self.known().unwrap_or(1)
    }

    pub(super) fn local_decisions(&self) -> u64 {
        self.local_decisions.load(Ordering::Relaxed)
    }

    pub(super) fn is_local(&self) -> bool {
        self.alone().is_local()
    }

    /// Redis did not decide, because of `error`. Logged when it begins, not each time.
    pub(super) fn decided_locally(&self, error: &RedisError) {
        self.local_decisions.fetch_add(1, Ordering::Relaxed);
        let mut alone = self.alone();
        alone.last = Some(Instant::now());
        if !std::mem::replace(&mut alone.is_told, true) {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                replicas = self.replicas(),
                "rate limits are counted by each replica alone, at its share"
            );
        }
    }

    /// Redis says that there are so many replicas. It forgets them when it starts anew, so fewer are
    /// believed one by one.
    pub(super) fn counted(&self, replicas: u32) {
        let replicas = replicas.max(self.replicas().saturating_sub(1));
        self.replicas.store(replicas, Ordering::Relaxed);
        let mut alone = self.alone();
        if !alone.is_local() && std::mem::take(&mut alone.is_told) {
            tracing::info!(replicas, "rate limits are counted together again");
        }
    }

    fn alone(&self) -> std::sync::MutexGuard<'_, Alone> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Alone {
    fn is_local(&self) -> bool {
        self.last.is_some_and(|last| last.elapsed() < CALM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_replicas_are_believed_at_once_and_fewer_one_by_one() {
        let standing = Standing::default();
        assert_eq!((standing.known(), standing.replicas()), (None, 1));
        for (counted, believed) in [(5, 5), (1, 4), (1, 3), (4, 4), (2, 3), (2, 2), (2, 2)] {
            standing.counted(counted);
            assert_eq!(standing.known(), Some(believed), "{counted}");
        }
    }
}
