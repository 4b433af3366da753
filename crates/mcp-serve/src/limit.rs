//! Rate limits: how much each caller may ask in a time, by the kind of work.
//!
//! A caller is a principal, or the network it comes from when there is none. The rule is the
//! generic cell rate algorithm: a budget of `burst` requests that refills evenly over `period`, so
//! that no caller gets more than twice its share at a window's edge.

mod gcra;
pub mod memory;
pub mod redis;

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, header::RETRY_AFTER};

use crate::auth::Principal;

pub use self::{memory::MemoryLimiter, redis::RedisLimiter};

/// The kinds of work, each with a budget of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// Lists, reads, discovery.
    Read,
    /// Whatever changes something.
    Write,
    /// Searches, which cost more than reads.
    Search,
    /// Opening a session.
    Session,
    /// What belongs to a running call or ends something: cancelling, answering, closing a session. A
    /// budget of its own, so that who has used up the others can still stop what it began.
    Control,
    /// Credentials that were refused. Counted when it happens, by network.
    AuthFailure,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 6] = [
        Self::Read,
        Self::Write,
        Self::Search,
        Self::Session,
        Self::Control,
        Self::AuthFailure,
    ];

    /// The name in headers, keys and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Search => "search",
            Self::Session => "session",
            Self::Control => "control",
            Self::AuthFailure => "auth_failure",
        }
    }
}

/// Whose budget it is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Caller {
    /// A principal, by its key.
    Principal(Arc<str>),
    /// A network: an IPv4 address, or the /64 of an IPv6 one, which is what one customer gets.
    Network(IpAddr),
}

impl Caller {
    /// The caller behind `address`.
    pub fn at(address: IpAddr) -> Self {
        Self::Network(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) & !u128::from(u64::MAX);
                IpAddr::V6(network.into())
            }
            address @ IpAddr::V4(_) => address,
        })
    }

    /// The caller of a request: its principal, or its network if it named none.
    pub fn of(principal: &Principal, address: IpAddr) -> Self {
        if principal.is_anonymous() {
            Self::at(address)
        } else {
            Self::Principal(principal.key().into())
        }
    }
}

impl fmt::Debug for Caller {
    /// Whom a budget belongs to is nobody's business in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Principal(_) => "Principal(..)",
            Self::Network(_) => "Network(..)",
        })
    }
}

/// A budget: `burst` requests at once, refilled evenly over `period`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    burst: u32,
    period: Duration,
}

impl Budget {
    /// `None` for a burst of 0, a period shorter than a millisecond per request, or one longer than a
    /// year.
    pub fn new(burst: u32, period: Duration) -> Option<Self> {
        const YEAR: Duration = Duration::from_hours(366 * 24);
        let fits = burst > 0 && period / burst.max(1) >= Duration::from_millis(1);
        (fits && period <= YEAR).then_some(Self { burst, period })
    }

    /// Requests that may come at once.
    pub fn burst(self) -> u32 {
        self.burst
    }

    /// The time in which an empty budget is full again.
    pub fn period(self) -> Duration {
        self.period
    }

    /// The part of it that each of `replicas` gives when none knows what the others gave: rounded up,
    /// so that it is never nothing.
    #[must_use]
    pub fn share(self, replicas: u32) -> Self {
        Self {
            burst: self.burst.div_ceil(replicas.max(1)),
            ..self
        }
    }
}

/// What a limiter says of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The kind of work that was asked for.
    pub class: Class,
    /// The budget it came out of.
    pub budget: Budget,
    /// How many more requests there are now; `None` when the request is refused.
    pub remaining: Option<u32>,
    /// Whether one replica decided alone because the others could not be asked.
    pub is_alone: bool,
    /// When the budget is full again, or, of a refused request, when to try again.
    pub after: Duration,
}

impl Decision {
    /// Whether the request may go on.
    pub fn is_allowed(&self) -> bool {
        self.remaining.is_some()
    }

