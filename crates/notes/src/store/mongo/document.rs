//! A note as a document, and back.
//!
//! The fields of the Node demo keep their names (`noteId`, `title`, `content`, `createdAt`,
//! `updatedAt`). A `Date` has milliseconds, so the exact times are in fields of their own. The rest is
//! what finds a note: it is made from title, tags and content whenever these are written.

use bson::oid::ObjectId;
use bson::raw::RawBsonRef;
use bson::{Bson, DateTime, Document, RawDocument, doc};
use jiff::Timestamp;

use super::terms::index_terms;
use crate::error::StoreError;
use crate::note::{Author, Content, Limits, Note, NoteId, NotePatch, Owner, Title};
use crate::query::{PREVIEW_CHARS, Preview};
use crate::search::title_key;
use crate::store::Stamp;
use crate::tag::{Tag, Tags};

/// What [`preview`] reads.
const PREVIEW_FIELDS: [&str; 8] = [
    "noteId",
    "title",
    "tags",
    "version",
    "createdMicros",
    "updatedMicros",
    "preview",
    "contentChars",
];

/// What [`note`] reads beside title, tags and content.
const NOTE_FIELDS: [&str; 11] = [
    "noteId",
    "owner",
    "title",
    "content",
    "tags",
    "version",
    "createdMicros",
    "updatedMicros",
    "createdBy",
    "updatedBy",
    "change",
];

/// The projection for [`note`].
pub(super) fn note_fields() -> Document {
    fields(&NOTE_FIELDS)
}

/// The projection for [`preview`].
pub(super) fn preview_fields() -> Document {
    fields(&PREVIEW_FIELDS)
}

/// A projection to `names` and nothing else.
pub(super) fn fields(names: &[&str]) -> Document {
    let mut projection = doc! { "_id": 0 };
    let each = names
        .iter()
        .map(|name| ((*name).to_owned(), Bson::Int32(1)));
    projection.extend(each);
    projection
}

/// The document of a new note. `id` names the write as well, so that it is known again.
pub(super) fn document(note: &Note, id: ObjectId) -> Document {
    let mut document = doc! {
        "_id": id,
        "noteId": note.id.as_str(),
        "createdAt": date(note.created_at),
        "updatedAt": date(note.updated_at),
    };
    document.extend(content_fields(&note.content));
    document.extend(title_fields(&note.title));
    document.extend(tag_fields(&note.tags));
    document.extend(doc! {
        "owner": note.owner.as_str(),
        "version": signed(note.version),
        "createdMicros": note.created_at.as_microsecond(),
        "updatedMicros": note.updated_at.as_microsecond(),
        "createdBy": note.created_by.as_str(),
        "updatedBy": note.updated_by.as_str(),
        "change": id,
    });
    document
}

/// The update that a patch is: one step on the server, whatever the note holds there.
pub(super) fn update(patch: &NotePatch, stamp: &Stamp, change: ObjectId) -> Document {
    let mut set = doc! { "updatedBy": stamp.by.as_str(), "change": change };
    if let Some(title) = &patch.title {
        set.extend(title_fields(title));
    }
    if let Some(content) = &patch.content {
        set.extend(content_fields(content));
    }
    if let Some(tags) = &patch.tags {
        set.extend(tag_fields(tags));
    }
    doc! {
        "$set": set,
        "$inc": { "version": 1_i64 },
        "$max": {
            "updatedMicros": stamp.at.as_microsecond(),
            "updatedAt": date(stamp.at),
        },
    }
}

/// What the Node demo left, in the fields that it lacks; nothing if it is no note.
pub(super) fn adoption(found: &RawDocument, owner: &Owner) -> Option<Document> {
    NoteId::parse(text(found, "noteId").ok()?).ok()?;
    let title = Title::from_stored(text(found, "title").ok()?.to_owned());
    let content = Content::from_stored(text(found, "content").ok()?.to_owned());
    let made = found.get_object_id("_id").map(|id| id.timestamp());
    let made = made.map_or(0, DateTime::timestamp_millis);
    // A date that no calendar has is none.
    let micros = |millis| Timestamp::from_millisecond(millis).map(Timestamp::as_microsecond);
    let date = |name| micros(found.get_datetime(name).ok()?.timestamp_millis()).ok();
    let (created, updated) = (date("createdAt"), date("updatedAt"));
    let created = created.or(updated).or(micros(made).ok())?;
    let updated = updated.unwrap_or(created);
    let mut set = title_fields(&title);
    set.extend(content_fields(&content));
    set.extend(tag_fields(&found_tags(found)));
    // These two are the demo's own, and stay as they are.
    set.remove("title");
    set.remove("content");
    set.extend(doc! {
        "owner": owner.as_str(),
        "version": 1_i64,
        "createdMicros": created,
        "updatedMicros": updated,
        "createdBy": owner.as_str(),
        "updatedBy": owner.as_str(),
    });
    Some(set)
}

