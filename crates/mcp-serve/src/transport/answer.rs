//! What goes back: JSON-RPC answers with their HTTP status, in the form that the client's revision
//! knows.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use rmcp::model::{
    CacheScope, ErrorCode, ErrorData, MetaObject, ProtocolVersion, RequestId, ServerResult,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    meter,
    method::Era,
    revision,
    stream::{Frame, Kind},
};
use crate::metrics::Outcome;

#[derive(Serialize)]
struct Success<'a, R> {
    jsonrpc: &'static str,
    id: &'a RequestId,
    result: &'a R,
}

#[derive(Serialize)]
struct Failure<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RequestId>,
    error: &'a ErrorData,
}

/// What the answers of one server have in common.
pub(super) struct Side {
    /// Who the server is, as results say it.
    pub(super) server: Value,
    pub(super) hints: CacheHints,
}

/// The answer to request `id`, ready to be sent.
pub(super) fn frame(
    id: &RequestId,
    result: Result<ServerResult, ErrorData>,
    version: &ProtocolVersion,
    side: &Side,
) -> Frame {
    let era = if version.has_initialize() {
        Era::Legacy
    } else {
        Era::Modern
    };
    let outcome = result.as_ref().map(meter::of_result);
    let outcome = outcome.unwrap_or_else(|error| Outcome::Error(error.code));
    let written = match (result, era) {
        (Err(error), era) => return failure(Some(id), &error, status(&error, era)),
        (Ok(mut result), Era::Modern) => {
            side.hints.fill(&mut result);
            modern(id, result, &side.server)
        }
        (Ok(mut result), Era::Legacy) => {
            strip_hints(&mut result);
            legacy(id, &result, version)
        }
    };
    match written {
        Ok(json) => Frame {
            json: json.into(),
            kind: Kind::Response(StatusCode::OK, outcome),
        },
        Err(error) => {
            tracing::error!(%error, "a result cannot be written");
            failure(Some(id), &internal(), StatusCode::OK)
        }
    }
}

fn modern(id: &RequestId, mut result: ServerResult, server: &Value) -> serde_json::Result<Vec<u8>> {
    if let Some(meta) = meta_of(&mut result) {
        let meta = meta.get_or_insert_default();
        meta.insert(SERVER_INFO.into(), server.clone());
        return serde_json::to_vec(&Success {
            jsonrpc: "2.0",
            id,
            result: &result,
        });
    }
    let mut value = serde_json::to_value(&result)?;
    if let Value::Object(fields) = &mut value {
        fields
            .entry("resultType")
            .or_insert_with(|| json!("complete"));
        let meta = fields.entry("_meta").or_insert_with(|| json!({}));
        if let Value::Object(meta) = meta {
            meta.insert(SERVER_INFO.into(), server.clone());
        }
    }
    serde_json::to_vec(&Success {
        jsonrpc: "2.0",
        id,
        result: &value,
    })
}

const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

/// The `_meta` of the results that handlers make most.
fn meta_of(result: &mut ServerResult) -> Option<&mut Option<MetaObject>> {
    match result {
        ServerResult::CallToolResult(it) => Some(&mut it.meta),
        ServerResult::ListToolsResult(it) => Some(&mut it.meta),
        ServerResult::ListResourcesResult(it) => Some(&mut it.meta),
        ServerResult::ListResourceTemplatesResult(it) => Some(&mut it.meta),
        ServerResult::ListPromptsResult(it) => Some(&mut it.meta),
        ServerResult::DiscoverResult(it) => Some(&mut it.meta),
        _ => None,
    }
}

fn legacy(
    id: &RequestId,
    result: &ServerResult,
    version: &ProtocolVersion,
) -> serde_json::Result<Vec<u8>> {
    if *version >= ProtocolVersion::V_2025_11_25 {
        return serde_json::to_vec(&Success {
            jsonrpc: "2.0",
            id,
            result,
        });
    }
    let mut value = serde_json::to_value(result)?;
    revision::downgrade(&mut value, version);
    serde_json::to_vec(&Success {
        jsonrpc: "2.0",
        id,
        result: &value,
    })
}

/// How long clients may keep results that say nothing of it themselves (MCP 2026-07-28, caching).
///
/// All hints are of scope `private`: whether a list is the same for everybody is known to the
/// handler alone, which then says so in its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheHints {
    /// `server/discover`. Default 5 min.
    pub discover: Duration,
    /// `tools/list`. Default 5 min.
    pub tools: Duration,
    /// `prompts/list`. Default 5 min.
    pub prompts: Duration,
    /// `resources/templates/list`. Default 5 min.
    pub resource_templates: Duration,
    /// `resources/list`. Default 0: it is stale at once.
    pub resources: Duration,
    /// `resources/read`. Default 0.
    pub read: Duration,
}

