//! The audit log: what leaves a line, what a line holds, and that none is lost or made up.

mod follow;
mod trouble;

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    time::{Duration, Instant},
};

use mcp_notes::audit::{REASONS, read::Record};
use mcp_serve::test_util::{Legacy, Modern, RawClient, RawResponse};
use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::time::sleep;

use crate::process::{PATIENCE, Served, run, shell, signal, stderr, stdout};

const PAGE: &str = include_str!("../../../../docs/audit.md");

/// The lines of an audit log, without those that say that a server began.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().map(|line| {
        assert!(Record::parse(line.as_bytes()).is_some(), "{line}");
        serde_json::from_str(line).unwrap()
    });
    lines
        .filter(|line: &Value| line["action"] != "server.start")
        .collect()
}

/// Waits until the log at `path` has `count` lines.
async fn wait_for(path: &Path, count: usize) -> Vec<Value> {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = lines(path);
        if found.len() >= count {
            return found;
        }
        assert!(Instant::now() < until, "{found:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// `face action outcome reason status version` of a line.
fn brief(line: &Value) -> String {
    let fields = ["face", "action", "outcome", "reason", "status", "version"];
    let words = fields.iter().filter_map(|name| match &line[*name] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    });
    words.collect::<Vec<_>>().join(" ")
}

async fn rest(served: &Served, method: &str, path: &str, body: &str) -> RawResponse {
    let mut client = RawClient::connect(served.address).await.unwrap();
    let json = [("content-type", "application/json")];
    let headers = if body.is_empty() { &[] } else { &json[..] };
    client
        .request(method, path, headers, body.as_bytes())
        .await
        .unwrap()
}

#[tokio::test]
async fn every_operation_leaves_a_line_whichever_face_it_comes_through() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("logs/audit.jsonl");
    let vars = [("AUDIT_LOG", "logs/audit.jsonl")];
    let served = Served::start(folder.path(), &vars).await;
    let mut mcp = Modern::new(served.address);
    let mut tool = async |name: &str, arguments: Value| {
        let params = json!({ "name": name, "arguments": arguments });
        mcp.call("tools/call", params).await.unwrap()
    };
    let new = json!({ "title": "t", "content": "c", "tags": ["tag"] });
    let made = tool("create_note", new).await.result()["structuredContent"].clone();
    let id = made["id"].as_str().unwrap();
    tool(
        "update_note",
        json!({ "id": id, "title": "u", "expected_version": 9 }),
    )
    .await;
    tool(
        "update_note",
        json!({ "id": id, "title": "u", "expected_version": 1 }),
    )
    .await;
    tool("search_notes", json!({ "query": "c" })).await;
    tool("no_such_tool", json!({})).await;
    let one = format!("/api/v1/notes/{id}");
    rest(&served, "GET", &one, "").await;
    rest(&served, "GET", "/api/v1/notes/nothing", "").await;
    rest(&served, "PATCH", &one, "{").await;
    rest(&served, "PUT", &one, r#"{"title":"","content":"c"}"#).await;
    let uri = json!({ "uri": format!("note:///{id}") });
    mcp.call("resources/read", uri).await.unwrap();
    let prompt = json!({ "name": "summarize_note", "arguments": { "note_id": id } });
    mcp.call("prompts/get", prompt).await.unwrap();
    let place = json!({ "ref": { "type": "ref/resource", "uri": "note:///{id}" },
        "argument": { "name": "id", "value": "u" } });
    mcp.call("completion/complete", place).await.unwrap();
    mcp.call("resources/list", json!({})).await.unwrap();
    let mut browser = RawClient::connect(served.address).await.unwrap();
    let headers = [("accept", "text/html")];
    let page = browser.request("GET", &one, &headers, b"").await.unwrap();
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    rest(&served, "DELETE", &one, "").await;
    let all = json!({ "notifications": { "resourcesListChanged": true } });
    drop(mcp.open("subscriptions/listen", all).await.unwrap());
    let session = Legacy::initialize(served.address, "2025-11-25").await;
    drop(session.unwrap().open_get().await.unwrap());
    let (status, _) = served.stop().await;
    assert_eq!(status.code(), Some(0));

    let found = lines(&path);
    let briefs: Vec<_> = found.iter().map(brief).collect();
    assert_eq!(
        briefs,
        [
            "mcp create_note ok 1",
            "mcp update_note refused conflict",
            "mcp update_note ok 2",
            "mcp search_notes ok",
            "mcp unknown_tool refused invalid",
            "rest get_note ok 200 2",
            "rest get_note refused not_found 404",
            "rest update_note refused bad-request 400",
            "rest update_note refused invalid 422",
            "mcp read_resource ok",
            "mcp get_prompt ok",
            "mcp complete ok",
            "mcp list_resources ok",
            "rest get_note ok 200 2",
            "rest delete_note ok 204",
            "mcp listen ok",
            "mcp listen ok",
        ]
    );
    for at in [0, 1, 2, 5, 7, 8, 9, 10, 13, 14] {
        assert_eq!(found[at]["note"], made["id"], "{}", found[at]);
    }
    for line in &found {
        assert_eq!(line["target"], "audit");
        assert_eq!(line["client"], "127.0.0.1");
        assert_eq!(line["principal"], json!({ "subject": "anonymous" }));
        assert!(line["request_id"].is_string(), "{line}");
        if let Some(reason) = line["reason"].as_str() {
            assert!(REASONS.contains(&reason), "{line}");
        }
        is_documented(line);
    }
    let bits = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(bits & 0o777, 0o600);
}

/// Every field of `line` is in a row of the documentation.
fn is_documented(line: &Value) {
    let objects = [line.as_object(), line["principal"].as_object()];
    for name in objects
        .into_iter()
        .flatten()
        .flat_map(|object| object.keys())
    {
        assert!(PAGE.contains(&format!("| `{name}` |")), "{name}");
    }
}

#[test]
fn the_documentation_has_every_reason() {
    let (_, list) = PAGE.split_once("The reasons of operations are:").unwrap();
    let (list, _) = list.split_once(". `cut`").unwrap();
    let documented: Vec<_> = list.split('`').skip(1).step_by(2).collect();
    assert_eq!(documented, REASONS);
    let (_, list) = PAGE.split_once("The edge has words of its own:").unwrap();
    let (list, _) = list.split_once("; and").unwrap();
    let documented: Vec<_> = list.split('`').skip(1).step_by(2).collect();
    assert_eq!(documented, mcp_serve::audit::REASONS);
}

#[tokio::test]
async fn refusals_of_the_edge_are_told_and_a_flood_of_them_is_one_line_with_a_count() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let served = Served::start(folder.path(), &[("AUDIT_LOG", "audit.jsonl")]).await;
    let mut client = RawClient::connect(served.address).await.unwrap();
    for _ in 0..25 {
        let headers = [("host", "evil.example"), ("user-agent", "x\"}\u{9b}\\n")];
        let answer = client.request("DELETE", "/api/v1/notes/x", &headers, b"");
        assert_eq!(answer.await.unwrap().status, 403);
    }
    served.stop().await;
    let found = lines(&path);
    assert_eq!(found.len(), 11, "{found:?}");
    for line in &found {
        assert_eq!(brief(line), "rest delete_note refused host 403");
        is_documented(line);
    }
    assert_eq!(found[10]["count"], 15);
}

