//! Requests of the revisions with sessions: 2025-03-26, 2025-06-18 and 2025-11-25.

use std::sync::Arc;

use axum::body::Body;
use futures_util::future::join_all;
use http::{Response, StatusCode, request::Parts};
use rmcp::{
    ServerHandler, Service,
    model::{
        CancelledNotificationParam, ClientNotification, ClientRequest, CustomNotification,
        ErrorData, InitializedNotification, LoggingLevel, ProtocolVersion, RequestId,
        RequestMetaObject, RootsListChangedNotification,
    },
};
use serde_json::Value;

use super::{
    Accepts, Transport, answer,
    converse::{self, Wants},
    envelope::{Call, Incoming, Malformed, Params},
    method::{self, Era},
    opening::Open,
    seen,
    stream::{self, Frame, Log},
    work::{self, Delivery, Work},
};
use crate::{
    auth::Principal,
    session::{Session, SessionChange, SessionError, SessionId},
};

impl<H, F> Transport<F>
where
    H: ServerHandler,
    F: Fn() -> H + Send + Sync + 'static,
{
    pub(super) async fn legacy(
        self: Arc<Self>,
        parts: Parts,
        principal: Principal,
        accepts: Accepts,
        incoming: Incoming,
    ) -> Response<Body> {
        if let Incoming::Request(call) = incoming {
            let name = method::known(&call.method);
            if call.method == "initialize" {
                let response = self.initialize(parts, principal, call).await;
                return seen(response, None, name, None);
            }
            let open = match self.session(&parts.headers, &principal).await {
                Ok(open) => open,
                Err(refusal) => return seen(refusal.respond(Some(&call.id)), None, name, None),
            };
            let version = open.1.version.clone();
            let (response, tool) = self.legacy_request(parts, open, accepts, call).await;
            return seen(response, Some(&version), name, tool);
        }
        let open = match self.session(&parts.headers, &principal).await {
            Ok(open) => open,
            Err(refusal) => return refusal.respond(None),
        };
        let version = open.1.version.clone();
        let method = match &incoming {
            Incoming::Notification { method, .. } => method::known(method),
            _ => "response",
        };
        self.one_way(&open, &parts, incoming);
        seen(
            answer::empty(StatusCode::ACCEPTED),
            Some(&version),
            method,
            None,
        )
    }

    /// A notification or an answer, neither of which is answered.
    fn one_way(&self, open: &Open, parts: &Parts, incoming: Incoming) {
        match incoming {
            Incoming::Notification { method, params } => {
                self.notified(open, parts, &method, params);
            }
            Incoming::Answer { id, result } => {
                if !self.asked.answer(&open.0, &id, result) {
                    tracing::debug!("an answer came for a request that does not wait");
                }
            }
            Incoming::Request(_) => {}
        }
    }

    fn notified(&self, open: &Open, parts: &Parts, method: &str, params: Params) {
        let value = Value::Object(params.fields);
        let notification = match method {
            "notifications/cancelled" => {
                if let Ok(it) = serde_json::from_value::<CancelledNotificationParam>(value)
                    && let Some(id) = it.request_id
                {
                    self.calls.cancel(&open.0, &id);
                }
                return;
            }
            "notifications/initialized" => {
                ClientNotification::InitializedNotification(InitializedNotification::default())
            }
            "notifications/roots/list_changed" => ClientNotification::RootsListChangedNotification(
                RootsListChangedNotification::default(),
            ),
            _ => ClientNotification::CustomNotification(CustomNotification::new(
                method,
                params.given.then_some(value),
            )),
        };
        converse::notify((self.factory)(), notification, parts.clone());
    }

    async fn legacy_request(
        self: Arc<Self>,
        parts: Parts,
        open: Open,
        accepts: Accepts,
        call: Call,
    ) -> (Response<Body>, Option<String>) {
        let prepared = match self.prepare(parts, &open, call).await {
            Ok(prepared) => prepared,
            Err(frame) => return (answer::json_response(frame), None),
        };
        let Prepared {
            work,
            wants,
            in_task,
        } = prepared;
        let tool = work.tool.as_ref().map(|tool| tool.name.to_string());
        if !in_task && accepts.json {
            let ct = self.lifecycle.hard.child_token();
            return (
                answer::json_response(self.immediately(work, ct).await),
                tool,
            );
        }
        let (session, record) = open;
        let Some(name) = stream_name() else {
            let id = work.id.clone();
            return (
                answer::refuse(StatusCode::OK, Some(&id), &answer::internal()),
                tool,
            );
        };
        let ct = self.lifecycle.hard.child_token();
        let Some(entered) = self.calls.enter(&session, &work.id, ct.clone()) else {
            return (duplicate(&work.id), tool);
        };
        let log = Log::new(Some(name.clone()));
        let reader = log.read(None);
        let wants = if accepts.sse { wants } else { Wants::default() };
        let task = self.in_task(work, wants, log.clone(), ct);
        let kept = log.clone();
        self.lifecycle.tasks.spawn(async move {
            // Going away is no cancellation in these revisions: the work goes on without a reader.
            if let Some(frame) = task.await {
                log.push(frame);
            }
            log.finish();
            drop(entered);
        });
        let prime = record.version >= ProtocolVersion::V_2025_11_25;
        let delivery = Delivery {
            accepts,
            guard: None,
            prime,
        };
        let keep = || self.logs.keep(&session, name, kept);
        (
            work::deliver(reader, delivery, self.settings.keep_alive, keep).await,
            tool,
        )
    }

    /// Checks a request of a session and readies it for its handler; the frame is a refusal.
    async fn prepare(&self, parts: Parts, open: &Open, call: Call) -> Result<Prepared<H>, Frame> {
        let (session, record) = open;
        let Call { id, method, params } = call;
        let version = record.version.clone();
        let fail = |error| answer::frame(&id, Err(error), &version, &self.server);
        if !method::is_served(&method, Era::Legacy, &self.capabilities) {
            return Err(fail(method::not_found(&method)));
        }
        let (request, meta) = method::typed(&method, params).map_err(fail)?;
        let handler = (self.factory)();
        let tool = match &request {
            ClientRequest::CallToolRequest(call) => handler.get_tool(&call.params.name),
            _ => None,
        };
        let change = match &request {
            ClientRequest::SetLevelRequest(it) => Some(SessionChange::LogLevel(it.params.level)),
            ClientRequest::SubscribeRequest(it) => {
                Some(SessionChange::Subscribe(it.params.uri.as_str().into()))
            }
            ClientRequest::UnsubscribeRequest(it) => {
                Some(SessionChange::Unsubscribe(it.params.uri.as_str().into()))
            }
            _ => None,
        };
        let wants = self.wants(session, record, &meta, &method);
        let client = Some(record.client.clone());
        // Calls may be writes, which a client that goes away must not cut off.
        let in_task = method == "tools/call" || wants.anything();
        let work = Work {
            handler,
            id: id.clone(),
            request,
            meta,
            parts,
            version: version.clone(),
            client,
            tool,
        };
        let Some(change) = change else {
            return Ok(Prepared {
                work,
                wants,
                in_task,
            });
        };
        self.change(work, session, &record.principal, change).await
    }

    /// Asks the handler, and changes the session's record when it agrees.
    async fn change(
        &self,
        work: Work<H>,
        session: &SessionId,
        principal: &Principal,
        change: SessionChange,
    ) -> Result<Prepared<H>, Frame> {
        let (id, version) = (work.id.clone(), work.version.clone());
        let context = work.context(self.silent.peer(), self.lifecycle.hard.child_token(), None);
        let mut result = work.handler.handle_request(work.request, context).await;
        if result.is_ok() {
            match self.sessions.change(session, principal, change).await {
                Ok(_) => {}
                Err(error @ SessionError::TooManySubscriptions { .. }) => {
                    result = Err(ErrorData::invalid_params(error.to_string(), None));
                }
                Err(error) => result = Err(ErrorData::internal_error(error.to_string(), None)),
            }
        }
        Err(answer::frame(&id, result, &version, &self.server))
    }

    fn wants(
        &self,
        session: &SessionId,
        record: &Session,
        meta: &RequestMetaObject,
        method: &str,
    ) -> Wants {
        if !method::may_converse(method) {
            return Wants::default();
        }
        let has = &record.client.capabilities;
        let askable = has.elicitation.is_some() || has.sampling.is_some() || has.roots.is_some();
        let logs = self.capabilities.logging.is_some();
        Wants {
            progress: meta.get_progress_token(),
            log: logs.then(|| record.log_level.unwrap_or(LoggingLevel::Info)),
            requests: (self.settings.server_requests && askable).then(|| session.clone()),
        }
    }

    /// The messages of a batch, worked on at the same time (2025-03-26 only). The answers come in
    /// one array; what a handler would say in between is left out.
    pub(super) async fn batch(
        self: Arc<Self>,
        parts: Parts,
        principal: Principal,
        _accepts: Accepts,
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
            Err(refusal) => return seen(refusal.respond(None), None, "batch", None),
        };
        if open.1.version != ProtocolVersion::V_2025_03_26 {
            return refuse("Invalid Request: the session's revision has no batches");
        }
        let answers = join_all(batch.into_iter().map(|message| {
            let (inner, parts, open) = (self.clone(), parts.clone(), &open);
            async move {
                match message {
                    Err(malformed) => {
                        let Malformed { id, error } = malformed;
                        Some(answer::failure(id.as_ref(), &error, StatusCode::OK))
                    }
                    Ok(Incoming::Request(call)) => inner.batched(parts, open, call).await,
                    Ok(incoming) => {
                        inner.one_way(open, &parts, incoming);
                        None
                    }
                }
            }
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
        let kind = stream::Kind::Response(StatusCode::OK);
        let response = answer::json_response(Frame {
            json: body.into(),
            kind,
        });
        seen(response, Some(&open.1.version), "batch", None)
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
        let Some(entered) = self.calls.enter(&open.0, &id, ct.clone()) else {
            return Some(answer::failure(Some(&id), &in_use(), StatusCode::OK));
        };
        // In a task of its own, so that a client that goes away does not cut it off.
        let inner = self.clone();
        let log = Log::new(None);
        let task = self.lifecycle.tasks.spawn(async move {
            let frame = inner.in_task(work, Wants::default(), log, ct).await;
            drop(entered);
            frame
        });
        task.await.unwrap_or_else(|_| {
            Some(answer::failure(
                Some(&id),
                &answer::internal(),
                StatusCode::OK,
            ))
        })
    }
}

/// A request of a session that passed its checks.
struct Prepared<H> {
    work: Work<H>,
    wants: Wants,
    /// Whether it is worked on in a task of its own.
    in_task: bool,
}

fn in_use() -> ErrorData {
    ErrorData::invalid_request("Invalid Request: a request with this id is running", None)
}

fn duplicate(id: &RequestId) -> Response<Body> {
    answer::refuse(StatusCode::BAD_REQUEST, Some(id), &in_use())
}

fn stream_name() -> Option<String> {
    SessionId::random().ok().map(|id| id.as_str().to_owned())
}
