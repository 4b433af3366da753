//! A note and its parts: types that cannot hold what a note may not hold.

use std::fmt;

use jiff::Timestamp;

use crate::error::{Error, Problem, ProblemCode, Result};
use crate::tag::Tags;
use crate::text;

/// A note, as a store keeps it.
#[derive(Clone, PartialEq, Eq)]
pub struct Note {
    /// What names the note among the notes of its owner.
    pub id: NoteId,
    /// Whose note it is.
    pub owner: Owner,
    /// One line that says what it is about.
    pub title: Title,
    /// The text, exactly as it was given.
    pub content: Content,
    /// Labels.
    pub tags: Tags,
    /// 1 for a new note, one more with every change.
    pub version: u64,
    /// When it was created, in whole microseconds.
    pub created_at: Timestamp,
    /// When it was last changed, in whole microseconds; never earlier than before.
    pub updated_at: Timestamp,
    /// Who created it.
    pub created_by: Author,
    /// Who changed it last.
    pub updated_by: Author,
}

impl fmt::Debug for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Note")
            .field("id", &self.id)
            .field("owner", &self.owner)
            .field("version", &self.version)
            .field("updated_at", &self.updated_at)
            .finish_non_exhaustive()
    }
}

/// How much a note may hold. All lengths are in Unicode scalar values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest title.
    pub title_chars_max: usize,
    /// The longest content.
    pub content_chars_max: usize,
    /// The most tags a note may have.
    pub tags_max: usize,
    /// The longest tag.
    pub tag_chars_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            title_chars_max: 255,
            content_chars_max: 10_000,
            tags_max: 32,
            tag_chars_max: 64,
        }
    }
}

/// What a new note is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNote {
    /// Its title.
    pub title: Title,
    /// Its content.
    pub content: Content,
    /// Its tags.
    pub tags: Tags,
}

impl NewNote {
    /// Takes what a caller gave, or names every problem with it.
    pub fn parse(title: &str, content: &str, tags: &[String], limits: &Limits) -> Result<Self> {
        let mut problems = Vec::new();
        let title = keep(Title::parse(title, limits), &mut problems);
        let content = keep(Content::parse(content, limits), &mut problems);
        let tags = keep_all(Tags::parse(tags, limits), &mut problems);
        match (title, content, tags) {
            (Some(title), Some(content), Some(tags)) => Ok(Self {
                title,
                content,
                tags,
            }),
            _ => Err(Error::Invalid(problems)),
        }
    }
}

/// What a change puts in the place of what was; `None` leaves a part as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotePatch {
    /// The new title.
    pub title: Option<Title>,
    /// The new content.
    pub content: Option<Content>,
    /// The new tags, in the place of all there were.
    pub tags: Option<Tags>,
}

impl NotePatch {
    /// Takes what a caller gave, or names every problem with it. A patch that changes nothing is
    /// a problem as well.
    pub fn parse(
        title: Option<&str>,
        content: Option<&str>,
        tags: Option<&[String]>,
        limits: &Limits,
    ) -> Result<Self> {
        let mut problems = Vec::new();
        let patch = Self {
            title: title.and_then(|text| keep(Title::parse(text, limits), &mut problems)),
            content: content.and_then(|text| keep(Content::parse(text, limits), &mut problems)),
            tags: tags.and_then(|tags| keep_all(Tags::parse(tags, limits), &mut problems)),
        };
        if !problems.is_empty() {
            return Err(Error::Invalid(problems));
        }
        patch.check_not_empty()?;
        Ok(patch)
    }

    /// Refuses a patch that changes nothing.
    pub(crate) fn check_not_empty(&self) -> Result<(), Problem> {
        if self.title.is_none() && self.content.is_none() && self.tags.is_none() {
            return Err(Problem::new(
                "",
                ProblemCode::Empty,
                "changes nothing; give at least one of title, content and tags",
            ));
        }
        Ok(())
    }

    /// Puts what the patch holds into `note`; version, time and author are not its business.
    pub fn apply(&self, note: &mut Note) {
        if let Some(title) = &self.title {
            note.title.clone_from(title);
        }
        if let Some(content) = &self.content {
            note.content.clone_from(content);
        }
        if let Some(tags) = &self.tags {
            note.tags.clone_from(tags);
        }
    }
}

