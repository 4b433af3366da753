//! The side that has the answer: sends its messages to a reader on another replica.

use std::sync::Arc;

use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{BEAT, Exchange, SILENCE_MAX, WINDOW, lock};
use crate::{
    signals::{PIECE_BYTES_MAX, Piece, Sent, Signal, Token},
    transport::stream::{Log, Reader, Step},
};

/// Readers on other replicas.
const SERVED_MAX: usize = 64;

impl Exchange {
    /// Starts to send a reader the messages of `log` after `seen`; nothing happens for one that
    /// gets them already, or when as many as may be are served.
    pub(in crate::transport) fn serve(
        self: &Arc<Self>,
        reader: Token,
        log: &Arc<Log>,
        seen: Option<u64>,
        engaged: TaskTrackerToken,
    ) {
        let (taken_in, taken) = watch::channel(0);
        let mut served = lock(&self.served);
        if served.contains_key(&reader) {
            return;
        }
        if served.len() >= SERVED_MAX {
            tracing::warn!("an answer is not resumed: too many are being sent to other replicas");
            return;
        }
        served.insert(reader.clone(), taken_in);
        drop(served);
        let now = Instant::now();
        let feed = Feed {
            exchange: self.clone(),
            reader,
            taken,
            sent: 0,
            heard: now,
            said: now,
        };
        let log = log.read(seen);
        self.lifecycle.tasks.spawn(async move {
            feed.run(log).await;
            drop(engaged);
        });
    }

    /// A reader on another replica has taken so many pieces.
    pub(in crate::transport) fn taken(&self, reader: &Token, pieces: u64) {
        if let Some(taken) = lock(&self.served).get(reader) {
            taken.send_modify(|so_far| *so_far = pieces.max(*so_far));
        }
    }

    /// A reader on another replica is gone.
    pub(in crate::transport) fn left(&self, reader: &Token) {
        lock(&self.served).remove(reader);
    }
}

/// The sending to one reader.
struct Feed {
    exchange: Arc<Exchange>,
    reader: Token,
    /// How many pieces the reader has taken; closed when it is gone.
    taken: watch::Receiver<u64>,
    /// How many were sent.
    sent: u64,
    /// When the reader was last heard of.
    heard: Instant,
    /// When it was last told that the answer is being worked on.
    said: Instant,
}

impl Feed {
    /// Sends until the log ends; `None` when the reader is gone before that.
    async fn run(mut self, mut log: Reader) -> Option<()> {
        let hard = self.exchange.lifecycle.hard.clone();
        self.send(Piece::Alive)?;
        loop {
            let step = tokio::select! {
                step = log.next() => step,
                there = self.beat() => {
                    there?;
                    continue;
                }
                () = hard.cancelled() => Step::End,
            };
            match step {
                Step::Frame(message, frame) => tokio::select! {
                    sent = self.message(message, frame.json) => sent?,
                    () = hard.cancelled() => {}
                },
                Step::End => return self.send(Piece::End),
                Step::SentAway => return self.send(Piece::SentAway),
            }
        }
    }

    /// Waits for a sign of the reader, or for the time to give one; `None` when it is gone.
    /// Cancel-safe.
    async fn beat(&mut self) -> Option<()> {
        tokio::select! {
            taken = self.taken.changed() => {
                taken.ok()?;
                self.heard = Instant::now();
            }
            () = sleep_until(self.said + BEAT) => {
                self.said = Instant::now();
                self.send(Piece::Alive)?;
                if self.heard.elapsed() > SILENCE_MAX {
                    return None;
                }
            }
        }
        Some(())
    }

    /// Sends a message, in as many pieces as it takes, no faster than they are taken.
    async fn message(&mut self, message: u64, mut rest: Bytes) -> Option<()> {
        loop {
            while self.sent.saturating_sub(*self.taken.borrow()) >= WINDOW {
                self.beat().await?;
            }
            let bytes = rest.split_to(rest.len().min(PIECE_BYTES_MAX));
            let last = rest.is_empty();
            self.send(Piece::Part {
                message,
                bytes,
                last,
            })?;
            self.sent += 1;
            if last {
                return Some(());
            }
        }
    }

    fn send(&self, piece: Piece) -> Option<()> {
        let signal = Signal::Piece {
            reader: self.reader.clone(),
            at: self.sent,
            piece,
        };
        (self.exchange.signals.send(signal) == Sent::Taken).then_some(())
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.exchange.left(&self.reader);
    }
}
