//! Who is calling: the [`Principal`] that every request carries in its extensions.

use std::sync::Arc;

use async_trait::async_trait;
use http::request::Parts;

/// The caller of one request, as its [`Authenticator`] saw it.
///
/// Cheap to clone. Handlers read it from the request's extensions and never look at a header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    key: Arc<str>,
}

impl Principal {
    /// The caller of a server that asks nobody who they are.
    pub fn anonymous() -> Self {
        Self {
            key: Arc::from("anonymous"),
        }
    }

    /// A caller known by `key`, which must be the same for every credential of one caller and
    /// differ between callers (for OAuth: issuer and subject).
    pub fn new(key: impl Into<Arc<str>>) -> Self {
        Self { key: key.into() }
    }

    /// What tells this caller from every other one. Sessions and subscriptions are bound to it.
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// Why a request was not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No credential, or one that is not valid: HTTP 401 with this `WWW-Authenticate` challenge
    /// (RFC 9110 section 11.6.1).
    #[error("authentication required")]
    Unauthenticated {
        /// The value of the `WWW-Authenticate` header, printable ASCII.
        challenge: String,
    },
    /// The credential could not be checked now: HTTP 503.
    #[error("the credential cannot be checked at the moment")]
    Unavailable,
}

/// Turns the head of a request into the [`Principal`] that made it.
///
/// It is asked for every request: a session never stands for a credential.
#[async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// The caller of the request with these `parts`.
    async fn authenticate(&self, parts: &Parts) -> Result<Principal, AuthError>;
}

/// Lets everybody in as [`Principal::anonymous`]; for servers that only loopback can reach.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

#[async_trait]
impl Authenticator for Anonymous {
    async fn authenticate(&self, _parts: &Parts) -> Result<Principal, AuthError> {
        Ok(Principal::anonymous())
    }
}
