//! The signature algorithms that a token may have: asymmetric ones only.

use std::{fmt, str::FromStr};

/// A signature algorithm (RFC 7518 section 3.1, RFC 8037). There is none with a shared secret and
/// none without a key, so that no list of them can let one in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the RFCs")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

use jsonwebtoken::Algorithm as Jwa;

const NAMES: [(Algorithm, &str, Jwa); 9] = [
    (Algorithm::RS256, "RS256", Jwa::RS256),
    (Algorithm::RS384, "RS384", Jwa::RS384),
    (Algorithm::RS512, "RS512", Jwa::RS512),
    (Algorithm::PS256, "PS256", Jwa::PS256),
    (Algorithm::PS384, "PS384", Jwa::PS384),
    (Algorithm::PS512, "PS512", Jwa::PS512),
    (Algorithm::ES256, "ES256", Jwa::ES256),
    (Algorithm::ES384, "ES384", Jwa::ES384),
    (Algorithm::EdDSA, "EdDSA", Jwa::EdDSA),
];

impl Algorithm {
    /// Every algorithm there is.
    pub fn all() -> Vec<Self> {
        NAMES.iter().map(|(algorithm, ..)| *algorithm).collect()
    }

    /// Its name in a token.
    pub fn as_str(self) -> &'static str {
        let mut names = NAMES.iter();
        let found = names.find(|(algorithm, ..)| *algorithm == self);
        found.map_or("", |(_, name, _)| name)
    }

    /// Which of them a token names.
    pub(super) fn of(jwa: Jwa) -> Option<Self> {
        let mut names = NAMES.iter();
        let found = names.find(|(.., other)| *other == jwa);
        found.map(|(algorithm, ..)| *algorithm)
    }
}

/// A name that is no algorithm of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no asymmetric signature algorithm")]
pub struct UnknownAlgorithm;

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        let mut names = NAMES.iter();
        let found = names.find(|(_, name, _)| *name == text);
        found
            .map(|(algorithm, ..)| *algorithm)
            .ok_or(UnknownAlgorithm)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
