//! Requests of the revisions with sessions: 2025-03-26, 2025-06-18 and 2025-11-25.

use std::sync::Arc;

use axum::body::Body;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};
use rmcp::{
    ServerHandler, Service,
    model::{
        CancelledNotificationParam, ClientNotification, ClientRequest, CustomNotification,
        ErrorCode, ErrorData, InitializeRequestParams, InitializedNotification, LoggingLevel,
        ProtocolVersion, RequestId, RequestMetaObject, RootsListChangedNotification, ServerResult,
    },
};
use serde_json::Value;

use super::{
    Accepts, Transport, accepts, answer,
    converse::{self, Conversation, Wants},
    envelope::{Call, Incoming, Malformed, Params},
    headers,
    listen::STANDALONE,
    method::{self, Era},
    seen,
    stream::{self, Frame, Log, Sse},
    work::{self, Delivery, Work},
};
use crate::{
    auth::Principal,
    session::{Session, SessionChange, SessionError, SessionId},
};

/// A request's session: its name and its record.
pub(super) type Open = (SessionId, Arc<Session>);

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

    async fn initialize(
        self: Arc<Self>,
        parts: Parts,
        principal: Principal,
        call: Call,
    ) -> Response<Body> {
        let Call { id, method, params } = call;
        let mut params: InitializeRequestParams = match method::typed(&method, params) {
            Ok((ClientRequest::InitializeRequest(request), _)) => request.params,
            Ok(_) => return answer::refuse(StatusCode::OK, Some(&id), &answer::internal()),
            Err(error) => return answer::refuse(StatusCode::OK, Some(&id), &error),
        };
        let known = |it: &&ProtocolVersion| it.has_initialize();
        if !self
            .versions
            .iter()
            .filter(known)
            .any(|it| *it == params.protocol_version)
        {
            let newest = self.versions.iter().rfind(known);
            params.protocol_version = newest.cloned().unwrap_or(ProtocolVersion::V_2025_11_25);
        }
        let version = params.protocol_version.clone();
        let mut work = Work {
            handler: (self.factory)(),
            id: id.clone(),
            request: ClientRequest::PingRequest(rmcp::model::PingRequest::default()),
            meta: RequestMetaObject::default(),
            parts,
            version: version.clone(),
            client: None,
            tool: None,
        };
        let request = rmcp::model::InitializeRequest::new(params.clone());
        work.request = ClientRequest::InitializeRequest(request);
        // A peer of its own, because a handler may keep the client's word there.
        let peer = Conversation::silent(self.lifecycle.hard.child_token());
        let context = work.context(peer.peer(), self.lifecycle.hard.child_token(), None);
        let Work {
            handler, request, ..
        } = work;
        let result = handler
            .handle_request(request, context)
            .await
            .map(|result| match result {
                ServerResult::InitializeResult(mut result) => {
                    result.protocol_version = version.clone();
                    ServerResult::InitializeResult(result)
                }
                other => other,
            });
        if result.is_err() {
            return answer::json_response(answer::frame(&id, result, &version, &self.server));
        }
        let session = Session::new(principal, version.clone(), params);
        let session = match self.sessions.create(session).await {
            Ok(session) => session,
            Err(error) => return Refusal::Store(error).respond(Some(&id)),
        };
        let frame = answer::frame(&id, result, &version, &self.server);
        let mut response = answer::json_response(frame);
        if let Ok(value) = HeaderValue::from_str(session.as_str()) {
            response.headers_mut().insert(headers::SESSION_ID, value);
        }
        response
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

    /// GET: an answer taken up again, or the session's stream of change notifications.
    pub(super) async fn get(self: Arc<Self>, parts: Parts, principal: Principal) -> Response<Body> {
        if !accepts(&parts.headers).sse {
            let error = ErrorData::invalid_request("Accept must allow text/event-stream", None);
            return answer::refuse(StatusCode::NOT_ACCEPTABLE, None, &error);
        }
        let (session, record) = match self.session(&parts.headers, &principal).await {
            Ok(open) => open,
            Err(refusal) => return refusal.respond(None),
        };
        let last = parts
            .headers
            .get("last-event-id")
            .and_then(|value| value.to_str().ok());
        match last.and_then(stream::parse_event_id) {
            Some((name, number)) if name != STANDALONE => {
                let Some(log) = self.logs.find(&session, name) else {
                    let error = ErrorData::invalid_request("this stream cannot be resumed", None);
                    return answer::refuse(StatusCode::BAD_REQUEST, None, &error);
                };
                let sse = Sse {
                    keep_alive: self.settings.keep_alive,
                    prime: false,
                    _guard: None,
                    first: None,
                };
                stream::respond(log.read(number), sse)
            }
            resumed => {
                let resumed = resumed.is_some();
                self.standalone(&principal, &session, &record.version, resumed)
            }
        }
    }

    /// DELETE: the session ends, with its calls and streams.
    pub(super) async fn delete(
        self: Arc<Self>,
        parts: Parts,
        principal: Principal,
    ) -> Response<Body> {
        let (session, _) = match self.session(&parts.headers, &principal).await {
            Ok(open) => open,
            Err(refusal) => return refusal.respond(None),
        };
        match self.sessions.delete(&session, &principal).await {
            Ok(true) => {}
            Ok(false) => return Refusal::Unknown.respond(None),
            Err(error) => return Refusal::Store(error).respond(None),
        }
        self.calls.cancel_all(&session);
        self.logs.forget_all(&session);
        self.live.close(&session);
        answer::empty(StatusCode::NO_CONTENT)
    }

    /// The session that the headers name, if it is the principal's and the version agrees.
    async fn session(&self, headers: &HeaderMap, principal: &Principal) -> Result<Open, Refusal> {
        let mut ids = headers.get_all(headers::SESSION_ID).iter();
        let id = match (ids.next(), ids.next()) {
            (None, _) => {
                self.check_version_alone(headers)?;
                return Err(Refusal::Missing);
            }
            (Some(id), None) => id.to_str().ok().and_then(SessionId::parse),
            (Some(_), Some(_)) => None,
        };
        let id = id.ok_or(Refusal::Unknown)?;
        let record = self
            .sessions
            .touch(&id, principal)
            .await
            .map_err(Refusal::Store)?;
        let record = record.ok_or(Refusal::Unknown)?;
        if let Some(version) = headers.get(headers::PROTOCOL_VERSION)
            && version.as_bytes() != record.version.as_str().as_bytes()
        {
            return Err(Refusal::Version);
        }
        Ok((id, record))
    }

    fn check_version_alone(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(version) = headers.get(headers::PROTOCOL_VERSION) else {
            return Ok(());
        };
        let known = |it: &ProtocolVersion| it.as_str().as_bytes() == version.as_bytes();
        if self.versions.iter().any(known) {
            Ok(())
        } else {
            Err(Refusal::Version)
        }
    }
}

