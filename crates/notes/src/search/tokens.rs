//! Cuts text into tokens: what counts as a word when notes are searched.

use std::collections::VecDeque;
use std::ops::Range;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// A word of a text, or a character of a script written without spaces, in the form in which it is
/// compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Letters, digits and marks, folded: lower case, compatibility forms resolved (NFKC), without
    /// diacritics.
    pub text: String,
    /// Which bytes of the text it came from.
    pub range: Range<usize>,
    /// Whether it is a character of a script in which every character is a token.
    pub unspaced: bool,
}

/// The tokens of `text`, in order.
pub fn tokens(text: &str) -> impl Iterator<Item = Token> {
    Tokens {
        text,
        at: 0,
        run: None,
        ready: VecDeque::new(),
    }
}

struct Tokens<'a> {
    text: &'a str,
    at: usize,
    /// The word that is being read.
    run: Option<Token>,
    /// Tokens that are complete, in order.
    ready: VecDeque<Token>,
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            if let Some(token) = self.ready.pop_front() {
                return Some(token);
            }
            if self.at == self.text.len() {
                return self.run.take();
            }
            if !self.read_ascii() {
                self.read_cluster();
            }
        }
    }
}

impl Tokens<'_> {
    /// Reads ASCII characters of one kind, which is most of most text; says whether there are any.
    fn read_ascii(&mut self) -> bool {
        let rest = &self.text.as_bytes()[self.at..];
        let is_word = rest[0].is_ascii_alphanumeric();
        let same = |byte: &u8| byte.is_ascii() && byte.is_ascii_alphanumeric() == is_word;
        let mut length = rest
            .iter()
            .position(|byte| !same(byte))
            .unwrap_or(rest.len());
        // A mark that follows belongs to the last character.
        if rest.get(length).is_some_and(|next| !next.is_ascii()) {
            length = length.saturating_sub(1);
        }
        if length == 0 {
            return false;
        }
        let range = self.at..self.at + length;
        self.at = range.end;
        if is_word {
            let word = &self.text[range.clone()];
            let run = self.run.get_or_insert_with(|| Token {
                text: String::with_capacity(length),
                range: range.clone(),
                unspaced: false,
            });
            let start = run.text.len();
            run.text.push_str(word);
            run.text[start..].make_ascii_lowercase();
            run.range.end = range.end;
        } else {
            self.ready.extend(self.run.take());
        }
        true
    }

    /// Reads one character with the marks that belong to it.
    fn read_cluster(&mut self) {
        let rest = &self.text[self.at..];
        let length = cluster_bytes(rest);
        let range = self.at..self.at + length;
        self.at = range.end;
        let cluster = &rest[..length];
        let mut chars = cluster.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) if is_its_own_form(c) => self.take(c, &range),
            _ => fold(cluster).for_each(|c| self.take(c, &range)),
        }
    }

    fn take(&mut self, c: char, range: &Range<usize>) {
        if is_ignorable(c) {
            if let Some(run) = &mut self.run {
                run.range.end = range.end;
            }
        } else if is_unspaced(c) {
            self.ready.extend(self.run.take());
            let token = Token {
                text: c.to_string(),
                range: range.clone(),
                unspaced: true,
            };
            self.ready.push_back(token);
        } else if c.is_alphanumeric() || is_combining_mark(c) {
            let run = self.run.get_or_insert_with(|| Token {
                text: String::new(),
                range: range.clone(),
                unspaced: false,
            });
            run.text.push(c);
            run.range.end = range.end;
        } else {
            self.ready.extend(self.run.take());
        }
    }
}

/// Whether folding leaves the character as it is: common ideographs, kana and Korean syllables.
/// They are most of the text they occur in, and need no look into the tables.
fn is_its_own_form(c: char) -> bool {
    matches!(c,
        '\u{3041}'..='\u{3096}' | '\u{30A1}'..='\u{30FA}'
        | '\u{4E00}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7A3}')
}

/// How many bytes the first character of `text` takes together with the marks that follow it, and
/// with what composes with it: vowels and final consonants of a decomposed Korean syllable, the
/// sound marks of half-width Japanese.
fn cluster_bytes(text: &str) -> usize {
    let mut chars = text.char_indices();
    chars.next();
    chars
        .find(|&(_, c)| {
            !(!c.is_ascii()
                && (is_combining_mark(c)
                    || matches!(c, '\u{1160}'..='\u{11FF}' | '\u{FF9E}' | '\u{FF9F}')))
        })
        .map_or(text.len(), |(at, _)| at)
}

/// The folded form of one character and its marks.
fn fold(cluster: &str) -> impl Iterator<Item = char> {
    cluster
        .nfkd()
        .filter(|&c| !is_diacritic(c))
        .flat_map(char::to_lowercase)
        .flat_map(|c| match c {
            'ß' => ['s', 's'].into_iter().take(2),
            'ς' => ['σ', ' '].into_iter().take(1),
            c => [c, ' '].into_iter().take(1),
        })
        // Lower case can bring a diacritic back: İ becomes i with a dot above.
        .filter(|&c| !is_diacritic(c))
        .nfc()
}

