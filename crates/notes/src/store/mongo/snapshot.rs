//! Everything in the database while others write: at one moment where the server can do that, and
//! through one cursor for each collection where it cannot.
//!
//! A replica set, also one of a single server, reads in a snapshot session. It keeps what that needs for
//! five minutes unless `minSnapshotHistoryWindowInSeconds` says more.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bson::{Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt as _;
use mongodb::action::Find;
use mongodb::{ClientSession, Collection, Cursor, SessionCursor};
use tokio::time::Instant;

use super::fault::Fault;
use super::transfer::{not_adopted, ownerless};
use super::{Inner, MongoStore, document, tokens};
use crate::error::StoreError;
use crate::transfer::{BATCH_BYTES_MAX, BATCH_ITEMS_MAX, Counts, Part, Snapshot};

/// The time a part has, which is more than an operation of a caller.
const STEP: Duration = Duration::from_mins(1);

/// What is left to be read.
struct Reading {
    inner: Arc<Inner>,
    counts: Counts,
    session: Option<ClientSession>,
    /// `None` when all of them were read.
    notes: Option<Source>,
    tokens: Option<Source>,
}

enum Source {
    Plain(Cursor<RawDocumentBuf>),
    Session(SessionCursor<RawDocumentBuf>),
}

/// Takes a snapshot of `store`.
pub(super) async fn take(store: &MongoStore) -> Result<Box<dyn Snapshot>, StoreError> {
    let inner = store.inner.clone();
    inner.begin()?;
    let deadline = Instant::now() + STEP;
    let counts = estimated(&inner, deadline).await?;
    let (notes, tokens) = (Question::notes(&inner), Question::tokens(&inner));
    if is_replicated(&inner, deadline).await? {
        let opened = async {
            let mut session = inner.client.start_session().snapshot(true).await?;
            let notes = notes.find().session(&mut session).await?;
            let tokens = tokens.find().session(&mut session).await?;
            Ok((session, notes, tokens))
        };
        match inner.ask(deadline, opened).await {
            Ok((session, notes, tokens)) => {
                return Ok(Box::new(Reading {
                    inner,
                    counts,
                    session: Some(session),
                    notes: Some(Source::Session(notes)),
                    tokens: Some(Source::Session(tokens)),
                }));
            }
            Err(fault) if fault.passes() => return Err(fault.error),
            Err(fault) => tracing::warn!(
                error = %fault.error,
                "the server cannot read as of one moment; notes that change meanwhile are in the \
                 backup as they were before or after"
            ),
        }
    }
    let opened = async { Ok((notes.find().await?, tokens.find().await?)) };
    let opened = inner.ask(deadline, opened).await;
    let (notes, tokens) = opened.map_err(|fault| fault.error)?;
    Ok(Box::new(Reading {
        inner,
        counts,
        session: None,
        notes: Some(Source::Plain(notes)),
        tokens: Some(Source::Plain(tokens)),
    }))
}

/// About how much there is: an exact count reads everything once more.
async fn estimated(inner: &Inner, deadline: Instant) -> Result<Counts, StoreError> {
    let one = doc! { "_id": 1 };
    let asked = async {
        let notes = inner.notes.estimated_document_count().await?;
        let tokens = inner.tokens.estimated_document_count().await?;
        let left = inner.notes.find_one(ownerless()).projection(one).await?;
        Ok((Counts { notes, tokens }, left))
    };
    match inner.ask(deadline, asked).await {
        Ok((counts, None)) => Ok(counts),
        Ok((_, Some(_))) => Err(not_adopted("some")),
        Err(fault) => Err(fault.error),
    }
}

/// What is asked for: a collection, which of its documents, and what of them.
struct Question {
    collection: Collection<RawDocumentBuf>,
    filter: Document,
    fields: Document,
}

impl Question {
    fn notes(inner: &Inner) -> Self {
        Self {
            collection: inner.notes.clone(),
            filter: doc! { "owner": { "$exists": true } },
            fields: document::note_fields(),
        }
    }

    fn tokens(inner: &Inner) -> Self {
        Self {
            collection: inner.tokens.clone(),
            filter: doc! {},
            fields: doc! {},
        }
    }

    /// Without an order, because a server that cannot take it from an index would hold everything in
    /// memory for it.
    fn find(&self) -> Find<'_, RawDocumentBuf> {
        self.collection
            .find(self.filter.clone())
            .projection(self.fields.clone())
            .batch_size(BATCH_ITEMS_MAX)
    }
}

/// Whether the server is one of a replica set, or a router of such.
async fn is_replicated(inner: &Inner, deadline: Instant) -> Result<bool, StoreError> {
    let asked = inner.db.run_command(doc! { "hello": 1 });
    let said = inner.ask(deadline, asked).await;
    let said = said.map_err(|fault: Fault| fault.error)?;
    Ok(said.get_str("setName").is_ok() || said.get_str("msg").is_ok_and(|it| it == "isdbgrid"))
}

impl Source {
    async fn next(
        &mut self,
        session: Option<&mut ClientSession>,
    ) -> mongodb::error::Result<Option<RawDocumentBuf>> {
        match (self, session) {
            (Self::Plain(cursor), _) => cursor.try_next().await,
            (Self::Session(cursor), Some(session)) => cursor.next(session).await.transpose(),
            (Self::Session(_), None) => Ok(None),
        }
    }
}

impl Reading {
    /// The next documents of a source: none at its end.
    async fn documents(&mut self, of_notes: bool) -> Result<Vec<RawDocumentBuf>, StoreError> {
        let source = if of_notes {
            &mut self.notes
        } else {
            &mut self.tokens
        };
        let Some(reading) = source else {
            return Ok(Vec::new());
        };
        let session = &mut self.session;
        let read = async {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while batch.len() < BATCH_ITEMS_MAX as usize && bytes < BATCH_BYTES_MAX {
                let Some(document) = reading.next(session.as_mut()).await? else {
                    break;
                };
                bytes += document.as_bytes().len();
                batch.push(document);
            }
            Ok(batch)
        };
        let batch = self.inner.ask(Instant::now() + STEP, read).await;
        let batch = batch.map_err(|fault| fault.error)?;
        if batch.is_empty() {
            *source = None;
        }
        Ok(batch)
    }
}

#[async_trait]
impl Snapshot for Reading {
    fn store(&self) -> &'static str {
        "mongodb"
    }

    fn is_one_moment(&self) -> bool {
        self.session.is_some()
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    async fn part(&mut self) -> Result<Option<Part>, StoreError> {
        let notes = self.documents(true).await?;
        if !notes.is_empty() {
            let notes = notes.iter().map(|found| document::note(found));
            return Ok(Some(Part::Notes(notes.collect::<Result<_, _>>()?)));
        }
        let kept = self.documents(false).await?;
        if kept.is_empty() {
            return Ok(None);
        }
        let kept = kept.iter().map(|found| tokens::kept(found));
        Ok(Some(Part::Tokens(kept.collect::<Result<_, _>>()?)))
    }
}
