//! The operations of the REST API.

use std::{fmt::Write as _, sync::Arc};

use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::{
    Rest, accept,
    answer::{self, Refusal},
    call::{Call, Names, Payload},
    etag::{self, Condition},
};
use crate::{
    error_map::{Code, Failure, Kind},
    operations, web,
    wire::{ListNotes, NewNote, NotePatch, NoteView, SearchNotes},
};

pub(super) const JSON: &[&str] = &["application/json"];
pub(super) const MERGE_PATCH: &[&str] = &["application/merge-patch+json", "application/json"];

/// The parameter `tag` is given once for each tag.
pub(super) const LIST_NAMES: Names = Names(&[("tag", "tags")]);
pub(super) const SEARCH_NAMES: Names = Names(&[("q", "query")]);

pub(super) async fn list(rest: Arc<Rest>, call: Call, _: Payload) -> Result<Response, Refusal> {
    condition(&call, &header::IF_NONE_MATCH)?;
    let query: ListNotes = call.query(&rest.list_query, &LIST_NAMES)?;
    let page = operations::list(&rest.notes, &call.caller, query).await;
    let page = page.map_err(|failure| LIST_NAMES.in_query(failure))?;
    let mut response = answer::page(&page, &call.headers, &rest.cache_control);
    link_next(&mut response, &call, page.next_cursor.as_deref());
    Ok(response)
}

pub(super) async fn search(rest: Arc<Rest>, call: Call, _: Payload) -> Result<Response, Refusal> {
    condition(&call, &header::IF_NONE_MATCH)?;
    let query: SearchNotes = call.query(&rest.search_query, &SEARCH_NAMES)?;
    let page = operations::search(&rest.notes, &call.caller, query).await;
    let page = page.map_err(|failure| SEARCH_NAMES.in_query(failure))?;
    let mut response = answer::page(&page, &call.headers, &rest.cache_control);
    link_next(&mut response, &call, page.next_cursor.as_deref());
    Ok(response)
}

