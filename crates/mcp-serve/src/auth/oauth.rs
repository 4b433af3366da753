//! OAuth 2.1: this server as a protected resource whose callers bring access tokens of authorization
//! servers (RFC 6750, RFC 9068, RFC 9728; MCP authorization).

mod address;
mod algorithm;
mod claims;
mod discovery;
mod fetch;
mod introspection;
mod keys;
mod questions;
mod source;
mod token;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::request::Parts;
use serde_json::{Value, json};
use tokio::time::Instant;

pub use self::{
    address::{AddressError, IssuerUrl, ResourceUrl},
    algorithm::{Algorithm, UnknownAlgorithm},
    fetch::{Authorities, NoAuthority},
    introspection::{EndpointUrl, Introspection},
    source::KeyTimes,
};
use self::{
    claims::Reason,
    fetch::Fetcher,
    introspection::{Asker, Introspector},
    keys::Found,
    source::Source,
    token::{Rules, is_jwt},
};
use super::{AuthError, Authenticator, Confirmation, Identity, Principal, Scopes, Suspect, bearer};
use crate::{client::Client, health::Check, limit::Caller};

/// The time since some moment that stays the same.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Whose tokens count here, and which of them.
#[derive(Clone)]
pub struct Settings {
    /// The authorization servers; at least one.
    pub issuers: Vec<IssuerUrl>,
    /// What is protected, the canonical URI first; at least one.
    pub resources: Vec<ResourceUrl>,
    /// What `aud` of a token may name; nothing stands for the resources.
    pub audiences: Vec<String>,
    /// How tokens may be signed. Default: with every [`Algorithm`].
    pub algorithms: Vec<Algorithm>,
    /// Whether a token must say that it is an access token (`typ` is `at+jwt`, RFC 9068). Many
    /// issuers write `JWT`. Default: no.
    pub typed: bool,
    /// The scopes that a client should ask for to begin with.
    pub basic_scopes: Scopes,
    /// How opaque tokens are looked up. Default: they are refused.
    pub introspection: Option<Introspection>,
    /// When the keys of the issuers are read.
    pub keys: KeyTimes,
    /// How far the clocks of issuers may be off; whole seconds. Default 30 s.
    pub leeway: Duration,
    /// The time an issuer has for an answer. Default 5 s.
    pub answer_deadline: Duration,
    /// Who may vouch for issuers beside those whom this machine trusts. Default: nobody.
    pub authorities: Authorities,
    /// Tells when it is time to ask issuers again. Default: the time since now.
    pub clock: Clock,
}

impl Settings {
    /// Tokens of `issuers` for `resources`, the canonical one first.
    pub fn new(issuers: Vec<IssuerUrl>, resources: Vec<ResourceUrl>) -> Self {
        let start = Instant::now();
        Self {
            issuers,
            resources,
            audiences: Vec::new(),
            algorithms: Algorithm::all(),
            typed: false,
            basic_scopes: Scopes::default(),
            introspection: None,
            keys: KeyTimes::default(),
            leeway: Duration::from_secs(30),
            answer_deadline: Duration::from_secs(5),
            authorities: Authorities::default(),
            clock: Arc::new(move || start.elapsed()),
        }
    }
}

/// Why no server can run with some settings.
#[derive(Debug, thiserror::Error)]
pub enum OAuthError {
    /// Nobody can issue a token.
    #[error("there must be an issuer")]
    NoIssuer,
    /// There is nothing to protect.
    #[error("there must be a resource")]
    NoResource,
    /// No signature would do.
    #[error("there must be an algorithm")]
    NoAlgorithm,
    /// Tokens of an unknown issuer would be looked up.
    #[error("opaque tokens must be of one of the issuers")]
    UnknownIssuer,
    /// The id or the password of the client has no place in a header.
    #[error("the client cannot log in at the issuer")]
    Client,
    /// The TLS of this machine does not work.
    #[error("no client for HTTPS")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Lets in who brings an access token of a known authorization server for this resource.
pub struct OAuth {
    sources: Vec<Source>,
    introspector: Option<Introspector>,
    rules: Rules,
    resources: Vec<ResourceUrl>,
    basic_scopes: Scopes,
}

/// Why a token does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Refused(Reason),
    Unavailable,
}

