//! When tokens were used, taken down behind the requests that used them.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{sync::mpsc, time::Instant};

use super::{TokenRecord, TokenSource, cache::Cache};

/// How exact the time of the last use is.
const GRAIN: Duration = Duration::from_hours(1);

/// How many uses may wait to be taken down.
const QUEUE_MAX: usize = 256;

/// How many tokens are remembered whose use was taken down in the last hour.
const TOKENS_MAX: usize = 10_000;

/// The way to the task that writes uses down, one after another. It ends when this is dropped.
pub(super) struct Usage {
    queue: mpsc::Sender<(Box<str>, Timestamp)>,
    noted: Cache<Box<str>, ()>,
}

impl Usage {
    pub(super) fn start(source: Arc<dyn TokenSource>) -> Self {
        let (queue, mut uses) = mpsc::channel::<(Box<str>, Timestamp)>(QUEUE_MAX);
        tokio::spawn(async move {
            while let Some((id, at)) = uses.recv().await {
                if let Err(error) = source.used(&id, at).await {
                    tracing::warn!(
                        token = &*id,
                        error = &error as &dyn std::error::Error,
                        "the use of a token is not taken down"
                    );
                }
            }
        });
        Self {
            queue,
            noted: Cache::new(GRAIN, TOKENS_MAX),
        }
    }

    /// A token was used. A use that does not fit into the queue is left to the next.
    pub(super) fn note(&self, record: &TokenRecord, now: Timestamp) {
        let is_recent = |last| now.duration_since(last).unsigned_abs() < GRAIN;
        let id: Box<str> = record.id.as_str().into();
        if record.last_used.is_some_and(is_recent) || self.noted.get(&*id).is_some() {
            return;
        }
        if let Ok(place) = self.queue.try_reserve()
            && self.noted.put(id.clone(), (), Instant::now())
        {
            place.send((id, now));
        }
    }
}
