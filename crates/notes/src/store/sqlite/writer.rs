//! The one thread that writes: it takes what is queued, writes it in one transaction, and answers
//! when that is on the disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::schema::store_error;
use super::write::{Write, Written};
use crate::error::{Error, Result, StoreError};
use crate::store::listeners::Listeners;
use crate::store::{Listener, Load, closed};

/// Work on the connection that writes.
pub(super) enum Job {
    /// A write, which may share a transaction with others.
    Write(WriteJob),
    /// Something that sees all writes before it and none after it.
    Between(Task),
    /// The end. Answers when everything is written.
    Close(oneshot::Sender<()>),
}

/// Something to do with a connection.
pub(super) type Task = Box<dyn FnOnce(&Connection) + Send>;

/// A write and who waits for it.
pub(super) struct WriteJob {
    pub(super) write: Write,
    pub(super) reply: oneshot::Sender<Result<Written>>,
}

/// The way to the writer thread.
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    listeners: Arc<Listeners>,
    commits: Arc<Commits>,
}

/// How many commits there were, by their size.
#[derive(Default)]
struct Commits {
    counts: [AtomicU64; Load::SIZES.len() + 1],
    writes: AtomicU64,
}

impl Commits {
    fn add(&self, writes: usize) {
        let writes = writes as u64;
        let place = Load::SIZES.partition_point(|size| *size < writes);
        self.counts[place].fetch_add(1, Relaxed);
        self.writes.fetch_add(writes, Relaxed);
    }
}

impl Writer {
    /// Starts the thread. It opens the connection itself and ends when the writer is dropped or
    /// closed; `open` may bring something back to the caller, such as connections that read.
    pub(super) async fn start<T: Send + 'static>(
        queue_max: usize,
        batch_max: usize,
        open: impl FnOnce() -> Result<(Connection, T), StoreError> + Send + 'static,
    ) -> Result<(Self, T), StoreError> {
        let (jobs, queue) = mpsc::channel(queue_max.max(1));
        let (opened, ready) = oneshot::channel();
        let listeners = Arc::<Listeners>::default();
        let commits = Arc::<Commits>::default();
        let thread = Thread {
            queue,
            batch_max: batch_max.max(1),
            listeners: listeners.clone(),
            commits: commits.clone(),
        };
        let body = move || match open() {
            Ok((conn, more)) => {
                if opened.send(Ok(more)).is_ok() {
                    thread.run(conn);
                }
            }
            Err(error) => drop(opened.send(Err(error))),
        };
        thread::Builder::new()
            .name("notes-writer".to_owned())
            .spawn(body)
            .map_err(|error| StoreError::Other(Box::new(error)))?;
        let more = ready.await.map_err(|_| gone())??;
        let writer = Self {
            jobs,
            listeners,
            commits,
        };
        Ok((writer, more))
    }

    pub(super) fn on_change(&self, listener: Listener) {
        self.listeners.add(listener);
    }

    /// Writes and waits until that is on the disk.
    pub(super) async fn write(&self, write: Write) -> Result<Written> {
        let (reply, written) = oneshot::channel();
        self.submit(Job::Write(WriteJob { write, reply }))?;
        written.await.map_err(|_| gone())?
    }

    /// Puts work into the queue, if there is room.
    pub(super) fn submit(&self, job: Job) -> Result<(), StoreError> {
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => closed(),
        })
    }

    /// How much there is to do, and what was done.
    pub(super) fn load(&self) -> Load {
        Load {
            waiting: self.queued(),
            commits: self.commits.counts.each_ref().map(|it| it.load(Relaxed)),
            writes: self.commits.writes.load(Relaxed),
        }
    }

    /// How many jobs wait.
    pub(super) fn queued(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }

    /// Waits for room in the queue and then for the thread to come by.
    pub(super) async fn turn(&self) -> Result<(), StoreError> {
        let (reply, reached) = oneshot::channel();
        let task: Task = Box::new(move |_| {
            // Whoever asked may have gone.
            let _ = reply.send(());
        });
        let queued = self.jobs.send(Job::Between(task)).await;
        queued.map_err(|_| closed())?;
        reached.await.map_err(|_| gone())
    }

    /// Ends the thread after everything that is queued.
    pub(super) async fn close(&self) {
        let (reply, done) = oneshot::channel();
        // Either fails only when the thread has ended already.
        if self.jobs.send(Job::Close(reply)).await.is_ok() {
            let _ = done.await;
        }
    }
}