impl OAuth {
    /// An authenticator with these settings. No issuer is asked yet.
    pub fn new(settings: Settings) -> Result<Self, OAuthError> {
        if settings.issuers.is_empty() {
            return Err(OAuthError::NoIssuer);
        }
        if settings.resources.is_empty() {
            return Err(OAuthError::NoResource);
        }
        if settings.algorithms.is_empty() {
            return Err(OAuthError::NoAlgorithm);
        }
        let authorities = settings.authorities.into_certificates();
        let fetcher = Fetcher::new(settings.answer_deadline, authorities)
            .map_err(|error| OAuthError::Tls(Box::new(error)))?;
        let introspector = match settings.introspection {
            Some(asked) if !settings.issuers.contains(&asked.issuer) => {
                return Err(OAuthError::UnknownIssuer);
            }
            Some(asked) => {
                let made = Introspector::new(asked, fetcher.clone(), settings.clock.clone());
                Some(made.ok_or(OAuthError::Client)?)
            }
            None => None,
        };
        let is_asked = |issuer: &IssuerUrl| {
            let introspector = introspector.as_ref();
            introspector.is_some_and(|introspector| introspector.issuer() == issuer)
        };
        let source = |issuer: IssuerUrl| {
            let keyless = is_asked(&issuer);
            let algorithms = settings.algorithms.clone();
            let (times, clock) = (settings.keys.clone(), settings.clock.clone());
            Source::new(issuer, fetcher.clone(), algorithms, times, clock, keyless)
        };
        let sources = settings.issuers.into_iter().map(source).collect();
        let mut audiences = settings.audiences;
        if audiences.is_empty() {
            let names = settings.resources.iter().map(ToString::to_string);
            audiences = names.collect();
        }
        Ok(Self {
            sources,
            introspector,
            rules: Rules {
                audiences,
                algorithms: settings.algorithms,
                typed: settings.typed,
                leeway: settings.leeway,
            },
            resources: settings.resources,
            basic_scopes: settings.basic_scopes,
        })
    }

    /// Begins to read the keys of all issuers, so that no caller waits for them. It does not wait
    /// itself: an issuer that cannot be reached is asked again when a token needs it.
    pub fn warm_up(&self) {
        for source in &self.sources {
            source.warm_up();
        }
    }

    async fn identify(&self, token: &str, parts: &Parts) -> Result<Principal, Failure> {
        let client = parts.extensions.get::<Client>();
        let certificate = client.and_then(|client| client.certificate);
        if !is_jwt(token) {
            let asker = Asker {
                network: client.map(|client| Caller::at(client.address)),
                is_suspect: parts.extensions.get::<Suspect>().is_some(),
            };
            let identity = self.look_up(token, asker, certificate).await?;
            return Ok(Principal::of(identity).with_secret(token));
        }
        let head = self.rules.read_head(token).map_err(Failure::Refused)?;
        let source = self.source(&head.issuer)?;
        let mut known = source.known().await.ok_or(Failure::Unavailable)?;
        let key_id = head.key_id.as_deref();
        if matches!(known.keys.find(key_id, head.algorithm), Found::Unknown) {
            known = source.renewed().await.ok_or(Failure::Unavailable)?;
        }
        let claims = match known.keys.find(key_id, head.algorithm) {
            Found::Key(key) => self.rules.check(token, &head, key),
            Found::Unfit => Err("algorithm"),
            // It may be a new key of an issuer that cannot be asked just now.
            Found::Unknown if source.has_failed() => return Err(Failure::Unavailable),
            Found::Unknown => Err("key"),
        };
        let claims = claims.map_err(Failure::Refused)?;
        let identity = claims.identity(source.issuer().as_str(), certificate);
        identity.map(Principal::of).map_err(Failure::Refused)
    }

    /// Whose an opaque token is.
    async fn look_up(
        &self,
        token: &str,
        asker: Asker,
        certificate: Option<[u8; 32]>,
    ) -> Result<Identity, Failure> {
        let introspector = self.introspector.as_ref();
        let introspector = introspector.ok_or(Failure::Refused("malformed"))?;
        let issuer = introspector.issuer().as_str();
        let source = self.source(issuer)?;
        let claims = introspector.claims(token, asker, source, &self.rules);
        let identity = claims.await?.identity(issuer, certificate);
        identity.map_err(Failure::Refused)
    }

    fn source(&self, issuer: &str) -> Result<&Source, Failure> {
        let mut sources = self.sources.iter();
        let found = sources.find(|source| source.issuer().as_str() == issuer);
        found.ok_or(Failure::Refused("issuer"))
    }

