//! Requests of the revisions with sessions: 2025-03-26, 2025-06-18 and 2025-11-25.

use std::sync::Arc;

use axum::body::Body;
use http::{Response, StatusCode, request::Parts};
use rmcp::{
    ServerHandler,
    model::{
        CancelledNotification, CancelledNotificationParam, ClientNotification, ClientRequest,
        CustomNotification, ErrorData, InitializedNotification, JsonObject, LoggingLevel,
        ProgressNotification, ProgressNotificationParam, ProtocolVersion, RequestId,
        RequestMetaObject, RootsListChangedNotification,
    },
};
use serde_json::Value;

use super::{
    Accepts, Transport, answer,
    calls::NotEntered,
    converse::{self, Wants},
    envelope::{Call, Incoming, Params},
    meter,
    method::{self, Era},
    opening::{self, Open},
    operation,
    replicas::Unreachable,
    seen,
    stream::{Frame, Log},
    work::{self, Delivery, Held, STORE_DEADLINE, Work},
};
use crate::{
    auth::Principal,
    metrics::StreamKind,
    session::{Session, SessionChange, SessionError, SessionId},
    signals::Token,
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
        let incoming = match incoming {
            Incoming::Request(call) if call.method == "initialize" => {
                let response = self.initialize(parts, principal, call).await;
                return seen(response, None, "initialize", None);
            }
            other => other,
        };
        let method = match &incoming {
            Incoming::Request(call) => method::known(&call.method),
            Incoming::Notification { method, .. } => method::known(method),
            Incoming::Answer { .. } => "response",
        };
        let open = match self.session(&parts.headers, &principal).await {
            Ok(open) => open,
            Err(refusal) => {
                let nothing = JsonObject::default();
                let action = self.action(&[operation(&incoming, &nothing)]);
                let note = opening::note(&principal, action);
                let response = refusal.respond(incoming.request_id(), Some(note));
                return seen(response, None, method, None);
            }
        };
        let version = open.1.version.clone();
        let incoming = match incoming {
            Incoming::Request(call) => {
                let (response, tool) = self.legacy_request(parts, open, accepts, call).await;
                return seen(response, Some(&version), method, tool);
            }
            other => other,
        };
        let response = match self.one_way(&open, &parts, incoming) {
            Ok(()) => answer::empty(StatusCode::ACCEPTED),
            Err(Unreachable) => unreachable_for_now(),
        };
        seen(response, Some(&version), method, None)
    }

    /// A notification or an answer, neither of which is answered.
    pub(super) fn one_way(
        &self,
        open: &Open,
        parts: &Parts,
        incoming: Incoming,
    ) -> Result<(), Unreachable> {
        match incoming {
            Incoming::Notification { method, params } => {
                self.notified(open, parts, &method, params);
                Ok(())
            }
            Incoming::Answer { id, result } => self.replicas.answered(open.0.digest(), &id, result),
            Incoming::Request(_) => Ok(()),
        }
    }

    fn notified(&self, open: &Open, parts: &Parts, method: &str, params: Params) {
        let value = Value::Object(params.fields);
        let notification = match method {
            "notifications/cancelled" => {
                let Ok(params) = serde_json::from_value::<CancelledNotificationParam>(value) else {
                    return;
                };
                if let Some(id) = &params.request_id {
                    self.replicas.cancelled(open.0.digest(), id);
                }
                ClientNotification::CancelledNotification(CancelledNotification::new(params))
            }
            "notifications/progress" => {
                let Ok(params) = serde_json::from_value::<ProgressNotificationParam>(value) else {
                    return;
                };
                ClientNotification::ProgressNotification(ProgressNotification::new(params))
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
        let Ok(place) = self.notices.clone().try_acquire_owned() else {
            tracing::warn!("a notification is dropped: too many are being handled");
            return;
        };
        let told = converse::tell(
            (self.factory)(),
            notification,
            parts.clone(),
            self.lifecycle.hard.child_token(),
        );
        let deadline = self.settings.request_deadline;
        self.lifecycle.tasks.spawn(async move {
            if tokio::time::timeout(deadline, told).await.is_err() {
                tracing::warn!("a handler did not finish with a notification in time");
            }
            drop(place);
        });
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
        let max = self.settings.calls_per_session_max;
        let digest = session.digest();
        let entered = match self.calls.enter(&digest, &work.id, ct.clone(), max) {
            Ok(entered) => entered,
            Err(why) => return (refuse_call(&work.id, why), tool),
        };
        let log = Log::new(Some(name.clone()));
        let reader = log.read(None);
        let wants = if accepts.sse { wants } else { Wants::default() };
        let held = Held {
            session,
            principal: record.principal.clone(),
            _entered: entered,
        };
        // Going away is no cancellation in these revisions: the work goes on without a reader.
        self.spawn(work, wants, log.clone(), ct, Some(held));
        let prime = record.version >= ProtocolVersion::V_2025_11_25;
        let delivery = Delivery {
            accepts,
            guard: None,
            prime,
        };
        let keep = || {
            self.logs.keep(&digest, name, log);
            self.opened(StreamKind::Request)
        };
        (
            work::deliver(reader, delivery, self.settings.keep_alive, keep).await,
            tool,
        )
    }

    /// Checks a request of a session and readies it for its handler; the frame is a refusal.
    pub(super) async fn prepare(
        self: &Arc<Self>,
        parts: Parts,
        open: &Open,
        call: Call,
    ) -> Result<Prepared<H>, Frame> {
        let (session, record) = open;
        let Call { id, method, params } = call;
        let version = record.version.clone();
        let fail = |error| answer::frame(&id, Err(error), &version, &self.side);
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
        meter::about(&parts, &version, tool.as_ref());
        let client = Some(record.client.clone());
        // Anything else may be a write, which a client that goes away must not cut off.
        let in_task = !method::is_glance(&method) || wants.anything();
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
        if let SessionChange::Subscribe(uri) = &change
            && uri.len() > URI_BYTES_MAX
        {
            return Err(fail(uri_too_long()));
        }
        Err(self.change(work, open, change).await)
    }

    /// Asks the handler, and changes the session's record when it agrees. In a task of its own, so
    /// that the two never come apart.
    async fn change(self: &Arc<Self>, work: Work<H>, open: &Open, change: SessionChange) -> Frame {
        let (id, version) = (work.id.clone(), work.version.clone());
        let (inner, session, principal) = (self.clone(), open.0.clone(), open.1.principal.clone());
        let task = self.lifecycle.tasks.spawn(async move {
            let ct = inner.lifecycle.hard.child_token();
            let deadline = inner.settings.request_deadline;
            let result = inner
                .result(work, inner.silent.peer(), ct, None, deadline)
                .await?;
            if result.is_err() {
                return Some(result);
            }
            let changed = inner.sessions.change(&session, &principal, change);
            Some(match tokio::time::timeout(STORE_DEADLINE, changed).await {
                Ok(Ok(_)) => result,
                Ok(Err(error @ SessionError::TooManySubscriptions { .. })) => {
                    Err(ErrorData::invalid_params(error.to_string(), None))
                }
                Ok(Err(error)) => Err(ErrorData::internal_error(error.to_string(), None)),
                Err(_) => Err(ErrorData::internal_error(
                    SessionError::Unavailable.to_string(),
                    None,
                )),
            })
        });
        let result = task
            .await
            .ok()
            .flatten()
            .unwrap_or_else(|| Err(answer::internal()));
        answer::frame(&id, result, &version, &self.side)
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
            requests: (self.settings.server_requests && askable)
                .then(|| (session.digest(), record.client.clone())),
        }
    }
}

