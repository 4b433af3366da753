//! What the server counts, and how it is read: one [`Metrics`] for each server, in the formats of
//! Prometheus and OpenMetrics.
//!
//! Every metric is a [`Row`] of a table, [`ROWS`]. No label ever holds what callers make up: methods,
//! tools and revisions that do not exist are `_unknown`.

mod dependency;
mod family;
mod operation;
mod process;
mod row;
pub(crate) mod scrape;
mod table;
mod text;

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use http::Method;
use jiff::Timestamp;

use crate::{
    limit::{Class, Decision},
    session::SessionEnd,
};

pub use self::{
    dependency::Dependency,
    family::{Counter, Family, Gauge, Histogram, Number},
    row::{Kind, Row, markdown},
    scrape::{Scrape, ScrapeToken},
    table::ROWS,
};
pub(crate) use self::{
    operation::{Outcome, Running},
    process::{files_max, limit_bytes, rss_bytes},
    text::Format,
};
use self::{process::Process, text::Written};

/// What one server counts. A clone is another handle to the same numbers.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    http_duration: Arc<Family<Histogram>>,
    http_active: Arc<Family<Gauge>>,
    operation_duration: Arc<Family<Histogram>>,
    tool_calls: Arc<Family<Counter>>,
    tool_duration: Arc<Family<Histogram>>,
    sessions_active: Arc<Family<Gauge>>,
    session_duration: Arc<Family<Histogram>>,
    streams: Arc<Family<Gauge>>,
    rate_decisions: Arc<Family<Counter>>,
    auth_failures: Arc<Family<Counter>>,
    check_up: Arc<Family<Gauge>>,
    dependency_up: Arc<Family<Gauge>>,
    dependency_duration: Arc<Family<Histogram>>,
    dependency_errors: Arc<Family<Counter>>,
    event_delay: Arc<Family<Histogram>>,
    events_missed: Arc<Family<Counter>>,
    tls_not_after: Arc<Family<Gauge>>,
    tls_not_before: Arc<Family<Gauge>>,
    draining: Arc<Family<Gauge>>,
    build_info: Arc<Family<Gauge>>,
    process: Process,
}

/// Every family, in the order in which they are written, and who is asked before.
#[derive(Default)]
struct Registry {
    families: RwLock<Vec<Arc<dyn Written>>>,
    before: RwLock<Vec<Box<dyn Fn() + Send + Sync>>>,
}

impl Registry {
    fn add<N>(&self, row: &'static Row) -> Arc<Family<N>>
    where
        N: Number,
        Family<N>: Written,
    {
        let family = Arc::new(Family::new(row));
        let mut families = self
            .families
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        families.push(family.clone());
        family
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::default();
        // The fields are filled in the order of the table.
        let inner = Inner {
            http_duration: registry.add(&table::HTTP_DURATION),
            http_active: registry.add(&table::HTTP_ACTIVE),
            operation_duration: registry.add(&table::OPERATION_DURATION),
            tool_calls: registry.add(&table::TOOL_CALLS),
            tool_duration: registry.add(&table::TOOL_DURATION),
            sessions_active: registry.add(&table::SESSIONS_ACTIVE),
            session_duration: registry.add(&table::SESSION_DURATION),
            streams: registry.add(&table::STREAMS),
            rate_decisions: registry.add(&table::RATE_DECISIONS),
            auth_failures: registry.add(&table::AUTH_FAILURES),
            check_up: registry.add(&table::CHECK_UP),
            dependency_up: registry.add(&table::DEPENDENCY_UP),
            dependency_duration: registry.add(&table::DEPENDENCY_DURATION),
            dependency_errors: registry.add(&table::DEPENDENCY_ERRORS),
            event_delay: registry.add(&table::EVENT_DELAY),
            events_missed: registry.add(&table::EVENTS_MISSED),
            tls_not_after: registry.add(&table::TLS_NOT_AFTER),
            tls_not_before: registry.add(&table::TLS_NOT_BEFORE),
            draining: registry.add(&table::DRAINING),
            build_info: registry.add(&table::BUILD_INFO),
            process: Process::new(&registry),
            registry,
        };
        for kind in StreamKind::ALL {
            inner.streams.with(&[kind.as_str()]);
        }
        Self(Arc::new(inner))
    }
}

impl Metrics {
    /// Adds a counter to what is read.
    pub fn counters(&self, row: &'static Row) -> Arc<Family<Counter>> {
        self.0.registry.add(row)
    }

    /// Adds a gauge to what is read.
    pub fn gauges(&self, row: &'static Row) -> Arc<Family<Gauge>> {
        self.0.registry.add(row)
    }

    /// Adds a histogram to what is read.
    pub fn histograms(&self, row: &'static Row) -> Arc<Family<Histogram>> {
        self.0.registry.add(row)
    }

    /// Calls `tell` each time before the metrics are read, for numbers that are kept elsewhere. It
    /// must return at once, and hold no [`Metrics`], which would then never end.
    pub fn before_scrape(&self, tell: impl Fn() + Send + Sync + 'static) {
        let mut before = self
            .before()
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        before.push(Box::new(tell));
    }

    /// What a store of sessions is to tell of every end, as its
    /// [observer](crate::session::Limits::observer).
    pub fn session_observer(&self) -> Arc<dyn Fn(SessionEnd) + Send + Sync> {
        let durations = self.0.session_duration.with(&[]);
        Arc::new(move |end| durations.observe_time(end.age))
    }

