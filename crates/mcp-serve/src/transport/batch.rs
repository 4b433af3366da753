//! Batches of messages, which only revision 2025-03-26 knows.

use std::sync::Arc;

use axum::body::Body;
use futures_util::future::join_all;
use http::{Response, StatusCode, request::Parts};
use rmcp::{
    ServerHandler,
    model::{ErrorData, ProtocolVersion},
};

use super::{
    Transport, answer,
    converse::Wants,
    envelope::{Call, Incoming, Malformed},
    legacy::not_entered,
    meter,
    opening::{self, Open},
    seen,
    stream::{self, Frame, Log, Step},
    work::Held,
};
use crate::{auth::Principal, metrics::Outcome};

impl<H, F> Transport<F>
where
    H: ServerHandler,
    F: Fn() -> H + Send + Sync + 'static,
{
    /// The messages of a batch, worked on at the same time (2025-03-26 only). The answers come in
    /// one array; what a handler would say in between is left out.
    pub(super) async fn batch(
        self: Arc<Self>,
        parts: Parts,
        principal: Principal,
        batch: Vec<Result<Incoming, Malformed>>,
    ) -> Response<Body> {
        let refuse = |message: &'static str| {
            let error = ErrorData::invalid_request(message, None);
            seen(
                answer::refuse(StatusCode::BAD_REQUEST, None, &error),
                None,
                "batch",
                None,
            )
        };
        if super::is_modern(&parts.headers) {
            return refuse("Invalid Request: this revision has no batches");
        }
        let open = match self.session(&parts.headers, &principal).await {
            Ok(open) => open,
            Err(refusal) => {
                let note = opening::note(&principal, Some("batch".into()));
                return seen(refusal.respond(None, Some(note)), None, "batch", None);
            }
        };
        if open.1.version != ProtocolVersion::V_2025_03_26 {
            return refuse("Invalid Request: the session's revision has no batches");
        }
        let answers = join_all(batch.into_iter().map(|message| {
            let (inner, parts, open) = (self.clone(), parts.clone(), &open);
            inner.of_batch(parts, open, message)
        }));
        let answers: Vec<Frame> = answers.await.into_iter().flatten().collect();
        if answers.is_empty() {
            return seen(
                answer::empty(StatusCode::ACCEPTED),
                Some(&open.1.version),
                "batch",
                None,
            );
        }
        let mut body = b"[".to_vec();
        for (index, frame) in answers.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&frame.json);
        }
        body.push(b']');
        let kind = stream::Kind::Response(StatusCode::OK, Outcome::Done);
        let response = answer::json_response(Frame {
            json: body.into(),
            kind,
        });
        seen(response, Some(&open.1.version), "batch", None)
    }

    /// The answer to one message of a batch.
    async fn of_batch(
        self: Arc<Self>,
        mut parts: Parts,
        open: &Open,
        message: Result<Incoming, Malformed>,
    ) -> Option<Frame> {
        let version = &open.1.version;
        match message {
            Err(malformed) => {
                self.came_malformed(&malformed);
                let Malformed { id, error } = malformed;
                Some(answer::failure(id.as_ref(), &error, StatusCode::OK))
            }
            Ok(Incoming::Request(call)) => {
                let running = self.came_in_batch(&call, version);
                parts.extensions.insert(running.clone());
                let frame = self.batched(parts, open, call).await;
                running.over(frame.as_ref().map_or(Outcome::Cancelled, meter::of_frame));
                frame
            }
            Ok(incoming) => {
                if let Some(running) = self.came(&incoming) {
                    running.has_revision(version.as_str());
                    running.over(Outcome::Done);
                }
                // A batch has one status, which is not this message's alone.
                let _ = self.one_way(open, &parts, incoming);
                None
            }
        }
    }

    async fn batched(self: Arc<Self>, parts: Parts, open: &Open, call: Call) -> Option<Frame> {
        if call.method == "initialize" {
            let error = ErrorData::invalid_request("initialize cannot be part of a batch", None);
            return Some(answer::failure(Some(&call.id), &error, StatusCode::OK));
        }
        let work = match self.prepare(parts, open, call).await {
            Ok(prepared) => prepared.work,
            Err(frame) => return Some(frame),
        };
        let (id, ct) = (work.id.clone(), self.lifecycle.hard.child_token());
        let max = self.settings.calls_per_session_max;
        let digest = open.0.digest();
        let entered = match self.calls.enter(&digest, &id, ct.clone(), max) {
            Ok(entered) => entered,
            Err(why) => {
                return Some(answer::failure(
                    Some(&id),
                    &not_entered(why),
                    StatusCode::OK,
                ));
            }
        };
        let held = Held {
            session: open.0.clone(),
            principal: open.1.principal.clone(),
            _entered: entered,
        };
        // In a task of its own, so that a client that goes away does not cut it off.
        let log = Log::new(None);
        let mut reader = log.read(None);
        self.spawn(work, Wants::default(), log, ct, Some(held));
        match reader.next().await {
            Step::Frame(_, frame) => Some(frame),
            Step::End | Step::SentAway => None,
        }
    }
}
