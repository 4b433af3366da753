//! The three writes, each inside a transaction of the writer.

use rusqlite::{Connection, OptionalExtension, named_params};

use super::read;
use super::schema::store_error;
use crate::error::{Error, Result, StoreError};
use crate::note::{Note, NoteId, NotePatch, Owner};
use crate::search::{index_text, owner_token, title_key};
use crate::service::{Change, ChangeKind, Deleted};
use crate::store::Stamp;
use crate::tag::Tag;

/// A write that was asked for. It can be run again when its transaction was rolled back.
pub(super) enum Write {
    Insert(Box<Note>),
    Update {
        owner: Owner,
        id: NoteId,
        patch: NotePatch,
        expected: Option<u64>,
        stamp: Stamp,
    },
    Delete {
        owner: Owner,
        id: NoteId,
        expected: Option<u64>,
    },
    /// Panics, to show that the writer lives on.
    #[cfg(test)]
    Panic,
}

/// What a write did.
pub(super) enum Written {
    Inserted(Box<Note>),
    Updated(Box<Note>),
    Deleted(Owner, Deleted),
}

impl Written {
    pub(super) fn change(&self) -> Change {
        let (owner, id, version, kind) = match self {
            Self::Inserted(note) => (&note.owner, &note.id, note.version, ChangeKind::Created),
            Self::Updated(note) => (&note.owner, &note.id, note.version, ChangeKind::Updated),
            Self::Deleted(owner, gone) => (owner, &gone.id, gone.version, ChangeKind::Deleted),
        };
        Change {
            owner: owner.clone(),
            id: id.clone(),
            kind,
            version,
        }
    }

    /// The note as it was written.
    pub(super) fn into_note(self) -> Result<Note> {
        match self {
            Self::Inserted(note) | Self::Updated(note) => Ok(*note),
            Self::Deleted(..) => Err(mixed_up()),
        }
    }

    /// What was deleted.
    pub(super) fn into_deleted(self) -> Result<Deleted> {
        match self {
            Self::Deleted(_, deleted) => Ok(deleted),
            Self::Inserted(_) | Self::Updated(_) => Err(mixed_up()),
        }
    }
}

fn mixed_up() -> Error {
    StoreError::Other("the writer answered another question".into()).into()
}

impl Write {
    pub(super) fn run(&self, conn: &Connection) -> Result<Written> {
        match self {
            Self::Insert(note) => insert(conn, note),
            Self::Update {
                owner,
                id,
                patch,
                expected,
                stamp,
            } => {
                let (seq, mut note) = current(conn, owner, id, *expected)?;
                patch.apply(&mut note);
                note.version += 1;
                note.updated_at = note.updated_at.max(stamp.at);
                note.updated_by = stamp.by.clone();
                update(conn, seq, &note, patch)?;
                Ok(Written::Updated(Box::new(note)))
            }
            Self::Delete {
                owner,
                id,
                expected,
            } => {
                let (seq, note) = current(conn, owner, id, *expected)?;
                delete(conn, seq).map_err(store_error)?;
                let deleted = Deleted {
                    id: note.id,
                    version: note.version,
                };
                Ok(Written::Deleted(note.owner, deleted))
            }
            #[cfg(test)]
            Self::Panic => panic!("asked to"),
        }
    }
}

/// The note to be changed, if it is at the version that is expected.
fn current(
    conn: &Connection,
    owner: &Owner,
    id: &NoteId,
    expected: Option<u64>,
) -> Result<(i64, Note)> {
    let Some((seq, note)) = read::note(conn, owner, id)? else {
        return Err(Error::NotFound { id: id.clone() });
    };
    match expected {
        Some(expected) if expected != note.version => Err(Error::Conflict {
            expected,
            current: Box::new(note),
        }),
        _ => Ok((seq, note)),
    }
}

