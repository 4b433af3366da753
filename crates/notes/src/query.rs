//! What can be asked of a set of notes, and the shape of the answers.

use std::fmt;

use jiff::Timestamp;

use crate::note::{NoteId, Title};
use crate::tag::{Tag, Tags};

/// The most items one page may have.
pub const PAGE_ITEMS_MAX: u32 = 100;

/// How many items a page has when nothing is said.
pub const PAGE_ITEMS_DEFAULT: u32 = 20;

/// How many characters of a note's content a [`Preview`] shows.
pub const PREVIEW_CHARS: usize = 200;

/// Which notes to list. They come newest change first; notes changed at the same time are ordered
/// by id, descending.
#[derive(Clone, PartialEq, Eq)]
pub struct ListQuery {
    /// How many notes a page may have, 1 to [`PAGE_ITEMS_MAX`].
    pub limit: u32,
    /// Where to go on: the `next_cursor` of the page before, or nothing for the first page.
    pub cursor: Option<String>,
    /// The tags a note must have, all of them.
    pub tags: Vec<Tag>,
    /// Only notes changed at this time or later.
    pub updated_after: Option<Timestamp>,
    /// Only notes changed before this time.
    pub updated_before: Option<Timestamp>,
    /// Only notes created at this time or later.
    pub created_after: Option<Timestamp>,
    /// Only notes created before this time.
    pub created_before: Option<Timestamp>,
    /// Only notes whose title starts with this text; upper and lower case are the same.
    pub title_prefix: Option<String>,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self {
            limit: PAGE_ITEMS_DEFAULT,
            cursor: None,
            tags: Vec::new(),
            updated_after: None,
            updated_before: None,
            created_after: None,
            created_before: None,
            title_prefix: None,
        }
    }
}

impl fmt::Debug for ListQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListQuery")
            .field("limit", &self.limit)
            .field("tags", &self.tags.len())
            .finish_non_exhaustive()
    }
}

/// What to search for. Hits come best match first, then newest change first. How the text is
/// understood is in [`crate::search`].
#[derive(Clone, PartialEq, Eq)]
pub struct SearchQuery {
    /// What a person typed.
    pub text: String,
    /// How many hits a page may have, 1 to [`PAGE_ITEMS_MAX`].
    pub limit: u32,
    /// Where to go on: the `next_cursor` of the page before, or nothing for the first page.
    pub cursor: Option<String>,
}

impl SearchQuery {
    /// The first page of the search for `text`, with the default page size.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            limit: PAGE_ITEMS_DEFAULT,
            cursor: None,
        }
    }
}

impl fmt::Debug for SearchQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SearchQuery")
            .field("text_bytes", &self.text.len())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// One page of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in order.
    pub items: Vec<T>,
    /// What to pass to get the next page; nothing when this page is the last.
    pub next_cursor: Option<String>,
    /// How many items all pages have together, if that is known exactly.
    pub total: Option<u64>,
}

/// A note without its content, as lists show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Preview {
    /// The note's id.
    pub id: NoteId,
    /// Its title.
    pub title: Title,
    /// Its tags.
    pub tags: Tags,
    /// Its version.
    pub version: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// The first [`PREVIEW_CHARS`] characters of its content.
    pub preview: String,
    /// How many characters (Unicode scalar values) its content has.
    pub content_chars: u64,
}

impl fmt::Debug for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preview")
            .field("id", &self.id)
            .field("version", &self.version)
            .field("updated_at", &self.updated_at)
            .finish_non_exhaustive()
    }
}

/// A note that a search found.
#[derive(Clone, PartialEq, Eq)]
pub struct Hit {
    /// The note.
    pub note: Preview,
    /// The part of the content around the first match, as plain text; "…" stands for what was left
    /// out. Where only title or tags match, it is the beginning of the content.
    pub snippet: String,
}

impl fmt::Debug for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hit")
            .field("note", &self.note)
            .finish_non_exhaustive()
    }
}

/// What completes a beginning that was typed: first what starts with it, then what contains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion<T> {
    /// The best matches.
    pub items: Vec<T>,
    /// How many matches there are in all, if that is known exactly.
    pub total: Option<u64>,
}

/// A tag and how many notes of the owner have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagCount {
    /// The tag.
    pub tag: Tag,
    /// How many notes have it.
    pub notes: u64,
}

/// A title that completes what was typed, and the note it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TitleMatch {
    /// The note's id.
    pub id: NoteId,
    /// Its title.
    pub title: Title,
}
