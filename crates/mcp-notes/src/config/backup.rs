//! What is set of backups: where, when, how many, and for whom they are encrypted.

use std::{
    fmt, fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use notes::{
    Timestamp,
    backup::{Keys, Passphrase, Seal},
};

use super::{Mistake, secret::Secret, value::Expected};

/// Settings of backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSettings {
    /// Where backups go.
    pub folder: PathBuf,
    /// When the server makes one.
    pub schedule: Schedule,
    /// How many stay; all without.
    pub keep: Option<NonZeroUsize>,
    /// Whether one of the schedule is tried out.
    pub verify: bool,
    /// The file with the public keys to which they are encrypted.
    pub encrypt_to: Option<PathBuf>,
    /// The passphrase with which they are encrypted and opened.
    pub passphrase: Option<Secret>,
    /// The file with the secret keys that open them.
    pub identities: Option<PathBuf>,
}

impl Default for BackupSettings {
    fn default() -> Self {
        Self {
            folder: "data/backups".into(),
            schedule: Schedule::Off,
            keep: NonZeroUsize::new(14),
            verify: true,
            encrypt_to: None,
            passphrase: None,
            identities: None,
        }
    }
}

impl BackupSettings {
    /// How archives are encrypted, from the file that says it.
    pub fn seal(&self) -> Result<Option<Seal>, Mistake> {
        if let Some(path) = &self.encrypt_to {
            let read = read("BACKUP_ENCRYPT_TO", path)?;
            let seal = Seal::recipients(&read);
            return seal
                .map(Some)
                .map_err(|expected| mistake("BACKUP_ENCRYPT_TO", path, expected));
        }
        Ok(self.passphrase().map(Seal::Passphrase))
    }

    /// What opens archives: the keys in `identities`, or in the file that is set, and the passphrase.
    pub fn keys(&self, identities: Option<&Path>) -> Result<Keys, Mistake> {
        let keys = match (identities, &self.identities) {
            (Some(path), _) => ("--identities", path),
            (None, Some(path)) => ("BACKUP_IDENTITIES", path.as_path()),
            (None, None) => return Ok(Keys::default().with_passphrase(self.passphrase())),
        };
        let (name, path) = keys;
        let keys = Keys::identities(&read(name, path)?);
        let keys = keys.map_err(|expected| mistake(name, path, expected))?;
        Ok(keys.with_passphrase(self.passphrase()))
    }

    fn passphrase(&self) -> Option<Passphrase> {
        let given = self.passphrase.as_ref();
        given.and_then(|secret| Passphrase::parse(secret.expose()).ok())
    }
}

fn read(name: &str, path: &Path) -> Result<String, Mistake> {
    fs::read_to_string(path)
        .map_err(|error| mistake(name, path, format!("a readable text file ({error})")))
}

fn mistake(name: &str, path: &Path, expected: String) -> Mistake {
    Mistake {
        setting: name.into(),
        given: Some(path.display().to_string()),
        expected,
    }
}

/// What is wrong with the settings of backups taken together.
pub(super) fn mistakes(backup: &BackupSettings) -> Vec<Mistake> {
    let both = backup.encrypt_to.is_some() && backup.passphrase.is_some();
    let mistake = both.then(|| Mistake {
        setting: "BACKUP_PASSPHRASE".into(),
        given: None,
        expected: "nothing beside BACKUP_ENCRYPT_TO, because an archive of age has keys or a \
                   passphrase"
            .into(),
    });
    mistake.into_iter().collect()
}

/// When backups are due (`BACKUP_SCHEDULE`), in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// Never by itself.
    Off,
    /// Each time so many seconds since 1970 are over, and `offset` more.
    Every {
        /// How far apart, in seconds.
        period: i64,
        /// After the beginning of each period, in seconds.
        offset: i64,
    },
}

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;

/// The days of the week, from the day of the week that 1970 began with.
const DAYS: [&str; 7] = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"];

