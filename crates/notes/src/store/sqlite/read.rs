//! Reading notes: one, a page of them, their tags and titles.

use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension, Row};

use jiff::Timestamp;

use super::schema::store_error;
use crate::error::{Error, Result, StoreError};
use crate::note::{Author, Content, Note, NoteId, Owner, Title};
use crate::query::{Completion, ListQuery, PREVIEW_CHARS, Preview, TagCount, TitleMatch};
use crate::search::title_key;
use crate::store::{ListPosition, Listed};
use crate::tag::{Tag, Tags};

/// How many notes a filtered list counts before it says that it does not know the total.
const COUNT_MAX: i64 = 10_000;

/// How many titles are looked through for what was typed, besides those that start with it.
const TITLES_MAX: i64 = 10_000;

/// The note, or [`Error::NotFound`].
pub(super) fn get(conn: &Connection, owner: &Owner, id: &NoteId) -> Result<Note> {
    match note(conn, owner, id)? {
        Some((_, note)) => Ok(note),
        None => Err(Error::NotFound { id: id.clone() }),
    }
}

/// The note and its row number.
pub(super) fn note(
    conn: &Connection,
    owner: &Owner,
    id: &NoteId,
) -> Result<Option<(i64, Note)>, StoreError> {
    const SELECT: &str = "
        SELECT seq, title, tags, version, created_at, updated_at, created_by, updated_by, content
        FROM notes WHERE owner = ?1 AND id = ?2";
    let mut select = conn.prepare_cached(SELECT).map_err(store_error)?;
    let row = |row: &Row<'_>| {
        let note = Note {
            id: id.clone(),
            owner: owner.clone(),
            title: Title::from_stored(row.get(1)?),
            tags: tags_of(row, 2)?,
            version: row.get(3)?,
            created_at: time(row, 4)?,
            updated_at: time(row, 5)?,
            created_by: Author::from_stored(row.get(6)?),
            updated_by: Author::from_stored(row.get(7)?),
            content: Content::from_stored(row.get(8)?),
        };
        Ok((row.get(0)?, note))
    };
    select
        .query_row([owner.as_str(), id.as_str()], row)
        .optional()
        .map_err(store_error)
}

/// The columns of `notes AS n` that [`preview`] reads, in its order.
pub(super) const PREVIEW_COLUMNS: &str = "n.id, n.title, n.tags, n.version, n.created_at, \
    n.updated_at, n.content_chars, substr(n.content, 1, 200)";

const _: () = assert!(
    PREVIEW_CHARS == 200,
    "PREVIEW_COLUMNS has the number as well"
);

/// A preview from the columns of [`PREVIEW_COLUMNS`].
pub(super) fn preview(row: &Row<'_>) -> rusqlite::Result<Preview> {
    Ok(Preview {
        id: NoteId::from_stored(row.get(0)?),
        title: Title::from_stored(row.get(1)?),
        tags: tags_of(row, 2)?,
        version: row.get(3)?,
        created_at: time(row, 4)?,
        updated_at: time(row, 5)?,
        content_chars: row.get(6)?,
        preview: row.get(7)?,
    })
}

fn tags_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Tags> {
    let joined = row.get_ref(column)?.as_str()?;
    Ok(Tags::from_stored(
        joined.split_whitespace().map(str::to_owned),
    ))
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    let micros = row.get(column)?;
    Timestamp::from_microsecond(micros)
        .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, micros))
}

/// A page of a list.
pub(super) fn list(
    conn: &Connection,
    owner: &Owner,
    query: &ListQuery,
    after: Option<&ListPosition>,
) -> Result<Listed, StoreError> {
    let run = || -> rusqlite::Result<Listed> {
        // Page and total are of the same moment.
        let snapshot = conn.unchecked_transaction()?;
        let total = count(&snapshot, owner, query)?;
        let (sql, values) = page_sql(owner, query, after);
        let mut select = snapshot.prepare_cached(&sql)?;
        let rows = select.query_map(rusqlite::params_from_iter(values), preview)?;
        let mut items = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        let more = items.len() > query.limit as usize;
        items.truncate(query.limit as usize);
        Ok(Listed { items, more, total })
    };
    run().map_err(store_error)
}

/// The statement for a page and its parameters; it asks for one note more than the page has.
pub(super) fn page_sql(
    owner: &Owner,
    query: &ListQuery,
    after: Option<&ListPosition>,
) -> (String, Vec<Box<dyn ToSql>>) {
    let mut filter = Filter::new(owner, query);
    if let Some(ListPosition { updated_at, id }) = after {
        filter.values.push(Box::new(updated_at.as_microsecond()));
        filter.values.push(Box::new(id.as_str().to_owned()));
        filter
            .conditions
            .push_str(" AND (n.updated_at, n.id) < (?, ?)");
    }
    filter.values.push(Box::new(i64::from(query.limit) + 1));
    let sql = format!(
        "SELECT {PREVIEW_COLUMNS} FROM notes AS n WHERE {} \
         ORDER BY n.updated_at DESC, n.id DESC LIMIT ?",
        filter.conditions
    );
    (sql, filter.values)
}

/// The conditions of a list as SQL with its parameters.
struct Filter {
    conditions: String,
    values: Vec<Box<dyn ToSql>>,
    /// Whether it asks for more than the owner.
    narrows: bool,
}

