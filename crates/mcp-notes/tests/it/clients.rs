//! The official clients of the TypeScript and Python SDKs drive the real server through the whole
//! story, each in the eras that it knows.

use std::{path::Path, process::Stdio, time::Duration};

use mcp_serve::test_util::tool;
use tokio::{process::Command, time::timeout};

use crate::process::Served;

/// Longer than a run takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(4);

#[tokio::test]
async fn typescript_sdk_1() {
    drive("node", "ts-sdk-1/drive.mjs", 38).await;
}

#[tokio::test]
async fn typescript_sdk_2() {
    drive("node", "ts-sdk-2/drive.mjs", 76).await;
}

#[tokio::test]
async fn python_sdk() {
    drive("python", "py-sdk/drive.py", 70).await;
}

/// Runs a driver against a server of its own.
async fn drive(interpreter: &str, driver: &str, steps_min: usize) {
    let folder = tempfile::tempdir().unwrap();
    let server = Served::start(folder.path(), &[]).await;
    let url = format!("http://{}/mcp", server.address);
    drive_at(&url, interpreter, driver, steps_min, &[]).await;
    let (status, _) = server.stop().await;
    assert!(status.success());
}

/// Runs a driver, which prints a line for each step, against the server at `url`.
pub(crate) async fn drive_at(
    url: &str,
    interpreter: &str,
    driver: &str,
    steps_min: usize,
    vars: &[(&str, &str)],
) {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let run = Command::new(tool(interpreter))
        .arg(clients.join(driver))
        .arg(url)
        .args(["--seconds", "100"])
        .envs(vars.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let run = timeout(PATIENCE, run)
        .await
        .expect("the driver ends in time")
        .unwrap();
    let report = String::from_utf8_lossy(&run.stdout);
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{report}\n{errors}");
    // It would also succeed with nothing to do.
    let steps = report
        .lines()
        .filter(|line| line.starts_with("ok "))
        .count();
    assert!(steps >= steps_min, "{report}");
}
