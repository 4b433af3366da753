//! Reading notes: one of them, what lists show of them, and their tags and titles.

use rusqlite::{Connection, OptionalExtension, Row};

use jiff::Timestamp;

use super::schema::store_error;
use crate::error::{Error, Result, StoreError};
use crate::note::{Author, Content, Note, NoteId, Owner, Title};
use crate::query::{Completion, PREVIEW_CHARS, Preview, TagCount, TitleMatch};
use crate::search::{after_prefix, title_key};
use crate::tag::{Tag, Tags};

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
    let sql = format!("SELECT {NOTE_COLUMNS} FROM notes WHERE owner = ?1 AND id = ?2");
    let mut select = conn.prepare_cached(&sql).map_err(store_error)?;
    select
        .query_row([owner.as_str(), id.as_str()], whole_note)
        .optional()
        .map_err(store_error)
}

/// The columns of `notes` that [`whole_note`] reads, in its order.
pub(super) const NOTE_COLUMNS: &str = "seq, owner, id, title, tags, version, created_at, \
    updated_at, created_by, updated_by, content";

/// A note and its row number from the columns of [`NOTE_COLUMNS`].
pub(super) fn whole_note(row: &Row<'_>) -> rusqlite::Result<(i64, Note)> {
    let note = Note {
        owner: Owner::from_stored(row.get(1)?),
        id: NoteId::from_stored(row.get(2)?),
        title: Title::from_stored(row.get(3)?),
        tags: tags_of(row, 4)?,
        version: row.get(5)?,
        created_at: time(row, 6)?,
        updated_at: time(row, 7)?,
        created_by: Author::from_stored(row.get(8)?),
        updated_by: Author::from_stored(row.get(9)?),
        content: Content::from_stored(row.get(10)?),
    };
    Ok((row.get(0)?, note))
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

/// A time, in microseconds.
pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    let micros = row.get(column)?;
    Timestamp::from_microsecond(micros)
        .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, micros))
}

/// How many notes the owner has.
pub(super) fn notes_of(conn: &Connection, owner: &Owner) -> rusqlite::Result<u64> {
    let count = conn
        .prepare_cached("SELECT notes FROM owner_counts WHERE owner = ?1")?
        .query_row([owner.as_str()], |row| row.get(0))
        .optional()?;
    Ok(count.unwrap_or(0))
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

/// Titles that complete what was typed.
pub(super) fn titles(
    conn: &Connection,
    owner: &Owner,
    typed: &str,
    limit: u32,
) -> Result<Completion<TitleMatch>, StoreError> {
    // Both read the index of titles only, until the best are known.
    const STARTING: &str = "title_key >= ?2 AND (?3 IS NULL OR title_key < ?3)";
    const CONTAINING: &str = "instr(title_key, ?2) > 1 AND substr(title_key, 1, length(?2)) <> ?2";
    let key = title_key(typed);
    let end = after_prefix(&key);
    let find = |conn: &Connection, condition: &str| -> rusqlite::Result<(Vec<TitleMatch>, u64)> {
        let sql = format!(
            "SELECT n.id, n.title, best.total FROM (
                 SELECT seq, count(*) OVER () AS total FROM notes
                 WHERE owner = ?1 AND {condition} AND ?3 IS ?3
                 ORDER BY updated_at DESC LIMIT ?4) AS best
             CROSS JOIN notes AS n ON n.seq = best.seq
             ORDER BY n.updated_at DESC, n.id DESC"
        );
        let mut total = 0;
        let mut select = conn.prepare_cached(&sql)?;
        let rows = select.query_map((owner.as_str(), &key, &end, limit), |row| {
            total = row.get(2)?;
            let title = Title::from_stored(row.get(1)?);
            Ok(TitleMatch {
                id: NoteId::from_stored(row.get(0)?),
                title,
            })
        })?;
        Ok((rows.collect::<rusqlite::Result<_>>()?, total))
    };
    let run = || -> rusqlite::Result<Completion<TitleMatch>> {
        let snapshot = conn.unchecked_transaction()?;
        let (mut items, mut total) = find(&snapshot, STARTING)?;
        // Every title starts with nothing, and none contains it elsewhere.
        if !key.is_empty() {
            let (others, more) = find(&snapshot, CONTAINING)?;
            items.extend(others);
            items.truncate(limit as usize);
            total += more;
        }
        Ok(Completion {
            items,
            total: Some(total),
        })
    };
    run().map_err(store_error)
}
