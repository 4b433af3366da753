//! Who was refused what: the trail of security decisions that the edge takes.

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

/// Takes down what the edge refuses. It is called on the way of the request: it must not block.
pub trait Auditor: Send + Sync + 'static {
    /// A request was refused.
    fn refused(&self, refused: &Refused<'_>);
}
