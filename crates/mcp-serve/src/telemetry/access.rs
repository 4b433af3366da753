//! One line in the log for every request, written when its answer is over; and what is counted of it.

use std::{borrow::Cow, net::IpAddr, sync::Arc, time::Instant};

use axum::extract::MatchedPath;
use http::{Method, StatusCode};

use super::{RequestId, TraceParent};
use crate::metrics::{Metrics, Up};

/// What the access line says of an MCP request. The transport leaves it in the extensions of its
/// response.
#[derive(Clone, Debug, Default)]
pub struct AccessNote {
    /// The JSON-RPC method.
    pub rpc_method: Option<Cow<'static, str>>,
    /// The tool that was called.
    pub tool: Option<Cow<'static, str>>,
    /// The protocol revision of the request.
    pub revision: Option<Cow<'static, str>>,
}

/// A route as the log and metrics name it: with its placeholders, never with what stood for them.
#[derive(Clone, Debug)]
pub(crate) enum RouteName {
    Fixed(Arc<str>),
    Matched(MatchedPath),
    Unmatched,
}

impl RouteName {
    fn as_str(&self) -> &str {
        match self {
            Self::Fixed(path) => path,
            Self::Matched(path) => path.as_str(),
            Self::Unmatched => "unmatched",
        }
    }
}

/// The line of one request. It is written when this is dropped: with the last byte of the answer,
/// or when the client went before.
pub(crate) struct AccessLine {
    pub(crate) route: RouteName,
    /// Probes come every few seconds and say nothing; they are lines of the debug level.
    pub(crate) is_probe: bool,
    /// Who asked: the peer, or whom a trusted proxy asks for.
    pub(crate) client: Option<IpAddr>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) note: Option<AccessNote>,
    pub(crate) bytes: u64,
    method: Method,
    begun: Instant,
    request_id: RequestId,
    trace: Option<TraceParent>,
    metrics: Metrics,
    _active: Up,
}

/// What is logged and counted of a request whose client went before the answer.
const CLIENT_GONE: u16 = 499;

impl AccessLine {
    pub(crate) fn begin(
        method: Method,
        route: RouteName,
        (request_id, trace): (RequestId, Option<TraceParent>),
        metrics: &Metrics,
    ) -> Self {
        Self {
            _active: metrics.request_begun(&method),
            metrics: metrics.clone(),
            route,
            is_probe: false,
            client: None,
            status: None,
            note: None,
            bytes: 0,
            method,
            begun: Instant::now(),
            request_id,
            trace,
        }
    }
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        let status = self.status.as_ref().map_or("499", StatusCode::as_str);
        self.metrics
            .request_over(&self.method, self.route.as_str(), status, took);
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(
                    target: "mcp_serve::access",
                    parent: None,
                    $level,
                    method = self.method.as_str(),
                    route = self.route.as_str(),
                    status = self.status.map_or(CLIENT_GONE, |status| status.as_u16()),
                    duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                    bytes = self.bytes,
                    client_address = self.client.map(tracing::field::display),
                    request_id = self.request_id.as_str(),
                    trace_id = self.trace.as_ref().map(TraceParent::trace_id),
                    rpc_method = self.note.as_ref().and_then(|note| note.rpc_method.as_deref()),
                    tool = self.note.as_ref().and_then(|note| note.tool.as_deref()),
                    revision = self.note.as_ref().and_then(|note| note.revision.as_deref()),
                )
            };
        }
        if self.is_probe {
            line!(tracing::Level::DEBUG);
        } else {
            line!(tracing::Level::INFO);
        }
    }
}