#[tokio::test]
async fn without_reads_only_those_that_fail_leave_a_line() {
    let folder = tempdir().unwrap();
    let vars = [("AUDIT_LOG", "audit.jsonl"), ("AUDIT_READS", "false")];
    let served = Served::start(folder.path(), &vars).await;
    rest(&served, "GET", "/api/v1/notes", "").await;
    rest(&served, "GET", "/api/v1/notes/x", "").await;
    rest(
        &served,
        "POST",
        "/api/v1/notes",
        r#"{"title":"t","content":"c"}"#,
    )
    .await;
    served.stop().await;
    let briefs: Vec<_> = lines(&folder.path().join("audit.jsonl"))
        .iter()
        .map(brief)
        .collect();
    assert_eq!(
        briefs,
        [
            "rest get_note refused not_found 404",
            "rest create_note ok 201 1"
        ]
    );
}

#[tokio::test]
async fn making_and_revoking_a_token_leave_a_line_without_the_token() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("data/audit.jsonl");
    let vars = [("AUTH_MODE", "token")];
    let words = ["token", "create", "--name", "laptop", "--owner", "ann"];
    let made = run(folder.path(), &words, &vars).await;
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    run(folder.path(), &words, &vars).await;
    run(folder.path(), &["token", "revoke", "laptop"], &vars).await;
    let found = lines(&path);
    let briefs: Vec<_> = found.iter().map(brief).collect();
    assert_eq!(
        briefs,
        [
            "cli token.create ok",
            "cli token.create failed other",
            "cli token.revoke ok"
        ]
    );
    assert!(found[0]["token"].is_string());
    assert_eq!(found[0]["token"], found[2]["token"]);
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains(stdout(&made).trim()), "{text}");
}