fn keep<T>(parsed: Result<T, Problem>, problems: &mut Vec<Problem>) -> Option<T> {
    parsed.map_err(|problem| problems.push(problem)).ok()
}

fn keep_all<T>(parsed: Result<T, Vec<Problem>>, problems: &mut Vec<Problem>) -> Option<T> {
    parsed.map_err(|mut found| problems.append(&mut found)).ok()
}

/// One line of text that says what a note is about: not only white space, no control character,
/// no line break, at most [`Limits::title_chars_max`] characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Title(String);

impl Title {
    /// Takes `text` exactly as it is, or says what is wrong with it.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, Problem> {
        text::check_length("title", text, limits.title_chars_max)?;
        if text.chars().all(char::is_whitespace) {
            return Err(Problem::new(
                "title",
                ProblemCode::Empty,
                "is only white space; give it at least one visible character",
            ));
        }
        text::check_line("title", text)?;
        Ok(Self(text.to_owned()))
    }

    pub(crate) fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Title({} bytes)", self.0.len())
    }
}

/// The text of a note: at least one character, at most [`Limits::content_chars_max`], none of them
/// forbidden ([`crate::text`]). It is never rewritten.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Content(String);

impl Content {
    /// Takes `text` exactly as it is, or says what is wrong with it.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, Problem> {
        text::check_length("content", text, limits.content_chars_max)?;
        text::check_text("content", text)?;
        Ok(Self(text.to_owned()))
    }

    pub(crate) fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, without a copy.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.0.len())
    }
}

/// What names a note among the notes of its owner. New notes get a UUIDv7; imported notes keep the
/// id they had.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoteId(String);

impl NoteId {
    /// The longest id, in characters.
    pub const CHARS_MAX: usize = 128;

