//! The media types of requests and answers: `Content-Type` and `Accept`.

use http::{HeaderMap, header};

/// The forms of an answer that a client takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accepts {
    pub(super) json: bool,
    pub(super) sse: bool,
}

/// Whether the body is said to be JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let media = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    media
        .and_then(|media| media.split(';').next())
        .is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}

/// What `Accept` allows; without the header, everything (RFC 9110 section 12.5.1).
pub(super) fn accepts(headers: &HeaderMap) -> Accepts {
    let mut any = false;
    let mut accepts = Accepts {
        json: false,
        sse: false,
    };
    for value in headers.get_all(header::ACCEPT) {
        any = true;
        for media in value.to_str().unwrap_or_default().split(',') {
            let mut parts = media.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            if parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000")) {
                continue;
            }
            accepts.json |= matches!(media.as_str(), "*/*" | "application/*" | "application/json");
            accepts.sse |= matches!(media.as_str(), "*/*" | "text/*" | "text/event-stream");
        }
    }
    if any {
        accepts
    } else {
        Accepts {
            json: true,
            sse: true,
        }
    }
}
