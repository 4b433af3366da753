//! How well a note that is found matches: what the best match is, for every store.

use super::{Query, Term, Token, tokens};

/// What a term counts that stands in the title, as whole words.
const TITLE: u32 = 8;

/// What a term counts that stands in a tag, as whole words.
const TAG: u32 = 4;

/// What a term counts that stands in the content only, however it stands there.
const CONTENT: u32 = 2;

/// What a term counts less of which title or tag have only the beginning.
const BEGINNING: u32 = 1;

impl Query {
    /// How well a note that matches does so, from its own title and tags alone: more is better. A
    /// note with all terms in its title has the most, one with all of them in its content only has
    /// the least. Without terms, all are the same.
    pub fn score<'a>(&self, title: &str, tags: impl IntoIterator<Item = &'a str>) -> u32 {
        let Self::Terms(terms) = self else { return 0 };
        let title: Vec<Token> = tokens(title).collect();
        let tags: Vec<Vec<Token>> = tags.into_iter().map(|tag| tokens(tag).collect()).collect();
        terms
            .iter()
            .map(|term| {
                let in_title = term.counts(&title, TITLE);
                let in_tags = tags.iter().filter_map(|tag| term.counts(tag, TAG)).max();
                in_title.or(in_tags).unwrap_or(CONTENT)
            })
            .sum()
    }
}

impl Term {
    /// What the term counts in a text where whole words count `most`; nothing if it is not there.
    fn counts(&self, text: &[Token], most: u32) -> Option<u32> {
        let found = |prefix| (0..text.len()).any(|at| self.begins(&text[at..], prefix));
        if found(false) {
            Some(most)
        } else if self.prefix && found(true) {
            Some(most - BEGINNING)
        } else {
            None
        }
    }

    /// Whether `text` begins with the tokens of the term; with `prefix`, the last need only be the
    /// beginning of one.
    pub(crate) fn begins(&self, text: &[Token], prefix: bool) -> bool {
        let last = self.tokens.len() - 1;
        text.len() > last
            && self
                .tokens
                .iter()
                .zip(text)
                .enumerate()
                .all(|(index, (wanted, token))| {
                    if prefix && index == last {
                        token.text.starts_with(wanted.as_str())
                    } else {
                        token.text == *wanted
                    }
                })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(query: &str, title: &str, tags: &[&str]) -> u32 {
        Query::parse(query)
            .unwrap()
            .score(title, tags.iter().copied())
    }

    #[test]
    fn the_best_place_of_each_term_counts() {
        for (query, title, tags, expected) in [
            ("word ", "A Word", &[][..], TITLE),
            ("word ", "a word", &["word"], TITLE),
            ("word ", "words", &["key-word"], TAG),
            ("word ", "words", &["words"], CONTENT),
            ("wo", "words", &["wo"], TITLE - BEGINNING),
            ("wo", "own", &["b-word", "a"], TAG - BEGINNING),
            ("wo", "own", &["b-word", "wo"], TAG),
            ("wo", "other", &[], CONTENT),
            ("\"big word\" ", "big bad word", &["big", "word"], CONTENT),
            ("\"big wo", "the big word", &[], TITLE - BEGINNING),
            ("big word ", "big", &["word"], TITLE + TAG),
            ("big word now ", "big", &["word"], TITLE + TAG + CONTENT),
            ("東京", "東京都", &[], TITLE),
            ("ÉCOLE", "ecole", &[], TITLE),
            ("->", "->", &["->"], 0),
        ] {
            assert_eq!(
                score(query, title, tags),
                expected,
                "{query:?} in {title:?} {tags:?}"
            );
        }
    }
}
