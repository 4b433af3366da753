//! Tokens that say nothing themselves: their issuer is asked what they are good for (RFC 7662).

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, header::AUTHORIZATION};
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::{sync::Semaphore, time::timeout};
use url::{Url, form_urlencoded};

use super::{
    Clock, Failure,
    address::{AddressError, IssuerUrl},
    claims::{Claims, Reason},
    fetch::{self, Fetcher, Trouble},
    questions::{Digest, Full, Questions},
    source::Source,
    token::Rules,
};
use crate::limit::Caller;

/// How opaque tokens are looked up.
#[derive(Clone)]
pub struct Introspection {
    /// Whose tokens they are; one of the issuers.
    pub issuer: IssuerUrl,
    /// Where to ask; otherwise the issuer's metadata say it.
    pub endpoint: Option<EndpointUrl>,
    /// The client that this server is to the issuer.
    pub client_id: String,
    /// Its password (`client_secret_basic`, RFC 6749 section 2.3.1).
    pub client_secret: String,
    /// An answer counts for so long, a token's end permitting. It is also the time within which a
    /// revocation takes effect. Default 60 s.
    pub cache: Duration,
    /// A refusal counts for so long. Default 10 s.
    pub cache_refused: Duration,
    /// How many answers of each kind are kept. Default 10 000.
    pub cached_max: usize,
    /// How many questions may be open. Default 32.
    pub in_flight_max: usize,
    /// How many different tokens one network may have questions open about, those that wait among
    /// them. Default 8.
    pub in_flight_per_network_max: usize,
}

