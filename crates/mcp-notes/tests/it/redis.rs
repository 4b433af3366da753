//! The real binary with a real Redis: what it says of it, and that it serves without it.

use mcp_serve::test_util::{Modern, RedisServer};
use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::time::{Duration, Instant, sleep};

use crate::process::{PATIENCE, Served};

/// The status of `path` and what it says.
async fn asked(served: &Served, path: &str) -> (u16, Value) {
    let mut client = mcp_serve::test_util::RawClient::connect(served.address)
        .await
        .unwrap();
    let answer = client.request("GET", path, &[], b"").await.unwrap();
    (answer.status, answer.json())
}

/// Waits until `path` says `status` of the whole.
async fn says(served: &Served, path: &str, status: &str) -> (u16, Value) {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = asked(served, path).await;
        if found.1["status"] == status {
            return found;
        }
        assert!(Instant::now() < end, "{status}: {found:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn list(served: &Served) -> Value {
    let params = json!({ "name": "list_notes", "arguments": {} });
    let answer = Modern::new(served.address).call("tools/call", params).await;
    answer.unwrap().result()["isError"].clone()
}

#[tokio::test]
async fn health_tells_of_redis_and_the_server_goes_on_without_it() {
    let mut redis = RedisServer::with(&["requirepass hunter2"]).await;
    let url = redis.url().replace("://", "://:hunter2@");
    let folder = tempdir().unwrap();
    let served = Served::start(folder.path(), &[("REDIS_URL", &url)]).await;
    let (_, report) = says(&served, "/health", "ok").await;
    assert_eq!(report["checks"]["redis"]["status"], "ok", "{report}");
    assert_eq!(report["checks"]["sessions"]["store"], "redis");
    redis.kill();
    let (status, report) = says(&served, "/readyz", "degraded").await;
    assert_eq!(status, 200);
    let reason = report["checks"]["redis"]["reason"].as_str().unwrap();
    assert!(reason.contains("connection refused"), "{reason}");
    assert_eq!(list(&served).await, Value::Bool(false));
    redis.revive().await;
    says(&served, "/readyz", "ok").await;
    let (status, log) = served.stop().await;
    assert!(status.success());
    let log = format!("{log:?}");
    assert!(
        log.contains("Redis is away") && log.contains("Redis is back"),
        "{log}"
    );
    assert!(!log.contains("hunter2"));
}

#[tokio::test]
async fn redis_that_is_required_takes_the_server_out_while_it_is_away() {
    let redis = RedisServer::with(&["requirepass hunter2"]).await;
    let (host, port) = (
        redis.addr().ip().to_string(),
        redis.addr().port().to_string(),
    );
    let vars = [
        ("REDIS_HOST", host.as_str()),
        ("REDIS_PORT", port.as_str()),
        ("REDIS_PASSWORD", "hunter3"),
        ("REDIS_REQUIRED", "true"),
    ];
    let folder = tempdir().unwrap();
    let served = Served::start(folder.path(), &vars).await;
    let (status, report) = says(&served, "/readyz", "error").await;
    assert_eq!(status, 503);
    assert_eq!(report["checks"]["redis"]["status"], "error");
    served.says("Redis is away").await;
    let because = |report: &Value| {
        let reason = &report["checks"]["redis"]["reason"];
        *reason == "it refuses the user or the password"
    };
    let end = Instant::now() + PATIENCE;
    while !because(&asked(&served, "/readyz").await.1) {
        assert!(Instant::now() < end, "{report}");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(list(&served).await, Value::Bool(false));
    assert_eq!(asked(&served, "/livez").await.0, 200);
    let (status, log) = served.stop().await;
    assert!(status.success());
    assert!(!format!("{log:?}").contains("hunter"));
}

#[tokio::test]
async fn without_redis_the_sessions_are_in_memory_and_production_says_so() {
    let folder = tempdir().unwrap();
    let vars = [("APP_ENV", "production"), ("ALLOWED_HOSTS", "127.0.0.1")];
    let served = Served::start(folder.path(), &vars).await;
    let (_, report) = asked(&served, "/health").await;
    assert_eq!(report["checks"]["sessions"]["store"], "memory");
    assert!(report["checks"].get("redis").is_none());
    let (_, log) = served.stop().await;
    let told = log
        .iter()
        .filter(|line| line.to_string().contains("REDIS_URL"));
    assert_eq!(told.count(), 1, "{log:?}");
}
