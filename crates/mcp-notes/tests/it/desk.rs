//! The notes server of one test: notes in memory, a clock that stands still, ids that count up.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
};
use http::{HeaderMap, Method, Request, StatusCode};
use mcp_notes::{
    audit::Audit,
    mcp::{self, NotesHandler},
    policy::NotesPolicy,
    rest,
    rules::Rules,
    web,
};
use mcp_serve::{
    auth::{Anonymous, Authenticator},
    events::{Events, MemoryEvents},
    test_util::TestServer,
};
use notes::{
    Limits, Notes, Timestamp,
    clock::{CountingIds, ManualClock},
};
use serde_json::Value;
use tower::Service;

/// Largest body that [`Desk`] takes, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 10;

/// Notes and their faces.
pub(crate) struct Desk {
    pub(crate) notes: Notes,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) handler: NotesHandler,
    pub(crate) routes: Router,
    rules: Rules,
    pub(crate) events: Arc<dyn Events>,
}

impl Desk {
    pub(crate) async fn new() -> Self {
        Self::with(Rules::default()).await
    }

    /// A server with these rules.
    pub(crate) async fn with(rules: Rules) -> Self {
        let store = notes::open("sqlite::memory:").await.unwrap();
        let start: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let clock = Arc::new(ManualClock::new(start));
        let events: Arc<dyn Events> = Arc::new(MemoryEvents::default());
        let published = events.clone();
        let notes = Notes::new(store, Limits::default())
            .with_clock(clock.clone())
            .with_ids(Arc::new(CountingIds::default()))
            .on_change(Arc::new(move |change| {
                mcp::announce(published.as_ref(), change);
            }));
        let boundaries = Arc::new(|| "boundary".to_owned());
        let handler = NotesHandler::new(
            notes.clone(),
            events.clone(),
            clock.clone(),
            boundaries,
            rules.clone(),
        );
        let options = rest::Options {
            body_bytes_max: BODY_BYTES_MAX,
            cache: Duration::default(),
            rules: rules.clone(),
            audit: Audit::off(),
        };
        let routes =
            rest::router(notes.clone(), options).merge(web::router(&Limits::default(), &rules));
        Self {
            notes,
            clock,
            handler,
            routes,
            rules,
            events,
        }
    }

    /// The server with both faces, on a free port, that asks nobody who they are.
    pub(crate) async fn serve(&self) -> TestServer {
        self.serve_to(Arc::new(Anonymous)).await
    }

    /// The server with both faces, on a free port, for the callers that `authenticator` knows.
    pub(crate) async fn serve_to(&self, authenticator: Arc<dyn Authenticator>) -> TestServer {
        let mut config = mcp_serve::Config {
            authenticator,
            policy: Arc::new(NotesPolicy::new(self.rules.clone())),
            events: self.events.clone(),
            ..mcp_serve::Config::default()
        };
        let isolation = self.rules.isolation;
        config.mcp.audience = Arc::new(move |principal| isolation.audience(principal));
        config.mcp.enforce_schemas = false;
        let handler = self.handler.clone();
        TestServer::start(move || handler.clone(), self.routes.clone(), config).await
    }

    /// Sends one request to the REST API, in process.
    pub(crate) async fn rest(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask(
            method,
            path,
            &[("content-type", "application/json")],
            body.to_owned(),
        )
        .await
    }

    /// Sends one request with these header fields to the REST API, in process.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::new(body.into());
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        *request.uri_mut() = path.parse().unwrap();
        for (name, value) in headers {
            let name = http::HeaderName::try_from(*name).unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let response = self.routes.clone().call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 8 << 20).await.unwrap().to_vec();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }
}

/// An answer of the REST API.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("no JSON ({error}): {self:?}"),
        }
    }
}
