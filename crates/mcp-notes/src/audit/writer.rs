//! The thread that writes the audit log: in order, to a file that may be renamed under it, through
//! times when it cannot.

mod target;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};

pub(super) use self::target::Target;
use super::{
    Shared,
    line::{Entry, Face, Outcome},
};

/// How many lines may wait.
const QUEUE_LINES_MAX: usize = 8192;

/// How many bytes are written at once.
const BATCH_BYTES_MAX: usize = 64 << 10;

/// How long the writer rests when there is nothing to do, or when it cannot write.
const TICK: Duration = Duration::from_secs(1);

/// How long the end waits for the last lines.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// How often the log says that the audit log loses lines, in milliseconds.
const COMPLAINT_EVERY_MS: i64 = 60_000;

/// The handle to the thread.
pub(super) struct Writer {
    sender: SyncSender<Message>,
    ended: Mutex<Receiver<()>>,
    state: Arc<State>,
}

enum Message {
    Line(Vec<u8>),
    Reopen,
    /// Wakes the thread, for it to see that it is to end.
    Close,
}

/// What the thread and its handle both change.
struct State {
    shared: Arc<Shared>,
    /// Lines that are not in the log and of which the log does not know yet.
    lost: AtomicU64,
    is_closing: AtomicBool,
    /// When there was a complaint, in milliseconds of the clock.
    complained: AtomicI64,
}

impl State {
    fn lose(&self, lines: u64, why: &str) {
        let lost = self.lost.fetch_add(lines, Ordering::Relaxed) + lines;
        self.complain(lost, why);
    }

    /// Tells the operator, not more than once a minute.
    fn complain(&self, lost: u64, why: &str) {
        let now = self.shared.clock.now().as_millisecond();
        let before = self.complained.load(Ordering::Relaxed);
        let is_due = now.saturating_sub(before) >= COMPLAINT_EVERY_MS || now < before;
        let order = Ordering::Relaxed;
        let is_ours = || self.complained.compare_exchange(before, now, order, order);
        if is_due && is_ours().is_ok() {
            tracing::error!(lost, why, "the audit log is not written");
        }
    }
}

impl Writer {
    /// Starts a thread that writes to `target`.
    pub(super) fn start(target: Target, shared: Arc<Shared>) -> Self {
        let (sender, receiver) = mpsc::sync_channel(QUEUE_LINES_MAX);
        let (end, ended) = mpsc::sync_channel(1);
        let state = Arc::new(State {
            shared,
            lost: AtomicU64::new(0),
            is_closing: AtomicBool::new(false),
            complained: AtomicI64::new(i64::MIN),
        });
        let mut thread = Thread {
            receiver,
            target,
            pending: Pending::default(),
            state: state.clone(),
        };
        // A thread that cannot be started drops its end of the queue, and every line is counted as
        // lost, with a complaint.
        let started = thread::Builder::new().name("audit".into()).spawn(move || {
            thread.run();
            let _ = end.send(());
        });
        if let Err(error) = started {
            tracing::error!(%error, "the audit log has no thread");
        }
        Self {
            sender,
            ended: Mutex::new(ended),
            state,
        }
    }

    /// Queues a line, with its end.
    pub(super) fn write(&self, line: Vec<u8>) {
        if self.state.is_closing.load(Ordering::Relaxed) {
            self.state.lose(1, "it has ended");
        } else if self.sender.try_send(Message::Line(line)).is_err() {
            self.state.lose(1, "its queue is full");
        }
    }

    /// Opens the file again, as soon as the lines before are written.
    pub(super) fn reopen(&self) {
        // With a full queue the thread looks for a renamed file anyway.
        let _ = self.sender.try_send(Message::Reopen);
    }

    /// Waits until everything is written, for a bounded time.
    pub(super) fn close(&self) {
        if self.state.is_closing.swap(true, Ordering::Relaxed) {
            return;
        }
        let _ = self.sender.try_send(Message::Close);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(CLOSE_MAX).is_err() {
            tracing::error!("the last lines of the audit log are not written");
        }
    }
}

