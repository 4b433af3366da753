//! The methods of MCP: which era and capability each belongs to, and its typed parameters.

use rmcp::model::{
    ClientRequest, CustomRequest, ErrorCode, ErrorData, JsonObject, Request, RequestMetaObject,
    RequestNoParam, RequestOptionalParam, RequestParamsMeta, ServerCapabilities,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::envelope::Params;

/// The two eras of MCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    /// 2026-07-28 and later: every request stands alone.
    Modern,
    /// Before: `initialize` and a session.
    Legacy,
}

/// Error -32601 for `method`.
pub(super) fn not_found(method: &str) -> ErrorData {
    ErrorData::new(
        ErrorCode::METHOD_NOT_FOUND,
        format!("Method not found: {method}"),
        None,
    )
}

/// Whether `method` exists in `era` for a server with these capabilities. Methods that MCP does not
/// know are left to the handler.
pub(super) fn is_served(method: &str, era: Era, has: &ServerCapabilities) -> bool {
    let modern = era == Era::Modern;
    match method {
        "server/discover" | "subscriptions/listen" => modern,
        "initialize" | "ping" => !modern,
        "logging/setLevel" => !modern && has.logging.is_some(),
        "resources/subscribe" | "resources/unsubscribe" => {
            let subscribe = has.resources.as_ref().and_then(|it| it.subscribe);
            !modern && subscribe == Some(true)
        }
        "tools/list" | "tools/call" => has.tools.is_some(),
        "prompts/list" | "prompts/get" => has.prompts.is_some(),
        "resources/list" | "resources/templates/list" | "resources/read" => has.resources.is_some(),
        "completion/complete" => has.completions.is_some(),
        _ => true,
    }
}

/// Whether the work for `method` is a look at what is there, which can be broken off at any time.
pub(super) fn is_glance(method: &str) -> bool {
    matches!(
        method,
        "ping" | "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list"
    )
}

/// Whether the handler's work for `method` may send messages of its own before it answers.
pub(super) fn may_converse(method: &str) -> bool {
    matches!(
        method,
        "tools/call" | "prompts/get" | "resources/read" | "completion/complete"
    )
}

/// The request with its parameters in rmcp's types, and its `_meta`.
///
/// Parameters that do not fit are error -32602, an unknown method a [`CustomRequest`] for the
/// handler to know or to refuse.
pub(super) fn typed(
    method: &str,
    params: Params,
) -> Result<(ClientRequest, RequestMetaObject), ErrorData> {
    if let Some(why) = params.malformed {
        return Err(invalid(why));
    }
    let Params {
        fields,
        meta,
        given,
        ..
    } = params;
    let request = match method {
        "ping" => ClientRequest::PingRequest(RequestNoParam {
            method: rmcp::model::PingRequestMethod,
            extensions: rmcp::model::Extensions::default(),
        }),
        "initialize" => ClientRequest::InitializeRequest(Request::new(bare(fields)?)),
        "server/discover" => ClientRequest::DiscoverRequest(Request::new(bare(fields)?)),
        "completion/complete" => ClientRequest::CompleteRequest(Request::new(bare(fields)?)),
        "logging/setLevel" => ClientRequest::SetLevelRequest(Request::new(bare(fields)?)),
        "prompts/list" => ClientRequest::ListPromptsRequest(optional(fields, given)?),
        "prompts/get" => ClientRequest::GetPromptRequest(Request::new(bare(fields)?)),
        "resources/list" => ClientRequest::ListResourcesRequest(optional(fields, given)?),
        "resources/templates/list" => {
            ClientRequest::ListResourceTemplatesRequest(optional(fields, given)?)
        }
        "resources/read" => ClientRequest::ReadResourceRequest(Request::new(bare(fields)?)),
        "resources/subscribe" => ClientRequest::SubscribeRequest(Request::new(bare(fields)?)),
        "resources/unsubscribe" => ClientRequest::UnsubscribeRequest(Request::new(bare(fields)?)),
        "resources/directory/read" => {
            ClientRequest::ReadResourceDirectoryRequest(Request::new(bare(fields)?))
        }
        "subscriptions/listen" => {
            ClientRequest::SubscriptionsListenRequest(Request::new(bare(fields)?))
        }
        "tools/list" => ClientRequest::ListToolsRequest(optional(fields, given)?),
        "tools/call" => ClientRequest::CallToolRequest(Request::new(bare(fields)?)),
        "tasks/get" => ClientRequest::GetTaskRequest(Request::new(bare(fields)?)),
        "tasks/update" => ClientRequest::UpdateTaskRequest(Request::new(bare(fields)?)),
        "tasks/cancel" => ClientRequest::CancelTaskRequest(Request::new(bare(fields)?)),
        "skills/list" => ClientRequest::ListSkillsRequest(optional(fields, given)?),
        "skills/get" => ClientRequest::GetSkillRequest(Request::new(bare(fields)?)),
        _ => {
            let params = given.then_some(Value::Object(fields));
            ClientRequest::CustomRequest(CustomRequest::new(method, params))
        }
    };
    Ok((request, meta))
}