/// A request of a session that passed its checks.
struct Prepared<H> {
    work: Work<H>,
    wants: Wants,
    /// Whether it is worked on in a task of its own.
    in_task: bool,
}

/// Why a request never reached its handler.
enum Refusal {
    Missing,
    Unknown,
    Version,
    Store(SessionError),
}

impl Refusal {
    fn respond(self, id: Option<&RequestId>) -> Response<Body> {
        let (status, code, message) = match &self {
            Self::Missing => (StatusCode::BAD_REQUEST, -32000, "Mcp-Session-Id is missing"),
            // The code that clients know to mean: initialize again.
            Self::Unknown => (StatusCode::NOT_FOUND, -32001, "Session not found"),
            Self::Version => (
                StatusCode::BAD_REQUEST,
                -32000,
                "MCP-Protocol-Version is not the session's revision",
            ),
            Self::Store(SessionError::Full { .. }) => (
                StatusCode::SERVICE_UNAVAILABLE,
                -32603,
                "Too many sessions are open",
            ),
            Self::Store(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                -32603,
                "Sessions are unavailable at the moment",
            ),
        };
        let error = ErrorData::new(ErrorCode(code), message, None);
        let mut response = answer::refuse(status, id, &error);
        if let Self::Store(error) = &self {
            let after = match error {
                SessionError::Full { retry_after } => retry_after.as_secs().max(1),
                _ => 1,
            };
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(after));
        }
        response
    }
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