impl Default for CacheHints {
    fn default() -> Self {
        let for_a_while = Duration::from_mins(5);
        Self {
            discover: for_a_while,
            tools: for_a_while,
            prompts: for_a_while,
            resource_templates: for_a_while,
            resources: Duration::ZERO,
            read: Duration::ZERO,
        }
    }
}

impl CacheHints {
    /// Gives its hint to a result that has the one rmcp fills in, which is stale at once.
    fn fill(&self, result: &mut ServerResult) {
        let hint = match result {
            ServerResult::DiscoverResult(it) if it.cache_scope == CacheScope::Private => {
                if it.ttl_ms == 0 {
                    it.ttl_ms = millis(self.discover);
                }
                return;
            }
            ServerResult::ListToolsResult(_) => self.tools,
            ServerResult::ListPromptsResult(_) => self.prompts,
            ServerResult::ListResourceTemplatesResult(_) => self.resource_templates,
            ServerResult::ListResourcesResult(_) => self.resources,
            ServerResult::ReadResourceResult(_) => self.read,
            _ => return,
        };
        if let Some((ttl, scope)) = hints_of(result)
            && *ttl == Some(0)
            && *scope == Some(CacheScope::Private)
        {
            *ttl = Some(millis(hint));
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Cache hints came with 2026-07-28; a handler that sets them sets them for everybody.
fn strip_hints(result: &mut ServerResult) {
    if let Some((ttl, scope)) = hints_of(result) {
        *ttl = None;
        *scope = None;
    }
}

fn hints_of(result: &mut ServerResult) -> Option<(&mut Option<u64>, &mut Option<CacheScope>)> {
    Some(match result {
        ServerResult::ListToolsResult(it) => (&mut it.ttl_ms, &mut it.cache_scope),
        ServerResult::ListPromptsResult(it) => (&mut it.ttl_ms, &mut it.cache_scope),
        ServerResult::ListResourcesResult(it) => (&mut it.ttl_ms, &mut it.cache_scope),
        ServerResult::ListResourceTemplatesResult(it) => (&mut it.ttl_ms, &mut it.cache_scope),
        ServerResult::ReadResourceResult(it) => (&mut it.ttl_ms, &mut it.cache_scope),
        ServerResult::ListSkillsResult(it) => (&mut it.ttl_ms, &mut it.cache_scope),
        ServerResult::GetSkillResult(it) => (&mut it.ttl_ms, &mut it.cache_scope),
        _ => return None,
    })
}

/// The HTTP status of an error that is sent alone.
fn status(error: &ErrorData, era: Era) -> StatusCode {
    match (error.code, era) {
        (ErrorCode::METHOD_NOT_FOUND, Era::Modern) => StatusCode::NOT_FOUND,
        (
            ErrorCode::HEADER_MISMATCH
            | ErrorCode::UNSUPPORTED_PROTOCOL_VERSION
            | ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY,
            Era::Modern,
        ) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

/// Error -32603 that tells nothing of the inside.
pub(super) fn internal() -> ErrorData {
    ErrorData::internal_error("Internal error", None)
}

/// An error answer as a message.
pub(super) fn failure(id: Option<&RequestId>, error: &ErrorData, status: StatusCode) -> Frame {
    let written = serde_json::to_vec(&Failure {
        jsonrpc: "2.0",
        id,
        error,
    });
    let json = written.map_or_else(
        |_| {
            Bytes::from_static(
                br#"{"jsonrpc":"2.0","error":{"code":-32603,"message":"Internal error"}}"#,
            )
        },
        Bytes::from,
    );
    Frame {
        json,
        kind: Kind::Response(status, Outcome::Error(error.code)),
    }
}

/// An error answer as a response.
pub(super) fn refuse(
    status: StatusCode,
    id: Option<&RequestId>,
    error: &ErrorData,
) -> Response<Body> {
    json_response(failure(id, error, status))
}

/// An error answer as a response that says to try again in a second.
pub(super) fn refuse_for_now(
    status: StatusCode,
    id: Option<&RequestId>,
    error: &ErrorData,
) -> Response<Body> {
    let mut response = refuse(status, id, error);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// A message as a response of its own.
pub(super) fn json_response(frame: Frame) -> Response<Body> {
    let mut response = Response::new(Body::from(frame.json));
    if let Kind::Response(status, outcome) = frame.kind {
        *response.status_mut() = status;
        response.extensions_mut().insert(outcome);
    }
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// A response without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
