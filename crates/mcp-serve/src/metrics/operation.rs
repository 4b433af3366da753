//! One message of MCP, from its arrival to its answer.

use std::{
    borrow::Cow,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use rmcp::model::{ErrorCode, ProtocolVersion};

use super::Metrics;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// What was asked for.
    Done,
    /// The tool says that it could not do it.
    ToolError,
    /// An error of JSON-RPC with this code.
    Error(ErrorCode),
    /// A budget was used up.
    RateLimited,
    /// The caller may not ask for it.
    Unauthorized,
    /// The client called it off, or went away.
    Cancelled,
}

/// A message that is being worked on. The first outcome that any of its clones is told counts; one
/// that ends without was cancelled.
#[derive(Debug, Clone)]
pub(crate) struct Running(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    metrics: Metrics,
    method: &'static str,
    begun: Instant,
    revision: OnceLock<&'static str>,
    tool: OnceLock<Cow<'static, str>>,
    is_over: AtomicBool,
}

/// What stands for everything that does not exist.
const UNKNOWN: &str = "_unknown";
const TOOLS_CALL: &str = "tools/call";

impl Metrics {
    /// A message came whose method is this, one of a bounded set.
    pub(crate) fn message_came(&self, method: &'static str) -> Running {
        Running(Arc::new(Inner {
            metrics: self.clone(),
            method,
            begun: Instant::now(),
            revision: OnceLock::new(),
            tool: OnceLock::new(),
            is_over: AtomicBool::new(false),
        }))
    }
}

impl Running {
    /// Its revision; one that nobody knows counts as none.
    pub(crate) fn has_revision(&self, revision: &str) {
        let mut known = ProtocolVersion::KNOWN_VERSIONS.iter();
        if let Some(known) = known.find(|known| known.as_str() == revision) {
            let _ = self.0.revision.set(known.as_str());
        }
    }

    /// The tool that it calls, which exists.
    pub(crate) fn calls(&self, tool: Cow<'static, str>) {
        let _ = self.0.tool.set(tool);
    }

    /// Whether it is a call of a tool that is not known yet.
    pub(crate) fn lacks_tool(&self) -> bool {
        self.0.method == TOOLS_CALL && self.0.tool.get().is_none()
    }

    /// It is over.
    pub(crate) fn over(&self, outcome: Outcome) {
        self.0.over(outcome);
    }
}

impl Inner {
    fn over(&self, outcome: Outcome) {
        if self.is_over.swap(true, Ordering::Relaxed) {
            return;
        }
        let time = self.begun.elapsed();
        let is_call = self.method == TOOLS_CALL;
        let none = if is_call { UNKNOWN } else { "" };
        let tool = self.tool.get().map_or(none, AsRef::as_ref);
        let revision = self.revision.get().copied().unwrap_or(UNKNOWN);
        let labels = [self.method, tool, revision, "tcp", outcome.error_type()];
        let all = &self.metrics.0;
        all.operation_duration.with(&labels).observe_time(time);
        if is_call {
            all.tool_calls.with(&[tool, outcome.status()]).inc();
            all.tool_duration.with(&[tool]).observe_time(time);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.over(Outcome::Cancelled);
    }
}

impl Outcome {
    /// As the semantic conventions for MCP have it.
    fn error_type(self) -> &'static str {
        match self {
            Self::Done => "",
            Self::ToolError => "tool_error",
            Self::RateLimited => "rate_limited",
            Self::Unauthorized => "unauthorized",
            Self::Cancelled => "cancelled",
            Self::Error(code) => match code.0 {
                -32700 => "-32700",
                -32600 => "-32600",
                -32601 => "-32601",
                -32602 => "-32602",
                -32603 => "-32603",
                -32000 => "-32000",
                -32001 => "-32001",
                -32002 => "-32002",
                -32020 => "-32020",
                -32021 => "-32021",
                -32022 => "-32022",
                -32042 => "-32042",
                _ => "_OTHER",
            },
        }
    }

    /// What became of the call of a tool.
    fn status(self) -> &'static str {
        match self {
            Self::Done => "success",
            Self::ToolError | Self::Cancelled => "tool_error",
            Self::RateLimited => "rate_limited",
            Self::Unauthorized => "unauthorized",
            Self::Error(ErrorCode::INTERNAL_ERROR) => "internal",
            // Whatever else there is a code for is a mistake of the caller.
            Self::Error(_) => "invalid_params",
        }
    }
}
