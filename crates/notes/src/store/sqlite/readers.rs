//! Connections that read, and never wait for writes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::writer::{Task, gone};
use crate::error::{Error, Result, StoreError};
use crate::store::closed;

/// Two sets of connections: some at hand for reads that take microseconds and run where they are
/// asked for, and one in each of a few threads for reads that may take longer.
pub(super) struct Readers {
    at_hand: Mutex<Option<Vec<Connection>>>,
    tasks: Mutex<Option<mpsc::Sender<Task>>>,
    /// Closed when the last thread has ended.
    ended: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

impl Readers {
    /// Starts a thread for each of `pool`, with a queue of `queue_max` reads for all of them.
    pub(super) fn start(
        at_hand: Vec<Connection>,
        pool: Vec<Connection>,
        queue_max: usize,
    ) -> Result<Self, StoreError> {
        let (tasks, queue) = mpsc::channel::<Task>(queue_max.max(1));
        let (alive, ended) = mpsc::channel::<()>(1);
        let queue = Arc::new(Mutex::new(queue));
        for conn in pool {
            let queue = queue.clone();
            let alive = alive.clone();
            thread::Builder::new()
                .name("notes-reader".to_owned())
                .spawn(move || {
                    serve(&conn, &queue);
                    drop(conn);
                    drop(alive);
                })
                .map_err(|error| StoreError::Other(Box::new(error)))?;
        }
        Ok(Self {
            at_hand: Mutex::new(Some(at_hand)),
            tasks: Mutex::new(Some(tasks)),
            ended: tokio::sync::Mutex::new(ended),
        })
    }

    /// Runs a short read here if a connection is at hand and no lock has to be waited for, otherwise
    /// in a thread.
    pub(super) async fn read_here<T: Send + 'static>(
        &self,
        read: impl Fn(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let taken = match &mut *self.at_hand.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(connections) => connections.pop(),
            None => return Err(closed().into()),
        };
        let Some(conn) = taken else {
            return self.read(read).await?;
        };
        let result = read(&conn);
        if let Some(connections) = &mut *self.at_hand.lock().unwrap_or_else(PoisonError::into_inner)
        {
            connections.push(conn);
        }
        match result {
            Err(Error::Store(StoreError::Busy)) => self.read(read).await?,
            result => result,
        }
    }

    /// Runs a read in a thread. It is not begun when nobody waits for it any more.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let (task, result) = task(read);
        match &*self.tasks.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(tasks) => tasks.try_send(task).map_err(|_| StoreError::Busy)?,
            None => return Err(closed()),
        }
        result.await.map_err(|_| gone())
    }

    /// Ends the threads after the reads that are queued.
    pub(super) async fn close(&self) {
        drop(
            self.at_hand
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        drop(
            self.tasks
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let _ = self.ended.lock().await.recv().await;
    }
}

/// A read as a task, and where its result comes out.
pub(super) fn task<T: Send + 'static>(
    read: impl FnOnce(&Connection) -> T + Send + 'static,
) -> (Task, oneshot::Receiver<T>) {
    let (reply, result) = oneshot::channel();
    let task = move |conn: &Connection| {
        if !reply.is_closed() {
            let _ = reply.send(read(conn));
        }
    };
    (Box::new(task), result)
}

fn serve(conn: &Connection, queue: &Mutex<mpsc::Receiver<Task>>) {
    loop {
        let next = queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .blocking_recv();
        let Some(task) = next else { return };
        if catch_unwind(AssertUnwindSafe(|| task(conn))).is_err() {
            tracing::error!("a read of the notes database panicked");
        }
    }
}
