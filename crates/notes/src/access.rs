//! Who may act for an owner: records of access tokens, kept beside the notes.
//!
//! What a token looks like, and what its scopes allow, is known elsewhere. Here it is a hash with a
//! name, and the token itself is nowhere.

use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::error::{Problem, ProblemCode, StoreError};
use crate::note::Owner;
use crate::text;

/// Longest name of a token, in Unicode scalar values.
const NAME_CHARS_MAX: usize = 64;

/// A token, as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// What names it for good; no other token ever has the same.
    pub id: String,
    /// What people call it; no other token has the same until this one is revoked.
    pub name: TokenName,
    /// For whom its holder acts.
    pub owner: Owner,
    /// What it allows: words without white space.
    pub scopes: Vec<String>,
    /// When it was made. All times are in whole microseconds.
    pub created_at: Timestamp,
    /// When it ends, if ever.
    pub expires_at: Option<Timestamp>,
    /// When it was used last, as far as that was taken down.
    pub last_used: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// The name of a token: one word.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenName(String);

impl TokenName {
    /// Takes 1 to 64 characters without white space and control characters.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        text::check_length("name", text, NAME_CHARS_MAX)?;
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(Problem::new(
                "name",
                ProblemCode::ForbiddenCharacter,
                "has a space or a control character",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    pub(crate) fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The SHA-256 hash of a token.
pub type AccessHash = [u8; 32];

/// Keeps tokens. Several processes may do so in one place; each sees at once what another wrote.
///
/// Each write is atomic, and durable when it is answered.
#[async_trait]
pub trait AccessStore: Send + Sync {
    /// Keeps a new token; `false`, and nothing is kept, if one that is not revoked has its name.
    async fn add_token(&self, token: AccessToken, hash: AccessHash) -> Result<bool, StoreError>;

    /// The token with this hash, whether it still holds or not.
    async fn token_of_hash(&self, hash: AccessHash) -> Result<Option<AccessToken>, StoreError>;

    /// The token with this id, whether it still holds or not.
    async fn token(&self, id: &str) -> Result<Option<AccessToken>, StoreError>;

    /// At most `limit` tokens, whether they still hold or not, the newest first.
    async fn tokens(&self, limit: u32) -> Result<Vec<AccessToken>, StoreError>;

    /// Takes down that a token was used, unless a later use is known. Without effect if there is no
    /// token with this id.
    async fn token_used(&self, id: &str, at: Timestamp) -> Result<(), StoreError>;

    /// Revokes the token with this id or, if there is none, the one with this name that is not
    /// revoked yet. The token as it is then; one that is revoked already stays as it is.
    async fn revoke_token(
        &self,
        id_or_name: &str,
        at: Timestamp,
    ) -> Result<Option<AccessToken>, StoreError>;
}
