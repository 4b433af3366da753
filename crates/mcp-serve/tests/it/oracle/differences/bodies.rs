//! Differences in what becomes of a body that something is wrong with.

use rmcp::ServerHandler as _;
use serde_json::{Value, json};

use super::{Case, code, refuse};
use crate::{
    fixture::Fixture,
    oracle::wire::{Answer, Form},
};

/// Whether rmcp refused the body, and not the media type of it.
fn is_refused(case: &Case<'_>, answer: &Answer) -> bool {
    let media = case.request().value("content-type").unwrap_or_default();
    answer.status == 415 && answer.form == Form::Text && media.starts_with("application/json")
}

fn is_json(case: &Case<'_>) -> bool {
    serde_json::from_slice::<Value>(&case.request().body).is_ok()
}

/// Whether everything of the message is in order but its parameters.
fn has_bad_params(message: &Value) -> bool {
    let id = &message["id"];
    let framed = message["jsonrpc"] == "2.0"
        && message["method"].is_string()
        && (message.get("id").is_none() || id.is_string() || id.is_i64())
        && message.get("result").is_none()
        && message.get("error").is_none();
    let params = &message["params"];
    let bad_meta = params.get("_meta").is_some_and(|meta| !meta.is_object());
    framed && message.get("params").is_some() && (!params.is_object() || bad_meta)
}

pub(super) fn not_json(case: &Case<'_>, answer: &mut Answer) {
    if is_refused(case, answer) && !is_json(case) {
        refuse(answer, 400, -32700, None);
    }
}

pub(super) fn not_a_message(case: &Case<'_>, answer: &mut Answer) {
    if is_refused(case, answer) && !has_bad_params(&case.message) {
        refuse(answer, 400, -32600, case.id());
    }
}

pub(super) fn params_no_object(case: &Case<'_>, answer: &mut Answer) {
    if is_refused(case, answer) {
        let status = if case.is_modern() { 400 } else { 200 };
        refuse(answer, status, -32602, case.id());
    }
}

pub(super) fn malformed_params(case: &Case<'_>, answer: &mut Answer) {
    let served: &[_] = if case.is_modern() {
        &["subscriptions/listen"]
    } else {
        &[
            "logging/setLevel",
            "resources/subscribe",
            "resources/unsubscribe",
        ]
    };
    let both = [
        "tools/call",
        "resources/read",
        "prompts/get",
        "completion/complete",
    ];
    let known = both.contains(&case.method()) || served.contains(&case.method());
    if known && code(answer) == Some(-32601) && !case.message["params"].is_null() {
        refuse(answer, 200, -32602, case.id());
    }
}

pub(super) fn malformed_cursor(case: &Case<'_>, answer: &mut Answer) {
    let cursor = &case.message["params"]["cursor"];
    let bad = !cursor.is_null() && !cursor.is_string();
    if bad && case.method().ends_with("/list") && answer.status == 200 {
        refuse(answer, 200, -32602, case.id());
    }
}

pub(super) fn arguments_against_schema(case: &Case<'_>, answer: &mut Answer) {
    let params = &case.message["params"];
    let name = params["name"].as_str().unwrap_or_default();
    if case.method() != "tools/call" || answer.status != 200 {
        return;
    }
    let Some(tool) = Fixture::new().get_tool(name) else {
        return;
    };
    let schema = Value::Object((*tool.input_schema).clone());
    let none = json!({});
    let arguments = params.get("arguments").unwrap_or(&none);
    let Some(message) = answer.messages.last_mut() else {
        return;
    };
    if message["result"]["isError"] == false && !jsonschema::is_valid(&schema, arguments) {
        message["result"]["isError"] = json!(true);
        message["result"]["content"] = json!("worded");
    }
}
