//! What a caller may do, and how much of it: authentication, scopes, budgets and calls in flight, in
//! one place for every route.

mod flight;
mod revoked;
mod suspects;

use std::{
    borrow::Cow,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use serde_json::Value;

pub(crate) use self::{flight::Permit, revoked::Revocations};
use self::{
    flight::{Flight, Full},
    revoked::Revoked,
    suspects::Suspects,
};
use crate::{
    auth::{AuthError, Authenticator, Principal, Scopes, Suspect},
    client::Client,
    config::Config,
    lifecycle::Lifecycle,
    limit::{Budgets, Caller, Class, Decision, Limiter},
    metrics::Metrics,
    policy::{Access, Demand, Operation, Policy},
    signals::{Signal, SignalReceiver},
};

/// The checks between a request and the work it asks for.
pub(crate) struct Gate {
    authenticator: Arc<dyn Authenticator>,
    policy: Arc<dyn Policy>,
    limiter: Arc<dyn Limiter>,
    budgets: Budgets,
    /// Calls that run.
    flight: Arc<Flight>,
    /// Bodies that are being read. Apart from the calls: the message that ends one must get in.
    reading: Arc<Flight>,
    suspects: Suspects,
    revoked: Revoked,
    /// Whether the limiter did not answer when it was last asked.
    limiter_is_silent: AtomicBool,
    anonymous_from_anywhere: bool,
    allow_plain_http: bool,
    /// The longest wait for the authenticator.
    deadline: Duration,
    metrics: Metrics,
}

/// A request that may go on.
pub(crate) struct Pass {
    decision: Option<Decision>,
    permit: Option<Permit>,
}

impl Pass {
    /// Lets the request's head hold its place among the calls in flight: it goes with the work,
    /// wherever that is done.
    pub(crate) fn hold(&mut self, parts: &mut Parts) {
        if let Some(permit) = self.permit.take() {
            parts.extensions.insert(permit);
        }
    }

    /// Tells the caller what is left of its budget.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        if let Some(decision) = &self.decision {
            decision.write(headers);
        }
    }
}

/// Why a request stops at the gate.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Others on the network could read the credential.
    OpenCredential,
    /// Nobody asks who it is, and it comes from another machine.
    Stranger,
    /// Nobody knows who it is.
    Auth(AuthError),
    /// The credential does not allow it; the challenge says what would.
    Scope {
        /// The value of `WWW-Authenticate`.
        challenge: String,
    },
    /// The budget is used up.
    Rate(Decision),
    /// As many calls of this caller run as may.
    Busy,
    /// A batch of more than a budget ever holds, or than may ever run.
    Batch {
        /// How many it may be.
        most: usize,
    },
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Auth(AuthError::Unauthenticated { .. }) => StatusCode::UNAUTHORIZED,
            Self::Auth(AuthError::Malformed { .. }) => StatusCode::BAD_REQUEST,
            Self::Auth(AuthError::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
            Self::OpenCredential | Self::Stranger | Self::Scope { .. } => StatusCode::FORBIDDEN,
            Self::Batch { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Rate(_) | Self::Busy => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// What the caller is told.
    pub(crate) fn message(&self) -> Cow<'static, str> {
        match self {
            Self::Auth(AuthError::Unauthenticated { .. }) => "authentication required".into(),
            Self::Auth(AuthError::Malformed { message, .. }) => (*message).into(),
            Self::Auth(AuthError::Unavailable) => {
                "the credential cannot be checked at the moment".into()
            }
            Self::OpenCredential => {
                "credentials are taken over https alone; use https, and replace this one, which \
                 others may have read"
                    .into()
            }
            Self::Stranger => {
                "this server asks nobody who they are, and serves its own machine alone".into()
            }
            Self::Scope { .. } => "the credential does not allow this".into(),
            Self::Rate(decision) => {
                let kind = decision.class.as_str().replace('_', " ");
                format!("Rate limit exceeded ({kind})").into()
            }
            Self::Busy => "too many requests of yours are running".into(),
            Self::Batch { most } => {
                format!("the batch is too large; {most} such messages are allowed").into()
            }
        }
    }

    /// Why, in a word for logs and metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Auth(
                AuthError::Unauthenticated { reason, .. } | AuthError::Malformed { reason, .. },
            ) => reason,
            Self::Auth(AuthError::Unavailable) => "auth_unavailable",
            Self::OpenCredential => "plain_http",
            Self::Stranger => "stranger",
            Self::Scope { .. } => "scope",
            Self::Rate(_) => "rate",
            Self::Busy => "busy",
            Self::Batch { .. } => "batch",
        }
    }

    /// The headers that say what the caller can do about it.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        match self {
            Self::Auth(
                AuthError::Unauthenticated { challenge, .. }
                | AuthError::Malformed { challenge, .. },
            )
            | Self::Scope { challenge } => {
                // A challenge that is no header value is a defect of the authenticator; the scheme
                // alone is still an answer that clients understand.
                let value = HeaderValue::try_from(challenge);
                let value = value.unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
                headers.insert(header::WWW_AUTHENTICATE, value);
            }
            Self::OpenCredential | Self::Stranger | Self::Batch { .. } => {}
            Self::Rate(decision) => decision.write(headers),
            Self::Auth(AuthError::Unavailable) | Self::Busy => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
        }
    }
}