#[tokio::test]
async fn a_move_of_everything_leaves_a_line() {
    let folder = tempdir().unwrap();
    let store = [("NOTES_STORE", "sqlite:a.db")];
    let words = ["token", "create", "--name", "laptop", "--owner", "ann"];
    let made = run(folder.path(), &words, &store).await;
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    for (from, code) in [("sqlite:a.db", 0), ("sqlite:none.db", 1)] {
        let words = ["migrate", "--from", from, "--to", "sqlite:b.db"];
        let moved = run(folder.path(), &words, &[]).await;
        assert_eq!(moved.status.code(), Some(code), "{}", stderr(&moved));
    }
    let found = lines(&folder.path().join("data/audit.jsonl"));
    let briefs: Vec<_> = found.iter().map(brief).collect();
    let expected = [
        "cli token.create ok",
        "cli migrate ok",
        "cli migrate failed other",
    ];
    assert_eq!(briefs, expected);
}

#[tokio::test]
async fn who_may_come_in_is_written_down_without_any_setting_and_whatever_is_printed() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("data/audit.jsonl");
    // What nobody could read has been made all the same.
    let script = "\"$0\" token create --name lost --owner ann >/dev/full";
    let made = shell(folder.path(), script, &[]).output().await.unwrap();
    assert_eq!(made.status.code(), Some(1), "{}", stderr(&made));
    run(folder.path(), &["token", "revoke", "lost"], &[]).await;
    let found = lines(&path);
    let briefs: Vec<_> = found.iter().map(brief).collect();
    assert_eq!(briefs, ["cli token.create ok", "cli token.revoke ok"]);
    assert!(found[0]["token"].is_string());
    assert_eq!(found[0]["token"], found[1]["token"]);
    let shown = run(folder.path(), &["audit", "--json"], &[]).await;
    assert_eq!(stdout(&shown).lines().count(), 2, "{}", stderr(&shown));

    let off = [("AUDIT_LOG", "off")];
    let words = ["token", "create", "--name", "other", "--owner", "ann"];
    let made = run(folder.path(), &words, &off).await;
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    assert_eq!(lines(&path).len(), 2);
}

#[tokio::test]
async fn a_log_that_cannot_be_written_stops_the_start() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    symlink("file", folder.path().join("link")).unwrap();
    let paths = [
        "file/audit.jsonl",
        "/proc/nothing/audit.jsonl",
        ".",
        "/dev/full",
        "link",
    ];
    for path in paths {
        for command in ["serve", "stdio"] {
            let done = run(folder.path(), &[command], &[("AUDIT_LOG", path)]).await;
            assert_eq!(done.status.code(), Some(78), "{path}: {}", stderr(&done));
            assert!(stderr(&done).contains("AUDIT_LOG"), "{}", stderr(&done));
        }
    }
    assert!(!folder.path().join("data").exists());
    assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"");
}

