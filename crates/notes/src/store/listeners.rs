//! Those who are told of changes, whatever store makes them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use super::Listener;
use crate::service::Change;

/// The listeners of one store.
#[derive(Default)]
pub(super) struct Listeners(Mutex<Vec<Listener>>);

impl Listeners {
    pub(super) fn add(&self, listener: Listener) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(listener);
    }

    /// Tells each of them. None of them is called under the lock, and one that panics keeps nothing
    /// from the others.
    pub(super) fn tell(&self, change: &Change) {
        let listeners = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for listener in listeners {
            if catch_unwind(AssertUnwindSafe(|| listener(change))).is_err() {
                tracing::error!("a listener for changes of notes panicked");
            }
        }
    }
}
