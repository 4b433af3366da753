//! Makes sure that the collections are ours, have their indexes, and that notes which the Node demo
//! left can be found.

use std::time::Duration;

use bson::{Bson, Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt as _;
use mongodb::options::IndexOptions;
use mongodb::{Collection, Database, IndexModel};
use tokio::time::timeout;

use super::document::{adoption, fields, number};
use super::fault::Fault;
use crate::error::StoreError;
use crate::note::Owner;

/// The notes, in the collection of the Node demo.
pub(super) const NOTES: &str = "mcp_notes";

/// The tokens.
pub(super) const TOKENS: &str = "mcp_notes_tokens";

/// What there is to know of the whole: the version of the schema.
pub(super) const ABOUT: &str = "mcp_notes_about";

/// The document in it for as long as a restore gives the new collections their names.
pub(super) const RESTORE: &str = "restore";

/// The newest schema version this program knows.
const VERSION: i64 = 1;

/// The time a step has that looks at a few documents.
const STEP: Duration = Duration::from_secs(30);

/// The time the server has to make indexes of what is there.
const INDEXING: Duration = Duration::from_mins(15);

/// How many notes of the Node demo come at once.
const BATCH: u32 = 100;

/// Prepares the database. What is there already is left as it is, so several may do so at once.
pub(super) async fn prepare(db: &Database, owner: Option<&Owner>) -> Result<(), Fault> {
    check(db).await?;
    make_indexes(db, NOTES, TOKENS).await?;
    if let Some(owner) = owner {
        adopt(&db.collection(NOTES), owner).await?;
    }
    let about = db.collection::<Document>(ABOUT);
    let write = about
        .update_one(
            doc! { "_id": "schema" },
            doc! { "$max": { "version": VERSION } },
        )
        .upsert(true);
    match within(STEP, write).await {
        // Another server was first.
        Err(fault) if fault.duplicate => Ok(()),
        done => done.map(drop),
    }
}

/// Refuses what is not ours or too new.
async fn check(db: &Database) -> Result<(), Fault> {
    let about = db.collection::<RawDocumentBuf>(ABOUT);
    let found = within(STEP, about.find_one(doc! { "_id": "schema" })).await?;
    let schema = found.filter(|about| !matches!(about.get("version"), Ok(None)));
    // What is no number was not written by this program.
    let found = schema.map(|about| number(&about, "version").unwrap_or(i64::MAX));
    if let Some(found) = found.filter(|found| *found > VERSION) {
        return Err(Fault::lasting(StoreError::NewerSchema {
            found,
            known: VERSION,
        }));
    }
    if within(STEP, about.find_one(doc! { "_id": RESTORE }))
        .await?
        .is_some()
    {
        return Err(Fault::lasting(StoreError::Unavailable(
            "a restore of it was cut off in its last step; run the same `mcp-notes restore` again"
                .to_owned(),
        )));
    }
    let notes = db.collection::<RawDocumentBuf>(NOTES);
    let any = within(
        STEP,
        notes.find_one(doc! {}).projection(fields(&["noteId"])),
    )
    .await?;
    match any {
        Some(any) if any.get_str("noteId").is_err() => Err(Fault::lasting(StoreError::NotOurs)),
        _ => Ok(()),
    }
}

/// Makes the indexes of a collection of notes and of one of tokens.
pub(super) async fn make_indexes(db: &Database, notes: &str, tokens: &str) -> Result<(), Fault> {
    let index = |name: &str, unique: bool, keys: Document| {
        let options = IndexOptions::builder()
            .name(name.to_owned())
            .unique(unique.then_some(true))
            .build();
        IndexModel::builder().keys(keys).options(options).build()
    };
    // They are asked for one by one, because FerretDB fails at several of which some are there.
    //
    // Every question begins with its owner, so that what others have costs nothing. Lists are read in
    // their order; titles, tags and counts from the index alone.
    let of_notes = [
        index("note", true, doc! { "owner": 1, "noteId": 1 }),
        index(
            "changed",
            false,
            doc! { "owner": 1, "updatedMicros": -1, "noteId": -1 },
        ),
        index(
            "tagged",
            false,
            doc! { "owner": 1, "tags": 1, "updatedMicros": -1, "noteId": -1 },
        ),
        index(
            "titled",
            false,
            doc! { "owner": 1, "titleKey": 1, "updatedMicros": -1, "noteId": -1, "title": 1 },
        ),
        index("tag_lists", false, doc! { "owner": 1, "tagList": 1 }),
        index("title_terms", false, doc! { "owner": 1, "titleTerms": 1 }),
        index("tag_terms", false, doc! { "owner": 1, "tagTerms": 1 }),
        index(
            "content_terms",
            false,
            doc! { "owner": 1, "contentTerms": 1 },
        ),
    ];
    let collection = db.collection::<Document>(notes);
    for index in of_notes {
        let made = within(INDEXING, collection.create_index(index)).await;
        made.map_err(|fault| {
            if fault.duplicate {
                return Fault::lasting(StoreError::Unavailable(format!(
                    "two documents of its collection {notes} have the same owner and noteId; \
                     remove one"
                )));
            }
            fault
        })?;
    }
    let of_tokens = [
        index("hash", true, doc! { "hash": 1 }),
        index("name", true, doc! { "liveName": 1 }),
        index("made", false, doc! { "createdMicros": -1, "order": -1 }),
    ];
    for index in of_tokens {
        within(STEP, db.collection::<Document>(tokens).create_index(index)).await?;
    }
    Ok(())
}

/// Gives the notes of the Node demo, which have no owner, what they lack.
async fn adopt(notes: &Collection<RawDocumentBuf>, owner: &Owner) -> Result<(), Fault> {
    const DEMO: [&str; 7] = [
        "_id",
        "noteId",
        "title",
        "content",
        "createdAt",
        "updatedAt",
        "tags",
    ];
    let find = notes
        .find(doc! { "owner": { "$exists": false } })
        .projection(demo_fields(&DEMO))
        .sort(doc! { "_id": 1 })
        .batch_size(BATCH);
    let mut all = within(STEP, find).await?;
    let (mut adopted, mut left) = (0_u64, 0_u64);
    while let Some(found) = within(STEP, all.try_next()).await? {
        let id = found.get("_id").ok().flatten();
        let id = id.and_then(|id| Bson::try_from(id).ok());
        let (Some(id), Some(set)) = (id, adoption(&found, owner)) else {
            left += 1;
            continue;
        };
        let filter = doc! { "_id": id, "owner": { "$exists": false } };
        match within(STEP, notes.update_one(filter, doc! { "$set": set })).await {
            Ok(written) => adopted += written.modified_count,
            // Its owner has a note of this id already, or the document has no room for more.
            Err(Fault {
                error: StoreError::Other(why),
                ..
            }) => {
                tracing::warn!(%why, "a document cannot be made a note");
                left += 1;
            }
            Err(fault) => return Err(fault),
        }
    }
    if adopted > 0 {
        tracing::info!(notes = adopted, "notes that were there have an owner now");
    }
    if left > 0 {
        tracing::warn!(
            documents = left,
            "documents beside the notes are none, and stay as they are"
        );
    }
    Ok(())
}

fn demo_fields(names: &[&str]) -> Document {
    let mut fields = fields(names);
    fields.insert("_id", 1);
    fields
}

/// Waits for an answer for so long.
pub(super) async fn within<T>(
    time: Duration,
    asked: impl IntoFuture<Output = mongodb::error::Result<T>>,
) -> Result<T, Fault> {
    match timeout(time, asked.into_future()).await {
        Ok(answer) => answer.map_err(Fault::from),
        Err(_) => Err(Fault::late()),
    }
}