impl Filter {
    fn new(owner: &Owner, query: &ListQuery) -> Self {
        let mut filter = Self {
            conditions: "n.owner = ?".to_owned(),
            values: Vec::new(),
            narrows: false,
        };
        filter.values.push(Box::new(owner.as_str().to_owned()));
        for (time, condition) in [
            (query.updated_after, "n.updated_at >= ?"),
            (query.updated_before, "n.updated_at < ?"),
            (query.created_after, "n.created_at >= ?"),
            (query.created_before, "n.created_at < ?"),
        ] {
            if let Some(time) = time {
                filter.and(condition, [Box::new(time.as_microsecond())]);
            }
        }
        for tag in &query.tags {
            filter.and(
                "n.seq IN (SELECT seq FROM note_tags WHERE owner = ? AND tag = ?)",
                [
                    Box::new(owner.as_str().to_owned()),
                    Box::new(tag.as_str().to_owned()),
                ],
            );
        }
        let prefix = query
            .title_prefix
            .as_deref()
            .map(title_key)
            .filter(|key| !key.is_empty());
        if let Some(key) = prefix {
            if let Some(end) = after_prefix(&key) {
                filter.and("n.title_key < ?", [Box::new(end)]);
            }
            filter.and("n.title_key >= ?", [Box::new(key)]);
        }
        filter
    }

    fn and<T: ToSql + 'static, const N: usize>(&mut self, condition: &str, values: [Box<T>; N]) {
        self.conditions.push_str(" AND ");
        self.conditions.push_str(condition);
        self.values
            .extend(values.map(|value| value as Box<dyn ToSql>));
        self.narrows = true;
    }
}

fn count(conn: &Connection, owner: &Owner, query: &ListQuery) -> rusqlite::Result<Option<u64>> {
    let filter = Filter::new(owner, query);
    if !filter.narrows {
        return Ok(Some(notes_of(conn, owner)?));
    }
    let sql = format!(
        "SELECT count(*) FROM (SELECT 1 FROM notes AS n WHERE {} LIMIT {})",
        filter.conditions,
        COUNT_MAX + 1
    );
    let values = rusqlite::params_from_iter(&filter.values);
    let found: i64 = conn
        .prepare_cached(&sql)?
        .query_row(values, |row| row.get(0))?;
    Ok(u64::try_from(found).ok().filter(|_| found <= COUNT_MAX))
}

/// How many notes the owner has.
pub(super) fn notes_of(conn: &Connection, owner: &Owner) -> rusqlite::Result<u64> {
    let count = conn
        .prepare_cached("SELECT notes FROM owner_counts WHERE owner = ?1")?
        .query_row([owner.as_str()], |row| row.get(0))
        .optional()?;
    Ok(count.unwrap_or(0))
}

/// The smallest text that is greater than all that start with `prefix`, if there is one.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // Skips the surrogates, which are no characters.
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// Tags that complete what was typed.
pub(super) fn tags(
    conn: &Connection,
    owner: &Owner,
    typed: &str,
    limit: u32,
) -> Result<Completion<TagCount>, StoreError> {
    const SELECT: &str = "
        SELECT tag, notes, count(*) OVER () FROM tag_counts
        WHERE owner = ?1 AND instr(tag, ?2) > 0
        ORDER BY substr(tag, 1, length(?2)) = ?2 DESC, notes DESC, tag
        LIMIT ?3";
    let run = || -> rusqlite::Result<Completion<TagCount>> {
        let mut total = 0;
        let mut select = conn.prepare_cached(SELECT)?;
        let rows = select.query_map((owner.as_str(), typed, limit), |row| {
            total = row.get(2)?;
            Ok(TagCount {
                tag: Tag::from_stored(row.get(0)?),
                notes: row.get(1)?,
            })
        })?;
        let items = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(Completion {
            items,
            total: Some(total),
        })
    };
    run().map_err(store_error)
}

/// Titles that complete what was typed. The whole index of titles is used for those that start with
/// it; for those that contain it, the notes changed last are looked through.
pub(super) fn titles(
    conn: &Connection,
    owner: &Owner,
    typed: &str,
    limit: u32,
) -> Result<Completion<TitleMatch>, StoreError> {
    const STARTING: &str = "
        SELECT id, title, count(*) OVER () FROM notes
        WHERE owner = ?1 AND title_key >= ?2 AND (?3 IS NULL OR title_key < ?3)
        ORDER BY updated_at DESC, id DESC LIMIT ?4";
    const CONTAINING: &str = "
        SELECT id, title, count(*) OVER () FROM (
            SELECT id, title, title_key, updated_at FROM notes
            WHERE owner = ?1 ORDER BY updated_at DESC, id DESC LIMIT ?5)
        WHERE instr(title_key, ?2) > 1 AND substr(title_key, 1, length(?2)) <> ?2
        ORDER BY updated_at DESC, id DESC LIMIT ?4";
    let key = title_key(typed);
    let end = after_prefix(&key);
    let run = || -> rusqlite::Result<Completion<TitleMatch>> {
        let snapshot = conn.unchecked_transaction()?;
        let mut total = 0;
        let read = |row: &Row<'_>, total: &mut u64| {
            *total = row.get(2)?;
            let title = Title::from_stored(row.get(1)?);
            Ok(TitleMatch {
                id: NoteId::from_stored(row.get(0)?),
                title,
            })
        };
        let mut items = snapshot
            .prepare_cached(STARTING)?
            .query_map((owner.as_str(), &key, &end, limit), |row| {
                read(row, &mut total)
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let mut containing = 0;
        // Titles that start with it may leave no room, but the others still count.
        let others = snapshot
            .prepare_cached(CONTAINING)?
            .query_map((owner.as_str(), &key, &end, limit, TITLES_MAX), |row| {
                read(row, &mut containing)
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        items.extend(others);
        items.truncate(limit as usize);
        let all_seen = notes_of(&snapshot, owner)? <= TITLES_MAX.unsigned_abs();
        Ok(Completion {
            items,
            total: all_seen.then_some(total + containing),
        })
    };
    run().map_err(store_error)
}