    /// The challenge for a request (RFC 6750 section 3, RFC 9728 section 5.1). It points to the
    /// metadata of what was called: a client takes only those that name the URL that it knows.
    fn challenge(&self, parts: &Parts, error: Option<&str>, scopes: &Scopes) -> String {
        let error = error.map(|error| format!("error=\"{error}\", "));
        let scope = (!scopes.is_empty()).then(|| format!("scope=\"{scopes}\", "));
        let (error, scope) = (error.unwrap_or_default(), scope.unwrap_or_default());
        let path = parts.uri.path().trim_end_matches('/');
        let called = self.resource(path).or(self.resources.first());
        let url = called.map(ResourceUrl::metadata_url).unwrap_or_default();
        format!("Bearer {error}{scope}resource_metadata=\"{url}\"")
    }

    fn resource(&self, path: &str) -> Option<&ResourceUrl> {
        self.resources.iter().find(|it| it.path() == path)
    }
}

/// An issuer that goes away later takes no server out: known keys count for a while, and every other
/// server is as badly off. One that could never check a token must not replace one that can.
#[async_trait]
impl Check for OAuth {
    fn name(&self) -> &'static str {
        "issuer"
    }

    fn is_vital(&self) -> bool {
        let introspector = self.introspector.as_ref();
        let is_usable = introspector.is_some_and(Introspector::has_endpoint);
        !is_usable && !self.sources.iter().any(Source::was_read)
    }

    async fn check(&self) -> Result<(), String> {
        let trouble = |source: &Source| {
            let trouble = source.trouble()?;
            Some(format!("{}: {trouble}", source.issuer()))
        };
        let troubles: Vec<_> = self.sources.iter().filter_map(trouble).collect();
        if troubles.is_empty() {
            Ok(())
        } else {
            Err(troubles.join("; "))
        }
    }
}

#[async_trait]
impl Authenticator for OAuth {
    async fn authenticate(&self, parts: &Parts) -> Result<Principal, AuthError> {
        let challenge = |error| self.challenge(parts, error, &self.basic_scopes);
        let refused = |reason, error| AuthError::Unauthenticated {
            reason,
            challenge: challenge(error),
        };
        let Some(token) = bearer(parts, |error| challenge(Some(error)))? else {
            return Err(refused("missing", None));
        };
        match self.identify(token, parts).await {
            Ok(principal) => Ok(principal),
            Err(Failure::Refused(reason)) => Err(refused(reason, Some("invalid_token"))),
            Err(Failure::Unavailable) => Err(AuthError::Unavailable),
        }
    }

    /// Asks the issuer of an opaque token again when its last answer has lapsed. What the token allows
    /// must still be the same; its end may move. While the issuer has no answer, a token that has not
    /// expired holds: an outage ends no stream.
    async fn is_current(&self, principal: &Principal) -> bool {
        if principal.is_expired() {
            return false;
        }
        let Some(token) = principal.secret() else {
            return true;
        };
        let identity = principal.identity();
        let certificate = identity.confirmation.as_ref();
        let certificate = certificate.map(|Confirmation::Certificate(thumbprint)| *thumbprint);
        match self.look_up(token, Asker::default(), certificate).await {
            Ok(now) => {
                let expires_at = identity.expires_at;
                *identity == Identity { expires_at, ..now }
            }
            Err(Failure::Refused(_)) => false,
            Err(Failure::Unavailable) => true,
        }
    }

    fn insufficient_scope(&self, parts: &Parts, scopes: &Scopes) -> String {
        self.challenge(parts, Some("insufficient_scope"), scopes)
    }

    fn metadata(&self, path: &str) -> Option<Value> {
        let resource = if path.is_empty() {
            self.resources.first()
        } else {
            self.resource(path)
        }?;
        let issuers = self.sources.iter().map(|source| source.issuer().as_str());
        let mut metadata = json!({
            "resource": resource.to_string(),
            "authorization_servers": issuers.collect::<Vec<_>>(),
            "bearer_methods_supported": ["header"],
        });
        if !self.basic_scopes.is_empty() {
            metadata["scopes_supported"] = self.basic_scopes.iter().collect();
        }
        Some(metadata)
    }
}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers = self.sources.iter().map(|source| source.issuer().as_str());
        f.debug_struct("OAuth")
            .field("issuers", &issuers.collect::<Vec<_>>())
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
