//! API tokens: long random credentials that this server makes itself and keeps only the hash of.

mod cache;
mod file;
mod format;
mod usage;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use http::request::Parts;
use jiff::Timestamp;

use self::{cache::Cache, usage::Usage};
use super::{AuthError, Authenticator, Identity, Principal, Scopes, Suspect, bearer};

pub use self::{
    file::{Flaw, TokensFile, TokensFileError, line},
    format::{Token, TokenHash},
};

/// How long an answer of the source holds, at most: what is revoked is refused after this time.
const ANSWER_LIFE: Duration = Duration::from_secs(2);

/// How many tokens in use are remembered.
const KNOWN_MAX: usize = 10_000;

/// How many tokens are remembered that are not valid.
const REFUSED_MAX: usize = 1_000;

/// How long a token that was valid is not taken for a made-up one.
const PROVEN_LIFE: Duration = Duration::from_hours(1);

/// What is kept of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// Names the token in logs and lists; never the token itself, and never another token's.
    pub id: String,
    /// On whose behalf its holder calls: the subject of the [`Principal`].
    pub owner: String,
    /// What it allows.
    pub scopes: Scopes,
    /// When it ends, if ever.
    pub expires_at: Option<Timestamp>,
    /// When it was used, to about an hour.
    pub last_used: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Why a source has no answer.
#[derive(Debug, thiserror::Error)]
#[error("the tokens cannot be read or written")]
pub struct SourceError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl SourceError {
    /// The error that `cause` led to.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

/// Where tokens are kept. It is asked at most every two seconds about a token in use.
#[async_trait]
pub trait TokenSource: Send + Sync + 'static {
    /// The token with this hash, revoked and expired ones among them.
    async fn find(&self, hash: &TokenHash) -> Result<Option<TokenRecord>, SourceError>;

    /// The token with this id, revoked and expired ones among them.
    async fn get(&self, id: &str) -> Result<Option<TokenRecord>, SourceError>;

    /// Takes down that a token was used. Called once an hour for each token, and no request waits
    /// for it.
    async fn used(&self, id: &str, at: Timestamp) -> Result<(), SourceError>;
}

/// Lets in whoever presents a token that its source knows, as a bearer token (RFC 6750).
///
/// A mistyped token is refused by its checksum, without a question to the source. What the source
/// says is believed for two seconds: a token that is revoked is refused everywhere after that.
pub struct Tokens {
    source: Arc<dyn TokenSource>,
    realm: Box<str>,
    basic_scopes: Scopes,
    known: Cache<TokenHash, Principal>,
    refused: Cache<TokenHash, Refusal>,
    /// Which tokens were valid not long ago.
    proven: Cache<TokenHash, ()>,
    /// Which tokens hold, by their ids.
    holding: Cache<Box<str>, Option<TokenRecord>>,
    usage: Usage,
    /// The source had no answer when it was asked last.
    is_down: AtomicBool,
}

/// Why a token does not let its holder in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refusal {
    /// For logs and metrics.
    reason: &'static str,
    /// For the holder, who would not get this far without the token.
    description: &'static str,
}

const DAMAGED: Refusal = Refusal {
    reason: "checksum",
    description: "this is not a token of this server, or not all of it",
};
const UNKNOWN: Refusal = Refusal {
    reason: "unknown",
    description: "there is no such token",
};
const REVOKED: Refusal = Refusal {
    reason: "revoked",
    description: "the token was revoked",
};
const SUSPECT: Refusal = Refusal {
    reason: "suspect",
    description: "too many tokens from this network were refused; try again later",
};
const EXPIRED: Refusal = Refusal {
    reason: "expired",
    description: "the token has expired",
};

impl Tokens {
    /// Tokens of `source`. Challenges name the `realm` (RFC 9110 section 11.5) and the scopes that
    /// a client should have to begin with. Takes down uses in a task, so it needs a runtime.
    pub fn new(source: Arc<dyn TokenSource>, realm: &str, basic_scopes: Scopes) -> Self {
        let plain = |c: &char| c.is_ascii_graphic() && !matches!(c, '"' | '\\') || *c == ' ';
        Self {
            usage: Usage::start(source.clone()),
            source,
            realm: realm.chars().filter(plain).collect(),
            basic_scopes,
            known: Cache::new(ANSWER_LIFE, KNOWN_MAX),
            refused: Cache::new(ANSWER_LIFE, REFUSED_MAX),
            proven: Cache::new(PROVEN_LIFE, KNOWN_MAX),
            holding: Cache::new(ANSWER_LIFE, KNOWN_MAX),
            is_down: AtomicBool::new(false),
        }
    }

    /// The challenge of RFC 6750 section 3, which has an error only if a token was presented.
    fn challenge(&self, error: Option<&str>, description: Option<&str>, scopes: &Scopes) -> String {
        let mut parts = vec![format!("Bearer realm=\"{}\"", self.realm)];
        parts.extend(error.map(|error| format!("error=\"{error}\"")));
        parts.extend(description.map(|words| format!("error_description=\"{words}\"")));
        if !scopes.is_empty() {
            parts.push(format!("scope=\"{scopes}\""));
        }
        parts.join(", ")
    }

