//! What tells whether two stores hold the same: two numbers and a checksum.

use std::fmt;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::KeptToken;
use crate::note::Note;
use crate::tag::Tag;
use crate::text::hex;

/// Everything that a store has, as two numbers and a checksum that does not depend on the order:
/// the sum, modulo 2^256, of the SHA-256 of every note and token in its canonical form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many notes.
    pub notes: u64,
    /// How many tokens.
    pub tokens: u64,
    sum: [u8; 32],
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { notes, tokens, sum } = self;
        write!(f, "notes {notes}, tokens {tokens}, checksum {}", hex(sum))
    }
}

impl Tally {
    /// The checksum, in hexadecimal digits.
    pub fn checksum(&self) -> String {
        hex(&self.sum)
    }

    /// Counts a note in.
    pub fn note(&mut self, note: &Note) {
        self.notes += 1;
        self.add(note_digest(note));
    }

    /// Counts a token in.
    pub fn token(&mut self, kept: &KeptToken) {
        self.tokens += 1;
        self.add(token_digest(kept));
    }

    fn add(&mut self, digest: [u8; 32]) {
        let mut carry = 0;
        for (sum, byte) in self.sum.iter_mut().zip(digest).rev() {
            let added = u16::from(*sum) + u16::from(byte) + carry;
            [_, *sum] = added.to_be_bytes();
            carry = added >> 8;
        }
    }
}

/// The canonical form: every part with its length in front, numbers and times (in microseconds) as
/// eight bytes, the highest first.
struct Form(Sha256);

impl Form {
    fn new(kind: &str) -> Self {
        let mut form = Self(Sha256::new());
        form.text(kind);
        form
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn texts<'a>(&mut self, texts: impl ExactSizeIterator<Item = &'a str>) {
        self.0.update((texts.len() as u64).to_be_bytes());
        texts.for_each(|text| self.text(text));
    }

    fn time(&mut self, time: Option<Timestamp>) {
        match time {
            Some(time) => self.bytes(&time.as_microsecond().to_be_bytes()),
            None => self.bytes(&[]),
        }
    }

    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

fn note_digest(note: &Note) -> [u8; 32] {
    let mut form = Form::new("note");
    form.text(note.owner.as_str());
    form.text(note.id.as_str());
    form.text(note.title.as_str());
    form.text(note.content.as_str());
    form.texts(note.tags.iter().map(Tag::as_str));
    form.bytes(&note.version.to_be_bytes());
    form.time(Some(note.created_at));
    form.time(Some(note.updated_at));
    form.text(note.created_by.as_str());
    form.text(note.updated_by.as_str());
    form.finish()
}

fn token_digest(kept: &KeptToken) -> [u8; 32] {
    let KeptToken { token, hash } = kept;
    let mut form = Form::new("token");
    form.bytes(hash);
    form.text(&token.id);
    form.text(token.name.as_str());
    form.text(token.owner.as_str());
    form.texts(token.scopes.iter().map(String::as_str));
    form.time(Some(token.created_at));
    form.time(token.expires_at);
    form.time(token.last_used);
    form.time(token.revoked_at);
    form.finish()
}
