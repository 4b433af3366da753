//! The part of a text around what was searched for.

use super::{Query, Term, Token, tokens};

/// How many characters a snippet shows at most, without the signs for what was left out.
const SNIPPET_CHARS: usize = 200;

/// How many of them come before the match.
const BEFORE_CHARS: usize = 60;

/// The part of `content` around the first match of `query`, or its beginning.
pub(crate) fn snippet(content: &str, query: &Query) -> String {
    let at = match query {
        Query::Terms(terms) => first_match(content, terms),
        Query::Literal(words) => words
            .iter()
            .filter_map(|word| content.find(word.as_str()))
            .min(),
    };
    cut(content, at.unwrap_or(0))
}

/// Where the first match of any term begins, in bytes.
fn first_match(content: &str, terms: &[Term]) -> Option<usize> {
    let all: Vec<Token> = tokens(content).collect();
    let start = (0..all.len()).find(|&at| {
        terms
            .iter()
            .any(|term| term.begins(&all[at..], term.prefix))
    })?;
    Some(all[start].range.start)
}

fn cut(content: &str, at: usize) -> String {
    let start = content[..at]
        .char_indices()
        .rev()
        .take(BEFORE_CHARS)
        .last()
        .map_or(at, |(i, _)| i);
    let rest = &content[start..];
    let end = rest
        .char_indices()
        .nth(SNIPPET_CHARS)
        .map_or(rest.len(), |(i, _)| i);
    let mut snippet = String::with_capacity(end + 6);
    if start > 0 {
        snippet.push('…');
    }
    snippet.push_str(&rest[..end]);
    if end < rest.len() {
        snippet.push('…');
    }
    snippet
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(content: &str, query: &str) -> String {
        snippet(content, &Query::parse(query).unwrap())
    }

    #[test]
    fn shows_what_is_around_the_match() {
        assert_eq!(shown("short text", "text"), "short text");
        let long = format!("{} needle {}", "é".repeat(300), "ü".repeat(300));
        let snippet = shown(&long, "need");
        assert!(
            snippet.starts_with("…é") && snippet.ends_with("ü…"),
            "{snippet}"
        );
        assert_eq!(snippet.chars().count(), SNIPPET_CHARS + 2);
        assert!(snippet.contains(" needle "));
        assert!(shown(&format!("{}🚀", "a".repeat(500)), "🚀").ends_with("a🚀"));
    }

    #[test]
    fn a_match_elsewhere_shows_the_beginning() {
        let long = "word ".repeat(100);
        assert_eq!(
            shown(&long, "absent"),
            format!("{}…", &long[..SNIPPET_CHARS])
        );
    }

    #[test]
    fn phrases_and_characters_are_found_in_place() {
        let text = format!("foo x {}foo bar", "- ".repeat(100));
        assert!(shown(&text, "foo_bar!").ends_with("foo bar"));
        let text = format!("{}東京都", "京東".repeat(100));
        assert!(shown(&text, "東京都").ends_with("東京都"));
    }
}
