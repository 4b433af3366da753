//! How a search is understood: the same for every store.
//!
//! - Text and query are cut into tokens by [`tokens()`]: runs of letters, digits and marks, without
//!   regard to case, diacritics and width. In scripts written without spaces (Chinese, Japanese,
//!   Thai, Lao, Khmer, Burmese) and in Korean every character is a token, so that adjacent
//!   characters are found wherever they stand.
//! - The query is split at white space into words. A word is a term: its tokens must follow each
//!   other (`foo_bar()` finds `foo bar`, 東京 finds 東京都). Text between double quotes is one term.
//! - A note matches when every term occurs in its title, its content or one of its tags.
//! - The last word is taken as the beginning of a word when the query ends with it (nothing after
//!   it, not even a quote), its last token has at least [`PREFIX_CHARS_MIN`] characters and it is
//!   not of a script without spaces.
//! - Nothing a person types is an operator or an error: `AND`, `NEAR(`, `*`, `-` and `:` are words
//!   and punctuation. What has no token in a query that has others does not count. Terms after the
//!   first [`TERMS_MAX`] and tokens of a term after the first [`TERM_TOKENS_MAX`] do not count.
//! - A query without any token (only punctuation or emoji) finds the notes whose title, content or
//!   tags hold each of its words exactly. Only the [`LITERAL_NOTES_MAX`] notes changed last are
//!   looked at.
//! - The best match comes first. What a match is worth comes from the note's own title and tags
//!   ([`Query::score`]): each term counts where it counts most, in the title more than in a tag and
//!   in a tag more than in the content, and there as a whole word a little more than as the
//!   beginning of one. How often a word stands anywhere and how long a text is do not count, so
//!   nothing that others write moves the order. Equal matches are ordered by the time of change,
//!   newest first, then by id, descending.

mod score;
mod snippet;
mod tokens;

use sha2::{Digest, Sha256};

use crate::error::{Problem, ProblemCode};
use crate::note::Owner;
use crate::text;

pub(crate) use snippet::snippet;
pub use tokens::{Token, tokens};

/// How many terms of a query count.
pub const TERMS_MAX: usize = 32;

/// How many tokens of a term count.
pub const TERM_TOKENS_MAX: usize = 64;

/// How many characters the last token of a query needs to be taken as the beginning of a word.
pub const PREFIX_CHARS_MIN: usize = 2;

/// How many notes a query without tokens looks at.
pub const LITERAL_NOTES_MAX: u32 = 10_000;

/// What was typed, understood.
#[derive(Clone, PartialEq, Eq)]
pub enum Query {
    /// Terms that must all match; at least one.
    Terms(Vec<Term>),
    /// Strings that must all occur exactly; at least one.
    Literal(Vec<String>),
}

/// Tokens that must follow each other.
#[derive(Clone, PartialEq, Eq)]
pub struct Term {
    /// The tokens; at least one.
    pub tokens: Vec<String>,
    /// Whether the last token need only be the beginning of one.
    pub prefix: bool,
}

impl Query {
    /// Understands what was typed. Only a query of nothing but white space is refused.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let mut terms = Vec::new();
        for piece in pieces(text) {
            if terms.len() == TERMS_MAX {
                break;
            }
            if let Some(term) = piece.term() {
                terms.push(term);
            }
        }
        if !terms.is_empty() {
            return Ok(Self::Terms(terms));
        }
        let words: Vec<String> = text
            .split_whitespace()
            .take(TERMS_MAX)
            .map(str::to_owned)
            .collect();
        if words.is_empty() {
            return Err(Problem::new(
                "query",
                ProblemCode::Empty,
                "is empty; give at least one word to search for",
            ));
        }
        Ok(Self::Literal(words))
    }
}

/// The tokens of `texts` with a space between them, as an index takes them. A sign that is in no
/// token stands between the texts, so that no term reaches from one into the next.
pub(crate) fn index_text<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut joined = String::new();
    for text in texts {
        if !joined.is_empty() {
            joined.push_str(" \u{A6}");
        }
        for token in tokens(text) {
            if !joined.is_empty() {
                joined.push(' ');
            }
            joined.push_str(&token.text);
        }
    }
    joined
}

/// A token that stands for the owner in an index: it is of the same form for every name.
pub(crate) fn owner_token(owner: &Owner) -> String {
    let hash = Sha256::digest(owner.as_str().as_bytes());
    text::hex(&hash[..16])
}

