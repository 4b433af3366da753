//! What the compiler does not hold: the shape of the code, the arrows between crates, and documents
//! that must be true.

mod documents;
mod security;
mod session;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The most lines of a file and of a function of the program: about 70 for the latter, as rustfmt
/// breaks them.
const PROGRAM_LINES_MAX: (usize, usize) = (500, 75);

/// The same of tests: a story, or a table of cases, does not read better for being cut up.
const TEST_LINES_MAX: (usize, usize) = (700, 150);

/// Files that may be longer, and why.
const LONG_FILES: &[(&str, &str)] = &[(
    "crates/mcp-serve/src/transport/legacy.rs",
    "the path of a request with a session, from its checks to its answer, in one place",
)];

/// Functions that may be longer, and why.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// A file of the repository: its path from the root, with `/`, and its text.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Every text file of the repository whose name ends in one of `endings`; all for none.
pub(crate) fn sources(endings: &[&str]) -> Vec<Source> {
    let root = root();
    let mut found: Vec<_> = tracked(&root)
        .unwrap_or_else(|| unpacked(&root))
        .into_iter()
        .filter(|path| endings.is_empty() || endings.iter().any(|ending| path.ends_with(ending)))
        .filter_map(|path| {
            let text = fs::read_to_string(root.join(&path)).ok()?;
            Some(Source { path, text })
        })
        .collect();
    assert!(!found.is_empty(), "nothing ends in {endings:?}");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// What git keeps or would take in; `None` where it does not keep this folder.
fn tracked(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others"])
        .arg("--exclude-standard")
        .current_dir(root)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    let paths: Vec<_> = text.split_terminator('\0').map(ToOwned::to_owned).collect();
    (output.status.success() && !paths.is_empty()).then_some(paths)
}

/// What was unpacked here, without what building and running leave behind.
fn unpacked(root: &Path) -> Vec<String> {
    const NOT_OURS: [&str; 4] = ["target", "data", "node_modules", "__pycache__"];
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_hidden = name.starts_with('.') && name != ".ci";
            if !path.is_dir() {
                let path = path.strip_prefix(root).unwrap();
                found.push(path.to_str().unwrap().to_owned());
            } else if !is_hidden && !NOT_OURS.contains(&name) {
                folders.push(path);
            }
        }
    }
    found
}

/// Fails with every complaint there is.
pub(crate) fn none(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<_> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Files of the three crates that become part of the program.
fn program() -> Vec<Source> {
    let all = sources(&[".rs"]);
    all.into_iter()
        .filter(|file| file.path.contains("/src/"))
        .collect()
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = |file: &Source| {
        let first = file.text.lines().next().unwrap_or_default();
        !first.starts_with("//! ") || first.len() < 10
    };
    let files = sources(&[".rs"]);
    none(files.into_iter().filter(silent).map(|file| file.path));
}

#[test]
fn files_and_functions_are_short() {
    let mut complaints = Vec::new();
    for Source { path, text } in sources(&[".rs"]) {
        let is_program = path.contains("/src/") && !path.contains("test_util");
        let (file_max, function_max) = if is_program {
            PROGRAM_LINES_MAX
        } else {
            TEST_LINES_MAX
        };
        let lines = text.lines().count();
        let may_be_long = LONG_FILES.iter().any(|(long, _)| *long == path);
        if lines > file_max && !may_be_long {
            complaints.push(format!("{path}: {lines} lines, at most {file_max}"));
        }
        for (name, lines) in functions(&text) {
            let may_be_long = LONG_FUNCTIONS
                .iter()
                .any(|(file, long, _)| *file == path && *long == name);
            if lines > function_max && !may_be_long {
                complaints.push(format!(
                    "{path}: {name}: {lines} lines, at most {function_max}"
                ));
            }
        }
    }
    none(complaints);
}

/// Name and number of lines of every function. The form that rustfmt gives shows where one ends.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<_> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let bare = line.trim_start();
        let Some((before, after)) = bare.split_once("fn ") else {
            continue;
        };
        let is_item = before.split_whitespace().all(|word| {
            word.starts_with("pub") || ["const", "async", "extern", "crate)"].contains(&word)
        });
        if !is_item || bare.starts_with("//") {
            continue;
        }
        let indent = &line[..line.len() - bare.len()];
        let ends = [format!("{indent}}}"), format!("{indent});")];
        let length = lines[start..]
            .iter()
            .position(|line| {
                ends.iter().any(|end| end == line)
                    || (line.starts_with(indent) && !line[indent.len()..].starts_with(' '))
                        && (line.ends_with("{}") || line.ends_with(';'))
            })
            .map_or(1, |end| end + 1);
        let name = after
            .split(['(', '<'])
            .next()
            .unwrap_or_default()
            .to_owned();
        found.push((name, length));
    }
    found
}

#[test]
fn functions_are_measured_as_they_are() {
    let text = "pub async fn a() {\n    b();\n}\n\nimpl X {\n    fn c(\n        d: u8,\n    ) -> u8 {\n        \
                d\n    }\n\n    fn e();\n}\n// a fn in words\nlet f = |fn_name| 1;\n";
    assert_eq!(
        functions(text),
        [("a".into(), 3), ("c".into(), 5), ("e".into(), 1)]
    );
}

