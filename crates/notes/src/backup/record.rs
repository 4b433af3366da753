//! One line of an archive: a note or a token as JSON.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::access::{AccessToken, TokenName};
use crate::note::{Author, Content, Note, NoteId, Owner, Title};
use crate::tag::{Tag, Tags};
use crate::text::hex;
use crate::transfer::KeptToken;

/// What a line holds. An archive of a later version may have more kinds.
#[derive(Debug)]
pub(super) enum Record {
    Note(Note),
    Token(KeptToken),
}

/// Why a line cannot be taken.
#[derive(Debug)]
pub(super) enum LineError {
    /// It is of a kind that this program does not know, in whole or in a part.
    Unknown(String),
    /// It is not what a backup writes.
    Damaged,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line<'a> {
    #[serde(borrow)]
    Note(NoteLine<'a>),
    #[serde(borrow)]
    Token(TokenLine<'a>),
}

/// Field by field what a note has. A field that is not known is refused: what it says would be lost.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoteLine<'a> {
    #[serde(borrow)]
    owner: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    title: Cow<'a, str>,
    #[serde(borrow)]
    content: Cow<'a, str>,
    tags: Vec<Cow<'a, str>>,
    version: u64,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(borrow)]
    created_by: Cow<'a, str>,
    #[serde(borrow)]
    updated_by: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenLine<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    owner: Cow<'a, str>,
    scopes: Vec<Cow<'a, str>>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    last_used: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    #[serde(borrow)]
    hash: Cow<'a, str>,
}

/// Appends the line of a note to `out`.
pub(super) fn put_note(out: &mut Vec<u8>, note: &Note) -> serde_json::Result<()> {
    let line = Line::Note(NoteLine {
        owner: note.owner.as_str().into(),
        id: note.id.as_str().into(),
        title: note.title.as_str().into(),
        content: note.content.as_str().into(),
        tags: note.tags.iter().map(|tag| tag.as_str().into()).collect(),
        version: note.version,
        created_at: note.created_at,
        updated_at: note.updated_at,
        created_by: note.created_by.as_str().into(),
        updated_by: note.updated_by.as_str().into(),
    });
    put(out, &line)
}

/// Appends the line of a token to `out`.
pub(super) fn put_token(out: &mut Vec<u8>, kept: &KeptToken) -> serde_json::Result<()> {
    let token = &kept.token;
    let line = Line::Token(TokenLine {
        id: token.id.as_str().into(),
        name: token.name.as_str().into(),
        owner: token.owner.as_str().into(),
        scopes: token.scopes.iter().map(|it| it.as_str().into()).collect(),
        created_at: token.created_at,
        expires_at: token.expires_at,
        last_used: token.last_used,
        revoked_at: token.revoked_at,
        hash: hex(&kept.hash).into(),
    });
    put(out, &line)
}

fn put(out: &mut Vec<u8>, line: &Line<'_>) -> serde_json::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.push(b'\n');
    Ok(())
}

/// What a line holds, just as it was put there: nothing is checked against limits of today.
pub(super) fn take(line: &[u8]) -> Result<Record, LineError> {
    match serde_json::from_slice(line) {
        Ok(Line::Note(note)) => Ok(Record::Note(note.into_note())),
        Ok(Line::Token(token)) => token
            .into_kept()
            .map(Record::Token)
            .ok_or(LineError::Damaged),
        Err(_) => Err(unknown(line)),
    }
}

/// What is not known in a line that is whole.
fn unknown(line: &[u8]) -> LineError {
    const NAME_CHARS_MAX: usize = 40;
    let Ok(kinds) = serde_json::from_slice::<Map<String, Value>>(line) else {
        return LineError::Damaged;
    };
    let is_word = |kind: &&String| {
        kind.len() <= NAME_CHARS_MAX && kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    };
    match kinds.keys().next().filter(is_word) {
        Some(kind) if kinds.len() == 1 => LineError::Unknown(kind.clone()),
        _ => LineError::Damaged,
    }
}

impl NoteLine<'_> {
    fn into_note(self) -> Note {
        Note {
            owner: Owner::from_stored(self.owner.into_owned()),
            id: NoteId::from_stored(self.id.into_owned()),
            title: Title::from_stored(self.title.into_owned()),
            content: Content::from_stored(self.content.into_owned()),
            tags: Tags::from_stored(self.tags.into_iter().map(Cow::into_owned)),
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
            created_by: Author::from_stored(self.created_by.into_owned()),
            updated_by: Author::from_stored(self.updated_by.into_owned()),
        }
    }
}

impl TokenLine<'_> {
    fn into_kept(self) -> Option<KeptToken> {
        let hash = unhex(&self.hash)?;
        let token = AccessToken {
            id: self.id.into_owned(),
            name: TokenName::from_stored(self.name.into_owned()),
            owner: Owner::from_stored(self.owner.into_owned()),
            scopes: self.scopes.into_iter().map(Cow::into_owned).collect(),
            created_at: self.created_at,
            expires_at: self.expires_at,
            last_used: self.last_used,
            revoked_at: self.revoked_at,
        };
        Some(KeptToken { token, hash })
    }
}

/// 32 bytes from 64 hexadecimal digits.
fn unhex(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16)?;
            *byte = (*byte << 4) | u8::try_from(value).ok()?;
        }
    }
    Some(bytes)
}

/// How much text an item has, roughly, to bound what is in memory.
pub(super) fn weight(record: &Record) -> usize {
    match record {
        Record::Note(note) => {
            let tags: usize = note.tags.iter().map(|tag: &Tag| tag.as_str().len()).sum();
            note.title.as_str().len() + note.content.as_str().len() + tags
        }
        Record::Token(_) => 256,
    }
}
