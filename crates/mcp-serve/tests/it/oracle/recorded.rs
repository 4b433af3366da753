//! Exchanges as clients have them when everything is in order.

use serde_json::{Value, json};

use super::exchange::{Request, Script, Step, Then, Until};

const LEGACY: [&str; 3] = ["2025-03-26", "2025-06-18", "2025-11-25"];

/// Tools and arguments that answer in one message.
fn calls() -> Vec<(&'static str, Value)> {
    vec![
        ("test_simple_text", json!({})),
        ("test_image_content", json!({})),
        ("test_audio_content", json!({})),
        ("test_embedded_resource", json!({})),
        ("test_multiple_content_types", json!({})),
        ("test_error_handling", json!({})),
        ("test_missing_capability", json!({})),
        ("test_reconnection", json!({})),
        ("test_trigger_tool_change", json!({})),
        ("greet", json!({ "name": "Ada" })),
        ("greet", json!({ "name": "\u{1f980} \u{5b57}\n\t\"\\" })),
        ("slow_compute", json!({ "seconds": 0, "label": "none" })),
        (
            "json_schema_2020_12_tool",
            json!({ "name": "a", "contactMethod": "phone", "phone": "1" }),
        ),
    ]
}

/// The calls that read, with what they read.
fn reads() -> Vec<(&'static str, Value)> {
    let reference = json!({ "type": "ref/prompt", "name": "test_prompt_with_arguments" });
    let template = json!({ "type": "ref/resource", "uri": "test://template/{id}/data" });
    vec![
        ("tools/list", json!({})),
        ("prompts/list", json!({})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        ("resources/read", json!({ "uri": "test://static-text" })),
        ("resources/read", json!({ "uri": "test://static-binary" })),
        ("resources/read", json!({ "uri": "test://template/7/data" })),
        ("resources/read", json!({ "uri": "test://nothing-here" })),
        ("resources/read", json!({ "uri": "" })),
        ("prompts/get", json!({ "name": "test_simple_prompt" })),
        (
            "prompts/get",
            json!({
                "name": "test_prompt_with_arguments",
                "arguments": { "arg1": "a", "arg2": "b" },
            }),
        ),
        (
            "prompts/get",
            json!({ "name": "test_prompt_with_arguments" }),
        ),
        ("prompts/get", json!({ "name": "test_prompt_with_image" })),
        ("prompts/get", json!({ "name": "nobody" })),
        ("tools/list", json!({ "cursor": "bm8" })),
        (
            "completion/complete",
            json!({ "ref": reference, "argument": { "name": "arg1", "value": "par" } }),
        ),
        (
            "completion/complete",
            json!({ "ref": template, "argument": { "name": "id", "value": "" } }),
        ),
        (
            "completion/complete",
            json!({
                "ref": { "type": "ref/prompt", "name": "nobody" },
                "argument": { "name": "a", "value": "" },
            }),
        ),
        (
            "tools/call",
            json!({ "name": "nothing_of_that_name", "arguments": {} }),
        ),
        ("tools/call", json!({ "name": "test_simple_text" })),
        ("unknown/method", json!({})),
    ]
}

pub(super) fn scripts() -> Vec<Script> {
    let mut scripts = modern();
    for version in LEGACY {
        scripts.push(legacy_reads(version));
        scripts.push(legacy_calls(version));
        scripts.push(lifecycle(version));
    }
    scripts.push(server_requests("2025-11-25"));
    scripts.push(server_requests("2025-06-18"));
    scripts
}

fn modern() -> Vec<Script> {
    let tasks = json!({
        "io.modelcontextprotocol/clientCapabilities": {
            "elicitation": {},
            "extensions": { "io.modelcontextprotocol/tasks": {} },
        },
    });
    let mut scripts = vec![Script::one(Step::modern("server/discover", json!({})))];
    scripts.extend(
        reads()
            .into_iter()
            .map(|(method, params)| Script::one(Step::modern(method, params))),
    );
    for (name, arguments) in calls() {
        let params = json!({ "name": name, "arguments": arguments });
        scripts.push(Script::one(Step::modern("tools/call", params)));
    }
    scripts.push(Script::new(
        "progress",
        vec![call(
            json!({ "name": "test_tool_with_progress", "_meta": { "progressToken": "p" } }),
        )],
    ));
    scripts.push(Script::new(
        "log messages",
        vec![call(json!({
            "name": "test_logging_tool",
            "_meta": { "io.modelcontextprotocol/logLevel": "info" },
        }))],
    ));
    scripts.extend(rounds());
    scripts.push(Script::new(
        "tasks",
        vec![
            call(json!({ "name": "failing_job" })),
            call(json!({ "name": "slow_compute", "arguments": { "seconds": 60 }, "_meta": tasks })),
            task("tasks/get", json!({ "_meta": tasks })),
            task(
                "tasks/update",
                json!({ "inputResponses": { "nobody": {} }, "_meta": tasks }),
            ),
            task("tasks/cancel", json!({ "_meta": tasks })),
            Step::modern("tasks/get", json!({ "taskId": "nobody", "_meta": tasks })),
            Step::modern("tasks/get", json!({ "taskId": "nobody" })),
            Step::modern("tasks/list", json!({ "_meta": tasks })),
        ],
    ));
    scripts.extend(subscriptions());
    scripts
}

fn call(params: Value) -> Step {
    Step::modern("tools/call", params)
}

fn task(method: &str, mut params: Value) -> Step {
    params["taskId"] = json!("{{task}}");
    Step::modern(method, params)
}

/// Input by further rounds.
fn rounds() -> Vec<Script> {
    let name = json!({ "user_name": { "action": "accept", "content": { "name": "Ada" } } });
    let ask = |tool: &str| call(json!({ "name": tool }));
    let tell = |tool: &str, responses: Value, state: Option<&str>| {
        let mut params = json!({ "name": tool, "inputResponses": responses });
        if let Some(state) = state {
            params["requestState"] = json!(state);
        }
        call(params)
    };
    let (elicitation, state) = (
        "test_input_required_result_elicitation",
        "test_input_required_result_request_state",
    );
    let round = "test_input_required_result_multi_round";
    let step =
        |key: &str, field: &str| json!({ key: { "action": "accept", "content": { field: "x" } } });
    vec![
        Script::new(
            "a round",
            vec![
                ask(elicitation),
                tell(elicitation, name.clone(), None),
                tell(
                    elicitation,
                    json!({ "user_name": { "action": "decline" } }),
                    None,
                ),
                tell(elicitation, json!({ "user_name": 5 }), None),
            ],
        ),
        Script::new(
            "three rounds",
            vec![
                ask(round),
                tell(round, step("step1", "name"), Some("{{state}}")),
                tell(round, step("step2", "color"), Some("{{state}}")),
            ],
        ),
        Script::new(
            "a state",
            vec![
                ask(state),
                tell(state, step("confirm", "ok"), Some("{{state}}")),
                ask(state),
                tell(state, step("confirm", "ok"), Some("{{state}}x")),
                tell(round, step("step1", "name"), Some("{{state}}")),
            ],
        ),
        Script::new(
            "several inputs",
            vec![
                ask("test_input_required_result_multiple_inputs"),
                ask("test_input_required_result_sampling"),
                ask("test_input_required_result_list_roots"),
                ask("test_streaming_elicitation"),
                Step::modern(
                    "prompts/get",
                    json!({ "name": "test_input_required_result_prompt" }),
                ),
                call(json!({
                    "name": elicitation,
                    "_meta": { "io.modelcontextprotocol/clientCapabilities": {} },
                })),
            ],
        ),
    ]
}

fn subscriptions() -> Vec<Script> {
    let listen = |filter: Value, messages: usize, trigger: Value| {
        let step = Step::modern("subscriptions/listen", json!({ "notifications": filter }));
        let trigger = Request::modern("tools/call", trigger);
        Script::one(
            step.until(Until::Messages(messages))
                .then(Then::Send(trigger)),
        )
    };
    let tools = json!({ "name": "test_trigger_tool_change" });
    let resource = json!({
        "name": "test_trigger_resource_update",
        "arguments": { "uri": "test://watched-resource" },
    });
    vec![
        listen(json!({ "toolsListChanged": true }), 2, tools.clone()),
        listen(json!({ "promptsListChanged": true }), 1, tools),
        listen(
            json!({
                "resourcesListChanged": true,
                "resourceSubscriptions": ["test://watched-resource"],
            }),
            2,
            resource.clone(),
        ),
        listen(json!({}), 1, resource),
    ]
}

fn legacy_reads(version: &'static str) -> Script {
    let mut steps: Vec<_> = (1..)
        .zip(reads())
        .map(|(id, (method, params))| Step::legacy(version, id, method, &params))
        .collect();
    let watched = json!({ "uri": "test://watched-resource" });
    let more = [
        ("ping", json!({})),
        ("logging/setLevel", json!({ "level": "debug" })),
        ("resources/subscribe", watched.clone()),
        ("resources/unsubscribe", watched),
        ("subscriptions/listen", json!({ "notifications": {} })),
    ];
    let more = (90..).zip(&more);
    steps.extend(more.map(|(id, (method, params))| Step::legacy(version, id, method, params)));
    Script::session(version, "reads", steps)
}

fn legacy_calls(version: &'static str) -> Script {
    let mut steps: Vec<_> = (1..)
        .zip(calls())
        .map(|(id, (name, arguments))| {
            let params = json!({ "name": name, "arguments": arguments });
            Step::legacy(version, id, "tools/call", &params)
        })
        .collect();
    let progress = json!({ "name": "test_tool_with_progress", "_meta": { "progressToken": 7 } });
    steps.push(Step::legacy(version, 80, "tools/call", &progress));
    let logging = json!({ "name": "test_tool_with_logging" });
    steps.push(Step::legacy(version, 81, "tools/call", &logging));
    let round = json!({ "name": "test_input_required_result_elicitation" });
    steps.push(Step::legacy(version, 82, "tools/call", &round));
    Script::session(version, "calls", steps)
}

fn lifecycle(version: &'static str) -> Script {
    let stream = Request::bare("GET")
        .header("Mcp-Session-Id", "{{session}}")
        .header("MCP-Protocol-Version", version);
    let end = Request {
        verb: "DELETE",
        ..stream.clone()
    };
    let cancelled = json!({
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": { "requestId": 77, "reason": "gone" },
    });
    let answer = json!({ "jsonrpc": "2.0", "id": 77, "result": {} });
    Script::session(
        version,
        "lifecycle",
        vec![
            Step::new("GET", stream.clone()).until(Until::Head),
            Step::new(
                "cancelled",
                Request::legacy(version).body(&cancelled.to_string()),
            ),
            Step::new(
                "answer nobody waits for",
                Request::legacy(version).body(&answer.to_string()),
            ),
            Step::new("DELETE", end.clone()),
            Step::legacy(version, 5, "tools/list", &json!({})),
            Step::new("GET after DELETE", stream).until(Until::Head),
            Step::new("DELETE again", end),
        ],
    )
}

fn server_requests(version: &'static str) -> Script {
    let accept = json!({ "action": "accept", "content": { "username": "ada", "email": "a@b.c" } });
    let spoken = json!({
        "role": "assistant",
        "content": { "type": "text", "text": "Paris" },
        "model": "m",
    });
    let ask = |id, params: Value, answer: Value| {
        Step::legacy(version, id, "tools/call", &params).then(Then::Answer(version, answer))
    };
    let elicit = json!({ "name": "test_elicitation", "arguments": { "message": "Who?" } });
    Script::session(
        version,
        "server requests",
        vec![
            ask(1, elicit.clone(), accept),
            ask(2, elicit, json!({ "action": "decline" })),
            ask(
                3,
                json!({ "name": "test_sampling", "arguments": { "prompt": "Where?" } }),
                spoken,
            ),
            ask(
                4,
                json!({ "name": "test_elicitation_sep1034_defaults" }),
                json!({ "action": "cancel" }),
            ),
            ask(
                5,
                json!({ "name": "test_elicitation_sep1330_enums" }),
                json!({ "action": "cancel" }),
            ),
        ],
    )
}
