//! Cursors: where a list goes on, as text that is opaque to the caller.
//!
//! A cursor is complete in itself: a version, a digest of what was asked (owner, operation and
//! filter) and a position among the notes. It opens nothing: the owner always comes with the
//! request, and the digest only tells a cursor of another query from one of this. There is no key,
//! because there is nothing to protect: whoever forges a cursor moves about in its own notes, and
//! nothing in a cursor comes from the notes of others.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::note::{NoteId, Owner};
use crate::query::ListQuery;
use crate::store::{HitPosition, ListPosition};

const VERSION: u8 = 3;
const DIGEST_BYTES: usize = 8;

/// What a cursor belongs to.
pub(crate) struct Scope([u8; DIGEST_BYTES]);

impl Scope {
    pub(crate) fn list(owner: &Owner, query: &ListQuery) -> Self {
        let mut digest = Fields::new("list", owner);
        for tag in &query.tags {
            digest.field(tag.as_str().as_bytes());
        }
        for time in [
            query.updated_after,
            query.updated_before,
            query.created_after,
            query.created_before,
        ] {
            let micros = time.map_or_else(Vec::new, |t| t.as_microsecond().to_be_bytes().to_vec());
            digest.field(&micros);
        }
        digest.field(query.title_prefix.as_deref().unwrap_or_default().as_bytes());
        digest.finish()
    }

    pub(crate) fn search(owner: &Owner, text: &str) -> Self {
        let mut digest = Fields::new("search", owner);
        digest.field(text.as_bytes());
        digest.finish()
    }
}

/// Hashes fields so that no two lists of fields give the same input.
struct Fields(Sha256);

impl Fields {
    fn new(operation: &str, owner: &Owner) -> Self {
        let mut fields = Self(Sha256::new());
        fields.field(operation.as_bytes());
        fields.field(owner.as_str().as_bytes());
        fields
    }

    fn field(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn finish(self) -> Scope {
        let hash = self.0.finalize();
        let mut digest = [0; DIGEST_BYTES];
        digest.copy_from_slice(&hash[..DIGEST_BYTES]);
        Scope(digest)
    }
}

pub(crate) fn of_list(scope: &Scope, position: &ListPosition) -> String {
    encode(
        scope,
        &[
            &micros(position.updated_at),
            position.id.as_str().as_bytes(),
        ],
    )
}

pub(crate) fn of_search(scope: &Scope, position: &HitPosition) -> String {
    encode(
        scope,
        &[
            &position.score.to_be_bytes(),
            &micros(position.updated_at),
            position.id.as_str().as_bytes(),
        ],
    )
}

pub(crate) fn to_list(scope: &Scope, cursor: &str) -> Result<ListPosition> {
    let bytes = decode(scope, cursor)?;
    let (updated_at, id) = time_and_id(&bytes)?;
    Ok(ListPosition { updated_at, id })
}

pub(crate) fn to_search(scope: &Scope, cursor: &str) -> Result<HitPosition> {
    let bytes = decode(scope, cursor)?;
    let (points, rest) = bytes.split_first_chunk().ok_or(Error::BadCursor)?;
    let (updated_at, id) = time_and_id(rest)?;
    Ok(HitPosition {
        score: u32::from_be_bytes(*points),
        updated_at,
        id,
    })
}

fn micros(time: Timestamp) -> [u8; 8] {
    time.as_microsecond().to_be_bytes()
}

fn encode(scope: &Scope, parts: &[&[u8]]) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&scope.0);
    for part in parts {
        bytes.extend_from_slice(part);
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(scope: &Scope, cursor: &str) -> Result<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD
        .decode(cursor)
        .map_err(|_| Error::BadCursor)?;
    let rest = bytes
        .strip_prefix(&[VERSION])
        .and_then(|rest| rest.strip_prefix(&scope.0));
    rest.map(<[u8]>::to_vec).ok_or(Error::BadCursor)
}

fn time_and_id(bytes: &[u8]) -> Result<(Timestamp, NoteId)> {
    let (time, id) = bytes.split_first_chunk().ok_or(Error::BadCursor)?;
    let time = Timestamp::from_microsecond(i64::from_be_bytes(*time));
    let id = std::str::from_utf8(id)
        .ok()
        .and_then(|id| NoteId::parse(id).ok());
    match (time, id) {
        (Ok(time), Some(id)) => Ok((time, id)),
        _ => Err(Error::BadCursor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(name: &str) -> Owner {
        Owner::parse(name).unwrap()
    }

    #[test]
    fn a_position_survives_the_round_trip() {
        let scope = Scope::search(&owner("ann"), "text");
        let position = HitPosition {
            score: 20,
            updated_at: Timestamp::from_microsecond(1_700_000_000_123_456).unwrap(),
            id: NoteId::parse("note-1").unwrap(),
        };
        assert_eq!(
            to_search(&scope, &of_search(&scope, &position)).unwrap(),
            position
        );
    }

    #[test]
    fn only_the_same_question_takes_a_cursor() {
        let query = ListQuery::default();
        let scope = Scope::list(&owner("ann"), &query);
        let position = ListPosition {
            updated_at: Timestamp::UNIX_EPOCH,
            id: NoteId::parse("a").unwrap(),
        };
        let cursor = of_list(&scope, &position);
        assert_eq!(to_list(&scope, &cursor).unwrap(), position);
        let longer_page = ListQuery {
            limit: 7,
            ..query.clone()
        };
        assert!(to_list(&Scope::list(&owner("ann"), &longer_page), &cursor).is_ok());
        let filtered = ListQuery {
            title_prefix: Some("x".into()),
            ..query.clone()
        };
        for other in [
            Scope::list(&owner("bob"), &query),
            Scope::list(&owner("ann"), &filtered),
            Scope::search(&owner("ann"), ""),
        ] {
            assert!(matches!(to_list(&other, &cursor), Err(Error::BadCursor)));
        }
    }

    #[test]
    fn garbage_is_refused() {
        let scope = Scope::search(&owner("ann"), "");
        for cursor in ["", "x", "AQ", "!!!", "é", &"A".repeat(5000)] {
            assert!(
                matches!(to_search(&scope, cursor), Err(Error::BadCursor)),
                "{cursor:?}"
            );
            assert!(
                matches!(to_list(&scope, cursor), Err(Error::BadCursor)),
                "{cursor:?}"
            );
        }
    }
}
