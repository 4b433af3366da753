//! MCP over Streamable HTTP: both eras on one path, over rmcp's types and `ServerHandler`.
//!
//! A modern request (2026-07-28) stands alone. A request of an older revision names a session,
//! which is a record and nothing more; it is dispatched like a modern one, with its context taken
//! from the record. Change notifications come from [`Events`] in both eras, not from a handler's
//! `listen` or `Peer`.

#![expect(
    deprecated,
    reason = "logging is deprecated since 2026-07-28 and part of what came before"
)]

mod admission;
mod answer;
mod batch;
mod calls;
mod converse;
mod envelope;
mod headers;
mod legacy;
mod listen;
mod media;
mod meter;
mod method;
mod modern;
mod opening;
mod relay;
mod replicas;
mod revision;
mod schema;
mod stream;
mod work;

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use rmcp::{
    ServerHandler,
    model::{ErrorData, JsonObject, ProtocolVersion, RequestId, ServerCapabilities},
};

use serde_json::Value;
use tokio::sync::Semaphore;

use self::{
    admission::{malformed, operation},
    answer::Side,
    calls::{Calls, Listeners, Logs},
    converse::{Asked, Conversation},
    envelope::Incoming,
    media::{Accepts, accepts, is_json},
    method::Era,
    relay::Exchange,
    replicas::Replicas,
    schema::Schemas,
    stream::Log,
};
use crate::{
    auth::Principal, events::Events, gate::Gate, lifecycle::Lifecycle, metrics::Metrics,
    policy::Operation, session::SessionStore, signals::Signals, telemetry::AccessNote,
};

pub use self::answer::CacheHints;

/// The revisions that are served, oldest first.
pub const REVISIONS: [ProtocolVersion; 4] = [
    ProtocolVersion::V_2025_03_26,
    ProtocolVersion::V_2025_06_18,
    ProtocolVersion::V_2025_11_25,
    ProtocolVersion::V_2026_07_28,
];

/// How the transport behaves.
#[derive(Clone)]
pub struct Settings {
    /// Most messages in a batch, which only revision 2025-03-26 knows. Default 50.
    pub batch_max: usize,
    /// A request that is worked on while its connection waits ends with an error by then: those of
    /// 2026-07-28 whose answer cannot stream, and lists of the older revisions. Default 60 s.
    pub request_deadline: Duration,
    /// Any other request ends with an error by then. Default 300 s.
    pub stream_deadline: Duration,
    /// Silence on a stream after which a comment keeps proxies from closing it. Default 15 s.
    pub keep_alive: Duration,
    /// A stream of change notifications ends after this time, and the client opens a new one.
    /// Default 1 h.
    pub listen_max: Duration,
    /// Most resources that one `subscriptions/listen` may name. Default 256.
    pub listen_resources_max: usize,
    /// Most streams of change notifications that one principal may have open on one replica. Default
    /// 256.
    pub listens_per_principal_max: usize,
    /// Most requests of one session that may run at the same time on one replica. Default 64.
    pub calls_per_session_max: usize,
    /// How long clients may keep lists that say nothing of it themselves.
    pub cache_hints: CacheHints,
    /// Whether handlers may send requests (elicitation, sampling, roots) to clients of the older
    /// revisions. A server that never does saves work on each of their calls. Default true.
    pub server_requests: bool,
    /// Whether tool arguments are held to the input schema that the tool advertises, before the
    /// handler is asked. To be left on unless the handler checks everything that its schemas say.
    /// Default true.
    pub enforce_schemas: bool,
    /// The audience of a principal: which [`Event`](crate::events::Event)s it may hear. Default
    /// its key.
    pub audience: Arc<Audience>,
}

/// Gives the audience of a principal.
pub type Audience = dyn Fn(&Principal) -> Arc<str> + Send + Sync;

