//! What an index of terms keeps of a text, and what a search asks it for.
//!
//! The index has the tokens of a text, and where two tokens of a script without spaces follow each
//! other the two together, because one such character stands in too many notes. A search for whole
//! words is answered by the index alone; of a phrase it gives the notes that can have it, and
//! [`matches`] decides.

use std::collections::BTreeSet;

use crate::search::{Term, Token, tokens};

/// How many characters of a token the index has.
const TERM_CHARS_MAX: usize = 64;

/// How many terms of a search the index is asked for; the rest is left to [`matches`].
const KEYS_MAX: usize = 16;

/// What an index keeps of `texts`, sorted and without repetition.
pub(super) fn index_terms<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut terms = BTreeSet::new();
    for text in texts {
        let mut before: Option<Token> = None;
        for token in tokens(text) {
            if let Some(before) = before.filter(|before| before.unspaced && token.unspaced) {
                terms.insert(before.text + &token.text);
            }
            let cut = cut(&token.text);
            if !terms.contains(cut) {
                terms.insert(cut.to_owned());
            }
            before = Some(token);
        }
    }
    terms.into_iter().collect()
}

/// What an index is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// A term.
    Whole(String),
    /// Terms that begin so.
    Beginning(String),
}

/// What a search asks an index for: everything that a note must have to match.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Keys {
    /// At least one.
    pub(super) keys: Vec<Key>,
    /// Whether a note that has all of them matches.
    pub(super) exact: bool,
}

impl Keys {
    pub(super) fn of(terms: &[Term]) -> Self {
        let mut keys = BTreeSet::new();
        let mut exact = true;
        for term in terms {
            exact &= add(term, &mut keys);
        }
        let mut keys: Vec<Key> = keys.into_iter().collect();
        if keys.len() > KEYS_MAX {
            // What is long is rare.
            keys.sort_by_key(|key| match key {
                Key::Whole(text) | Key::Beginning(text) => std::cmp::Reverse(text.len()),
            });
            keys.truncate(KEYS_MAX);
            exact = false;
        }
        Self { keys, exact }
    }
}

/// Adds the keys of `term`; says whether a text that has them all has the term.
fn add(term: &Term, keys: &mut BTreeSet<Key>) -> bool {
    let last = term.tokens.len() - 1;
    let whole = term
        .tokens
        .iter()
        .all(|token| token.chars().count() < TERM_CHARS_MAX);
    let mut pairs = 0;
    for (index, token) in term.tokens.iter().enumerate() {
        let next = term.tokens.get(index + 1);
        if let Some(next) = next.filter(|next| is_unspaced(token) && is_unspaced(next)) {
            keys.insert(Key::Whole(format!("{token}{next}")));
            pairs += 1;
            continue;
        }
        let in_pair = index > 0 && is_unspaced(token) && is_unspaced(&term.tokens[index - 1]);
        if in_pair {
            continue;
        }
        let cut = cut(token);
        keys.insert(if term.prefix && index == last && cut == token {
            Key::Beginning(cut.to_owned())
        } else {
            Key::Whole(cut.to_owned())
        });
    }
    whole && (last == 0 || (last == 1 && pairs == 1))
}

/// Whether each term is in one of the texts.
pub(super) fn matches(terms: &[Term], texts: &[&str]) -> bool {
    let texts: Vec<Vec<Token>> = texts.iter().map(|text| tokens(text).collect()).collect();
    let has = |text: &Vec<Token>, term: &Term| {
        (0..text.len()).any(|at| term.begins(&text[at..], term.prefix))
    };
    terms
        .iter()
        .all(|term| texts.iter().any(|text| has(text, term)))
}

fn cut(token: &str) -> &str {
    match token.char_indices().nth(TERM_CHARS_MAX) {
        Some((end, _)) => &token[..end],
        None => token,
    }
}

/// Whether a token is a character of a script without spaces.
fn is_unspaced(token: &str) -> bool {
    tokens(token).next().is_some_and(|token| token.unspaced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Query;

    fn keys(text: &str) -> Keys {
        match Query::parse(text).unwrap() {
            Query::Terms(terms) => Keys::of(&terms),
            Query::Literal(_) => panic!("{text} has no token"),
        }
    }

    #[test]
    fn an_index_has_tokens_and_pairs_of_characters() {
        assert_eq!(index_terms(["Rust, rust"]), ["rust"]);
        assert_eq!(
            index_terms(["東京都 a", "京"]),
            ["a", "京", "京都", "東", "東京", "都"]
        );
        // No pair reaches from one text into the next.
        assert_eq!(index_terms(["東", "京"]), ["京", "東"]);
        let long = "x".repeat(100);
        assert_eq!(index_terms([long.as_str()]), ["x".repeat(64)]);
    }

    #[test]
    fn words_and_pairs_are_exact_and_phrases_are_not() {
        let whole = |text: &str| Key::Whole(text.to_owned());
        let beginning = |text: &str| Key::Beginning(text.to_owned());
        for (text, wanted, exact) in [
            ("rust ", vec![whole("rust")], true),
            ("notes rust", vec![whole("notes"), beginning("rust")], true),
            ("\"rust notes\"", vec![whole("notes"), whole("rust")], false),
            ("東京", vec![whole("東京")], true),
            ("京", vec![whole("京")], true),
            ("東京都", vec![whole("京都"), whole("東京")], false),
            ("東京x", vec![whole("x"), whole("東京")], false),
        ] {
            let found = keys(text);
            assert_eq!((found.keys, found.exact), (wanted, exact), "{text}");
        }
        let long = "x".repeat(64);
        let found = keys(&long);
        assert_eq!((found.keys, found.exact), (vec![beginning(&long)], false));
        let found = keys(&format!("{long}y"));
        assert_eq!((found.keys, found.exact), (vec![whole(&long)], false));
        let many: Vec<String> = (0..40).map(|n| format!("word{n}")).collect();
        let found = keys(&many.join(" "));
        assert_eq!((found.keys.len(), found.exact), (KEYS_MAX, false));
    }
}
