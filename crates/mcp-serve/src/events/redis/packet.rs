//! What replicas send each other over Redis: packets of messages, as JSON.
//!
//! `{"v":1,"from":"<replica>","n":7,"t":1790000000000,"m":[{"event":...},{"signal":...}]}`: `n` is the number of the
//! first message, and of the next one where there is none. A message of a kind that is not known is
//! ignored, and so is a packet of another version.

use std::{borrow::Cow, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    events::{Change, Event},
    signals::{SIGNAL_BYTES_MAX, Signal},
};

const VERSION: u8 = 1;

/// How many bytes of messages go into one packet, unless the first is larger.
pub(super) const PACKET_BYTES: usize = 1 << 20;

/// The largest packet that is read: one that was almost full, and the largest message.
const PACKET_BYTES_MAX: usize = PACKET_BYTES + SIGNAL_BYTES_MAX + (64 << 10);

/// What one replica tells the others.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Message {
    Event(Event),
    Signal(Signal),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Written<'a> {
    Event(WrittenEvent<'a>),
    #[serde(borrow)]
    Signal(&'a RawValue),
}

#[derive(Serialize, Deserialize)]
struct WrittenEvent<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    audience: Option<Cow<'a, str>>,
    #[serde(borrow)]
    change: WrittenChange<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenChange<'a> {
    Tools,
    Prompts,
    Resources,
    #[serde(borrow)]
    Resource(Cow<'a, str>),
}

impl Message {
    /// The message as it is sent; `None` for a signal that is too large.
    pub(super) fn write(&self) -> Option<Box<RawValue>> {
        match self {
            Self::Event(event) => {
                let change = match &event.change {
                    Change::Tools => WrittenChange::Tools,
                    Change::Prompts => WrittenChange::Prompts,
                    Change::Resources => WrittenChange::Resources,
                    Change::Resource(uri) => WrittenChange::Resource(uri.as_ref().into()),
                };
                let audience = event.audience.as_deref().map(Cow::from);
                let event = WrittenEvent { audience, change };
                serde_json::value::to_raw_value(&Written::Event(event)).ok()
            }
            Self::Signal(signal) => {
                let json = String::from_utf8(signal.to_json()?).ok()?;
                let signal = RawValue::from_string(json).ok()?;
                serde_json::value::to_raw_value(&Written::Signal(&signal)).ok()
            }
        }
    }

    fn read(text: &str) -> Option<Self> {
        Some(match serde_json::from_str(text).ok()? {
            Written::Event(event) => Self::Event(Event {
                audience: event.audience.map(Arc::from),
                change: match event.change {
                    WrittenChange::Tools => Change::Tools,
                    WrittenChange::Prompts => Change::Prompts,
                    WrittenChange::Resources => Change::Resources,
                    WrittenChange::Resource(uri) => Change::Resource(uri.into()),
                },
            }),
            Written::Signal(signal) => Self::Signal(Signal::from_json(signal.get().as_bytes())?),
        })
    }
}

/// Messages of one replica, numbered.
#[derive(Serialize, Deserialize)]
pub(super) struct Packet<'a> {
    v: u8,
    /// Which replica.
    #[serde(borrow)]
    pub(super) from: Cow<'a, str>,
    /// The number of the first message.
    pub(super) n: u64,
    /// When it was published, in milliseconds since 1970 by the clock of that replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    t: Option<i64>,
    #[serde(borrow)]
    m: Cow<'a, [&'a RawValue]>,
}

impl<'a> Packet<'a> {
    /// The packet as it is sent.
    pub(super) fn write(from: &str, n: u64, messages: &[Box<RawValue>]) -> Vec<u8> {
        let packet = Packet {
            v: VERSION,
            from: from.into(),
            n,
            t: Some(Timestamp::now().as_millisecond()),
            m: messages.iter().map(AsRef::as_ref).collect(),
        };
        // Fails for nothing that is in it.
        serde_json::to_vec(&packet).unwrap_or_default()
    }

    /// Reads a packet; `None` for what is none, is too large, or is of another version.
    pub(super) fn read(json: &'a [u8]) -> Option<Self> {
        if json.len() > PACKET_BYTES_MAX {
            return None;
        }
        let packet: Self = serde_json::from_slice(json).ok()?;
        (packet.v == VERSION).then_some(packet)
    }

    /// The number of the message after the last one.
    pub(super) fn next(&self) -> u64 {
        self.n.saturating_add(self.m.len() as u64)
    }

    /// How long ago it was published. Clocks differ; never less than nothing.
    pub(super) fn age(&self) -> Option<Duration> {
        let age = Timestamp::now().as_millisecond().saturating_sub(self.t?);
        Some(Duration::from_millis(u64::try_from(age).unwrap_or(0)))
    }

    /// Whether there is a message in it, and not only a number.
    pub(super) fn says_something(&self) -> bool {
        !self.m.is_empty()
    }

    /// The messages that this version knows.
    pub(super) fn messages(&self) -> impl Iterator<Item = Message> {
        self.m.iter().filter_map(|it| Message::read(it.get()))
    }
}