impl Default for Settings {
    fn default() -> Self {
        Self {
            batch_max: 50,
            request_deadline: Duration::from_mins(1),
            stream_deadline: Duration::from_mins(5),
            keep_alive: Duration::from_secs(15),
            listen_max: Duration::from_hours(1),
            listen_resources_max: 256,
            listens_per_principal_max: 256,
            calls_per_session_max: 64,
            cache_hints: CacheHints::default(),
            server_requests: true,
            enforce_schemas: true,
            audience: Arc::new(|principal| principal.key().into()),
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("request_deadline", &self.request_deadline)
            .field("stream_deadline", &self.stream_deadline)
            .field("keep_alive", &self.keep_alive)
            .finish_non_exhaustive()
    }
}

/// Put into the extensions of requests of revision 2025-11-25 that may stream: the handler can end
/// the connection that carries the answer without ending its work.
#[derive(Clone, Debug)]
pub struct StreamHandle {
    log: Arc<Log>,
}

impl StreamHandle {
    /// Closes the connection after telling the client when to come back with `Last-Event-ID`.
    pub fn close_connection(&self) {
        self.log.send_reader_away();
    }
}

/// The MCP endpoint of one server.
pub struct Transport<F> {
    factory: F,
    settings: Settings,
    gate: Arc<Gate>,
    body_bytes_max: usize,
    sessions: Arc<dyn SessionStore>,
    events: Arc<dyn Events>,
    lifecycle: Lifecycle,
    side: Side,
    capabilities: ServerCapabilities,
    versions: Vec<ProtocolVersion>,
    /// The peer of requests whose handlers have nobody to talk to.
    silent: Conversation,
    schemas: Schemas,
    asked: Arc<Asked>,
    calls: Arc<Calls>,
    logs: Arc<Logs>,
    replicas: Arc<Replicas>,
    listeners: Arc<Listeners>,
    /// Places for notifications that handlers are busy with.
    notices: Arc<Semaphore>,
    metrics: Metrics,
}

/// What the replicas of a server have in common.
pub(crate) struct SharedParts {
    /// Where sessions of the older revisions are kept.
    pub(crate) sessions: Arc<dyn SessionStore>,
    /// The channel of change notifications.
    pub(crate) events: Arc<dyn Events>,
    /// The way from one replica to the others.
    pub(crate) signals: Arc<dyn Signals>,
    /// What is counted; of this replica alone.
    pub(crate) metrics: Metrics,
}

/// Notifications that handlers may be busy with at the same time.
const NOTICES_MAX: usize = 256;

impl<H, F> Transport<F>
where
    H: ServerHandler,
    F: Fn() -> H + Send + Sync + 'static,
{
    /// An endpoint whose requests, of at most `body_bytes_max` bytes, are answered by the handlers
    /// that `factory` makes, one for each request: let it clone an `Arc`. To be called within a
    /// Tokio runtime.
    pub(crate) fn new(
        factory: F,
        settings: Settings,
        gate: Arc<Gate>,
        body_bytes_max: usize,
        shared: SharedParts,
        lifecycle: Lifecycle,
    ) -> Self {
        let SharedParts {
            sessions,
            events,
            signals,
            metrics,
        } = shared;
        let handler = factory();
        let info = handler.get_info();
        let known = handler.supported_protocol_versions();
        let versions = REVISIONS
            .into_iter()
            .filter(|it| known.contains(it))
            .collect();
        let (asked, calls, logs) = <(Arc<Asked>, Arc<Calls>, Arc<Logs>)>::default();
        calls::sweep(&lifecycle, sessions.clone(), &logs);
        let replicas = Replicas {
            sessions: sessions.clone(),
            asked: asked.clone(),
            calls: calls.clone(),
            logs: logs.clone(),
            live: Arc::default(),
            exchange: Exchange::new(signals, lifecycle.clone()),
        };
        let replicas = Arc::new(replicas);
        replicas.clone().listen(&lifecycle);
        Self {
            factory,
            side: Side {
                server: serde_json::to_value(info.server_info).unwrap_or_default(),
                hints: settings.cache_hints,
            },
            settings,
            gate,
            body_bytes_max,
            sessions,
            events,
            capabilities: info.capabilities,
            versions,
            silent: Conversation::silent(lifecycle.hard.child_token()),
            schemas: Schemas::default(),
            asked,
            calls,
            logs,
            replicas,
            listeners: Arc::default(),
            notices: Arc::new(Semaphore::new(NOTICES_MAX)),
            metrics,
            lifecycle,
        }
    }

    /// Answers one HTTP request on the MCP path. The [`Principal`] must be in its extensions.
    pub async fn handle(self: Arc<Self>, request: Request<Body>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let Some(principal) = parts.extensions.get::<Principal>().cloned() else {
            tracing::error!("a request reached the transport without a principal");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            return answer::refuse(status, None, &answer::internal());
        };
        let operation = match parts.method {
            Method::POST => return self.post(parts, body, principal).await,
            Method::GET if !is_modern(&parts.headers) => Operation::McpStream,
            Method::DELETE if !is_modern(&parts.headers) => Operation::McpEnd,
            _ => {
                let allow = if is_modern(&parts.headers) {
                    "POST"
                } else {
                    "GET, POST, DELETE"
                };
                return method_not_allowed(allow);
            }
        };
        let pass = match self
            .admit(&mut parts, &principal, &[operation], (0, None))
            .await
        {
            Ok(pass) => pass,
            Err(refusal) => return refusal,
        };
        let mut response = match operation {
            Operation::McpStream => self.get(parts, principal).await,
            _ => self.delete(parts, principal).await,
        };
        pass.write(response.headers_mut());
        response
    }

    async fn post(
        self: Arc<Self>,
        mut parts: Parts,
        body: Body,
        principal: Principal,
    ) -> Response<Body> {
        let nothing = JsonObject::default();
        let place = match self.gate.read(&parts, &principal) {
            Ok(place) => place,
            Err(refusal) => return self.refused(&principal, &[], None, &refusal),
        };
        let received = self.receive(&parts, body).await;
        drop(place);
        let (accepts, incoming) = match received {
            Ok(received) => received,
            Err(unreadable) => {
                let running = self.came_unreadable();
                let operation = [malformed(&nothing)];
                let admitted = self
                    .admit(&mut parts, &principal, &operation, (0, None))
                    .await;
                let mut response = admitted.err().unwrap_or(unreadable);
                meter::answered(&running, true, &mut response);
                return response;
            }
        };
        let (operations, calls, id) = match &incoming {
            envelope::Body::One(one) => {
                let id = one.request_id();
                (
                    vec![operation(one, &nothing)],
                    usize::from(id.is_some()),
                    id,
                )
            }
            envelope::Body::Batch(batch) => {
                let all = batch.iter().map(|it| match it {
                    Ok(message) => operation(message, &nothing),
                    Err(_) => malformed(&nothing),
                });
                let ids = batch.iter().flatten().filter_map(Incoming::request_id);
                (all.collect(), ids.count(), None)
            }
        };
        if self.lifecycle.soft.is_cancelled() && calls > 0 {
            return draining(id);
        }
        let asked = (calls, id);
        let pass = match self.admit(&mut parts, &principal, &operations, asked).await {
            Ok(pass) => pass,
            Err(refusal) => {
                self.turned_away(&incoming, &refusal);
                return refusal;
            }
        };
        drop(operations);
        let mut response = match incoming {
            envelope::Body::Batch(batch) => self.batch(parts, principal, batch).await,
            envelope::Body::One(incoming) => self.one(parts, principal, accepts, incoming).await,
        };
        pass.write(response.headers_mut());
        response
    }

    /// Reads the messages of a POST; the response is a refusal of its form.
    async fn receive(
        &self,
        parts: &Parts,
        body: Body,
    ) -> Result<(Accepts, envelope::Body), Response<Body>> {
        if !is_json(&parts.headers) {
            let error = ErrorData::invalid_request("Content-Type must be application/json", None);
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(answer::refuse(status, None, &error));
        }
        let accepts = accepts(&parts.headers);
        if !accepts.json && !accepts.sse {
            let error = ErrorData::invalid_request(
                "Accept must allow application/json and text/event-stream",
                None,
            );
            return Err(answer::refuse(StatusCode::NOT_ACCEPTABLE, None, &error));
        }
        let body = self.read(body).await.map_err(|(status, message)| {
            let error = ErrorData::invalid_request(message, None);
            answer::refuse(status, None, &error)
        })?;
        match envelope::read(&body, self.settings.batch_max) {
            Ok(incoming) => Ok((accepts, incoming)),
            Err(malformed) => {
                let id = malformed.id.as_ref();
                let status = StatusCode::BAD_REQUEST;
                Err(answer::refuse(status, id, &malformed.error))
            }
        }
    }

    async fn read(&self, body: Body) -> Result<Bytes, (StatusCode, String)> {
        let max = self.body_bytes_max;
        let reading = Limited::new(body, max).collect();
        match tokio::time::timeout(self.settings.request_deadline, reading).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let message = format!("the body is larger than {max} bytes");
                Err((StatusCode::PAYLOAD_TOO_LARGE, message))
            }
            Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, "the body ended early".into())),
            Err(_) => Err((
                StatusCode::REQUEST_TIMEOUT,
                "the body came too slowly".into(),
            )),
        }
    }
}

