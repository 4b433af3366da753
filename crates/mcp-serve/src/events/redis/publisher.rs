//! The way out: a bounded queue, and one task that publishes what is in it, in order.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::value::RawValue;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    BEAT,
    packet::{Message, PACKET_BYTES, Packet},
};
use crate::redis::{Again, Redis, RedisError};

/// Most messages that wait to be published.
const QUEUE_MAX: usize = 4096;
/// Most bytes of them.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// Most messages in one packet.
const PACKET_MESSAGES_MAX: usize = 256;
/// What could not be published for so long is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause before another try.
const PAUSE: Duration = Duration::from_millis(100);

/// Where messages to other replicas go. Its task ends when this is dropped.
#[derive(Debug)]
pub(super) struct Publisher {
    queue: mpsc::Sender<Item>,
    backlog: Arc<Backlog>,
    up: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
enum Item {
    Message(Box<RawValue>),
    /// To be answered when everything before is sent, or given up.
    Flush(oneshot::Sender<()>),
}

#[derive(Debug, Default)]
struct Backlog {
    bytes: AtomicUsize,
    /// Messages that were given up and that the others do not know of yet.
    lost: AtomicU64,
}

impl Publisher {
    pub(super) fn start(redis: Redis, channel: String, name: Arc<str>) -> Self {
        let (queue, items) = mpsc::channel(QUEUE_MAX);
        let backlog = Arc::new(Backlog::default());
        let up = redis.watch();
        let voice = Voice {
            redis,
            channel,
            name,
            backlog: backlog.clone(),
            next: 0,
            is_refused: false,
        };
        Self {
            queue,
            backlog,
            up,
            task: tokio::spawn(voice.speak(items)),
        }
    }

    /// Whether the message is on its way. It is not while Redis is away or too much waits already;
    /// then the others are told, as soon as may be, that they missed something.
    pub(super) fn send(&self, message: &Message) -> bool {
        let Some(message) = message.write() else {
            return false;
        };
        let bytes = message.get().len();
        let waiting = self.backlog.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = *self.up.borrow() && waiting.saturating_add(bytes) <= QUEUE_BYTES_MAX;
        if fits && self.queue.try_send(Item::Message(message)).is_ok() {
            return true;
        }
        self.backlog.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.backlog.lost.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// Waits until everything sent so far is published, at most for `limit`.
    pub(super) async fn flush(&self, limit: Duration) {
        let (done, wait) = oneshot::channel();
        let flushing = async {
            if self.queue.send(Item::Flush(done)).await.is_ok() {
                let _ = wait.await;
            }
        };
        let _ = timeout(limit, flushing).await;
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Publishes for one replica.
struct Voice {
    redis: Redis,
    channel: String,
    name: Arc<str>,
    backlog: Arc<Backlog>,
    /// The number of the next message.
    next: u64,
    /// Whether the log says that Redis does not take them.
    is_refused: bool,
}

impl Voice {
    async fn speak(mut self, mut items: mpsc::Receiver<Item>) {
        let mut up = self.redis.watch();
        loop {
            let first = tokio::select! {
                item = items.recv() => match item {
                    None => return,
                    item => item,
                },
                // The others shall know at once what they missed.
                Ok(()) = up.changed() => None,
                () = sleep(BEAT) => None,
            };
            let (messages, flush) = gather(first, &mut items);
            let bytes: usize = messages.iter().map(|it| it.get().len()).sum();
            self.publish(&messages).await;
            self.backlog.bytes.fetch_sub(bytes, Ordering::Relaxed);
            if let Some(flush) = flush {
                // Who asked may have gone.
                let _ = flush.send(());
            }
        }
    }

    /// Publishes `messages`, or gives them up. Without any, it tells the number of the next one.
    async fn publish(&mut self, messages: &[Box<RawValue>]) {
        self.next += self.backlog.lost.swap(0, Ordering::Relaxed);
        let packet = Packet::write(&self.name, self.next, messages);
        self.next += messages.len() as u64;
        let begun = Instant::now();
        loop {
            // Twice is as good as once: the others know the numbers that they have heard.
            match publish(&self.redis, &self.channel, &packet, Again::Safe).await {
                Err(RedisError::Unavailable)
                    if !messages.is_empty() && begun.elapsed() < PATIENCE =>
                {
                    sleep(PAUSE).await;
                }
                Ok(()) => {
                    self.is_refused = false;
                    return;
                }
                Err(RedisError::Unavailable) => return,
                Err(error) => {
                    if !std::mem::replace(&mut self.is_refused, true) {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "changes cannot be told to other replicas"
                        );
                    }
                    return;
                }
            }
        }
    }
}

/// The first item and those that wait behind it, as many as go into one packet.
fn gather(
    first: Option<Item>,
    items: &mut mpsc::Receiver<Item>,
) -> (Vec<Box<RawValue>>, Option<oneshot::Sender<()>>) {
    let (mut messages, mut bytes) = (Vec::new(), 0);
    let mut next = first;
    while let Some(item) = next {
        match item {
            Item::Message(message) => {
                bytes += message.get().len();
                messages.push(message);
            }
            Item::Flush(flush) => return (messages, Some(flush)),
        }
        let has_room = bytes < PACKET_BYTES && messages.len() < PACKET_MESSAGES_MAX;
        next = has_room.then(|| items.try_recv().ok()).flatten();
    }
    (messages, None)
}

/// Sends a packet.
pub(super) async fn publish(
    redis: &Redis,
    channel: &str,
    packet: &[u8],
    again: Again,
) -> Result<(), RedisError> {
    let mut command = redis::cmd("PUBLISH");
    command.arg(channel).arg(packet);
    // How many hear it is known for one node of a cluster only.
    let _: i64 = redis.command(&command, again).await?;
    Ok(())
}
