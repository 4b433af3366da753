//! Signals between the replicas of a server about the sessions of the older revisions: what reaches
//! one replica and concerns a call, an answer or a stream on another.
//!
//! A signal is sent to all other replicas, and whom it does not concern ignores it. Nothing of it is
//! kept anywhere: what is sent while a replica does not hear is lost to it, and every use has a bound
//! in time for that. A session's id never travels, only its digest.

pub mod memory;
mod wire;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use rmcp::model::{ErrorData, RequestId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::session::SessionDigest;

pub use memory::MemoryBus;
pub use wire::{PIECE_BYTES_MAX, SIGNAL_BYTES_MAX, Token};

/// What one replica tells the others. Serialised, it is an object with one member, the kind.
///
/// Its `Debug` shows the kind alone, because an answer may hold what no log may.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Signal {
    /// `notifications/cancelled` for a request of the session.
    Cancel {
        /// Whose.
        session: SessionDigest,
        /// The id that the client gave the request.
        request: RequestId,
    },
    /// The client's answer to a request of the server.
    Answer {
        /// Whose.
        session: SessionDigest,
        /// The id of the server's request.
        request: RequestId,
        /// What the client answered.
        answer: Answer,
    },
    /// The session was ended by its client.
    Ended {
        /// Which.
        session: SessionDigest,
    },
    /// The session has a new stream of change notifications, which replaces any older one.
    StreamOpened {
        /// Whose.
        session: SessionDigest,
        /// When: milliseconds since 1970, or one more than the newest that was heard of.
        at: u64,
        /// Decides between two of one time: the greater one stays.
        tie: u64,
    },
    /// A client wants to go on with an answer: who has it sends its messages as [`Self::Piece`]s.
    Resume {
        /// Whose answer.
        session: SessionDigest,
        /// The name of the stream in event ids.
        stream: Token,
        /// The number of the last message that the client has seen.
        seen: Option<u64>,
        /// Names this reader in the signals that follow; random.
        reader: Token,
    },
    /// A part of what a reader waits for.
    Piece {
        /// Whose.
        reader: Token,
        /// The place of this piece in the order of all that the reader gets, from 0 on.
        at: u64,
        /// What it is.
        piece: Piece,
    },
    /// A reader is there and has taken so many pieces.
    Taken {
        /// Who.
        reader: Token,
        /// How many since the beginning.
        pieces: u64,
    },
    /// A reader is gone and takes no more.
    Left {
        /// Who.
        reader: Token,
    },
    /// A credential is no longer good: what was remembered of it is to be forgotten, and what it
    /// opened is to be closed.
    CredentialRevoked {
        /// Names the credential without being of use to who reads it.
        credential: String,
    },
}

/// What a client answered to a request of the server.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It did what was asked.
    Result(Value),
    /// It did not.
    Error(ErrorData),
}

/// A part of an answer on its way to a reader on another replica.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Piece {
    /// A part of a message.
    Part {
        /// The number of the message in its stream.
        message: u64,
        /// At most [`PIECE_BYTES_MAX`] bytes of its JSON.
        #[serde(with = "wire::base64")]
        bytes: Bytes,
        /// Whether the message ends here.
        last: bool,
    },
    /// Nothing new; the answer is still being worked on.
    Alive,
    /// No more messages, or another reader took over.
    End,
    /// The reader's client is to come back later.
    SentAway,
}

impl Signal {
    /// The kind, for logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Cancel { .. } => "cancel",
            Self::Answer { .. } => "answer",
            Self::Ended { .. } => "ended",
            Self::StreamOpened { .. } => "stream_opened",
            Self::Resume { .. } => "resume",
            Self::Piece { .. } => "piece",
            Self::Taken { .. } => "taken",
            Self::Left { .. } => "left",
            Self::CredentialRevoked { .. } => "credential_revoked",
        }
    }

    /// The signal as JSON; `None` when it is larger than [`SIGNAL_BYTES_MAX`].
    pub fn to_json(&self) -> Option<Vec<u8>> {
        let json = serde_json::to_vec(self).ok()?;
        (json.len() <= SIGNAL_BYTES_MAX).then_some(json)
    }

    /// Reads a signal; `None` for one that is too large, malformed or of a kind that is not known,
    /// all of which are to be ignored.
    pub fn from_json(json: &[u8]) -> Option<Self> {
        if json.len() > SIGNAL_BYTES_MAX {
            return None;
        }
        serde_json::from_slice(json).ok()
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signal({})", self.kind())
    }
}

/// What became of a signal that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way, which is no promise that it arrives.
    Taken,
    /// There are no other replicas, ever.
    Nobody,
    /// The others cannot be reached at the moment, or the signal is too large to be sent.
    Away,
}

/// The way to the other replicas: over Redis, or within one process.
pub trait Signals: Send + Sync + 'static {
    /// Sends a signal to all other replicas, without waiting for any. Those of one sender arrive in
    /// the order in which they were sent.
    fn send(&self, signal: Signal) -> Sent;

    /// Everything that other replicas send after this call has returned.
    fn receive(&self) -> Box<dyn SignalReceiver>;
}

/// The receiving end of [`Signals`].
#[async_trait]
pub trait SignalReceiver: Send + 'static {
    /// The next signal that arrived; `None` when there will never be one. Cancel-safe.
    async fn next(&mut self) -> Option<Signal>;
}

/// [`Signals`] of a server without other replicas.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Signals for Alone {
    fn send(&self, _signal: Signal) -> Sent {
        Sent::Nobody
    }

    fn receive(&self) -> Box<dyn SignalReceiver> {
        Box::new(Self)
    }
}

#[async_trait]
impl SignalReceiver for Alone {
    async fn next(&mut self) -> Option<Signal> {
        None
    }
}
