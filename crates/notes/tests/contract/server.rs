//! An engine of a test's own, which can be killed, stopped and started again where it was.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::engine::test_tool;

/// An engine that can be killed and started again where it was.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    folder: tempfile::TempDir,
    process: Option<Child>,
}

impl Server {
    /// Takes a port; nothing listens there yet.
    pub(crate) fn new() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            address: free.local_addr().unwrap(),
            folder: tempfile::tempdir().unwrap(),
            process: None,
        }
    }

    /// Waits until it listens.
    pub(crate) fn start(&mut self) {
        let program = test_tool("ferretdb-engine");
        self.process = Some(run(&program, self.folder.path(), self.address));
        let begun = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            assert!(begun.elapsed() < Duration::from_mins(1), "no engine");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// As a power cut would.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Sends a signal, by its name without SIG.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        let done = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &id])
            .status();
        assert!(done.unwrap().success());
    }

    /// The address of a database there.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("mongodb://{}/{database}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// It ends with its standard input, so also with this process.
fn run(program: &Path, folder: &Path, address: SocketAddr) -> Child {
    Command::new(program)
        .arg(folder)
        .arg(address.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
