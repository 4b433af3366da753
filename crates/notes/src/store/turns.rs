//! Which of several servers on one store does what one of them shall do.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::error::StoreError;

/// Gives work to one server at a time.
///
/// Work comes in rounds, each with the time it is due. In a round it is done once: by the server that
/// takes the turn first, or by the next one if that one fails or is not heard of any more.
#[async_trait]
pub trait Turns: Send + Sync {
    /// Takes the turn of `task` in the round that was due at `round`, unless it is done or somebody
    /// else has it. Taking it again keeps it. It is kept for `hold`, counted from `now`.
    ///
    /// A store that one server uses gives every turn.
    async fn take_turn(&self, turn: &Claimed<'_>) -> Result<Turn, StoreError> {
        let _ = turn;
        Ok(Turn::Mine)
    }

    /// Tells that the work of a turn that was taken is done; or that it is not, and nobody shall try
    /// it again before `hold` is over.
    async fn end_turn(&self, turn: &Claimed<'_>, is_done: bool) -> Result<(), StoreError> {
        let _ = (turn, is_done);
        Ok(())
    }
}

/// A turn and who wants it.
#[derive(Clone, Copy, Debug)]
pub struct Claimed<'a> {
    /// What is to be done.
    pub task: &'a str,
    /// Who wants to do it; no other server has the same name.
    pub who: &'a str,
    /// When it was due.
    pub round: Timestamp,
    /// The time now.
    pub now: Timestamp,
    /// How long others stay away.
    pub hold: Duration,
}

impl Claimed<'_> {
    /// Until when others stay away, in microseconds.
    #[cfg(feature = "mongodb")]
    pub(crate) fn until_micros(&self) -> i64 {
        let hold = i64::try_from(self.hold.as_micros()).unwrap_or(i64::MAX);
        self.now.as_microsecond().saturating_add(hold)
    }
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is that of the server that asked.
    Mine,
    /// The work of the round is done: when.
    Done(Timestamp),
    /// Another server has it, or a server failed and it is to wait.
    Taken,
}
