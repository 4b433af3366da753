//! One request and its answer, under way until the connection has taken the last byte.

use std::{
    io::IoSlice,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use tokio::time::{Instant, Sleep, sleep_until};

use super::activity::Activity;

/// A request under way on a connection. It is over when this is dropped and every [`Chunk`] of its
/// answer is.
pub(crate) struct Exchange {
    activity: Arc<Activity>,
    /// How many chunks the connection has not taken yet.
    unsent: AtomicU32,
    /// When the connection last took some of them, by the clock of `activity`.
    progress: AtomicU64,
    taken: AtomicWaker,
}

impl Exchange {
    /// A request has begun.
    pub(super) fn begin(activity: &Arc<Activity>) -> Arc<Self> {
        activity.begin();
        Arc::new(Self {
            activity: activity.clone(),
            unsent: AtomicU32::new(0),
            progress: AtomicU64::new(0),
            taken: AtomicWaker::new(),
        })
    }

    /// Bytes of the answer on their way to the connection.
    pub(crate) fn chunk(self: &Arc<Self>, bytes: Bytes) -> Chunk {
        self.progress();
        self.unsent.fetch_add(1, Ordering::AcqRel);
        Chunk {
            bytes,
            exchange: self.clone(),
        }
    }

    /// Whether there are bytes that the connection has not taken.
    pub(crate) fn is_unsent(&self) -> bool {
        self.unsent.load(Ordering::Acquire) > 0
    }

    /// Waits until the connection has taken every byte there is so far.
    pub(crate) fn poll_taken(&self, cx: &Context<'_>) -> Poll<()> {
        self.taken.register(cx.waker());
        if self.is_unsent() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    /// When the peer has taken nothing for too long, unless it takes something before.
    fn stalls_at(&self, limit: Duration) -> Option<Instant> {
        if !self.is_unsent() {
            return None;
        }
        let progress = self.progress.load(Ordering::Relaxed);
        self.activity.after(progress, limit)
    }

    fn progress(&self) {
        self.progress.store(self.activity.now(), Ordering::Relaxed);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.activity.end();
    }
}

/// Bytes of an answer. Within HTTP/2 a peer can read the connection and still keep the window of
/// one answer shut; these tell when they were written.
pub(crate) struct Chunk {
    bytes: Bytes,
    exchange: Arc<Exchange>,
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.bytes.chunks_vectored(slices)
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.exchange.progress();
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        self.exchange.progress();
        self.bytes.copy_to_bytes(count)
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.exchange.unsent.fetch_sub(1, Ordering::AcqRel);
        self.exchange.taken.wake();
    }
}

/// Runs `work`, which answers the request of `exchange`, until the peer takes none of the answer
/// for longer than `limit`: then `None`.
pub(super) async fn unless_stalled<W: Future>(
    work: W,
    exchange: &Exchange,
    limit: Duration,
) -> Option<W::Output> {
    let mut work = pin!(work);
    // Most answers are taken at once and need no timer.
    let mut timer = pin!(None::<Sleep>);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        loop {
            let Some(at) = exchange.stalls_at(limit) else {
                return Poll::Pending;
            };
            if timer.is_none() {
                timer.set(Some(sleep_until(at)));
            }
            let Some(mut sleep) = timer.as_mut().as_pin_mut() else {
                return Poll::Pending;
            };
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if at <= Instant::now() {
                return Poll::Ready(None);
            }
            sleep.as_mut().reset(at);
        }
    })
    .await
}
