//! The binary as the unit of systemd and the containers run it, as far as that goes without them: nobody's
//! user, no privilege and none to be had, a root that is read-only, a `/tmp` of its own, and one folder that
//! can be written.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, process::Stdio};

use mcp_serve::test_util::RawClient;
use tempfile::tempdir;
use tokio::process::Command;

use crate::process::{Served, command, text};

/// The user of the image.
const USER: u32 = 65532;

/// What root does before it becomes that user: `$1` is the folder to write to, `$2` the program. Each
/// `exec` keeps the process, so that signals reach the program.
const AS_ROOT: &str = r#"
set -eu
mount -t tmpfs tmpfs /mnt
mkdir /mnt/state
touch /mnt/mcp-notes
mount --bind "$2" /mnt/mcp-notes
mount --bind "$1" /mnt/state
mount -t tmpfs -o nosuid,nodev,noexec,mode=1777 tmpfs /tmp
mount -o remount,bind,ro /mnt/mcp-notes
mount -o remount,ro /mnt
mount -o remount,bind,ro /
ulimit -c 0
cd /mnt/state
umask 077
exec setpriv --reuid 65532 --regid 65532 --clear-groups --no-new-privs \
    --bounding-set=-all -- /mnt/mcp-notes serve
"#;

/// Whether this user may make a world of mounts of its own.
async fn may_mount() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--", "true"]);
    command.stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}

/// What the system says of a process.
fn about(id: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|it| it.strip_prefix(field));
    line.unwrap().trim().to_owned()
}

fn confined(state: &Path, vars: &[(&str, &str)]) -> Command {
    let program = command(state, &[], &[]);
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--ipc", "--uts", "--propagation", "private"])
        .args(["--", "/bin/sh", "-c", AS_ROOT, "sh", text(state)])
        .arg(program.as_std().get_program())
        .current_dir("/")
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(vars.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    command
}

#[tokio::test]
async fn it_serves_from_a_read_only_root_as_nobody_and_writes_to_its_own_folder_alone() {
    if !may_mount().await {
        println!("NOT CONFINED: this user may not make mounts of its own; run it as root");
        return;
    }
    let folder = tempdir().unwrap();
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    std::os::unix::fs::chown(&state, Some(USER), Some(USER)).unwrap();
    let vars = [("PORT", "0"), ("LOG_FORMAT", "json")];
    let served = Served::spawn(confined(&state, &vars)).await;

    let id = served.child.id().unwrap();
    for (field, expected) in [
        ("Uid:", "65532\t65532\t65532\t65532"),
        ("Gid:", "65532\t65532\t65532\t65532"),
        ("CapEff:", "0000000000000000"),
        ("CapBnd:", "0000000000000000"),
        ("NoNewPrivs:", "1"),
    ] {
        assert_eq!(about(id, field), expected, "{field}");
    }
    let mounts = fs::read_to_string(format!("/proc/{id}/mountinfo")).unwrap();
    let of_root = mounts
        .lines()
        .find(|line| line.split(' ').nth(4) == Some("/"));
    let options = of_root.unwrap().split(' ').nth(5).unwrap();
    assert!(options.split(',').any(|option| option == "ro"), "{options}");

    let mut client = RawClient::connect(served.address).await.unwrap();
    let kept = br#"{"title":"confined","content":"text"}"#;
    let json = [("content-type", "application/json")];
    let made = client.request("POST", "/api/v1/notes", &json, kept).await;
    assert_eq!(made.unwrap().status, 201);
    let port = served.port();
    let mut healthy = command(&state, &["healthcheck"], &[("PORT", &port)]);
    assert!(healthy.status().await.unwrap().success());
    let (status, log) = served.stop().await;
    assert!(status.success());
    assert!(log.iter().any(|line| line["msg"] == "drained"), "{log:?}");

    let notes = fs::metadata(state.join("data/notes.db")).unwrap();
    assert_eq!((notes.uid(), notes.mode() & 0o777), (USER, 0o600));
    let beside: Vec<_> = fs::read_dir(&state).unwrap().flatten().collect();
    assert_eq!(beside.len(), 1, "{beside:?}");

    // Anywhere else there is nothing to write to.
    let elsewhere = [("PORT", "0"), ("NOTES_STORE", "sqlite:/var/lib/notes.db")];
    let refused = confined(&state, &elsewhere).stderr(Stdio::piped()).output();
    let refused = refused.await.unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("NOTES_STORE"), "{told}");
}
