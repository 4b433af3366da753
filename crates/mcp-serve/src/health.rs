//! Whether the server lives, is ready, and how it fares: `/livez`, `/readyz` and the report.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use futures_util::future::{join, join_all};
use serde_json::{Map, Value, json};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use crate::{
    config::Config,
    metrics::{Metrics, limit_bytes, rss_bytes},
    session::SessionStore,
    tls::Tls,
};

/// Something that must work for the server to be ready, or should.
#[async_trait]
pub trait Check: Send + Sync + 'static {
    /// Its name in the report, such as `store` or `redis`.
    fn name(&self) -> &str;

    /// `Err` with a reason an operator can act on, without secrets. Longer than 2 s counts as
    /// failed.
    async fn check(&self) -> Result<(), String>;

    /// Whether the server is not ready while this fails. Otherwise it is, and says `degraded`.
    fn is_vital(&self) -> bool {
        true
    }

    /// The other server that it asks, such as `database`, where it asks one; its name in metrics.
    fn dependency(&self) -> Option<&'static str> {
        None
    }

    /// How long that server last took to answer, where the check knows better than how long it takes
    /// itself.
    fn latency(&self) -> Option<Duration> {
        None
    }
}

/// Where liveness is asked for.
pub(crate) const LIVE_PATHS: [&str; 3] = ["/livez", "/health/live", "/health/liveness"];
/// Where readiness is asked for.
pub(crate) const READY_PATHS: [&str; 3] = ["/readyz", "/health/ready", "/health/readiness"];

const CHECK_DEADLINE: Duration = Duration::from_secs(2);
/// How often the checks are made while the server runs; probes are told what they came to.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// What is older is looked at again before anybody is told: then nobody makes the checks.
const STALE: Duration = Duration::from_secs(6);

/// The answers to probes.
pub(crate) struct Health {
    name: String,
    version: String,
    checks: Vec<Arc<dyn Check>>,
    sessions: Arc<dyn SessionStore>,
    metrics: Metrics,
    tls: Option<Arc<Tls>>,
    started: Instant,
    draining: AtomicBool,
    last: ArcSwapOption<Report>,
    looking: Mutex<()>,
}

/// The outcome of all checks at one time.
struct Report {
    at: Instant,
    healthy: bool,
    checks: Vec<Outcome>,
    sessions: Option<usize>,
    sessions_max: Option<usize>,
}

/// What one check came to.
struct Outcome {
    name: String,
    vital: bool,
    result: Result<(), String>,
    latency: Option<Duration>,
}

/// What a probe is answered: whether the status is 200 or 503, and the JSON body.
pub(crate) struct Answer {
    pub(crate) ok: bool,
    pub(crate) body: Value,
}

