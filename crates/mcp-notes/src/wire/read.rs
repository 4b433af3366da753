//! Reading a JSON value into a wire shape, or saying everything that is wrong with its form.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::Shape;

/// One thing that is wrong with what a caller gave, as both faces show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The field, as the caller names it: `title`, `tags[2]`. Empty for the whole.
    pub field: String,
    /// The kind of flaw as one word.
    pub code: &'static str,
    /// What is wrong and what would be right, as the rest of a sentence that begins with the field.
    pub message: String,
}

impl Flaw {
    /// A flaw of `field`.
    pub fn new(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            code,
            message: message.into(),
        }
    }

    /// A field that is not known, where `known` are. Its name is repeated only in part.
    pub fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.collect();
        let shown: String = name
            .chars()
            .filter(|c| !c.is_control())
            .take(NAME_CHARS_MAX)
            .collect();
        let message = match known.as_slice() {
            [] => "is not known here; nothing can be given".to_owned(),
            known => format!("is not known here; known are {}", known.join(", ")),
        };
        Self::new(shown, "unknown_field", message)
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = if self.field.is_empty() {
            "the input"
        } else {
            &self.field
        };
        write!(f, "{field} {}", self.message)
    }
}

impl From<notes::Problem> for Flaw {
    fn from(problem: notes::Problem) -> Self {
        Self::new(problem.field, problem.code.as_str(), problem.message)
    }
}

/// The longest name of an unknown field that is repeated to its sender.
const NAME_CHARS_MAX: usize = 64;

/// The most flaws that are named at once. Nobody reads more, and a small request must not have a
/// large answer.
pub const FLAWS_MAX: usize = 50;

/// Reads `value` as `T`, whose input schema is `schema`; or names every unknown, missing and
/// mistyped field, up to [`FLAWS_MAX`]. No flaw repeats a value.
pub fn read<'v, T: Deserialize<'v>>(value: &'v Value, schema: &Shape) -> Result<T, Vec<Flaw>> {
    T::deserialize(value).map_err(|_| {
        let flaws = flaws(value, schema);
        if flaws.is_empty() {
            return vec![Flaw::new(
                "",
                "bad_format",
                "does not have the form of its schema",
            )];
        }
        flaws
    })
}

fn flaws(value: &Value, schema: &Shape) -> Vec<Flaw> {
    let Value::Object(given) = value else {
        let message = format!("is {}; it must be an object", kind(value));
        return vec![Flaw::new("", "wrong_type", message)];
    };
    let empty = Shape::new();
    let known = schema
        .get("properties")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let required = schema.get("required").and_then(Value::as_array);
    let mut flaws = Vec::new();
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        if !given.contains_key(name) {
            flaws.push(Flaw::new(name, "missing", "is missing; it must be given"));
        }
    }
    for (name, value) in given {
        if flaws.len() >= FLAWS_MAX {
            break;
        }
        match known.get(name).and_then(Value::as_object) {
            Some(schema) => check_type(name, value, schema, &mut flaws),
            None => flaws.push(Flaw::unknown(name, known.keys().map(String::as_str))),
        }
    }
    flaws
}

fn check_type(name: &str, value: &Value, schema: &Shape, flaws: &mut Vec<Flaw>) {
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    if !types.iter().any(|expected| is_a(value, expected)) {
        let hint = if value.is_null() {
            " (leave it out to give nothing)"
        } else {
            ""
        };
        let expected = types
            .iter()
            .map(|name| with_article(name))
            .collect::<Vec<_>>()
            .join(" or ");
        let message = format!("is {}; it must be {expected}{hint}", kind(value));
        flaws.push(Flaw::new(name, "wrong_type", message));
        return;
    }
    let items = schema.get("items").and_then(Value::as_object);
    if let (Value::Array(values), Some(items)) = (value, items) {
        for (index, value) in values.iter().enumerate() {
            if flaws.len() >= FLAWS_MAX {
                break;
            }
            check_type(&format!("{name}[{index}]"), value, items, flaws);
        }
    }
}

fn is_a(value: &Value, expected: &str) -> bool {
    match expected {
        "string" => value.is_string(),
        "integer" => value.as_u64().is_some() || value.as_f64().is_some_and(is_whole),
        "array" => value.is_array(),
        "null" => value.is_null(),
        _ => true,
    }
}

fn is_whole(number: f64) -> bool {
    number.fract() == 0.0 && number >= 0.0
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn with_article(name: &str) -> &'static str {
    match name {
        "string" => "a string",
        "integer" => "a whole number, not negative",
        "array" => "an array",
        "null" => "null",
        _ => "of another type",
    }
}

#[cfg(test)]
mod tests {
    use notes::Limits;
    use serde_json::json;

    use super::*;
    use crate::wire::{ListNotes, NewNote, UpdateNote, input_schema};

    fn found<T: schemars::JsonSchema + for<'a> Deserialize<'a>>(
        value: &Value,
    ) -> Vec<(String, &'static str)> {
        let schema = input_schema::<T>(&Limits::default());
        match read::<T>(value, &schema) {
            Ok(_) => Vec::new(),
            Err(flaws) => flaws
                .into_iter()
                .map(|flaw| (flaw.field, flaw.code))
                .collect(),
        }
    }

    #[test]
    fn every_flaw_of_the_form_is_named() {
        let value = json!({"content": 3, "tags": ["a", null, 7], "colour": "red"});
        assert_eq!(
            found::<NewNote>(&value),
            [
                ("title".to_owned(), "missing"),
                ("colour".to_owned(), "unknown_field"),
                ("content".to_owned(), "wrong_type"),
                ("tags[1]".to_owned(), "wrong_type"),
                ("tags[2]".to_owned(), "wrong_type"),
            ]
        );
        assert_eq!(
            found::<NewNote>(&json!([])),
            [(String::new(), "wrong_type")]
        );
        assert_eq!(found::<NewNote>(&json!({"title": "a", "content": "b"})), []);
    }

    #[test]
    fn null_is_not_the_same_as_nothing() {
        assert_eq!(
            found::<UpdateNote>(&json!({"id": "a", "title": null})),
            [("title".to_owned(), "wrong_type")]
        );
        assert_eq!(found::<UpdateNote>(&json!({"id": "a"})), []);
    }

    #[test]
    fn whole_numbers_may_be_written_as_fractions_of_nothing() {
        for good in [json!(3), json!(3.0)] {
            assert_eq!(found::<ListNotes>(&json!({"limit": good})), []);
        }
        for bad in [json!(3.5), json!(-1), json!("3"), json!(null)] {
            assert_eq!(
                found::<ListNotes>(&json!({"limit": bad})),
                [("limit".to_owned(), "wrong_type")]
            );
        }
    }
}
