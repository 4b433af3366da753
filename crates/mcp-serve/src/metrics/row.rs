//! What one metric is called and means: a row of the table.

use std::fmt::Write as _;

/// One metric: everything that is known of it before anything is counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Its name; a counter's ends in `_total`, and the unit stands before that.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// The names of its labels, in the order in which values are given. Not `le`.
    pub labels: &'static [&'static str],
    /// What it says, in a sentence.
    pub help: &'static str,
}

/// The kinds of metrics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A number that only grows.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// How many observations were at most so large, for each of these bounds, which ascend.
    Histogram(&'static [f64]),
}

impl Kind {
    /// The word for it in both formats.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

impl Row {
    /// The name without the ending that a counter's samples have.
    pub fn family(&self) -> &'static str {
        self.name.strip_suffix("_total").unwrap_or(self.name)
    }

    /// The unit that its name ends in, if it has one.
    pub fn unit(&self) -> Option<&'static str> {
        let (_, last) = self.family().rsplit_once('_')?;
        ["seconds", "bytes"].into_iter().find(|unit| *unit == last)
    }
}

/// The page of `rows`, as a table in Markdown.
pub fn markdown(rows: &[&'static Row]) -> String {
    let mut out =
        String::from("| Name | Kind | Labels | What it says |\n| --- | --- | --- | --- |\n");
    for row in rows {
        let labels: Vec<_> = row.labels.iter().map(|it| format!("`{it}`")).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            row.name,
            row.kind.as_str(),
            labels.join(", "),
            row.help
        );
    }
    out
}