/// A request of a session that passed its checks.
pub(super) struct Prepared<H> {
    pub(super) work: Work<H>,
    wants: Wants,
    /// Whether it is worked on in a task of its own.
    in_task: bool,
}

/// Longest URI that a client may subscribe to, in bytes.
pub(super) const URI_BYTES_MAX: usize = 2048;

pub(super) fn uri_too_long() -> ErrorData {
    let message = format!("Invalid params: a uri may have at most {URI_BYTES_MAX} bytes");
    ErrorData::invalid_params(message, None)
}

/// Why a call cannot run beside those that do.
pub(super) fn not_entered(why: NotEntered) -> ErrorData {
    match why {
        NotEntered::Duplicate => {
            ErrorData::invalid_request("Invalid Request: a request with this id is running", None)
        }
        NotEntered::TooMany => {
            ErrorData::internal_error("too many requests are running; try again later", None)
        }
    }
}

fn refuse_call(id: &RequestId, why: NotEntered) -> Response<Body> {
    let error = not_entered(why);
    match why {
        NotEntered::Duplicate => answer::refuse(StatusCode::BAD_REQUEST, Some(id), &error),
        NotEntered::TooMany => {
            answer::refuse_for_now(StatusCode::TOO_MANY_REQUESTS, Some(id), &error)
        }
    }
}

fn unreachable_for_now() -> Response<Body> {
    let message = "other replicas of the server cannot be reached at the moment";
    let error = ErrorData::internal_error(message, None);
    answer::refuse_for_now(StatusCode::SERVICE_UNAVAILABLE, None, &error)
}

fn stream_name() -> Option<String> {
    Token::random().ok().map(|name| name.as_str().to_owned())
}
