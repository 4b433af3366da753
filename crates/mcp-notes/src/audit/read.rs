//! The audit log as it is read: which lines are asked for, and how people see them.

use std::{borrow::Cow, fmt::Write as _};

use jiff::Timestamp;
use serde_json::Value;

use crate::span;

/// Longer lines are none of ours, in bytes.
pub const LINE_BYTES_MAX: usize = 64 << 10;

/// What is asked for; every condition that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// The subject, the actor, the client or the credential.
    pub principal: Option<String>,
    /// The note.
    pub note: Option<String>,
    /// The action.
    pub action: Option<String>,
    /// What became of it.
    pub outcome: Option<String>,
}

/// One line that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Record(Value);

impl Record {
    /// Reads a line without its end; `None` when it is no line of an audit log.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(line).ok()?;
        let record = Self(value);
        (record.text("time").is_some() && record.text("action").is_some()).then_some(record)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    fn who(&self, name: &str) -> Option<&str> {
        self.0.get("principal")?.get(name)?.as_str()
    }

    fn time(&self) -> Option<Timestamp> {
        self.text("time")?.parse().ok()
    }

    /// The line for people: columns, without anything that does something to a terminal.
    pub fn row(&self) -> String {
        let number = |name: &str| self.0.get(name).and_then(Value::as_u64);
        let note = match (self.text("note").or(self.text("token")), number("version")) {
            (Some(note), Some(version)) => format!("{} v{version}", word(note)),
            (Some(note), None) => word(note).into_owned(),
            (None, _) => "-".to_owned(),
        };
        let mut who = self.who("subject").map_or("-".into(), word).into_owned();
        if let Some(actor) = self.who("actor") {
            let _ = write!(who, " by {}", word(actor));
        }
        let field = |name: &str| self.text(name).map_or("-".into(), word);
        let mut row = format!(
            "{:24}  {:7}  {:5}  {:16}  {:40}  {:20}  {:15}",
            field("time"),
            field("outcome"),
            field("face"),
            field("action"),
            note,
            who,
            field("client"),
        );
        if let Some(reason) = self.text("reason") {
            let _ = write!(row, "  {}", word(reason));
        }
        if let Some(count) = number("count") {
            let _ = write!(row, " ({count} times)");
        }
        printable(row.trim_end())
    }
}

/// The heading of [`Record::row`].
pub fn heading() -> String {
    format!(
        "{:24}  {:7}  {:5}  {:16}  {:40}  {:20}  {:15}  {}",
        "TIME", "OUTCOME", "FACE", "ACTION", "NOTE", "WHO", "CLIENT", "REASON"
    )
}

impl Filter {
    /// Whether `record` is asked for.
    pub fn takes(&self, record: &Record) -> bool {
        let in_time = self.since.is_none_or(|since| record.time() >= Some(since))
            && self
                .until
                .is_none_or(|until| record.time().is_some_and(|time| time < until));
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let is_principal = self.principal.as_deref().is_none_or(|wanted| {
            ["subject", "actor", "client_id", "credential"]
                .iter()
                .any(|name| record.who(name) == Some(wanted))
        });
        in_time
            && is_principal
            && is(&self.note, record.text("note"))
            && is(&self.action, record.text("action"))
            && is(&self.outcome, record.text("outcome"))
    }
}

/// A time: RFC 3339, or how long before `now`, such as `90s`, `30m`, `12h`,
/// `7d` or `2w`.
pub fn time(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let expected = || {
        "expected a time such as 2026-01-31T12:00:00Z, or how long ago, such as 90s, 30m, 12h, 7d or 2w"
            .to_owned()
    };
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    span::parse(text)
        .and_then(|ago| now.checked_sub(ago).ok())
        .ok_or_else(expected)
}

/// A value as a column has it: in quotes where it could be taken for another column or for none.
fn word(text: &str) -> Cow<'_, str> {
    let is_plain = !text.is_empty() && text != "-" && !text.contains(|c: char| c.is_whitespace());
    if is_plain && !text.contains('"') {
        return text.into();
    }
    format!("{text:?}").into()
}

/// `text` without characters that nobody sees or that do something to a terminal.
fn printable(text: &str) -> String {
    text.chars().map(fit).collect()
}

/// `c`, or the replacement character where `c` is unfit.
pub(super) fn fit(c: char) -> char {
    if is_unfit(c) { '\u{fffd}' } else { c }
}

/// Whether `c` does something to a terminal or to the direction of text, or cannot be seen.
pub(super) fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(line: &str) -> Record {
        Record::parse(line.as_bytes()).unwrap()
    }

    #[test]
    fn a_filter_takes_what_all_its_conditions_hold_for() {
        let it = record(
            r#"{"time":"2026-01-31T12:00:00.000Z","action":"get_note","outcome":"refused","note":"n","principal":{"subject":"alice","credential":"k1"}}"#,
        );
        let text = |text: &str| Some(text.to_owned());
        let time = |text: &str| Some(text.parse().unwrap());
        let all = Filter {
            since: time("2026-01-31T12:00:00Z"),
            until: time("2026-01-31T12:00:01Z"),
            principal: text("k1"),
            note: text("n"),
            action: text("get_note"),
            outcome: text("refused"),
        };
        assert!(all.takes(&it));
        for spoil in [
            |it: &mut Filter| it.since = Some("2026-01-31T12:00:00.001Z".parse().unwrap()),
            |it: &mut Filter| it.until = Some("2026-01-31T12:00:00Z".parse().unwrap()),
            |it: &mut Filter| it.principal = Some("bob".into()),
            |it: &mut Filter| it.note = Some("m".into()),
            |it: &mut Filter| it.action = Some("list_notes".into()),
            |it: &mut Filter| it.outcome = Some("ok".into()),
        ] {
            let mut filter = all.clone();
            spoil(&mut filter);
            assert!(!filter.takes(&it), "{filter:?}");
        }
    }

    #[test]
    fn a_time_is_a_moment_or_how_long_ago() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("90s", "2026-01-31T11:58:30Z"),
            ("30m", "2026-01-31T11:30:00Z"),
            ("12h", "2026-01-31T00:00:00Z"),
            ("7d", "2026-01-24T12:00:00Z"),
            ("2w", "2026-01-17T12:00:00Z"),
            ("2026-01-01T00:00:00+01:00", "2025-12-31T23:00:00Z"),
        ] {
            assert_eq!(time(text, now), Ok(expected.parse().unwrap()), "{text}");
        }
        for bad in [
            "",
            "h",
            "1",
            "-1h",
            "1y",
            "1é",
            "99999999999999999999d",
            "999999999999999d",
        ] {
            assert!(time(bad, now).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_row_does_nothing_to_a_terminal() {
        let row = record("{\"time\":\"\u{9b}2J\",\"action\":\"\\u001b[2J\",\"principal\":{\"subject\":\"a\\nb\u{202e}\"}}").row();
        assert!(
            !row.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{row:?}"
        );
        let spoofed =
            r#"{"time":"t","action":"a","principal":{"subject":"bob  10.0.0.1 by \"eve\u200b"}}"#;
        let row = record(spoofed).row();
        assert!(row.contains(r#""bob  10.0.0.1 by \"eve"#), "{row}");
        assert!(!row.contains('\u{200b}'), "{row:?}");
        assert_eq!(Record::parse(b"{\"time\":\"x\",\"act"), None);
        assert_eq!(Record::parse(b"[1]"), None);
    }
}
