//! Tokens: found by hash, and changed one at a time.
//!
//! The name of a token that holds is in `liveName`, which is unique. Of one that is revoked it is its
//! id after a space, which no name has, so the name is free again.

use async_trait::async_trait;
use bson::oid::ObjectId;
use bson::{Document, RawDocument, RawDocumentBuf, doc};
use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use mongodb::options::ReturnDocument;
use tokio::time::Instant;

use super::document::{damaged, text, time};
use super::fault::unsure;
use super::{Inner, MongoStore};
use crate::access::{AccessHash, AccessStore, AccessToken, TokenName};
use crate::error::StoreError;
use crate::note::Owner;
use crate::text::hex;
use crate::transfer::KeptToken;

/// The document of a token.
pub(super) fn document(token: &AccessToken, hash: &AccessHash) -> Document {
    let live = match token.revoked_at {
        None => token.name.as_str().to_owned(),
        Some(_) => revoked_name(&token.id),
    };
    let mut document = doc! {
        "_id": &token.id,
        "hash": hex(hash),
        "name": token.name.as_str(),
        "liveName": live,
        "owner": token.owner.as_str(),
        "scopes": &token.scopes,
        "createdMicros": token.created_at.as_microsecond(),
        "order": ObjectId::new(),
    };
    for (name, time) in [
        ("expiresMicros", token.expires_at),
        ("lastUsedMicros", token.last_used),
        ("revokedMicros", token.revoked_at),
    ] {
        if let Some(time) = time {
            document.insert(name, time.as_microsecond());
        }
    }
    document
}

fn token(document: &RawDocument) -> Result<AccessToken, StoreError> {
    let some_time = |name: &str| match document.get(name) {
        Ok(None) => Ok(None),
        _ => time(document, name).map(Some),
    };
    let scopes = document.get_array("scopes").map_err(|_| damaged())?;
    let scopes: Option<Vec<String>> = scopes
        .into_iter()
        .map(|scope| Some(scope.ok()?.as_str()?.to_owned()))
        .collect();
    Ok(AccessToken {
        id: text(document, "_id")?.to_owned(),
        name: TokenName::from_stored(text(document, "name")?.to_owned()),
        owner: Owner::from_stored(text(document, "owner")?.to_owned()),
        scopes: scopes.ok_or_else(damaged)?,
        created_at: time(document, "createdMicros")?,
        expires_at: some_time("expiresMicros")?,
        last_used: some_time("lastUsedMicros")?,
        revoked_at: some_time("revokedMicros")?,
    })
}

/// The token in a document, with its hash.
pub(super) fn kept(document: &RawDocument) -> Result<KeptToken, StoreError> {
    let token = token(document)?;
    let hash = unhex(text(document, "hash")?).ok_or_else(damaged)?;
    Ok(KeptToken { token, hash })
}

fn revoked_name(id: &str) -> String {
    format!(" {id}")
}

