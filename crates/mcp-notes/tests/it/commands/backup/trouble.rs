//! What goes wrong: nothing is lost, nothing half made is left under the name of an archive, and the
//! exit code says so.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use tempfile::tempdir;
use tokio::time::timeout;

use super::{archives, filled};
use crate::process::{PATIENCE, run, shell, stderr, stdout};

/// The names in a folder, without the lock.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".mcp-notes-backup.lock")
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_disk_that_is_full_leaves_what_was_there() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    filled(at).await;
    let first = run(at, &["backup"], &[]).await;
    assert!(first.status.success(), "{}", stderr(&first));
    let kept = at.join("data/backups");
    let before = names(&kept);
    // No file may grow beyond half a kilobyte, as where a disk is full.
    let script = r#"trap '' XFSZ; ulimit -f 1; exec "$0" backup"#;
    let full = timeout(
        PATIENCE,
        shell(at, script, &[("AUDIT_LOG", "off")]).output(),
    );
    let full = full.await.unwrap().unwrap();
    assert_eq!(full.status.code(), Some(1), "{}", stderr(&full));
    assert_eq!(names(&kept), before);
    let next = run(at, &["backup"], &[]).await;
    assert!(next.status.success(), "{}", stderr(&next));
    assert_eq!(archives(&kept).len(), 2);
}

#[tokio::test]
async fn a_folder_that_cannot_be_is_said() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    filled(at).await;
    fs::write(at.join("file"), "").unwrap();
    for place in ["file", "file/below", "/sys/none"] {
        let output = run(at, &["backup", "--to", place], &[]).await;
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(place), "{said}");
    }
    let nothing = [("NOTES_STORE", "sqlite:none.db")];
    let output = run(at, &["backup"], &nothing).await;
    assert!(
        stderr(&output).contains("there is no such file"),
        "{}",
        stderr(&output)
    );
    assert!(!at.join("none.db").exists());
    let output = run(at, &["backup", "--no-such"], &[]).await;
    assert_eq!(output.status.code(), Some(2));
    let listed = run(at, &["backups", "--dir", "none"], &[]).await;
    assert!(listed.status.success());
    assert_eq!(stdout(&listed).lines().count(), 1);
}

#[tokio::test]
async fn a_restore_overwrites_only_when_told_and_only_with_what_is_whole() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    filled(at).await;
    assert!(run(at, &["backup"], &[]).await.status.success());
    let archive = archives(&at.join("data/backups"))[0].clone();
    let name = archive.file_name().unwrap().to_str().unwrap();
    let checksum = |text: &str| text.split("checksum ").nth(1).unwrap()[..64].to_owned();
    let have = async || checksum(&stdout(&run(at, &["backup", "--to", "now"], &[]).await));
    let before = have().await;

    let refused = run(at, &["restore", name], &[]).await;
    let said = stderr(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("1 notes and 1 tokens already"), "{said}");
    assert!(said.contains("--replace"), "{said}");
    let mut bytes = fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(at.join("broken.mcpnotes"), &bytes).unwrap();
    fs::write(at.join("short.mcpnotes"), &bytes[..middle]).unwrap();
    for (file, words) in [
        ("broken.mcpnotes", "it is damaged"),
        ("short.mcpnotes", "it is damaged"),
        ("data/notes.db", "it is not an archive of notes"),
        ("none.mcpnotes", "No such file"),
    ] {
        let refused = run(at, &["restore", file, "--replace"], &[]).await;
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains(words), "{said}");
        assert_eq!(have().await, before);
    }
    // What the list knows of a broken one.
    fs::write(&archive, &bytes).unwrap();
    let tried = run(at, &["backups", "verify", name], &[]).await;
    assert_eq!(tried.status.code(), Some(1), "{}", stderr(&tried));
    let listed = stdout(&run(at, &["backups"], &[]).await);
    assert!(listed.contains("broken"), "{listed}");

    let whole = archives(&at.join("now"))[0].clone();
    fs::set_permissions(at.join("data/notes.db"), Permissions::from_mode(0o640)).unwrap();
    let done = run(at, &["restore", whole.to_str().unwrap(), "--replace"], &[]).await;
    assert!(done.status.success(), "{}", stderr(&done));
    let said = stderr(&done);
    assert!(said.contains("what was there is kept: "), "{said}");
    assert!(said.contains("notes.db.before-"), "{said}");
    assert_eq!(have().await, before);
    let mode = fs::metadata(at.join("data/notes.db"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    let lines = fs::read_to_string(at.join("data/audit.jsonl")).unwrap();
    let of = |outcome: &str| {
        let line = format!(r#""action":"restore","outcome":"{outcome}""#);
        lines.lines().filter(|it| it.contains(&line)).count()
    };
    assert_eq!((of("ok"), of("failed")), (1, 5), "{lines}");
}
