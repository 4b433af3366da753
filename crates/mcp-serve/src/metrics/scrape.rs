//! Where and to whom the metrics are told.

use std::{fmt, net::SocketAddr};

use axum::body::Body;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, VARY, WWW_AUTHENTICATE},
};
use sha2::{Digest as _, Sha256};

use super::{Metrics, text::Format};

/// Where and to whom the metrics are told. By default on the address of the server, to whoever may
/// see the details of the health report.
#[derive(Debug, Clone)]
pub struct Scrape {
    /// The path. Default `/metrics`.
    pub path: String,
    /// An address of its own, in plain HTTP; then they are told there alone, to everybody who can
    /// reach it unless there is a token. Default: none.
    pub listen: Option<SocketAddr>,
    /// What a reader must present as a bearer token, instead of any other credential. Default: none.
    pub token: Option<ScrapeToken>,
}

impl Default for Scrape {
    fn default() -> Self {
        Self {
            path: "/metrics".to_owned(),
            listen: None,
            token: None,
        }
    }
}

/// The bearer token of those who read metrics, as its hash.
#[derive(Clone, PartialEq, Eq)]
pub struct ScrapeToken([u8; 32]);

impl ScrapeToken {
    /// The token with this text.
    pub fn new(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// Whether a request with these headers presents it (RFC 6750 section 2.1).
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        let field = fields.next().and_then(|field| field.to_str().ok());
        let Some((scheme, text)) = field.and_then(|field| field.split_once(' ')) else {
            return false;
        };
        // Of hashes nobody learns anything by the time that they take to differ.
        scheme.eq_ignore_ascii_case("bearer")
            && fields.next().is_none()
            && Self::new(text.trim_matches(' ')) == *self
    }
}

impl fmt::Debug for ScrapeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScrapeToken(..)")
    }
}

/// The answer to somebody who may read `metrics`.
pub(crate) fn answer(metrics: &Metrics, method: &Method, headers: &HeaderMap) -> Response<Body> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = plain(
            StatusCode::METHOD_NOT_ALLOWED,
            "metrics are read with GET\n",
        );
        let allow = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allow);
        return response;
    }
    let format = Format::wanted(headers);
    let mut response = Response::new(Body::from(metrics.read(format)));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static(format.content_type());
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    response
}

/// The answer to somebody without the token.
pub(crate) fn challenge() -> Response<Body> {
    let mut response = plain(StatusCode::UNAUTHORIZED, "a token is needed\n");
    let challenge = HeaderValue::from_static("Bearer realm=\"metrics\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

/// A status and one line.
pub(crate) fn plain(status: StatusCode, line: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(line));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_opens() {
        let token = ScrapeToken::new("s3cret");
        let is_in = |fields: &[&str]| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(AUTHORIZATION, HeaderValue::from_str(field).unwrap());
            }
            token.is_in(&headers)
        };
        assert!(is_in(&["Bearer s3cret"]) && is_in(&["bearer  s3cret"]));
        for fields in [
            &[][..],
            &["s3cret"],
            &["Basic s3cret"],
            &["Bearer s3cre"],
            &["Bearer s3cret2"],
            &["Bearer s3cret", "Bearer s3cret"],
        ] {
            assert!(!is_in(fields), "{fields:?}");
        }
        assert!(!format!("{token:?}").contains("s3cret"));
    }
}