impl Introspection {
    /// Questions to `issuer` as the client with this id and password.
    pub fn new(issuer: IssuerUrl, client_id: String, client_secret: String) -> Self {
        Self {
            issuer,
            endpoint: None,
            client_id,
            client_secret,
            cache: Duration::from_mins(1),
            cache_refused: Duration::from_secs(10),
            cached_max: 10_000,
            in_flight_max: 32,
            in_flight_per_network_max: 8,
        }
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspection")
            .field("issuer", &self.issuer)
            .field("endpoint", &self.endpoint)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// The URL of an introspection endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointUrl(Url);

impl EndpointUrl {
    /// The endpoint at this URL: `https`, or `http` on this machine.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let issuer = IssuerUrl::parse(text)?;
        Url::parse(issuer.as_str())
            .map(Self)
            .map_err(|_| AddressError::Malformed)
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// An answer is a few hundred bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

#[derive(Deserialize)]
struct Answer {
    active: bool,
    #[serde(flatten)]
    claims: Claims,
}

/// What was said of a token.
type Said = Result<Arc<Claims>, Reason>;

/// For whom an issuer is asked.
#[derive(Default)]
pub(super) struct Asker {
    /// Where the token comes from; `None` for a stream that is open already.
    pub(super) network: Option<Caller>,
    /// That network sent so many tokens that were refused that nobody is asked about new ones.
    pub(super) is_suspect: bool,
}

pub(super) struct Introspector {
    settings: Introspection,
    authorization: HeaderValue,
    fetcher: Fetcher,
    clock: Clock,
    slots: Semaphore,
    questions: Arc<Questions<Result<Said, Failure>>>,
    failed: AtomicBool,
    accepted: Mutex<Remembered>,
    refused: Mutex<Remembered>,
}

/// Answers by the digest of the token, each with the time until which it counts.
#[derive(Default)]
struct Remembered(HashMap<Digest, (Duration, Said)>);

impl Remembered {
    fn get(&self, digest: &Digest, now: Duration) -> Option<Said> {
        let (until, said) = self.0.get(digest)?;
        (now < *until).then(|| said.clone())
    }

    fn put(&mut self, digest: Digest, until: Duration, said: Said, now: Duration, max: usize) {
        if self.0.len() >= max {
            self.0.retain(|_, (until, _)| now < *until);
        }
        // Still full: whoever sends so many different tokens loses the benefit, not the memory.
        if self.0.len() >= max {
            self.0.clear();
        }
        self.0.insert(digest, (until, said));
    }
}

impl Introspector {
    /// `None` when the client's id and password cannot be sent in a header.
    pub(super) fn new(settings: Introspection, fetcher: Fetcher, clock: Clock) -> Option<Self> {
        let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let id: String = encode(&settings.client_id);
        let secret: String = encode(&settings.client_secret);
        let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
        let mut authorization = HeaderValue::try_from(basic).ok()?;
        authorization.set_sensitive(true);
        Some(Self {
            slots: Semaphore::new(settings.in_flight_max),
            questions: Arc::new(Questions::new(settings.in_flight_per_network_max)),
            failed: AtomicBool::new(false),
            settings,
            authorization,
            fetcher,
            clock,
            accepted: Mutex::default(),
            refused: Mutex::default(),
        })
    }

    pub(super) fn issuer(&self) -> &IssuerUrl {
        &self.settings.issuer
    }

    /// Whether tokens can be looked up without the metadata of the issuer.
    pub(super) fn has_endpoint(&self) -> bool {
        self.settings.endpoint.is_some()
    }

    /// What `token` is good for, by an answer of its issuer that is not too old, for `asker`.
    pub(super) async fn claims(
        &self,
        token: &str,
        asker: Asker,
        source: &Source,
        rules: &Rules,
    ) -> Result<Arc<Claims>, Failure> {
        let digest = Sha256::digest(token).into();
        if let Some(said) = self.remembered(&digest) {
            return said.map_err(Failure::Refused);
        }
        // What was good a while ago is not made up.
        if asker.is_suspect && !self.was_accepted(&digest) {
            return Err(Failure::Refused("suspect"));
        }
        let question = self.questions.join(digest, asker.network);
        let question = question.map_err(|Full| Failure::Unavailable)?;
        let asking = question.answer.get_or_init(|| async {
            let slot = timeout(self.fetcher.deadline(), self.slots.acquire()).await;
            let Ok(Ok(_slot)) = slot else {
                return Err(Failure::Unavailable);
            };
            // Others may have asked while this one waited.
            if let Some(said) = self.remembered(&digest) {
                return Ok(said);
            }
            let said = self.ask(token, source, rules).await?;
            self.remember(digest, &said);
            Ok(said)
        });
        asking.await.clone()?.map_err(Failure::Refused)
    }

    fn was_accepted(&self, digest: &Digest) -> bool {
        let them = self.accepted.lock();
        let them = them.unwrap_or_else(PoisonError::into_inner);
        them.0.contains_key(digest)
    }

    fn remembered(&self, digest: &Digest) -> Option<Said> {
        let now = (self.clock)();
        let known = |them: &Mutex<Remembered>| {
            let them = them.lock().unwrap_or_else(PoisonError::into_inner);
            them.get(digest, now)
        };
        known(&self.accepted).or_else(|| known(&self.refused))
    }

    fn remember(&self, digest: Digest, said: &Said) {
        let (them, time) = match said {
            Ok(claims) => (&self.accepted, self.settings.cache.min(remaining(claims))),
            Err(_) => (&self.refused, self.settings.cache_refused),
        };
        let now = (self.clock)();
        let mut them = them.lock().unwrap_or_else(PoisonError::into_inner);
        let max = self.settings.cached_max;
        them.put(digest, now + time, said.clone(), now, max);
    }

    async fn ask(&self, token: &str, source: &Source, rules: &Rules) -> Result<Said, Failure> {
        let mut endpoint = self.settings.endpoint.as_ref().map(|it| it.0.clone());
        if endpoint.is_none() {
            let known = source.known().await.ok_or(Failure::Unavailable)?;
            endpoint.clone_from(&known.introspection);
        }
        let issuer = self.settings.issuer.as_str();
        let Some(endpoint) = endpoint else {
            return Err(self.failure(&Trouble::NoAddress("introspection_endpoint")));
        };
        let request = self
            .fetcher
            .post(&endpoint)
            .header(AUTHORIZATION, self.authorization.clone())
            .header(
                http::header::CONTENT_TYPE,
                "application/x-www-form-urlencoded",
            )
            .body(
                form_urlencoded::Serializer::new(String::new())
                    .append_pair("token", token)
                    .append_pair("token_type_hint", "access_token")
                    .finish(),
            );
        match fetch::read::<Answer>(request, ANSWER_BYTES_MAX).await {
            Ok(fetched) => {
                if self.failed.swap(false, Ordering::Relaxed) {
                    tracing::info!(issuer, "tokens can be looked up again");
                }
                Ok(check(fetched.document, issuer, rules))
            }
            Err(error) => Err(self.failure(&error)),
        }
    }

    /// Said once until it works again: every caller can make it happen, as often as it likes.
    fn failure(&self, error: &Trouble) -> Failure {
        let issuer = self.settings.issuer.as_str();
        if self.failed.swap(true, Ordering::Relaxed) {
            tracing::debug!(issuer, %error, "a token still cannot be looked up");
        } else {
            tracing::warn!(issuer, %error, "a token cannot be looked up");
        }
        Failure::Unavailable
    }
}

/// The same rules as for a JWT, by what the issuer says instead of by a signature. The answer must
/// name the audience and the end of the token, though RFC 7662 leaves them to the issuer: a token
/// that was made for another server must not be taken here.
fn check(answer: Answer, issuer: &str, rules: &Rules) -> Said {
    let Answer { active, claims } = answer;
    if !active {
        return Err("inactive");
    }
    if claims.iss.as_deref().is_some_and(|named| named != issuer) {
        return Err("issuer");
    }
    let ours = |audience: &str| rules.audiences.iter().any(|our| our == audience);
    if !claims.aud.as_ref().is_some_and(|aud| aud.iter().any(ours)) {
        return Err("audience");
    }
    claims.check_kind()?;
    let now = Timestamp::now();
    claims.check_issued(now, rules.leeway.as_secs_f64())?;
    if claims.expires_at()? <= now {
        return Err("expired");
    }
    Ok(Arc::new(claims))
}

/// The time until a token ends.
fn remaining(claims: &Claims) -> Duration {
    let end = claims.expires_at().unwrap_or(Timestamp::UNIX_EPOCH);
    let left = end.duration_since(Timestamp::now());
    Duration::try_from(left).unwrap_or(Duration::ZERO)
}
