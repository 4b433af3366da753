//! Sentences in documents that can be wrong.

use std::{fs, path::Path};

use super::{Source, none, root, sources};

/// What stands between backticks in `text`.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    // Blocks of code have three of them, so an odd piece is quoted on either side of a block.
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|piece| !piece.contains('\n'))
}

#[test]
fn the_page_of_settings_is_current() {
    let page = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    assert!(page == mcp_notes::config::markdown(), "run `make docs`");
}

#[test]
fn what_the_architecture_names_is_there() {
    const ENDINGS: [&str; 6] = [".rs", ".md", ".toml", ".lock", ".sh", "/"];
    let root = root();
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let mut complaints = Vec::new();
    let mut laws = 0;
    for name in quoted(&page) {
        let (path, law) = name
            .split_once("::")
            .map_or((name, None), |(p, t)| (p, Some(t)));
        if name.contains(' ') || !ENDINGS.iter().any(|ending| path.ends_with(ending)) {
            continue;
        }
        // Paths of tests are given below `crates/`, for the table to fit a page.
        let place = if law.is_some() {
            root.join("crates").join(path)
        } else {
            root.join(path)
        };
        match (fs::read_to_string(&place), law) {
            (Ok(code), Some(law)) => {
                laws += 1;
                if !code.contains(&format!("fn {law}(")) {
                    complaints.push(format!("{path} has no {law}"));
                }
            }
            (Err(_), _) if !place.is_dir() => complaints.push(format!("no {path}")),
            _ => {}
        }
    }
    none(complaints);
    assert!(laws >= 10, "each invariant names the test that holds it");
    assert!(page.lines().count() <= 120, "two pages");
}

#[test]
fn links_lead_somewhere() {
    let mut complaints = Vec::new();
    for Source { path, text } in sources(&[".md"]) {
        let folder = root().join(&path);
        let folder = folder.parent().unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                root().join(&path)
            } else {
                folder.join(file)
            };
            if !target.exists() || (!anchor.is_empty() && !has_heading(&target, anchor)) {
                complaints.push(format!("{path}: {link}"));
            }
        }
    }
    none(complaints);
}

/// Whether a heading of the page at `path` has this anchor.
fn has_heading(path: &Path, anchor: &str) -> bool {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .filter(|line| line.starts_with('#'))
        .any(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept: String = words
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .collect();
            kept.replace(' ', "-") == anchor
        })
}

#[test]
fn commands_in_documents_exist() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let exists = |target: &str| {
        makefile
            .lines()
            .any(|l| l.starts_with(&format!("{target}:")))
    };
    let mut complaints = Vec::new();
    let mut seen = 0;
    for Source { path, text } in sources(&[".md"]) {
        let in_blocks = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("make "));
        let in_text = quoted(&text).filter_map(|piece| piece.strip_prefix("make "));
        for target in in_blocks
            .chain(in_text)
            .filter_map(|rest| rest.split_whitespace().next())
        {
            seen += 1;
            if !exists(target) {
                complaints.push(format!("{path}: make {target}"));
            }
        }
    }
    none(complaints);
    assert!(seen >= 4, "the documents name the commands");
}

#[test]
fn the_readme_begins_with_running_and_testing() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let commands: Vec<_> = text
        .split("```sh\n")
        .skip(1)
        .filter_map(|block| block.lines().next())
        .take(2)
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .collect();
    assert_eq!(commands, ["make run", "make test"]);
}
