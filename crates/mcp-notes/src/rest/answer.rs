//! Answers of the REST API: JSON with its validators, and problem documents.

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::etag;
use crate::{
    audit::Trail,
    error_map::{Code, Failure, Kind, Problem},
    web,
    wire::NoteView,
};

/// Why a request is not done.
pub(super) enum Refusal {
    /// Because of how it is asked.
    Problem(Kind, String),
    /// Because of what happened to the notes; `of_body` when its flaws are those of the body.
    Failure { failure: Failure, of_body: bool },
}

impl Refusal {
    pub(super) fn into_response(self, instance: &str) -> Response {
        match self {
            Self::Problem(kind, detail) => refuse(&Problem::new(kind, detail, instance)),
            Self::Failure { failure, of_body } => refuse(&failure.into_problem(instance, of_body)),
        }
    }

    /// The note is at `version`, which is not what the client asked for.
    pub(super) fn other_version(note: NoteView) -> Self {
        let message = format!(
            "the note is at version {}, which the conditions of the request exclude; read it again \
             and apply the change to what it holds now",
            note.version
        );
        let failure = Failure {
            current: Some(Box::new(note)),
            ..Failure::new(Code::Conflict, message)
        };
        Self::Failure {
            failure,
            of_body: false,
        }
    }
}

/// The response that says `problem`.
pub(crate) fn refuse(problem: &Problem) -> Response {
    let body = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    let status = StatusCode::from_u16(problem.status);
    *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/problem+json");
    headers.insert(header::CONTENT_TYPE, json);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(version) = problem.current_version {
        headers.insert(header::ETAG, etag::of_version(version));
    }
    if problem.status == 503 {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

/// The note that an answer shows, in the extensions of the answer.
#[derive(Clone)]
pub(super) struct Shown {
    id: String,
    version: u64,
}

impl Shown {
    pub(super) fn of(note: &NoteView) -> Self {
        Self {
            id: note.id.clone(),
            version: note.version,
        }
    }
}

/// Takes down what became of an operation.
pub(super) fn end(trail: &mut Trail, outcome: &Result<Response, Refusal>) {
    match outcome {
        Ok(response) => {
            if let Some(shown) = response.extensions().get::<Shown>() {
                trail.note(&shown.id);
                trail.version(shown.version);
            }
            trail.ok();
        }
        Err(Refusal::Problem(kind, _)) => {
            let (status, reason, _) = kind.describe();
            if status >= 500 {
                trail.failed(reason);
            } else {
                trail.refused(reason);
            }
        }
        Err(Refusal::Failure { failure, .. }) => trail.code(failure.code),
    }
}

/// A note, or 304 when the client has it as it is.
pub(super) fn note(status: StatusCode, note: &NoteView, cache: &HeaderValue) -> Response {
    let mut response = json(status, &serde_json::to_vec(note).unwrap_or_default());
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag::of_version(note.version));
    headers.insert(header::CACHE_CONTROL, cache.clone());
    response.extensions_mut().insert(Shown::of(note));
    response
}

/// A note as the `page` for people that shows it. Its entity tag is made of its bytes: they change with the program, too.
pub(super) fn html(page: String, shown: Shown, cache: &HeaderValue) -> Response {
    let tag = etag::of_bytes(&Sha256::digest(&page));
    let mut response = Response::new(Body::from(page));
    let headers = response.headers_mut();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, html);
    headers.insert(header::CONTENT_SECURITY_POLICY, web::note::policy());
    headers.insert(header::ETAG, tag);
    headers.insert(header::CACHE_CONTROL, cache.clone());
    response.extensions_mut().insert(shown);
    response
}

/// A page of a list with an entity tag made of its bytes, or 304 when the client has these.
pub(super) fn page<T: Serialize>(page: &T, asked: &HeaderMap, cache: &HeaderValue) -> Response {
    let body = serde_json::to_vec(page).unwrap_or_default();
    let tag = etag::of_bytes(&Sha256::digest(&body));
    let mut response = if etag::is_known(asked, &tag) {
        not_modified()
    } else {
        json(StatusCode::OK, &body)
    };
    response.headers_mut().insert(header::ETAG, tag);
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, cache.clone());
    response
}

pub(super) fn not_modified() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

fn json(status: StatusCode, body: &[u8]) -> Response {
    let mut response = Response::new(Body::from(body.to_vec()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
