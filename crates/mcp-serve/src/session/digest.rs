//! The name of a session where its id must not be seen.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};

use crate::hex;

/// SHA-256 of a session's id: names the session to other replicas and in Redis, and is of no use to
/// who reads it there. Written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionDigest([u8; 32]);

impl SessionDigest {
    /// The digest of the id `id`.
    pub(super) fn of(id: &str) -> Self {
        Self(Sha256::digest(id).into())
    }

    /// The digest itself.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A digest as it is written; `None` for what is none.
    pub fn parse(text: &str) -> Option<Self> {
        hex::read(text).map(Self)
    }
}

impl fmt::Display for SessionDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.0)
    }
}

impl fmt::Debug for SessionDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionDigest({self})")
    }
}

impl Serialize for SessionDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not the digest of a session"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SessionId;

    #[test]
    fn a_digest_is_read_as_it_is_written_and_says_nothing_of_the_id() {
        let id = SessionId::parse("abc").unwrap();
        let digest = id.digest();
        // FIPS 180-4, appendix: the digest of "abc".
        assert_eq!(
            digest.to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(SessionDigest::parse(&digest.to_string()), Some(digest));
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(
            serde_json::from_str::<SessionDigest>(&json).unwrap(),
            digest
        );
        for wrong in [
            "",
            "abc",
            &"g".repeat(64),
            &"+1".repeat(32),
            &"a".repeat(65),
        ] {
            assert_eq!(SessionDigest::parse(wrong), None, "{wrong}");
        }
    }
}
