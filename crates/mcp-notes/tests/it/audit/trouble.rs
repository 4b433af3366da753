//! The audit log of a running server that cannot be written.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::tempdir;
use tokio::time::sleep;

use super::{brief, lines, rest};
use crate::process::{PATIENCE, Served, run, shell, stderr};

/// How large a file may become here, in blocks of 512 bytes. The notes have room.
const BLOCKS: u64 = 16 << 10;

/// A server that cannot make a file larger than that, and has an audit log which is nearly so.
async fn confined(folder: &Path) -> Served {
    let path = folder.join("audit.jsonl");
    let mut log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    log.set_len(BLOCKS * 512 - 1000).unwrap();
    log.write_all(b"\n").unwrap();
    let script = format!("ulimit -f {BLOCKS} && trap '' XFSZ && exec \"$0\" serve");
    let vars = [
        ("AUDIT_LOG", "audit.jsonl"),
        ("LOG_FORMAT", "json"),
        ("PORT", "0"),
    ];
    let mut command = shell(folder, &script, &vars);
    command.stderr(Stdio::inherit());
    let served = Served::spawn(command).await;
    for _ in 0..5 {
        let answer = rest(&served, "GET", "/api/v1/notes", "").await;
        assert_eq!(answer.status, 200);
    }
    served
}

/// Waits until the report of health says `status`; what it says of the audit log.
async fn reported(served: &Served, status: &str) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = rest(served, "GET", "/health", "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let report = answer.json();
        if report["status"] == status {
            return report["checks"]["audit"].clone();
        }
        assert!(Instant::now() < until, "{report}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn count(log: &[Value], message: &str) -> usize {
    log.iter().filter(|line| line["msg"] == message).count()
}

#[tokio::test]
async fn a_server_goes_on_while_its_audit_log_cannot_be_written_and_then_tells_all() {
    let folder = tempdir().unwrap();
    let began = Instant::now();
    let served = confined(folder.path()).await;
    let audit = reported(&served, "degraded").await;
    assert_eq!(audit["status"], "error");
    assert!(
        audit["reason"].as_str().unwrap().contains("too large"),
        "{audit}"
    );
    let ready = rest(&served, "GET", "/readyz", "").await;
    assert_eq!(
        (ready.status, &ready.json()["status"]),
        (200, &"degraded".into())
    );
    let note = r#"{"title":"t","content":"c"}"#;
    let made = rest(&served, "POST", "/api/v1/notes", note).await;
    assert_eq!(made.status, 201);

    // A line stands half in the file; what remains of it must not begin the emptied one.
    let path = folder.path().join("audit.jsonl");
    assert!(!fs::read(&path).unwrap().ends_with(b"\n"));
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(0)
        .unwrap();
    let audit = reported(&served, "ok").await;
    assert_eq!(audit["status"], "ok");
    let (status, log) = served.stop().await;
    assert_eq!(status.code(), Some(0));
    let told: Vec<_> = lines(&path).iter().map(brief).collect();
    assert!(
        told.contains(&"rest create_note ok 201 1".to_owned()),
        "{told:?}"
    );
    let complaints = count(&log, "the audit log is not written");
    let minutes = usize::try_from(began.elapsed().as_secs() / 60).unwrap();
    assert!((1..=1 + minutes).contains(&complaints), "{complaints}");
    assert_eq!(count(&log, "the audit log is written again"), 1);
}

#[tokio::test]
async fn a_server_that_stops_says_how_many_lines_are_missing() {
    let folder = tempdir().unwrap();
    let served = confined(folder.path()).await;
    reported(&served, "degraded").await;
    let (status, log) = served.stop().await;
    assert_eq!(status.code(), Some(0));
    let last = "the audit log ends without its last lines";
    let line = log.iter().find(|line| line["msg"] == last).unwrap();
    assert!(line["lost"].as_u64().unwrap() >= 1, "{line}");
}

#[tokio::test]
async fn a_log_that_everybody_can_read_is_warned_of() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    fs::write(&path, "").unwrap();
    for (mode, is_odd) in [(0o644, true), (0o640, false)] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let done = run(folder.path(), &["stdio"], &[("AUDIT_LOG", "audit.jsonl")]).await;
        assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
        let said = stderr(&done);
        assert_eq!(said.contains("everybody on this machine"), is_odd, "{said}");
    }
}
