//! Everything in the database, in the order in which it was added, and back.

use std::path::Path;

use async_trait::async_trait;
use rusqlite::{Connection, Row, Transaction, TransactionBehavior};

use super::schema::store_error;
use super::{SqliteStore, read, snapshot, tokens, write};
use crate::access::AccessHash;
use crate::error::{Error, StoreError};
use crate::note::{Note, NoteId, Owner};
use crate::transfer::{BATCH_BYTES_MAX, Batch, Counts, KeptToken, Mark, Snapshot, Transfer};

#[async_trait]
impl Transfer for SqliteStore {
    async fn counts(&self) -> Result<Counts, StoreError> {
        self.read(|conn| counts(conn).map_err(store_error)).await?
    }

    async fn export_notes(
        &self,
        after: Option<&Mark>,
        limit: u32,
    ) -> Result<Batch<Note>, StoreError> {
        let after = seq(after)?;
        self.read(move |conn| export_notes(conn, after, limit).map_err(store_error))
            .await?
    }

    async fn find_notes(&self, names: Vec<(Owner, NoteId)>) -> Result<Vec<Note>, StoreError> {
        let find = move |conn: &Connection| {
            let found = names
                .iter()
                .map(|(owner, id)| Ok(read::note(conn, owner, id)?.map(|(_, note)| note)));
            found.filter_map(Result::transpose).collect()
        };
        self.read(find).await?
    }

    async fn export_tokens(
        &self,
        after: Option<&Mark>,
        limit: u32,
    ) -> Result<Batch<KeptToken>, StoreError> {
        let after = seq(after)?;
        self.read(move |conn| export_tokens(conn, after, limit).map_err(store_error))
            .await?
    }

    async fn import_notes(&self, notes: Vec<Note>) -> Result<(), StoreError> {
        let import = move |conn: &Connection| {
            in_one(conn, |conn| {
                notes
                    .iter()
                    .try_for_each(|note| match write::insert(conn, note) {
                        Err(Error::Store(error)) => Err(error),
                        Ok(_) | Err(_) => Ok(()),
                    })
            })
        };
        self.between_writes(import).await?
    }

    async fn import_tokens(&self, tokens: Vec<KeptToken>) -> Result<(), StoreError> {
        let import = move |conn: &Connection| {
            in_one(conn, |conn| {
                tokens
                    .iter()
                    .try_for_each(|kept| tokens::keep(conn, kept).map_err(store_error))
            })
        };
        self.between_writes(import).await?
    }

    async fn snapshot(
        &self,
        folder: &Path,
        stays_home: bool,
    ) -> Result<Box<dyn Snapshot>, StoreError> {
        snapshot::take(self, folder, stays_home).await
    }
}

/// How much there is.
pub(super) fn counts(conn: &Connection) -> rusqlite::Result<Counts> {
    const SELECT: &str = "
        SELECT (SELECT coalesce(sum(notes), 0) FROM owner_counts),
               (SELECT count(*) FROM access_tokens)";
    let count = |row: &Row<'_>| {
        Ok(Counts {
            notes: row.get(0)?,
            tokens: row.get(1)?,
        })
    };
    conn.query_row(SELECT, [], count)
}

/// The row number after which an export goes on.
pub(super) fn seq(after: Option<&Mark>) -> Result<i64, StoreError> {
    let Some(Mark(after)) = after else {
        return Ok(i64::MIN);
    };
    let unknown = |error| StoreError::Other(Box::new(error));
    after.parse().map_err(unknown)
}

/// Notes after a row number.
pub(super) fn export_notes(
    conn: &Connection,
    after: i64,
    limit: u32,
) -> rusqlite::Result<Batch<Note>> {
    let sql = format!(
        "SELECT {} FROM notes WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        read::NOTE_COLUMNS
    );
    let mut select = conn.prepare_cached(&sql)?;
    let mut rows = select.query((after, limit))?;
    let (mut items, mut last, mut bytes) = (Vec::new(), None, 0);
    while let Some(row) = rows.next()? {
        let (seq, note) = read::whole_note(row)?;
        bytes += note.title.as_str().len() + note.content.as_str().len();
        if bytes > BATCH_BYTES_MAX && !items.is_empty() {
            break;
        }
        last = Some(Mark(seq.to_string()));
        items.push(note);
    }
    Ok(Batch { items, next: last })
}

/// Tokens after a row number.
pub(super) fn export_tokens(
    conn: &Connection,
    after: i64,
    limit: u32,
) -> rusqlite::Result<Batch<KeptToken>> {
    let sql = format!(
        "SELECT {}, hash, seq FROM access_tokens WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        tokens::COLUMNS
    );
    let mut select = conn.prepare_cached(&sql)?;
    let rows = select.query_map((after, limit), |row| {
        let (token, hash): (_, AccessHash) = (tokens::token(row)?, row.get("hash")?);
        Ok((row.get::<_, i64>("seq")?, KeptToken { token, hash }))
    })?;
    let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    let next = rows.last().map(|(seq, _)| Mark(seq.to_string()));
    let items = rows.into_iter().map(|(_, kept)| kept).collect();
    Ok(Batch { items, next })
}

/// Runs several writes in one transaction: all are durable at the end, or none is done.
fn in_one(
    conn: &Connection,
    writes: impl FnOnce(&Connection) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let transaction =
        Transaction::new_unchecked(conn, TransactionBehavior::Immediate).map_err(store_error)?;
    writes(&transaction)?;
    transaction.commit().map_err(store_error)
}