/// The tags of a document that somebody has given some, if they can be tags here; otherwise none.
fn found_tags(found: &RawDocument) -> Tags {
    let tags = tags(found).unwrap_or_default();
    let names: Vec<String> = tags.iter().map(|tag| tag.as_str().to_owned()).collect();
    Tags::parse(&names, &Limits::default()).unwrap_or_default()
}

fn title_fields(title: &Title) -> Document {
    let title = title.as_str();
    doc! {
        "title": title,
        "titleKey": title_key(title),
        "titleTerms": index_terms([title]),
    }
}

fn content_fields(content: &Content) -> Document {
    let content = content.as_str();
    let preview: String = content.chars().take(PREVIEW_CHARS).collect();
    doc! {
        "content": content,
        "preview": preview,
        "contentChars": signed(content.chars().count() as u64),
        "contentTerms": index_terms([content]),
    }
}

fn tag_fields(tags: &Tags) -> Document {
    let tags: Vec<&str> = tags.iter().map(Tag::as_str).collect();
    doc! {
        "tagList": tags.join(" "),
        "tagTerms": index_terms(tags.iter().copied()),
        "tags": tags,
    }
}

/// The note in a document.
pub(super) fn note(document: &RawDocument) -> Result<Note, StoreError> {
    let text = |name| text(document, name).map(str::to_owned);
    Ok(Note {
        id: NoteId::from_stored(text("noteId")?),
        owner: Owner::from_stored(text("owner")?),
        title: Title::from_stored(text("title")?),
        content: Content::from_stored(text("content")?),
        tags: tags(document)?,
        version: count(document, "version")?,
        created_at: time(document, "createdMicros")?,
        updated_at: time(document, "updatedMicros")?,
        created_by: Author::from_stored(text("createdBy")?),
        updated_by: Author::from_stored(text("updatedBy")?),
    })
}

/// The preview in a document.
pub(super) fn preview(document: &RawDocument) -> Result<Preview, StoreError> {
    let text = |name| text(document, name).map(str::to_owned);
    Ok(Preview {
        id: NoteId::from_stored(text("noteId")?),
        title: Title::from_stored(text("title")?),
        tags: tags(document)?,
        version: count(document, "version")?,
        created_at: time(document, "createdMicros")?,
        updated_at: time(document, "updatedMicros")?,
        preview: text("preview")?,
        content_chars: count(document, "contentChars")?,
    })
}

/// The tags in a document.
pub(super) fn tags(document: &RawDocument) -> Result<Tags, StoreError> {
    let array = document.get_array("tags").map_err(|_| damaged())?;
    let tags: Option<Vec<String>> = array
        .into_iter()
        .map(|tag| Some(tag.ok()?.as_str()?.to_owned()))
        .collect();
    Ok(Tags::from_stored(tags.ok_or_else(damaged)?))
}

/// A text that must be there.
pub(super) fn text<'a>(document: &'a RawDocument, name: &str) -> Result<&'a str, StoreError> {
    document.get_str(name).map_err(|_| damaged())
}

/// A whole number that must be there, however the one who wrote it kept it.
pub(super) fn number(document: &RawDocument, name: &str) -> Result<i64, StoreError> {
    match document.get(name) {
        Ok(Some(RawBsonRef::Int64(number))) => Ok(number),
        Ok(Some(RawBsonRef::Int32(number))) => Ok(number.into()),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a shell writes whole numbers as doubles, and one that is none is cut"
        )]
        Ok(Some(RawBsonRef::Double(number))) if number.is_finite() => Ok(number as i64),
        _ => Err(damaged()),
    }
}

/// A time that must be there.
pub(super) fn time(document: &RawDocument, name: &str) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(number(document, name)?).map_err(|_| damaged())
}

fn count(document: &RawDocument, name: &str) -> Result<u64, StoreError> {
    u64::try_from(number(document, name)?).map_err(|_| damaged())
}

/// A count as MongoDB keeps it; none that occurs is too large.
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A time as the Node demo reads it.
fn date(time: Timestamp) -> DateTime {
    DateTime::from_millis(time.as_microsecond().div_euclid(1000))
}

/// A document that is not as this store writes it.
pub(super) fn damaged() -> StoreError {
    StoreError::Corrupt
}
