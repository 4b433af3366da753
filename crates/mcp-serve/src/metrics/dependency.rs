//! Calls to another server: how long they take and how they fail.

use std::{sync::Arc, time::Duration};

use super::family::{Counter, Family, Histogram};

/// Where calls to one dependency are counted.
#[derive(Clone, Debug)]
pub struct Dependency {
    name: &'static str,
    durations: Arc<Histogram>,
    errors: Arc<Family<Counter>>,
}

impl Dependency {
    pub(super) fn new(
        name: &'static str,
        durations: Arc<Histogram>,
        errors: Arc<Family<Counter>>,
    ) -> Self {
        Self {
            name,
            durations,
            errors,
        }
    }

    /// A call is over, after so long. `failure` says in a word of a small set how it failed, if it
    /// did.
    pub fn called(&self, took: Duration, failure: Option<&'static str>) {
        self.durations.observe_time(took);
        if let Some(kind) = failure {
            self.errors.with(&[self.name, kind]).inc();
        }
    }
}
