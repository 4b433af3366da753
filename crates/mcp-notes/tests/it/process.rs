//! The real binary as a process: started in a folder of its own, gone when it is dropped.

use std::{
    ffi::OsStr,
    net::SocketAddr,
    path::Path,
    process::{ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    task::JoinHandle,
    time::{sleep, timeout},
};

/// Longer than anything a healthy process takes here.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Settings of every server in a test that does not set them itself: tests ask more in a minute than
/// anybody else.
const UNLIMITED: [(&str, &str); 3] = [
    ("RATE_LIMIT_ANONYMOUS", "0"),
    ("RATE_LIMIT_SESSIONS", "0"),
    ("RATE_LIMIT_AUTH_FAILURES", "0"),
];

/// The binary with `args` and nothing in its environment but `vars` and no rate limits, in `folder`.
pub(crate) fn command(folder: &Path, args: &[&str], vars: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-notes"));
    command.args(args);
    prepared(command, folder, vars)
}

/// The same for a shell which is to run the binary, `$0` in `script`.
pub(crate) fn shell(folder: &Path, script: &str, vars: &[(&str, &str)]) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_mcp-notes")]);
    prepared(command, folder, vars)
}

fn prepared(mut command: Command, folder: &Path, vars: &[(&str, &str)]) -> Command {
    command
        .current_dir(folder)
        .env_clear()
        .envs(UNLIMITED)
        .envs(vars.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub(crate) async fn run(folder: &Path, args: &[&str], vars: &[(&str, &str)]) -> Output {
    timeout(PATIENCE, command(folder, args, vars).output())
        .await
        .unwrap()
        .unwrap()
}

/// What a command wrote to standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What a command wrote to standard output.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Sends a signal, by its name without SIG.
pub(crate) async fn signal(child: &Child, name: &str) {
    let id = child.id().unwrap().to_string();
    let done = Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", name, &id])
        .status()
        .await;
    assert!(done.unwrap().success());
}

/// A server that listens.
pub(crate) struct Served {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    /// The line of the log that says where.
    pub(crate) listening: Value,
    /// The other lines. It is read all the time, so that the pipe never fills.
    log: Arc<Mutex<Vec<Value>>>,
    reading: JoinHandle<()>,
}

impl Served {
    /// Starts `mcp-notes serve` on a free port and waits until it listens.
    pub(crate) async fn start(folder: &Path, vars: &[(&str, &str)]) -> Self {
        Self::start_at(0, folder, vars).await
    }

    /// The same on this port.
    pub(crate) async fn start_at(port: u16, folder: &Path, vars: &[(&str, &str)]) -> Self {
        let mut command = command(folder, &["serve"], vars);
        command
            .env("LOG_FORMAT", "json")
            .env("PORT", port.to_string())
            .stderr(Stdio::inherit());
        Self::spawn(command).await
    }

    /// Starts a server whose log is JSON and waits until it listens.
    pub(crate) async fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let log: Arc<Mutex<Vec<Value>>> = Arc::default();
        let listening = loop {
            let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
            let line = line.expect("the server logs where it listens");
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["address"].is_string() {
                break line;
            }
            log.lock().unwrap().push(line);
        };
        Self {
            address: listening["address"].as_str().unwrap().parse().unwrap(),
            child,
            listening,
            reading: tokio::spawn(read(lines, Arc::clone(&log))),
            log,
        }
    }

    /// Waits until the log has a line whose message contains `words`.
    pub(crate) async fn says(&self, words: &str) {
        let begun = Instant::now();
        while !self.has_said(words) {
            assert!(begun.elapsed() < PATIENCE, "the log never says {words:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether the log has such a line by now.
    pub(crate) fn has_said(&self, words: &str) -> bool {
        let has = |line: &Value| line["msg"].as_str().is_some_and(|it| it.contains(words));
        self.log.lock().unwrap().iter().any(has)
    }

    /// The lines of its log that warn of something, or worse, by now.
    #[cfg(feature = "mongodb")]
    pub(crate) fn complaints(&self) -> Vec<Value> {
        let is_calm = |line: &Value| matches!(line["level"].as_str(), Some("info" | "debug"));
        let log = self.log.lock().unwrap();
        log.iter().filter(|line| !is_calm(line)).cloned().collect()
    }

    /// What the log says under this name, in the first line that has it.
    pub(crate) fn logged(&self, name: &str) -> String {
        let log = self.log.lock().unwrap();
        let mut found = log.iter().filter_map(|line| line[name].as_str());
        found.next().unwrap().to_owned()
    }

    /// How many requests it has answered by now, as its log says.
    pub(crate) fn requests(&self) -> usize {
        let is_access = |line: &&Value| line["route"].is_string();
        self.log.lock().unwrap().iter().filter(is_access).count()
    }

    /// The settings under which `healthcheck` finds this server.
    pub(crate) fn port(&self) -> String {
        self.address.port().to_string()
    }

    /// Ends the process as a power cut would.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks the process to stop; its status and the rest of its log.
    pub(crate) async fn stop(self) -> (ExitStatus, Vec<Value>) {
        signal(&self.child, "TERM").await;
        self.ended().await
    }

    /// Waits for the end of a process that was asked to stop.
    pub(crate) async fn ended(mut self) -> (ExitStatus, Vec<Value>) {
        timeout(PATIENCE, self.reading).await.unwrap().unwrap();
        let status = timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        let log = std::mem::take(&mut *self.log.lock().unwrap());
        (status, log)
    }
}

async fn read(mut lines: Lines<BufReader<ChildStdout>>, log: Arc<Mutex<Vec<Value>>>) {
    while let Some(line) = lines.next_line().await.unwrap() {
        log.lock()
            .unwrap()
            .push(serde_json::from_str(&line).unwrap());
    }
}

/// A path as text.
pub(crate) fn text(path: &(impl AsRef<OsStr> + ?Sized)) -> &str {
    path.as_ref().to_str().unwrap()
}
