//! Credentials as they are revoked, told to the streams that they opened.

use std::sync::Arc;

use tokio::sync::broadcast::{self, error::RecvError};

use crate::auth::Principal;

/// How many revocations are kept for streams that are slow to look.
const REVOKED_MAX: usize = 256;

/// Tells every stream which credentials are revoked.
pub(super) struct Revoked(broadcast::Sender<Arc<str>>);

impl Default for Revoked {
    fn default() -> Self {
        Self(broadcast::Sender::new(REVOKED_MAX))
    }
}

impl Revoked {
    pub(super) fn tell(&self, credential: &str) {
        // Fails only when no stream is open.
        let _ = self.0.send(credential.into());
    }

    pub(super) fn of(&self, principal: &Principal) -> Revocations {
        Revocations {
            credential: principal.identity().credential.clone(),
            revoked: self.0.subscribe(),
        }
    }
}

/// The revocations that may concern one caller.
pub(crate) struct Revocations {
    credential: Option<String>,
    revoked: broadcast::Receiver<Arc<str>>,
}

impl Revocations {
    /// Until the credential may have been revoked. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        let Some(own) = self.credential.as_deref() else {
            return std::future::pending().await;
        };
        loop {
            match self.revoked.recv().await {
                Ok(revoked) if *revoked != *own => {}
                Ok(_) | Err(RecvError::Lagged(_)) => return,
                Err(RecvError::Closed) => return std::future::pending().await,
            }
        }
    }
}
