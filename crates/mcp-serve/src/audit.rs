//! Who was refused what: the trail of security decisions that the edge takes.

use std::net::IpAddr;

use crate::{auth::Principal, telemetry::RequestId};

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
    /// Why, in one word of a bounded set, such as `host`, `expired`, `scope` or `rate`.
    pub reason: &'static str,
}

/// Takes down what the edge refuses. It is called on the way of the request: it must not block.
pub trait Auditor: Send + Sync + 'static {
    /// A request was refused.
    fn refused(&self, refused: &Refused<'_>);
}
