//! A page of notes, read along an index in the order in which it is shown.

use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::read::{PREVIEW_COLUMNS, notes_of, preview};
use super::schema::store_error;
use crate::error::StoreError;
use crate::note::Owner;
use crate::query::ListQuery;
use crate::search::{after_prefix, title_key};
use crate::store::{ListPosition, Listed};

/// How many notes a filtered list counts before it says that it does not know the total.
const COUNT_MAX: i64 = 10_000;

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
        let rows = select.query_map(params_from_iter(values), preview)?;
        let mut items = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        let more = items.len() > query.limit as usize;
        items.truncate(query.limit as usize);
        Ok(Listed { items, more, total })
    };
    run().map_err(store_error)
}

/// Whether a list may look at many notes to find a few.
pub(super) fn is_selective(query: &ListQuery) -> bool {
    query.title_prefix.is_some() || query.tags.len() > 1 || has_times(query)
}

fn has_times(query: &ListQuery) -> bool {
    let updated = query.updated_after.is_some() || query.updated_before.is_some();
    updated || query.created_after.is_some() || query.created_before.is_some()
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
            .push_str(" AND (o.updated_at, o.id) < (?, ?)");
    }
    filter.values.push(Box::new(i64::from(query.limit) + 1));
    // The contents are read for the notes of the page only.
    let sql = format!(
        "SELECT {PREVIEW_COLUMNS} FROM (
             SELECT o.seq FROM {} WHERE {}
             ORDER BY o.updated_at DESC, o.id DESC LIMIT ?) AS page
         CROSS JOIN notes AS n ON n.seq = page.seq
         ORDER BY n.updated_at DESC, n.id DESC",
        filter.tables, filter.conditions
    );
    (sql, filter.values)
}

/// What a list asks for, as SQL with its parameters.
struct Filter {
    /// `o` gives the order: the notes, or what has the first tag. Other columns are those of `n`.
    tables: &'static str,
    conditions: String,
    values: Vec<Box<dyn ToSql>>,
}

impl Filter {
    fn new(owner: &Owner, query: &ListQuery) -> Self {
        let mut filter = Self {
            tables: "notes AS o",
            conditions: "o.owner = ?".to_owned(),
            values: vec![Box::new(owner.as_str().to_owned())],
        };
        let mut n = 'o';
        if let Some((first, others)) = query.tags.split_first() {
            filter.tables = "note_tags AS o CROSS JOIN notes AS n ON n.seq = o.seq";
            n = 'n';
            filter.and("o.tag = ?", first.as_str().to_owned());
            for tag in others {
                filter.and(
                    "EXISTS (SELECT 1 FROM note_tags AS x WHERE x.seq = o.seq AND x.tag = ?)",
                    tag.as_str().to_owned(),
                );
            }
        }
        for (time, condition) in [
            (query.updated_after, "o.updated_at >= ?".to_owned()),
            (query.updated_before, "o.updated_at < ?".to_owned()),
            (query.created_after, format!("{n}.created_at >= ?")),
            (query.created_before, format!("{n}.created_at < ?")),
        ] {
            if let Some(time) = time {
                filter.and(&condition, time.as_microsecond());
            }
        }
        let prefix = query
            .title_prefix
            .as_deref()
            .map(title_key)
            .filter(|key| !key.is_empty());
        if let Some(key) = prefix {
            if let Some(end) = after_prefix(&key) {
                filter.and(&format!("{n}.title_key < ?"), end);
            }
            filter.and(&format!("{n}.title_key >= ?"), key);
        }
        filter
    }

    fn and(&mut self, condition: &str, value: impl ToSql + 'static) {
        self.conditions.push_str(" AND ");
        self.conditions.push_str(condition);
        self.values.push(Box::new(value));
    }
}

fn count(conn: &Connection, owner: &Owner, query: &ListQuery) -> rusqlite::Result<Option<u64>> {
    let tags = query.tags.as_slice();
    if query.title_prefix.is_none() && !has_times(query) {
        if tags.is_empty() {
            return Ok(Some(notes_of(conn, owner)?));
        }
        if let [tag] = tags {
            let notes = conn
                .prepare_cached("SELECT notes FROM tag_counts WHERE owner = ?1 AND tag = ?2")?
                .query_row([owner.as_str(), tag.as_str()], |row| row.get(0))
                .optional()?;
            return Ok(Some(notes.unwrap_or(0)));
        }
    }
    let filter = Filter::new(owner, query);
    let sql = format!(
        "SELECT count(*) FROM (SELECT 1 FROM {} WHERE {} LIMIT {})",
        filter.tables,
        filter.conditions,
        COUNT_MAX + 1
    );
    let values = params_from_iter(&filter.values);
    let found: i64 = conn
        .prepare_cached(&sql)?
        .query_row(values, |row| row.get(0))?;
    Ok(u64::try_from(found).ok().filter(|_| found <= COUNT_MAX))
}
