//! An answer that another replica has: a client that comes back here with `Last-Event-ID` gets its
//! messages piece by piece over [`Signals`], and nothing of them is kept on the way.
//!
//! Pieces are numbered, so that one that was lost ends the stream instead of leaving a hole; the
//! client comes back once more with what it has. Who sends waits until what it sent was taken. Both
//! sides say now and then that they are there, and end when the other does not.

mod feed;

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::Response;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::stream::{RETRY_MS, stream_response};
use crate::{
    lifecycle::Lifecycle,
    metrics::Up,
    session::SessionDigest,
    signals::{Piece, Sent, Signal, Signals, Token},
};

/// Pieces that may be under way to one reader.
const WINDOW: u64 = 8;
/// How often both sides say that they are there.
const BEAT: Duration = Duration::from_millis(1500);
/// After so long a silence the other side is gone.
const SILENCE_MAX: Duration = Duration::from_secs(6);
/// How long a client waits for the replica that has its answer.
const FOUND_MAX: Duration = Duration::from_secs(2);
/// How often it is looked for in that time.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Readers of this replica's clients.
const READERS_MAX: usize = 1024;
/// The same of one session.
const READERS_PER_SESSION_MAX: usize = 16;

/// The readers whose answers are elsewhere, and those elsewhere whose answers are here.
pub(super) struct Exchange {
    signals: Arc<dyn Signals>,
    lifecycle: Lifecycle,
    waiting: Mutex<HashMap<Token, Inbox>>,
    served: Mutex<HashMap<Token, watch::Sender<u64>>>,
}

/// Why there is nothing to go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotResumed {
    /// No replica has the answer, or the one that had it is gone.
    Unknown,
    /// As many readers as may be are.
    TooMany,
    /// The other replicas cannot be asked at the moment.
    Unreachable,
}

/// What arrived for one reader.
struct Inbox {
    session: SessionDigest,
    /// The place of the next piece.
    next: u64,
    pieces: mpsc::Sender<Piece>,
    heard: watch::Sender<Option<Instant>>,
}

