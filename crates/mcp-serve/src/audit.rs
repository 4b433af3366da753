//! Who was refused what, and who listens: the trail of what the edge decides by itself.

use std::net::IpAddr;

use crate::{auth::Principal, telemetry::RequestId};

/// Why the edge refuses requests, beside what may be wrong with a credential.
pub const REASONS: [&str; 12] = [
    "auth_unavailable",
    "batch",
    "busy",
    "cross_site",
    "forwarded",
    "host",
    "origin",
    "plain_http",
    "rate",
    "scope",
    "session",
    "stranger",
];

/// A request that was refused at the edge, before any handler saw it.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    /// The request.
    pub request_id: &'a RequestId,
    /// Where it came from.
    pub address: IpAddr,
    /// Who made it, if that is known.
    pub principal: Option<&'a Principal>,
    /// What was asked for: the MCP method and tool, or the HTTP method and path.
    pub action: &'a str,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Why: one word of [`REASONS`], or one for what is wrong with the credential, such as `expired`.
    pub reason: &'static str,
}

/// A stream of change notifications that was opened: by `subscriptions/listen`, or by a GET in a
/// session. No handler hears of it.
#[derive(Debug, Clone, Copy)]
pub struct Opened<'a> {
    /// The request.
    pub request_id: &'a RequestId,
    /// Where it came from.
    pub address: IpAddr,
    /// Who made it.
    pub principal: &'a Principal,
}

/// Takes down what the edge does. It is called on the way of the request: it must not block.
pub trait Auditor: Send + Sync + 'static {
    /// A request was refused.
    fn refused(&self, refused: &Refused<'_>);

    /// A stream was opened. By default nothing is taken down.
    fn opened(&self, _opened: &Opened<'_>) {}
}
