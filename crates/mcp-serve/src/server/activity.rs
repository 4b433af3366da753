//! What one connection is doing and since when, and how long it may go on like that.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
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
}

/// The wish that a connection ends: since when, and how long it has for it when no request is under
/// way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leave {
    pub(super) since: Instant,
    pub(super) grace: Duration,
}

impl Activity {
    /// A connection that has just been accepted.
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            requests: AtomicU32::new(0),
            served: AtomicBool::new(false),
            idle_since: AtomicU64::new(1),
            head_since: AtomicU64::new(1),
            stalled_since: AtomicU64::new(0),
            unread: AtomicBool::new(false),
        }
    }

    /// The first bytes of a request have arrived, behind whatever a connection begins with.
    pub(super) fn open(&self) {
        let now = self.now();
        self.idle_since.store(now, Relaxed);
        self.head_since.store(now, Relaxed);
    }

    /// The time by the clock of this connection.
    pub(super) fn now(&self) -> u64 {
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

    /// So long after `since`, a time by the clock of this connection.
    pub(super) fn after(&self, since: u64, limit: Duration) -> Option<Instant> {
        self.begun
            .checked_add(Duration::from_millis(since.saturating_sub(1)))?
            .checked_add(limit)
    }

    /// A request has begun.
    pub(super) fn begin(&self) {
        self.requests.fetch_add(1, Relaxed);
        self.head_since.store(0, Relaxed);
        self.served.store(true, Relaxed);
    }

    /// A request is over: the connection has taken all of its answer.
    pub(super) fn end(&self) {
        self.idle_since.store(self.now(), Relaxed);
        self.requests.fetch_sub(1, Relaxed);
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

    /// How many requests lose something of their answer if the connection ends now.
    pub(super) fn unanswered(&self) -> u32 {
        let is_stalled = self.stalled_since.load(Relaxed) != 0;
        self.requests().max(u32::from(is_stalled))
    }

    /// When the connection is to be closed if nothing changes until then. `None` while a request
    /// is under way, which has deadlines of its own.
    pub(super) fn deadline(
        &self,
        limits: &Limits,
        protocol: Protocol,
        leave: Option<Leave>,
    ) -> Option<Instant> {
        let stalled = self.stalled_since.load(Relaxed);
        if stalled != 0 {
            return self.after(stalled, limits.write_stall);
        }
        if self.requests.load(Relaxed) > 0 {
            return None;
        }
        let head = self.head_since.load(Relaxed);
        // HTTP/2 has frames outside requests, pings for one, so bytes are no head there.
        let deadline = if head != 0 && protocol == Protocol::Http1 {
            self.after(head, limits.header_read)
        } else {
            let served = self.served.load(Relaxed);
            let idle = if served {
                limits.keep_alive_idle
            } else {
                limits.header_read
            };
            self.after(self.idle_since.load(Relaxed), idle)
        };
        // What the last request left in the buffers gets the grace too.
        let leave = leave.and_then(|leave| {
            let idle = self.after(self.idle_since.load(Relaxed), leave.grace)?;
            Some(idle.max(leave.since + leave.grace))
        });
        leave.into_iter().chain(deadline).min()
    }
}

/// The version of HTTP that a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}
