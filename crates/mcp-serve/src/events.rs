//! Change notifications between the faces and the replicas of a server: who changes something
//! publishes an [`Event`], and every open stream of a client hears of it.
//!
//! Nothing depends on delivery for correctness: a subscriber that missed events is told so, and
//! makes it good with a "list changed" to its client.

pub mod memory;
pub mod redis;

use std::sync::Arc;

use async_trait::async_trait;

pub use self::{memory::MemoryEvents, redis::RedisEvents};

/// One change that clients may want to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whose clients hear of it: the [audience](crate::transport::Settings::audience) of a
    /// principal, or everybody for `None`.
    pub audience: Option<Arc<str>>,
    /// What changed.
    pub change: Change,
}

impl Event {
    /// Whether clients of this `audience` hear of it.
    pub fn is_for(&self, audience: &str) -> bool {
        self.audience.as_deref().is_none_or(|it| it == audience)
    }
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The list of tools.
    Tools,
    /// The list of prompts.
    Prompts,
    /// The list of resources: one was added, removed or renamed.
    Resources,
    /// The content of the resource with this URI.
    Resource(Arc<str>),
}

/// What a [`Subscription`] yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// The next event, in the order of publication.
    Event(Event),
    /// Events were lost between the last one and the next one.
    Missed,
}

/// The channel on which changes travel: in memory for one process, over Redis between replicas.
pub trait Events: Send + Sync + 'static {
    /// Tells every subscriber, without waiting for any. To be called after the change is durable.
    fn publish(&self, event: Event);

    /// A subscription that sees every event published after this call has returned.
    fn subscribe(&self) -> Box<dyn Subscription>;
}

/// The receiving end of [`Events`].
#[async_trait]
pub trait Subscription: Send + 'static {
    /// The next event; `None` when the channel was closed for good. Cancel-safe.
    async fn next(&mut self) -> Option<Received>;
}
