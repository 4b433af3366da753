//! What a caller may do, and how much of it: authentication, scopes, budgets and calls in flight, in
//! one place for every route.

mod flight;

use std::{borrow::Cow, net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use serde_json::Value;

pub(crate) use self::flight::Permit;
use self::flight::{Flight, Full};
use crate::{
    auth::{AuthError, Authenticator, Principal, Scopes},
    client::Client,
    config::Config,
    limit::{Budgets, Caller, Class, Decision, Limiter},
    policy::{Access, Demand, Operation, Policy},
};

/// The checks between a request and the work it asks for.
pub(crate) struct Gate {
    authenticator: Arc<dyn Authenticator>,
    policy: Arc<dyn Policy>,
    limiter: Arc<dyn Limiter>,
    budgets: Budgets,
    flight: Arc<Flight>,
    allow_plain_http: bool,
    /// The longest wait for the authenticator or the limiter.
    deadline: Duration,
}

/// A request that may go on.
#[derive(Default)]
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
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Auth(AuthError::Unauthenticated { .. }) => StatusCode::UNAUTHORIZED,
            Self::Auth(AuthError::Malformed { .. }) => StatusCode::BAD_REQUEST,
            Self::Auth(AuthError::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
            Self::OpenCredential | Self::Scope { .. } => StatusCode::FORBIDDEN,
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
            Self::Scope { .. } => "the credential does not allow this".into(),
            Self::Rate(decision) => {
                let kind = decision.class.as_str().replace('_', " ");
                format!("Rate limit exceeded ({kind})").into()
            }
            Self::Busy => "too many requests of yours are running".into(),
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
            Self::Scope { .. } => "scope",
            Self::Rate(_) => "rate",
            Self::Busy => "busy",
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
            Self::OpenCredential => {}
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
            allow_plain_http: config.allow_plain_http,
            deadline: config.limits.request_deadline,
        }
    }

    /// Who makes the request with these `parts`.
    pub(crate) async fn authenticate(&self, parts: &Parts) -> Result<Principal, Refusal> {
        let is_attempt = parts.headers.contains_key(header::AUTHORIZATION);
        let client = parts.extensions.get::<Client>();
        let is_private = self.allow_plain_http || client.is_some_and(Client::is_private);
        if is_attempt && !is_private {
            return Err(Refusal::OpenCredential);
        }
        let asking = self.authenticator.authenticate(parts);
        let answer = tokio::time::timeout(self.deadline, asking).await;
        let error = match answer.unwrap_or(Err(AuthError::Unavailable)) {
            Ok(principal) => return Ok(principal),
            Err(error) => error,
        };
        // Coming without a credential is how clients find out that they need one.
        if is_attempt && error != AuthError::Unavailable {
            let caller = Caller::at(address(parts));
            if let Some(decision) = self.take(&caller, Class::AuthFailure, 1).await
                && !decision.is_allowed()
            {
                return Err(Refusal::Rate(decision));
            }
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
        self.check_scopes(parts, principal, demands)?;
        let caller = Caller::of(principal, address(parts));
        let mut decision = None;
        for class in Class::ALL {
            let count = demands.iter().filter(|it| it.class == Some(class)).count();
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            if count == 0 {
                continue;
            }
            let taken = self.take(&caller, class, count).await;
            if let Some(taken) = taken.filter(|taken| !taken.is_allowed()) {
                return Err(Refusal::Rate(taken));
            }
            decision = taken.or(decision);
        }
        let permit = match calls {
            // What belongs to a running call, or ends it, must get through.
            0 => None,
            calls => Some(
                self.flight
                    .enter(&caller, calls)
                    .map_err(|Full| Refusal::Busy)?,
            ),
        };
        Ok(Pass { decision, permit })
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

    async fn take(&self, caller: &Caller, class: Class, count: u32) -> Option<Decision> {
        let budget = self.budgets.of(caller, class)?;
        let asking = self.limiter.take(caller, class, budget, count);
        tokio::time::timeout(self.deadline, asking).await.ok()
    }
}

/// The address of the client of a request.
fn address(parts: &Parts) -> IpAddr {
    let client = parts.extensions.get::<Client>();
    client.map_or(IpAddr::from([0, 0, 0, 0]), |client| client.address)
}

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
