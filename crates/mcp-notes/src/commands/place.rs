//! A store that a command names, by an argument or by the settings.

use std::sync::Arc;

use notes::{Claim, Store};

use super::Failure;
use crate::{app::causes, config::StoreUrl};

/// A store and the argument that names it.
pub(super) struct Place {
    argument: &'static str,
    pub(super) store: StoreUrl,
}

impl Place {
    pub(super) fn new(argument: &'static str, text: &str) -> Result<Self, Failure> {
        let wrong = |what: String| Failure::Failed(format!("{argument}: {what}"));
        let text = match text.strip_prefix('@') {
            None => text.to_owned(),
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| wrong(format!("{path}: {error}")))?;
                text.lines().next().unwrap_or_default().to_owned()
            }
        };
        let store = StoreUrl::parse(&text).map_err(wrong)?;
        Ok(Self { argument, store })
    }

    /// The store that the settings name.
    pub(super) fn of_settings(store: &StoreUrl) -> Self {
        Self {
            argument: "NOTES_STORE",
            store: store.clone(),
        }
    }

    pub(super) fn address(&self) -> &str {
        self.store.as_str()
    }

    /// A failure with the argument and without the password in it.
    pub(super) fn failed(&self, error: impl std::fmt::Display) -> Failure {
        let Self { argument, store } = self;
        Failure::Failed(format!("{argument} {store:?}: {error}"))
    }

    /// Takes the store, so that no server works with it.
    pub(super) fn claim(&self) -> Result<Claim, Failure> {
        let who = format!(
            "process {}, which moves notes there or away",
            std::process::id()
        );
        notes::claim(self.address(), &who).map_err(|error| self.failed(causes(&error)))
    }

    pub(super) async fn open(&self) -> Result<Arc<dyn Store>, Failure> {
        let opened = notes::open(self.address()).await;
        opened.map_err(|error| self.failed(causes(&error)))
    }

    pub(super) async fn close(&self, store: &dyn Store) -> Result<(), Failure> {
        let closed = store.close().await;
        closed.map_err(|error| self.failed(causes(&error)))
    }
}
