//! The bounds of what signals carry.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::session::{SessionError, SessionId};

/// The largest signal, in bytes of JSON.
pub const SIGNAL_BYTES_MAX: usize = 4 << 20;

/// Most that one piece of an answer carries, in bytes.
pub const PIECE_BYTES_MAX: usize = 32 << 10;

/// A name that cannot be guessed: 1 to 64 visible ASCII characters.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Token(Arc<str>);

impl Token {
    /// A new one, of 192 bits of the operating system's randomness.
    pub fn random() -> Result<Self, SessionError> {
        Ok(Self(SessionId::random()?.as_str().into()))
    }

    /// A name as it was sent; `None` for what is none.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    /// Who knows it can take its place, so it is not printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not a name"))
    }
}

/// Bytes as base64 (RFC 4648 section 4).
pub(super) mod base64 {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    use super::PIECE_BYTES_MAX;

    pub(in crate::signals) fn serialize<S: Serializer>(
        bytes: &Bytes,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(in crate::signals) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() > PIECE_BYTES_MAX.div_ceil(3) * 4 {
            return Err(D::Error::custom("a piece is too large"));
        }
        let bytes = STANDARD.decode(text.as_bytes());
        bytes
            .map(Bytes::from)
            .map_err(|_| D::Error::custom("not base64"))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rmcp::model::{ErrorData, RequestId};
    use serde_json::json;

    use super::*;
    use crate::signals::{Answer, Piece, Signal};

    fn all() -> Vec<Signal> {
        let session = SessionId::parse("abc").unwrap().digest();
        let reader = Token::random().unwrap();
        let part = |bytes: Vec<u8>| Signal::Piece {
            reader: reader.clone(),
            at: 7,
            piece: Piece::Part {
                message: 3,
                bytes: bytes.into(),
                last: false,
            },
        };
        vec![
            Signal::Cancel {
                session,
                request: RequestId::Number(-1),
            },
            Signal::Answer {
                session,
                request: RequestId::String("a".into()),
                answer: Answer::Result(json!({"action": "accept", "content": {"n": 1.5}})),
            },
            Signal::Answer {
                session,
                request: RequestId::String("a".into()),
                answer: Answer::Error(ErrorData::invalid_params("no", Some(json!([1])))),
            },
            Signal::Ended { session },
            Signal::StreamOpened {
                session,
                at: u64::MAX,
                tie: 0,
            },
            Signal::Resume {
                session,
                stream: Token::parse("s").unwrap(),
                seen: None,
                reader: reader.clone(),
            },
            part(vec![0xff; PIECE_BYTES_MAX]),
            part(Vec::new()),
            Signal::Taken {
                reader: reader.clone(),
                pieces: 9,
            },
            Signal::Left { reader },
            Signal::CredentialRevoked {
                credential: "c".into(),
            },
        ]
    }

    #[test]
    fn every_signal_is_read_as_it_was_written() {
        for signal in all() {
            let json = signal.to_json().unwrap();
            assert!(Signal::from_json(&json) == Some(signal), "{json:?}");
        }
    }

    #[test]
    fn what_is_no_signal_is_ignored() {
        for signal in all() {
            let json = signal.to_json().unwrap();
            for end in 0..json.len().min(200) {
                assert!(Signal::from_json(&json[..end]).is_none());
            }
        }
        let digest = "a".repeat(64);
        let long = "a".repeat(65);
        for wrong in [
            json!({}),
            json!([]),
            json!("ended"),
            json!({"unheard_of": {"session": digest}}),
            json!({"ended": {}}),
            json!({"ended": {"session": "abc"}}),
            json!({"ended": {"session": long}}),
            json!({"left": {"reader": long}}),
            json!({"left": {"reader": ""}}),
            json!({"left": {"reader": "a b"}}),
            json!({"taken": {"reader": "a", "pieces": -1}}),
            json!({"piece": {"reader": "a", "at": 0, "piece": {"part":
                {"message": 0, "bytes": "%", "last": true}}}}),
            json!({"piece": {"reader": "a", "at": 0, "piece": {"part":
                {"message": 0, "bytes": "A".repeat(PIECE_BYTES_MAX * 2), "last": true}}}}),
        ] {
            let json = wrong.to_string();
            assert!(Signal::from_json(json.as_bytes()).is_none(), "{wrong}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Signal::from_json(deep.as_bytes()).is_none());
    }

    #[test]
    fn a_signal_is_bounded_and_shows_nothing_of_what_it_carries() {
        let session = SessionId::parse("abc").unwrap().digest();
        let answer = |bytes| Signal::Answer {
            session,
            request: RequestId::Number(1),
            answer: Answer::Result(json!("secret".repeat(bytes / 6))),
        };
        assert!(answer(1 << 20).to_json().is_some());
        assert!(answer(SIGNAL_BYTES_MAX).to_json().is_none());
        let padded = [
            Bytes::from("{\"ended\":{}}"),
            Bytes::from(vec![b' '; SIGNAL_BYTES_MAX]),
        ];
        assert!(Signal::from_json(&padded.concat()).is_none());
        for signal in all() {
            let shown = format!("{signal:?}");
            assert_eq!(shown, format!("Signal({})", signal.kind()));
        }
    }
}
