//! What the notes server counts of its store, and how it is told to count.

use std::{fs, path::Path, process::Command};

use mcp_notes::metrics::rows;
use mcp_serve::test_util::{Modern, RawClient, Samples, tool};
use notes::Timestamp;
use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::time::Duration;

use crate::process::{Served, run, stderr, stdout};

async fn called(served: &Served, tool: &str, arguments: Value) -> Value {
    let params = json!({ "name": tool, "arguments": arguments });
    let answer = Modern::new(served.address).call("tools/call", params).await;
    answer.unwrap().result()
}

#[tokio::test]
async fn the_store_counts_its_writes_and_how_many_share_a_commit() {
    let folder = tempdir().unwrap();
    let served = Served::start(folder.path(), &[]).await;
    let before = Samples::of(served.address).await;
    let writes = (0..40).map(|number| {
        let note = json!({"title": format!("n{number}"), "content": "the plan"});
        called(&served, "create_note", note)
    });
    for result in futures_join(writes).await {
        assert_eq!(result["isError"], false, "{result}");
    }
    let now = Samples::of(served.address).await;
    let more = |series: &str| now.get(series) - before.get(series);
    assert!((more("mcp_store_commit_writes_sum") - 40.0).abs() < 0.1);
    let commits = more("mcp_store_commit_writes_count");
    assert!((1.0..=40.0).contains(&commits), "{commits}");
    assert!(now.text.contains("\nmcp_store_queue_jobs "));
    let calls = "mcp_dependency_duration_seconds_count{dependency=\"database\"}";
    assert!(more(calls) >= 40.0);
    let created = "mcp_tool_calls_total{tool_name=\"create_note\",status=\"success\"}";
    assert!((more(created) - 40.0).abs() < 0.1);
    assert!(now.get("mcp_dependency_up{dependency=\"database\"}") > 0.5);
    assert!(
        !now.text
            .contains("mcp_dependency_errors_total{dependency=\"database\"")
    );
    assert!(!now.text.contains("the plan"), "{}", now.text);

    // Mistakes of the caller are no failures of the store.
    let before = now;
    called(&served, "get_note", json!({"id": "nobody"})).await;
    called(&served, "get_note", json!({"id": 7})).await;
    let now = Samples::of(served.address).await;
    let mistakes = "mcp_tool_calls_total{tool_name=\"get_note\",status=\"tool_error\"}";
    assert!(
        (now.get(mistakes) - before.get(mistakes) - 2.0).abs() < 0.1,
        "{}",
        now.text
    );
    assert!(
        !now.text
            .contains("mcp_dependency_errors_total{dependency=\"database\"")
    );
}

