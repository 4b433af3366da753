//! How long a token holds, as it is written on the command line.

use std::str::FromStr;

use jiff::SignedDuration;
use notes::Timestamp;

use crate::span;

/// The longest time that can be asked for, in seconds: ten years.
const SECONDS_MAX: i64 = 10 * 366 * 24 * 3600;

/// A time from now, or no end at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    Never,
    After(SignedDuration),
}

impl Expiry {
    /// When a token ends that is made at `now`.
    pub(super) fn after(self, now: Timestamp) -> Result<Option<Timestamp>, String> {
        match self {
            Self::Never => Ok(None),
            Self::After(time) => now
                .checked_add(time)
                .map(Some)
                .map_err(|error| format!("--expires: {error}")),
        }
    }
}

impl FromStr for Expiry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self::Never);
        }
        span::parse(text)
            .filter(|span| (1..=SECONDS_MAX).contains(&span.as_secs()))
            .map(Self::After)
            .ok_or_else(|| {
                "give a number and its unit (s, m for minutes, h, d or w), at most ten years, or \
                 never"
                    .into()
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_with_its_unit_or_never() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for (text, end) in [
            ("45s", "2026-01-01T00:00:45Z"),
            ("5m", "2026-01-01T00:05:00Z"),
            ("36h", "2026-01-02T12:00:00Z"),
            ("90d", "2026-04-01T00:00:00Z"),
            ("2w", "2026-01-15T00:00:00Z"),
        ] {
            let expiry: Expiry = text.parse().unwrap();
            let ends = expiry.after(now).unwrap().map(|end| end.to_string());
            assert_eq!(ends.as_deref(), Some(end), "{text}");
        }
        assert_eq!("never".parse(), Ok(Expiry::Never));
    }

    #[test]
    fn anything_else_is_refused() {
        let wrong = [
            "",
            "0d",
            "-1d",
            "90",
            "d",
            "1y",
            "1.5h",
            "+1d",
            " 1d",
            "9999999999999999999w",
            "11111d",
            "1\u{e9}",
            "Never",
        ];
        for text in wrong {
            assert!(text.parse::<Expiry>().is_err(), "{text}");
        }
    }
}