impl Inbox {
    /// Takes in a piece; `false` when something is missing before it, or nobody takes it out.
    fn take(&mut self, at: u64, piece: Piece) -> bool {
        if at < self.next {
            return true;
        }
        if at > self.next {
            return false;
        }
        self.heard.send_replace(Some(Instant::now()));
        if piece == Piece::Alive {
            return true;
        }
        self.next += 1;
        self.pieces.try_send(piece).is_ok()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Exchange {
    pub(super) fn new(signals: Arc<dyn Signals>, lifecycle: Lifecycle) -> Arc<Self> {
        Arc::new(Self {
            signals,
            lifecycle,
            waiting: Mutex::default(),
            served: Mutex::default(),
        })
    }

    pub(super) fn signals(&self) -> &dyn Signals {
        self.signals.as_ref()
    }

    /// Takes in a piece for a reader of this replica.
    pub(super) fn take_in(&self, reader: &Token, at: u64, piece: Piece) {
        let mut waiting = lock(&self.waiting);
        if let Some(inbox) = waiting.get_mut(reader)
            && !inbox.take(at, piece)
        {
            waiting.remove(reader);
        }
    }

    /// Looks for the replica that has the answer `name` of the session.
    pub(super) async fn resume(
        self: &Arc<Self>,
        session: SessionDigest,
        name: &str,
        seen: Option<u64>,
    ) -> Result<RemoteReader, NotResumed> {
        let stream = Token::parse(name).ok_or(NotResumed::Unknown)?;
        let mut reader = self.enter(session)?;
        let asked = Signal::Resume {
            session,
            stream,
            seen,
            reader: reader.name.clone(),
        };
        let until = Instant::now() + FOUND_MAX;
        loop {
            match self.signals.send(asked.clone()) {
                Sent::Taken => {}
                Sent::Nobody => return Err(NotResumed::Unknown),
                Sent::Away => return Err(NotResumed::Unreachable),
            }
            let found = reader.heard.wait_for(Option::is_some);
            match timeout(ASK_EVERY, found).await {
                Ok(Ok(_)) => break,
                Err(_) if Instant::now() < until => {}
                Ok(Err(_)) | Err(_) => return Err(NotResumed::Unknown),
            }
        }
        Ok(reader)
    }

    fn enter(self: &Arc<Self>, session: SessionDigest) -> Result<RemoteReader, NotResumed> {
        let name = Token::random().map_err(|_| NotResumed::Unreachable)?;
        // The last of all, which is no part of a message, is not counted in the window.
        let room = usize::try_from(WINDOW).unwrap_or(usize::MAX) + 1;
        let (pieces_in, pieces) = mpsc::channel(room);
        let (heard_in, heard) = watch::channel(None);
        let mut waiting = lock(&self.waiting);
        let own = waiting.values().filter(|it| it.session == session).count();
        if waiting.len() >= READERS_MAX || own >= READERS_PER_SESSION_MAX {
            return Err(NotResumed::TooMany);
        }
        let inbox = Inbox {
            session,
            next: 0,
            pieces: pieces_in,
            heard: heard_in,
        };
        waiting.insert(name.clone(), inbox);
        drop(waiting);
        let gone = CancellationToken::new();
        let reader = RemoteReader {
            exchange: self.clone(),
            name,
            pieces,
            heard,
            taken: Arc::default(),
            told: 0,
            _gone: gone.clone().drop_guard(),
        };
        self.lifecycle.tasks.spawn(reader.beat(gone));
        Ok(reader)
    }
}

/// Follows an answer that another replica has. Dropping it ends the sending.
pub(super) struct RemoteReader {
    exchange: Arc<Exchange>,
    name: Token,
    pieces: mpsc::Receiver<Piece>,
    heard: watch::Receiver<Option<Instant>>,
    /// How many pieces were taken.
    taken: Arc<AtomicU64>,
    /// How many of them the sender was last told of at once.
    told: u64,
    _gone: DropGuard,
}

impl RemoteReader {
    /// Says now and then that the reader is there, also while its client takes nothing.
    fn beat(&self, gone: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        let (exchange, name) = (self.exchange.clone(), self.name.clone());
        let taken = self.taken.clone();
        async move {
            loop {
                tokio::select! {
                    () = sleep(BEAT) => {}
                    () = gone.cancelled() => return,
                }
                let pieces = taken.load(Ordering::Relaxed);
                let reader = name.clone();
                exchange.signals.send(Signal::Taken { reader, pieces });
            }
        }
    }

    /// The next piece; `None` when something was lost or the sender is gone. Cancel-safe.
    async fn next(&mut self) -> Option<Piece> {
        loop {
            let heard = *self.heard.borrow();
            let silent = heard.unwrap_or_else(Instant::now) + SILENCE_MAX;
            tokio::select! {
                biased;
                piece = self.pieces.recv() => {
                    if piece.is_some() {
                        self.count();
                    }
                    return piece;
                }
                () = sleep_until(silent) => {
                    if *self.heard.borrow() == heard {
                        return None;
                    }
                }
            }
        }
    }

    fn count(&mut self) {
        let pieces = self.taken.fetch_add(1, Ordering::Relaxed) + 1;
        if pieces - self.told >= WINDOW / 2 {
            self.told = pieces;
            let reader = self.name.clone();
            self.exchange.signals.send(Signal::Taken { reader, pieces });
        }
    }
}

impl Drop for RemoteReader {
    fn drop(&mut self) {
        lock(&self.exchange.waiting).remove(&self.name);
        let reader = self.name.clone();
        self.exchange.signals.send(Signal::Left { reader });
    }
}

/// The answer as a response.
pub(super) fn respond(
    reader: RemoteReader,
    stream_name: &str,
    keep_alive: Duration,
    (ends, open): (Instant, Up),
) -> Response<Body> {
    let relayed = Relayed {
        soft: reader.exchange.lifecycle.soft.clone(),
        reader,
        stream_name: stream_name.to_owned(),
        within: false,
        keep_alive,
        ends,
        _open: open,
    };
    let body = stream::unfold(Some(relayed), |relayed| async {
        let mut relayed = relayed?;
        Some(match relayed.chunk().await {
            Chunk::More(bytes) => (Ok(bytes), Some(relayed)),
            Chunk::Last(bytes) => (Ok(bytes), None),
            Chunk::End => return None,
            Chunk::Broken => {
                // What is whole is to be written out before the connection breaks off.
                tokio::task::yield_now().await;
                let error = io::Error::other("the rest of a message was lost between replicas");
                (Err(error), None)
            }
        })
    });
    stream_response(Body::from_stream(body))
}

struct Relayed {
    reader: RemoteReader,
    stream_name: String,
    /// Whether a message has begun and not ended.
    within: bool,
    keep_alive: Duration,
    ends: Instant,
    soft: CancellationToken,
    _open: Up,
}

enum Chunk {
    More(Bytes),
    Last(Bytes),
    End,
    /// A message broke off: the client must not take it for a whole one.
    Broken,
}

impl Relayed {
    async fn chunk(&mut self) -> Chunk {
        let piece = if self.within {
            self.reader.next().await
        } else {
            tokio::select! {
                biased;
                () = self.soft.cancelled() => Some(Piece::SentAway),
                () = sleep_until(self.ends) => Some(Piece::End),
                piece = self.reader.next() => piece,
                () = sleep(self.keep_alive) => {
                    return Chunk::More(Bytes::from_static(b": keep-alive\n\n"));
                }
            }
        };
        match piece {
            Some(Piece::Part {
                message,
                bytes,
                last,
            }) => Chunk::More(self.part(message, &bytes, last)),
            _ if self.within => Chunk::Broken,
            Some(Piece::SentAway) => Chunk::Last(format!("retry: {RETRY_MS}\n\n").into()),
            Some(Piece::End | Piece::Alive) | None => Chunk::End,
        }
    }

    /// A part of an event. Its id comes last, so that one that broke off was not seen.
    fn part(&mut self, message: u64, bytes: &[u8], last: bool) -> Bytes {
        let mut text = Vec::with_capacity(bytes.len() + 64);
        if !self.within {
            text.extend_from_slice(b"event: message\ndata: ");
        }
        text.extend_from_slice(bytes);
        if last {
            let end = format!("\nid: {}_{message}\n\n", self.stream_name);
            text.extend_from_slice(end.as_bytes());
        }
        self.within = !last;
        text.into()
    }
}
