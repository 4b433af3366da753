//! Who is calling: the [`Principal`] that every request carries in its extensions.

pub mod oauth;

mod bearer;
mod principal;
pub mod token;

use async_trait::async_trait;
use http::request::Parts;
use serde_json::Value;

pub use self::{
    bearer::bearer,
    principal::{Actor, Confirmation, Identity, Principal, Scopes},
};

/// Why a request was not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No credential, or one that is not valid: HTTP 401 with this `WWW-Authenticate` challenge
    /// (RFC 9110 section 11.6.1).
    #[error("authentication required")]
    Unauthenticated {
        /// Why, in one word for logs and metrics; the caller is not told.
        reason: &'static str,
        /// The value of the `WWW-Authenticate` header, printable ASCII.
        challenge: String,
    },
    /// The request gives its credential in a way that nobody can accept: HTTP 400 (RFC 6750
    /// section 3.1, `invalid_request`).
    #[error("{message}")]
    Malformed {
        /// Why, in one word for logs and metrics.
        reason: &'static str,
        /// What the caller is told.
        message: &'static str,
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
    /// The caller of the request with these `parts`, whose extensions hold the
    /// [`Client`](crate::client::Client).
    async fn authenticate(&self, parts: &Parts) -> Result<Principal, AuthError>;

    /// Whether the credential behind `principal` still holds. Asked again and again while a stream
    /// is open, so it should be cheap. By default it holds until it expires.
    async fn is_current(&self, principal: &Principal) -> bool {
        !principal.is_expired()
    }

    /// The credential with this name, as in [`Identity::credential`], was revoked: nothing that is
    /// remembered of it counts any more. By default nothing is.
    fn forget(&self, _credential: &str) {}

    /// The `WWW-Authenticate` challenge for a caller whose request with these `parts` needs `scopes`,
    /// those that it has already among them (RFC 6750 section 3.1; MCP authorization, "Scope
    /// Challenge Handling").
    fn insufficient_scope(&self, _parts: &Parts, scopes: &Scopes) -> String {
        format!("Bearer error=\"insufficient_scope\", scope=\"{scopes}\"")
    }

    /// The metadata of the protected resource at `path` (RFC 9728 section 2), without a slash at its
    /// end; the empty path is the whole server. `None` when there is no such resource, or when
    /// callers do not get their credentials from an authorization server.
    fn metadata(&self, _path: &str) -> Option<Value> {
        None
    }
}

/// Stands in the extensions of requests whose network has used up its budget of refused credentials.
/// An [`Authenticator`] that would have to ask somebody else about a credential it does not know yet
/// refuses it then, so that a flood of made-up ones stops here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspect;

/// Lets everybody in as [`Principal::anonymous`]; for servers that only loopback can reach.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

#[async_trait]
impl Authenticator for Anonymous {
    async fn authenticate(&self, _parts: &Parts) -> Result<Principal, AuthError> {
        Ok(Principal::anonymous())
    }
}
