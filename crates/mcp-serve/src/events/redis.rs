//! [`Events`] and [`Signals`] between replicas, over a channel of Redis.
//!
//! Subscribers of the same process hear an event at once, whatever becomes of Redis. The others hear
//! it in the order of each publisher, or are told that they [missed](Received::Missed) some: messages
//! are numbered, and every replica publishes now and then even when it has nothing to say.

mod listener;
mod packet;
mod publisher;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        watch,
    },
    task::JoinHandle,
};

use self::{
    packet::{Message, Packet},
    publisher::Publisher,
};
use super::{Event, Events, Received, Subscription};
use crate::{
    health::Check,
    redis::{Again, Redis, RedisError, random_name},
    signals::{Sent, Signal, SignalReceiver, Signals},
};

/// How often a replica publishes at least, so that others notice what they lost and it notices that
/// it hears nothing.
const BEAT: Duration = Duration::from_secs(2);

/// Events and signals that are kept for a receiver that is slow to take them.
const CAPACITY: usize = 1024;

/// The channel of all replicas on one Redis.
#[derive(Debug)]
pub struct RedisEvents {
    here: Here,
    publisher: Publisher,
    listener: JoinHandle<()>,
}

/// The receivers of this process.
#[derive(Debug, Clone)]
struct Here {
    events: broadcast::Sender<Received>,
    signals: broadcast::Sender<Signal>,
    /// Whether others are heard.
    hears: Arc<watch::Sender<bool>>,
}

impl RedisEvents {
    /// Joins the replicas on `redis`. Publishes and hears in tasks, so it needs a runtime; they end
    /// when this is dropped.
    pub fn new(redis: Redis) -> Self {
        let here = Here {
            events: broadcast::Sender::new(CAPACITY),
            signals: broadcast::Sender::new(CAPACITY),
            hears: Arc::default(),
        };
        let name: Arc<str> = random_name().into();
        let channel = channel(&redis);
        Self {
            publisher: Publisher::start(redis.clone(), channel.clone(), name.clone()),
            listener: tokio::spawn(listener::listen(redis, channel, name, here.clone())),
            here,
        }
    }

    /// Whether what other replicas publish is heard. Changes as Redis comes and goes.
    pub fn hears(&self) -> watch::Receiver<bool> {
        self.here.hears.subscribe()
    }

    /// Waits until everything that was published so far is sent, but not longer than `limit`.
    pub async fn flush(&self, limit: Duration) {
        self.publisher.flush(limit).await;
    }
}

impl Drop for RedisEvents {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Sends one signal to all replicas on `redis`, from outside of them, and waits for that.
pub async fn tell(redis: &Redis, signal: Signal) -> Result<(), RedisError> {
    let message = Message::Signal(signal).write();
    let message = message.ok_or_else(|| RedisError::Refused("too large a signal".to_owned()))?;
    let packet = Packet::write(&random_name(), 0, &[message]);
    publisher::publish(redis, &channel(redis), &packet, Again::Safe).await
}

/// Whether a packet is read again as it is written from what was understood of it.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn is_read_as_written(json: &[u8]) -> bool {
    let Some(packet) = Packet::read(json) else {
        return true;
    };
    let messages: Vec<_> = packet.messages().collect();
    let written: Option<Vec<_>> = messages.iter().map(Message::write).collect();
    let json = written.map(|written| Packet::write(&packet.from, packet.n, &written));
    let again = json.as_deref().and_then(Packet::read);
    again.is_some_and(|again| {
        (&again.from, again.n) == (&packet.from, packet.n) && again.messages().eq(messages)
    })
}

fn channel(redis: &Redis) -> String {
    redis.channel("events")
}

impl Events for RedisEvents {
    fn publish(&self, event: Event) {
        self.publisher.send(&Message::Event(event.clone()));
        // Fails only when nobody listens, which is no failure.
        let _ = self.here.events.send(Received::Event(event));
    }

    fn subscribe(&self) -> Box<dyn Subscription> {
        Box::new(Tail(self.here.events.subscribe()))
    }
}

struct Tail(broadcast::Receiver<Received>);

#[async_trait]
impl Subscription for Tail {
    async fn next(&mut self) -> Option<Received> {
        match self.0.recv().await {
            Ok(received) => Some(received),
            Err(RecvError::Lagged(_)) => Some(Received::Missed),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Signals for RedisEvents {
    fn send(&self, signal: Signal) -> Sent {
        if self.publisher.send(&Message::Signal(signal)) {
            Sent::Taken
        } else {
            Sent::Away
        }
    }

    fn receive(&self) -> Box<dyn SignalReceiver> {
        Box::new(Ear(self.here.signals.subscribe()))
    }
}

struct Ear(broadcast::Receiver<Signal>);

#[async_trait]
impl SignalReceiver for Ear {
    async fn next(&mut self) -> Option<Signal> {
        loop {
            match self.0.recv().await {
                Ok(signal) => return Some(signal),
                Err(RecvError::Lagged(lost)) => {
                    tracing::warn!(
                        lost,
                        "signals of other replicas came faster than they were taken"
                    );
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// Says in the health report whether other replicas are heard.
#[async_trait]
impl Check for RedisEvents {
    fn name(&self) -> &'static str {
        "events"
    }

    async fn check(&self) -> Result<(), String> {
        if *self.here.hears.borrow() {
            Ok(())
        } else {
            Err("local: what other replicas change is not heard".to_owned())
        }
    }

    fn is_vital(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
