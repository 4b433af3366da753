//! What is counted of messages and streams.

use std::{borrow::Cow, sync::Arc};

use axum::body::Body;
use http::{HeaderValue, Response, header, request::Parts};
use rmcp::{
    ServerHandler,
    model::{ProtocolVersion, ServerResult, Tool},
};
use serde_json::Value;

use super::{
    Accepts, Transport,
    envelope::{self, Call, Incoming, Malformed},
    method::{self, Era},
    stream::{Frame, Kind},
};
use crate::{
    auth::Principal,
    gate::Refusal,
    metrics::{Outcome, Running, StreamKind, Up},
    telemetry::AccessNote,
};

/// The method as a label: "other" is of the access line.
fn label(method: &str) -> &'static str {
    match method::known(method) {
        "other" => UNKNOWN,
        known => known,
    }
}

const UNKNOWN: &str = "_unknown";

impl<H, F> Transport<F>
where
    H: ServerHandler,
    F: Fn() -> H + Send + Sync + 'static,
{
    /// Answers one message of either era, and takes down what becomes of it.
    pub(super) async fn one(
        self: Arc<Self>,
        mut parts: Parts,
        principal: Principal,
        accepts: Accepts,
        incoming: Incoming,
    ) -> Response<Body> {
        let is_request = matches!(incoming, Incoming::Request(_));
        let running = self.came(&incoming);
        if let Some(running) = &running {
            parts.extensions.insert(running.clone());
        }
        let mut response = match super::era(&incoming, &parts.headers) {
            Era::Modern => self.modern(parts, principal, accepts, incoming).await,
            Era::Legacy => self.legacy(parts, principal, accepts, incoming).await,
        };
        if let Some(running) = &running {
            answered(running, is_request, &mut response);
        }
        response
    }

    /// A message came. What answers a request of the server is no operation of its own.
    pub(super) fn came(&self, incoming: &Incoming) -> Option<Running> {
        match incoming {
            Incoming::Request(call) => Some(self.metrics.message_came(label(&call.method))),
            Incoming::Notification { method, .. } => Some(self.metrics.message_came(label(method))),
            Incoming::Answer { .. } => None,
        }
    }

    /// Something came that is no message.
    pub(super) fn came_unreadable(&self) -> Running {
        self.metrics.message_came(UNKNOWN)
    }

    /// The messages of a body were refused with `response` before anything was done.
    pub(super) fn turned_away(&self, body: &envelope::Body, response: &Response<Body>) {
        let outcome = response.extensions().get::<Outcome>().copied();
        let outcome = outcome.unwrap_or(Outcome::Done);
        let count = |incoming: &Incoming| {
            let Some(running) = self.came(incoming) else {
                return;
            };
            if let Incoming::Request(call) = incoming
                && running.lacks_tool()
                && let Some(name) = call.params.fields.get("name").and_then(Value::as_str)
                && let Some(tool) = (self.factory)().get_tool(name)
            {
                running.calls(tool.name);
            }
            running.over(outcome);
        };
        match body {
            envelope::Body::One(incoming) => count(incoming),
            envelope::Body::Batch(batch) => batch.iter().flatten().for_each(count),
        }
    }

    /// A message of a batch that cannot be read.
    pub(super) fn came_malformed(&self, malformed: &Malformed) {
        let running = self.came_unreadable();
        running.over(Outcome::Error(malformed.error.code));
    }

    /// A request came in a batch of a session with this revision.
    pub(super) fn came_in_batch(&self, call: &Call, version: &ProtocolVersion) -> Running {
        let running = self.metrics.message_came(label(&call.method));
        running.has_revision(version.as_str());
        running
    }

    /// A stream is open until what this gives is dropped.
    pub(super) fn opened(&self, kind: StreamKind) -> Up {
        self.metrics.stream_opened(kind)
    }
}

/// What `response` says of a message. Nothing yet when it is a stream, whose end says it.
pub(super) fn answered(running: &Running, is_request: bool, response: &mut Response<Body>) {
    if let Some(note) = response.extensions().get::<AccessNote>() {
        let (revision, tool) = (note.revision.as_deref(), note.tool.clone());
        if let Some(revision) = revision {
            running.has_revision(revision);
        }
        if let Some(tool) = tool {
            running.calls(tool);
        }
    }
    let event_stream = HeaderValue::from_static("text/event-stream");
    let is_stream = response.headers().get(header::CONTENT_TYPE) == Some(&event_stream);
    match response.extensions_mut().remove::<Outcome>() {
        Some(outcome) => running.over(outcome),
        None if is_stream => {}
        // The client called it off and is told nothing.
        None if is_request => running.over(Outcome::Cancelled),
        None => running.over(Outcome::Done),
    }
}

/// What is known of the message with this head.
pub(super) fn about(parts: &Parts, version: &ProtocolVersion, tool: Option<&Tool>) {
    if let Some(running) = running(parts) {
        running.has_revision(version.as_str());
        if let Some(tool) = tool {
            running.calls(Cow::clone(&tool.name));
        }
    }
}

/// The message with this head.
pub(super) fn running(parts: &Parts) -> Option<&Running> {
    parts.extensions.get()
}

/// What a result means for who asked.
pub(super) fn of_result(result: &ServerResult) -> Outcome {
    match result {
        ServerResult::CallToolResult(result) if result.is_error == Some(true) => Outcome::ToolError,
        _ => Outcome::Done,
    }
}

/// What the gate's refusal means for who asked.
pub(super) fn of_refusal(refusal: &Refusal) -> Outcome {
    match refusal {
        Refusal::Rate(_) | Refusal::Busy | Refusal::Batch { .. } => Outcome::RateLimited,
        Refusal::Scope { .. } | Refusal::Auth(_) | Refusal::Stranger | Refusal::OpenCredential => {
            Outcome::Unauthorized
        }
    }
}

/// What a message that is an answer says.
pub(super) fn of_frame(frame: &Frame) -> Outcome {
    match frame.kind {
        Kind::Response(_, outcome) => outcome,
        Kind::Notification | Kind::Request => Outcome::Done,
    }
}

/// A stream of change notifications, which ends well however it ends.
pub(super) struct Listening {
    running: Option<Running>,
    _open: Up,
}

impl Listening {
    pub(super) fn new(running: Option<Running>, open: Up) -> Self {
        Self {
            running,
            _open: open,
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.over(Outcome::Done);
        }
    }
}
