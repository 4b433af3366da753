//! The way in: one task that hears what other replicas publish, and notices what it did not hear.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use tokio::time::{sleep, timeout};

use super::{
    BEAT, Here,
    packet::{Message, Packet},
};
use crate::{
    events::Received,
    metrics::Metrics,
    redis::{Redis, RedisError, Subscription},
};

/// Not even its own beats: the connection is dead, whatever it looks like.
const SILENCE: Duration = Duration::from_secs(3 * BEAT.as_secs());

/// Replicas whose numbers are remembered.
const PUBLISHERS_MAX: usize = 1024;

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Hears `channel` for as long as it is polled. What comes from `name` is not told again.
pub(super) async fn listen(redis: Redis, channel: String, name: Arc<str>, here: Here) {
    let channels = [channel];
    let mut up = redis.watch();
    let mut pause = PAUSE_MIN;
    // Kept while nothing is heard: what a replica could not say is noticed by its next number.
    let mut numbers = Numbers::default();
    let (mut was_refused, mut is_first) = (false, true);
    loop {
        match redis.subscribe(&channels).await {
            Ok(mut subscription) => {
                (pause, was_refused) = (PAUSE_MIN, false);
                here.hears.send_replace(true);
                // What was published before is lost. At the start nobody was there to hear it.
                if !std::mem::replace(&mut is_first, false) {
                    redis.metrics().events_missed();
                }
                here.miss();
                let ears = (&here, redis.metrics());
                hear(&mut subscription, &name, &mut numbers, ears).await;
                here.hears.send_replace(false);
            }
            Err(RedisError::Refused(reason)) if !was_refused => {
                was_refused = true;
                tracing::error!(
                    reason,
                    "Redis does not let the changes of replicas be heard"
                );
            }
            Err(_) => {}
        }
        tokio::select! {
            () = sleep(pause) => {}
            Ok(()) = up.changed() => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Hears until the connection ends.
async fn hear(
    subscription: &mut Subscription,
    name: &str,
    numbers: &mut Numbers,
    (here, metrics): (&Here, &Metrics),
) {
    while let Ok(Some(message)) = timeout(SILENCE, subscription.next()).await {
        let Some(packet) = Packet::read(&message.payload) else {
            continue;
        };
        if packet.from == name {
            continue;
        }
        match numbers.take(&packet) {
            Heard::Before => continue,
            Heard::AfterGap => {
                metrics.events_missed();
                here.miss();
            }
            Heard::InOrder => {}
        }
        if packet.says_something()
            && let Some(age) = packet.age()
        {
            metrics.event_heard(age);
        }
        for message in packet.messages() {
            here.take(message);
        }
    }
}

impl Here {
    // Sending fails only when nobody listens, which is no failure.

    fn miss(&self) {
        let _ = self.events.send(Received::Missed);
    }

    fn take(&self, message: Message) {
        match message {
            Message::Event(event) => drop(self.events.send(Received::Event(event))),
            Message::Signal(signal) => drop(self.signals.send(signal)),
        }
    }
}

/// The number that comes next from each replica.
#[derive(Default)]
struct Numbers(HashMap<Box<str>, u64>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    InOrder,
    /// Something before it was not heard.
    AfterGap,
    /// It was heard already.
    Before,
}

impl Numbers {
    fn take(&mut self, packet: &Packet<'_>) -> Heard {
        let Some(next) = self.0.get_mut(packet.from.as_ref()) else {
            if self.0.len() >= PUBLISHERS_MAX {
                self.0.clear();
            }
            self.0.insert(packet.from.as_ref().into(), packet.next());
            // It may have lost what it said before, with nobody here to notice.
            let is_first = packet.n == 0;
            return if is_first {
                Heard::InOrder
            } else {
                Heard::AfterGap
            };
        };
        let heard = match packet.n.cmp(next) {
            std::cmp::Ordering::Less => return Heard::Before,
            std::cmp::Ordering::Equal => Heard::InOrder,
            std::cmp::Ordering::Greater => Heard::AfterGap,
        };
        *next = packet.next();
        heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(numbers: &mut Numbers, from: &str, n: u64, messages: usize) -> Heard {
        let message = serde_json::value::to_raw_value(&0).unwrap();
        let json = Packet::write(from, n, &vec![message; messages]);
        numbers.take(&Packet::read(&json).unwrap())
    }

    #[test]
    fn what_was_heard_is_not_heard_again_and_what_was_not_is_missed() {
        let mut numbers = Numbers::default();
        assert_eq!(take(&mut numbers, "a", 0, 7), Heard::InOrder);
        assert_eq!(take(&mut numbers, "a", 7, 2), Heard::InOrder);
        assert_eq!(take(&mut numbers, "a", 7, 2), Heard::Before);
        assert_eq!(take(&mut numbers, "a", 9, 0), Heard::InOrder);
        assert_eq!(take(&mut numbers, "b", 0, 1), Heard::InOrder);
        // A beat after what was lost.
        assert_eq!(take(&mut numbers, "a", 12, 0), Heard::AfterGap);
        assert_eq!(take(&mut numbers, "a", 12, 1), Heard::InOrder);
        assert_eq!(take(&mut numbers, "b", 1, 1), Heard::InOrder);
        // Whoever is new and has said something has said it to nobody here.
        assert_eq!(take(&mut numbers, "c", 3, 0), Heard::AfterGap);
        assert_eq!(take(&mut numbers, "c", 3, 1), Heard::InOrder);
    }

    #[test]
    fn publishers_that_come_and_go_are_forgotten() {
        let mut numbers = Numbers::default();
        for number in 0..3 * PUBLISHERS_MAX {
            take(&mut numbers, &number.to_string(), 0, 1);
            assert!(numbers.0.len() <= PUBLISHERS_MAX);
        }
    }
}
