//! What stands between a store and its server, and loses answers or connections when it is told to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Commands that write.
const WRITES: [&str; 5] = [
    "insert",
    "update",
    "delete",
    "findAndModify",
    "createIndexes",
];

/// A proxy on a free port; it ends when it is dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// Commands, and how many of their answers are still to be lost.
    losing: Mutex<BTreeMap<&'static str, usize>>,
    /// Writes that were sent, with whether most servers were to confirm them.
    writes: Mutex<BTreeMap<&'static str, bool>>,
    /// Whether something that is sent must wait, and whether everything must.
    held: watch::Sender<bool>,
    holds_all: AtomicBool,
    /// The command that is to be the first to wait.
    holding: Mutex<Option<&'static str>>,
    open: AtomicUsize,
    most: AtomicUsize,
    lost: AtomicUsize,
    holds_after_loss: AtomicBool,
}

impl Proxy {
    /// Passes everything on to `server`.
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let passing = shared.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = passing.clone();
                tokio::spawn(async move {
                    let open = shared.open.fetch_add(1, Ordering::SeqCst) + 1;
                    shared.most.fetch_max(open, Ordering::SeqCst);
                    if let Ok(server) = TcpStream::connect(server).await {
                        pass(client, server, &shared).await;
                    }
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            shared,
            accepting,
        }
    }

    /// Loses the next `times` answers to `command`, which the server does carry out, together with
    /// the connection.
    pub(crate) fn lose(&self, command: &'static str, times: usize) {
        self.shared.losing.lock().unwrap().insert(command, times);
    }

    /// Lets go on what waits.
    pub(crate) fn release(&self) {
        self.shared.holds_all.store(false, Ordering::SeqCst);
        self.shared.held.send_replace(false);
    }

    /// Keeps the next `command` waiting, and what is sent after it on its connection.
    pub(crate) fn hold_at(&self, command: &'static str) {
        *self.shared.holding.lock().unwrap() = Some(command);
    }

    /// Whether something waits, or would.
    pub(crate) fn is_held(&self) -> bool {
        *self.shared.held.borrow()
    }

    /// Loses the next answer to `command`, and holds what is sent after it.
    pub(crate) fn lose_and_hold(&self, command: &'static str) {
        self.shared.holds_after_loss.store(true, Ordering::SeqCst);
        self.lose(command, 1);
    }

    /// The kinds of write that were sent, and whether most servers were to confirm each of them.
    pub(crate) fn writes(&self) -> BTreeMap<&'static str, bool> {
        self.shared.writes.lock().unwrap().clone()
    }

    /// How many answers were lost.
    pub(crate) fn lost(&self) -> usize {
        self.shared.lost.load(Ordering::SeqCst)
    }

    /// How many connections there were at the same time at most.
    pub(crate) fn most(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(client: TcpStream, server: TcpStream, shared: &Shared) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let loses = AtomicBool::new(false);
    let there = async {
        let mut bytes = vec![0; 64 << 10];
        let mut held = shared.held.subscribe();
        while let Ok(n @ 1..) = from_client.read(&mut bytes).await {
            let is_first = shared.is_first_to_wait(&bytes[..n]);
            if is_first {
                shared.held.send_replace(true);
            }
            if is_first || shared.holds_all.load(Ordering::SeqCst) {
                let _ = held.wait_for(|held| !held).await;
            }
            if shared.takes(&bytes[..n]) {
                loses.store(true, Ordering::SeqCst);
            }
            if to_server.write_all(&bytes[..n]).await.is_err() {
                return;
            }
        }
    };
    let back = async {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(n @ 1..) = from_server.read(&mut bytes).await {
            if loses.load(Ordering::SeqCst) {
                if shared.holds_after_loss.swap(false, Ordering::SeqCst) {
                    shared.holds_all.store(true, Ordering::SeqCst);
                    shared.held.send_replace(true);
                }
                shared.lost.fetch_add(1, Ordering::SeqCst);
                return;
            }
            if to_client.write_all(&bytes[..n]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}

impl Shared {
    fn is_first_to_wait(&self, sent: &[u8]) -> bool {
        let mut holding = self.holding.lock().unwrap();
        holding.take_if(|command| has(sent, command)).is_some()
    }

    /// Whether the answer to what is sent is to be lost.
    fn takes(&self, sent: &[u8]) -> bool {
        for write in WRITES.into_iter().filter(|write| has(sent, write)) {
            let mut writes = self.writes.lock().unwrap();
            *writes.entry(write).or_insert(true) &= has(sent, "majority");
        }
        let mut losing = self.losing.lock().unwrap();
        let mut left = losing.iter_mut().filter(|(_, times)| **times > 0);
        let Some((_, times)) = left.find(|(command, _)| has(sent, command)) else {
            return false;
        };
        *times -= 1;
        true
    }
}

/// Whether a field, or a text, of this name is in a message.
fn has(sent: &[u8], name: &str) -> bool {
    let name = [name.as_bytes(), b"\0"].concat();
    sent.windows(name.len()).any(|part| part == name)
}