/// Lines on their way into the file.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    /// How much of it is written.
    written: usize,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// The lines that are not written whole.
    fn lines(&self) -> u64 {
        let left = self.bytes.get(self.written..).unwrap_or_default();
        left.split(|byte| *byte == b'\n').skip(1).count() as u64
    }

    /// Begins the line that is written in part once more, because it goes into another file.
    fn rewind(&mut self) {
        let done = self.bytes.get(..self.written).unwrap_or_default();
        let line = done.iter().rposition(|byte| *byte == b'\n');
        self.written = line.map_or(0, |at| at + 1);
    }
}

struct Thread {
    receiver: Receiver<Message>,
    target: Target,
    pending: Pending,
    state: Arc<State>,
}

impl Thread {
    fn run(&mut self) {
        loop {
            let is_last = self.gather();
            self.tell_repeats(is_last);
            let is_written = self.flush();
            if is_written && self.state.lost.load(Ordering::Relaxed) > 0 {
                self.tell_lost();
                self.flush();
            }
            if is_last {
                let left = self.pending.lines();
                if left > 0 {
                    self.state.lose(left, "it ends");
                }
                self.target.sync();
                return;
            }
        }
    }

    /// Takes lines out of the queue, or waits for some. True when there will be no more.
    fn gather(&mut self) -> bool {
        if !self.pending.is_empty() {
            // It could not be written just now; the queue holds what comes meanwhile.
            let until = Instant::now() + TICK;
            while Instant::now() < until && !self.state.is_closing.load(Ordering::Relaxed) {
                thread::sleep(TICK / 10);
            }
        }
        let mut next = if self.pending.is_empty() {
            self.receiver.recv_timeout(TICK)
        } else {
            self.try_next()
        };
        loop {
            match next {
                Ok(Message::Line(mut line)) => self.pending.bytes.append(&mut line),
                Ok(Message::Reopen) => {
                    self.flush();
                    self.reopen(true);
                }
                Ok(Message::Close) => {}
                Err(RecvTimeoutError::Timeout) => {
                    return self.state.is_closing.load(Ordering::Relaxed);
                }
                Err(RecvTimeoutError::Disconnected) => return true,
            }
            if self.pending.bytes.len() >= BATCH_BYTES_MAX {
                return false;
            }
            next = self.try_next();
        }
    }

    fn try_next(&self) -> Result<Message, RecvTimeoutError> {
        self.receiver.try_recv().map_err(|error| match error {
            TryRecvError::Empty => RecvTimeoutError::Timeout,
            TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
        })
    }

    /// Adds a line for what was refused too often, when its minute is over.
    fn tell_repeats(&mut self, is_last: bool) {
        let shared = &self.state.shared;
        let now = shared.clock.now();
        let mut repeats = shared.repeats();
        let told = if is_last {
            repeats.end()
        } else {
            repeats.sweep(now)
        };
        drop(repeats);
        for entry in told {
            self.pending.bytes.append(&mut entry.to_line(now));
        }
    }

    /// Adds a line for what was lost.
    fn tell_lost(&mut self) {
        let lost = self.state.lost.swap(0, Ordering::Relaxed);
        let entry = Entry {
            outcome: Outcome::Failed,
            reason: "lost",
            count: Some(lost),
            ..Entry::new(Face::Server, "audit.lost")
        };
        let now = self.state.shared.clock.now();
        self.pending.bytes.append(&mut entry.to_line(now));
    }

    /// Writes what is pending. False when something is left.
    fn flush(&mut self) -> bool {
        if self.pending.is_empty() {
            return true;
        }
        self.reopen(false);
        while let Some(left) = self.pending.bytes.get(self.pending.written..)
            && !left.is_empty()
        {
            match self.target.write(left) {
                Ok(bytes) => self.pending.written += bytes,
                Err(error) => {
                    let lost = self.state.lost.load(Ordering::Relaxed);
                    self.state.complain(lost, &error.to_string());
                    return false;
                }
            }
        }
        self.pending = Pending::default();
        true
    }

    /// Opens the file again when it has another name by now, or when it is asked to.
    fn reopen(&mut self, is_asked: bool) {
        match self.target.reopen(is_asked) {
            Ok(true) => self.pending.rewind(),
            Ok(false) => {}
            // What is open still takes lines.
            Err(error) => {
                let lost = self.state.lost.load(Ordering::Relaxed);
                self.state.complain(lost, &error.to_string());
            }
        }
    }
}
