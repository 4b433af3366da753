//! The real binary under a supervisor: it says when it is ready, that it lives, and that it stops.

use std::time::Duration;

use tempfile::{TempDir, tempdir};
use tokio::{
    net::UnixDatagram,
    sync::{
        Mutex,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::process::{PATIENCE, Served, run, signal, stderr, text};

/// A server from which nothing is heard for so long is ended.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(2);

/// What a supervisor has for one service: the socket on which that says how it fares.
pub(crate) struct Supervisor {
    folder: TempDir,
    heard: Mutex<UnboundedReceiver<String>>,
    /// Reads all the time: a socket that nobody reads is soon full.
    reading: JoinHandle<()>,
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn read(socket: UnixDatagram, told: UnboundedSender<String>) {
    let mut piece = [0; 1024];
    while let Ok(length) = socket.recv(&mut piece).await {
        let message = String::from_utf8(piece[..length].to_vec()).unwrap();
        if told.send(message).is_err() {
            return;
        }
    }
}

impl Supervisor {
    pub(crate) fn new() -> Self {
        let folder = tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        let (told, heard) = unbounded_channel();
        Self {
            folder,
            heard: Mutex::new(heard),
            reading: tokio::spawn(read(socket, told)),
        }
    }

    /// What the service finds in its environment.
    pub(crate) fn vars(&self) -> [(String, String); 2] {
        let path = self.folder.path().join("notify");
        [
            ("NOTIFY_SOCKET".to_owned(), text(&path).to_owned()),
            ("WATCHDOG_USEC".to_owned(), WATCHDOG.as_micros().to_string()),
        ]
    }

    async fn next(&self, limit: Duration) -> Option<String> {
        let mut heard = self.heard.lock().await;
        timeout(limit, heard.recv()).await.ok()?
    }

    /// Waits until the service says this.
    pub(crate) async fn hears(&self, word: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let message = self.next(PATIENCE).await;
            let message = message.unwrap_or_else(|| panic!("never {word}"));
            if message.lines().any(|line| line == word) {
                return;
            }
            assert!(Instant::now() < end, "never {word}");
        }
    }

    /// Waits until the service is silent for as long as the watchdog waits.
    pub(crate) async fn hears_nothing(&self) {
        let end = Instant::now() + PATIENCE;
        while let Some(message) = self.next(WATCHDOG).await {
            assert!(Instant::now() < end, "still {message}");
        }
    }
}

#[tokio::test]
async fn a_supervisor_hears_that_the_server_is_ready_lives_and_stops() {
    let (folder, supervisor) = (tempdir().unwrap(), Supervisor::new());
    let vars = supervisor.vars();
    let vars = vars.each_ref().map(|(name, value)| (&**name, &**value));
    let served = Served::start(folder.path(), &vars).await;
    supervisor.hears("READY=1").await;
    for _ in 0..3 {
        supervisor.hears("WATCHDOG=1").await;
    }
    signal(&served.child, "STOP").await;
    supervisor.hears_nothing().await;
    signal(&served.child, "CONT").await;
    supervisor.hears("WATCHDOG=1").await;
    signal(&served.child, "TERM").await;
    supervisor.hears("STOPPING=1").await;
    let (status, log) = served.ended().await;
    assert!(status.success());
    let odd = |line: &&serde_json::Value| line["level"] != "info";
    assert_eq!(log.iter().find(odd), None);
}

#[tokio::test]
async fn a_watchdog_of_another_process_is_none_of_ours_and_a_wrong_one_stops_the_start() {
    let (folder, supervisor) = (tempdir().unwrap(), Supervisor::new());
    let vars = supervisor.vars();
    let vars = vars.each_ref().map(|(name, value)| (&**name, &**value));
    let others = [&vars[..], &[("WATCHDOG_PID", "1")]].concat();
    let served = Served::start(folder.path(), &others).await;
    supervisor.hears("READY=1").await;
    supervisor.hears_nothing().await;
    assert!(served.stop().await.0.success());

    for (name, wrong) in [
        ("NOTIFY_SOCKET", "notify"),
        ("WATCHDOG_USEC", "30s"),
        ("WATCHDOG_PID", "me"),
    ] {
        let vars = [&vars[..], &[(name, wrong)]].concat();
        let output = run(folder.path(), &["config"], &vars).await;
        assert_eq!(output.status.code(), Some(78), "{name}");
        let told = stderr(&output);
        assert!(told.contains(&format!("{name}: got {wrong:?}")), "{told}");
    }
}
