//! The REST API against its own OpenAPI document: schemathesis makes the requests, valid and not,
//! and holds every answer to what the document says.

use std::{path::Path, process::Stdio, time::Duration};

use mcp_serve::test_util::tool;
use tokio::{process::Command, time::timeout};

use crate::process::Served;

/// Longer than a run takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_as_the_document_says() {
    let folder = tempfile::tempdir().unwrap();
    let server = Served::start(folder.path(), &[]).await;
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let run = Command::new(tool("schemathesis"))
        .arg("--config-file")
        .arg(tests.join("schemathesis.toml"))
        .args(["--no-color", "run"])
        .arg(format!("http://{}/api/v1/openapi.json", server.address))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let run = timeout(PATIENCE, run)
        .await
        .expect("schemathesis ends in time")
        .unwrap();
    let report = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success(),
        "{report}\n{}",
        String::from_utf8_lossy(&run.stderr)
    );
    // It would also succeed with nothing to test.
    assert!(report.contains("Tested: 7"), "{report}");
    let (status, _) = server.stop().await;
    assert!(status.success());
}
