//! The thread that writes the audit log: in order, to a file that may be renamed under it, through
//! times when it cannot.

mod target;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
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
    /// Why lines are not written, while they are not.
    trouble: Mutex<Option<String>>,
}

impl State {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            lost: AtomicU64::new(0),
            is_closing: AtomicBool::new(false),
            complained: AtomicI64::new(i64::MIN),
            trouble: Mutex::default(),
        }
    }

    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        // No code that can panic runs under this lock.
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose(&self, why: &str) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.fails(why);
    }

    /// Lines are not written. Tells the operator, not more than once a minute.
    fn fails(&self, why: &str) {
        self.trouble().get_or_insert_with(|| why.to_owned());
        if self.is_complaint_due() {
            let lost = self.lost.load(Ordering::Relaxed);
            tracing::error!(lost, why, "the audit log is not written");
        }
    }

    /// Lines are written.
    fn works(&self) {
        if self.trouble().take().is_some() {
            tracing::warn!("the audit log is written again");
        }
    }

    /// Whether the last complaint is long ago; this is one then.
    fn is_complaint_due(&self) -> bool {
        let now = self.shared.clock.now().as_millisecond();
        let before = self.complained.load(Ordering::Relaxed);
        // A clock that went back does not silence anybody.
        let is_due = now.saturating_sub(before) >= COMPLAINT_EVERY_MS || now < before;
        let order = Ordering::Relaxed;
        let is_ours = || self.complained.compare_exchange(before, now, order, order);
        is_due && is_ours().is_ok()
    }
}

impl Writer {
    /// Starts a thread that writes to `target`.
    pub(super) fn start(target: Target, shared: Arc<Shared>) -> Self {
        Self::with_queue(QUEUE_LINES_MAX, target, shared)
    }

    fn with_queue(lines_max: usize, target: Target, shared: Arc<Shared>) -> Self {
        let (sender, receiver) = mpsc::sync_channel(lines_max);
        let (end, ended) = mpsc::sync_channel(1);
        let state = Arc::new(State::new(shared));
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
            self.state.lose("it has ended");
        } else if self.sender.try_send(Message::Line(line)).is_err() {
            self.state.lose("its queue is full");
        }
    }

    /// Why lines are not written, while they are not.
    pub(super) fn trouble(&self) -> Option<String> {
        self.state.trouble().clone()
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

    fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES_MAX
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
            let mut is_written = self.flush();
            if is_written && self.state.lost.load(Ordering::Relaxed) > 0 {
                self.tell_lost();
                is_written = self.flush();
            }
            // The end does not wait for better times.
            let is_given_up = !is_written && self.state.is_closing.load(Ordering::Relaxed);
            if is_given_up {
                self.give_up();
            }
            if is_last || is_given_up {
                self.target.sync();
                return;
            }
        }
    }

    /// Tells the operator how much will never be written.
    fn give_up(&self) {
        let is_line = |message: &Message| matches!(message, Message::Line(_));
        let queued = self.receiver.try_iter().filter(is_line).count() as u64;
        let left = self.pending.lines() + queued;
        let lost = self.state.lost.fetch_add(left, Ordering::Relaxed) + left;
        tracing::error!(lost, "the audit log ends without its last lines");
    }

    /// Takes lines out of the queue, or waits for some. True when there will be no more.
    fn gather(&mut self) -> bool {
        if !self.pending.is_empty() {
            // It could not be written just now; the queue holds what comes meanwhile.
            let until = Instant::now() + TICK;
            while Instant::now() < until && !self.state.is_closing.load(Ordering::Relaxed) {
                thread::sleep(TICK / 10);
            }
            if self.pending.is_full() {
                return false;
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
            if self.pending.is_full() {
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
        if self.pending.is_full() && !is_last {
            // They are counted on until there is room.
            return;
        }
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
                    self.state.fails(&error.to_string());
                    return false;
                }
            }
        }
        self.pending = Pending::default();
        self.state.works();
        true
    }

    /// Opens the file again when it has another name by now, or when it is asked to.
    fn reopen(&mut self, is_asked: bool) {
        match self.target.reopen(is_asked) {
            Ok(true) => self.pending.rewind(),
            // What is open still takes lines.
            Err(error) if self.state.is_complaint_due() => {
                tracing::error!(%error, "the file of the audit log cannot be opened again");
            }
            Ok(false) | Err(_) => {}
        }
    }
}
