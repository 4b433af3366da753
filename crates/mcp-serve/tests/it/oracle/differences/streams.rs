//! Differences in what is streamed, and how.

use serde_json::json;

use super::Case;
use crate::oracle::wire::{Answer, Form};

/// The revision of an answer that rmcp streamed to a session.
fn streamed<'a>(case: &Case<'a>, answer: &Answer) -> Option<&'a str> {
    let latest = "2025-11-25";
    (answer.form == Form::Events && !case.is_modern())
        .then(|| case.script.version.unwrap_or(latest))
}

pub(super) fn log_messages(case: &Case<'_>, answer: &mut Answer) {
    let logs = case.message["params"]["name"] == "test_tool_with_logging";
    if !logs || streamed(case, answer).is_none() || answer.messages.len() != 1 {
        return;
    }
    let steps = ["started", "at work", "finished"].map(|step| {
        json!({
            "jsonrpc": "2.0",
            "method": "notifications/message",
            "params": { "level": "info", "data": step },
        })
    });
    answer.messages.splice(0..0, steps);
}

pub(super) fn closed(case: &Case<'_>, answer: &mut Answer) {
    let closes = case.message["params"]["name"] == "test_reconnection";
    if closes && streamed(case, answer) == Some("2025-11-25") {
        answer.messages.clear();
    }
}

pub(super) fn json(case: &Case<'_>, answer: &mut Answer) {
    let only_answer = answer.messages.len() == 1 && answer.messages[0].get("method").is_none();
    if streamed(case, answer).is_some() && only_answer {
        answer.form = Form::Json;
        answer.primed = false;
    }
}

pub(super) fn priming(case: &Case<'_>, answer: &mut Answer) {
    if streamed(case, answer).is_some_and(|version| version < "2025-11-25") {
        answer.primed = false;
    }
}

pub(super) fn only_events(case: &Case<'_>, answer: &mut Answer) {
    let accept = case.request().value("accept").unwrap_or_default();
    if accept == "text/event-stream" && answer.status == 200 && answer.form == Form::Json {
        answer.form = Form::Events;
    }
}
