//! Codings that a body may come in: none but chunks. Nothing is ever inflated here, so nothing small
//! can become something large.

use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CONTENT_ENCODING, TRANSFER_ENCODING},
};

/// A coding that is not undone here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// `Content-Encoding` with anything but `identity`.
    Content,
    /// `Transfer-Encoding` with anything but one `chunked`.
    Transfer,
}

impl Coding {
    /// 415 (RFC 9110 section 15.5.16) or 501 (RFC 9112 section 6.1).
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Content => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Transfer => StatusCode::NOT_IMPLEMENTED,
        }
    }

    /// What the caller is told.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Content => "the body must not be compressed",
            Self::Transfer => "a body may come in chunks and in no other transfer coding",
        }
    }
}

/// Checks that nothing would have to be decoded before a body can be read.
pub(crate) fn check_codings(headers: &HeaderMap) -> Result<(), Coding> {
    let is = |value: &HeaderValue, name: &str| {
        let text = value.to_str().unwrap_or_default();
        text.trim().eq_ignore_ascii_case(name)
    };
    let mut transfer = headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = transfer.next().is_none_or(|value| is(value, "chunked"));
    if !chunked || transfer.next().is_some() {
        return Err(Coding::Transfer);
    }
    let mut content = headers.get_all(CONTENT_ENCODING).iter();
    if content.any(|value| !is(value, "identity")) {
        return Err(Coding::Content);
    }
    Ok(())
}
