//! A new store in the place of one that is there: built beside it, and put there when it is whole.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use super::{Kind, Options, Store, sqlite};
use crate::error::StoreError;
use crate::transfer::Counts;

/// What is where the new store shall be.
#[derive(Debug)]
pub(crate) enum Held {
    /// Nothing that could be lost.
    Nothing,
    /// Notes, tokens or both.
    Something(Counts),
    /// Something that cannot be read, and why.
    Unreadable(String),
}

/// A new store on its way into the place of another. Until [`Rebuild::swap`] nothing is changed
/// there.
#[async_trait]
pub(crate) trait Rebuild: Send {
    /// What was there at the beginning.
    fn held(&self) -> &Held;

    /// Makes the new store, empty.
    async fn begin(&mut self) -> Result<Arc<dyn Store>, StoreError>;

    /// Puts the new store, which is used no more, in its place. What was there is kept under the name
    /// that comes back, if it was something.
    async fn swap(&mut self, now: Timestamp) -> Result<Option<String>, StoreError>;

    /// Removes what was begun.
    async fn discard(&mut self);
}

/// Looks at what is at `address`, which the caller has claimed.
pub(crate) async fn rebuild(
    address: &str,
    options: &Options,
) -> Result<Box<dyn Rebuild>, StoreError> {
    match Kind::of(address)? {
        Kind::SqliteInMemory => Err(StoreError::Address(
            "a database in memory is gone before anybody could use it".to_owned(),
        )),
        Kind::Sqlite(path) => {
            let found = sqlite::SqliteRebuild::look(Path::new(path), options.sqlite).await?;
            Ok(Box::new(found))
        }
        #[cfg(feature = "mongodb")]
        Kind::Mongodb => {
            let found = super::mongo::MongoRebuild::look(address, &options.mongodb).await?;
            Ok(Box::new(found))
        }
    }
}

/// How many restores may have the same second.
const SAME_SECOND_MAX: i64 = 60;

/// `time`, or the first second after it, for which `is_free` holds, as a part of a name.
pub(crate) fn free_stamp(
    time: Timestamp,
    is_free: impl Fn(&str) -> bool,
) -> Result<String, StoreError> {
    (0..SAME_SECOND_MAX)
        .filter_map(|later| time.checked_add(SignedDuration::from_secs(later)).ok())
        .map(stamp)
        .find(|stamp| is_free(stamp))
        .ok_or_else(|| StoreError::Unavailable("every name for what was there is taken".to_owned()))
}

/// A time as a part of a name: `20261122T030000Z`.
pub(crate) fn stamp(time: Timestamp) -> String {
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}
