//! The shapes in which notes travel: each is one type for both faces, MCP and REST, so that what is
//! read, what is written and what the schemas say cannot drift apart.

mod read;
mod schema;

use jiff::Timestamp;
use notes::{Hit, Note, Page, Preview};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

pub use read::{FLAWS_MAX, Flaw, read};
pub use schema::{Shape, components, input_schema, output_schema};

/// What a new note is made of, or what replaces one.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewNote")]
pub struct NewNote {
    /// One line that says what the note is about.
    pub title: String,
    /// The text of the note, usually Markdown. It is kept exactly as given.
    pub content: String,
    /// Labels to find the note by. They are lower-cased, and spaces in them become "-".
    #[serde(default)]
    pub tags: Vec<String>,
}

/// What a change puts in the place of what was; what is left out stays as it is.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NotePatch")]
pub struct NotePatch {
    /// The new title, one line.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "String")]
    pub title: Option<String>,
    /// The new text, in the place of the whole old text.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "String")]
    pub content: Option<String>,
    /// The new tags, in the place of all old ones; an empty list or null removes them all.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub tags: Option<Option<Vec<String>>>,
}

/// The note to read.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetNote {
    /// The id of the note, as `list_notes` and `search_notes` give it.
    pub id: String,
}

/// The note to change, and the change.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateNote {
    /// The id of the note.
    pub id: String,
    /// The new title, one line. Left out, the title stays.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "String")]
    pub title: Option<String>,
    /// The new text, in the place of the whole old text. Left out, the text stays.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "String")]
    pub content: Option<String>,
    /// The new tags, in the place of all old ones; an empty list removes them. Left out, they stay.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Vec<String>")]
    pub tags: Option<Vec<String>>,
    /// The version of the note that was read. If the note has changed since, nothing is written and
    /// the error holds the note as it is now.
    #[serde(default, deserialize_with = "whole")]
    #[schemars(with = "u64")]
    pub expected_version: Option<u64>,
}

/// The note to delete.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteNote {
    /// The id of the note.
    pub id: String,
    /// The version of the note that was read. If the note has changed since, it is not deleted and
    /// the error holds the note as it is now.
    #[serde(default, deserialize_with = "whole")]
    #[schemars(with = "u64")]
    pub expected_version: Option<u64>,
}

/// Which notes to list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListNotes {
    /// The `next_cursor` of the page before, unchanged and with the same filter. Left out: the first
    /// page.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "String")]
    pub cursor: Option<String>,
    /// How many notes a page may have.
    #[serde(default, deserialize_with = "whole")]
    #[schemars(with = "u64")]
    pub limit: Option<u64>,
    /// Only notes with this tag.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "String")]
    pub tag: Option<String>,
    /// Only notes that have all these tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Only notes changed at this time or later, for example 2026-01-31T00:00:00Z.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub updated_after: Option<String>,
    /// Only notes changed before this time, for example 2026-02-28T00:00:00Z.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub updated_before: Option<String>,
    /// Only notes created at this time or later.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub created_after: Option<String>,
    /// Only notes created before this time.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub created_before: Option<String>,
    /// Only notes whose title starts with this text, in upper or lower case.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "String")]
    pub title_prefix: Option<String>,
}

/// What to search for.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchNotes {
    /// Words to find in titles, texts and tags. Any text is a valid query.
    pub query: String,
    /// The `next_cursor` of the page before, unchanged and with the same query. Left out: the first
    /// page.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "String")]
    pub cursor: Option<String>,
    /// How many hits a page may have.
    #[serde(default, deserialize_with = "whole")]
    #[schemars(with = "u64")]
    pub limit: Option<u64>,
}

/// A note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Note")]
pub struct NoteView {
    /// What names the note.
    pub id: String,
    /// One line that says what the note is about.
    pub title: String,
    /// The text of the note, exactly as it was given.
    pub content: String,
    /// Its labels, sorted.
    pub tags: Vec<String>,
    /// 1 for a new note, one more with every change.
    pub version: u64,
    /// When the note was created.
    pub created_at: Timestamp,
    /// When the note was last changed.
    pub updated_at: Timestamp,
    /// Who created the note.
    pub created_by: String,
    /// Who changed the note last.
    pub updated_by: String,
}

