//! What can go wrong, said once: to the caller who can correct it, and to the log.
//!
//! No message, `Display` or `Debug`, ever holds the text of a note.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use crate::note::{Note, NoteId};

/// The result of an operation on notes.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation on notes was not done. Nothing was written when one of these is returned,
/// except that a [`StoreError::Other`] from the disk may leave the outcome of a write unknown, and
/// that [`StoreError::Unconfirmed`] says that it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was given cannot be accepted; every problem is named, so that one correction suffices.
    #[error("{}", join(.0))]
    Invalid(Vec<Problem>),
    /// The owner has no such note.
    #[error("there is no note with the id {id}; list or search the notes to find its id")]
    NotFound {
        /// The id that was asked for.
        id: NoteId,
    },
    /// The note is not at the version the caller had read.
    #[error(
        "the note {} is at version {}, not at version {expected}; read it again, apply the change \
         to what it holds now, and send that version",
        .current.id, .current.version
    )]
    Conflict {
        /// The version the caller gave.
        expected: u64,
        /// The note as it is.
        current: Box<Note>,
    },
    /// The owner already has a note with this id.
    #[error("there is already a note with the id {id}")]
    Exists {
        /// The id that is taken.
        id: NoteId,
    },
    /// The cursor is damaged, or was made for another owner, operation or filter.
    #[error(
        "the cursor is not one this query returned; pass next_cursor back unchanged with the same \
         filter, or start again without a cursor"
    )]
    BadCursor,
    /// The store could not do its work.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Invalid(vec![problem])
    }
}

impl From<Vec<Problem>> for Error {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Invalid(problems)
    }
}

fn join(problems: &[Problem]) -> String {
    let parts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    parts.join("; ")
}

/// One thing that is wrong with what the caller gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field it is about, as the caller names it: `title`, `tags[2]`. Empty for the whole input.
    pub field: Cow<'static, str>,
    /// What kind of problem it is.
    pub code: ProblemCode,
    /// What is wrong and what would be right, as the rest of a sentence that starts with the
    /// field: "is 300 characters long; at most 255 are allowed".
    pub message: String,
}

impl Problem {
    /// A problem with `field`.
    pub fn new(
        field: impl Into<Cow<'static, str>>,
        code: ProblemCode,
        message: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            code,
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = match self.field.as_ref() {
            "" => "the input",
            field => field,
        };
        write!(f, "{field} {}", self.message)
    }
}

/// The kinds of [`Problem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProblemCode {
    /// Something is needed and nothing was given.
    Empty,
    /// A text has too many characters.
    TooLong,
    /// A list has too many items.
    TooMany,
    /// A number lies outside its range.
    OutOfRange,
    /// A text holds a character that has no place in it.
    ForbiddenCharacter,
    /// A value does not have the form it must have.
    BadFormat,
}

impl ProblemCode {
    /// The code as it is shown to programs, for example `too_long`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLong => "too_long",
            Self::TooMany => "too_many",
            Self::OutOfRange => "out_of_range",
            Self::ForbiddenCharacter => "forbidden_character",
            Self::BadFormat => "bad_format",
        }
    }
}

/// Why a store could not do its work. The caller of an operation can do nothing about it but try
/// again later; the operator reads it in the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// More is asked of the store than it can take now, or another process holds it locked.
    #[error("the notes store is busy; try again")]
    Busy,
    /// The store can be read but not written.
    #[error("the notes store is read-only")]
    ReadOnly,
    /// There is no room left on the disk, or the store has reached its greatest size.
    #[error("the notes store is full")]
    Full,
    /// The store was written by a newer version of this program.
    #[error(
        "the notes store has schema version {found}, and this program knows versions up to \
         {known}; run the newer program that wrote it"
    )]
    NewerSchema {
        /// The schema version of the store.
        found: i64,
        /// The newest schema version this program knows.
        known: i64,
    },
    /// What is there is not a store of notes.
    #[error("this is not a database of notes; it is left untouched")]
    NotOurs,
    /// The store is damaged.
    #[error("the notes store is damaged; restore it from a backup")]
    Corrupt,
    /// The address of the store cannot be understood, or asks for a kind that is not built in.
    #[error("{0}")]
    Address(String),
    /// The store cannot be reached, or is closed.
    #[error("the notes store is not available: {0}")]
    Unavailable(String),
    /// Another server has the file of the store.
    #[error(
        "{} is served by {by} already, and one SQLite file has one server: stop that one, or keep \
         the notes in MongoDB, which any number of servers share",
        file.display()
    )]
    Served {
        /// The file.
        file: PathBuf,
        /// What the other server said of itself, or "another process".
        by: String,
    },
    /// A write was sent and its answer never came: it may be done or not, and it is not tried again.
    #[error("the notes store did not confirm the write, which may be done or not: {0}")]
    Unconfirmed(String),
    /// Anything else, with its cause.
    #[error("the notes store failed")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StoreError {
    /// The kind of error as one word, for metrics and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::ReadOnly => "read_only",
            Self::Full => "full",
            Self::NewerSchema { .. } => "newer_schema",
            Self::NotOurs => "not_ours",
            Self::Corrupt => "corrupt",
            Self::Address(_) => "address",
            Self::Unavailable(_) => "unavailable",
            Self::Served { .. } => "served",
            Self::Unconfirmed(_) => "unconfirmed",
            Self::Other(_) => "other",
        }
    }
}