    /// Takes an id of 1 to 128 characters out of `A-Z a-z 0-9 . _ ~ -` (the unreserved characters
    /// of RFC 3986, so that an id is its own URL segment), except `.` and `..`.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        text::check_length("id", text, Self::CHARS_MAX)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '~' | '-');
        if !text.chars().all(plain) || text == "." || text == ".." {
            return Err(Problem::new(
                "id",
                ProblemCode::BadFormat,
                "is not the id of a note; ids have only letters a to z, digits, '.', '_', '~' \
                 and '-'",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    pub(crate) fn from_uuid(uuid: uuid::Uuid) -> Self {
        Self(uuid.hyphenated().to_string())
    }

    pub(crate) fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NoteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NoteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteId({})", self.0)
    }
}

/// Whose notes they are. Every operation names one, and sees no note of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(String);

/// Who did something: recorded with the note, never used to decide anything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Author(String);

impl Owner {
    /// Takes 1 to 255 characters without control characters.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        parse_name("owner", text).map(Self)
    }

    pub(crate) fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Author {
    /// Takes 1 to 255 characters without control characters.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        parse_name("author", text).map(Self)
    }

    pub(crate) fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn parse_name(field: &'static str, text: &str) -> Result<String, Problem> {
    text::check_length(field, text, 255)?;
    if text.chars().any(char::is_control) {
        return Err(Problem::new(
            field,
            ProblemCode::ForbiddenCharacter,
            "has a control character",
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T: fmt::Debug>(parsed: Result<T, Problem>) -> ProblemCode {
        parsed.unwrap_err().code
    }

    #[test]
    fn a_title_is_one_visible_line_of_at_most_255_characters() {
        let limits = Limits::default();
        let parse = |text: &str| Title::parse(text, &limits);
        assert!(parse("x").is_ok());
        assert!(parse(" ä ").is_ok());
        assert!(parse(&"😀".repeat(255)).is_ok());
        assert_eq!(code(parse(&"😀".repeat(256))), ProblemCode::TooLong);
        assert_eq!(code(parse("")), ProblemCode::Empty);
        assert_eq!(code(parse(" \u{3000}")), ProblemCode::Empty);
        assert_eq!(
            code(parse("multi\n---\nTITLE: evil")),
            ProblemCode::ForbiddenCharacter
        );
        assert_eq!(code(parse("a\tb")), ProblemCode::ForbiddenCharacter);
        assert_eq!(code(parse("a\u{2028}b")), ProblemCode::ForbiddenCharacter);
    }

    #[test]
    fn content_has_1_to_10000_characters_and_no_forbidden_one() {
        let limits = Limits::default();
        let parse = |text: &str| Content::parse(text, &limits);
        assert_eq!(parse(" \r\n\t").unwrap().as_str(), " \r\n\t");
        assert!(parse(&"語".repeat(10_000)).is_ok());
        let problem = parse(&"語".repeat(10_001)).unwrap_err();
        assert_eq!(
            problem.to_string(),
            "content is 10001 characters long; at most 10000 are allowed"
        );
        assert_eq!(code(parse("")), ProblemCode::Empty);
        assert_eq!(code(parse("a\0")), ProblemCode::ForbiddenCharacter);
        let short = Limits {
            content_chars_max: 3,
            ..limits
        };
        assert!(Content::parse("abc", &short).is_ok());
        assert_eq!(code(Content::parse("abcd", &short)), ProblemCode::TooLong);
    }

    #[test]
    fn ids_of_other_programs_stay_valid() {
        for text in [
            "01999999-aaaa-7bbb-8ccc-dddddddddddd",
            "note_1726000000000_k3j4h5g6f",
            "9f3c2b1a-0000-4000-8000-000000000000",
            "a.b~c",
            "...",
            &"x".repeat(128),
        ] {
            assert_eq!(NoteId::parse(text).unwrap().as_str(), text);
        }
        for text in [
            "",
            ".",
            "..",
            "a b",
            "a/b",
            "a%2Fb",
            "ü",
            "a\n",
            &"x".repeat(129),
        ] {
            assert!(NoteId::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_are_opaque() {
        assert!(Owner::parse("https://issuer.example|user 7 (ü)").is_ok());
        assert!(Owner::parse(&"é".repeat(255)).is_ok());
        for text in ["", "a\0", "a\nb", &"é".repeat(256)] {
            assert!(Owner::parse(text).is_err(), "{text:?}");
            assert!(Author::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let limits = Limits::default();
        let tags = ["ok".to_owned(), "a,b".to_owned()];
        let new = NewNote::parse("", "a\u{202E}", &tags, &limits).map(|_| ());
        let patch = NotePatch::parse(Some(""), Some("a\u{202E}"), Some(&tags), &limits).map(|_| ());
        for error in [new.unwrap_err(), patch.unwrap_err()] {
            let Error::Invalid(problems) = &error else {
                panic!("{error:?}")
            };
            let fields: Vec<&str> = problems.iter().map(|p| p.field.as_ref()).collect();
            assert_eq!(fields, ["title", "content", "tags[1]"]);
            assert!(
                error.to_string().contains("U+202E as its character 2"),
                "{error}"
            );
        }
        // Nothing that a caller knows as a field is wrong with a patch that changes nothing.
        let nothing = NotePatch::parse(None, None, None, &limits).unwrap_err();
        assert_eq!(
            nothing.to_string(),
            "the input changes nothing; give at least one of title, content and tags"
        );
    }

    #[test]
    fn no_error_or_debug_output_holds_the_text_of_a_note() {
        let limits = Limits::default();
        let secret = "s3cret";
        let tags = [secret.to_owned()];
        let new = NewNote::parse(secret, secret, &tags, &limits).unwrap();
        let author = Author::parse("ann").unwrap();
        let note = Note {
            id: NoteId::parse("n1").unwrap(),
            owner: Owner::parse("ann").unwrap(),
            title: new.title.clone(),
            content: new.content.clone(),
            tags: new.tags.clone(),
            version: 7,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            created_by: author.clone(),
            updated_by: author,
        };
        let conflict = Error::Conflict {
            expected: 3,
            current: Box::new(note.clone()),
        };
        let bad = [
            format!("{secret}\0"),
            format!("{secret},"),
            secret.repeat(100),
        ];
        let invalid = NewNote::parse(&bad[0], &bad[0], &bad, &limits).unwrap_err();
        let list = crate::ListQuery {
            title_prefix: Some(secret.to_owned()),
            tags: new.tags.iter().cloned().collect(),
            ..crate::ListQuery::default()
        };
        let search = crate::SearchQuery::new(secret);
        let shown = format!("{new:?} {note:?} {conflict:?} {invalid:?} {list:?} {search:?}");
        assert!(!shown.contains(secret), "{shown}");
        let said = format!("{conflict} {invalid}");
        assert!(!said.contains(secret), "{said}");
        assert!(
            said.contains("n1 is at version 7, not at version 3"),
            "{said}"
        );
    }
}
