//! Answers that the edge gives itself, and the body that knows when an answer is over.

use std::{
    borrow::Cow,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body::{Body as HttpBody, Frame, SizeHint};
use serde_json::json;

use crate::{
    auth::Principal,
    gate::{self, RefusalNote},
    guard::Refusal,
    server::{Chunk, Exchange},
    telemetry::AccessLine,
};

/// How errors are written: as a JSON-RPC error without `id` on the MCP paths (the id of a request
/// that was not read is unknown), as a problem document (RFC 9457) elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    JsonRpc,
    Problem,
}

/// A request that the edge does not pass on.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    message: Cow<'static, str>,
    headers: Box<HeaderMap>,
    note: Option<Box<RefusalNote>>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            message: message.into(),
            headers: Box::default(),
            note: None,
        }
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// 503, with a time after which another try may be worth it.
    pub(super) fn unavailable(message: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
            .with(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// What the auditor is to be told.
    pub(super) fn note(self) -> Option<Box<RefusalNote>> {
        self.note
    }

    pub(super) fn into_response(self, shape: Shape) -> Response<Body> {
        let mut response = error_response(self.status, &self.message, shape);
        response.headers_mut().extend(*self.headers);
        if let Some(note) = self.note {
            response.extensions_mut().insert(*note);
        }
        response
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = if refusal.is_malformed() {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::FORBIDDEN
        };
        let mut failure = Self::new(status, refusal.message());
        failure.note = Some(Box::new(RefusalNote {
            principal: None,
            action: None,
            reason: refusal.reason(),
        }));
        failure
    }
}

impl Failure {
    /// What the gate refused to `principal`, as far as that is known.
    pub(super) fn at_gate(refusal: &gate::Refusal, principal: Option<Principal>) -> Self {
        let mut failure = Self::new(refusal.status(), refusal.message());
        refusal.write(&mut failure.headers);
        failure.note = Some(Box::new(RefusalNote {
            principal,
            action: None,
            reason: refusal.reason(),
        }));
        failure
    }
}

/// An error of this status in the given shape.
pub(super) fn error_response(status: StatusCode, message: &str, shape: Shape) -> Response<Body> {
    match shape {
        Shape::JsonRpc => {
            // The two codes of JSON-RPC for "your request" and "our fault".
            let code = if status.is_server_error() {
                -32603
            } else {
                -32600
            };
            let body = json!({
                "jsonrpc": "2.0",
                "error": { "code": code, "message": message },
            });
            json_response(status, "application/json", &body)
        }
        Shape::Problem => {
            let body = json!({
                "type": "about:blank",
                "title": status.canonical_reason().unwrap_or("Error"),
                "status": status.as_u16(),
                "detail": message,
            });
            json_response(status, "application/problem+json", &body)
        }
    }
}

/// A response with a JSON body.
pub(super) fn json_response(
    status: StatusCode,
    content_type: &'static str,
    body: &serde_json::Value,
) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The body of every answer. It counts its bytes, and when it is dropped the access line is written.
pub(crate) struct Tracked {
    inner: Body,
    line: AccessLine,
    exchange: Arc<Exchange>,
    /// Whether the end waits until everything before it is taken. Within HTTP/2 an answer whose end
    /// the connection has cannot be taken back any more, however long its window stays shut.
    end_waits: bool,
    ended: bool,
}

impl Tracked {
    pub(super) fn new(
        inner: Body,
        line: AccessLine,
        exchange: Arc<Exchange>,
        version: Version,
    ) -> Self {
        Self {
            inner,
            line,
            exchange,
            end_waits: version >= Version::HTTP_2,
            ended: false,
        }
    }
}

impl HttpBody for Tracked {
    type Data = Chunk;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, axum::Error>>> {
        if !self.ended {
            if let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                let bytes = frame.as_ref().ok().and_then(Frame::data_ref);
                self.line.bytes += bytes.map_or(0, |bytes| bytes.len() as u64);
                let exchange = self.exchange.clone();
                let frame = frame.map(|frame| frame.map_data(|bytes| exchange.chunk(bytes)));
                return Poll::Ready(Some(frame));
            }
            self.ended = true;
        }
        if self.end_waits {
            ready!(self.exchange.poll_taken(cx));
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        let waits = self.end_waits && self.exchange.is_unsent();
        !waits && (self.ended || self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