/// A request is modern when its `_meta` names a revision without sessions, or one that nobody knows,
/// or its header does; and `server/discover` always is, so that a client which forgot its `_meta` is
/// told that and not that it lacks a session.
fn era(incoming: &Incoming, headers: &HeaderMap) -> Era {
    let meta = match incoming {
        Incoming::Request(call) => {
            if call.method == "server/discover" {
                return Era::Modern;
            }
            Some(&call.params.meta)
        }
        Incoming::Notification { params, .. } => Some(&params.meta),
        Incoming::Answer { .. } => None,
    };
    let named = meta.and_then(|meta| meta.get(headers::META_VERSION));
    let has_session = |it: &ProtocolVersion| {
        it.has_initialize() && named.and_then(Value::as_str) == Some(it.as_str())
    };
    let in_meta = named.is_some() && !REVISIONS.iter().any(has_session);
    if in_meta || is_modern(headers) {
        Era::Modern
    } else {
        Era::Legacy
    }
}

/// Whether the version header names 2026-07-28 or a later date.
fn is_modern(headers: &HeaderMap) -> bool {
    let version = headers
        .get(headers::PROTOCOL_VERSION)
        .and_then(|value| value.to_str().ok());
    version.is_some_and(|version| {
        let first = ProtocolVersion::NO_INITIALIZE;
        version.len() == first.as_str().len()
            && version.starts_with(|digit: char| digit.is_ascii_digit())
            && version >= first.as_str()
    })
}

/// What belongs to a running call still comes in while the server drains, new requests do not.
fn draining(id: Option<&RequestId>) -> Response<Body> {
    let error = ErrorData::internal_error("the server is shutting down", None);
    answer::refuse_for_now(StatusCode::SERVICE_UNAVAILABLE, id, &error)
}

fn method_not_allowed(allow: &'static str) -> Response<Body> {
    let error = ErrorData::invalid_request("Method not allowed", None);
    let mut response = answer::refuse(StatusCode::METHOD_NOT_ALLOWED, None, &error);
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// Names the request in the response, for logs and metrics: only methods and tools that exist.
fn seen(
    mut response: Response<Body>,
    version: Option<&ProtocolVersion>,
    method: &'static str,
    tool: Option<String>,
) -> Response<Body> {
    let note = AccessNote {
        rpc_method: Some(method.into()),
        tool: tool.map(Into::into),
        revision: version.map(|version| version.to_string().into()),
    };
    response.extensions_mut().insert(note);
    response
}
