//! One command: its tries, its pauses, its deadlines.

use std::time::Duration;

use redis::{Cmd, Value};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    Again, RedisError,
    keeper::{Core, Live},
    trouble::{self, Lost},
    with_jitter,
};

/// The pauses between the tries of one call.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(200)];

/// When a request that begins now has to be over.
pub(super) fn end(core: &Core) -> Instant {
    Instant::now() + core.settings.deadlines.request
}

/// Sends `command` until it has an answer, it is not to be sent again, or it is `end`.
pub(super) async fn call(
    core: &Core,
    command: &Cmd,
    again: Again,
    end: Instant,
) -> Result<Value, RedisError> {
    let begun = Instant::now();
    let answer = tried(core, command, again, end).await;
    let failure = answer.as_ref().err().and_then(Lost::kind);
    core.calls.called(begun.elapsed(), failure);
    answer.map_err(RedisError::from)
}

async fn tried(core: &Core, command: &Cmd, again: Again, end: Instant) -> Result<Value, Lost> {
    let mut pauses = PAUSES.iter();
    loop {
        let by = end.min(Instant::now() + core.settings.deadlines.attempt);
        let lost = match core.live(by).await {
            Some(live) => match attempt(core, &live, command, by).await {
                Ok(value) => return Ok(value),
                Err(lost) => lost,
            },
            None => return Err(Lost::Away),
        };
        let may_repeat = match lost {
            Lost::Refused(_) | Lost::Away => false,
            Lost::NotDone { .. } | Lost::Elsewhere(_) => true,
            Lost::Unknown | Lost::Late => again == Again::Safe,
        };
        let Some(pause) = pauses.next().filter(|_| may_repeat) else {
            return Err(lost);
        };
        let next = Instant::now() + with_jitter(*pause);
        if next >= end {
            return Err(lost);
        }
        sleep_until(next).await;
    }
}

/// Sends it once, and tells the keeper what that says of the connection.
async fn attempt(core: &Core, live: &Live, command: &Cmd, by: Instant) -> Result<Value, Lost> {
    let sent = async {
        match live.wire.send(command).await.map_err(trouble::of_command) {
            Err(Lost::Elsewhere(error)) => {
                let followed = live.wire.follow(command, &error).await;
                followed.map_err(trouble::of_command)
            }
            answer => answer,
        }
    };
    let answer = timeout_at(by, sent).await.unwrap_or(Err(Lost::Late));
    match &answer {
        Ok(_) | Err(Lost::Refused(_)) => core.succeeded(),
        Err(Lost::NotDone { demoted: true }) => core.demoted(live),
        Err(_) => core.failed(live),
    }
    answer
}
