//! Time and ids, given to the service and never taken by it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use jiff::{SignedDuration, Timestamp};

use crate::note::NoteId;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The time now. The service cuts it to whole microseconds, the precision every store keeps.
    fn now(&self) -> Timestamp;
}

/// Makes the ids of new notes.
pub trait Ids: Send + Sync {
    /// An id that no note has. `at` is the time of creation.
    fn next(&self, at: Timestamp) -> NoteId;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Ids as UUIDs of version 7 (RFC 9562, section 5.7): they sort by the time of creation.
#[derive(Clone, Copy, Debug, Default)]
pub struct UuidV7;

impl Ids for UuidV7 {
    fn next(&self, at: Timestamp) -> NoteId {
        let seconds = u64::try_from(at.as_second()).unwrap_or(0);
        let nanos = u32::try_from(at.subsec_nanosecond()).unwrap_or(0);
        let time = uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos);
        NoteId::from_uuid(uuid::Uuid::new_v7(time))
    }
}

/// A clock that stands still until it is moved, for tests.
#[derive(Debug)]
pub struct ManualClock {
    micros: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `start`, cut to whole microseconds.
    pub fn new(start: Timestamp) -> Self {
        Self {
            micros: AtomicI64::new(start.as_microsecond()),
        }
    }

    /// Moves the clock by `step`, which may be negative.
    pub fn advance(&self, step: SignedDuration) {
        let micros = i64::try_from(step.as_micros()).unwrap_or(i64::MAX);
        self.micros.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(self.micros.load(Ordering::SeqCst))
            .unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// Ids that count up from `note-1`, for tests.
#[derive(Debug, Default)]
pub struct CountingIds {
    last: AtomicU64,
}

impl Ids for CountingIds {
    fn next(&self, _at: Timestamp) -> NoteId {
        NoteId::from_stored(format!(
            "note-{}",
            self.last.fetch_add(1, Ordering::SeqCst) + 1
        ))
    }
}

/// `time` cut to whole microseconds.
pub(crate) fn to_micros(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_v7_carries_the_given_time() {
        let at: Timestamp = "2026-11-22T13:00:00.123456Z".parse().unwrap();
        let id = UuidV7.next(at);
        let uuid = uuid::Uuid::parse_str(id.as_str()).unwrap();
        assert_eq!(uuid.get_version_num(), 7);
        let (seconds, nanos) = uuid.get_timestamp().unwrap().to_unix();
        assert_eq!(i64::try_from(seconds).unwrap(), at.as_second());
        assert_eq!(nanos / 1_000_000, 123);
        assert_ne!(UuidV7.next(at), id);
    }

    #[test]
    fn times_are_cut_to_microseconds() {
        let at: Timestamp = "2026-11-22T13:00:00.123456789Z".parse().unwrap();
        assert_eq!(to_micros(at).to_string(), "2026-11-22T13:00:00.123456Z");
    }
}