impl From<Note> for NoteView {
    fn from(note: Note) -> Self {
        Self {
            tags: labels(&note.tags),
            id: note.id.as_str().to_owned(),
            title: note.title.as_str().to_owned(),
            content: note.content.into_string(),
            version: note.version,
            created_at: note.created_at,
            updated_at: note.updated_at,
            created_by: note.created_by.as_str().to_owned(),
            updated_by: note.updated_by.as_str().to_owned(),
        }
    }
}

/// A note as lists show it, with the beginning of its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NotePreview {
    /// What names the note.
    pub id: String,
    /// One line that says what the note is about.
    pub title: String,
    /// Its labels, sorted.
    pub tags: Vec<String>,
    /// 1 for a new note, one more with every change.
    pub version: u64,
    /// When the note was created.
    pub created_at: Timestamp,
    /// When the note was last changed.
    pub updated_at: Timestamp,
    /// The beginning of the text.
    pub preview: String,
    /// How many characters the whole text has.
    pub content_chars: u64,
}

impl From<Preview> for NotePreview {
    fn from(note: Preview) -> Self {
        Self {
            tags: labels(&note.tags),
            id: note.id.as_str().to_owned(),
            title: note.title.as_str().to_owned(),
            version: note.version,
            created_at: note.created_at,
            updated_at: note.updated_at,
            preview: note.preview,
            content_chars: note.content_chars,
        }
    }
}

/// A note that a search found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NoteHit {
    /// What names the note.
    pub id: String,
    /// One line that says what the note is about.
    pub title: String,
    /// Its labels, sorted.
    pub tags: Vec<String>,
    /// 1 for a new note, one more with every change.
    pub version: u64,
    /// When the note was created.
    pub created_at: Timestamp,
    /// When the note was last changed.
    pub updated_at: Timestamp,
    /// The part of the text around the first match; "…" stands for what was left out.
    pub snippet: String,
    /// How many characters the whole text has.
    pub content_chars: u64,
}

impl From<Hit> for NoteHit {
    fn from(hit: Hit) -> Self {
        let note = NotePreview::from(hit.note);
        Self {
            id: note.id,
            title: note.title,
            tags: note.tags,
            version: note.version,
            created_at: note.created_at,
            updated_at: note.updated_at,
            snippet: hit.snippet,
            content_chars: note.content_chars,
        }
    }
}

/// One page of a list, newest change first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NoteList {
    /// The notes.
    pub notes: Vec<NotePreview>,
    /// What to pass as cursor to get the next page; null on the last page.
    pub next_cursor: Option<String>,
    /// How many notes all pages have together; null when that is not known exactly.
    pub total: Option<u64>,
}

impl From<Page<Preview>> for NoteList {
    fn from(page: Page<Preview>) -> Self {
        Self {
            notes: page.items.into_iter().map(NotePreview::from).collect(),
            next_cursor: page.next_cursor,
            total: page.total,
        }
    }
}

/// One page of what a search found, best match first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NoteHits {
    /// The notes that were found.
    pub hits: Vec<NoteHit>,
    /// What to pass as cursor to get the next page; null on the last page.
    pub next_cursor: Option<String>,
    /// How many notes were found in all; null when that is not known exactly.
    pub total: Option<u64>,
}

impl From<Page<Hit>> for NoteHits {
    fn from(page: Page<Hit>) -> Self {
        Self {
            hits: page.items.into_iter().map(NoteHit::from).collect(),
            next_cursor: page.next_cursor,
            total: page.total,
        }
    }
}

/// A note that was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NoteDeleted {
    /// The id the note had.
    pub id: String,
    /// Always true.
    pub deleted: bool,
}

fn labels(tags: &notes::Tags) -> Vec<String> {
    tags.iter().map(|tag| tag.as_str().to_owned()).collect()
}

/// A value that is there, so that null is not taken for one that is left out.
fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// A whole number that is there; JSON Schema counts `3.0` as one (2020-12, section 6.1.1).
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    let wrong = || serde::de::Error::custom("not a whole number");
    if let Some(whole) = number.as_u64() {
        return Ok(Some(whole));
    }
    // Exact for every number that a version or a page size can reach.
    let float = number.as_f64().ok_or_else(wrong)?;
    if float.fract() != 0.0 || !(0.0..=9_007_199_254_740_992.0).contains(&float) {
        return Err(wrong());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range and the missing fraction were checked"
    )]
    Ok(Some(float as u64))
}
