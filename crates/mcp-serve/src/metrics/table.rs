//! The table of metrics: one row each.

use super::row::{Kind, Row};

/// Bounds of times that people or clients wait for, in seconds; 2 is where an alert looks.
const WAITS: Kind = Kind::Histogram(&[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
]);
/// Those of the semantic conventions of OpenTelemetry for MCP, and two that are shorter.
const OPERATIONS: Kind = Kind::Histogram(&[
    0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
]);
const SESSIONS: Kind = Kind::Histogram(&[
    1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0, 43200.0, 86400.0,
]);
/// Bounds of questions to a server nearby, in seconds.
const QUESTIONS: Kind = Kind::Histogram(&[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0,
]);

const ROW: Row = Row {
    name: "",
    kind: Kind::Gauge,
    labels: &[],
    help: "",
};

pub(super) const HTTP_DURATION: Row = Row {
    name: "http_server_request_duration_seconds",
    kind: WAITS,
    labels: &[
        "http_request_method",
        "http_route",
        "http_response_status_code",
    ],
    help: "Time from the head of a request to the last byte of its answer. The route is as the server \
           has it, never as it was asked for; 499 stands for a client that went before the answer.",
};
pub(super) const HTTP_ACTIVE: Row = Row {
    name: "http_server_active_requests",
    labels: &["http_request_method"],
    help: "Requests that are being answered, streams included.",
    ..ROW
};
pub(super) const OPERATION_DURATION: Row = Row {
    name: "mcp_server_operation_duration_seconds",
    kind: OPERATIONS,
    labels: &[
        "mcp_method_name",
        "gen_ai_tool_name",
        "mcp_protocol_version",
        "network_transport",
        "error_type",
    ],
    help: "Time from a message of MCP to its answer. error_type is empty, a code of JSON-RPC, \
           tool_error, rate_limited, unauthorized or cancelled. A subscriptions/listen lasts as long \
           as its stream.",
};
pub(super) const TOOL_CALLS: Row = Row {
    name: "mcp_tool_calls_total",
    kind: Kind::Counter,
    labels: &["tool_name", "status"],
    help: "Calls of tools; _unknown stands for all that do not exist. status is success, tool_error \
           (also when the client cancelled the call), invalid_params (also for other mistakes of the \
           caller), rate_limited, unauthorized or internal.",
};
pub(super) const TOOL_DURATION: Row = Row {
    name: "mcp_tool_call_duration_seconds",
    kind: OPERATIONS,
    labels: &["tool_name"],
    help: "Time from a call of a tool to its answer.",
};
pub(super) const SESSIONS_ACTIVE: Row = Row {
    name: "mcp_active_sessions",
    labels: &["store"],
    help: "Open sessions of the revisions before 2026-07-28. With store redis, all replicas tell the \
           same number, so take the maximum of them; with memory, each tells its own, so take the sum.",
    ..ROW
};
pub(super) const SESSION_DURATION: Row = Row {
    name: "mcp_session_duration_seconds",
    kind: SESSIONS,
    labels: &[],
    help: "Time from initialize to the end of a session, told once by the replica that noticed the end.",
};
pub(super) const STREAMS: Row = Row {
    name: "mcp_sse_streams",
    labels: &["kind"],
    help: "Open streams: get (of a session), listen (of subscriptions/listen) and request (answers that \
           stream).",
    ..ROW
};
pub(super) const RATE_DECISIONS: Row = Row {
    name: "mcp_rate_limit_decisions_total",
    kind: Kind::Counter,
    labels: &["class", "decision"],
    help: "Decisions of the rate limiter: allowed or limited; local_allowed or local_limited where \
           Redis was away and this replica decided alone; bypassed where the limiter did not answer.",
};
pub(super) const AUTH_FAILURES: Row = Row {
    name: "mcp_auth_failures_total",
    kind: Kind::Counter,
    labels: &["reason"],
    help: "Requests that were refused for want of a credential, because of it, or of its scopes.",
};
pub(super) const CHECK_UP: Row = Row {
    name: "mcp_health_check_up",
    labels: &["check"],
    help: "1 if this check of the health report was right when it was last made, within the last \
           seconds.",
    ..ROW
};
pub(super) const DEPENDENCY_UP: Row = Row {
    name: "mcp_dependency_up",
    labels: &["dependency"],
    help: "1 if this dependency answered when it was last asked, within the last seconds.",
    ..ROW
};
pub(super) const DEPENDENCY_DURATION: Row = Row {
    name: "mcp_dependency_duration_seconds",
    kind: QUESTIONS,
    labels: &["dependency"],
    help: "Time of calls to a dependency, with all their tries.",
};
pub(super) const DEPENDENCY_ERRORS: Row = Row {
    name: "mcp_dependency_errors_total",
    kind: Kind::Counter,
    labels: &["dependency", "kind"],
    help: "Calls to a dependency that failed after all their tries.",
};
pub(super) const EVENT_DELAY: Row = Row {
    name: "mcp_event_delay_seconds",
    kind: QUESTIONS,
    labels: &[],
    help: "Time from when another replica published changes to when this one heard of them. It compares \
           the clocks of two machines, and is 0 where they say less.",
};
pub(super) const EVENTS_MISSED: Row = Row {
    name: "mcp_events_missed_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Times that something was lost of what other replicas published; clients were told that \
           everything may have changed.",
};
pub(super) const TLS_NOT_AFTER: Row = Row {
    name: "mcp_tls_certificate_expiry_timestamp_seconds",
    help: "When the certificate expires that the server presents.",
    ..ROW
};
pub(super) const TLS_NOT_BEFORE: Row = Row {
    name: "mcp_tls_certificate_not_before_timestamp_seconds",
    help: "From when on that certificate holds.",
    ..ROW
};
pub(super) const DRAINING: Row = Row {
    name: "mcp_draining",
    help: "1 from the wish to stop on.",
    ..ROW
};
pub(super) const BUILD_INFO: Row = Row {
    name: "mcp_build_info",
    labels: &["version", "revision", "rustc"],
    help: "What the program was built from; always 1.",
    ..ROW
};
pub(super) const MEMORY_LIMIT: Row = Row {
    name: "mcp_memory_limit_bytes",
    help: "The memory that the control group of the process may have; 0 where there is no limit.",
    ..ROW
};
pub(super) const RESIDENT: Row = Row {
    name: "process_resident_memory_bytes",
    help: "Memory of the process that is in use.",
    ..ROW
};
pub(super) const CPU: Row = Row {
    name: "process_cpu_seconds_total",
    kind: Kind::Counter,
    help: "Time that processors worked for the process.",
    ..ROW
};
pub(super) const OPEN_FILES: Row = Row {
    name: "process_open_fds",
    help: "Open files and connections.",
    ..ROW
};
pub(super) const MAX_FILES: Row = Row {
    name: "process_max_fds",
    help: "How many files and connections may be open.",
    ..ROW
};
pub(super) const THREADS: Row = Row {
    name: "process_threads",
    help: "Threads of the process.",
    ..ROW
};
pub(super) const START: Row = Row {
    name: "process_start_time_seconds",
    help: "When the process began, in seconds since 1970.",
    ..ROW
};

/// Every metric of a server, in the order in which they are written.
pub const ROWS: &[&Row] = &[
    &HTTP_DURATION,
    &HTTP_ACTIVE,
    &OPERATION_DURATION,
    &TOOL_CALLS,
    &TOOL_DURATION,
    &SESSIONS_ACTIVE,
    &SESSION_DURATION,
    &STREAMS,
    &RATE_DECISIONS,
    &AUTH_FAILURES,
    &CHECK_UP,
    &DEPENDENCY_UP,
    &DEPENDENCY_DURATION,
    &DEPENDENCY_ERRORS,
    &EVENT_DELAY,
    &EVENTS_MISSED,
    &TLS_NOT_AFTER,
    &TLS_NOT_BEFORE,
    &DRAINING,
    &BUILD_INFO,
    &MEMORY_LIMIT,
    &RESIDENT,
    &CPU,
    &OPEN_FILES,
    &MAX_FILES,
    &THREADS,
    &START,
];