impl Gate {
    /// The gate that `config` describes.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            authenticator: config.authenticator.clone(),
            policy: config.policy.clone(),
            limiter: config.limiter.clone(),
            budgets: config.budgets.clone(),
            flight: Arc::new(Flight::new(config.limits.calls_per_caller_max)),
            reading: Arc::new(Flight::new(config.limits.calls_per_caller_max)),
            suspects: Suspects::default(),
            revoked: Revoked::default(),
            limiter_is_silent: AtomicBool::new(false),
            anonymous_from_anywhere: config.anonymous_from_anywhere,
            allow_plain_http: config.allow_plain_http,
            deadline: config.limits.request_deadline,
            metrics: config.metrics.clone(),
        }
    }

    /// Who makes the request with these `parts`.
    pub(crate) async fn authenticate(&self, parts: &mut Parts) -> Result<Principal, Refusal> {
        let answer = self.ask(parts).await;
        if let Err(refusal) = &answer {
            self.metrics.auth_failed(refusal.reason());
        }
        answer
    }

    /// The same for somebody who needs no credential, and is told less without one: to come without
    /// is no failure.
    pub(crate) async fn recognise(&self, parts: &mut Parts) -> Result<Principal, Refusal> {
        if parts.headers.contains_key(header::AUTHORIZATION) {
            self.authenticate(parts).await
        } else {
            self.ask(parts).await
        }
    }

    /// Whether others on the network cannot have read what these `parts` say.
    pub(crate) fn check_travel(&self, parts: &Parts) -> Result<(), Refusal> {
        let client = parts.extensions.get::<Client>();
        if self.allow_plain_http || client.is_some_and(Client::is_private) {
            Ok(())
        } else {
            Err(Refusal::OpenCredential)
        }
    }

    async fn ask(&self, parts: &mut Parts) -> Result<Principal, Refusal> {
        let is_attempt = parts.headers.contains_key(header::AUTHORIZATION);
        let client = parts.extensions.get::<Client>();
        let is_local = client.is_some_and(Client::is_local);
        if is_attempt {
            self.check_travel(parts)?;
        }
        let network = Caller::at(address(parts));
        if is_attempt && self.suspects.has(&network) {
            parts.extensions.insert(Suspect);
        }
        let asking = self.authenticator.authenticate(parts);
        let answer = tokio::time::timeout(self.deadline, asking).await;
        let error = match answer.unwrap_or(Err(AuthError::Unavailable)) {
            Ok(principal) if principal.is_anonymous() && !is_local => {
                return if self.anonymous_from_anywhere {
                    Ok(principal)
                } else {
                    Err(Refusal::Stranger)
                };
            }
            Ok(principal) => return Ok(principal),
            Err(error) => error,
        };
        // Coming without a credential is how clients find out that they need one.
        if is_attempt
            && error != AuthError::Unavailable
            && let Some(decision) = self.take(&network, Class::AuthFailure, 1).await
            && !decision.is_allowed()
        {
            self.suspects.add(&network, decision.after);
            return Err(Refusal::Rate(decision));
        }
        Err(Refusal::Auth(error))
    }

    /// The metadata of the protected resource at `path` (RFC 9728).
    pub(crate) fn metadata(&self, path: &str) -> Option<Value> {
        self.authenticator.metadata(path)
    }

    /// What `operation` takes.
    pub(crate) fn demand(&self, operation: Operation<'_>) -> Demand {
        self.policy.demand(operation)
    }

    /// Whether `principal` may do what `demands` are for, now: its scopes allow all of it, its budgets
    /// have enough left for all of it, and there is room for `calls` more calls in flight.
    pub(crate) async fn admit(
        &self,
        parts: &Parts,
        principal: &Principal,
        demands: &[Demand],
        calls: usize,
    ) -> Result<Pass, Refusal> {
        let scopes = self.check_scopes(parts, principal, demands);
        scopes.inspect_err(|refusal| self.metrics.auth_failed(refusal.reason()))?;
        let caller = Caller::of(principal, address(parts));
        let most = self.flight.max();
        let permit = match calls {
            // What belongs to a running call, or ends it, must get through.
            0 => None,
            calls if calls > most => return Err(Refusal::Batch { most }),
            calls => Some(
                self.flight
                    .enter(&caller, calls)
                    .map_err(|Full| Refusal::Busy)?,
            ),
        };
        let decision = self.charge(&caller, demands).await?;
        Ok(Pass { decision, permit })
    }

    /// Takes what `demands` cost out of the caller's budgets: all of it, or nothing as far as can be
    /// told before.
    async fn charge(
        &self,
        caller: &Caller,
        demands: &[Demand],
    ) -> Result<Option<Decision>, Refusal> {
        let of = |class| demands.iter().filter(|it| it.class == Some(class)).count();
        let costs = Class::ALL.map(|class| (class, of(class)));
        let costs = || costs.iter().filter(|(_, count)| *count > 0);
        for (class, count) in costs() {
            let Some(budget) = self.budgets.of(caller, *class) else {
                continue;
            };
            let most = usize::try_from(budget.burst()).unwrap_or(usize::MAX);
            if *count > most {
                return Err(Refusal::Batch { most });
            }
            if costs().nth(1).is_none() {
                continue;
            }
            let Some(mut left) = self.take(caller, *class, 0).await else {
                continue;
            };
            // A limiter that gives its share alone lets what the whole allows pass out of a full one.
            let share = usize::try_from(left.budget.burst()).unwrap_or(usize::MAX);
            let needed = (*count).min(share);
            if left.remaining.is_some_and(|left| (left as usize) < needed) {
                left.remaining = None;
                return Err(Refusal::Rate(left));
            }
        }
        let mut decision = None;
        for (class, count) in costs() {
            let count = u32::try_from(*count).unwrap_or(u32::MAX);
            let taken = self.take(caller, *class, count).await;
            if let Some(taken) = taken.filter(|taken| !taken.is_allowed()) {
                return Err(Refusal::Rate(taken));
            }
            decision = taken.or(decision);
        }
        Ok(decision)
    }

    /// A place to read a body in. A caller can fill as many with bodies that never end as it may have
    /// calls in flight, and no more.
    pub(crate) fn read(&self, parts: &Parts, principal: &Principal) -> Result<Permit, Refusal> {
        let caller = Caller::of(principal, address(parts));
        self.reading.enter(&caller, 1).map_err(|Full| Refusal::Busy)
    }

    fn check_scopes(
        &self,
        parts: &Parts,
        principal: &Principal,
        demands: &[Demand],
    ) -> Result<(), Refusal> {
        // Scopes bound those who have some: without authentication nobody has.
        let Some(granted) = &principal.identity().scopes else {
            return Ok(());
        };
        let needed = demands.iter().flat_map(|demand| match demand.access {
            Access::Scopes(scopes) => scopes,
            Access::Public | Access::Known => &[],
        });
        let has = |needed: &str| granted.iter().any(|it| self.policy.implies(it, needed));
        if needed.clone().all(|scope| has(scope)) {
            return Ok(());
        }
        // Clients of some revisions ask for exactly what the challenge names.
        let all: Scopes = granted.iter().chain(needed.copied()).collect();
        Err(Refusal::Scope {
            challenge: self.authenticator.insufficient_scope(parts, &all),
        })
    }

    /// Whether the credential behind `principal` still holds.
    pub(crate) async fn is_current(&self, principal: &Principal) -> bool {
        if principal.is_expired() {
            return false;
        }
        let asking = self.authenticator.is_current(principal);
        // Who cannot be asked has not said no; the next question comes soon.
        tokio::time::timeout(self.deadline, asking)
            .await
            .unwrap_or(true)
    }

    /// Hears of credentials that are revoked until the drain begins: each is looked at again, and so
    /// are its streams.
    pub(crate) fn listen(
        self: &Arc<Self>,
        mut signals: Box<dyn SignalReceiver>,
        lifecycle: &Lifecycle,
    ) {
        let (gate, soft) = (self.clone(), lifecycle.soft.clone());
        lifecycle.tasks.spawn(async move {
            let hearing = async {
                while let Some(signal) = signals.next().await {
                    if let Signal::CredentialRevoked { credential } = signal {
                        gate.authenticator.forget(&credential);
                        gate.revoked.tell(&credential);
                    }
                }
            };
            tokio::select! {
                () = hearing => {}
                () = soft.cancelled() => {}
            }
        });
    }

    /// Follows what is revoked from now on, as far as it concerns `principal`.
    pub(crate) fn revocations(&self, principal: &Principal) -> Revocations {
        self.revoked.of(principal)
    }

    async fn take(&self, caller: &Caller, class: Class, count: u32) -> Option<Decision> {
        let budget = self.budgets.of(caller, class)?;
        let asking = self.limiter.take(caller, class, budget, count);
        let answer = tokio::time::timeout(LIMITER_DEADLINE, asking).await.ok();
        // A limiter that is away must not keep everybody out; whoever runs the server must know.
        let was_silent = self
            .limiter_is_silent
            .swap(answer.is_none(), Ordering::Relaxed);
        match (was_silent, answer.is_none()) {
            (false, true) => tracing::error!("the rate limiter does not answer; nobody is limited"),
            (true, false) => tracing::info!("the rate limiter answers again"),
            _ => {}
        }
        // Who takes nothing only looks at what is left.
        if count > 0 {
            self.metrics.rate_decided(class, answer.as_ref());
        }
        answer
    }
}

/// The longest wait for the limiter.
const LIMITER_DEADLINE: Duration = Duration::from_secs(1);

/// The address of the client of a request.
fn address(parts: &Parts) -> IpAddr {
    let client = parts.extensions.get::<Client>();
    client.map_or(IpAddr::from([0, 0, 0, 0]), |client| client.address)
}

/// Whose stream of change notifications a response is. It stands in the response's extensions until
/// the router has told the auditor.
#[derive(Debug, Clone)]
pub(crate) struct StreamNote(pub(crate) Principal);

/// What the edge wrote down of a request that it refused. It stands in the response's extensions
/// until the router has told the auditor.
#[derive(Debug, Clone)]
pub(crate) struct RefusalNote {
    /// Who made the request, if that is known.
    pub(crate) principal: Option<Principal>,
    /// What was asked for, where the body said it.
    pub(crate) action: Option<String>,
    /// Why it was refused.
    pub(crate) reason: &'static str,
}
