//! Searching notes: the index for words, a bounded scan for what has none.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rusqlite::types::ToSql;
use rusqlite::{Connection, Row};

use super::read::{self, PREVIEW_COLUMNS};
use super::schema::store_error;
use crate::error::StoreError;
use crate::note::Owner;
use crate::query::Hit;
use crate::search::{LITERAL_NOTES_MAX, Query, Term, owner_token, snippet};
use crate::store::{Found, HitPosition};

/// All notes that match the expression, with what their order depends on.
///
/// The figures of the index (`bm25`, `rank`) are of the notes of all owners, so they must not decide
/// about the order. The index must be the outer table: a plain JOIN lets SQLite walk the notes and
/// ask the index about each.
pub(super) const MATCHES: &str = "
    SELECT n.title, n.tags, n.updated_at, n.id, n.seq
    FROM notes_fts CROSS JOIN notes AS n ON n.seq = notes_fts.rowid
    WHERE notes_fts MATCH ?1 AND n.owner = ?2";

/// A page of the notes that match.
pub(super) fn search(
    conn: &Connection,
    owner: &Owner,
    query: &Query,
    after: Option<&HitPosition>,
    limit: u32,
) -> Result<Found, StoreError> {
    let run = || match query {
        Query::Terms(terms) => by_index(conn, owner, query, terms, after, limit),
        Query::Literal(words) => by_scan(conn, owner, query, words, after, limit),
    };
    run().map_err(store_error)
}

fn by_index(
    conn: &Connection,
    owner: &Owner,
    query: &Query,
    terms: &[Term],
    after: Option<&HitPosition>,
    limit: u32,
) -> rusqlite::Result<Found> {
    let snapshot = conn.unchecked_transaction()?;
    let start = after.map(|position| {
        let micros = position.updated_at.as_microsecond();
        (position.score, micros, position.id.as_str())
    });
    let mut best = Best::new(limit as usize);
    let (mut total, mut remaining) = (0, 0_usize);
    let mut matches = snapshot.prepare_cached(MATCHES)?;
    let mut rows = matches.query((match_expression(owner, terms), owner.as_str()))?;
    while let Some(row) = rows.next()? {
        total += 1;
        let title = row.get_ref(0)?.as_str()?;
        let tags = row.get_ref(1)?.as_str()?;
        let score = query.score(title, tags.split_whitespace());
        let key = (score, row.get(2)?, row.get_ref(3)?.as_str()?);
        if start.is_none_or(|start| key < start) {
            remaining += 1;
            best.offer(key, row.get(4)?);
        }
    }
    let select = format!("SELECT {PREVIEW_COLUMNS}, n.content FROM notes AS n WHERE n.seq = ?1");
    let mut select = snapshot.prepare_cached(&select)?;
    let items = best
        .in_order()
        .map(|seq| select.query_row([seq], |row| hit(row, query)))
        .collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(Found {
        more: remaining > items.len(),
        items,
        total: Some(total),
    })
}

/// What the order of hits depends on, the best being the greatest: score, time of change, id.
type Key<'a> = (u32, i64, &'a str);

/// The best of the notes that are offered, at most `limit`.
struct Best {
    limit: usize,
    /// Keys and row numbers, the worst at the top.
    kept: BinaryHeap<Reverse<(u32, i64, String, i64)>>,
}

impl Best {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            kept: BinaryHeap::new(),
        }
    }

    fn offer(&mut self, key: Key<'_>, seq: i64) {
        let (score, updated_at, id) = key;
        if self.kept.len() == self.limit {
            match self.kept.peek() {
                Some(Reverse(worst)) if key > (worst.0, worst.1, worst.2.as_str()) => {
                    self.kept.pop();
                }
                _ => return,
            }
        }
        let kept = (score, updated_at, id.to_owned(), seq);
        self.kept.push(Reverse(kept));
    }

    /// The row numbers, the best first.
    fn in_order(self) -> impl Iterator<Item = i64> {
        let sorted = self.kept.into_sorted_vec();
        sorted.into_iter().map(|Reverse((.., seq))| seq)
    }
}

/// A hit from [`PREVIEW_COLUMNS`] and the content.
fn hit(row: &Row<'_>, query: &Query) -> rusqlite::Result<Hit> {
    let content = row.get_ref(8)?.as_str()?;
    Ok(Hit {
        note: read::preview(row)?,
        snippet: snippet(content, query),
    })
}

/// The query in the language of FTS5. Tokens are letters, digits and marks only, so nothing in them
/// can be read as syntax.
fn match_expression(owner: &Owner, terms: &[Term]) -> String {
    let phrases: Vec<String> = terms
        .iter()
        .map(|term| {
            let star = if term.prefix { " *" } else { "" };
            format!("\"{}\"{star}", term.tokens.join(" "))
        })
        .collect();
    format!(
        "scope : \"{}\" AND {{title content tags}} : ({})",
        owner_token(owner),
        phrases.join(" AND ")
    )
}

fn by_scan(
    conn: &Connection,
    owner: &Owner,
    query: &Query,
    words: &[String],
    after: Option<&HitPosition>,
    limit: u32,
) -> rusqlite::Result<Found> {
    let snapshot = conn.unchecked_transaction()?;
    let mut values: Vec<&dyn ToSql> = Vec::new();
    let owner_name = owner.as_str();
    values.push(&owner_name);
    for word in words {
        values.push(word);
    }
    let holds_word = |index: usize| {
        format!(
            "(instr(n.title, ?{index}) OR instr(n.content, ?{index}) OR instr(n.tags, ?{index}))"
        )
    };
    let conditions: Vec<String> = (2..2 + words.len()).map(holds_word).collect();
    let conditions = conditions.join(" AND ");
    let sql = format!(
        "SELECT {PREVIEW_COLUMNS}, n.content FROM (
             SELECT * FROM notes WHERE owner = ?1
             ORDER BY updated_at DESC, id DESC LIMIT {LITERAL_NOTES_MAX}) AS n
         WHERE {conditions} ORDER BY n.updated_at DESC, n.id DESC"
    );
    let mut select = snapshot.prepare_cached(&sql)?;
    let mut rows = select.query(values.as_slice())?;
    let mut items = Vec::new();
    let (mut total, mut remaining) = (0, 0_usize);
    while let Some(row) = rows.next()? {
        total += 1;
        let note = read::preview(row)?;
        let before_page = after.is_some_and(|position| {
            (note.updated_at, &note.id) >= (position.updated_at, &position.id)
        });
        if !before_page {
            remaining += 1;
            if items.len() < limit as usize {
                items.push(hit(row, query)?);
            }
        }
    }
    let all_seen = read::notes_of(&snapshot, owner)? <= u64::from(LITERAL_NOTES_MAX);
    Ok(Found {
        more: remaining > items.len(),
        items,
        total: all_seen.then_some(total),
    })
}