    /// Where calls to another server are counted, under this name, such as `database`.
    pub fn dependency(&self, name: &'static str) -> Dependency {
        let durations = self.0.dependency_duration.with(&[name]);
        Dependency::new(name, durations, self.0.dependency_errors.clone())
    }

    /// What the program was built from.
    pub fn built(&self, version: &str, revision: &str, rustc: &str) {
        let build = &self.0.build_info;
        build.clear();
        build.with(&[version, revision, rustc]).set(1.0);
    }

    /// Everything as it is now, in the text format of Prometheus, version 0.0.4.
    pub fn text(&self) -> String {
        self.read(Format::Text)
    }

    /// Everything as it is now.
    pub(crate) fn read(&self, format: Format) -> String {
        self.0.process.look();
        let before = self.before().read().unwrap_or_else(PoisonError::into_inner);
        before.iter().for_each(|tell| tell());
        drop(before);
        let families = &self.0.registry.families;
        let families = families.read().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::with_capacity(32 << 10);
        for family in families.iter() {
            family.write(&mut out, format);
        }
        out + format.end()
    }

    fn before(&self) -> &RwLock<Vec<Box<dyn Fn() + Send + Sync>>> {
        &self.0.registry.before
    }

    /// A request has begun; it counts as active until the guard is dropped.
    pub(crate) fn request_begun(&self, method: &Method) -> Up {
        Up::new(self.0.http_active.with(&[method_name(method)]))
    }

    /// A request is over.
    pub(crate) fn request_over(&self, method: &Method, route: &str, status: &str, took: Duration) {
        let labels = [method_name(method), route, status];
        self.0.http_duration.with(&labels).observe_time(took);
    }

    /// A stream is open until the guard is dropped.
    pub(crate) fn stream_opened(&self, kind: StreamKind) -> Up {
        Up::new(self.0.streams.with(&[kind.as_str()]))
    }

    /// The rate limiter said this; `None` when it did not answer.
    pub(crate) fn rate_decided(&self, class: Class, decision: Option<&Decision>) {
        let word = match decision.map(|it| (it.is_alone, it.is_allowed())) {
            None => "bypassed",
            Some((false, true)) => "allowed",
            Some((false, false)) => "limited",
            Some((true, true)) => "local_allowed",
            Some((true, false)) => "local_limited",
        };
        self.0.rate_decisions.with(&[class.as_str(), word]).inc();
    }

    /// Somebody was refused because of who they are or are not.
    pub(crate) fn auth_failed(&self, reason: &'static str) {
        self.0.auth_failures.with(&[reason]).inc();
    }

    /// What a check of the health report came to, and of which dependency it tells.
    pub(crate) fn checked(&self, check: &str, dependency: Option<&'static str>, is_right: bool) {
        let number = f64::from(u8::from(is_right));
        self.0.check_up.with(&[check]).set(number);
        if let Some(name) = dependency {
            self.0.dependency_up.with(&[name]).set(number);
        }
    }

    /// How many sessions are open in a store of this kind.
    pub(crate) fn sessions_counted(&self, store: &str, open: usize) {
        #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 sessions")]
        self.0.sessions_active.with(&[store]).set(open as f64);
    }

    /// Another replica published changes so long ago.
    pub(crate) fn event_heard(&self, delay: Duration) {
        self.0.event_delay.with(&[]).observe_time(delay);
    }

    /// Something that other replicas published is lost.
    pub(crate) fn events_missed(&self) {
        self.0.events_missed.with(&[]).inc();
    }

    /// From when until when the certificate holds that the server presents.
    pub(crate) fn certificate(&self, not_before: Timestamp, not_after: Timestamp) {
        let seconds = |at: Timestamp| Duration::try_from(at.duration_since(Timestamp::UNIX_EPOCH));
        let seconds = |at| seconds(at).map_or(0.0, |since| since.as_secs_f64());
        self.0.tls_not_before.with(&[]).set(seconds(not_before));
        self.0.tls_not_after.with(&[]).set(seconds(not_after));
    }

    /// The server is to stop.
    pub(crate) fn drain_begun(&self) {
        self.0.draining.with(&[]).set(1.0);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamKind {
    /// GET of a session.
    Get,
    /// `subscriptions/listen`.
    Listen,
    /// The answer to a request.
    Request,
}

impl StreamKind {
    const ALL: [Self; 3] = [Self::Get, Self::Listen, Self::Request];

    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Listen => "listen",
            Self::Request => "request",
        }
    }
}

/// One more on a gauge, until it is dropped.
#[derive(Debug)]
pub(crate) struct Up(Arc<Gauge>);

impl Up {
    fn new(gauge: Arc<Gauge>) -> Self {
        gauge.add(1.0);
        Self(gauge)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.0.add(-1.0);
    }
}

/// The method, or what stands for those that nobody knows.
fn method_name(method: &Method) -> &'static str {
    const KNOWN: [(&Method, &str); 9] = [
        (&Method::GET, "GET"),
        (&Method::POST, "POST"),
        (&Method::PUT, "PUT"),
        (&Method::PATCH, "PATCH"),
        (&Method::DELETE, "DELETE"),
        (&Method::HEAD, "HEAD"),
        (&Method::OPTIONS, "OPTIONS"),
        (&Method::CONNECT, "CONNECT"),
        (&Method::TRACE, "TRACE"),
    ];
    let known = KNOWN.iter().find(|(known, _)| *known == method);
    known.map_or("_OTHER", |(_, name)| name)
}
