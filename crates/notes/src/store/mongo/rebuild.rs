//! New collections beside those that are there, and then under their names.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bson::{Document, doc};
use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};

use super::fault::Fault;
use super::schema::{self, ABOUT, NOTES, RESTORE, TOKENS, make_indexes, within};
use super::{Inner, Listeners, Locks, MongoStore, State, WRITES_MAX};
use crate::error::StoreError;
use crate::store::rebuild::{Held, Rebuild, free_stamp};
use crate::store::{MongoOptions, Store};
use crate::transfer::Transfer as _;

/// The time a step has.
const STEP: Duration = Duration::from_secs(30);

/// Collections on their way into the place of others.
pub(in crate::store) struct MongoRebuild {
    store: MongoStore,
    held: Held,
}

impl MongoRebuild {
    /// Looks at what is in the database. A swap that was cut off is brought to its end before.
    pub(in crate::store) async fn look(
        address: &str,
        options: &MongoOptions,
    ) -> Result<Self, StoreError> {
        let store = MongoStore {
            inner: Arc::new(Inner::connect(address, options).await?),
        };
        let inner = &store.inner;
        let prepared = async {
            inner.finish_swap().await?;
            inner.prepare().await
        };
        prepared.await.map_err(|fault: Fault| fault.error)?;
        inner.become_ready();
        let counts = store.counts().await?;
        let held = match counts.total() {
            0 => Held::Nothing,
            _ => Held::Something(counts),
        };
        Ok(Self { store, held })
    }

    async fn remove_new(&self) -> Result<(), StoreError> {
        for name in [NOTES, TOKENS] {
            let new = self.store.inner.db.collection::<Document>(&new(name));
            within(STEP, new.drop())
                .await
                .map_err(|fault| fault.error)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Rebuild for MongoRebuild {
    fn held(&self) -> &Held {
        &self.held
    }

    async fn begin(&mut self) -> Result<Arc<dyn Store>, StoreError> {
        self.remove_new().await?;
        let inner = &self.store.inner;
        let (notes, tokens) = (new(NOTES), new(TOKENS));
        let made = make_indexes(&inner.db, &notes, &tokens).await;
        made.map_err(|fault| fault.error)?;
        let store = MongoStore {
            inner: Arc::new(Inner {
                notes: inner.db.collection(&notes),
                tokens: inner.db.collection(&tokens),
                client: inner.client.clone(),
                db: inner.db.clone(),
                timeout: inner.timeout,
                // One after the other is written and read.
                connections: Semaphore::new(1),
                owner_of_found: None,
                listeners: Listeners::default(),
                writes: Arc::new(Semaphore::new(WRITES_MAX as usize)),
                locks: Locks::new(),
                state: watch::Sender::new(State::Ready),
            }),
        };
        Ok(Arc::new(store))
    }

    async fn swap(&mut self, now: Timestamp) -> Result<Option<String>, StoreError> {
        let inner = &self.store.inner;
        let there = within(STEP, inner.db.list_collection_names()).await;
        let there = there.map_err(|fault| fault.error)?;
        let has = |name, stamp: &str| there.contains(&before(name, stamp));
        let aside = free_stamp(now, |stamp| !has(NOTES, stamp) && !has(TOKENS, stamp))?;
        let swapped = async {
            let begun = doc! { "$set": { "aside": &aside } };
            let about = inner.db.collection::<Document>(ABOUT);
            within(
                STEP,
                about
                    .update_one(doc! { "_id": RESTORE }, begun)
                    .upsert(true),
            )
            .await?;
            inner.finish_swap().await
        };
        swapped.await.map_err(|fault: Fault| fault.error)?;
        let [notes, tokens] = [NOTES, TOKENS].map(|name| before(name, &aside));
        if let Held::Something(_) = self.held {
            return Ok(Some(format!("the collections {notes} and {tokens}")));
        }
        for name in [notes, tokens] {
            let nothing = inner.db.collection::<Document>(&name);
            within(STEP, nothing.drop())
                .await
                .map_err(|fault| fault.error)?;
        }
        Ok(None)
    }

    async fn discard(&mut self) {
        // What stays is removed by the next restore.
        let _ = self.remove_new().await;
    }
}

/// The name of a collection before it takes the place of `name`.
fn new(name: &str) -> String {
    format!("{name}_restoring")
}

/// The name of a collection whose place was taken.
fn before(name: &str, aside: &str) -> String {
    format!("{name}_before_{aside}")
}

impl Inner {
    /// Gives the new collections their names, if that was begun. Each step can be done again: none is
    /// done twice.
    async fn finish_swap(&self) -> Result<(), Fault> {
        let about = self.db.collection::<Document>(ABOUT);
        let begun = within(STEP, about.find_one(doc! { "_id": RESTORE })).await?;
        let Some(begun) = begun else { return Ok(()) };
        let aside = begun.get_str("aside").unwrap_or("unknown");
        for name in [schema::NOTES, schema::TOKENS] {
            let there = within(STEP, self.db.list_collection_names()).await?;
            let has = |name: &String| there.contains(name);
            let (new, old) = (new(name), before(name, aside));
            if !has(&new) {
                continue;
            }
            if has(&name.to_owned()) && !has(&old) {
                self.rename(name, &old).await?;
            }
            self.rename(&new, name).await?;
        }
        within(STEP, about.delete_one(doc! { "_id": RESTORE })).await?;
        Ok(())
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), Fault> {
        let whole = |name: &str| format!("{}.{name}", self.db.name());
        let command = doc! { "renameCollection": whole(from), "to": whole(to) };
        let admin = self.client.database("admin");
        within(STEP, admin.run_command(command)).await.map(drop)
    }
}
