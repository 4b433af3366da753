//! An operation on its way: its line is written when this is dropped, whatever ended it.

use http::Extensions;
use mcp_serve::{auth::Principal, client::Client, telemetry::RequestId};
use notes::NoteId;
use uuid::Uuid;

use super::{
    Audit,
    line::{Entry, Face, Outcome},
};
use crate::error_map::Code;

/// What is known of one operation. It counts as cut off until its end is told.
#[derive(Debug)]
#[must_use = "the line is written when it is dropped"]
pub struct Trail {
    audit: Audit,
    entry: Entry,
}

impl Audit {
    /// The trail of `action`, which the HTTP request with these `extensions` asks for; over stdio
    /// there is none.
    pub fn trail(
        &self,
        face: Face,
        extensions: Option<&Extensions>,
        action: &'static str,
    ) -> Trail {
        let mut entry = Entry::new(face, action);
        if let Some(extensions) = extensions.filter(|_| !self.is_off()) {
            entry.request_id = extensions.get::<RequestId>().cloned();
            entry.client = extensions.get::<Client>().map(|client| client.address);
            entry.principal = extensions.get::<Principal>().cloned();
        }
        Trail {
            audit: self.clone(),
            entry,
        }
    }
}

impl Trail {
    /// It only reads.
    pub fn reads(&mut self) {
        self.entry.is_read = true;
    }

    /// It may change something.
    pub fn writes(&mut self) {
        self.entry.is_read = false;
    }

    /// It is about the note `id`; text that is no id is not taken over.
    pub fn note(&mut self, id: &str) {
        self.entry.note = NoteId::parse(id).ok();
    }

    /// Whether the id is that of a note. Otherwise it is what the caller wrote, which may be a token
    /// in the wrong place; those that the server makes are told in any case.
    fn is_note_known(&self) -> bool {
        let is_ours = |id: &NoteId| id.as_str().len() == 36 && Uuid::try_parse(id.as_str()).is_ok();
        self.entry.outcome == Outcome::Ok
            || matches!(self.entry.reason, "conflict" | "precondition-failed")
            || self.entry.note.as_ref().is_some_and(is_ours)
    }

    /// The note is now at `version`.
    pub fn version(&mut self, version: u64) {
        self.entry.version = Some(version);
    }

    /// The answer has this HTTP status.
    pub fn status(&mut self, status: u16) {
        self.entry.status = Some(status);
    }

    /// It was done.
    pub fn ok(&mut self) {
        self.entry.outcome = Outcome::Ok;
        self.entry.reason = "";
    }

    /// It was not done, for a reason that is the caller's.
    pub fn refused(&mut self, reason: &'static str) {
        self.entry.outcome = Outcome::Refused;
        self.entry.reason = reason;
    }

    /// It was not done, for a reason that is the server's.
    pub fn failed(&mut self, reason: &'static str) {
        self.entry.outcome = Outcome::Failed;
        self.entry.reason = reason;
    }

    /// It was not done because of `code`.
    pub fn code(&mut self, code: Code) {
        match code {
            Code::Unavailable | Code::Unconfirmed | Code::Internal => self.failed(code.as_str()),
            _ => self.refused(code.as_str()),
        }
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        if !self.is_note_known() {
            self.entry.note = None;
        }
        self.audit.record(&self.entry);
    }
}
