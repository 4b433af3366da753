//! Notes and the databases that keep them.
//!
//! [`Notes`] is the way in: it creates, reads, lists, searches, changes and deletes notes on behalf
//! of an [`Owner`]. What a note is, and what it may hold, is in [`note`]; how text is matched is in
//! [`search`]; where notes are kept is in [`store`]. The crate knows nothing of the protocols, the
//! command line or the environment it is reached through.

pub mod service;

pub mod note;

pub mod tag;

pub mod text;

pub mod query;

pub mod search;

pub mod access;

pub mod transfer;

pub mod backup;

pub mod error;

pub mod clock;

mod cursor;

pub mod store;

pub use access::{AccessHash, AccessStore, AccessToken, TokenName};
pub use clock::{Clock, Ids, SystemClock, UuidV7};
pub use error::{Error, Problem, ProblemCode, Result, StoreError};
pub use note::{Author, Content, Limits, NewNote, Note, NoteId, NotePatch, Owner, Title};
pub use query::{Completion, Hit, ListQuery, Page, Preview, SearchQuery, TagCount, TitleMatch};
pub use service::{Caller, Change, ChangeKind, Deleted, Notes};
pub use store::{Claim, Store, claim, exists, open, open_with};
pub use tag::{Tag, Tags};
pub use transfer::{Transfer, transfer};

pub use jiff::Timestamp;
