//! What goes wrong, translated once: for a model, for a REST client and for the log.

use notes::{Error, StoreError};
use rmcp::model::{CallToolResult, ContentBlock, ErrorData};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::wire::{FLAWS_MAX, Flaw, NoteView};

/// A failure as callers may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure it is.
    pub code: Code,
    /// What happened and what to do, in sentences.
    pub message: String,
    /// What is wrong with the input, one by one.
    pub problems: Vec<Flaw>,
    /// The note as it is, when the caller knew an older version of it.
    pub current: Option<Box<NoteView>>,
}

/// The kinds of [`Failure`], in the words programs see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The input has problems; they are listed.
    Invalid,
    /// There is no such note.
    NotFound,
    /// The note has changed since it was read.
    Conflict,
    /// There is already such a note.
    Exists,
    /// This server changes no notes.
    ReadOnly,
    /// This server does not do this.
    SwitchedOff,
    /// The notes cannot be reached or written now.
    Unavailable,
    /// The change may be made or not.
    Unconfirmed,
    /// Something failed that the caller can do nothing about.
    Internal,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Invalid,
        Self::NotFound,
        Self::Conflict,
        Self::Exists,
        Self::ReadOnly,
        Self::SwitchedOff,
        Self::Unavailable,
        Self::Unconfirmed,
        Self::Internal,
    ];

    /// The code as programs see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Exists => "exists",
            Self::ReadOnly => "read_only",
            Self::SwitchedOff => "switched_off",
            Self::Unavailable => "unavailable",
            Self::Unconfirmed => "unconfirmed",
            Self::Internal => "internal",
        }
    }
}

/// The structured content of a tool's error.
#[derive(Serialize)]
struct FailureView {
    error: ErrorView,
}

/// What went wrong; nothing was written, unless the code is `unconfirmed`.
#[derive(Serialize)]
struct ErrorView {
    /// The kind of error.
    code: &'static str,
    /// What happened and what to do.
    message: String,
    /// What is wrong with the input, one by one.
    problems: Vec<ProblemView>,
    /// The note as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<Box<NoteView>>,
}

/// One thing that is wrong with the input.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "InputProblem")]
struct ProblemView {
    /// The field it is about, for example title or tags[2]; empty for the whole input.
    field: String,
    /// The kind of problem as one word.
    code: &'static str,
    /// What is wrong and what would be right.
    message: String,
}

/// A problem document (RFC 9457).
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Problem {
    /// What kind of problem it is: a link to its description.
    #[serde(rename = "type")]
    #[schemars(extend("format" = "uri-reference"))]
    pub kind: String,
    /// The kind in a few words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What happened here and what to do.
    pub detail: String,
    /// The path that was asked for, where the problem is with what is found there.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(default, extend("format" = "uri-reference"))]
    pub instance: String,
    /// What is wrong with the request, one by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    errors: Vec<ProblemView>,
    /// The version the note has now, when the caller knew another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub current_version: Option<u64>,
}

/// The kinds of [`Problem`] that the REST API answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request cannot be understood: its path, its query, a header, or JSON that is none.
    BadRequest,
    /// The body is JSON, but not a note this server keeps.
    Invalid,
    /// This server does not do this, for nobody.
    Forbidden,
    /// There is no such note, or nothing at this path.
    NotFound,
    /// The path knows other methods.
    MethodNotAllowed,
    /// The note is not at the version the client had read.
    PreconditionFailed,
    /// The body has too many bytes.
    TooLarge,
    /// The body has a content type that is not read here.
    UnsupportedMediaType,
    /// The notes cannot be reached or written now.
    Unavailable,
    /// The change may be made or not.
    Unconfirmed,
    /// Something failed in the server.
    Internal,
}

impl Kind {
    /// All kinds, in the order of their statuses.
    pub const ALL: [Self; 11] = [
        Self::BadRequest,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::PreconditionFailed,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::Invalid,
        Self::Internal,
        Self::Unavailable,
        Self::Unconfirmed,
    ];

    /// The HTTP status, the name in links, and the title.
    pub fn describe(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::BadRequest => (400, "bad-request", "The request cannot be understood"),
            Self::Forbidden => (403, "forbidden", "This server does not allow it"),
            Self::NotFound => (404, "not-found", "There is no such thing"),
            Self::MethodNotAllowed => (405, "method-not-allowed", "The method is not allowed here"),
            Self::PreconditionFailed => {
                (412, "precondition-failed", "The note is at another version")
            }
            Self::TooLarge => (413, "too-large", "The body is too large"),
            Self::UnsupportedMediaType => (
                415,
                "unsupported-media-type",
                "The content type is not supported",
            ),
            Self::Invalid => (422, "invalid", "The note is not valid"),
            Self::Internal => (500, "internal", "Internal error"),
            Self::Unavailable => (503, "unavailable", "The notes are not available"),
            Self::Unconfirmed => (
                504,
                "unconfirmed",
                "Whether the change was made is not known",
            ),
        }
    }
}

