//! Which characters have no place in a note, and how that is said.
//!
//! Text is kept exactly as given, or refused; it is never rewritten. Refused are control characters
//! (C0, DEL and C1) other than tab, line feed and carriage return; bidirectional embeddings,
//! overrides and isolates that are not closed within their paragraph (Unicode Standard Annex 9),
//! because they reorder what follows them on screen; and tag characters (U+E0000 to U+E007F)
//! outside a flag emoji (Unicode Technical Standard 51), because they carry text nobody sees.

use std::borrow::Cow;

use crate::error::{Problem, ProblemCode, Result};

/// Refuses a text that may have several lines if it holds a forbidden character.
pub(crate) fn check_text(field: impl Into<Cow<'static, str>>, text: &str) -> Result<(), Problem> {
    report(field, forbidden(text, |c| matches!(c, '\t' | '\n' | '\r')))
}

/// Refuses a text of one line if it holds a forbidden character or a line break.
pub(crate) fn check_line(field: impl Into<Cow<'static, str>>, text: &str) -> Result<(), Problem> {
    report(
        field,
        forbidden(text, |_| false).or_else(|| line_separator(text)),
    )
}

/// Refuses a text that is empty or has more than `chars_max` Unicode scalar values.
pub(crate) fn check_length(
    field: impl Into<Cow<'static, str>>,
    text: &str,
    chars_max: usize,
) -> Result<(), Problem> {
    if text.is_empty() {
        return Err(Problem::new(
            field,
            ProblemCode::Empty,
            "is empty; give it at least one character",
        ));
    }
    // A text of few bytes has few characters; only long ones are worth counting.
    if text.len() > chars_max {
        let chars = text.chars().count();
        if chars > chars_max {
            return Err(Problem::new(
                field,
                ProblemCode::TooLong,
                format!("is {chars} characters long; at most {chars_max} are allowed"),
            ));
        }
    }
    Ok(())
}

/// A character that has no place in a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Forbidden {
    character: char,
    /// Counted in characters from 1.
    position: usize,
    why: &'static str,
}

const CONTROL: &str = "a control character";
const LINE: &str = "a line break, in a text of one line";
const BIDI_OPEN: &str = "a bidirectional control that is not closed in its paragraph";
const BIDI_CLOSE: &str = "the end of a bidirectional control that was not opened";
const TAG: &str = "an invisible tag character outside a flag emoji";

fn report(field: impl Into<Cow<'static, str>>, found: Option<Forbidden>) -> Result<(), Problem> {
    let Some(Forbidden {
        character,
        position,
        why,
    }) = found
    else {
        return Ok(());
    };
    let code = u32::from(character);
    Err(Problem::new(
        field,
        ProblemCode::ForbiddenCharacter,
        format!("has U+{code:04X} as its character {position}, which is {why}; remove it"),
    ))
}

fn forbidden(text: &str, control_allowed: impl Fn(char) -> bool) -> Option<Forbidden> {
    if text.is_ascii() {
        return text
            .chars()
            .zip(1..)
            .find(|&(c, _)| c.is_control() && !control_allowed(c))
            .map(|(character, position)| Forbidden {
                character,
                position,
                why: CONTROL,
            });
    }
    let mut open: Vec<(char, usize)> = Vec::new();
    let mut tags = TagRun::Outside;
    for (character, position) in text.chars().zip(1..) {
        if character.is_control() && !control_allowed(character) {
            return Some(Forbidden {
                character,
                position,
                why: CONTROL,
            });
        }
        if let Some(found) = tags.step(character, position) {
            return Some(found);
        }
        if let Some(found) = bidi_step(&mut open, character, position) {
            return Some(found);
        }
    }
    tags.end().or_else(|| unclosed(&open))
}

fn line_separator(text: &str) -> Option<Forbidden> {
    text.chars()
        .zip(1..)
        .find(|&(c, _)| matches!(c, '\u{2028}' | '\u{2029}'))
        .map(|(character, position)| Forbidden {
            character,
            position,
            why: LINE,
        })
}