#[test]
fn no_module_is_named_for_nothing_in_particular() {
    const NAMES: [&str; 8] = [
        "util", "utils", "helper", "helpers", "common", "misc", "shared", "mod",
    ];
    let vague = |path: &str| {
        let path = path.trim_end_matches(".rs");
        path.split('/').any(|part| NAMES.contains(&part))
    };
    none(
        sources(&[".rs"])
            .into_iter()
            .map(|f| f.path)
            .filter(|path| vague(path)),
    );
}

#[test]
fn only_the_settings_read_the_environment() {
    const READS: [&str; 4] = ["env::var", "env::vars", "option_env!", "env::args"];
    let reads = |file: &Source| {
        // The helpers of tests ask where the test tools are.
        let may_read = file.path == "crates/mcp-notes/src/config/read.rs"
            || file.path == "crates/mcp-serve/src/test_util.rs";
        !may_read && READS.iter().any(|read| file.text.contains(read))
    };
    none(program().into_iter().filter(reads).map(|file| file.path));
}

#[test]
fn routes_are_where_routes_are_listed() {
    const LISTS: [&str; 3] = [
        "crates/mcp-serve/src/router.rs",
        "crates/mcp-notes/src/rest.rs",
        "crates/mcp-notes/src/web.rs",
    ];
    let lists = |file: &Source| {
        let routes = [".route(", ".nest(", ".layer("]
            .iter()
            .any(|r| file.text.contains(r));
        routes && !LISTS.contains(&file.path.as_str())
    };
    none(program().into_iter().filter(lists).map(|file| file.path));
}

/// The names of everything that `package` is built from.
fn tree(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
        ])
        .args(["--format", "{lib}", "--package", package])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let names: Vec<_> = text
        .lines()
        .map(|line| line.trim().replace('_', "-"))
        .collect();
    assert!(names.iter().any(|name| name == package), "{names:?}");
    names
}

#[test]
fn arrows_between_crates_are_the_allowed_ones() {
    const PROTOCOLS: [&str; 9] = [
        "axum",
        "clap",
        "http",
        "hyper",
        "hyper-util",
        "mcp-notes",
        "mcp-serve",
        "rmcp",
        "tower",
    ];
    let forbidden = |package: &str, names: &[&str]| -> Vec<String> {
        let tree = tree(package);
        let found = names
            .iter()
            .filter(|name| tree.iter().any(|used| used == *name));
        found.map(|name| format!("{package} -> {name}")).collect()
    };
    none(forbidden("notes", &PROTOCOLS));
    none(forbidden(
        "mcp-serve",
        &["clap", "mcp-notes", "mongodb", "notes", "rusqlite"],
    ));
}

#[test]
fn every_dependency_is_used() {
    let files = sources(&[".rs"]);
    let mut complaints = Vec::new();
    for Source { path, text } in sources(&["Cargo.toml"]) {
        let Some(folder) = path.strip_suffix("/Cargo.toml") else {
            continue;
        };
        // A package has the files in its folder, and those that it includes from elsewhere.
        let own: Vec<_> = files
            .iter()
            .filter(|f| f.path.starts_with(folder))
            .collect();
        let is_included = |path: &str| own.iter().any(|f| f.text.contains(&format!("/{path}\"]")));
        let sections = text.split("\n[").filter(|section| {
            section.starts_with("dependencies]") || section.starts_with("dev-dependencies]")
        });
        for line in sections.flat_map(|section| section.lines().skip(1)) {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            let used = name.replace('-', "_");
            let is_used = name.is_empty()
                || name.starts_with('#')
                || files.iter().any(|file| {
                    (file.path.starts_with(folder) || is_included(&file.path))
                        && [
                            format!("{used}::"),
                            format!("{used}!"),
                            format!("use {used};"),
                        ]
                        .iter()
                        .any(|way| file.text.contains(way))
                });
            if !is_used {
                complaints.push(format!("{path}: {name}"));
            }
        }
    }
    none(complaints);
}

#[test]
fn there_is_no_fourth_crate() {
    let crates = fs::read_dir(root().join("crates")).unwrap();
    let mut names: Vec<_> = crates
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["mcp-notes", "mcp-serve", "notes"]);
}

#[test]
fn no_test_is_switched_off() {
    // In two parts, or this file would find itself.
    let switched_off = ["#[", "ignore"].concat();
    let files = sources(&[".rs"]);
    let off = files
        .into_iter()
        .filter(|file| file.text.contains(&switched_off));
    none(off.map(|file| file.path));
}

#[test]
fn no_tool_has_left_a_folder_in_the_repository() {
    let is_left = |path: &str| {
        let mut folders = path.split('/').rev().skip(1);
        folders.any(|folder| folder.starts_with('.') && folder != ".ci")
    };
    let paths = sources(&[]).into_iter().map(|file| file.path);
    none(paths.filter(|path| is_left(path)));
}

#[test]
fn nothing_in_the_repository_belongs_to_one_machine() {
    let marks: Vec<String> = [
        ["/ro", "ot/"],
        ["/ho", "me/"],
        ["/Us", "ers/"],
        ["/work/", "main"],
        ["artif", "actory"],
    ]
    .iter()
    .map(|halves| halves.concat())
    .collect();
    let mut complaints = Vec::new();
    for Source { path, text } in sources(&[]) {
        for (number, line) in text.lines().enumerate() {
            if let Some(mark) = marks.iter().find(|mark| line.contains(*mark)) {
                complaints.push(format!("{path}:{}: {mark}", number + 1));
            }
        }
    }
    none(complaints);
}
