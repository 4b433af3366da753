//! The networks that have used up their budget of refused credentials.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::limit::Caller;

/// Networks that are remembered at the same time.
const SUSPECTS_MAX: usize = 10_000;

/// Remembers suspects until their budget has something in it again. Asking costs nothing while there
/// are none, which is nearly always.
#[derive(Default)]
pub(super) struct Suspects {
    until: Mutex<HashMap<Caller, Instant>>,
    count: AtomicUsize,
}

impl Suspects {
    /// `network` has no budget left for so long.
    pub(super) fn add(&self, network: &Caller, left: Duration) {
        let now = Instant::now();
        let mut until = self.lock();
        if until.len() >= SUSPECTS_MAX {
            until.retain(|_, until| *until > now);
        }
        if until.len() < SUSPECTS_MAX || until.contains_key(network) {
            until.insert(network.clone(), now + left);
        }
        self.count.store(until.len(), Ordering::Relaxed);
    }

    /// Whether `network` has no budget left.
    pub(super) fn has(&self, network: &Caller) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut until = self.lock();
        let is_suspect = until.get(network).is_some_and(|end| *end > Instant::now());
        if !is_suspect && until.remove(network).is_some() {
            self.count.store(until.len(), Ordering::Relaxed);
        }
        is_suspect
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Caller, Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_suspect_is_one_until_its_time_is_over() {
        let suspects = Suspects::default();
        let (a, b) = (
            Caller::at([192, 0, 2, 1].into()),
            Caller::at([192, 0, 2, 2].into()),
        );
        assert!(!suspects.has(&a));
        suspects.add(&a, Duration::from_secs(3));
        assert!(suspects.has(&a) && !suspects.has(&b));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(!suspects.has(&a));
        assert_eq!(suspects.count.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_room_for_so_many_and_the_past_makes_room() {
        let suspects = Suspects::default();
        for number in 0..=SUSPECTS_MAX {
            let address = u32::try_from(number).unwrap().to_be_bytes();
            suspects.add(&Caller::at(address.into()), Duration::from_secs(3));
        }
        assert_eq!(suspects.count.load(Ordering::Relaxed), SUSPECTS_MAX);
        tokio::time::advance(Duration::from_secs(3)).await;
        let late = Caller::at([255, 0, 0, 1].into());
        suspects.add(&late, Duration::from_secs(3));
        assert!(suspects.has(&late));
        assert_eq!(suspects.count.load(Ordering::Relaxed), 1);
    }
}
