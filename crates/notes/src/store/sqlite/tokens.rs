//! Tokens: found by hash, and changed one at a time.

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, named_params};

use super::SqliteStore;
use super::read::time;
use super::schema::store_error;
use crate::access::{AccessHash, AccessStore, AccessToken, TokenName};
use crate::error::{Error, StoreError};
use crate::note::Owner;
use crate::transfer::KeptToken;

/// What [`token`] reads, in its order.
pub(super) const COLUMNS: &str =
    "id, name, owner, scopes, created_at, expires_at, last_used, revoked_at";

pub(super) fn token(row: &Row<'_>) -> rusqlite::Result<AccessToken> {
    let scopes: String = row.get(3)?;
    let some_time = |column| match row.get::<_, Option<i64>>(column)? {
        Some(_) => time(row, column).map(Some),
        None => Ok(None),
    };
    Ok(AccessToken {
        id: row.get(0)?,
        name: TokenName::from_stored(row.get(1)?),
        owner: Owner::from_stored(row.get(2)?),
        scopes: scopes.split_whitespace().map(str::to_owned).collect(),
        created_at: time(row, 4)?,
        expires_at: some_time(5)?,
        last_used: some_time(6)?,
        revoked_at: some_time(7)?,
    })
}

fn find(
    conn: &Connection,
    condition: &str,
    value: &dyn ToSql,
) -> Result<Option<AccessToken>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM access_tokens WHERE {condition}");
    let mut select = conn.prepare_cached(&sql).map_err(store_error)?;
    let found = select.query_row([value], token);
    found.optional().map_err(store_error)
}

fn all(conn: &Connection, limit: u32) -> Result<Vec<AccessToken>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM access_tokens ORDER BY seq DESC LIMIT ?1");
    let run = || -> rusqlite::Result<Vec<_>> {
        let mut select = conn.prepare_cached(&sql)?;
        select.query_map([limit], token)?.collect()
    };
    run().map_err(store_error)
}

fn add(conn: &Connection, token: &AccessToken, hash: &AccessHash) -> rusqlite::Result<bool> {
    insert(conn, token, hash, "(name) WHERE revoked_at IS NULL")
}

/// Keeps a token as it is, unless there is one with its id.
pub(super) fn keep(conn: &Connection, kept: &KeptToken) -> rusqlite::Result<()> {
    insert(conn, &kept.token, &kept.hash, "(id)").map(drop)
}

/// Whether the token was kept; it is not if there is one that is the same in `or_nothing`.
fn insert(
    conn: &Connection,
    token: &AccessToken,
    hash: &AccessHash,
    or_nothing: &str,
) -> rusqlite::Result<bool> {
    let sql = format!(
        "INSERT INTO access_tokens (id, hash, name, owner, scopes, created_at, expires_at,
                                    last_used, revoked_at)
         VALUES (:id, :hash, :name, :owner, :scopes, :created_at, :expires_at,
                 :last_used, :revoked_at)
         ON CONFLICT {or_nothing} DO NOTHING"
    );
    let micros = |time: Option<Timestamp>| time.map(Timestamp::as_microsecond);
    let added = conn.prepare_cached(&sql)?.execute(named_params! {
        ":id": token.id,
        ":hash": hash.as_slice(),
        ":name": token.name.as_str(),
        ":owner": token.owner.as_str(),
        ":scopes": token.scopes.join(" "),
        ":created_at": token.created_at.as_microsecond(),
        ":expires_at": micros(token.expires_at),
        ":last_used": micros(token.last_used),
        ":revoked_at": micros(token.revoked_at),
    })?;
    Ok(added == 1)
}

fn used(conn: &Connection, id: &str, at: Timestamp) -> rusqlite::Result<()> {
    const UPDATE: &str = "
        UPDATE access_tokens SET last_used = ?2
        WHERE id = ?1 AND (last_used IS NULL OR last_used < ?2)";
    let mut update = conn.prepare_cached(UPDATE)?;
    update.execute((id, at.as_microsecond())).map(drop)
}

fn revoke(
    conn: &Connection,
    id_or_name: &str,
    at: Timestamp,
) -> Result<Option<AccessToken>, StoreError> {
    // One statement, so that it is one transaction.
    const UPDATE: &str = "
        UPDATE access_tokens SET revoked_at = coalesce(revoked_at, ?2)
        WHERE id = coalesce((SELECT id FROM access_tokens WHERE id = ?1),
                            (SELECT id FROM access_tokens
                             WHERE name = ?1 AND revoked_at IS NULL))
        RETURNING ";
    let run = || {
        let mut update = conn.prepare_cached(&format!("{UPDATE}{COLUMNS}"))?;
        let mut rows = update.query_map((id_or_name, at.as_microsecond()), token)?;
        let revoked = rows.next().transpose()?;
        // What is not read to its end is not written.
        rows.next();
        Ok(revoked)
    };
    run().map_err(store_error)
}

impl SqliteStore {
    async fn find_token(
        &self,
        condition: &'static str,
        value: impl ToSql + Send + 'static,
    ) -> Result<Option<AccessToken>, StoreError> {
        let find = move |conn: &Connection| Ok(find(conn, condition, &value)?);
        self.read_here(find).await.map_err(|error| match error {
            Error::Store(error) => error,
            other => StoreError::Other(Box::new(other)),
        })
    }
}

#[async_trait]
impl AccessStore for SqliteStore {
    async fn add_token(&self, token: AccessToken, hash: AccessHash) -> Result<bool, StoreError> {
        self.between_writes(move |conn| add(conn, &token, &hash).map_err(store_error))
            .await?
    }

    async fn token_of_hash(&self, hash: AccessHash) -> Result<Option<AccessToken>, StoreError> {
        self.find_token("hash = ?1", hash).await
    }

    async fn token(&self, id: &str) -> Result<Option<AccessToken>, StoreError> {
        self.find_token("id = ?1", id.to_owned()).await
    }

    async fn tokens(&self, limit: u32) -> Result<Vec<AccessToken>, StoreError> {
        self.read(move |conn| all(conn, limit)).await?
    }

    async fn token_used(&self, id: &str, at: Timestamp) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.between_writes(move |conn| used(conn, &id, at).map_err(store_error))
            .await?
    }

    async fn revoke_token(
        &self,
        id_or_name: &str,
        at: Timestamp,
    ) -> Result<Option<AccessToken>, StoreError> {
        let id_or_name = id_or_name.to_owned();
        self.between_writes(move |conn| revoke(conn, &id_or_name, at))
            .await?
    }
}
