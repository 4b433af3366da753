//! How many calls each caller has in flight.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::limit::Caller;

const SHARDS: usize = 16;

/// The calls that run, counted by caller.
pub(crate) struct Flight {
    max: usize,
    hasher: RandomState,
    shards: [Mutex<HashMap<Caller, usize>>; SHARDS],
}

/// A place for calls in flight. The last clone that is dropped gives it back.
#[derive(Clone)]
pub(crate) struct Permit {
    _place: Arc<Place>,
}

/// As many calls of one caller run as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Flight {
    /// At most `max` calls of each caller.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Most calls of one caller.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Places for `count` calls of `caller`: all of them, or none.
    pub(crate) fn enter(self: &Arc<Self>, caller: &Caller, count: usize) -> Result<Permit, Full> {
        let mut shard = self.shard(caller);
        let running = shard.get(caller).copied().unwrap_or(0);
        if running + count > self.max {
            return Err(Full);
        }
        shard.insert(caller.clone(), running + count);
        drop(shard);
        Ok(Permit {
            _place: Arc::new(Place {
                flight: self.clone(),
                caller: caller.clone(),
                count,
            }),
        })
    }

    fn shard(&self, caller: &Caller) -> MutexGuard<'_, HashMap<Caller, usize>> {
        let index = self.hasher.hash_one(caller) % SHARDS as u64;
        let shard = &self.shards[usize::try_from(index).unwrap_or(0)];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Place {
    flight: Arc<Flight>,
    caller: Caller,
    count: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut shard = self.flight.shard(&self.caller);
        if let Some(running) = shard.get_mut(&self.caller) {
            *running = running.saturating_sub(self.count);
            if *running == 0 {
                shard.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_last_holder_is_gone() {
        let flight = Arc::new(Flight::new(2));
        let (a, b) = (
            Caller::at([192, 0, 2, 1].into()),
            Caller::at([192, 0, 2, 2].into()),
        );
        let first = flight.enter(&a, 1).unwrap();
        let second = flight.enter(&a, 1).unwrap();
        assert_eq!(flight.enter(&a, 1).err(), Some(Full));
        assert!(flight.enter(&b, 2).is_ok());
        let clone = second.clone();
        drop(second);
        assert_eq!(flight.enter(&a, 1).err(), Some(Full));
        drop(clone);
        assert!(flight.enter(&a, 1).is_ok());
        drop(first);
        assert!(flight.shard(&a).is_empty());
        assert_eq!(flight.enter(&a, 3).err(), Some(Full));
    }
}