/// A title as titles are compared when only their beginning or a part is given: in lower case.
pub(crate) fn title_key(title: &str) -> String {
    // Character by character: the lower case of a Greek sigma must not depend on what follows.
    title.chars().flat_map(char::to_lowercase).collect()
}

/// The smallest text that is greater than all that start with `prefix`, if there is one.
pub(crate) fn after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // Skips the surrogates, which are no characters.
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// A word of the query, or what stands between quotes.
struct Piece<'a> {
    text: &'a str,
    /// Whether the query ends with it.
    last: bool,
}

impl Piece<'_> {
    fn term(&self) -> Option<Term> {
        let mut ends_with_token = false;
        let mut cut = false;
        let mut found = Vec::new();
        for token in tokens(self.text) {
            if found.len() == TERM_TOKENS_MAX {
                cut = true;
                break;
            }
            ends_with_token = token.range.end == self.text.len() && !token.unspaced;
            found.push(token.text);
        }
        let last = found.last()?;
        let prefix = self.last
            && ends_with_token
            && !cut
            && last.chars().nth(PREFIX_CHARS_MIN - 1).is_some();
        Some(Term {
            tokens: found,
            prefix,
        })
    }
}

/// Splits a query at white space and quotes. A quote that is not closed reaches to the end.
fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let is_quote = |c: char| matches!(c, '"' | '“' | '”' | '„' | '«' | '»');
    let mut rest = text;
    let mut quoted = false;
    std::iter::from_fn(move || {
        loop {
            if !quoted {
                rest = rest.trim_start();
            }
            if rest.is_empty() {
                return None;
            }
            let end = if quoted {
                rest.find(is_quote)
            } else {
                rest.find(|c: char| is_quote(c) || c.is_whitespace())
            };
            let text = &rest[..end.unwrap_or(rest.len())];
            rest = &rest[text.len()..];
            let last = rest.is_empty();
            if let Some(quote) = rest.chars().next().filter(|&c| is_quote(c)) {
                rest = &rest[quote.len_utf8()..];
                quoted = !quoted;
            }
            if !text.is_empty() {
                return Some(Piece { text, last });
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Terms as `foo+bar`, with `*` after a prefix; literals in angle brackets.
    fn parsed(text: &str) -> String {
        match Query::parse(text) {
            Ok(Query::Terms(terms)) => {
                let shown: Vec<String> = terms
                    .iter()
                    .map(|term| term.tokens.join("+") + if term.prefix { "*" } else { "" })
                    .collect();
                shown.join(" ")
            }
            Ok(Query::Literal(words)) => format!("<{}>", words.join("> <")),
            Err(problem) => problem.code.as_str().to_owned(),
        }
    }

    #[test]
    fn words_phrases_and_prefix() {
        for (text, expected) in [
            ("Rust notes", "rust notes*"),
            ("rust notes ", "rust notes"),
            ("\"Rust notes\" now", "rust+notes now*"),
            ("\"rust notes\"", "rust+notes"),
            ("\"rust no", "rust+no*"),
            ("say “hello world” twice", "say hello+world twice*"),
            ("r", "r"),
            ("re", "re*"),
            ("well-known", "well+known*"),
            ("foo_bar()", "foo+bar"),
            ("Vec<String>", "vec+string"),
            ("C++", "c"),
            ("a AND NOT b*", "a and not b"),
            ("NEAR(x y)", "near+x y"),
            ("東京", "東+京"),
            ("東京 tower", "東+京 tower*"),
            ("Rustは", "rust+は"),
            ("ÉCOLE", "ecole*"),
            ("\"\"", "<\"\">"),
            ("🚀 !!", "<🚀> <!!>"),
            ("🚀 launch", "launch*"),
            ("", "empty"),
            (" \t\n", "empty"),
        ] {
            assert_eq!(parsed(text), expected, "{text:?}");
        }
    }

    #[test]
    fn work_is_bounded() {
        let Ok(Query::Terms(terms)) = Query::parse(&"word ".repeat(5000)) else {
            panic!()
        };
        assert_eq!(terms.len(), TERMS_MAX);
        let Ok(Query::Terms(terms)) = Query::parse(&"東".repeat(5000)) else {
            panic!()
        };
        assert_eq!(terms[0].tokens.len(), TERM_TOKENS_MAX);
        let Ok(Query::Literal(words)) = Query::parse(&"! ".repeat(5000)) else {
            panic!()
        };
        assert_eq!(words.len(), TERMS_MAX);
    }
}