impl Health {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            name: config.name.clone(),
            version: config.version.clone(),
            checks: config.checks.clone(),
            sessions: config.sessions.clone(),
            metrics: config.metrics.clone(),
            tls: config.tls.clone(),
            started: Instant::now(),
            draining: AtomicBool::new(false),
            last: ArcSwapOption::empty(),
            looking: Mutex::default(),
        }
    }

    /// From now on the server is not ready.
    pub(crate) fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.metrics.drain_begun();
    }

    /// Makes the checks for ever.
    pub(crate) async fn watch(&self) -> Infallible {
        loop {
            let looking = self.looking.lock().await;
            self.look().await;
            drop(looking);
            sleep(CHECK_EVERY).await;
        }
    }

    /// The process serves requests, or this would not be answered.
    pub(crate) fn live() -> Answer {
        Answer {
            ok: true,
            body: json!({ "status": "ok" }),
        }
    }

    /// Whether requests should be sent here; with `details`, why not.
    pub(crate) async fn ready(&self, details: bool) -> Answer {
        if self.draining.load(Ordering::Relaxed) {
            return Answer {
                ok: false,
                body: json!({ "status": "draining" }),
            };
        }
        let report = self.report().await;
        let mut body = json!({ "status": report.status() });
        if details {
            body["checks"] = Value::Object(report.checks_json());
        }
        Answer {
            ok: report.healthy,
            body,
        }
    }

    /// How the server fares; without `details` its status alone.
    pub(crate) async fn full(&self, details: bool) -> Answer {
        let report = self.report().await;
        let draining = self.draining.load(Ordering::Relaxed);
        let word = if draining {
            "draining"
        } else {
            report.status()
        };
        let mut body = json!({ "status": word, "timestamp": jiff::Timestamp::now().to_string() });
        if details {
            body["name"] = json!(self.name);
            body["version"] = json!(self.version);
            let mut checks = report.checks_json();
            checks.insert("sessions".to_owned(), self.sessions_json(&report));
            checks.insert("memory".to_owned(), memory_json());
            let seconds = self.started.elapsed().as_secs();
            let uptime = json!({ "status": "ok", "seconds": seconds });
            checks.insert("uptime".to_owned(), uptime);
            body["checks"] = Value::Object(checks);
        }
        Answer {
            ok: report.healthy && !draining,
            body,
        }
    }

    fn sessions_json(&self, report: &Report) -> Value {
        json!({
            "status": report.sessions_status(),
            "store": self.sessions.kind(),
            "active": report.sessions,
            "limit": report.sessions_max,
        })
    }

    /// What the checks last came to.
    async fn report(&self) -> Arc<Report> {
        let fresh = || self.last.load_full().filter(|it| it.at.elapsed() < STALE);
        if let Some(report) = fresh() {
            return report;
        }
        let _looking = self.looking.lock().await;
        match fresh() {
            Some(report) => report,
            None => self.look().await,
        }
    }

    /// Makes all checks, and counts what they come to.
    async fn look(&self) -> Arc<Report> {
        let checks = join_all(self.checks.iter().map(|check| self.outcome(check.as_ref())));
        let count = timeout(CHECK_DEADLINE, self.sessions.count());
        let (checks, count) = join(checks, count).await;
        let sessions = count.ok().and_then(Result::ok);
        if let Some(open) = sessions {
            self.metrics.sessions_counted(self.sessions.kind(), open);
        }
        if let Some(tls) = &self.tls {
            self.metrics.certificate(tls.not_before(), tls.not_after());
        }
        let report = Arc::new(Report {
            at: Instant::now(),
            healthy: checks.iter().all(|it| it.result.is_ok() || !it.vital),
            checks,
            sessions,
            sessions_max: self.sessions.limit(),
        });
        self.last.store(Some(report.clone()));
        report
    }

    async fn outcome(&self, check: &dyn Check) -> Outcome {
        let begun = Instant::now();
        let result = timeout(CHECK_DEADLINE, check.check()).await;
        let result = result.unwrap_or_else(|_| Err("no answer within 2 s".to_owned()));
        let latency = check.latency().unwrap_or_else(|| begun.elapsed());
        let dependency = check.dependency();
        let name = check.name().to_owned();
        self.metrics.checked(&name, dependency, result.is_ok());
        Outcome {
            name,
            vital: check.is_vital(),
            latency: dependency.filter(|_| result.is_ok()).map(|_| latency),
            result,
        }
    }
}

impl Report {
    fn status(&self) -> &'static str {
        let all_right = self.checks.iter().all(|it| it.result.is_ok());
        if !self.healthy {
            "error"
        } else if all_right && self.sessions_status() == "ok" {
            "ok"
        } else {
            "degraded"
        }
    }

    /// Sessions that cannot be counted cannot be used either; one more than there may be is refused.
    fn sessions_status(&self) -> &'static str {
        match (self.sessions, self.sessions_max) {
            (None, _) => "error",
            (Some(active), Some(max)) if active >= max => "degraded",
            _ => "ok",
        }
    }

    fn checks_json(&self) -> Map<String, Value> {
        let entry = |outcome: &Outcome| {
            let mut entry = match &outcome.result {
                Ok(()) => json!({ "status": "ok" }),
                Err(reason) => json!({ "status": "error", "reason": reason }),
            };
            if let Some(latency) = outcome.latency {
                let micros = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
                entry["latency_ms"] = json!(f64::from(micros) / 1000.0);
            }
            entry
        };
        let checks = self.checks.iter();
        checks.map(|it| (it.name.clone(), entry(it))).collect()
    }
}

/// Memory never makes a server unhealthy: how much is too much is for an alert to say.
fn memory_json() -> Value {
    json!({ "status": "ok", "rss_bytes": rss_bytes(), "limit_bytes": limit_bytes() })
}
