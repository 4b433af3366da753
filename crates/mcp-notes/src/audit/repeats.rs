//! Refusals that come again and again, told once with their number, so that nobody can fill a disk
//! by being refused.

use std::{collections::HashMap, net::IpAddr};

use mcp_serve::limit::Caller;
use notes::Timestamp;

use super::line::{Entry, Outcome};

/// How many lines a minute one caller gets for one reason.
const LINES_PER_CALLER: u64 = 10;

/// How many lines a minute all refusals together get; beyond it they are counted by reason alone.
const LINES_MAX: usize = 600;

const MINUTE_MS: i64 = 60_000;

/// What was refused in the minute that runs.
#[derive(Default)]
pub(super) struct Repeats {
    began: Option<Timestamp>,
    lines: usize,
    callers: HashMap<(Caller, &'static str), Seen>,
    others: HashMap<&'static str, Seen>,
}

/// Refusals of one kind.
struct Seen {
    lines: u64,
    untold: u64,
    last: Entry,
}

impl Repeats {
    /// Whether `entry` gets a line of its own; otherwise it is counted.
    pub(super) fn admit(&mut self, entry: &Entry, now: Timestamp) -> bool {
        self.began.get_or_insert(now);
        let unspecified = IpAddr::from([0, 0, 0, 0]);
        let address = entry.client.unwrap_or(unspecified);
        let caller = match &entry.principal {
            Some(principal) => Caller::of(principal, address),
            None => Caller::at(address),
        };
        let is_full = self.lines >= LINES_MAX;
        let key = (caller, entry.reason);
        let known = self.callers.get_mut(&key);
        let seen = match known {
            Some(seen) => seen,
            None if is_full => {
                let other = Entry {
                    client: None,
                    principal: None,
                    ..entry.clone()
                };
                self.others
                    .entry(entry.reason)
                    .or_insert_with(|| Seen::of(&other))
            }
            None => self.callers.entry(key).or_insert_with(|| Seen::of(entry)),
        };
        if is_full || seen.lines >= LINES_PER_CALLER {
            seen.untold += 1;
            return false;
        }
        seen.lines += 1;
        self.lines += 1;
        true
    }

    /// When the minute is over: what was counted in it.
    pub(super) fn sweep(&mut self, now: Timestamp) -> Vec<Entry> {
        let Some(began) = self.began else {
            return Vec::new();
        };
        let age = now.as_millisecond() - began.as_millisecond();
        // A clock that went back ends the minute too.
        if (0..MINUTE_MS).contains(&age) {
            return Vec::new();
        }
        self.end()
    }

    /// What was counted since the minute began.
    pub(super) fn end(&mut self) -> Vec<Entry> {
        let minute = std::mem::take(self);
        let seen = minute
            .callers
            .into_values()
            .chain(minute.others.into_values());
        seen.filter(|seen| seen.untold > 0)
            .map(|seen| Entry {
                request_id: None,
                outcome: Outcome::Refused,
                count: Some(seen.untold),
                ..seen.last
            })
            .collect()
    }
}

impl Seen {
    fn of(entry: &Entry) -> Self {
        Self {
            lines: 0,
            untold: 0,
            last: entry.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Face;

    fn refused(address: [u8; 4], reason: &'static str) -> Entry {
        Entry {
            client: Some(address.into()),
            outcome: Outcome::Refused,
            reason,
            ..Entry::new(Face::Rest, "http")
        }
    }

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(n).unwrap()
    }

    #[test]
    fn what_comes_again_and_again_is_one_line_with_a_count() {
        let mut repeats = Repeats::default();
        let flood = refused([192, 0, 2, 1], "host");
        let told = (0..1000).filter(|_| repeats.admit(&flood, second(0)));
        assert_eq!(told.count(), 10);
        // Neither another reason nor another caller pays for it.
        assert!(repeats.admit(&refused([192, 0, 2, 1], "origin"), second(1)));
        assert!(repeats.admit(&refused([192, 0, 2, 2], "host"), second(1)));
        assert!(repeats.sweep(second(59)).is_empty());
        let summary = repeats.sweep(second(60));
        assert_eq!(summary.len(), 1);
        assert_eq!(summary[0].count, Some(990));
        assert_eq!(summary[0].reason, "host");
        assert!(repeats.admit(&flood, second(60)));
    }

    #[test]
    fn many_addresses_fill_no_disk_and_no_memory() {
        let mut repeats = Repeats::default();
        let mut told = 0;
        for n in 0..100_000_u32 {
            let [_, a, b, c] = n.to_be_bytes();
            told += usize::from(repeats.admit(&refused([10, a, b, c], "rate"), second(0)));
        }
        assert_eq!(told, LINES_MAX);
        assert!(repeats.callers.len() <= LINES_MAX);
        let summary = repeats.end();
        assert_eq!(summary.len(), 1);
        assert_eq!(summary[0].count, Some(100_000 - LINES_MAX as u64));
        assert_eq!(summary[0].client, None);
        assert!(repeats.end().is_empty());
    }
}
