//! Tokens as a table for people.

use std::fmt::Write as _;

use notes::{AccessToken, Timestamp};

const HEAD: [&str; 8] = [
    "ID",
    "NAME",
    "OWNER",
    "SCOPES",
    "CREATED",
    "EXPIRES",
    "LAST USED",
    "REVOKED",
];

/// One line for each token below the names of the columns.
pub(super) fn text(tokens: &[AccessToken]) -> String {
    let rows: Vec<[String; 8]> = [HEAD.map(str::to_owned)]
        .into_iter()
        .chain(tokens.iter().map(row))
        .collect();
    let width = |column: usize| {
        let lengths = rows.iter().map(|row| row[column].chars().count());
        lengths.max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..HEAD.len()).map(width).collect();
    rows.iter().fold(String::new(), |mut out, row| {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
        out
    })
}

fn row(token: &AccessToken) -> [String; 8] {
    let or = |at: Option<Timestamp>, without: &str| at.map_or_else(|| without.to_owned(), time);
    [
        token.id.clone(),
        token.name.to_string(),
        token.owner.as_str().to_owned(),
        token.scopes.join(","),
        time(token.created_at),
        or(token.expires_at, "never"),
        or(token.last_used, "never"),
        or(token.revoked_at, ""),
    ]
}

/// A time to the minute, which is as much as people read.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%MZ").to_string()
}
