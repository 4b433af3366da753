//! `mcp-notes audit --follow`, while the log is written, rotated and emptied under it.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::Path,
};

use serde_json::json;
use tempfile::tempdir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::ChildStdout,
    time::timeout,
};

use crate::process::{PATIENCE, command, signal};

fn append(path: &Path, text: &str) {
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn line(name: &str) -> String {
    json!({ "time": "2026-01-31T12:00:00.000Z", "action": name, "outcome": "ok" }).to_string()
}

async fn next(shown: &mut Lines<BufReader<ChildStdout>>) -> String {
    let line = timeout(PATIENCE, shown.next_line()).await;
    line.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn every_line_is_shown_once_though_the_file_is_rotated_and_emptied() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let name = |n: usize| format!("{:x<40}", format!("number_{n}_"));
    append(&path, &format!("{}\n", line(&name(0))));
    let args = ["audit", "--file", "audit.jsonl", "--follow", "--json"];
    let mut child = command(folder.path(), &args, &[]).spawn().unwrap();
    let mut shown = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(next(&mut shown).await, line(&name(0)));

    // In two pieces.
    let whole = format!("{}\n", line(&name(1)));
    append(&path, &whole[..20]);
    append(&path, &whole[20..]);
    assert_eq!(next(&mut shown).await, line(&name(1)));

    // Written just before the file got another name, and after.
    append(&path, &format!("{}\n", line(&name(2))));
    fs::rename(&path, folder.path().join("audit.jsonl.1")).unwrap();
    append(&path, &format!("{}\n", line(&name(3))));
    assert_eq!(next(&mut shown).await, line(&name(2)));
    assert_eq!(next(&mut shown).await, line(&name(3)));

    // Emptied, and shorter than it was.
    fs::write(&path, format!("{}\n", line("short"))).unwrap();
    assert_eq!(next(&mut shown).await, line("short"));
    assert!(child.try_wait().unwrap().is_none());
    signal(&child, "HUP").await;
    let status = timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(shown.next_line().await.unwrap(), None);
}
