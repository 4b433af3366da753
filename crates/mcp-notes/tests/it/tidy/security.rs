//! The table of threats in `docs/security.md` and the tests that it names.

use std::{collections::BTreeSet, fs};

use super::{functions, none, root, sources};

/// The table's column of tests, as `path::name`, and the rows that name none.
fn named(page: &str) -> (BTreeSet<String>, Vec<String>) {
    let mut names = BTreeSet::new();
    let mut bare = Vec::new();
    let rows = page.lines().filter(|line| {
        line.starts_with("| ") && !line.starts_with("| Threat ") && !line.starts_with("| --- ")
    });
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        let tests = cells.get(2).copied().unwrap_or_default();
        let own: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        if cells.len() != 3 || own.is_empty() {
            bare.push(row.to_owned());
        }
        names.extend(own.into_iter().map(ToOwned::to_owned));
    }
    (names, bare)
}

/// The functions of a file that are tests.
fn tests(text: &str) -> BTreeSet<String> {
    let attributes = ["#[test]", "#[tokio::test"];
    let parts = attributes.iter().flat_map(|it| text.split(it).skip(1));
    parts
        .filter_map(|part| functions(part).into_iter().next())
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn each_threat_names_tests_that_exist() {
    let page = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let (names, bare) = named(&page);
    assert!(names.len() > 100, "{names:?}");
    let mut complaints = bare;
    for name in names {
        let Some((path, law)) = name.split_once("::") else {
            complaints.push(format!("{name} names no test"));
            continue;
        };
        let text = fs::read_to_string(root().join("crates").join(path)).unwrap_or_default();
        // The contract of the stores is run by a macro.
        let is_law = path.starts_with("notes/tests/contract/")
            && functions(&text).iter().any(|(name, _)| name == law);
        if !is_law && !tests(&text).contains(law) {
            complaints.push(format!("{path} has no {law}"));
        }
    }
    none(complaints);
}

/// Whether a test is of an attack wherever it stands.
fn sounds_like_one(name: &str) -> bool {
    let words = ["bypass", "evasion", "spoofed"];
    words
        .iter()
        .any(|word| name.split('_').any(|it| it == *word))
}

#[test]
fn each_test_of_an_attack_stands_at_its_threat() {
    let page = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let (names, _) = named(&page);
    let mut seen = 0;
    let mut complaints = Vec::new();
    for file in sources(&[".rs"]) {
        let Some(path) = file.path.strip_prefix("crates/") else {
            continue;
        };
        let is_attack = path.contains("/tests/it/attack");
        let attacks = tests(&file.text).into_iter();
        for test in attacks.filter(|name| is_attack || sounds_like_one(name)) {
            seen += 1;
            if !names.contains(&format!("{path}::{test}")) {
                complaints.push(format!("{path}::{test}"));
            }
        }
    }
    assert!(seen > 50, "{seen}");
    none(complaints);
}
