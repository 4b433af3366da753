//! How sessions of the older revisions are opened, found, listened to and ended over HTTP.

use std::sync::Arc;

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};
use rmcp::{
    ServerHandler,
    model::{
        ClientRequest, ErrorCode, ErrorData, InitializeRequest, InitializeRequestParams,
        ProtocolVersion, RequestId, RequestMetaObject, ServerResult,
    },
};

use super::{
    Transport, accepts, answer,
    converse::Conversation,
    envelope::Call,
    headers,
    listen::STANDALONE,
    meter, method,
    relay::{self, NotResumed},
    stream::{self, Sse},
    work::{STORE_DEADLINE, Work},
};
use crate::{
    auth::Principal,
    gate::RefusalNote,
    metrics::StreamKind,
    session::{Session, SessionError, SessionId},
};

/// A request's session: its name and its record.
pub(super) type Open = (SessionId, Arc<Session>);

impl<H, F> Transport<F>
where
    H: ServerHandler,
    F: Fn() -> H + Send + Sync + 'static,
{
    /// `initialize`: agrees on a revision and opens a session.
    pub(super) async fn initialize(
        self: Arc<Self>,
        parts: Parts,
        principal: Principal,
        call: Call,
    ) -> Response<Body> {
        let Call { id, method, params } = call;
        let size = serde_json::to_vec(&params.fields).map_or(usize::MAX, |json| json.len());
        if size > CLIENT_BYTES_MAX {
            return answer::refuse(StatusCode::OK, Some(&id), &client_too_large());
        }
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
        meter::about(&parts, &version, None);
        let work = Work {
            handler: (self.factory)(),
            id: id.clone(),
            request: ClientRequest::InitializeRequest(InitializeRequest::new(params.clone())),
            meta: RequestMetaObject::default(),
            parts,
            version: version.clone(),
            client: None,
            tool: None,
        };
        let ct = self.lifecycle.hard.child_token();
        // A peer of its own, because a handler may keep the client's word there.
        let peer = Conversation::silent(ct.child_token());
        let deadline = self.settings.request_deadline;
        let result = self.result(work, peer.peer(), ct, None, deadline).await;
        let result = result
            .unwrap_or_else(|| Err(answer::internal()))
            .map(|result| match result {
                ServerResult::InitializeResult(mut result) => {
                    result.protocol_version = version.clone();
                    ServerResult::InitializeResult(result)
                }
                other => other,
            });
        if result.is_err() {
            return answer::json_response(answer::frame(&id, result, &version, &self.side));
        }
        let session = Session::new(principal, version.clone(), params);
        let created = within(self.sessions.create(session)).await;
        let session = match created {
            Ok(session) => session,
            Err(error) => return Refusal::Store(error).respond(Some(&id), None),
        };
        let frame = answer::frame(&id, result, &version, &self.side);
        let mut response = answer::json_response(frame);
        if let Ok(value) = HeaderValue::from_str(session.as_str()) {
            response.headers_mut().insert(headers::SESSION_ID, value);
        }
        response
    }

    /// GET: an answer taken up again, or the session's stream of change notifications.
    pub(super) async fn get(self: Arc<Self>, parts: Parts, principal: Principal) -> Response<Body> {
        if !accepts(&parts.headers).sse {
            let error = ErrorData::invalid_request("Accept must allow text/event-stream", None);
            return answer::refuse(StatusCode::NOT_ACCEPTABLE, None, &error);
        }
        let (session, record) = match self.session(&parts.headers, &principal).await {
            Ok(open) => open,
            Err(refusal) => return refusal.respond(None, Some(note(&principal, None))),
        };
        let last = parts
            .headers
            .get("last-event-id")
            .and_then(|value| value.to_str().ok());
        match last.and_then(stream::parse_event_id) {
            Some((name, number)) if name != STANDALONE => {
                let Some(log) = self.logs.find(&session.digest(), name) else {
                    return self.resume(&principal, &session, name, number).await;
                };
                let sse = Sse {
                    keep_alive: self.settings.keep_alive,
                    prime: false,
                    ends: Some(self.ends(&principal)),
                    _guard: None,
                    first: None,
                    _open: self.opened(StreamKind::Get),
                };
                stream::respond(log.read(number), sse)
            }
            resumed => {
                let resumed = resumed.is_some();
                self.standalone(&principal, &session, &record.version, resumed)
            }
        }
    }

    /// DELETE: the session ends, with its calls and streams. In a task of its own, because clients do
    /// not wait for the answer when they leave.
    pub(super) async fn delete(
        self: Arc<Self>,
        parts: Parts,
        principal: Principal,
    ) -> Response<Body> {
        let who = note(&principal, None);
        let inner = self.clone();
        let ending = self.lifecycle.tasks.spawn(async move {
            let (session, _) = inner.session(&parts.headers, &principal).await?;
            // That it ended meanwhile, or by a try of which the answer was lost, is an end as well.
            within(inner.sessions.delete(&session, &principal))
                .await
                .map_err(Refusal::Store)?;
            inner.replicas.ended(&session.digest());
            Ok(())
        });
        match ending.await {
            Ok(Ok(())) => answer::empty(StatusCode::NO_CONTENT),
            Ok(Err(refusal)) => Refusal::respond(refusal, None, Some(who)),
            Err(_) => Refusal::Store(SessionError::Unavailable).respond(None, None),
        }
    }

    /// Goes on with an answer that another replica has.
    async fn resume(
        &self,
        principal: &Principal,
        session: &SessionId,
        name: &str,
        seen: Option<u64>,
    ) -> Response<Body> {
        let (status, message) = match self.replicas.resume(session.digest(), name, seen).await {
            Ok(reader) => {
                let ends = self.ends(principal);
                let open = self.opened(StreamKind::Get);
                return relay::respond(reader, name, self.settings.keep_alive, (ends, open));
            }
            Err(NotResumed::Unknown) => (StatusCode::BAD_REQUEST, "this stream cannot be resumed"),
            Err(NotResumed::TooMany) => (
                StatusCode::TOO_MANY_REQUESTS,
                "too many streams are being resumed; try again later",
            ),
            Err(NotResumed::Unreachable) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "other replicas of the server cannot be reached at the moment",
            ),
        };
        if status == StatusCode::BAD_REQUEST {
            let error = ErrorData::invalid_request(message, None);
            return answer::refuse(status, None, &error);
        }
        let error = ErrorData::internal_error(message, None);
        answer::refuse_for_now(status, None, &error)
    }

    /// The session that the headers name, if it is the principal's and the version agrees.
    pub(super) async fn session(
        &self,
        headers: &HeaderMap,
        principal: &Principal,
    ) -> Result<Open, Refusal> {
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
        let touched = within(self.sessions.touch(&id, principal)).await;
        let record = touched.map_err(Refusal::Store)?;
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

/// What the store says, if it says it in time.
async fn within<T>(
    asked: impl Future<Output = Result<T, SessionError>>,
) -> Result<T, SessionError> {
    let said = tokio::time::timeout(STORE_DEADLINE, asked).await;
    said.unwrap_or(Err(SessionError::Unavailable))
}

/// Most that `initialize` may say of the client, in bytes of JSON: it is kept with the session.
const CLIENT_BYTES_MAX: usize = 16 * 1024;

fn client_too_large() -> ErrorData {
    let message = format!("Invalid params: more than {CLIENT_BYTES_MAX} bytes about the client");
    ErrorData::invalid_params(message, None)
}

/// Why a request never reached its handler.
pub(super) enum Refusal {
    Missing,
    Unknown,
    Version,
    Store(SessionError),
}

/// What is written down of a request in a session that is not the principal's: it may be stolen.
pub(super) fn note(principal: &Principal, action: Option<String>) -> RefusalNote {
    RefusalNote {
        principal: Some(principal.clone()),
        action,
        reason: "session",
    }
}

impl Refusal {
    /// The refusal as a response to request `id`. The note stays when the session was not found.
    pub(super) fn respond(
        self,
        id: Option<&RequestId>,
        note: Option<RefusalNote>,
    ) -> Response<Body> {
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
        if let (Self::Unknown, Some(note)) = (&self, note) {
            response.extensions_mut().insert(note);
        }
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
