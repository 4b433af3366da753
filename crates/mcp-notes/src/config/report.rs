//! The settings as people and tools read them: documentation, effective values, JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Group, Loaded, Setting, table::rows};

/// The documentation of every setting, as Markdown.
pub fn markdown() -> String {
    let mut out = String::from(HEAD);
    for group in Group::ALL.iter().copied() {
        let _ = write!(out, "\n## {}\n\n", group.title());
        out.push_str("| Name | Value | Default | What it does |\n| --- | --- | --- | --- |\n");
        for row in rows().filter(|row| row.group == group) {
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} |",
                names(row),
                row.kind,
                default_cell(row),
                row.about
            );
        }
    }
    out.push_str(ELSEWHERE);
    out
}

const HEAD: &str = "\
# Settings

Settings are environment variables. This page is generated from the table in
`crates/mcp-notes/src/config/table.rs` by `mcp-notes config --markdown`.

- A variable that is empty counts as not set.
- Durations are whole seconds and counts are digits, without a unit.
- A wrong value stops the start. All wrong values are listed at once, and the exit code is 78.
- `mcp-notes config` prints the value of every setting and where it came from.
- A setting marked (secret) may hold a password. It is masked wherever it is shown, and the variable
  with `_FILE` at the end of the name may give the path of a file that holds the value.
- A variable whose name is nearly one of these stops the start and is told which one may be meant.
  Others that begin with `NOTES_` or `MCP_` are reported when the server starts; those that Kubernetes
  makes for its services, such as `NOTES_SERVICE_HOST`, mean nothing.
";

/// What becomes of variables that other deployments of a notes server set.
const ELSEWHERE: &str = "
## Names from elsewhere

| Name | What becomes of it |
| --- | --- |
| `LOG_ENABLED` | Nothing; `LOG_LEVEL=fatal` is as quiet as it gets. |
| `MCP_ENABLED` | A warning; MCP is always served. |
| `MCP_NOTES_DIR` | A warning; notes are where `NOTES_STORE` says. |
| `ENABLE_METRICS` | Nothing; the server always counts, and tells who may know. |
| `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID` | systemd sets them, and hears from `serve` when it is ready, lives and stops: docs/deploy.md. |
| `SERVICE_VERSION` | Nothing; the version is the program's own. |
| `TRACING_HEADER` | Nothing; `X-Request-Id` and `traceparent` are always read. |
| `HTTP_PROXY`, `ENABLE_SECURE_CONTEXT`, `TRUSTSTORE_*` | Nothing; over HTTP the server calls nobody but the issuers of OAUTH_ISSUERS, and those directly. |
";

/// Every setting with its value and where it came from, one line each.
pub fn text(loaded: &Loaded) -> String {
    let lines: Vec<_> = entries(loaded).collect();
    let width = |of: fn(&Entry) -> &String| lines.iter().map(|e| of(e).len()).max().unwrap_or(0);
    let (name_width, value_width) = (width(|e| &e.name), width(|e| &e.value));
    lines.iter().fold(String::new(), |mut out, e| {
        let _ = writeln!(
            out,
            "{:name_width$}  {:value_width$}  {}",
            e.name, e.value, e.origin
        );
        out
    })
}

/// The same as JSON: name to `{"value", "source"}`.
pub fn json(loaded: &Loaded) -> Value {
    entries(loaded)
        .map(|e| (e.name, json!({ "value": e.value, "source": e.origin })))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

struct Entry {
    name: String,
    value: String,
    origin: String,
}

fn entries(loaded: &Loaded) -> impl Iterator<Item = Entry> {
    rows().map(|row| Entry {
        name: row.name.into(),
        value: row.shown(&loaded.config),
        origin: loaded
            .origins
            .get(row.name)
            .map(ToString::to_string)
            .unwrap_or_default(),
    })
}

fn names(row: &Setting) -> String {
    let also = row
        .aliases
        .iter()
        .fold(String::new(), |all, name| all + ", `" + name + "`");
    let secret = if row.secret { " (secret)" } else { "" };
    format!("`{}`{also}{secret}", row.name)
}

fn default_cell(row: &Setting) -> String {
    match row.default_text() {
        text if text.is_empty() => String::new(),
        text if row.default_words.is_some() => text,
        text => format!("`{text}`"),
    }
}
