//! Turns, a document for each try.
//!
//! Who makes the document of a try has the turn, and changes it alone: of two that make it at once the
//! database refuses one, which it promises more surely than anything else.

use async_trait::async_trait;
use bson::{Document, doc};
use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use mongodb::Collection;

use super::{MongoStore, schema};
use crate::error::StoreError;
use crate::store::turns::{Claimed, Turn, Turns};

#[async_trait]
impl Turns for MongoStore {
    async fn take_turn(&self, turn: &Claimed<'_>) -> Result<Turn, StoreError> {
        let inner = &self.inner;
        let deadline = inner.begin()?;
        let turns = self.turns();
        let tries = async {
            turns
                .find(of_round(turn))
                .await?
                .try_collect::<Vec<_>>()
                .await
        };
        let tries = inner.ask(deadline, tries).await;
        let tries = tries.map_err(|fault| fault.error)?;
        let number = |found: &Document| found.get_i64("try").unwrap_or_default();
        let last = tries.iter().max_by_key(|found| number(found));
        let next = match last.map(|last| state(last, turn)) {
            None => 0,
            Some(State::Given) => last.map_or(0, number) + 1,
            Some(State::Done(at)) => return Ok(Turn::Done(at)),
            Some(State::Taken) => return Ok(Turn::Taken),
            Some(State::Ours) => {
                let kept = doc! { "$set": { "until": turn.until_micros() } };
                let kept = turns.update_one(own(turn), kept);
                let kept = inner.ask(deadline, kept).await;
                return kept.map(|_| Turn::Mine).map_err(|fault| fault.error);
            }
        };
        let round = turn.round.as_microsecond();
        let new = doc! {
            "_id": format!("turn of {} at {round}, try {next}", turn.task),
            "task": turn.task, "round": round, "try": next,
            "who": turn.who, "until": turn.until_micros(), "done": 0_i64,
        };
        match inner.ask(deadline, turns.insert_one(new)).await {
            Ok(_) => Ok(Turn::Mine),
            Err(fault) if fault.duplicate => Ok(Turn::Taken),
            Err(fault) => Err(fault.error),
        }
    }

    async fn end_turn(&self, turn: &Claimed<'_>, is_done: bool) -> Result<(), StoreError> {
        let deadline = self.inner.begin()?;
        let turns = self.turns();
        let done = if is_done {
            turn.now.as_microsecond()
        } else {
            0
        };
        let ended = doc! { "$set": { "done": done, "until": turn.until_micros(), "who": "" } };
        let before = doc! { "task": turn.task, "round": { "$lt": turn.round.as_microsecond() } };
        let ending = async {
            turns.update_one(own(turn), ended).await?;
            turns.delete_many(before).await
        };
        let ended = self.inner.ask(deadline, ending).await;
        ended.map(drop).map_err(|fault| fault.error)
    }
}

/// Where the last try of a round is.
enum State {
    Ours,
    Taken,
    /// It was given up, or its server is not heard of any more.
    Given,
    Done(Timestamp),
}

fn state(last: &Document, turn: &Claimed<'_>) -> State {
    let number = |name| last.get_i64(name).unwrap_or_default();
    match Timestamp::from_microsecond(number("done")) {
        Ok(at) if number("done") > 0 => State::Done(at),
        _ if last.get_str("who").is_ok_and(|who| who == turn.who) => State::Ours,
        _ if number("until") < turn.now.as_microsecond() => State::Given,
        _ => State::Taken,
    }
}

fn of_round(turn: &Claimed<'_>) -> Document {
    doc! { "task": turn.task, "round": turn.round.as_microsecond() }
}

/// The try that is this server's own.
fn own(turn: &Claimed<'_>) -> Document {
    let mut own = of_round(turn);
    own.insert("who", turn.who);
    own
}

impl MongoStore {
    fn turns(&self) -> Collection<Document> {
        self.inner.db.collection(schema::ABOUT)
    }
}
