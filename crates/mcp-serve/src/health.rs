//! Whether the server lives, is ready, and how it fares: `/livez`, `/readyz` and the report.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::session::SessionStore;

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
}

/// Where liveness is asked for.
pub(crate) const LIVE_PATHS: [&str; 3] = ["/livez", "/health/live", "/health/liveness"];
/// Where readiness is asked for.
pub(crate) const READY_PATHS: [&str; 3] = ["/readyz", "/health/ready", "/health/readiness"];

const CHECK_DEADLINE: Duration = Duration::from_secs(2);
const CACHE: Duration = Duration::from_secs(1);

/// The answers to probes.
pub(crate) struct Health {
    name: String,
    version: String,
    checks: Vec<Arc<dyn Check>>,
    sessions: Arc<dyn SessionStore>,
    started: Instant,
    draining: AtomicBool,
    last: Mutex<Option<(Instant, Arc<Report>)>>,
}

/// The outcome of all checks at one time.
pub(crate) struct Report {
    healthy: bool,
    checks: Vec<Outcome>,
    sessions: Option<usize>,
}

/// What one check came to.
struct Outcome {
    name: String,
    vital: bool,
    result: Result<(), String>,
}

/// What a probe is answered: whether the status is 200 or 503, and the JSON body.
pub(crate) struct Answer {
    pub(crate) ok: bool,
    pub(crate) body: Value,
}

impl Health {
    pub(crate) fn new(
        name: String,
        version: String,
        checks: Vec<Arc<dyn Check>>,
        sessions: Arc<dyn SessionStore>,
    ) -> Self {
        Self {
            name,
            version,
            checks,
            sessions,
            started: Instant::now(),
            draining: AtomicBool::new(false),
            last: Mutex::new(None),
        }
    }

    /// From now on the server is not ready.
    pub(crate) fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
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
            body["checks"] = report.checks_json();
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
            body["uptime"] = json!(self.started.elapsed().as_secs());
            body["memory"] = memory();
            let store = self.sessions.kind();
            body["sessions"] = match report.sessions {
                Some(active) => json!({ "status": "ok", "store": store, "active": active }),
                None => json!({ "status": "error", "store": store }),
            };
            body["checks"] = report.checks_json();
        }
        Answer {
            ok: report.healthy && !draining,
            body,
        }
    }

    /// All checks, at most once a second; callers in between share the outcome.
    async fn report(&self) -> Arc<Report> {
        let mut last = self.last.lock().await;
        if let Some((at, report)) = &*last
            && at.elapsed() < CACHE
        {
            return report.clone();
        }
        let checks = join_all(self.checks.iter().map(|check| async {
            let result = timeout(CHECK_DEADLINE, check.check()).await;
            Outcome {
                name: check.name().to_owned(),
                vital: check.is_vital(),
                result: result.unwrap_or_else(|_| Err("no answer within 2 s".to_owned())),
            }
        }));
        let count = timeout(CHECK_DEADLINE, self.sessions.count());
        let (checks, count) = futures_util::future::join(checks, count).await;
        let sessions = count.ok().and_then(Result::ok);
        let healthy = checks.iter().all(|it| it.result.is_ok() || !it.vital);
        let report = Arc::new(Report {
            healthy,
            checks,
            sessions,
        });
        *last = Some((Instant::now(), report.clone()));
        report
    }
}

impl Report {
    fn status(&self) -> &'static str {
        if !self.healthy {
            "error"
        } else if self.sessions.is_some() && self.checks.iter().all(|it| it.result.is_ok()) {
            "ok"
        } else {
            "degraded"
        }
    }

    fn checks_json(&self) -> Value {
        let entry = |result: &Result<(), String>| match result {
            Ok(()) => json!({ "status": "ok" }),
            Err(reason) => json!({ "status": "error", "reason": reason }),
        };
        let checks: Map<_, _> = self
            .checks
            .iter()
            .map(|it| (it.name.clone(), entry(&it.result)))
            .collect();
        Value::Object(checks)
    }
}

/// Resident memory of the process and the limit of its control group, in bytes; `null` where the
/// system does not tell.
fn memory() -> Value {
    json!({ "rss_bytes": rss_bytes(), "limit_bytes": limit_bytes() })
}

fn rss_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim()
        .strip_suffix(" kB")?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

fn limit_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or_default();
    let root = Path::new("/sys/fs/cgroup");
    let files = [
        root.join(own).join("memory.max"),
        root.join("memory/memory.limit_in_bytes"),
    ];
    let text = files
        .iter()
        .find_map(|file| fs::read_to_string(file).ok())?;
    // Without a limit, version 2 says "max" and version 1 a number near 2^63.
    text.trim()
        .parse::<u64>()
        .ok()
        .filter(|bytes| *bytes < 1 << 62)
}