#[tokio::test]
async fn a_renamed_log_is_begun_anew_and_a_cut_line_spoils_no_other() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let old = folder.path().join("audit.jsonl.1");
    fs::write(&path, r#"{"time":"2026-01-31T12:00:00Z","act"#).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let served = Served::start(folder.path(), &[("AUDIT_LOG", "audit.jsonl")]).await;
    let text = fs::read_to_string(&path).unwrap();
    let (cut, start) = text.trim_end().split_once('\n').unwrap();
    assert!(cut.ends_with("\"act"), "{text}");
    let start: Value = serde_json::from_str(start).unwrap();
    assert_eq!(brief(&start), "server server.start ok");
    is_documented(&start);
    fs::write(&path, "").unwrap();

    rest(&served, "GET", "/api/v1/notes", "").await;
    wait_for(&path, 1).await;
    fs::rename(&path, &old).unwrap();
    rest(&served, "GET", "/api/v1/notes/x", "").await;
    let second = wait_for(&path, 1).await;
    assert_eq!(second[0]["action"], "get_note");
    fs::remove_file(&path).unwrap();
    signal(&served.child, "HUP").await;
    let until = Instant::now() + PATIENCE;
    while !path.exists() {
        assert!(Instant::now() < until, "SIGHUP makes a new file");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(served.stop().await.0.code(), Some(0));
    assert_eq!(lines(&old).len(), 1);
}

#[tokio::test]
async fn standard_output_carries_both_logs_in_whole_lines() {
    let folder = tempdir().unwrap();
    let served = Served::start(folder.path(), &[("AUDIT_LOG", "stdout")]).await;
    for _ in 0..50 {
        rest(&served, "GET", "/api/v1/notes", "").await;
    }
    // Served reads every line as JSON.
    let (_, log) = served.stop().await;
    let audit = log.iter().filter(|line| line["target"] == "audit");
    assert_eq!(audit.count(), 50);
}

#[tokio::test]
async fn the_command_shows_what_is_asked_for_and_stands_a_cut_line() {
    let folder = tempdir().unwrap();
    let line = |subject: &str, outcome: &str| {
        json!({ "time": "2026-01-31T12:00:00.000Z", "action": "get_note", "outcome": outcome,
            "face": "rest", "principal": { "subject": subject } })
        .to_string()
    };
    let (alice, mallory) = (
        line("alice", "ok"),
        line("\u{1b}]0;mallory\u{9b}", "refused"),
    );
    let text = format!("{alice}\nno line\n{mallory}\n{}", &alice[..40]);
    fs::write(folder.path().join("log"), text).unwrap();
    let show = async |args: &[&str]| {
        let args = [&["audit", "--file", "log"], args].concat();
        run(folder.path(), &args, &[]).await
    };
    let all = show(&[]).await;
    assert_eq!(all.status.code(), Some(0), "{}", stderr(&all));
    assert_eq!(stdout(&all).lines().count(), 3, "{}", stdout(&all));
    assert!(!stdout(&all).contains(|c: char| c.is_control() && c != '\n'));
    assert!(stderr(&all).contains("1 line"), "{}", stderr(&all));
    let json = show(&["--json", "--outcome", "ok", "--principal", "alice"]).await;
    assert_eq!(stdout(&json), format!("{alice}\n"));
    let none = show(&["--json", "--since", "1h"]).await;
    // The clock of the machine is far from the times above.
    assert_eq!(stdout(&none), "");
    let wrong = show(&["--since", "yesterday"]).await;
    assert_eq!(wrong.status.code(), Some(1));
    let off = run(folder.path(), &["audit"], &[("AUDIT_LOG", "off")]).await;
    assert!(stderr(&off).contains("--file"), "{}", stderr(&off));
}
