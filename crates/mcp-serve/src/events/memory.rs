//! [`Events`] within one process.

use async_trait::async_trait;
use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};

use super::{Event, Events, Received, Subscription};

/// Events of one process over a broadcast channel. A subscriber that falls behind by more than the
/// capacity is told that it [missed](Received::Missed) some.
#[derive(Debug, Clone)]
pub struct MemoryEvents {
    sender: Sender<Event>,
}

impl MemoryEvents {
    /// A channel that keeps `capacity` events (at least 1) for slow subscribers.
    pub fn new(capacity: usize) -> Self {
        Self {
            sender: Sender::new(capacity.max(1)),
        }
    }
}

impl Default for MemoryEvents {
    /// A channel for 1024 events.
    fn default() -> Self {
        Self::new(1024)
    }
}

impl Events for MemoryEvents {
    fn publish(&self, event: Event) {
        // Fails only when nobody listens, which is no failure.
        let _ = self.sender.send(event);
    }

    fn subscribe(&self) -> Box<dyn Subscription> {
        Box::new(MemorySubscription {
            receiver: self.sender.subscribe(),
        })
    }
}

struct MemorySubscription {
    receiver: Receiver<Event>,
}

#[async_trait]
impl Subscription for MemorySubscription {
    async fn next(&mut self) -> Option<Received> {
        match self.receiver.recv().await {
            Ok(event) => Some(Received::Event(event)),
            Err(RecvError::Lagged(_)) => Some(Received::Missed),
            Err(RecvError::Closed) => None,
        }
    }
}
