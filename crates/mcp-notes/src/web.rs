//! The pages for people: the description of the REST API, and a note.

mod docs;
mod html;
pub mod markdown;
pub(crate) mod note;

use axum::{Router, extract::Request, response::Response, routing::get};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use notes::Limits;
use sha2::{Digest, Sha256};

use crate::{
    error_map::{DOCS_PATH, Kind, Problem},
    rest::{self, refuse},
    rules::Rules,
};

/// Where the OpenAPI document is.
pub const OPENAPI_PATH: &str = "/api/v1/openapi.json";

/// Every page. They are the same for everybody and hold no notes.
pub const PATHS: [&str; 2] = [OPENAPI_PATH, DOCS_PATH];

/// The OpenAPI document, as far as `rules` allow it, and the page that shows it. Both are made once, and need no network and no
/// script.
pub fn router(limits: &Limits, rules: &Rules) -> Router {
    let document = rest::document(limits, rules);
    let page = docs::page(&document);
    let policy = docs::policy();
    let json = Fixed::new("application/json", document.to_string().into(), None);
    let html = Fixed::new("text/html; charset=utf-8", page.into(), Some(policy));
    Router::new()
        .route(
            OPENAPI_PATH,
            get(move |headers: HeaderMap| async move { json.answer(&headers) }),
        )
        .route(
            DOCS_PATH,
            get(move |headers: HeaderMap| async move { html.answer(&headers) }),
        )
        .method_not_allowed_fallback(|request: Request| async move {
            let detail = format!(
                "{} is not a method of this path; see Allow",
                request.method()
            );
            refuse(&Problem::new(
                Kind::MethodNotAllowed,
                detail,
                request.uri().path(),
            ))
        })
}

/// An answer that is the same for everybody until the next release.
#[derive(Clone)]
struct Fixed {
    body: Bytes,
    content_type: HeaderValue,
    tag: HeaderValue,
    policy: Option<HeaderValue>,
}

impl Fixed {
    fn new(content_type: &'static str, body: Bytes, policy: Option<HeaderValue>) -> Self {
        let tag = rest::etag::of_bytes(&Sha256::digest(&body));
        Self {
            body,
            content_type: HeaderValue::from_static(content_type),
            tag,
            policy,
        }
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let mut response = Response::default();
        if rest::etag::is_known(asked, &self.tag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            *response.body_mut() = self.body.clone().into();
        }
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.tag.clone());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::CONTENT_TYPE, self.content_type.clone());
        if let Some(policy) = &self.policy {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
        }
        response
    }
}