impl Schedule {
    /// Takes `off`, `hourly`, `every 6h`, `daily 03:00` or `weekly sun 03:00`.
    pub(super) fn parse(text: &str) -> Result<Self, Expected> {
        let words: Vec<_> = text.split_whitespace().collect();
        let found = match words.as_slice() {
            ["off"] => Some(Self::Off),
            ["hourly"] => Some(Self::every(HOUR, 0)),
            ["every", hours] => hours
                .strip_suffix('h')
                .and_then(|hours| hours.parse().ok())
                .filter(|hours| (1..=24).contains(hours) && 24 % hours == 0)
                .map(|hours: i64| Self::every(hours * HOUR, 0)),
            ["daily", time] => clock(time).map(|time| Self::every(DAY, time)),
            ["weekly", day, time] => {
                let day = (0..).zip(DAYS).find(|(_, name)| name == day);
                let offset = day.and_then(|(day, _)| Some(day * DAY + clock(time)?));
                offset.map(|offset| Self::every(WEEK, offset))
            }
            _ => None,
        };
        found.ok_or_else(|| {
            "off, hourly, every Nh (1, 2, 3, 4, 6, 8, 12 or 24), daily HH:MM, or weekly and one of \
             mon, tue, wed, thu, fri, sat, sun and HH:MM; times are in UTC"
                .into()
        })
    }

    const fn every(period: i64, offset: i64) -> Self {
        Self::Every { period, offset }
    }

    /// When a backup was due last, at `now` or before; `None` if none ever is.
    pub fn last(self, now: Timestamp) -> Option<Timestamp> {
        let Self::Every { period, offset } = self else {
            return None;
        };
        let begun = (now.as_second() - offset).div_euclid(period) * period;
        Timestamp::from_second(begun + offset).ok()
    }
}

/// Seconds since midnight from `HH:MM`.
fn clock(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |digits: &str, max: i64| {
        let plain = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
        let number: i64 = plain.then(|| digits.parse().ok()).flatten()?;
        (number <= max).then_some(number)
    };
    Some(number(hours, 23)? * HOUR + number(minutes, 59)? * 60)
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |offset: i64| {
            let (hours, minutes) = (offset % DAY / HOUR, offset % HOUR / 60);
            format!("{hours:02}:{minutes:02}")
        };
        match *self {
            Self::Off => f.write_str("off"),
            Self::Every { period: HOUR, .. } => f.write_str("hourly"),
            Self::Every {
                period: DAY,
                offset,
            } => write!(f, "daily {}", time(offset)),
            Self::Every {
                period: WEEK,
                offset,
            } => {
                let day = usize::try_from(offset / DAY).unwrap_or_default();
                let day = DAYS.get(day).copied().unwrap_or_default();
                write!(f, "weekly {day} {}", time(offset))
            }
            Self::Every { period, .. } => write!(f, "every {}h", period / HOUR),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_what_it_says_and_nothing_else() {
        for text in [
            "off",
            "hourly",
            "every 6h",
            "daily 03:00",
            "daily 23:59",
            "weekly sun 00:30",
        ] {
            assert_eq!(Schedule::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "on",
            "daily",
            "daily 3:00",
            "daily 24:00",
            "daily 03:60",
            "every 5h",
            "every 0h",
            "every 6",
            "every -6h",
            "weekly 03:00",
            "weekly day 03:00",
            "0 3 * * *",
            "daily 03:00 UTC",
        ] {
            assert!(Schedule::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn it_is_due_at_its_times_in_utc() {
        let due = |schedule: &str, now: &str| {
            let last = Schedule::parse(schedule)
                .unwrap()
                .last(now.parse().unwrap());
            last.map(|last| last.to_string()).unwrap_or_default()
        };
        assert_eq!(
            due("daily 03:00", "2026-11-22T03:00:00Z"),
            "2026-11-22T03:00:00Z"
        );
        assert_eq!(
            due("daily 03:00", "2026-11-22T02:59:59.9Z"),
            "2026-11-21T03:00:00Z"
        );
        assert_eq!(
            due("every 6h", "2026-11-22T17:59:59Z"),
            "2026-11-22T12:00:00Z"
        );
        assert_eq!(
            due("hourly", "2026-11-22T17:59:59Z"),
            "2026-11-22T17:00:00Z"
        );
        // The 22nd is a Sunday.
        assert_eq!(
            due("weekly sun 03:00", "2026-11-22T03:00:01Z"),
            "2026-11-22T03:00:00Z"
        );
        assert_eq!(
            due("weekly sun 03:00", "2026-11-22T02:00:00Z"),
            "2026-11-15T03:00:00Z"
        );
        assert_eq!(
            due("daily 03:00", "1969-12-31T12:00:00Z"),
            "1969-12-31T03:00:00Z"
        );
        assert_eq!(due("off", "2026-11-22T03:00:00Z"), "");
    }
}
