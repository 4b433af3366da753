//! Tags: labels in one normal form, so that `#To Do` and `to-do` are the same.

use std::collections::BTreeSet;
use std::fmt;

use crate::error::{Problem, ProblemCode, Result};
use crate::note::Limits;
use crate::text;

/// The tags of a note: a sorted set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tags(BTreeSet<Tag>);

impl Tags {
    /// Brings every tag to its normal form, and drops repetitions; or names every problem, with the
    /// position of the tag counted from 0: `tags[2]`.
    pub fn parse(tags: &[String], limits: &Limits) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut set = BTreeSet::new();
        for (index, text) in tags.iter().enumerate().take(TAGS_GIVEN_MAX) {
            match Tag::parse(text, limits) {
                Ok(tag) => {
                    set.insert(tag);
                }
                Err(problem) => {
                    problems.push(Problem {
                        field: format!("tags[{index}]").into(),
                        ..problem
                    });
                }
            }
        }
        if set.len() > limits.tags_max || tags.len() > TAGS_GIVEN_MAX {
            problems.push(Problem::new(
                "tags",
                ProblemCode::TooMany,
                format!("has too many tags; at most {} are allowed", limits.tags_max),
            ));
        }
        if problems.is_empty() {
            Ok(Self(set))
        } else {
            Err(problems)
        }
    }

    pub(crate) fn from_stored(tags: impl IntoIterator<Item = String>) -> Self {
        Self(tags.into_iter().map(Tag).collect())
    }

    /// The tags in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Tag> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `tag` is one of them.
    pub fn contains(&self, tag: &Tag) -> bool {
        self.0.contains(tag)
    }
}

/// How many tags are looked at before a list is refused, whatever the limits say.
const TAGS_GIVEN_MAX: usize = 1000;

/// A label in its normal form: lower case, `-` for white space, no leading `#`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Tag {
    /// Brings `text` to the normal form: white space around it and `#` before it are dropped, it is
    /// lower-cased, and inner runs of white space become one `-`. Refused are what is empty then,
    /// what is longer than [`Limits::tag_chars_max`], `,`, `"`, `#`, and what a title may not hold.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, Problem> {
        // Lower case can be longer than what was given, but not ten times: this bounds the work.
        text::check_length("tag", text, limits.tag_chars_max.saturating_mul(10))?;
        let bare = text.trim().trim_start_matches('#').trim();
        let words: Vec<String> = bare.split_whitespace().map(str::to_lowercase).collect();
        let label = words.join("-");
        if label.is_empty() {
            return Err(Problem::new(
                "tag",
                ProblemCode::Empty,
                "is empty; give it a name",
            ));
        }
        text::check_length("tag", &label, limits.tag_chars_max)?;
        if let Some(c) = label.chars().find(|c| matches!(c, ',' | '"' | '#')) {
            return Err(Problem::new(
                "tag",
                ProblemCode::ForbiddenCharacter,
                format!("has the character {c}, which a tag cannot have"),
            ));
        }
        text::check_line("tag", &label)?;
        Ok(Self(label))
    }

    pub(crate) fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The label.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(text: &str) -> Result<String, ProblemCode> {
        Tag::parse(text, &Limits::default())
            .map(|tag| tag.as_str().to_owned())
            .map_err(|problem| problem.code)
    }

    #[test]
    fn a_tag_has_one_normal_form() {
        assert_eq!(tag("#To \t Do "), Ok("to-do".to_owned()));
        assert_eq!(tag("  ##Work"), Ok("work".to_owned()));
        assert_eq!(tag("ÄRGER"), Ok("ärger".to_owned()));
        assert_eq!(tag("日本 語"), Ok("日本-語".to_owned()));
        assert_eq!(tag("c++"), Ok("c++".to_owned()));
    }

    #[test]
    fn normal_form_is_stable() {
        for text in ["#To Do", "İstanbul", "a\u{2003}b", "ΑΣ"] {
            let once = tag(text).unwrap();
            assert_eq!(tag(&once), Ok(once.clone()));
        }
    }

    #[test]
    fn what_a_tag_cannot_hold() {
        assert_eq!(tag(""), Err(ProblemCode::Empty));
        assert_eq!(tag(" # "), Err(ProblemCode::Empty));
        assert_eq!(tag("a,b"), Err(ProblemCode::ForbiddenCharacter));
        assert_eq!(tag("a\"b"), Err(ProblemCode::ForbiddenCharacter));
        assert_eq!(tag("a#b"), Err(ProblemCode::ForbiddenCharacter));
        assert_eq!(tag("a\u{7}b"), Err(ProblemCode::ForbiddenCharacter));
        assert_eq!(tag(&"x".repeat(65)), Err(ProblemCode::TooLong));
        assert!(tag(&"x".repeat(64)).is_ok());
    }

    #[test]
    fn tags_are_a_sorted_set_and_problems_are_all_named() {
        let limits = Limits {
            tags_max: 2,
            ..Limits::default()
        };
        let given =
            |tags: &[&str]| -> Vec<String> { tags.iter().map(ToString::to_string).collect() };
        let tags = Tags::parse(&given(&["b", "#A", "B"]), &limits).unwrap();
        assert_eq!(tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["a", "b"]);
        let problems = Tags::parse(&given(&["a", "", "b", "x,y", "c"]), &limits).unwrap_err();
        let fields: Vec<&str> = problems.iter().map(|p| p.field.as_ref()).collect();
        assert_eq!(fields, ["tags[1]", "tags[3]", "tags"]);
    }
}
