//! What one connection is doing and since when, and how long it may go on like that.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::config::Limits;

/// The state of one connection. Its socket, its requests and the task that drives it write and read
/// it; all times are milliseconds after `begun`, plus one, so that zero means "not so".
pub(crate) struct Activity {
    begun: Instant,
    requests: AtomicU32,
    served: AtomicBool,
    idle_since: AtomicU64,
    head_since: AtomicU64,
    stalled_since: AtomicU64,
    unread: AtomicBool,
    owed: AtomicU32,
    owed_since: AtomicU64,
}

impl Activity {
    /// A connection whose first bytes have just arrived.
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            requests: AtomicU32::new(0),
            served: AtomicBool::new(false),
            idle_since: AtomicU64::new(1),
            head_since: AtomicU64::new(1),
            stalled_since: AtomicU64::new(0),
            unread: AtomicBool::new(false),
            owed: AtomicU32::new(0),
            owed_since: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// Bytes came from the peer. Without a request under way they begin the head of the next one.
    pub(super) fn received(&self) {
        if self.requests.load(Relaxed) == 0 && self.head_since.load(Relaxed) == 0 {
            self.head_since.store(self.now(), Relaxed);
        }
    }

    /// The peer took bytes (or there were none to take).
    pub(super) fn sent(&self) {
        if self.stalled_since.load(Relaxed) != 0 {
            self.stalled_since.store(0, Relaxed);
            // A body is over for us when it is buffered; until it is written nothing is idle.
            self.idle_since.store(self.now(), Relaxed);
        }
    }

    /// The peer takes no bytes at the moment.
    pub(super) fn stalled(&self) {
        if self.stalled_since.load(Relaxed) == 0 {
            self.stalled_since.store(self.now(), Relaxed);
        }
    }

    /// A request has begun; it is over when the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.requests.fetch_add(1, Relaxed);
        self.head_since.store(0, Relaxed);
        self.served.store(true, Relaxed);
        Busy {
            activity: self.clone(),
            owed: false,
        }
    }

    /// A request was answered without reading all of its body.
    pub(super) fn leave_unread(&self) {
        self.unread.store(true, Relaxed);
    }

    /// Whether there was such a request.
    pub(super) fn left_unread(&self) -> bool {
        self.unread.load(Relaxed)
    }

    /// How many requests are under way.
    pub(super) fn requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    /// When the connection is to be closed if nothing changes until then. `None` while a request
    /// is under way, which has deadlines of its own. `leave` is a time by which a connection
    /// without a request must have ended anyway.
    pub(super) fn deadline(
        &self,
        limits: &Limits,
        protocol: Protocol,
        leave: Option<Instant>,
    ) -> Option<Instant> {
        let after = |since: u64, limit: Duration| {
            self.begun
                .checked_add(Duration::from_millis(since - 1))?
                .checked_add(limit)
        };
        let stalled = self.stalled_since.load(Relaxed);
        if stalled != 0 {
            return after(stalled, limits.write_stall);
        }
        if self.owed.load(Relaxed) > 0 {
            return after(self.owed_since.load(Relaxed).max(1), limits.write_stall);
        }
        if self.requests.load(Relaxed) > 0 {
            return None;
        }
        let head = self.head_since.load(Relaxed);
        // HTTP/2 has frames outside requests, pings for one, so bytes are no head there.
        let deadline = if head != 0 && protocol == Protocol::Http1 {
            after(head, limits.header_read)
        } else {
            let served = self.served.load(Relaxed);
            let idle = if served {
                limits.keep_alive_idle
            } else {
                limits.header_read
            };
            after(self.idle_since.load(Relaxed), idle)
        };
        leave.into_iter().chain(deadline).min()
    }
}

/// The version of HTTP that a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// A request under way on a connection.
pub(crate) struct Busy {
    activity: Arc<Activity>,
    owed: bool,
}

impl Busy {
    /// There are bytes of the answer that the connection has not taken yet. Within HTTP/2 a peer
    /// can read the connection and still keep the window of one answer shut.
    pub(crate) fn owe(&mut self) {
        self.activity.owed_since.store(self.activity.now(), Relaxed);
        if !self.owed {
            self.owed = true;
            self.activity.owed.fetch_add(1, Relaxed);
        }
    }

    /// The connection has taken all that there is so far.
    pub(crate) fn settle(&mut self) {
        if self.owed {
            self.owed = false;
            self.activity.owed.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.settle();
        self.activity.idle_since.store(self.activity.now(), Relaxed);
        self.activity.requests.fetch_sub(1, Relaxed);
    }
}
