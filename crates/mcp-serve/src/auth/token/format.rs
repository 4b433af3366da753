//! What a token looks like, and its hash.

use std::{fmt, io};

use sha2::{Digest as _, Sha256};

use crate::hex;

/// A token: `mcpn_`, 43 random letters and digits (256 bits), and six that are a checksum of all
/// before them.
///
/// The prefix and the checksum let a scanner for secrets recognise one without asking anybody. It
/// is a secret: nothing but [`Token::reveal`] shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

const PREFIX: &str = "mcpn_";

/// 62 to this power is a little more than 2 to the power of 256.
const RANDOM_CHARS: usize = 43;

/// 62 to this power is more than 2 to the power of 32.
const CHECKSUM_CHARS: usize = 6;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

impl Token {
    /// A new token, of the operating system's randomness.
    pub fn random() -> io::Result<Self> {
        Self::of(|bytes| getrandom::fill(bytes).map_err(|e| io::Error::other(e.to_string())))
    }

    /// A token of the randomness that `fill` gives.
    fn of(mut fill: impl FnMut(&mut [u8]) -> io::Result<()>) -> io::Result<Self> {
        let mut text = String::from(PREFIX);
        let random_end = PREFIX.len() + RANDOM_CHARS;
        while text.len() < random_end {
            let mut bytes = [0_u8; 64];
            fill(&mut bytes)?;
            // Each character must be as likely as any other, so the last few values are not used.
            let fair = bytes.iter().filter(|byte| **byte < 62 * 4);
            let wanted = random_end - text.len();
            text.extend(fair.map(|byte| digit(u32::from(*byte))).take(wanted));
        }
        text += &checksum(&text);
        Ok(Self(text.into()))
    }

    /// A token as somebody presented it; `None` when its form or its checksum is wrong.
    pub fn parse(text: &str) -> Option<Self> {
        let (body, sum) = text.split_at_checked(PREFIX.len() + RANDOM_CHARS)?;
        let random = body.strip_prefix(PREFIX)?;
        let fits = random.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (fits && sum == checksum(body)).then(|| Self(text.into()))
    }

    /// The token itself, for the one who is to have it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it. From 256 random bits nobody finds the way back, so no salt and no slow
    /// hash are needed.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({PREFIX}...)")
    }
}

fn digit(value: u32) -> char {
    char::from(ALPHABET[(value % 62) as usize])
}

/// The CRC-32 of `text` (ISO 3309, as in gzip) in base 62, the most significant digit first.
fn checksum(text: &str) -> String {
    let mut crc = u32::MAX;
    for byte in text.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc = (crc >> 1) ^ (0xEDB8_8320 * low);
        }
    }
    let mut rest = !crc;
    let mut digits = ['0'; CHECKSUM_CHARS];
    for place in digits.iter_mut().rev() {
        *place = digit(rest);
        rest /= 62;
    }
    digits.iter().collect()
}

/// The SHA-256 hash of a token: what is kept, and what is compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash as bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A hash written in 64 hexadecimal digits, otherwise `None`.
    pub fn parse(digits: &str) -> Option<Self> {
        hex::read(digits).map(Self)
    }
}

impl fmt::Display for TokenHash {
    /// In 64 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.0)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({self})")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_token_has_the_form_that_is_documented_and_no_two_are_the_same() {
        let mut seen = HashSet::new();
        for _ in 0..1000 {
            let token = Token::random().unwrap();
            let text = token.reveal();
            assert_eq!(text.len(), 54);
            assert!(text.starts_with("mcpn_"));
            assert!(text[5..].bytes().all(|byte| byte.is_ascii_alphanumeric()));
            assert_eq!(Token::parse(text), Some(token.clone()));
            assert!(seen.insert(text.to_owned()));
        }
        // Every character is used, the first and the last of the alphabet too.
        let used: HashSet<char> = seen.iter().flat_map(|text| text[5..48].chars()).collect();
        assert_eq!(used.len(), 62);
    }

    #[test]
    fn bytes_that_would_favour_some_characters_are_not_used() {
        let mut next = 255_u8;
        let token = Token::of(|bytes| {
            for byte in bytes {
                *byte = next;
                next = next.wrapping_sub(1);
            }
            Ok(())
        });
        // 255 to 248 are left out, and 247 is the last of the alphabet.
        assert!(token.unwrap().reveal().starts_with("mcpn_zyx"));
        assert!(Token::of(|_| Err(io::Error::other("none"))).is_err());
    }

    #[test]
    fn any_one_wrong_character_is_noticed() {
        let token = Token::of(|bytes| {
            bytes.fill(7);
            Ok(())
        });
        let right = token.unwrap().reveal().to_owned();
        for at in 0..right.len() {
            for wrong in [b'0', b'z', b'_', b'!'] {
                let mut text = right.clone().into_bytes();
                if text[at] == wrong {
                    continue;
                }
                text[at] = wrong;
                let text = String::from_utf8(text).unwrap();
                assert_eq!(Token::parse(&text), None, "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_token_is_refused_without_a_panic() {
        let right = Token::random().unwrap().reveal().to_owned();
        let wrong = [
            String::new(),
            "mcpn_".into(),
            right[..53].into(),
            format!("{right}0"),
            format!(" {right}"),
            right.to_uppercase(),
            "\u{e9}".repeat(27),
            format!("mcpn_{}", "\u{20ac}".repeat(16)),
            "x".repeat(1 << 16),
        ];
        for text in wrong {
            assert_eq!(Token::parse(&text), None, "{text:?}");
        }
    }

    #[test]
    fn the_checksum_is_the_crc_of_gzip() {
        // The check value of CRC-32 is 0xCBF43926, which is this in base 62.
        assert_eq!(checksum("123456789"), "3jZRME");
        assert_eq!(checksum(""), "000000");
    }

    #[test]
    fn nothing_shows_a_token_by_accident() {
        let token = Token::random().unwrap();
        assert_eq!(format!("{token:?}"), "Token(mcpn_...)");
        let hash = token.hash().to_string();
        assert_eq!(hash.len(), 64);
        assert_eq!(TokenHash::parse(&hash), Some(token.hash()));
    }

    #[test]
    fn a_hash_is_64_hexadecimal_digits() {
        let zeros = "0".repeat(64);
        assert!(TokenHash::parse(&zeros).is_some());
        for wrong in ["", "0", &zeros[1..], &format!("{zeros}0"), &"+0".repeat(32)] {
            assert_eq!(TokenHash::parse(wrong), None, "{wrong:?}");
        }
        assert_eq!(TokenHash::parse(&"\u{e9}".repeat(32)), None);
    }
}
