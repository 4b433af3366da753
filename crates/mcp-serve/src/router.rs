//! The map of a request: every route and every layer, in the order in which it meets them.
//!
//! 1. request id, trace, client (as trusted proxies name it), access line, span
//! 2. panic guard
//! 3. probes: `/livez`, `/readyz` and the health report are answered here, so that an orchestrator
//!    needs neither a listed host nor a credential. Whoever lacks those learns the status alone. The
//!    metrics are, too, unless they have a listener of their own: to whoever lacks nothing of that.
//! 4. contradictions between proxies, host, origin, preflight
//! 5. refusal of new work while the server drains. A POST to MCP goes on: it may be a message that
//!    a call under way waits for, and the transport refuses the others.
//! 6. limits of the request
//! 7. metadata of the protected resources, which clients read to find out how to get a credential
//! 8. authentication, which takes no credential that travelled in the clear: the `Principal` goes
//!    into the extensions
//! 9. scopes, budgets and calls in flight; on the MCP paths when the body has said what is asked for
//! 10. the MCP paths, or the further routes within the deadline
//!
//! On the way back every answer given here, errors included, gets the CORS and security headers
//! and the request id. Two kinds come from before and have none of that: hyper's refusals of what
//! is no HTTP or has far too large a head, and the server's of one connection too many.

mod answer;
mod asked;
mod metadata;
mod probe;

use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use axum::{
    body::Body,
    extract::{DefaultBodyLimit, MatchedPath, Request},
    middleware::Next,
};
use bytes::Bytes;
use http::{
    HeaderValue, Method, Response, StatusCode, Version,
    header::{ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE},
    request::Parts,
};
use http_body::Body as HttpBody;
use http_body_util::Limited;
use rmcp::ServerHandler;
use tower::Service as _;
use tracing::Instrument as _;

pub(crate) use self::answer::Tracked;
use self::{
    answer::{Failure, Shape, error_response},
    asked::Asked,
    metadata::{METADATA_PATH, resource_path},
};
use crate::{
    audit::Auditor,
    auth::Principal,
    client::{Client, ForwardedError, Peer, Scheme, TrustedProxies},
    config::{AllowedHosts, AllowedOrigins, Config, Limits},
    gate::Gate,
    guard::{self, Cors},
    health::{Health, LIVE_PATHS, READY_PATHS},
    lifecycle::Lifecycle,
    metrics::{Metrics, Scrape},
    policy::{Access, Operation},
    server::Exchange,
    telemetry::{
        AccessLine, AccessNote, RequestId, RequestIds, RouteName, TraceParent, X_REQUEST_ID,
    },
    transport::{SharedParts, Transport},
};

/// Every route and every layer of one server.
pub(crate) struct Router<F> {
    transport: Arc<Transport<F>>,
    routes: axum::Router,
    mcp_paths: Vec<Arc<str>>,
    health_path: Arc<str>,
    health: Arc<Health>,
    hosts: AllowedHosts,
    origins: AllowedOrigins,
    proxies: TrustedProxies,
    hsts: Option<HeaderValue>,
    limits: Limits,
    gate: Arc<Gate>,
    auditor: Option<Arc<dyn Auditor>>,
    metrics: Metrics,
    scrape: Scrape,
    ids: RequestIds,
    leaving: AtomicBool,
    draining: AtomicBool,
}

/// Where a path leads.
enum Route {
    Live,
    Ready,
    Health,
    Metrics,
    Metadata,
    Mcp(Arc<str>),
    Further,
}