    fn refusal(&self, refusal: Refusal) -> AuthError {
        let Refusal {
            reason,
            description,
        } = refusal;
        AuthError::Unauthenticated {
            reason,
            challenge: self.challenge(Some("invalid_token"), Some(description), &self.basic_scopes),
        }
    }

    /// The answer of the source. That it stops answering is logged once, and that it answers again:
    /// strangers ask it too, as often as they like.
    fn told<T>(&self, answer: Result<T, SourceError>) -> Option<T> {
        match answer {
            Ok(answer) => {
                if self.is_down.swap(false, Ordering::Relaxed) {
                    tracing::info!("tokens can be looked up again");
                }
                Some(answer)
            }
            Err(error) => {
                if !self.is_down.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "tokens cannot be looked up"
                    );
                }
                None
            }
        }
    }

    /// Who holds the token with this hash. Where the caller `is_suspect`, the source is not asked
    /// about a token that nobody has seen to be valid.
    async fn holder(&self, hash: TokenHash, is_suspect: bool) -> Result<Principal, AuthError> {
        if let Some(principal) = self.known.get(&hash) {
            if principal.is_expired() {
                return Err(self.refusal(EXPIRED));
            }
            return Ok(principal);
        }
        if let Some(refusal) = self.refused.get(&hash) {
            return Err(self.refusal(refusal));
        }
        if is_suspect && self.proven.get(&hash).is_none() {
            return Err(self.refusal(SUSPECT));
        }
        // An answer is as old as its question.
        let asked = tokio::time::Instant::now();
        let found = self.told(self.source.find(&hash).await);
        let found = found.ok_or(AuthError::Unavailable)?;
        let now = Timestamp::now();
        match found.ok_or(UNKNOWN).and_then(|record| record.check(now)) {
            Ok(record) => {
                self.usage.note(&record, now);
                let principal = Principal::of(record.into_identity());
                self.known.put(hash, principal.clone(), asked);
                self.proven.put(hash, (), asked);
                Ok(principal)
            }
            Err(refusal) => {
                self.refused.put(hash, refusal, asked);
                Err(self.refusal(refusal))
            }
        }
    }
}

impl TokenRecord {
    fn check(self, now: Timestamp) -> Result<Self, Refusal> {
        if self.revoked_at.is_some() {
            return Err(REVOKED);
        }
        if self.expires_at.is_some_and(|end| end <= now) {
            return Err(EXPIRED);
        }
        Ok(self)
    }

    fn into_identity(self) -> Identity {
        Identity {
            subject: self.owner,
            scopes: Some(self.scopes),
            expires_at: self.expires_at,
            credential: Some(self.id),
            ..Identity::default()
        }
    }
}

#[async_trait]
impl Authenticator for Tokens {
    async fn authenticate(&self, parts: &Parts) -> Result<Principal, AuthError> {
        let challenge = |error| self.challenge(Some(error), None, &self.basic_scopes);
        let Some(text) = bearer(parts, challenge)? else {
            return Err(AuthError::Unauthenticated {
                reason: "missing",
                challenge: self.challenge(None, None, &self.basic_scopes),
            });
        };
        match Token::parse(text) {
            Some(token) => {
                let is_suspect = parts.extensions.get::<Suspect>().is_some();
                self.holder(token.hash(), is_suspect).await
            }
            None => Err(self.refusal(DAMAGED)),
        }
    }

    /// Asks the source, at most every two seconds for each token. What the token allows must still
    /// be the same. While the source has no answer, a token that has not expired holds: an outage
    /// ends no stream.
    async fn is_current(&self, principal: &Principal) -> bool {
        if principal.is_expired() {
            return false;
        }
        let Some(id) = principal.identity().credential.as_deref() else {
            return false;
        };
        let record = if let Some(record) = self.holding.get(id) {
            record
        } else {
            let asked = tokio::time::Instant::now();
            let Some(record) = self.told(self.source.get(id).await) else {
                return true;
            };
            self.holding.put(id.into(), record.clone(), asked);
            record
        };
        let held = record.and_then(|record| record.check(Timestamp::now()).ok());
        held.is_some_and(|record| record.into_identity() == *principal.identity())
    }

    /// The source is asked again about the token with this id, and about nothing else sooner.
    fn forget(&self, credential: &str) {
        let is_its =
            |principal: &Principal| principal.identity().credential.as_deref() == Some(credential);
        self.known.forget(|_, principal| is_its(principal));
        self.holding.forget(|id, _| **id == *credential);
    }

    fn insufficient_scope(&self, _parts: &Parts, scopes: &Scopes) -> String {
        self.challenge(Some("insufficient_scope"), None, scopes)
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens")
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