/// Waits for all of them at once.
async fn futures_join<T: Send + 'static>(
    work: impl Iterator<Item = impl Future<Output = T>>,
) -> Vec<T> {
    let mut work: Vec<_> = work.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = work.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (work, done) in work.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(result) = work.as_mut().poll(cx)
            {
                *done = Some(result);
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_counted_by_how_it_fails() {
    let folder = tempdir().unwrap();
    let served = Served::start(folder.path(), &[]).await;
    let database = folder.path().join("data/notes.db");
    // Another process holds the lock for longer than a write waits for it.
    let lock = rusqlite::Connection::open(&database).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let note = json!({"title": "n", "content": "c"});
    let result = called(&served, "create_note", note).await;
    assert_eq!(result["isError"], true, "{result}");
    let busy = "mcp_dependency_errors_total{dependency=\"database\",kind=\"busy\"}";
    let is_down = |now: &Samples| {
        now.get(busy) > 0.5
            && now
                .text
                .contains("\nmcp_dependency_up{dependency=\"database\"} 0\n")
    };
    Samples::until(served.address, "the store is busy", is_down).await;
    drop(lock);
    let is_up = |now: &Samples| now.get("mcp_dependency_up{dependency=\"database\"}") > 0.5;
    Samples::until(served.address, "the store is back", is_up).await;
}

#[tokio::test]
async fn the_build_and_the_process_tell_of_themselves() {
    let folder = tempdir().unwrap();
    let served = Served::start(folder.path(), &[]).await;
    let now = Samples::of(served.address).await;
    let version = env!("CARGO_PKG_VERSION");
    let build = now.series().find(|it| it.starts_with("mcp_build_info"));
    let build = build.unwrap();
    assert!(build.contains(&format!("version=\"{version}\"")), "{build}");
    assert!(build.contains("rustc=\"1."), "{build}");
    let memory = now.get("process_resident_memory_bytes");
    assert!((1e6..1e10).contains(&memory), "{memory}");
    assert!(now.get("process_threads") > 1.0 && now.get("process_open_fds") > 3.0);
    assert!(now.get("process_max_fds") > now.get("process_open_fds"));
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
    let age = Timestamp::now().as_second() as f64 - now.get("process_start_time_seconds");
    assert!((-2.0..600.0).contains(&age), "{age}");
    let begun = now.get("process_cpu_seconds_total");
    for _ in 0..20 {
        called(&served, "list_notes", json!({})).await;
    }
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while Samples::of(served.address)
        .await
        .get("process_cpu_seconds_total")
        <= begun
    {
        assert!(
            tokio::time::Instant::now() < end,
            "work takes time of processors"
        );
    }
}

#[tokio::test]
async fn what_is_told_is_in_the_table_and_promtool_has_nothing_to_say() {
    let folder = tempdir().unwrap();
    let served = Served::start(folder.path(), &[]).await;
    called(
        &served,
        "create_note",
        json!({"title": "n", "content": "c"}),
    )
    .await;
    let now = Samples::of(served.address).await;
    let names = now
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    let (mut found, known) = (0, rows());
    for line in names {
        let (name, kind) = line.split_once(' ').unwrap();
        let row = known.iter().find(|row| row.name == name);
        let row = row.unwrap_or_else(|| panic!("{name} is not in the table"));
        assert_eq!(row.kind.as_str(), kind);
        found += 1;
    }
    assert!(found > 15, "{}", now.text);
    let file = folder.path().join("metrics.txt");
    fs::write(&file, &now.text).unwrap();
    let checked = Command::new(tool("promtool"))
        .args(["check", "metrics"])
        .stdin(fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    assert_eq!(
        (checked.status.success(), stderr(&checked)),
        (true, String::new())
    );
}

#[tokio::test]
async fn a_listener_of_their_own_is_in_the_log_and_asks_for_the_token() {
    let folder = tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "the-token-of-readers\n").unwrap();
    let vars = [
        ("METRICS_ADDR", "127.0.0.1:0"),
        ("METRICS_TOKEN_FILE", token.to_str().unwrap()),
        ("METRICS_PATH", "/numbers"),
    ];
    let served = Served::start(folder.path(), &vars).await;
    served.says("telling metrics").await;
    let address = served.logged("metrics").parse().unwrap();
    let mut client = RawClient::connect(address).await.unwrap();
    assert_eq!(client.get("/numbers").await.unwrap().status, 401);
    let headers = [("Authorization", "Bearer the-token-of-readers")];
    let answer = client
        .request("GET", "/numbers", &headers, b"")
        .await
        .unwrap();
    assert!(answer.text().contains("mcp_build_info"));
    let mut client = RawClient::connect(served.address).await.unwrap();
    for path in ["/numbers", "/metrics"] {
        assert_eq!(client.get(path).await.unwrap().status, 404, "{path}");
    }
    let (_, log) = served.stop().await;
    assert!(!format!("{log:?}").contains("token-of-readers"));
}

#[tokio::test]
async fn an_address_for_everybody_needs_a_token_and_has_another_port() {
    let folder = tempdir().unwrap();
    for (vars, words) in [
        (
            &[("METRICS_ADDR", "0.0.0.0:9464")][..],
            "METRICS_TOKEN beside it",
        ),
        (&[("METRICS_ADDR", "9464")], "an IP address and a port"),
        (
            &[("METRICS_ADDR", "127.0.0.1:3000")],
            "another address than HOST and PORT",
        ),
        (
            &[("METRICS_PATH", "/health")],
            "another path than HEALTH_CHECK_PATH",
        ),
        (&[("METRICS_PATH", "/mcp/metrics")], "not below /mcp"),
        (&[("METRICS_TOKEN", "short")], "16 to 512 letters"),
    ] {
        let refused = run(folder.path(), &["config"], vars).await;
        assert_eq!(refused.status.code(), Some(78), "{vars:?}");
        assert!(stderr(&refused).contains(words), "{}", stderr(&refused));
    }
    let vars = [
        ("METRICS_ADDR", "0.0.0.0:9464"),
        ("METRICS_TOKEN", "the-token-of-readers"),
    ];
    let shown = run(folder.path(), &["config"], &vars).await;
    assert!(shown.status.success(), "{}", stderr(&shown));
    assert!(!stdout(&shown).contains("the-token-of-readers"));
}

#[tokio::test]
async fn a_server_that_makes_backups_tells_when() {
    let folder = tempdir().unwrap();
    let idle = Served::start(folder.path(), &[]).await;
    let now = Samples::of(idle.address).await;
    assert!(!now.text.contains("mcp_backup"), "{}", now.text);
    drop(idle);
    let folder = tempdir().unwrap();
    let vars = [("BACKUP_SCHEDULE", "daily 03:00")];
    let served = Served::start(folder.path(), &vars).await;
    let now = Samples::of(served.address).await;
    assert!(
        now.text.contains("\nmcp_backup_failures_total 0\n"),
        "{}",
        now.text
    );
    let begun = "mcp_backup_last_success_timestamp_seconds";
    Samples::until(served.address, "a backup is made", |now| {
        now.get(begun) > 1e9
    })
    .await;
    let verified = "mcp_backup_last_verified_timestamp_seconds";
    Samples::until(served.address, "it is tried", |now| now.get(verified) > 1e9).await;
}

#[test]
fn the_page_of_metrics_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/metrics.md")).unwrap();
    assert!(page == mcp_notes::metrics::markdown(), "run `make docs`");
}

#[test]
fn what_stands_in_front_passes_none_of_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let nginx = fs::read_to_string(root.join("deploy/nginx/nginx.conf")).unwrap();
    assert!(nginx.contains("location ~ ^/(?:(?:metrics|livez|readyz)(?:/|$)|health/) {"));
}