fn unhex(text: &str) -> Option<AccessHash> {
    let mut hash = [0; 32];
    if text.len() != 2 * hash.len() {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        let digits = text.get(2 * index..2 * index + 2)?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(hash)
}

impl Inner {
    pub(super) async fn find_token(
        &self,
        deadline: Instant,
        filter: Document,
    ) -> Result<Option<AccessToken>, StoreError> {
        let found = self
            .read(deadline, || async {
                let find = self.tokens.find_one(filter.clone());
                find.max_time(Self::left(deadline)).await
            })
            .await?;
        found.map(|found| token(&found)).transpose()
    }

    /// Revokes the token that the filter finds, unless it is revoked.
    async fn revoke(
        &self,
        deadline: Instant,
        id: &str,
        at: Timestamp,
    ) -> Result<Option<AccessToken>, StoreError> {
        let live = doc! { "_id": id, "revokedMicros": { "$exists": false } };
        let change = doc! { "revokedMicros": at.as_microsecond(), "liveName": revoked_name(id) };
        // Twice is as once: the first stays.
        let revoked = self
            .send(deadline, true, || async {
                let revoke = self
                    .tokens
                    .find_one_and_update(live.clone(), doc! { "$set": change.clone() })
                    .return_document(ReturnDocument::After);
                revoke.await
            })
            .await;
        let found = revoked.map_err(|(fault, _)| fault.of_write())?.0;
        found.map(|found| token(&found)).transpose()
    }
}

#[async_trait]
impl AccessStore for MongoStore {
    async fn add_token(&self, token: AccessToken, hash: AccessHash) -> Result<bool, StoreError> {
        let inner = &self.inner;
        let deadline = inner.begin()?;
        let document = RawDocumentBuf::try_from(&document(&token, &hash))
            .map_err(|error| StoreError::Other(Box::new(error)))?;
        let sent = inner
            .send(deadline, true, || async {
                inner.tokens.insert_one(&document).await.map(drop)
            })
            .await;
        let Err((fault, earlier)) = sent else {
            return Ok(true);
        };
        if !fault.duplicate {
            return Err(fault.of_write());
        }
        if earlier {
            let same = doc! { "_id": &token.id, "hash": hex(&hash) };
            let found = inner.find_token(deadline, same).await;
            if found.map_err(|error| unsure(error, true))?.is_some() {
                return Ok(true);
            }
        }
        let name = doc! { "liveName": token.name.as_str() };
        match inner.find_token(deadline, name).await? {
            Some(_) => Ok(false),
            None => Err(StoreError::Other(
                "the id or the hash of the token is taken".into(),
            )),
        }
    }

    async fn token_of_hash(&self, hash: AccessHash) -> Result<Option<AccessToken>, StoreError> {
        let deadline = self.inner.begin()?;
        let filter = doc! { "hash": hex(&hash) };
        self.inner.find_token(deadline, filter).await
    }

    async fn token(&self, id: &str) -> Result<Option<AccessToken>, StoreError> {
        let deadline = self.inner.begin()?;
        self.inner.find_token(deadline, doc! { "_id": id }).await
    }

    async fn tokens(&self, limit: u32) -> Result<Vec<AccessToken>, StoreError> {
        let inner = &self.inner;
        let deadline = inner.begin()?;
        let found: Vec<RawDocumentBuf> = inner
            .read(deadline, || async {
                let find = inner
                    .tokens
                    .find(doc! {})
                    .sort(doc! { "createdMicros": -1, "order": -1 })
                    .limit(i64::from(limit))
                    .max_time(Inner::left(deadline));
                find.await?.try_collect().await
            })
            .await?;
        found.iter().map(|found| token(found)).collect()
    }

    async fn token_used(&self, id: &str, at: Timestamp) -> Result<(), StoreError> {
        let inner = &self.inner;
        let deadline = inner.begin()?;
        let later = doc! { "$max": { "lastUsedMicros": at.as_microsecond() } };
        let sent = inner
            .send(deadline, true, || async {
                let update = inner.tokens.update_one(doc! { "_id": id }, later.clone());
                update.await.map(drop)
            })
            .await;
        sent.map(drop).map_err(|(fault, _)| fault.of_write())
    }

    async fn revoke_token(
        &self,
        id_or_name: &str,
        at: Timestamp,
    ) -> Result<Option<AccessToken>, StoreError> {
        let inner = &self.inner;
        let deadline = inner.begin()?;
        if let Some(revoked) = inner.revoke(deadline, id_or_name, at).await? {
            return Ok(Some(revoked));
        }
        let with_id = doc! { "_id": id_or_name };
        if let Some(revoked) = inner.find_token(deadline, with_id).await? {
            return Ok(Some(revoked));
        }
        let with_name = doc! { "liveName": id_or_name, "revokedMicros": { "$exists": false } };
        let Some(found) = inner.find_token(deadline, with_name).await? else {
            return Ok(None);
        };
        match inner.revoke(deadline, &found.id, at).await? {
            Some(revoked) => Ok(Some(revoked)),
            // Somebody else was first.
            None => inner.find_token(deadline, doc! { "_id": &found.id }).await,
        }
    }
}