/// Marks that people leave out when they search: of Latin, Greek and Cyrillic letters, Hebrew and
/// Arabic vowel signs, and the Arabic lengthening stroke. Marks of other scripts are part of the
/// spelling.
fn is_diacritic(c: char) -> bool {
    matches!(c,
        '\u{0300}'..='\u{036F}'
        | '\u{0483}'..='\u{0487}'
        | '\u{0591}'..='\u{05BD}' | '\u{05BF}' | '\u{05C1}' | '\u{05C2}' | '\u{05C4}' | '\u{05C5}' | '\u{05C7}'
        | '\u{0610}'..='\u{061A}' | '\u{0640}' | '\u{064B}'..='\u{065F}' | '\u{0670}'
        | '\u{06D6}'..='\u{06DC}' | '\u{06DF}'..='\u{06E8}' | '\u{06EA}'..='\u{06ED}'
        | '\u{1AB0}'..='\u{1AFF}' | '\u{1DC0}'..='\u{1DFF}'
        | '\u{20D0}'..='\u{20FF}' | '\u{FE20}'..='\u{FE2F}')
}

/// Characters that show nothing and do not part a word: soft hyphen, joiners, variation selectors,
/// directional marks, the word joiner and the byte order mark.
fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{061C}' | '\u{200C}'..='\u{200F}' | '\u{2060}' | '\u{FEFF}'
        | '\u{FE00}'..='\u{FE0F}' | '\u{E0100}'..='\u{E01EF}')
}

/// Scripts in which every character is a token: those written without spaces between words, and
/// Korean, whose particles are written onto the word.
fn is_unspaced(c: char) -> bool {
    if c < '\u{0E00}' {
        return false;
    }
    let listed = matches!(c,
        '\u{0E00}'..='\u{0EFF}'     // Thai, Lao
        | '\u{1000}'..='\u{109F}'   // Burmese
        | '\u{1100}'..='\u{11FF}'   // Hangul letters
        | '\u{1780}'..='\u{17FF}'   // Khmer
        | '\u{3005}'..='\u{3007}'
        | '\u{3040}'..='\u{31FF}'   // kana, Bopomofo, Hangul letters
        | '\u{3400}'..='\u{4DBF}'
        | '\u{4E00}'..='\u{9FFF}'
        | '\u{A960}'..='\u{A97F}'
        | '\u{AC00}'..='\u{D7FF}'   // Hangul
        | '\u{F900}'..='\u{FAFF}'
        | '\u{1AFF0}'..='\u{1B16F}'
        | '\u{20000}'..='\u{3FFFD}');
    listed && (c.is_alphanumeric() || is_combining_mark(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        tokens(text).map(|token| token.text).collect()
    }

    #[test]
    fn words_are_folded() {
        assert_eq!(texts("Hello, Wörld! x_1"), ["hello", "world", "x", "1"]);
        assert_eq!(texts("STRASSE Straße"), ["strasse", "strasse"]);
        assert_eq!(texts("Cafe\u{301} Café"), ["cafe", "cafe"]);
        assert_eq!(texts("ΣΊΣΥΦΟΣ σίσυφος"), ["σισυφοσ", "σισυφοσ"]);
        assert_eq!(texts("ＡＢＣ１ ﬁn"), ["abc1", "fin"]);
        assert_eq!(texts("İstanbul"), ["istanbul"]);
        assert_eq!(texts("كِتَابٌ كتاب أحمد"), ["كتاب", "كتاب", "احمد"]);
        assert_eq!(texts("שָׁלוֹם"), ["שלום"]);
        assert_eq!(texts("हिन्दी"), ["हिन्दी"]);
        assert_eq!(
            texts("soft\u{AD}hyphen zero\u{200B}width"),
            ["softhyphen", "zero", "width"]
        );
    }

    #[test]
    fn scripts_without_spaces_are_cut_into_characters() {
        assert_eq!(texts("東京都ABC。"), ["東", "京", "都", "abc"]);
        assert_eq!(texts("ｶﾞﾗｽ ガラス"), ["ガ", "ラ", "ス", "ガ", "ラ", "ス"]);
        assert_eq!(
            texts("\u{1112}\u{1161}\u{11AB}글 한글"),
            ["한", "글", "한", "글"]
        );
        assert_eq!(texts("ภาษา"), ["ภ", "า", "ษ", "า"]);
        assert_eq!(texts("𠮷野家"), ["𠮷", "野", "家"]);
    }

    #[test]
    fn short_cuts_change_nothing() {
        for c in (char::MIN..=char::MAX).filter(|&c| is_its_own_form(c)) {
            assert_eq!(
                fold(c.encode_utf8(&mut [0; 4])).collect::<String>(),
                c.to_string()
            );
        }
        assert_eq!(texts("ab\u{301}c xe\u{301} -\u{301}d"), ["abc", "xe", "d"]);
        assert_eq!(texts("a東b c\u{AD}d"), ["a", "東", "b", "cd"]);
    }

    #[test]
    fn ranges_point_into_the_text() {
        let text = "a É\u{301}t東é!";
        let found: Vec<&str> = tokens(text).map(|token| &text[token.range]).collect();
        assert_eq!(found, ["a", "É\u{301}t", "東", "é"]);
    }

    #[test]
    fn nothing_but_marks_and_symbols_gives_no_token() {
        assert!(texts("🚀 !? \u{301}\u{200D} -- ➕").is_empty());
    }
}
