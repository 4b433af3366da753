//! Real Redis servers for tests: each at an address of its own in a folder of its own, gone when it
//! is dropped.

mod groups;

use std::{
    fmt::Write as _,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU8, Ordering},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};

pub use self::groups::{RedisCluster, RedisSentinel};
use super::{Authority, install, tool};

/// How long a test waits for what should take a moment.
const PATIENCE: Duration = Duration::from_secs(20);

/// A Redis server on a port of its own. Dropping it kills it and removes its files.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    folder: TempDir,
    address: SocketAddr,
    authority: Option<Authority>,
    arguments: &'static [&'static str],
}

impl RedisServer {
    /// Starts a server that keeps nothing on disk.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts a server with further lines of its configuration, such as `requirepass secret`.
    pub async fn with(lines: &[&str]) -> Self {
        let address = free_address();
        let port = format!("port {}", address.port());
        Self::launch(address, None, &[&[port.as_str()], lines].concat(), &[]).await
    }

    /// Starts a server that speaks TLS alone, with a certificate of [`authority`](Self::authority).
    pub async fn with_tls(lines: &[&str]) -> Self {
        let address = free_address();
        let port = format!("tls-port {}", address.port());
        let own = ["port 0", port.as_str(), "tls-auth-clients no"];
        let authority = Authority::root("redis");
        Self::launch(address, Some(authority), &[&own, lines].concat(), &[]).await
    }

    async fn launch(
        address: SocketAddr,
        authority: Option<Authority>,
        lines: &[&str],
        arguments: &'static [&'static str],
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut text = format!(
            "bind {}\nprotected-mode no\ndaemonize no\ndir {}\nsave \"\"\nlogfile \"\"\n",
            address.ip(),
            folder.path().display(),
        );
        if let Some(authority) = &authority {
            let issued = authority.issue_as(|params| {
                params.subject_alt_names = vec![rcgen::SanType::IpAddress(address.ip())];
            });
            let files = install(folder.path(), &issued);
            let (chain, key) = (files.chain.display(), files.key.display());
            for (name, path) in [("cert", &chain), ("key", &key), ("ca-cert", &chain)] {
                let _ = writeln!(text, "tls-{name}-file {path}");
            }
        }
        for line in lines {
            text += line;
            text.push('\n');
        }
        fs::write(folder.path().join("redis.conf"), text).expect("a configuration");
        let mut server = Self {
            child: spawn(folder.path(), arguments),
            folder,
            address,
            authority,
            arguments,
        };
        server.wait().await;
        server
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// `redis://127.x.y.z:PORT`, with `rediss` where it speaks TLS.
    pub fn url(&self) -> String {
        let scheme = self.authority.as_ref().map_or("redis", |_| "rediss");
        format!("{scheme}://{}", self.address)
    }

    /// Who issued its certificate; only with TLS.
    pub fn authority(&self) -> &Authority {
        self.authority.as_ref().expect("a server with TLS")
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills it without a word (SIGKILL).
    pub fn kill(&mut self) {
        self.child.kill().expect("a process");
        self.child.wait().expect("its end");
    }

    /// Starts it again at the same address, after [`kill`](Self::kill); what it kept on disk is there.
    pub async fn revive(&mut self) {
        self.child = spawn(self.folder.path(), self.arguments);
        self.wait().await;
    }

    /// Stops it for the time being (SIGSTOP): connections stand and nothing answers.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.expect("kill").success(), "{signal}");
    }

    /// What `redis-cli` prints for a command, without the end of the last line. Panics when the
    /// server says no.
    pub async fn cli(&self, arguments: &[&str]) -> String {
        let (host, port) = (
            self.address.ip().to_string(),
            self.address.port().to_string(),
        );
        assert!(
            self.authority.is_none(),
            "redis-cli is not set up for TLS here"
        );
        // What asks several servers waits for them without end.
        let mut command = Command::new("timeout");
        command.arg("60").arg(tool("redis-cli"));
        command.stdin(Stdio::null());
        command
            .args(["-e", "-h", &host, "-p", &port])
            .args(arguments);
        let command = tokio::task::spawn_blocking(move || command.output());
        let output = command.await.expect("a thread").expect("redis-cli");
        let text = String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned();
        assert!(output.status.success(), "{arguments:?}: {text}");
        text
    }

    /// Waits until it answers.
    async fn wait(&mut self) {
        let end = Instant::now() + PATIENCE;
        while !self.answers().await {
            let ended = self.child.try_wait().expect("a process");
            assert!(
                ended.is_none() && Instant::now() < end,
                "{ended:?} {}",
                self.log()
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether it is there and has loaded its data; with TLS, whether it is there.
    async fn answers(&self) -> bool {
        let Ok(mut connection) = TcpStream::connect(self.address).await else {
            return false;
        };
        if self.authority.is_some() {
            return true;
        }
        let asked = async {
            connection.write_all(b"PING\r\n").await.ok()?;
            let mut first = [0; 5];
            connection.read_exact(&mut first).await.ok()?;
            Some(first)
        };
        asked.await.is_some_and(|first| &first != b"-LOAD")
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address of the loopback network that no other test has, with a free port.
fn free_address() -> SocketAddr {
    let socket = TcpListener::bind((own_host(), 0)).expect("a port");
    socket.local_addr().expect("an address")
}

fn own_host() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(0);
    let [.., high, low] = process::id().to_be_bytes();
    let second = 128 + COUNT.fetch_add(1, Ordering::Relaxed) % 120;
    Ipv4Addr::new(127, second, high, low)
}

/// Runs `redis-server` with the configuration in `folder`.
fn spawn(folder: &Path, arguments: &[&str]) -> Child {
    let log = folder.join("log");
    let log = File::options().create(true).append(true).open(log);
    Command::new(tool("redis-server"))
        .arg(folder.join("redis.conf"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.expect("a log"))
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server")
}
