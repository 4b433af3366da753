//! Everything in the database, in the order of owners and ids, and back.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bson::oid::ObjectId;
use bson::{Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt as _;
use mongodb::Collection;
use mongodb::error::{ErrorKind, InsertManyError};
use tokio::time::Instant;

use super::fault::{Fault, is_duplicate};
use super::{Inner, MongoStore, document, schema, snapshot, tokens};
use crate::error::StoreError;
use crate::note::{Note, NoteId, Owner};
use crate::transfer::{BATCH_BYTES_MAX, Batch, Counts, KeptToken, Mark, Snapshot, Transfer};

/// The time a batch has, which is more than an operation of a caller.
const STEP: Duration = Duration::from_secs(30);

/// The time counting has.
const COUNTING: Duration = Duration::from_mins(5);

#[async_trait]
impl Transfer for MongoStore {
    async fn counts(&self) -> Result<Counts, StoreError> {
        let inner = &self.inner;
        inner.begin()?;
        let deadline = Instant::now() + COUNTING;
        let count = async |collection: &Collection<RawDocumentBuf>, filter: Document| {
            let ask = || async {
                let count = collection.count_documents(filter.clone());
                count.max_time(Inner::left(deadline)).await
            };
            inner.read(deadline, ask).await
        };
        let left = count(&inner.notes, ownerless()).await?;
        if left > 0 {
            return Err(not_adopted(left));
        }
        Ok(Counts {
            notes: count(&inner.notes, doc! { "owner": { "$exists": true } }).await?,
            tokens: count(&inner.tokens, doc! {}).await?,
        })
    }

    async fn export_notes(
        &self,
        after: Option<&Mark>,
        limit: u32,
    ) -> Result<Batch<Note>, StoreError> {
        let inner = &self.inner;
        inner.begin()?;
        let deadline = Instant::now() + STEP;
        let filter = match after {
            None => doc! { "owner": { "$exists": true } },
            Some(mark) => after_note(mark)?,
        };
        let read = || async {
            let find = inner
                .notes
                .find(filter.clone())
                .projection(document::note_fields())
                .sort(doc! { "owner": 1, "noteId": 1 })
                .limit(i64::from(limit))
                .max_time(Inner::left(deadline));
            let mut found = find.await?;
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while let Some(document) = found.try_next().await? {
                bytes += document.as_bytes().len();
                if bytes > BATCH_BYTES_MAX && !batch.is_empty() {
                    break;
                }
                batch.push(document);
            }
            Ok(batch)
        };
        let found = inner.read(deadline, read).await?;
        let items = found.iter().map(|found| document::note(found));
        let items = items.collect::<Result<Vec<_>, _>>()?;
        let next = items.last().map(mark);
        Ok(Batch { items, next })
    }

    async fn find_notes(&self, names: Vec<(Owner, NoteId)>) -> Result<Vec<Note>, StoreError> {
        let inner = &self.inner;
        inner.begin()?;
        let mut of_owners: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (owner, id) in &names {
            of_owners
                .entry(owner.as_str())
                .or_default()
                .push(id.as_str());
        }
        let any: Vec<Document> = of_owners
            .into_iter()
            .map(|(owner, ids)| doc! { "owner": owner, "noteId": { "$in": ids } })
            .collect();
        if any.is_empty() {
            return Ok(Vec::new());
        }
        let filter = doc! { "$or": any };
        let deadline = Instant::now() + STEP;
        let read = || async {
            let find = inner
                .notes
                .find(filter.clone())
                .projection(document::note_fields())
                .max_time(Inner::left(deadline));
            find.await?.try_collect::<Vec<_>>().await
        };
        let found = inner.read(deadline, read).await?;
        found.iter().map(|found| document::note(found)).collect()
    }

    async fn export_tokens(
        &self,
        after: Option<&Mark>,
        limit: u32,
    ) -> Result<Batch<KeptToken>, StoreError> {
        let inner = &self.inner;
        inner.begin()?;
        let deadline = Instant::now() + STEP;
        let filter = match after {
            None => doc! {},
            Some(Mark(id)) => doc! { "_id": { "$gt": id } },
        };
        let read = || async {
            let find = inner
                .tokens
                .find(filter.clone())
                .sort(doc! { "_id": 1 })
                .limit(i64::from(limit))
                .max_time(Inner::left(deadline));
            find.await?.try_collect::<Vec<_>>().await
        };
        let found = inner.read(deadline, read).await?;
        let items = found.iter().map(|found| tokens::kept(found));
        let items = items.collect::<Result<Vec<_>, _>>()?;
        let next = items.last().map(|kept| Mark(kept.token.id.clone()));
        Ok(Batch { items, next })
    }

    async fn import_notes(&self, notes: Vec<Note>) -> Result<(), StoreError> {
        let inner = &self.inner;
        inner.begin()?;
        let documents = notes
            .iter()
            .map(|note| document::document(note, ObjectId::new()));
        // Only an owner's second note of the same id is left out.
        inner.insert_new(&inner.notes, documents).await.map(drop)
    }

    async fn import_tokens(&self, tokens: Vec<KeptToken>) -> Result<(), StoreError> {
        let inner = &self.inner;
        inner.begin()?;
        let documents = tokens
            .iter()
            .map(|kept| tokens::document(&kept.token, &kept.hash));
        for left_out in inner.insert_new(&inner.tokens, documents).await? {
            let id = tokens.get(left_out).map(|kept| kept.token.id.as_str());
            let deadline = Instant::now() + STEP;
            let same = inner.find_token(deadline, doc! { "_id": id }).await?;
            if same.is_none() {
                return Err(StoreError::Other(
                    "the name or the hash of a token is taken".into(),
                ));
            }
        }
        Ok(())
    }

    async fn snapshot(
        &self,
        _folder: &Path,
        _stays_home: bool,
    ) -> Result<Box<dyn Snapshot>, StoreError> {
        snapshot::take(self).await
    }
}

/// The notes that the Node demo left and nobody adopted yet.
pub(super) fn ownerless() -> Document {
    let text = |name: &str| (name.to_owned(), doc! { "$type": "string" }.into());
    let mut ownerless: Document = ["noteId", "title", "content"]
        .map(text)
        .into_iter()
        .collect();
    ownerless.insert("owner", doc! { "$exists": false });
    ownerless
}

/// There are such notes, which are nobody's and so cannot be taken along.
pub(super) fn not_adopted(left: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!(
        "{left} documents of its collection {} have no owner, as the Node demo leaves notes; a \
         server that is started on it gives them one",
        schema::NOTES
    ))
}

