//! The two formats, as others read them, and the table that says what is in them.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use mcp_serve::{
    metrics::{Kind, ROWS, Row},
    test_util::{RawResponse, Samples, tool},
};
use serde_json::json;

use super::call;
use crate::transport::probe::{self, Running};

const OPEN: &str = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";

/// A server that has done a bit of everything.
async fn busy() -> Running {
    let running = probe::start().await;
    let mut modern = running.server.modern();
    for (tool, arguments) in [
        ("echo", json!({})),
        ("echo", json!({"text": 1})),
        ("fail", json!({})),
        ("nobody", json!({})),
    ] {
        modern
            .call("tools/call", call(tool, arguments))
            .await
            .unwrap();
    }
    let legacy = running.server.legacy("2025-11-25").await;
    legacy.delete().await.unwrap();
    let ended = |now: &Samples| now.get("mcp_session_duration_seconds_count") > 0.5;
    Samples::until(running.server.addr(), "the session ended", ended).await;
    running
}

async fn read(running: &Running, accept: &str) -> RawResponse {
    let mut client = running.server.connect().await;
    let headers = [("Accept", accept)];
    let answer = client.request("GET", "/metrics", &headers, b"").await;
    answer.unwrap()
}

/// What `command` says when it is given `input`.
fn fed(command: &mut Command, input: &str) -> (bool, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let mut said = String::from_utf8(output.stdout).unwrap();
    said += &String::from_utf8(output.stderr).unwrap();
    (output.status.success(), said)
}

#[tokio::test]
async fn promtool_has_nothing_to_say() {
    let running = busy().await;
    let answer = read(&running, "text/plain").await;
    let kind = answer.header("content-type");
    assert_eq!(kind, Some("text/plain; version=0.0.4; charset=utf-8"));
    let mut promtool = Command::new(tool("promtool"));
    promtool.args(["check", "metrics"]);
    let said = fed(&mut promtool, &answer.text());
    assert_eq!(said, (true, String::new()));
    // It would say something of what is wrong.
    let wrong = "# TYPE sessions_total gauge\nsessions_total 1\n";
    assert!(!fed(&mut promtool, wrong).0);
}

/// Reads OpenMetrics as its reference implementation does, and says what it found, one line for each
/// sample.
const PARSE: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    for sample in family.samples:
        print(family.type, sample.name, len(sample.labels), float(sample.value))
";

#[tokio::test]
async fn openmetrics_are_read_by_their_reference_parser() {
    let running = busy().await;
    let answer = read(&running, OPEN).await;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), Some(kind));
    assert_eq!(answer.header("vary"), Some("accept"));
    let mut python = Command::new(tool("python"));
    let (is_right, said) = fed(python.args(["-c", PARSE]), &answer.text());
    assert!(is_right, "{said}");
    let samples = answer
        .text()
        .lines()
        .filter(|it| !it.starts_with('#'))
        .count();
    assert_eq!(said.lines().count(), samples);
    assert!(
        said.contains("counter mcp_tool_calls_total 2 1.0"),
        "{said}"
    );
    // It is strict.
    let mut python = Command::new(tool("python"));
    let cut = answer.text().replace("# EOF\n", "");
    assert!(!fed(python.args(["-c", PARSE]), &cut).0);
}

#[tokio::test]
async fn a_reader_gets_what_it_asks_for_and_only_with_get() {
    let running = probe::start().await;
    for accept in ["*/*", "text/html", ""] {
        let answer = read(&running, accept).await;
        assert!(!answer.text().contains("# EOF"), "{accept}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    let mut client = running.server.connect().await;
    let answer = client.request("POST", "/metrics", &[], b"").await.unwrap();
    assert_eq!(
        (answer.status, answer.header("allow")),
        (405, Some("GET, HEAD"))
    );
    client
        .send_request("HEAD", "/metrics", &[], b"")
        .await
        .unwrap();
    let head = client.read_response(true).await.unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
}

/// What takes more than one server, or a certificate, is moved by tests of its own.
const ELSEWHERE: [&str; 10] = [
    "mcp_rate_limit_decisions_total",
    "mcp_auth_failures_total",
    "mcp_health_check_up",
    "mcp_dependency_up",
    "mcp_dependency_duration_seconds",
    "mcp_dependency_errors_total",
    "mcp_tls_certificate_expiry_timestamp_seconds",
    "mcp_tls_certificate_not_before_timestamp_seconds",
    "mcp_build_info",
    "process_start_time_seconds",
];

#[tokio::test]
async fn what_is_read_is_what_the_table_says() {
    let running = busy().await;
    let now = Samples::of(running.server.addr()).await;
    let mut lines = now.text.lines().peekable();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let name = line.strip_prefix("# HELP ").unwrap();
        let (name, help) = name.split_once(' ').unwrap();
        let row = ROWS.iter().find(|row| row.name == name).unwrap();
        assert_eq!(help, row.help);
        let kind = format!("# TYPE {name} {}", row.kind.as_str());
        assert_eq!(lines.next(), Some(kind.as_str()));
        let mut samples = 0;
        while let Some(sample) = lines.next_if(|line| !line.starts_with('#')) {
            assert_eq!(labels(sample, row), row.labels, "{sample}");
            samples += 1;
        }
        assert!(samples > 0, "{name}");
        found.push(row.name);
    }
    let all = ROWS.iter().map(|row| row.name);
    let expected: Vec<_> = all.filter(|name| !ELSEWHERE.contains(name)).collect();
    found.retain(|name| !ELSEWHERE.contains(name));
    assert_eq!(found, expected);
}

/// The names of the labels of a sample, without that of buckets.
fn labels<'a>(sample: &'a str, row: &Row) -> Vec<&'a str> {
    let (name, rest) = sample.split_once(['{', ' ']).unwrap();
    let endings: &[&str] = match row.kind {
        Kind::Histogram(_) => &["_bucket", "_sum", "_count"],
        Kind::Counter | Kind::Gauge => &[""],
    };
    let ending = name.strip_prefix(row.name).unwrap();
    assert!(endings.contains(&ending), "{sample}");
    let mut names: Vec<_> = rest
        .split("=\"")
        .filter_map(|part| part.rsplit(['"', ',', '{']).next())
        .collect();
    names.pop();
    names.retain(|name| *name != "le");
    names
}

#[test]
fn every_row_can_be_written_in_both_formats() {
    for row in ROWS {
        assert!(!row.help.contains(['"', '\\', '\n']), "{}", row.name);
        assert!(row.help.ends_with('.'), "{}", row.name);
        let is_counter = row.kind == Kind::Counter;
        assert_eq!(row.name.ends_with("_total"), is_counter, "{}", row.name);
        if let Kind::Histogram(bounds) = row.kind {
            assert!(bounds.is_sorted(), "{}", row.name);
        }
    }
}
