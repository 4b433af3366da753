//! How many replicas there are, told by each of them again and again.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::MissedTickBehavior};

use super::standing::Standing;
use crate::redis::{Again, Redis, Script, random_name};

/// How often a replica says that it is there.
const EVERY: Duration = Duration::from_secs(2);

/// A replica that has not said so for this time is not there, in milliseconds.
const GONE_AFTER_MS: u32 = 6_000;

/// Tells the others that this replica is there until it is dropped.
#[derive(Debug)]
pub(super) struct Presence(JoinHandle<()>);

impl Presence {
    pub(super) fn start(redis: Redis, standing: Arc<Standing>) -> Self {
        Self(tokio::spawn(async move {
            let script = Script::new(include_str!("present.lua"));
            let telling = script.call().key(redis.key("replicas"));
            let telling = telling.arg(random_name()).arg(GONE_AFTER_MS);
            let mut up = redis.watch();
            let mut next = tokio::time::interval(EVERY);
            next.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = next.tick() => {}
                    Ok(()) = up.changed() => {}
                }
                // Whoever was there last is the best guess of who is there now.
                if let Ok(replicas) = redis.eval(&telling, Again::Safe).await {
                    standing.counted(replicas);
                }
            }
        }))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.abort();
    }
}
