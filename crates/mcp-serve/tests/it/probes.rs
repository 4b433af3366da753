//! What orchestrators and operators are told, and what strangers are not.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use axum::Router;
use mcp_serve::{
    Config,
    audit::{Auditor, Refused},
    health::Check,
    session::{self, MemorySessions},
};
use serde_json::json;

use super::edge::{guarded_config, start};

const PATIENCE: Duration = Duration::from_secs(10);

/// A dependency that a test breaks.
#[derive(Default)]
struct Store {
    broken: AtomicBool,
    hangs: bool,
    is_extra: bool,
    asked: AtomicUsize,
}

#[async_trait]
impl Check for Store {
    fn name(&self) -> &'static str {
        "store"
    }

    fn is_vital(&self) -> bool {
        !self.is_extra
    }

    fn dependency(&self) -> Option<&'static str> {
        Some("database")
    }

    async fn check(&self) -> Result<(), String> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.hangs {
            std::future::pending::<()>().await;
        }
        if self.broken.load(Ordering::Relaxed) {
            return Err("the disk is full".to_owned());
        }
        Ok(())
    }
}

fn config(store: &Arc<Store>) -> Config {
    Config {
        checks: vec![store.clone()],
        version: "1.2.3".to_owned(),
        ..Config::default()
    }
}

#[tokio::test]
async fn the_report_says_how_the_server_fares() {
    let server = start(Router::new(), config(&Arc::default())).await;
    let answer = server.connect().await.get("/health").await.unwrap();
    assert_eq!(answer.status, 200);
    let report = answer.json();
    assert_eq!(report["status"], "ok");
    assert_eq!(report["version"], "1.2.3");
    assert_eq!(report["checks"]["store"]["status"], "ok");
    let checks = &report["checks"];
    let sessions = json!({"status": "ok", "store": "memory", "active": 0, "limit": 10_000});
    assert_eq!(checks["sessions"], sessions);
    assert_eq!(checks["uptime"]["status"], "ok");
    assert!(checks["uptime"]["seconds"].is_u64());
    assert_eq!(checks["memory"]["status"], "ok");
    assert!(checks["memory"]["rss_bytes"].as_u64().unwrap() > 1 << 20);
    assert!(checks["memory"].get("limit_bytes").is_some());
    assert!(checks["store"]["latency_ms"].is_f64());
    let timestamp = report["timestamp"].as_str().unwrap();
    assert!(timestamp.parse::<jiff::Timestamp>().is_ok() && timestamp.ends_with('Z'));
}