pub(super) fn gone() -> StoreError {
    StoreError::Unavailable("it stopped while it worked on this".to_owned())
}

struct Thread {
    queue: mpsc::Receiver<Job>,
    batch_max: usize,
    listeners: Arc<Listeners>,
    commits: Arc<Commits>,
}

impl Thread {
    fn run(mut self, mut conn: Connection) {
        let mut waiting_for_end = Vec::new();
        let mut next = self.queue.blocking_recv();
        while let Some(job) = next.take() {
            match job {
                Job::Write(first) => {
                    let mut batch = vec![first];
                    next = self.fill(&mut batch);
                    self.write(&mut conn, batch);
                }
                Job::Between(task) => {
                    if catch_unwind(AssertUnwindSafe(|| task(&conn))).is_err() {
                        tracing::error!("a task on the notes database panicked");
                    }
                }
                Job::Close(done) => {
                    self.queue.close();
                    waiting_for_end.push(done);
                }
            }
            if next.is_none() {
                next = self.queue.blocking_recv();
            }
        }
        if let Err(error) = checkpoint(&conn) {
            tracing::warn!(error = %error, "the log of the notes database stays until the next start");
        }
        drop(conn);
        for done in waiting_for_end {
            let _ = done.send(());
        }
    }

    /// Adds the writes that are queued already, up to a full batch; returns the first job that
    /// does not belong to it.
    fn fill(&mut self, batch: &mut Vec<WriteJob>) -> Option<Job> {
        while batch.len() < self.batch_max {
            match self.queue.try_recv() {
                Ok(Job::Write(job)) => batch.push(job),
                Ok(other) => return Some(other),
                Err(_) => return None,
            }
        }
        None
    }

    fn write(&self, conn: &mut Connection, batch: Vec<WriteJob>) {
        match guarded(conn, &batch) {
            Ok(results) => {
                self.commits.add(batch.len());
                self.answer(batch, results);
            }
            // Nobody else would get the lock either.
            Err(StoreError::Busy) => {
                for job in batch {
                    let _ = job.reply.send(Err(StoreError::Busy.into()));
                }
            }
            Err(error) if batch.len() == 1 => {
                self.answer(batch, vec![Err(error.into())]);
            }
            // One write must not fail because of another: each gets its own transaction.
            Err(_) => {
                for job in batch {
                    self.write(conn, vec![job]);
                }
            }
        }
    }

    fn answer(&self, batch: Vec<WriteJob>, results: Vec<Result<Written>>) {
        for (job, result) in batch.into_iter().zip(results) {
            if let Ok(written) = &result {
                self.listeners.tell(&written.change());
            }
            // Whoever asked may have gone; the write is done all the same.
            let _ = job.reply.send(result);
        }
    }
}

/// Writes a batch in one transaction. When it fails, by error or panic, nothing of it is written
/// and the connection is ready for the next.
fn guarded(conn: &mut Connection, batch: &[WriteJob]) -> Result<Vec<Result<Written>>, StoreError> {
    let outcome = catch_unwind(AssertUnwindSafe(|| transact(conn, batch)));
    if !conn.is_autocommit()
        && let Err(error) = conn.execute_batch("ROLLBACK")
    {
        tracing::error!(error = %error, "the notes database cannot roll back");
    }
    outcome.unwrap_or_else(|_| Err(StoreError::Other("the write panicked".into())))
}

/// The result of each write, once all are durable. The outer error means that nothing is.
fn transact(conn: &mut Connection, batch: &[WriteJob]) -> Result<Vec<Result<Written>>, StoreError> {
    let mut transaction = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(store_error)?;
    let mut results = Vec::with_capacity(batch.len());
    for job in batch {
        let savepoint = transaction.savepoint().map_err(store_error)?;
        match job.write.run(&savepoint) {
            Err(Error::Store(error)) => return Err(error),
            Err(refused) => {
                savepoint.finish().map_err(store_error)?;
                results.push(Err(refused));
            }
            Ok(written) => {
                savepoint.commit().map_err(store_error)?;
                results.push(Ok(written));
            }
        }
    }
    transaction.commit().map_err(store_error)?;
    Ok(results)
}

/// Moves the log into the database and empties it, so that one file is everything.
fn checkpoint(conn: &Connection) -> rusqlite::Result<()> {
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}