/// The method itself if it is one of MCP's, otherwise "other": a bounded set, for labels.
pub(super) fn known(method: &str) -> &'static str {
    const KNOWN: [&str; 27] = [
        "completion/complete",
        "initialize",
        "logging/setLevel",
        "notifications/cancelled",
        "notifications/initialized",
        "notifications/progress",
        "notifications/roots/list_changed",
        "ping",
        "prompts/get",
        "prompts/list",
        "resources/directory/read",
        "resources/list",
        "resources/read",
        "resources/subscribe",
        "resources/templates/list",
        "resources/unsubscribe",
        "server/discover",
        "skills/get",
        "skills/list",
        "subscriptions/listen",
        "tasks/cancel",
        "tasks/get",
        "tasks/update",
        "tools/call",
        "tools/list",
        "batch",
        "response",
    ];
    KNOWN
        .into_iter()
        .find(|it| *it == method)
        .unwrap_or("other")
}

fn invalid(why: &str) -> ErrorData {
    ErrorData::invalid_params(format!("Invalid params: {why}"), None)
}

fn bare<P: DeserializeOwned>(fields: JsonObject) -> Result<P, ErrorData> {
    serde_json::from_value(Value::Object(fields))
        .map_err(|error| invalid(&without_values(&error.to_string())))
}

fn optional<M: Default, P: DeserializeOwned + RequestParamsMeta>(
    fields: JsonObject,
    given: bool,
) -> Result<RequestOptionalParam<M, P>, ErrorData> {
    if !given {
        return Ok(RequestOptionalParam {
            method: M::default(),
            params: None,
            extensions: rmcp::model::Extensions::default(),
        });
    }
    Ok(RequestOptionalParam::with_param(bare(fields)?))
}

/// serde quotes strings that it did not expect; they may be long or secret.
fn without_values(message: &str) -> String {
    match message.split_once("string \"") {
        Some((before, after)) => {
            let expected = after
                .rsplit_once("\", expected")
                .map_or("", |(_, expected)| expected);
            format!("{before}string, expected{expected}")
        }
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn params(value: Value) -> Params {
        let Value::Object(fields) = value else {
            panic!("not an object")
        };
        Params {
            fields,
            given: true,
            ..Params::default()
        }
    }

    #[test]
    fn parameters_that_do_not_fit_are_invalid_params_and_not_an_unknown_method() {
        for (method, value) in [
            ("tools/call", json!({})),
            ("tools/call", json!({"name": 1})),
            ("tools/call", json!({"name": "a", "arguments": []})),
            ("tools/call", json!({"name": "a", "arguments": "x"})),
            ("resources/read", json!({})),
            ("prompts/get", json!({"name": ["a"]})),
            ("tools/list", json!({"cursor": 5})),
            ("completion/complete", json!({"ref": 1})),
            ("subscriptions/listen", json!({})),
        ] {
            let error = typed(method, params(value)).unwrap_err();
            assert_eq!(error.code, ErrorCode::INVALID_PARAMS, "{method}");
        }
    }

    #[test]
    fn lists_need_no_parameters_and_calls_do() {
        assert!(typed("tools/list", Params::default()).is_ok());
        assert!(typed("ping", Params::default()).is_ok());
        assert!(typed("tools/call", Params::default()).is_err());
    }

    #[test]
    fn an_error_does_not_repeat_the_callers_text() {
        let error = typed(
            "tools/call",
            params(json!({"name": "a", "arguments": "my secret"})),
        );
        assert!(!error.unwrap_err().message.contains("secret"));
    }

    #[test]
    fn each_era_has_its_methods() {
        let has = ServerCapabilities::builder().enable_tools().build();
        assert!(is_served("tools/call", Era::Modern, &has));
        assert!(is_served("tools/call", Era::Legacy, &has));
        assert!(!is_served("prompts/list", Era::Legacy, &has));
        assert!(!is_served("ping", Era::Modern, &has));
        assert!(!is_served("initialize", Era::Modern, &has));
        assert!(!is_served("server/discover", Era::Legacy, &has));
        assert!(is_served("vendor/own", Era::Modern, &has));
    }
}