/// Follows the nesting of bidirectional controls: PDF closes an embedding or override, PDI an
/// isolate, and the end of a paragraph must find all closed.
fn bidi_step(open: &mut Vec<(char, usize)>, character: char, position: usize) -> Option<Forbidden> {
    let is_isolate = |c: char| matches!(c, '\u{2066}'..='\u{2068}');
    let closes_isolate = match character {
        '\u{202A}' | '\u{202B}' | '\u{202D}' | '\u{202E}' | '\u{2066}'..='\u{2068}' => {
            open.push((character, position));
            return None;
        }
        '\u{202C}' => false,
        '\u{2069}' => true,
        '\n' | '\r' | '\u{2029}' => return unclosed(open),
        _ => return None,
    };
    match open.last() {
        Some(&(opener, _)) if is_isolate(opener) == closes_isolate => {
            open.pop();
            None
        }
        // An embedding left open inside an isolate that ends here.
        Some(_) if closes_isolate && open.iter().any(|&(c, _)| is_isolate(c)) => {
            unclosed_last(open)
        }
        _ => Some(Forbidden {
            character,
            position,
            why: BIDI_CLOSE,
        }),
    }
}

fn unclosed(open: &[(char, usize)]) -> Option<Forbidden> {
    open.first().map(|&(character, position)| Forbidden {
        character,
        position,
        why: BIDI_OPEN,
    })
}

fn unclosed_last(open: &[(char, usize)]) -> Option<Forbidden> {
    open.last().map(|&(character, position)| Forbidden {
        character,
        position,
        why: BIDI_OPEN,
    })
}

/// Where in a flag emoji (black flag, three to six tag letters or digits that begin with a country,
/// cancel tag) the last character was.
#[derive(Clone, Copy)]
enum TagRun {
    Outside,
    AfterFlag,
    InSpec {
        first: char,
        position: usize,
        length: usize,
    },
}

impl TagRun {
    fn step(&mut self, c: char, position: usize) -> Option<Forbidden> {
        let is_letter = matches!(c, '\u{E0061}'..='\u{E007A}');
        let is_digit = matches!(c, '\u{E0030}'..='\u{E0039}');
        let next = match (*self, c) {
            (_, '\u{1F3F4}') => Self::AfterFlag,
            (Self::AfterFlag, _) if is_letter => Self::InSpec {
                first: c,
                position,
                length: 1,
            },
            (
                Self::InSpec {
                    first,
                    position,
                    length,
                },
                _,
            ) if length < 6 && (is_letter || (is_digit && length >= 2)) => Self::InSpec {
                first,
                position,
                length: length + 1,
            },
            (Self::InSpec { length: 3.., .. }, '\u{E007F}') => Self::Outside,
            (_, '\u{E0000}'..='\u{E007F}') => {
                return Some(Forbidden {
                    character: c,
                    position,
                    why: TAG,
                });
            }
            _ => Self::Outside,
        };
        // A sequence that was begun and not ended by the cancel tag was never a flag.
        let unfinished = match next {
            Self::InSpec { .. } => None,
            Self::Outside if c == '\u{E007F}' => None,
            _ => self.end(),
        };
        *self = next;
        unfinished
    }

    fn end(self) -> Option<Forbidden> {
        match self {
            Self::InSpec {
                first, position, ..
            } => Some(Forbidden {
                character: first,
                position,
                why: TAG,
            }),
            _ => None,
        }
    }
}

