//! [`Signals`] between several servers of one process.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};

use super::{Sent, Signal, SignalReceiver, Signals};

/// Connects the servers of one process. What a server that falls behind has not heard by the time
/// the bus is full is lost to it.
#[derive(Debug, Clone)]
pub struct MemoryBus {
    sender: Sender<Posted>,
    members: Arc<AtomicU64>,
}

/// A signal as it would travel between processes, and who sent it.
#[derive(Debug, Clone)]
struct Posted {
    from: u64,
    json: Bytes,
}

impl MemoryBus {
    /// A bus that keeps `capacity` signals (at least 1) for members who are slow to hear.
    pub fn new(capacity: usize) -> Self {
        Self {
            sender: Sender::new(capacity.max(1)),
            members: Arc::default(),
        }
    }

    /// A new member: what one server is given.
    pub fn join(&self) -> Arc<Member> {
        Arc::new(Member {
            number: self.members.fetch_add(1, Ordering::Relaxed),
            sender: self.sender.clone(),
            gone: Arc::default(),
        })
    }
}

impl Default for MemoryBus {
    /// A bus for 1024 signals.
    fn default() -> Self {
        Self::new(1024)
    }
}

/// One server on a [`MemoryBus`].
#[derive(Debug)]
pub struct Member {
    number: u64,
    sender: Sender<Posted>,
    gone: Arc<AtomicBool>,
}

impl Member {
    /// From now on nothing is sent or heard, as if the process had been killed.
    pub fn leave(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

impl Signals for Member {
    fn send(&self, signal: Signal) -> Sent {
        if self.gone.load(Ordering::Relaxed) {
            return Sent::Away;
        }
        let Some(json) = signal.to_json() else {
            return Sent::Away;
        };
        // Fails only when nobody listens, which is no failure.
        let _ = self.sender.send(Posted {
            from: self.number,
            json: json.into(),
        });
        Sent::Taken
    }

    fn receive(&self) -> Box<dyn SignalReceiver> {
        Box::new(MemoryReceiver {
            number: self.number,
            receiver: self.sender.subscribe(),
            gone: self.gone.clone(),
        })
    }
}

struct MemoryReceiver {
    number: u64,
    receiver: Receiver<Posted>,
    gone: Arc<AtomicBool>,
}

#[async_trait]
impl SignalReceiver for MemoryReceiver {
    async fn next(&mut self) -> Option<Signal> {
        loop {
            match self.receiver.recv().await {
                Ok(posted) => {
                    let heard = posted.from != self.number && !self.gone.load(Ordering::Relaxed);
                    if let Some(signal) = heard.then(|| Signal::from_json(&posted.json)).flatten() {
                        return Some(signal);
                    }
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SessionId;

    fn ended(name: &str) -> Signal {
        Signal::Ended {
            session: SessionId::parse(name).unwrap().digest(),
        }
    }

    #[tokio::test]
    async fn all_others_hear_a_signal_in_order_and_its_sender_does_not() {
        let bus = MemoryBus::default();
        let (a, b, c) = (bus.join(), bus.join(), bus.join());
        let mut heard = [a.receive(), b.receive(), c.receive()];
        a.send(ended("1"));
        a.send(ended("2"));
        b.send(ended("3"));
        for (receiver, names) in heard
            .iter_mut()
            .zip([&["3"][..], &["1", "2"], &["1", "2", "3"]])
        {
            for name in names {
                assert_eq!(receiver.next().await, Some(ended(name)));
            }
        }
    }

    #[tokio::test]
    async fn who_left_neither_sends_nor_hears() {
        let bus = MemoryBus::default();
        let (a, b) = (bus.join(), bus.join());
        let (mut of_a, mut of_b) = (a.receive(), b.receive());
        a.leave();
        assert_eq!(a.send(ended("1")), Sent::Away);
        b.send(ended("2"));
        drop((bus, a, b));
        assert_eq!(of_a.next().await, None);
        assert_eq!(of_b.next().await, None);
    }
}
