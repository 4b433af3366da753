//! The caller of a request, and what its credential says of it.

use std::{
    collections::BTreeSet,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

/// The caller of one request, as its [`Authenticator`](super::Authenticator) saw it.
///
/// Cheap to clone. Handlers read it from the request's extensions and never look at a header. Two
/// principals are equal when they are the same caller, whichever credential each of them used.
#[derive(Clone)]
pub struct Principal {
    key: Arc<str>,
    identity: Arc<Identity>,
    secret: Option<Arc<str>>,
}

/// What a credential says of the caller who holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Who vouches for the subject: the issuer of OAuth tokens, a URL. `None` for this server
    /// itself.
    pub issuer: Option<String>,
    /// The caller, unique within the issuer.
    pub subject: String,
    /// The OAuth client that calls on behalf of the subject.
    pub client_id: Option<String>,
    /// What the credential allows; `None` when scopes do not bound it.
    pub scopes: Option<Scopes>,
    /// When the credential ends.
    pub expires_at: Option<Timestamp>,
    /// Who acts for the subject (RFC 8693 section 4.1).
    pub actor: Option<Actor>,
    /// The key that the credential is bound to (RFC 7800 section 3.1).
    pub confirmation: Option<Confirmation>,
    /// Which credential it was: a name or an id, never the secret.
    pub credential: Option<String>,
}

/// Who acts on behalf of a subject (RFC 8693 section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The issuer of the actor, if it is named.
    pub issuer: Option<String>,
    /// The actor, unique within the issuer.
    pub subject: String,
}

/// The key that a credential is bound to: whoever presents it must also hold the key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Confirmation {
    /// The SHA-256 thumbprint of a client certificate (RFC 8705 section 3.1, `x5t#S256`).
    Certificate([u8; 32]),
}

impl Principal {
    /// The caller of a server that asks nobody who they are.
    pub fn anonymous() -> Self {
        Self {
            key: Arc::from(ANONYMOUS),
            identity: Arc::default(),
            secret: None,
        }
    }

    /// A caller of this server itself, known by `key`, whom no scope bounds.
    pub fn new(key: impl Into<String>) -> Self {
        Self::of(Identity {
            subject: key.into(),
            ..Identity::default()
        })
    }

    /// The caller that `identity` describes. Its key is the subject, after the issuer if there is
    /// one; an empty one, or one longer than 200 bytes, is given by its digest.
    pub fn of(identity: Identity) -> Self {
        const KEY_BYTES_MAX: usize = 200;
        let mut key = identity.subject.clone();
        if let Some(issuer) = &identity.issuer {
            key = format!("{issuer} {key}");
        }
        let is_odd = key.is_empty() || key == ANONYMOUS || key.chars().any(char::is_control);
        if is_odd || key.len() > KEY_BYTES_MAX {
            let digest = Sha256::digest(&key);
            key = digest.iter().fold("sha256:".to_owned(), |key, byte| {
                key + &format!("{byte:02x}")
            });
        }
        Self {
            key: key.into(),
            identity: Arc::new(identity),
            secret: None,
        }
    }

    /// The same caller with the credential itself, which must be asked about again while a stream is
    /// open. It is kept in memory alone.
    pub(crate) fn with_secret(self, secret: &str) -> Self {
        Self {
            secret: Some(secret.into()),
            ..self
        }
    }

    /// The same caller, with nothing of the credential that it used.
    pub(crate) fn bare(&self) -> Self {
        let identity = Identity {
            issuer: self.identity.issuer.clone(),
            subject: self.identity.subject.clone(),
            ..Identity::default()
        };
        Self {
            key: self.key.clone(),
            identity: identity.into(),
            secret: None,
        }
    }

    /// What [`Self::with_secret`] was given.
    pub(crate) fn secret(&self) -> Option<&str> {
        self.secret.as_deref()
    }

    /// What tells this caller from every other one: the same for all credentials of one caller, 1 to
    /// 200 bytes without control characters. Sessions and subscriptions are bound to it.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether nobody asked who it is.
    pub fn is_anonymous(&self) -> bool {
        &*self.key == ANONYMOUS
    }

    /// What the credential says.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How long the credential still holds; `None` when it has no end.
    pub fn left(&self) -> Option<Duration> {
        let end = self.identity.expires_at?;
        let left = end.duration_since(Timestamp::now());
        Some(Duration::try_from(left).unwrap_or_default())
    }

    /// Whether the credential has ended.
    pub fn is_expired(&self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }
}

const ANONYMOUS: &str = "anonymous";

impl PartialEq for Principal {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Principal {}

impl Hash for Principal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Principal").field(&self.key).finish()
    }
}

/// A set of OAuth scopes (RFC 6749 section 3.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(BTreeSet<Box<str>>);

impl Scopes {
    /// The scopes in `text`, which are apart by spaces. Words that are no scopes are left out: they
    /// can allow nothing.
    pub fn parse(text: &str) -> Self {
        text.split(' ').collect()
    }

    /// Whether `scope` is among them.
    pub fn contains(&self, scope: &str) -> bool {
        self.0.contains(scope)
    }

    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_scope(word: &str) -> bool {
    let fits = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    !word.is_empty() && word.bytes().all(fits)
}

impl<'a> FromIterator<&'a str> for Scopes {
    fn from_iter<I: IntoIterator<Item = &'a str>>(scopes: I) -> Self {
        let scopes = scopes.into_iter().filter(|word| is_scope(word));
        Self(scopes.map(Into::into).collect())
    }
}

impl fmt::Display for Scopes {
    /// As OAuth has them: apart by spaces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, scope) in self.iter().enumerate() {
            let space = if at > 0 { " " } else { "" };
            write!(f, "{space}{scope}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_for_every_credential_and_differs_between_issuers() {
        let of = |issuer: Option<&str>, credential: &str| {
            Principal::of(Identity {
                issuer: issuer.map(Into::into),
                subject: "alice".into(),
                credential: Some(credential.into()),
                ..Identity::default()
            })
        };
        assert_eq!(of(Some("https://a"), "1"), of(Some("https://a"), "2"));
        assert_ne!(of(Some("https://a"), "1"), of(Some("https://b"), "1"));
        assert_ne!(of(None, "1"), of(Some("https://a"), "1"));
    }

    #[test]
    fn no_subject_can_pass_for_anonymous_or_break_a_log_line() {
        assert!(!Principal::new("anonymous").is_anonymous());
        let long = Principal::new("x".repeat(1000));
        assert!(long.key().len() <= 200);
        assert_ne!(long, Principal::new("x".repeat(1001)));
        assert!(!Principal::new("a\nb").key().contains('\n'));
        assert!(!Principal::new("").key().is_empty());
    }

    #[test]
    fn scopes_are_a_set_of_words_that_fit_a_header() {
        let scopes = Scopes::parse("notes:write  notes:read notes:read a\"b \u{e9}");
        assert_eq!(scopes.to_string(), "notes:read notes:write");
        assert!(scopes.contains("notes:read") && !scopes.contains("notes"));
    }
}