impl<H, F> Router<F>
where
    H: ServerHandler,
    F: Fn() -> H + Send + Sync + 'static,
{
    pub(crate) fn new(
        factory: F,
        routes: axum::Router,
        config: Config,
        health: Arc<Health>,
        lifecycle: Lifecycle,
    ) -> Self {
        let gate = Arc::new(Gate::new(&config));
        gate.listen(config.signals.receive(), &lifecycle);
        let without_slash = |path: &String| Arc::from(path.strip_suffix('/').unwrap_or(path));
        Self {
            transport: Arc::new(Transport::new(
                factory,
                config.mcp,
                gate.clone(),
                config.limits.body_bytes_max,
                SharedParts {
                    sessions: config.sessions,
                    events: config.events,
                    signals: config.signals,
                    metrics: config.metrics.clone(),
                },
                lifecycle,
            )),
            // The bound of the body is ours, so axum's own must not come before it.
            routes: routes
                .layer(axum::middleware::from_fn(note_route))
                .layer(DefaultBodyLimit::disable()),
            mcp_paths: config.mcp_paths.iter().map(without_slash).collect(),
            health_path: config.health_path.into(),
            health,
            hosts: config.allowed_hosts,
            origins: config.allowed_origins,
            proxies: config.trusted_proxies,
            hsts: hsts(config.hsts),
            limits: config.limits,
            gate,
            auditor: config.auditor,
            metrics: config.metrics,
            scrape: config.scrape,
            ids: RequestIds::new(),
            leaving: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        }
    }

    /// From now on every answer asks for the end of its connection.
    pub(crate) fn begin_farewell(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// From now on new requests are refused.
    pub(crate) fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Answers one request. `exchange` keeps its connection from counting as idle until the last
    /// byte of the answer is written.
    pub(crate) async fn handle<B>(
        self: Arc<Self>,
        request: http::Request<B>,
        exchange: Arc<Exchange>,
        peer: &Peer,
    ) -> Response<Tracked>
    where
        B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
    {
        let (mut parts, body) = request.into_parts();
        let request_id = self.ids.of(&parts.headers);
        let trace = TraceParent::of(&parts.headers);
        let route = self.route(parts.uri.path());
        let shape = if matches!(route, Route::Mcp(_)) {
            Shape::JsonRpc
        } else {
            Shape::Problem
        };
        let version = parts.version;
        let (client, told) = match Client::of(peer, &parts.headers, &self.proxies) {
            Ok(client) => (client, Ok(())),
            Err(error) => (Client::behind(peer), Err(error)),
        };
        let hsts = (self.hsts.as_ref()).filter(|_| client.scheme == Scheme::Https);
        let mut line = self.begin_line(&parts, &route, request_id.clone(), trace.clone());
        line.client = Some(client.address);
        let span = tracing::info_span!(
            "request",
            request_id = request_id.as_str(),
            trace_id = trace.as_ref().map(TraceParent::trace_id),
        );
        parts.extensions.insert(request_id.clone());
        let asked = self.auditor.clone().map(|auditor| Asked {
            auditor,
            request_id: request_id.clone(),
            address: client.address,
            method: parts.method.clone(),
            uri: parts.uri.clone(),
        });
        parts.extensions.insert(client);
        if let Some(trace) = trace {
            parts.extensions.insert(trace);
        }

        let mut cors = Cors::NONE;
        let answer = guard_panic(self.answer(route, parts, body, told, &mut cors))
            .instrument(span)
            .await;
        let mut response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(failure)) => failure.into_response(shape),
            Err(Panicked) => {
                error_response(StatusCode::INTERNAL_SERVER_ERROR, "internal error", shape)
            }
        };

        if let Some(asked) = asked {
            asked.tell(&mut response);
        }
        let headers = response.headers_mut();
        guard::seal(headers, &cors, hsts);
        headers.insert(X_REQUEST_ID, request_id.header().clone());
        if self.leaving.load(Ordering::Relaxed) && version < Version::HTTP_2 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        line.status = Some(response.status());
        line.note = response.extensions_mut().remove::<AccessNote>();
        if let Some(path) = response.extensions_mut().remove::<MatchedPath>() {
            line.route = RouteName::Matched(path);
        }
        response.map(|body| Tracked::new(body, line, exchange, version))
    }

    fn route(&self, path: &str) -> Route {
        match path {
            _ if LIVE_PATHS.contains(&path) => return Route::Live,
            _ if READY_PATHS.contains(&path) => return Route::Ready,
            _ if *path == *self.health_path => return Route::Health,
            _ if *path == self.scrape.path && self.scrape.listen.is_none() => {
                return Route::Metrics;
            }
            _ if resource_path(path).is_some() => return Route::Metadata,
            _ => {}
        }
        let bare = path.strip_suffix('/').unwrap_or(path);
        match self.mcp_paths.iter().find(|mcp| ***mcp == *bare) {
            Some(path) => Route::Mcp(path.clone()),
            None => Route::Further,
        }
    }

    fn begin_line(
        &self,
        parts: &Parts,
        route: &Route,
        request_id: RequestId,
        trace: Option<TraceParent>,
    ) -> AccessLine {
        let (name, is_probe) = match route {
            Route::Live => (RouteName::Fixed("/livez".into()), true),
            Route::Ready => (RouteName::Fixed("/readyz".into()), true),
            Route::Health => (RouteName::Fixed(self.health_path.clone()), true),
            Route::Metrics => (RouteName::Fixed(self.scrape.path.as_str().into()), true),
            Route::Metadata => (RouteName::Fixed(METADATA_PATH.into()), false),
            Route::Mcp(path) => (RouteName::Fixed(path.clone()), false),
            Route::Further => (RouteName::Unmatched, false),
        };
        let mut line = AccessLine::begin(
            parts.method.clone(),
            name,
            (request_id, trace),
            &self.metrics,
        );
        line.is_probe = is_probe;
        line
    }

    async fn answer<B>(
        &self,
        route: Route,
        mut parts: Parts,
        body: B,
        told: Result<(), ForwardedError>,
        cors: &mut Cors,
    ) -> Result<Response<Body>, Failure>
    where
        B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
    {
        if let Route::Live | Route::Ready | Route::Health = route {
            return self.probe(&route, &mut parts, told.is_ok(), cors).await;
        }
        told.map_err(guard::Refusal::Forwarded)?;
        guard::check_host(&parts, &self.hosts)?;
        *cors = guard::check_origin(&parts, &self.origins)?;
        if matches!(route, Route::Metrics) {
            return self.read_metrics(&mut parts).await;
        }
        if guard::is_preflight(&parts) {
            return Ok(preflight(&parts));
        }
        let may_be_awaited = matches!(route, Route::Mcp(_)) && parts.method == Method::POST;
        if self.draining.load(Ordering::Relaxed) && !may_be_awaited {
            return Err(Failure::unavailable("the server is shutting down"));
        }
        self.check_limits(&parts)?;
        if matches!(route, Route::Metadata) {
            return self.metadata(&parts);
        }
        if matches!(route, Route::Mcp(_)) {
            let principal = self.authenticate(&mut parts).await?;
            parts.extensions.insert(principal);
            let request = Request::from_parts(parts, Body::new(body));
            return Ok(self.transport.clone().handle(request).await);
        }
        let demand = self.gate.demand(Operation::Http {
            method: &parts.method,
            path: parts.uri.path(),
        });
        let principal = match demand.access {
            Access::Public => Principal::anonymous(),
            Access::Known | Access::Scopes(_) => self.authenticate(&mut parts).await?,
        };
        let admitted = self.gate.admit(&parts, &principal, &[demand], 1).await;
        let pass = admitted.map_err(|why| Failure::at_gate(&why, Some(principal.clone())))?;
        parts.extensions.insert(principal);
        let answer = self.further(parts, body).await;
        let mut response = answer.unwrap_or_else(|failure| failure.into_response(Shape::Problem));
        pass.write(response.headers_mut());
        Ok(response)
    }

    async fn authenticate(&self, parts: &mut Parts) -> Result<Principal, Failure> {
        let asked = self.gate.authenticate(parts).await;
        asked.map_err(|refusal| Failure::at_gate(&refusal, None))
    }

    fn check_limits(&self, parts: &Parts) -> Result<(), Failure> {
        let target = parts
            .uri
            .path_and_query()
            .map_or(0, |target| target.as_str().len());
        if target > self.limits.uri_bytes_max {
            return Err(Failure::new(
                StatusCode::URI_TOO_LONG,
                "the target is too long",
            ));
        }
        if parts.headers.len() > self.limits.headers_max {
            return Err(Failure::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "the request has too many header fields",
            ));
        }
        if let Err(coding) = guard::check_codings(&parts.headers) {
            return Err(Failure::new(coding.status(), coding.message())
                .with(ACCEPT_ENCODING, HeaderValue::from_static("identity")));
        }
        let announced = parts
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok());
        let announced = announced.and_then(|digits| digits.parse::<u64>().ok());
        if announced.is_some_and(|bytes| bytes > self.limits.body_bytes_max as u64) {
            return Err(Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                self.body_too_large(),
            ));
        }
        Ok(())
    }

    async fn further<B>(&self, parts: Parts, body: B) -> Result<Response<Body>, Failure>
    where
        B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
    {
        let body = Body::new(Limited::new(body, self.limits.body_bytes_max));
        let mut routes = self.routes.clone();
        let call = routes.call(Request::from_parts(parts, body));
        let Ok(answer) = tokio::time::timeout(self.limits.request_deadline, call).await else {
            return Err(Failure::new(
                StatusCode::GATEWAY_TIMEOUT,
                "the request took too long",
            ));
        };
        let response = match answer {
            Ok(response) => response,
            Err(never) => match never {},
        };
        Ok(self.with_error_body(response))
    }

    fn body_too_large(&self) -> String {
        format!(
            "the body is larger than {} bytes",
            self.limits.body_bytes_max
        )
    }

    /// Gives errors that a router answers without a body (404, 405) or with axum's own text (413) the
    /// form that all errors here have.
    fn with_error_body(&self, mut response: Response<Body>) -> Response<Body> {
        let status = response.status();
        let is_error = status.is_client_error() || status.is_server_error();
        let is_bare =
            !response.headers().contains_key(CONTENT_TYPE) && response.body().is_end_stream();
        let message: Cow<'static, str> = match status {
            StatusCode::NOT_FOUND if is_bare => "there is nothing at this path".into(),
            StatusCode::METHOD_NOT_ALLOWED if is_bare => {
                "this path does not take this method".into()
            }
            StatusCode::PAYLOAD_TOO_LARGE if is_bare || has_plain_text(&response) => {
                self.body_too_large().into()
            }
            _ if is_error && is_bare => status.canonical_reason().unwrap_or("error").into(),
            _ => return response,
        };
        let (parts, body) = error_response(status, &message, Shape::Problem).into_parts();
        response.headers_mut().remove(CONTENT_LENGTH);
        response.headers_mut().extend(parts.headers);
        *response.body_mut() = body;
        response
    }
}

/// Leaves the template of the matched route in the response, where the access line finds it.
async fn note_route(request: Request, next: Next) -> Response<Body> {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(path) = path {
        response.extensions_mut().insert(path);
    }
    response
}

/// The value of `Strict-Transport-Security`.
fn hsts(time: Duration) -> Option<HeaderValue> {
    let seconds = time.as_secs();
    (seconds > 0)
        .then(|| HeaderValue::try_from(format!("max-age={seconds}")).ok())
        .flatten()
}

fn has_plain_text(response: &Response<Body>) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/plain"))
}

fn preflight(parts: &Parts) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    guard::preflight_headers(&parts.headers, response.headers_mut());
    response
}

struct Panicked;

/// Runs `work`; a panic in it ends this request and nothing else.
async fn guard_panic<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(_) => {
                // The hook for panics has said where; the message may hold anything.
                tracing::error!("a handler panicked");
                Poll::Ready(Err(Panicked))
            }
        }
    })
    .await
}