impl Problem {
    /// A problem of this kind with the request for `instance`.
    pub fn new(kind: Kind, detail: impl Into<String>, instance: &str) -> Self {
        let (status, name, title) = kind.describe();
        Self {
            kind: format!("{DOCS_PATH}#problem-{name}"),
            title,
            status,
            detail: detail.into(),
            instance: instance.to_owned(),
            errors: Vec::new(),
            current_version: None,
        }
    }
}

impl Failure {
    /// A failure without further details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            problems: Vec::new(),
            current: None,
        }
    }

    /// Input with these flaws, of which the first [`FLAWS_MAX`] are named.
    pub fn invalid(mut problems: Vec<Flaw>) -> Self {
        problems.truncate(FLAWS_MAX);
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Self {
            problems,
            ..Self::new(Code::Invalid, all.join("; "))
        }
    }

    /// What a caller may know of `error`. A failure of the store is logged here, once, in the span
    /// of its request, and leaves without details.
    pub fn of(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Invalid(problems) => {
                Self::invalid(problems.into_iter().map(Flaw::from).collect())
            }
            Error::NotFound { .. } => Self::new(Code::NotFound, message),
            Error::Exists { .. } => Self::new(Code::Exists, message),
            Error::Conflict { current, .. } => Self {
                current: Some(Box::new(NoteView::from(*current))),
                ..Self::new(Code::Conflict, message)
            },
            Error::BadCursor => {
                let rest = message.strip_prefix("the cursor ").unwrap_or(&message);
                Self::invalid(vec![Flaw::new("cursor", "bad_cursor", rest)])
            }
            Error::Store(error) => Self::of_store(&error),
        }
    }

    fn of_store(error: &StoreError) -> Self {
        tracing::error!(
            kind = error.kind(),
            error = error as &dyn std::error::Error,
            "the notes store failed"
        );
        match error {
            StoreError::Busy
            | StoreError::ReadOnly
            | StoreError::Full
            | StoreError::Unavailable(_) => Self::new(
                Code::Unavailable,
                "the notes cannot be reached or written at the moment; try again later",
            ),
            StoreError::Unconfirmed(_) => Self::new(
                Code::Unconfirmed,
                "the change was not confirmed in time and may be made or not; look at the note, or \
                 list the notes, before you try again",
            ),
            _ => Self::new(Code::Internal, "internal error"),
        }
    }

    /// The failure as the result of a tool, with text that a model can act on and the same facts
    /// as structured content.
    pub fn into_tool_result(self) -> CallToolResult {
        let mut text = self.message.clone();
        if let Some(current) = &self.current
            && let Ok(note) = serde_json::to_string(current)
        {
            text.push_str("\nThe note as it is now: ");
            text.push_str(&note);
        }
        let view = FailureView {
            error: ErrorView {
                code: self.code.as_str(),
                message: self.message,
                problems: views(self.problems),
                current: self.current,
            },
        };
        let mut result = CallToolResult::error(vec![ContentBlock::text(text)]);
        result.structured_content = serde_json::to_value(view).ok();
        result
    }

    /// The failure as a JSON-RPC error, for requests that are not tool calls.
    pub fn into_rpc_error(self) -> ErrorData {
        match self.code {
            Code::Unavailable | Code::Unconfirmed | Code::Internal => {
                ErrorData::internal_error(self.message, None)
            }
            _ => {
                let data = (!self.problems.is_empty())
                    .then(|| serde_json::to_value(views(self.problems)).unwrap_or(Value::Null))
                    .map(|problems| json!({ "problems": problems }));
                ErrorData::invalid_params(self.message, data)
            }
        }
    }

    /// The failure as a problem with the request for `instance`. Flaws of the body are another kind
    /// than those of the rest of the request.
    pub fn into_problem(self, instance: &str, of_body: bool) -> Problem {
        let kind = match self.code {
            Code::Invalid if of_body => Kind::Invalid,
            Code::Invalid => Kind::BadRequest,
            Code::ReadOnly | Code::SwitchedOff => Kind::Forbidden,
            Code::NotFound => Kind::NotFound,
            Code::Conflict => Kind::PreconditionFailed,
            Code::Unavailable => Kind::Unavailable,
            Code::Unconfirmed => Kind::Unconfirmed,
            // The server gives the ids, so a taken one is its own mistake.
            Code::Exists | Code::Internal => Kind::Internal,
        };
        Problem {
            errors: views(self.problems),
            current_version: self.current.map(|note| note.version),
            ..Problem::new(kind, self.message, instance)
        }
    }
}

/// Where the REST API is described.
pub const DOCS_PATH: &str = "/api/v1/docs";

fn views(flaws: Vec<Flaw>) -> Vec<ProblemView> {
    flaws
        .into_iter()
        .map(
            |Flaw {
                 field,
                 code,
                 message,
             }| ProblemView {
                field,
                code,
                message,
            },
        )
        .collect()
}
