//! The official MCP conformance suite, run against the fixture.

use std::{error::Error, fmt, path::Path, process::Stdio, time::Duration};

use mcp_serve::test_util::tool;
use serde::Deserialize;
use tokio::{process::Command, time};

use crate::mounted;

/// A run takes 5 to 15 seconds on two idle cores.
const RUN_MAX: Duration = Duration::from_mins(4);

/// Checks that may end otherwise than passed: scenario, check, status, why.
const TOLERATED: &[(&str, &str, &str, &str)] = &[(
    "tasks-status-notifications",
    "tasks-status-notifications",
    "SKIPPED",
    "the suite has no test for it yet and skips it for every server",
)];

pub(crate) type Done = Result<(), Box<dyn Error>>;

#[tokio::test]
async fn requirements_of_2025_11_25() -> Done {
    run("--requirements", "2025-11-25", 83).await
}

#[tokio::test]
async fn requirements_of_2026_07_28() -> Done {
    run("--requirements", "2026-07-28", 196).await
}

#[tokio::test]
async fn scenarios_of_2025_06_18() -> Done {
    run("--spec-version", "2025-06-18", 56).await
}

#[tokio::test]
async fn scenarios_of_2025_03_26() -> Done {
    run("--spec-version", "2025-03-26", 3).await
}

/// Runs the suite and demands that at least `passed_min` checks pass and none fails.
async fn run(selection: &str, revision: &str, passed_min: usize) -> Done {
    let server = mounted::start().await;
    run_against(&server.mcp_url(), "one", selection, revision, passed_min).await
}

/// Runs the suite against the server at `url`; `name` tells its results from those of other runs.
pub(crate) async fn run_against(
    url: &str,
    name: &str,
    selection: &str,
    revision: &str,
    passed_min: usize,
) -> Done {
    let suite = tool("conformance");
    let folder = format!("conformance-{name}-{revision}");
    let results = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    if results.exists() {
        std::fs::remove_dir_all(&results)?;
    }
    let child = Command::new(suite)
        .args(["server", "--url", url, selection, revision, "--output-dir"])
        .arg(&results)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = time::timeout(RUN_MAX, child).await??;

    let checks = read(&results)?;
    let passed = checks
        .iter()
        .filter(|check| check.status == "SUCCESS")
        .count();
    let amiss: Vec<_> = checks.iter().filter(|check| check.is_amiss()).collect();
    println!("{revision}: {passed} checks passed, {} amiss", amiss.len());
    for check in &amiss {
        println!("{check}");
    }
    let log = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}; the suite says:\n{log}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        amiss.is_empty(),
        "{} checks did not pass; they are listed above",
        amiss.len()
    );
    assert!(
        passed >= passed_min,
        "{passed} checks passed, of {passed_min} known to"
    );
    Ok(())
}

/// One check of the suite, as its `checks.json` has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    #[serde(skip)]
    scenario: String,
    id: String,
    status: String,
    error_message: Option<String>,
}

impl Check {
    fn is_amiss(&self) -> bool {
        // INFO only tells what was seen.
        !matches!(self.status.as_str(), "SUCCESS" | "INFO")
            && !TOLERATED.iter().any(|&(scenario, id, status, _)| {
                (scenario, id, status) == (&*self.scenario, &*self.id, &*self.status)
            })
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = self.error_message.as_deref().unwrap_or_default();
        write!(f, "  {} {} {}: {said}", self.status, self.scenario, self.id)
    }
}

/// All checks of a run. The suite keeps one folder per scenario, called
/// `server-SCENARIO-TIMESTAMP`.
fn read(results: &Path) -> Result<Vec<Check>, Box<dyn Error>> {
    const TIMESTAMP: &str = "-2000-01-01T00-00-00-000Z";
    let mut all = Vec::new();
    for folder in std::fs::read_dir(results)? {
        let folder = folder?;
        let name = folder.file_name().to_string_lossy().into_owned();
        let scenario = name.strip_prefix("server-").unwrap_or(&name);
        let scenario = &scenario[..scenario.len().saturating_sub(TIMESTAMP.len())];
        let checks = std::fs::read(folder.path().join("checks.json"))?;
        let checks: Vec<Check> = serde_json::from_slice(&checks)?;
        all.extend(checks.into_iter().map(|check| Check {
            scenario: scenario.to_owned(),
            ..check
        }));
    }
    Ok(all)
}
