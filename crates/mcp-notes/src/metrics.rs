//! What this server counts beside what every server does: its store and its backups.

mod measured;

use std::sync::{Arc, Weak};

use mcp_serve::metrics::{Kind, Metrics, ROWS, Row};
use notes::{Store, Timestamp, store::Load};

pub(crate) use self::measured::Measured;
use crate::backups::Backups;

const WAITING: Row = Row {
    name: "mcp_store_queue_jobs",
    kind: Kind::Gauge,
    labels: &[],
    help: "Writes that wait for the thread that writes to SQLite; more than 1024 are refused.",
};
const COMMITS: Row = Row {
    name: "mcp_store_commit_writes",
    kind: Kind::Histogram(&[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]),
    labels: &[],
    help: "How many writes share a commit to SQLite.",
};
const BACKED_UP: Row = Row {
    name: "mcp_backup_last_success_timestamp_seconds",
    kind: Kind::Gauge,
    labels: &[],
    help: "When the newest backup that is whole was begun; 0 where there was none yet. Only with \
           BACKUP_SCHEDULE.",
};
const VERIFIED: Row = Row {
    name: "mcp_backup_last_verified_timestamp_seconds",
    kind: Kind::Gauge,
    labels: &[],
    help: "When a backup was last restored for a trial; 0 where none was yet.",
};
const FAILURES: Row = Row {
    name: "mcp_backup_failures_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Backups that failed since the start of this server.",
};

/// Every metric of this server, in the order of the documentation.
pub fn rows() -> Vec<&'static Row> {
    let own = [&WAITING, &COMMITS, &BACKED_UP, &VERIFIED, &FAILURES];
    ROWS.iter().copied().chain(own).collect()
}

/// The documentation of every metric, as Markdown.
pub fn markdown() -> String {
    format!("{HEAD}\n{}", mcp_serve::metrics::markdown(&rows()))
}

const HEAD: &str = "\
# Metrics

This page is generated from the tables in `crates/mcp-serve/src/metrics/table.rs` and
`crates/mcp-notes/src/metrics.rs` by `mcp-notes metrics`.

`GET /metrics` tells them in the text format of Prometheus, or as OpenMetrics 1.0 to a reader whose `Accept` asks for
that. Each replica tells its own: scrape every one of them, never the proxy in front, which answers 404.

- On the address of the server they are told to who may see the details of `/health`: this machine, or a caller with a
  credential. With METRICS_TOKEN, to who presents that as a bearer token, and to nobody else.
- With METRICS_ADDR they have an address of their own, in plain HTTP, and are told there alone. An address that other
  machines can reach needs METRICS_TOKEN.
- METRICS_PATH moves them.

No label holds a text, a token, a session or a caller. What callers make up is `_unknown`: methods, tools and revisions
that do not exist; `_OTHER` stands for methods of HTTP that nobody knows, and `unmatched` for paths that lead nowhere.
A metric holds 4096 combinations of labels at most, and counts what comes later under `_other`.

A failed call of a tool is an answer with the status 200. What fails inside the server is
`mcp_server_operation_duration_seconds_count{error_type=\"-32603\"}`, and the HTTP statuses from 500 on.
";

/// Begins to tell how much `store` has to do, where it knows.
pub(crate) fn watch_store(metrics: &Metrics, store: &Arc<dyn Store>) {
    if store.load().is_none() {
        return;
    }
    let waiting = metrics.gauges(&WAITING).with(&[]);
    let commits = metrics.histograms(&COMMITS).with(&[]);
    // A store that is closed and gone has nothing to do.
    let store: Weak<dyn Store> = Arc::downgrade(store);
    metrics.before_scrape(move || {
        let load = store.upgrade().and_then(|store| store.load());
        let Load {
            waiting: jobs,
            commits: counts,
            writes,
        } = load.unwrap_or_default();
        waiting.set(float(jobs as u64));
        commits.set(&counts, float(writes));
    });
}

/// Begins to tell what there is to know of backups, for a server that makes them.
pub fn watch_backups(metrics: &Metrics, backups: Backups) {
    let backed_up = metrics.gauges(&BACKED_UP).with(&[]);
    let verified = metrics.gauges(&VERIFIED).with(&[]);
    let failures = metrics.counters(&FAILURES).with(&[]);
    metrics.before_scrape(move || {
        let known = backups.numbers();
        backed_up.set(known.last_success.map_or(0.0, seconds));
        verified.set(known.last_verified.map_or(0.0, seconds));
        failures.raise_to(known.failures);
    });
}

fn seconds(at: Timestamp) -> f64 {
    float(u64::try_from(at.as_second()).unwrap_or(0))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and times stay far below 2^53"
)]
fn float(number: u64) -> f64 {
    number as f64
}
