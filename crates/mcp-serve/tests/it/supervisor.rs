//! A supervisor hears what systemd would: that the server is ready, that it lives, that it stops.

use std::{
    ffi::OsStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use mcp_serve::{Config, health::Check, supervisor::Supervisor};
use tempfile::{TempDir, tempdir};
use tokio::{net::UnixDatagram, time::timeout};

use super::edge::start;

const PATIENCE: Duration = Duration::from_secs(20);
/// A server from which nothing is heard for so long is ended.
const WATCHDOG: Duration = Duration::from_secs(1);

/// Where the server tells how it fares.
struct Listener {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Listener {
    fn new() -> Self {
        let folder = tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Self { folder, socket }
    }

    fn supervisor(&self) -> Supervisor {
        let address = self.folder.path().join("notify");
        Supervisor::at(address.as_os_str()).unwrap()
    }

    async fn next(&self, limit: Duration) -> Option<String> {
        let mut piece = [0; 1024];
        let length = timeout(limit, self.socket.recv(&mut piece)).await;
        let length = length.ok()?.unwrap();
        Some(String::from_utf8(piece[..length].to_vec()).unwrap())
    }

    /// The next message that is no beat.
    async fn word(&self) -> String {
        for _ in 0..100 {
            let message = self.next(PATIENCE).await.expect("a message");
            if message != "WATCHDOG=1" {
                return message;
            }
        }
        panic!("nothing but beats");
    }

    /// Whether it is silent for as long as the watchdog waits, after what was on its way.
    async fn falls_silent(&self) -> bool {
        for _ in 0..4 {
            if self.next(WATCHDOG).await.is_none() {
                return true;
            }
        }
        false
    }
}

/// Something that works, fails, or hangs.
#[derive(Default)]
struct Switch {
    fails: AtomicBool,
    hangs: AtomicBool,
}

#[async_trait]
impl Check for Switch {
    fn name(&self) -> &'static str {
        "switch"
    }

    async fn check(&self) -> Result<(), String> {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.fails.load(Ordering::Relaxed) {
            return Err("switched off".to_owned());
        }
        Ok(())
    }
}

#[tokio::test]
async fn it_hears_of_the_beginning_of_beats_and_of_the_end() {
    let listener = Listener::new();
    let config = Config {
        supervisor: listener.supervisor().with_watchdog(WATCHDOG),
        ..Config::default()
    };
    let mut server = start(axum::Router::new(), config).await;
    assert_eq!(listener.word().await, "READY=1");
    for _ in 0..3 {
        assert_eq!(listener.next(WATCHDOG).await.unwrap(), "WATCHDOG=1");
    }
    server.begin_stop();
    // The limit of the drain, its grace, and the time to close what is beside.
    let stopping = "STOPPING=1\nEXTEND_TIMEOUT_USEC=36000000";
    assert_eq!(listener.word().await, stopping);
    assert!(server.stop().await.is_clean());
    assert!(listener.falls_silent().await);
}

#[tokio::test]
async fn a_server_that_is_not_ready_asks_for_time_until_it_is() {
    let (listener, switch) = (Listener::new(), Arc::new(Switch::default()));
    switch.fails.store(true, Ordering::Relaxed);
    let config = Config {
        supervisor: listener.supervisor(),
        checks: vec![switch.clone()],
        ..Config::default()
    };
    let server = start(axum::Router::new(), config).await;
    let wish = "EXTEND_TIMEOUT_USEC=15000000";
    assert_eq!(listener.word().await, wish);
    switch.fails.store(false, Ordering::Relaxed);
    let mut word = listener.word().await;
    if word == wish {
        word = listener.word().await;
    }
    assert_eq!(word, "READY=1");
    server.stop().await;
}

#[tokio::test]
async fn what_stands_still_is_not_told_to_live() {
    let (listener, switch) = (Listener::new(), Arc::new(Switch::default()));
    let supervisor = listener.supervisor().with_watchdog(WATCHDOG);
    let config = Config {
        supervisor: supervisor.with_pulse(switch.clone()),
        ..Config::default()
    };
    let server = start(axum::Router::new(), config).await;
    assert_eq!(listener.word().await, "READY=1");
    for spoilt in [&switch.hangs, &switch.fails] {
        assert_eq!(listener.next(WATCHDOG).await.unwrap(), "WATCHDOG=1");
        spoilt.store(true, Ordering::Relaxed);
        assert!(listener.falls_silent().await);
        spoilt.store(false, Ordering::Relaxed);
        assert_eq!(listener.next(PATIENCE).await.unwrap(), "WATCHDOG=1");
    }
    server.stop().await;
}

#[tokio::test]
async fn its_address_is_a_path_or_an_abstract_name() {
    use std::os::{linux::net::SocketAddrExt as _, unix::net};

    let name = format!("mcp-serve-test-{}", std::process::id());
    let address = net::SocketAddr::from_abstract_name(&name).unwrap();
    let socket = net::UnixDatagram::bind_addr(&address).unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = UnixDatagram::from_std(socket).unwrap();
    let config = Config {
        supervisor: Supervisor::at(OsStr::new(&format!("@{name}"))).unwrap(),
        ..Config::default()
    };
    let server = start(axum::Router::new(), config).await;
    let mut piece = [0; 100];
    let length = timeout(PATIENCE, socket.recv(&mut piece)).await;
    assert_eq!(&piece[..length.unwrap().unwrap()], b"READY=1");
    server.stop().await;

    for wrong in [
        "notify",
        "",
        "vsock:2:1234",
        &format!("/{}", "x".repeat(200)),
    ] {
        assert!(Supervisor::at(OsStr::new(wrong)).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn one_who_is_gone_holds_nothing_up() {
    let listener = Listener::new();
    let supervisor = listener.supervisor().with_watchdog(WATCHDOG);
    drop(listener);
    let config = Config {
        supervisor,
        ..Config::default()
    };
    let server = start(axum::Router::new(), config).await;
    let mut client = server.connect().await;
    assert_eq!(client.get("/livez").await.unwrap().status, 200);
    assert!(server.stop().await.is_clean());
}
