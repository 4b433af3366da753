//! What a request of MCP leaves in the audit log.

use http::request::Parts;
use rmcp::{
    ErrorData,
    model::{CallToolRequestParams, CallToolResult, ErrorCode, Extensions, GetPromptRequestParams},
};
use serde_json::Value;

use super::{NotesHandler, resources};
use crate::{
    action::Action,
    audit::{Face, Trail, UNKNOWN_TOOL},
    error_map::Code,
};

impl NotesHandler {
    /// The trail of `action`, which reads.
    pub(super) fn trail(&self, extensions: &Extensions, action: &'static str) -> Trail {
        let parts = extensions.get::<Parts>();
        let face = if parts.is_some() {
            Face::Mcp
        } else {
            Face::Stdio
        };
        let extensions = parts.map(|parts| &parts.extensions);
        let mut trail = self.audit.trail(face, extensions, action);
        trail.reads();
        trail
    }

    /// The trail of a call of a tool.
    pub(super) fn trail_of_tool(
        &self,
        extensions: &Extensions,
        request: &CallToolRequestParams,
    ) -> Trail {
        let action = Action::of_tool(&request.name);
        let mut trail = self.trail(extensions, action.map_or(UNKNOWN_TOOL, Action::tool));
        if action.is_some_and(Action::writes) {
            trail.writes();
        }
        note_in(&mut trail, request.arguments.as_ref(), "id");
        trail
    }

    /// The trail of a prompt.
    pub(super) fn trail_of_prompt(
        &self,
        extensions: &Extensions,
        request: &GetPromptRequestParams,
    ) -> Trail {
        let mut trail = self.trail(extensions, "get_prompt");
        note_in(&mut trail, request.arguments.as_ref(), "note_id");
        trail
    }

    /// The trail of what is done with the resource `uri`.
    pub(super) fn trail_of_resource(
        &self,
        extensions: &Extensions,
        action: &'static str,
        uri: &str,
    ) -> Trail {
        let mut trail = self.trail(extensions, action);
        if let Ok(id) = resources::note_id(uri) {
            trail.note(id.as_str());
        }
        trail
    }
}

fn note_in(trail: &mut Trail, arguments: Option<&rmcp::model::JsonObject>, name: &str) {
    let id = arguments.and_then(|arguments| arguments.get(name));
    if let Some(id) = id.and_then(Value::as_str) {
        trail.note(id);
    }
}

/// Does `work` and takes down what became of it.
pub(super) async fn watch<T>(
    mut trail: Trail,
    work: impl Future<Output = Result<T, ErrorData>>,
) -> Result<T, ErrorData> {
    let done = work.await;
    match &done {
        Ok(_) => trail.ok(),
        Err(error) => end(&mut trail, error),
    }
    done
}

/// The same for a tool, whose errors are results.
pub(super) async fn watch_tool(
    mut trail: Trail,
    work: impl Future<Output = Result<CallToolResult, ErrorData>>,
) -> Result<CallToolResult, ErrorData> {
    let done = work.await;
    match &done {
        Ok(result) => end_of_tool(&mut trail, result),
        Err(error) => end(&mut trail, error),
    }
    done
}

fn end(trail: &mut Trail, error: &ErrorData) {
    match error.code {
        ErrorCode::INTERNAL_ERROR => trail.failed("internal"),
        ErrorCode::INVALID_PARAMS => trail.refused("invalid"),
        ErrorCode::RESOURCE_NOT_FOUND => trail.refused("not_found"),
        _ => trail.refused("other"),
    }
}

fn end_of_tool(trail: &mut Trail, result: &CallToolResult) {
    let content = result.structured_content.as_ref();
    let at = |pointer: &str| content.and_then(|content| content.pointer(pointer));
    if result.is_error == Some(true) {
        let code = at("/error/code").and_then(Value::as_str);
        let code = Code::ALL.into_iter().find(|it| Some(it.as_str()) == code);
        trail.code(code.unwrap_or(Code::Internal));
        return;
    }
    if let Some(id) = at("/id").and_then(Value::as_str) {
        trail.note(id);
    }
    if let Some(version) = at("/version").and_then(Value::as_u64) {
        trail.version(version);
    }
    trail.ok();
}
