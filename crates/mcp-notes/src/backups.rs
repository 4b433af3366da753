//! Backups that the server makes by itself, and what there is to know of all of them.

#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use notes::{
    Clock, Store, StoreError, Timestamp,
    backup::{self, BackupError, Made, Options, Seal},
    store::turns::{Claimed, Turn},
};
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    app::causes,
    audit::{Audit, Entry, Face, Outcome},
    config::BackupSettings,
};

/// How often it is looked whether one is due. The clock is asked anew each time, because it may be set
/// and the machine may sleep.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// How long the turn is kept without being taken again.
const HOLD: Duration = Duration::from_mins(2);

/// How often it is taken again.
const HOLD_AGAIN: Duration = Duration::from_secs(30);

/// How long a backup that failed waits to be tried again.
const AGAIN_AFTER: Duration = Duration::from_mins(15);

/// The name of the turn.
const TASK: &str = "backup";

/// What there is to know of backups, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Numbers {
    /// When the newest that is whole was begun: by this server, by another, or by a command.
    pub last_success: Option<Timestamp>,
    /// When one was last restored for a trial.
    pub last_verified: Option<Timestamp>,
    /// How many of this server's own failed since it began.
    pub failures: u64,
}

/// The numbers of a server; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Backups(Arc<Mutex<Numbers>>);

impl Backups {
    /// The numbers now. They are looked up every half minute.
    pub fn numbers(&self) -> Numbers {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Numbers)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn seen(&self, success: Option<Timestamp>, verified: Option<Timestamp>) {
        self.change(|numbers| {
            numbers.last_success = numbers.last_success.max(success);
            numbers.last_verified = numbers.last_verified.max(verified);
        });
    }
}

/// Makes backups when they are due.
pub(crate) struct Keeper {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) settings: BackupSettings,
    pub(crate) seal: Option<Seal>,
    pub(crate) clock: Arc<dyn Clock>,
    /// What no other server is called.
    pub(crate) who: String,
    pub(crate) audit: Audit,
    pub(crate) backups: Backups,
}

/// A keeper at work.
pub(crate) struct Keeping {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Keeping {
    /// Ends it; a backup that is being made is given up.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        // It fails when it panicked, which is logged.
        let _ = self.task.await;
    }
}

/// What a look at the clock led to.
#[derive(Debug, PartialEq, Eq)]
enum Looked {
    /// None is due, or another server makes it.
    Nothing,
    Made,
    Failed,
}

/// What one look leaves to the next.
#[derive(Debug, Default)]
struct Memory {
    /// The round that needs nothing any more.
    done: Option<Timestamp>,
    /// Not before this time.
    again_at: Option<Timestamp>,
}

impl Keeper {
    /// Starts; must be called where the runtime runs.
    pub(crate) fn start(self) -> Keeping {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut memory = Memory::default();
            while !stopped.is_cancelled() {
                self.look(&mut memory, &stopped).await;
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = sleep(LOOK_EVERY) => {}
                }
            }
        });
        Keeping { stop, task }
    }

    /// Makes a backup if one is due and it is this server's turn.
    async fn look(&self, memory: &mut Memory, stop: &CancellationToken) -> Looked {
        self.look_around();
        let now = self.clock.now();
        let Some(round) = self.settings.schedule.last(now) else {
            return Looked::Nothing;
        };
        let last = self.backups.numbers().last_success;
        let waits = memory.again_at.is_some_and(|again| now < again);
        if memory.done == Some(round) || last.is_some_and(|last| last >= round) || waits {
            return Looked::Nothing;
        }
        let turn = self.turn(round, HOLD);
        match self.store.take_turn(&turn).await {
            Ok(Turn::Mine) => {}
            Ok(Turn::Done(at)) => {
                self.backups.seen(Some(at), None);
                memory.done = Some(round);
                return Looked::Nothing;
            }
            Ok(Turn::Taken) => return Looked::Nothing,
            Err(error) => {
                // The database is away; that has lines of its own, and it is due as before.
                tracing::warn!(error = %error, "whose turn it is to make the backup is not known");
                return Looked::Nothing;
            }
        }
        let made = tokio::select! {
            made = self.make(now, stop) => made,
            () = self.hold(round) => Err(BackupError::Stopped),
        };
        self.ended(made, round, memory).await
    }

    async fn ended(
        &self,
        made: Result<Made, BackupError>,
        round: Timestamp,
        memory: &mut Memory,
    ) -> Looked {
        let (looked, hold) = match &made {
            Ok(made) => {
                self.told(made);
                memory.done = Some(round);
                (Looked::Made, Duration::ZERO)
            }
            // Nobody knows better when the server ends or somebody else makes one.
            Err(BackupError::Stopped | BackupError::Busy(_)) => (Looked::Nothing, Duration::ZERO),
            Err(error) => {
                self.failed(error);
                let again = self.clock.now().checked_add(AGAIN_AFTER);
                memory.again_at = again.ok();
                (Looked::Failed, AGAIN_AFTER)
            }
        };
        let turn = self.turn(round, hold);
        if let Err(error) = self.store.end_turn(&turn, made.is_ok()).await {
            tracing::warn!(error = %error, "other servers are not told that the backup is done");
        }
        looked
    }

    /// What archives there are, whoever made them.
    fn look_around(&self) {
        let Ok(found) = backup::list(&self.settings.folder) else {
            return;
        };
        let whole = found.iter().filter(|entry| !entry.is_broken());
        for slip in whole.filter_map(|entry| entry.slip.as_ref()) {
            self.backups.seen(Some(slip.created_at), slip.verified_at);
        }
    }

    fn turn(&self, round: Timestamp, hold: Duration) -> Claimed<'_> {
        Claimed {
            task: TASK,
            who: &self.who,
            round,
            now: self.clock.now(),
            hold,
        }
    }

    /// Keeps the turn for as long as this is waited for.
    async fn hold(&self, round: Timestamp) {
        loop {
            sleep(HOLD_AGAIN).await;
            let turn = self.turn(round, HOLD);
            let kept: Result<Turn, StoreError> = self.store.take_turn(&turn).await;
            if let Err(error) = kept {
                tracing::warn!(error = %error, "the turn to make the backup may be lost");
            }
        }
    }

    async fn make(&self, now: Timestamp, stop: &CancellationToken) -> Result<Made, BackupError> {
        let options = Options {
            seal: self.seal.clone(),
            verify: self.settings.verify,
            keep: self.settings.keep,
        };
        let mut watch = |_| !stop.is_cancelled();
        let (store, folder) = (self.store.as_ref(), &self.settings.folder);
        backup::make(store, folder, &options, now, &mut watch).await
    }

    fn told(&self, made: &Made) {
        let slip = &made.slip;
        self.backups.seen(Some(slip.created_at), slip.verified_at);
        tracing::info!(
            file = %made.path.display(),
            notes = slip.notes,
            tokens = slip.tokens,
            bytes = slip.bytes,
            one_moment = slip.one_moment,
            verified = slip.verified_at.is_some(),
            removed = made.removed.len(),
            "a backup was made"
        );
        self.record(Outcome::Ok, "");
    }

    fn failed(&self, error: &BackupError) {
        self.backups.change(|numbers| numbers.failures += 1);
        tracing::error!(error = %causes(error), "a backup failed; it is tried again in 15 minutes");
        self.record(Outcome::Failed, "other");
    }

    fn record(&self, outcome: Outcome, reason: &'static str) {
        self.audit.record(&Entry {
            outcome,
            reason,
            ..Entry::new(Face::Server, "backup")
        });
    }
}