pub(super) async fn create(
    rest: Arc<Rest>,
    call: Call,
    payload: Payload,
) -> Result<Response, Refusal> {
    call.no_query()?;
    let new: NewNote = payload.body(&call.headers, &rest.new_note, JSON).await?;
    let note = operations::create(&rest.notes, &call.caller, new)
        .await
        .map_err(of_body)?;
    let mut response = answer::note(StatusCode::CREATED, &note, &rest.cache_control);
    let location = HeaderValue::try_from(format!("{}/{}", call.path, note.id));
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// As JSON, or as a page for a client that prefers `text/html`.
pub(super) async fn get(rest: Arc<Rest>, call: Call, _: Payload) -> Result<Response, Refusal> {
    call.no_query()?;
    condition(&call, &header::IF_NONE_MATCH)?;
    let note = operations::get(&rest.notes, &call.caller, call.id()).await?;
    let mut response = if accept::prefers_html(&call.headers) {
        let shown = answer::Shown::of(&note);
        answer::html(page(rest.clone(), note).await?, shown, &rest.cache_control)
    } else {
        answer::note(StatusCode::OK, &note, &rest.cache_control)
    };
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    let tag = headers.get(header::ETAG);
    if tag.is_some_and(|tag| etag::is_known(&call.headers, tag)) {
        let headers = std::mem::take(headers);
        response = answer::not_modified();
        *response.headers_mut() = headers;
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    Ok(response)
}

/// The note as a page. It is made on a thread of its own: a long note takes milliseconds of work that
/// waits for nothing.
async fn page(rest: Arc<Rest>, note: NoteView) -> Result<String, Failure> {
    let made = tokio::task::spawn_blocking(move || web::note::page(&note, &rest.markdown)).await;
    made.map_err(|_| Failure::new(Code::Internal, "internal error"))
}

pub(super) async fn replace(
    rest: Arc<Rest>,
    call: Call,
    payload: Payload,
) -> Result<Response, Refusal> {
    call.no_query()?;
    let NewNote {
        title,
        content,
        tags,
    } = payload.body(&call.headers, &rest.new_note, JSON).await?;
    let expected = expected_version(&rest, &call).await?;
    let patch = NotePatch {
        title: Some(title),
        content: Some(content),
        tags: Some(Some(tags)),
    };
    let note = operations::update(&rest.notes, &call.caller, call.id(), patch, expected).await;
    let note = note.map_err(of_body)?;
    Ok(answer::note(StatusCode::OK, &note, &rest.cache_control))
}

pub(super) async fn patch(
    rest: Arc<Rest>,
    call: Call,
    payload: Payload,
) -> Result<Response, Refusal> {
    call.no_query()?;
    let patch: NotePatch = payload
        .body(&call.headers, &rest.note_patch, MERGE_PATCH)
        .await?;
    let expected = expected_version(&rest, &call).await?;
    let note = operations::update(&rest.notes, &call.caller, call.id(), patch, expected).await;
    let note = note.map_err(of_body)?;
    Ok(answer::note(StatusCode::OK, &note, &rest.cache_control))
}

pub(super) async fn delete(rest: Arc<Rest>, call: Call, _: Payload) -> Result<Response, Refusal> {
    call.no_query()?;
    let expected = expected_version(&rest, &call).await?;
    operations::delete(&rest.notes, &call.caller, call.id(), expected).await?;
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// The version that `If-Match` and `If-None-Match` ask for. One version is compared where the note
/// is written; other conditions are compared now, and then hold for the version they were compared
/// with.
async fn expected_version(rest: &Rest, call: &Call) -> Result<Option<u64>, Refusal> {
    let if_match = condition(call, &header::IF_MATCH)?;
    let if_none_match = condition(call, &header::IF_NONE_MATCH)?;
    if if_none_match.is_none() {
        match &if_match {
            None | Some(Condition::Any) => return Ok(None),
            Some(Condition::Tags(tags)) => {
                if let [tag] = tags.as_slice()
                    && let Some(version) = tag.version()
                {
                    return Ok(Some(version));
                }
            }
        }
    }
    let note = operations::get(&rest.notes, &call.caller, call.id()).await?;
    let is_met = match if_match {
        Some(Condition::Tags(tags)) => tags.iter().any(|tag| tag.version() == Some(note.version)),
        None | Some(Condition::Any) => true,
    };
    let has_known =
        if_none_match.is_some() && etag::is_known(&call.headers, &etag::of_version(note.version));
    if is_met && !has_known {
        Ok(Some(note.version))
    } else {
        Err(Refusal::other_version(note))
    }
}

/// The condition in a header of the request, which must not be malformed: a condition that is not
/// understood must not count as none.
fn condition(call: &Call, name: &HeaderName) -> Result<Option<Condition>, Refusal> {
    etag::condition(&call.headers, name).map_err(|_| {
        let detail = format!("{name} must be * or entity tags in double quotes");
        Refusal::Problem(Kind::BadRequest, detail)
    })
}

fn of_body(failure: Failure) -> Refusal {
    Refusal::Failure {
        failure,
        of_body: true,
    }
}

/// Adds a link to the next page (RFC 8288): the same query with another cursor.
fn link_next(response: &mut Response, call: &Call, cursor: Option<&str>) {
    let Some(cursor) = cursor else { return };
    let mut target = format!("{}?", call.path);
    for (name, value) in call.query.iter().filter(|(name, _)| name != "cursor") {
        let _ = write!(target, "{}={}&", Escaped(name), Escaped(value));
    }
    let _ = write!(target, "cursor={}", Escaped(cursor));
    if let Ok(link) = HeaderValue::try_from(format!("<{target}>; rel=\"next\"")) {
        response.headers_mut().insert(header::LINK, link);
    }
}

/// Text in which everything but unreserved characters is percent-encoded (RFC 3986, section 2).
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    f.write_char(char::from(byte))?;
                }
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}