/// Keeps a new note; [`Error::Exists`] if its owner has one with the same id.
pub(super) fn insert(conn: &Connection, note: &Note) -> Result<Written> {
    const INSERT: &str = "
        INSERT INTO notes (owner, id, title, title_key, tags, version, created_at, updated_at,
                           created_by, updated_by, content_chars, content)
        VALUES (:owner, :id, :title, :title_key, :tags, :version, :created_at, :updated_at,
                :created_by, :updated_by, :content_chars, :content)
        ON CONFLICT (owner, id) DO NOTHING
        RETURNING seq";
    let run = || -> rusqlite::Result<Option<i64>> {
        let seq = conn
            .prepare_cached(INSERT)?
            .query_row(
                named_params! {
                    ":owner": note.owner.as_str(),
                    ":id": note.id.as_str(),
                    ":title": note.title.as_str(),
                    ":title_key": title_key(note.title.as_str()),
                    ":tags": joined_tags(note),
                    ":version": note.version,
                    ":created_at": note.created_at.as_microsecond(),
                    ":updated_at": note.updated_at.as_microsecond(),
                    ":created_by": note.created_by.as_str(),
                    ":updated_by": note.updated_by.as_str(),
                    ":content_chars": chars(note),
                    ":content": note.content.as_str(),
                },
                |row| row.get(0),
            )
            .optional()?;
        if let Some(seq) = seq {
            insert_tags(conn, seq, note)?;
            insert_index(conn, seq, note)?;
        }
        Ok(seq)
    };
    match run().map_err(store_error)? {
        Some(_) => Ok(Written::Inserted(Box::new(note.clone()))),
        None => Err(Error::Exists {
            id: note.id.clone(),
        }),
    }
}

fn update(conn: &Connection, seq: i64, note: &Note, patch: &NotePatch) -> Result<(), StoreError> {
    const UPDATE: &str = "
        UPDATE notes
        SET title = :title, title_key = :title_key, tags = :tags, version = :version,
            updated_at = :updated_at, updated_by = :updated_by,
            content_chars = :content_chars, content = :content
        WHERE seq = :seq";
    let run = || -> rusqlite::Result<()> {
        conn.prepare_cached(UPDATE)?.execute(named_params! {
            ":seq": seq,
            ":title": note.title.as_str(),
            ":title_key": title_key(note.title.as_str()),
            ":tags": joined_tags(note),
            ":version": note.version,
            ":updated_at": note.updated_at.as_microsecond(),
            ":updated_by": note.updated_by.as_str(),
            ":content_chars": chars(note),
            ":content": note.content.as_str(),
        })?;
        if patch.tags.is_some() {
            conn.prepare_cached("DELETE FROM note_tags WHERE seq = ?1")?
                .execute([seq])?;
            insert_tags(conn, seq, note)?;
        } else {
            conn.prepare_cached("UPDATE note_tags SET updated_at = ?2 WHERE seq = ?1")?
                .execute((seq, note.updated_at.as_microsecond()))?;
        }
        delete_index(conn, seq)?;
        insert_index(conn, seq, note)
    };
    run().map_err(store_error)
}

/// The tags go with the note (`ON DELETE CASCADE`), and the counts with both (triggers).
fn delete(conn: &Connection, seq: i64) -> rusqlite::Result<()> {
    delete_index(conn, seq)?;
    conn.prepare_cached("DELETE FROM notes WHERE seq = ?1")?
        .execute([seq])?;
    Ok(())
}

fn insert_tags(conn: &Connection, seq: i64, note: &Note) -> rusqlite::Result<()> {
    const INSERT: &str =
        "INSERT INTO note_tags (owner, tag, updated_at, id, seq) VALUES (?1, ?2, ?3, ?4, ?5)";
    let updated_at = note.updated_at.as_microsecond();
    let mut insert = conn.prepare_cached(INSERT)?;
    for tag in note.tags.iter() {
        insert.execute((
            note.owner.as_str(),
            tag.as_str(),
            updated_at,
            note.id.as_str(),
            seq,
        ))?;
    }
    Ok(())
}

fn insert_index(conn: &Connection, seq: i64, note: &Note) -> rusqlite::Result<()> {
    const INSERT: &str = "
        INSERT INTO notes_fts (rowid, scope, title, content, tags) VALUES (?1, ?2, ?3, ?4, ?5)";
    conn.prepare_cached(INSERT)?.execute((
        seq,
        owner_token(&note.owner),
        index_text([note.title.as_str()]),
        index_text([note.content.as_str()]),
        index_text(note.tags.iter().map(Tag::as_str)),
    ))?;
    Ok(())
}

fn delete_index(conn: &Connection, seq: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM notes_fts WHERE rowid = ?1")?
        .execute([seq])?;
    Ok(())
}

fn joined_tags(note: &Note) -> String {
    let tags: Vec<&str> = note.tags.iter().map(Tag::as_str).collect();
    tags.join(" ")
}

fn chars(note: &Note) -> u64 {
    note.content.as_str().chars().count() as u64
}
