//! The session in the README is a real one: its commands run here, and their output is compared.

use std::{fmt::Write as _, fs};

use tempfile::tempdir;
use tokio::{process::Command, time::timeout};

use super::root;
use crate::process::{PATIENCE, Served};

/// Stands for what differs from run to run.
const MASK: &str = "…";

/// The commands of the README with what they print.
fn commands(readme: &str) -> Vec<(String, String)> {
    let blocks = readme
        .split("```console\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let mut found: Vec<(String, String)> = Vec::new();
    for line in blocks.flat_map(str::lines) {
        match (line.strip_prefix("$ "), found.last_mut()) {
            (Some(command), _) => found.push((command.to_owned(), String::new())),
            (None, Some((command, output))) if output.is_empty() && line.starts_with("    ") => {
                command.push('\n');
                command.push_str(line);
            }
            (None, Some((_, output))) => {
                output.push_str(line);
                output.push('\n');
            }
            (None, None) => panic!("a block begins with {line:?}"),
        }
    }
    found
}

/// `text` without ids, times and session names.
fn masked(text: &str) -> String {
    let is_part =
        |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == ':' || c == '.';
    let mut out = String::new();
    for piece in text.split_inclusive(|c| !is_part(c)) {
        let word = piece.trim_end_matches(|c| !is_part(c));
        let is_uuid = word.len() == 36 && word.matches('-').count() == 4;
        let is_time = word.len() >= 20 && word.ends_with('Z') && word.contains('T');
        if is_uuid || is_time {
            out.push_str(MASK);
            out.push_str(&piece[word.len()..]);
        } else {
            out.push_str(piece);
        }
    }
    out
}

#[tokio::test]
async fn the_session_in_the_readme_is_what_happens() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let commands = commands(&readme);
    assert!(commands.len() > 10, "{commands:?}");
    let folder = tempdir().unwrap();
    let served = Served::start(folder.path(), &[]).await;
    let end = "-- end of the output --";
    let mut script = String::new();
    for (command, _) in &commands {
        writeln!(
            script,
            "{command}
echo '
{end}'"
        )
        .unwrap();
    }
    let script = script.replace("127.0.0.1:3000", &served.address.to_string());
    let run = Command::new("bash")
        .arg("-c")
        .arg(script)
        .current_dir(folder.path())
        .output();
    let output = timeout(PATIENCE, run).await.unwrap().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let outputs: Vec<_> = text.split(end).map(str::trim).collect();
    for ((command, expected), found) in commands.iter().zip(outputs) {
        assert_eq!(
            masked(found),
            masked(expected.trim()),
            "{command}\nprints\n{found}"
        );
    }
}
