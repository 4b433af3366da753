//! What stands between replicas and a server, and spoils what passes when it is told to.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

/// A proxy on a free port; it ends when it is dropped.
pub(super) struct Between {
    pub(super) address: SocketAddr,
    state: watch::Sender<State>,
    accepting: JoinHandle<()>,
}

#[derive(Clone, Copy, Default)]
struct State {
    mode: Mode,
    /// How often everything was cut.
    cuts: u32,
}

/// What becomes of what passes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Pass,
    /// Answers come so much later.
    Late(Duration),
    /// The server's side of every connection is closed, and the client's is not.
    HalfClosed,
    /// Connections stand, new ones too, and nothing passes.
    Silent,
}

/// Answers on their way: when they are due, and their bytes.
type Late = (Instant, Vec<u8>);

impl Between {
    /// Passes everything on to `server`.
    pub(super) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = watch::Sender::<State>::default();
        let told = state.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server, told.subscribe()));
            }
        });
        Self {
            address,
            state,
            accepting,
        }
    }

    /// Does so from now on.
    pub(super) fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
    }

    /// Cuts every connection in the middle of its next answer.
    pub(super) fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Serves one connection, which ends when either side or a cut ends it.
async fn pass(
    client: TcpStream,
    server: SocketAddr,
    mut state: watch::Receiver<State>,
) -> Option<()> {
    heals(&mut state).await?;
    let server = TcpStream::connect(server).await.ok()?;
    client.set_nodelay(true).ok()?;
    server.set_nodelay(true).ok()?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (late, due) = mpsc::channel(1024);
    tokio::select! {
        ended = questions(from_client, to_server, state.clone()) => ended,
        ended = answers(from_server, late, state) => ended,
        ended = deliver(due, to_client) => ended,
    }
}

/// Waits until anything passes.
async fn heals(state: &mut watch::Receiver<State>) -> Option<()> {
    let healed = state.wait_for(|state| state.mode != Mode::Silent).await;
    healed.ok().map(drop)
}

async fn questions(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
) -> Option<()> {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let n = from.read(&mut bytes).await.ok().filter(|n| *n > 0)?;
        heals(&mut state).await?;
        to.write_all(&bytes[..n]).await.ok()?;
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    late: mpsc::Sender<Late>,
    mut state: watch::Receiver<State>,
) -> Option<()> {
    let mut bytes = vec![0; 64 << 10];
    let cuts = state.borrow().cuts;
    let mut is_half_closed = false;
    loop {
        let now = *state.borrow_and_update();
        if now.mode == Mode::HalfClosed && !is_half_closed {
            is_half_closed = true;
            // No bytes are the end.
            late.send((Instant::now(), Vec::new())).await.ok()?;
        }
        tokio::select! {
            read = from.read(&mut bytes) => {
                let n = read.ok().filter(|n| *n > 0)?;
                heals(&mut state).await?;
                let now = *state.borrow();
                let is_cut = now.cuts != cuts;
                let n = if is_cut { n / 2 } else { n };
                let delay = if let Mode::Late(delay) = now.mode { delay } else { Duration::ZERO };
                if n > 0 && !is_half_closed {
                    late.send((Instant::now() + delay, bytes[..n].to_vec())).await.ok()?;
                }
                if is_cut {
                    // Half of it goes out first.
                    drop(late);
                    return std::future::pending().await;
                }
            }
            changed = state.changed() => changed.ok()?,
        }
    }
}

async fn deliver(mut due: mpsc::Receiver<Late>, mut to: OwnedWriteHalf) -> Option<()> {
    while let Some((when, bytes)) = due.recv().await {
        sleep_until(when).await;
        if bytes.is_empty() {
            to.shutdown().await.ok()?;
        } else {
            to.write_all(&bytes).await.ok()?;
        }
    }
    None
}