    /// Puts the `RateLimit` and `RateLimit-Policy` fields (draft-ietf-httpapi-ratelimit-headers)
    /// into `headers`, and `Retry-After` (RFC 9110 section 10.2.3) when the request is refused.
    pub fn write(&self, headers: &mut HeaderMap) {
        let name = self.class.as_str();
        let seconds = seconds_up(self.after);
        let policy = format!(
            "\"{name}\";q={};w={}",
            self.budget.burst,
            seconds_up(self.budget.period)
        );
        let state = format!("\"{name}\";r={};t={seconds}", self.remaining.unwrap_or(0));
        for (field, value) in [("ratelimit-policy", policy), ("ratelimit", state)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(field), value);
            }
        }
        if !self.is_allowed() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
    }
}

/// Whole seconds, rounded up, so that who waits for them does not come too early.
fn seconds_up(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// The budgets of a server, by kind of work and of caller. The default is no limit at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Budgets {
    /// Of each caller without a principal.
    pub anonymous: ByClass,
    /// Of each principal.
    pub principal: ByClass,
    /// Of each network: credentials that are refused.
    pub auth_failure: Option<Budget>,
}

/// A budget for each [`Class`] of work; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ByClass {
    /// [`Class::Read`].
    pub read: Option<Budget>,
    /// [`Class::Write`].
    pub write: Option<Budget>,
    /// [`Class::Search`].
    pub search: Option<Budget>,
    /// [`Class::Session`].
    pub session: Option<Budget>,
    /// [`Class::Control`].
    pub control: Option<Budget>,
}

impl Budgets {
    /// The budget of `caller` for `class`.
    pub fn of(&self, caller: &Caller, class: Class) -> Option<Budget> {
        let budgets = match caller {
            Caller::Principal(_) => &self.principal,
            Caller::Network(_) => &self.anonymous,
        };
        match class {
            Class::Read => budgets.read,
            Class::Write => budgets.write,
            Class::Search => budgets.search,
            Class::Session => budgets.session,
            Class::Control => budgets.control,
            Class::AuthFailure => self.auth_failure,
        }
    }
}

/// Counts what callers ask for: in memory for one process, in Redis for replicas.
#[async_trait]
pub trait Limiter: Send + Sync + 'static {
    /// Takes `count` requests of `class` out of the caller's `budget`: all of them, or none when there
    /// are not so many left. A count of 0 takes nothing and tells what is left.
    async fn take(&self, caller: &Caller, class: Class, budget: Budget, count: u32) -> Decision;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_customers_addresses_are_one_caller() {
        let at = |text: &str| Caller::at(text.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
    }

    #[test]
    fn the_fields_follow_the_draft() {
        let budget = Budget::new(100, Duration::from_mins(1)).unwrap();
        let mut decision = Decision {
            class: Class::Read,
            budget,
            remaining: Some(42),
            is_alone: false,
            after: Duration::from_millis(16_100),
        };
        let mut headers = HeaderMap::new();
        decision.write(&mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"read\";q=100;w=60");
        assert_eq!(headers["ratelimit"], "\"read\";r=42;t=17");
        assert!(!headers.contains_key(RETRY_AFTER));
        decision.remaining = None;
        decision.after = Duration::from_millis(1);
        decision.write(&mut headers);
        assert_eq!(
            (&headers["ratelimit"], &headers[RETRY_AFTER]),
            (
                &HeaderValue::from_static("\"read\";r=0;t=1"),
                &HeaderValue::from_static("1")
            )
        );
    }

    #[test]
    fn a_share_is_rounded_up_and_never_nothing() {
        let budget = |burst| Budget::new(burst, Duration::from_mins(1)).unwrap();
        for (whole, replicas, share) in [(100, 3, 34), (100, 0, 100), (2, 5, 1), (9, 3, 3)] {
            assert_eq!(budget(whole).share(replicas), budget(share));
        }
    }

    #[test]
    fn a_budget_cannot_be_nothing() {
        assert_eq!(Budget::new(0, Duration::from_mins(1)), None);
        assert_eq!(Budget::new(100_000, Duration::from_secs(1)), None);
    }
}