/// After this note. The length of the owner tells where the id begins, whatever they hold.
fn mark(note: &Note) -> Mark {
    let owner = note.owner.as_str();
    Mark(format!("{} {owner}{}", owner.len(), note.id))
}

/// What comes after the note of a mark; the first half says where in the index to begin.
fn after_note(Mark(mark): &Mark) -> Result<Document, StoreError> {
    let parts = || {
        let (length, names) = mark.split_once(' ')?;
        names.split_at_checked(length.parse().ok()?)
    };
    let unknown = || StoreError::Other("the mark is of another store".into());
    let (owner, id) = parts().ok_or_else(unknown)?;
    Ok(doc! {
        "owner": { "$gte": owner },
        "$or": [{ "owner": { "$gt": owner } }, { "owner": owner, "noteId": { "$gt": id } }],
    })
}

impl Inner {
    /// Inserts what can be, and tells by their numbers which documents were left out because a key of
    /// theirs is there.
    async fn insert_new(
        &self,
        collection: &Collection<RawDocumentBuf>,
        documents: impl Iterator<Item = Document>,
    ) -> Result<Vec<usize>, StoreError> {
        let documents = documents.map(|document| RawDocumentBuf::try_from(&document));
        let documents = documents
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| StoreError::Other(Box::new(error)))?;
        if documents.is_empty() {
            return Ok(Vec::new());
        }
        let insert = || async {
            let Err(error) = collection.insert_many(&documents).ordered(false).await else {
                return Ok(Vec::new());
            };
            let left_out = match error.kind.as_ref() {
                ErrorKind::InsertMany(failed) => left_out(failed),
                _ => None,
            };
            left_out.ok_or(error)
        };
        // What was inserted by the first try is left out by the next.
        let sent = self.send(Instant::now() + STEP, true, insert).await;
        match sent {
            Ok((left_out, _)) => Ok(left_out),
            Err((fault, _)) => Err(Fault::of_write(fault)),
        }
    }
}

/// The numbers of the documents that were left out, if nothing else went wrong.
fn left_out(failed: &InsertManyError) -> Option<Vec<usize>> {
    let errors = failed.write_errors.as_deref().unwrap_or_default();
    let is_all =
        failed.write_concern_error.is_none() && errors.iter().all(|error| is_duplicate(error.code));
    is_all.then(|| errors.iter().map(|error| error.index).collect())
}