#[tokio::test]
async fn a_broken_dependency_makes_the_server_unready_and_leaves_it_alive() {
    let store = Arc::new(Store {
        broken: true.into(),
        ..Store::default()
    });
    let server = start(Router::new(), config(&store)).await;
    let mut client = server.connect().await;
    for path in ["/readyz", "/health", "/health/ready", "/health/readiness"] {
        let answer = client.get(path).await.unwrap();
        assert_eq!(answer.status, 503, "{path}");
        let report = answer.json();
        assert_eq!(report["status"], "error");
        assert_eq!(report["checks"]["store"]["reason"], "the disk is full");
    }
    for path in ["/livez", "/health/live", "/health/liveness"] {
        assert_eq!(client.get(path).await.unwrap().status, 200, "{path}");
    }
    store.broken.store(false, Ordering::Relaxed);
    let begun = Instant::now();
    while client.get("/readyz").await.unwrap().status != 200 {
        assert!(begun.elapsed() < PATIENCE, "the server does not recover");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_server_without_what_it_can_do_without_is_ready_and_says_that_it_is_degraded() {
    let extra = Arc::new(Store {
        broken: true.into(),
        is_extra: true,
        ..Store::default()
    });
    let server = start(Router::new(), config(&extra)).await;
    let mut client = server.connect().await;
    for path in ["/readyz", "/health"] {
        let answer = client.get(path).await.unwrap();
        assert_eq!(answer.status, 200, "{path}");
        let report = answer.json();
        assert_eq!(report["status"], "degraded");
        assert_eq!(report["checks"]["store"]["status"], "error");
    }
}

#[tokio::test]
async fn a_hanging_dependency_does_not_hang_the_probe() {
    let store = Arc::new(Store {
        hangs: true,
        ..Store::default()
    });
    let server = start(Router::new(), config(&store)).await;
    let answer = server.connect().await.get("/readyz").await.unwrap();
    assert_eq!(answer.status, 503);
}

#[tokio::test]
async fn as_many_sessions_as_may_be_open_degrade_the_server_and_do_not_stop_it() {
    let sessions = MemorySessions::new(session::Limits {
        sessions_max: 2,
        ..session::Limits::default()
    });
    let config = Config {
        sessions: Arc::new(sessions),
        ..Config::default()
    };
    let server = start(Router::new(), config).await;
    let mut client = server.connect().await;
    for open in 0..=2 {
        if open > 0 {
            server.legacy("2025-11-25").await;
        }
        let begun = Instant::now();
        let report = loop {
            let answer = client.get("/health").await.unwrap();
            assert_eq!(answer.status, 200);
            let report = answer.json();
            if report["checks"]["sessions"]["active"] == open {
                break report;
            }
            assert!(begun.elapsed() < PATIENCE, "{report}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let word = if open < 2 { "ok" } else { "degraded" };
        assert_eq!(report["status"], word);
        assert_eq!(report["checks"]["sessions"]["status"], word);
    }
}

#[tokio::test]
async fn many_probes_cost_a_dependency_one_question() {
    let store = Arc::new(Store::default());
    let server = start(Router::new(), config(&store)).await;
    let mut client = server.connect().await;
    let begun = Instant::now();
    for _ in 0..50 {
        assert_eq!(client.get("/readyz").await.unwrap().status, 200);
    }
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap();
    assert!(store.asked.load(Ordering::Relaxed) <= 2 + seconds);
}

#[tokio::test]
async fn probes_ask_for_no_host_and_no_credential_but_then_tell_the_status_alone() {
    let store = Arc::new(Store {
        broken: true.into(),
        ..Store::default()
    });
    let mut config = config(&store);
    config.authenticator = guarded_config().authenticator;
    let server = start(Router::new(), config).await;
    let mut client = server.connect().await;
    let sesame = ("Authorization", "Bearer sesame");
    let stranger = ("Host", "10.1.2.3:3000");
    for path in ["/readyz", "/health"] {
        for headers in [
            &[][..],
            &[stranger],
            &[stranger, sesame],
            &[sesame, ("Origin", "null")],
        ] {
            let answer = client.request("GET", path, headers, b"").await.unwrap();
            assert_eq!(answer.status, 503, "{path} {headers:?}");
            let report = answer.json();
            assert_eq!(report["status"], "error");
            for detail in ["checks", "version", "memory", "sessions"] {
                assert!(
                    report.get(detail).is_none(),
                    "{path} {headers:?} tells {detail}"
                );
            }
        }
        let answer = client.request("GET", path, &[sesame], b"").await.unwrap();
        assert!(answer.json()["checks"]["store"].is_object());
    }
    assert_eq!(
        client
            .request("GET", "/livez", &[stranger], b"")
            .await
            .unwrap()
            .status,
        200
    );
    let answer = client.request("POST", "/livez", &[], b"").await.unwrap();
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("allow"), Some("GET, HEAD"));
}

/// Writes down what it hears.
#[derive(Default)]
struct Book(Mutex<Vec<(String, u16, &'static str)>>);

impl Auditor for Book {
    fn refused(&self, refused: &Refused<'_>) {
        let entry = (refused.action.to_owned(), refused.status, refused.reason);
        self.0.lock().unwrap().push(entry);
    }
}

#[tokio::test]
async fn a_credential_cannot_be_tried_on_a_probe_unheard() {
    let book = Arc::new(Book::default());
    let config = Config {
        authenticator: guarded_config().authenticator,
        auditor: Some(book.clone()),
        ..Config::default()
    };
    let server = start(Router::new(), config).await;
    let mut client = server.connect().await;
    let heard = || std::mem::take(&mut *book.0.lock().unwrap());
    for (path, is_open) in [("/health", false), ("/readyz", false), ("/livez", true)] {
        assert_eq!(client.get(path).await.unwrap().status, 200);
        for word in ["sesame", "wrong"] {
            assert_eq!(heard(), [], "{path}");
            let credential = format!("Bearer {word}");
            let headers = [("Authorization", credential.as_str())];
            let answer = client.request("GET", path, &headers, b"").await.unwrap();
            assert_eq!(answer.status, 200);
        }
        let actions: Vec<_> = heard().into_iter().map(|(action, ..)| action).collect();
        let tried = (!is_open).then(|| format!("GET {path}"));
        assert_eq!(actions, Vec::from_iter(tried));
    }
}

#[tokio::test]
async fn the_report_can_be_moved() {
    let config = Config {
        health_path: "/internal/health".to_owned(),
        ..Config::default()
    };
    let server = start(Router::new(), config).await;
    let mut client = server.connect().await;
    assert_eq!(client.get("/internal/health").await.unwrap().status, 200);
    assert_eq!(client.get("/health").await.unwrap().status, 404);
}
