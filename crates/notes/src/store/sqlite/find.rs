//! Searching notes: the index for words, a bounded scan for what has none.

use rusqlite::types::ToSql;
use rusqlite::{Connection, Row, named_params};

use super::read::{self, PREVIEW_COLUMNS};
use super::schema::store_error;
use crate::error::StoreError;
use crate::note::Owner;
use crate::query::Hit;
use crate::search::{LITERAL_NOTES_MAX, Query, Term, owner_token, snippet};
use crate::store::{Found, HitPosition};

/// How much a match counts in the columns of `notes_fts`: scope, title, content, tags.
const WEIGHTS: &str = "0.0, 5.0, 1.0, 3.0";

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

/// The statement for a page of hits.
///
/// All hits are ranked, since any change moves all ranks; the page then starts after the note at the
/// end of the one before, or, when that is gone or changed, where as many are left as were then. The
/// index must be the outer table: a plain JOIN lets SQLite walk the notes and ask the index about
/// each.
pub(super) fn index_sql() -> String {
    format!(
        "WITH hits AS MATERIALIZED (
             SELECT n.seq, n.updated_at, n.id, bm25(notes_fts, {WEIGHTS}) AS rank
             FROM notes_fts CROSS JOIN notes AS n ON n.seq = notes_fts.rowid
             WHERE notes_fts MATCH :match AND n.owner = :owner
         ),
         last AS (SELECT rank, updated_at, id FROM hits WHERE id = :id AND updated_at = :updated_at),
         start AS (
             SELECT * FROM last UNION ALL
             SELECT * FROM (
                 SELECT rank, updated_at, id FROM hits
                 WHERE :id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM last)
                     AND (SELECT count(*) FROM hits) > :left
                 ORDER BY rank, updated_at DESC, id DESC LIMIT 1
                 OFFSET max((SELECT count(*) FROM hits) - :left - 1, 0))
         ),
         after AS MATERIALIZED (
             SELECT h.* FROM hits AS h LEFT JOIN start
             WHERE start.id IS NULL OR h.rank > start.rank
                OR (h.rank = start.rank AND (h.updated_at, h.id) < (start.updated_at, start.id))
         ),
         page AS (
             SELECT seq, rank FROM after ORDER BY rank, updated_at DESC, id DESC LIMIT :limit
         )
         SELECT {PREVIEW_COLUMNS}, n.content, (SELECT count(*) FROM hits), (SELECT count(*) FROM after)
         FROM page CROSS JOIN notes AS n ON n.seq = page.seq
         ORDER BY page.rank, n.updated_at DESC, n.id DESC"
    )
}

fn by_index(
    conn: &Connection,
    owner: &Owner,
    query: &Query,
    terms: &[Term],
    after: Option<&HitPosition>,
    limit: u32,
) -> rusqlite::Result<Found> {
    let mut select = conn.prepare_cached(&index_sql())?;
    let (mut total, mut remaining) = (None, 0);
    let rows = select.query_map(
        named_params! {
            ":match": match_expression(owner, terms),
            ":owner": owner.as_str(),
            ":left": after.map_or(0, |position| i64::try_from(position.left).unwrap_or(i64::MAX)),
            ":updated_at": after.map(|position| position.updated_at.as_microsecond()),
            ":id": after.map(|position| position.id.as_str()),
            ":limit": i64::from(limit),
        },
        |row| {
            (total, remaining) = (Some(row.get(9)?), row.get(10)?);
            hit(row, query)
        },
    )?;
    let items = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    // Only a first page can be empty and still know the total.
    let total = total.or_else(|| after.is_none().then_some(0));
    Ok(page(items, limit, remaining, total))
}

/// A page of at most `limit` of the `remaining` hits.
fn page(mut items: Vec<Hit>, limit: u32, remaining: u64, total: Option<u64>) -> Found {
    items.truncate(limit as usize);
    let left = remaining.saturating_sub(items.len() as u64);
    Found { items, left, total }
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
    let (mut total, mut remaining) = (0, 0);
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
    Ok(page(items, limit, remaining, all_seen.then_some(total)))
}