/// Bytes in hexadecimal digits, lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            digits.extend(char::from_digit(nibble.into(), 16));
        }
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str) -> Option<(u32, usize)> {
        forbidden(text, |c| matches!(c, '\t' | '\n' | '\r'))
            .map(|found| (u32::from(found.character), found.position))
    }

    #[test]
    fn ordinary_text_of_any_script_passes() {
        for text in [
            "",
            "a\tb\r\nc\n",
            "Vec<String> && <script>alert(1)</script>",
            "שלום world مرحبا\u{200F}!",
            "family 👨‍👩‍👧‍👦, flag 🇩🇪, skin 👍🏽, 日本語, é e\u{301}",
            "\u{2067}שלום\u{2069} and \u{202B}مرحبا\u{202C}",
            "\u{2068}a \u{202E}b\u{202C} c\u{2069}\nnext",
            "🏴\u{E0067}\u{E0062}\u{E0065}\u{E006E}\u{E0067}\u{E007F} England",
            "🏴\u{E0075}\u{E0073}\u{E0074}\u{E0078}\u{E007F}🏴",
        ] {
            assert_eq!(first(text), None, "{text:?}");
        }
    }

    #[test]
    fn control_characters_are_named_with_their_position() {
        assert_eq!(first("a\0"), Some((0, 2)));
        assert_eq!(first("äö\u{1b}[31m"), Some((0x1b, 3)));
        assert_eq!(first("\u{7f}"), Some((0x7f, 1)));
        assert_eq!(first("x\u{85}"), Some((0x85, 2)));
        assert_eq!(first("x\u{b}"), Some((0xb, 2)));
        let problem = check_text("content", "ab\u{1b}").unwrap_err();
        assert_eq!(
            problem.to_string(),
            "content has U+001B as its character 3, which is a control character; remove it"
        );
    }

    #[test]
    fn a_line_has_no_line_break() {
        for c in ['\t', '\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'] {
            assert!(check_line("title", &format!("ab{c}c")).is_err(), "{c:?}");
        }
        assert!(check_line("title", "a b — c").is_ok());
    }

    #[test]
    fn bidirectional_controls_must_be_paired_in_their_paragraph() {
        assert_eq!(first("a\u{202E}b"), Some((0x202e, 2)));
        assert_eq!(first("a\u{202C}b"), Some((0x202c, 2)));
        assert_eq!(first("\u{2066}a\nb\u{2069}"), Some((0x2066, 1)));
        assert_eq!(first("\u{2066}a\u{202C}\u{2069}"), Some((0x202c, 3)));
        assert_eq!(first("\u{2066}a\u{202D}b\u{2069}"), Some((0x202d, 3)));
        assert_eq!(first("\u{202D}a\u{2069}"), Some((0x2069, 3)));
        assert_eq!(first("\u{202A}a\u{202C}\u{2067}"), Some((0x2067, 4)));
    }

    #[test]
    fn tag_characters_pass_only_in_a_flag() {
        assert_eq!(first("a\u{E0061}\u{E0062}"), Some((0xE0061, 2)));
        assert_eq!(first("\u{E0001}"), Some((0xE0001, 1)));
        // No cancel tag, one letter only, digits first, seven letters.
        assert_eq!(first("🏴\u{E0067}\u{E0062}\u{E0065} x"), Some((0xE0067, 2)));
        assert_eq!(first("🏴\u{E0067}\u{E0062}\u{E0065}"), Some((0xE0067, 2)));
        assert_eq!(first("🏴\u{E0067}\u{E007F}"), Some((0xE007F, 3)));
        assert_eq!(
            first("🏴\u{E0031}\u{E0067}\u{E0067}\u{E007F}"),
            Some((0xE0031, 2))
        );
        let seven = "\u{E0067}".repeat(7);
        assert_eq!(first(&format!("🏴{seven}\u{E007F}")), Some((0xE0067, 8)));
        assert_eq!(first("🏴\u{E0067}\u{E0062}\u{E0065}🏴"), Some((0xE0067, 2)));
        assert_eq!(first("🏴\u{E007F}"), Some((0xE007F, 2)));
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        assert!(check_length("title", &"é".repeat(255), 255).is_ok());
        assert_eq!(
            check_length("title", &"é".repeat(256), 255)
                .unwrap_err()
                .code,
            ProblemCode::TooLong
        );
        assert_eq!(
            check_length("title", "", 255).unwrap_err().code,
            ProblemCode::Empty
        );
    }
}
