//! Exchanges that something is wrong with.

use serde_json::{Value, json};

use super::exchange::{MODERN, Request, Script, Step, Until};

const LEGACY: &str = "2025-11-25";

pub(super) fn scripts() -> Vec<Script> {
    let mut scripts = Vec::new();
    let bodies = bodies();
    for (name, body) in &bodies {
        let request = Request::modern("tools/list", json!({}));
        scripts.push(Script::one(Step::new(
            &format!("modern, {name}"),
            at(request, body),
        )));
    }
    let in_session = bodies
        .iter()
        .map(|(name, body)| Step::new(name, at(Request::legacy(LEGACY), body)));
    scripts.push(Script::session(LEGACY, "bodies", in_session.collect()));
    for (name, params) in params() {
        let (method, params) = (params.0, params.1);
        let step = Step {
            name: format!("modern, {name}"),
            ..Step::modern(method, params.clone())
        };
        scripts.push(Script::one(step));
    }
    let in_session = params()
        .into_iter()
        .zip(1..)
        .map(|((name, (method, params)), id)| Step {
            name: name.to_owned(),
            ..Step::legacy(LEGACY, id, method, &params)
        });
    scripts.push(Script::session(LEGACY, "params", in_session.collect()));
    scripts.extend(routing_headers());
    scripts.extend(transport_headers());
    scripts.extend(meta());
    scripts.extend(param_headers());
    scripts.extend(verbs());
    scripts.extend(sessions());
    scripts
}

fn at(request: Request, body: &[u8]) -> Request {
    Request {
        body: body.to_vec(),
        ..request
    }
}

/// Bodies that are not one JSON-RPC message.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let text = |body: &str| body.as_bytes().to_vec();
    vec![
        ("nothing", text("")),
        ("no JSON", text("hello")),
        (
            "half a message",
            text(r#"{"jsonrpc":"2.0","id":1,"method":"tools/li"#),
        ),
        (
            "two messages",
            text(r#"{"jsonrpc":"2.0","id":1,"method":"a"}{"jsonrpc":"2.0"}"#),
        ),
        (
            "not UTF-8",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\xfe\"}".to_vec(),
        ),
        ("a number", text("5")),
        ("null", text("null")),
        ("an empty object", text("{}")),
        ("an empty batch", text("[]")),
        (
            "a batch",
            text(r#"[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]"#),
        ),
        ("no version", text(r#"{"id":1,"method":"tools/list"}"#)),
        (
            "an old version",
            text(r#"{"jsonrpc":"1.0","id":1,"method":"tools/list"}"#),
        ),
        (
            "id null",
            text(r#"{"jsonrpc":"2.0","id":null,"method":"tools/list"}"#),
        ),
        (
            "id 1.5",
            text(r#"{"jsonrpc":"2.0","id":1.5,"method":"tools/list"}"#),
        ),
        (
            "id true",
            text(r#"{"jsonrpc":"2.0","id":true,"method":"tools/list"}"#),
        ),
        ("method 5", text(r#"{"jsonrpc":"2.0","id":1,"method":5}"#)),
        (
            "params 5",
            text(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":5}"#),
        ),
        (
            "params an array",
            text(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[]}"#),
        ),
        (
            "result and error",
            text(r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#),
        ),
        (
            "unknown notification",
            text(r#"{"jsonrpc":"2.0","method":"notifications/none"}"#),
        ),
    ]
}

/// Parameters that do not fit their method.
fn params() -> Vec<(&'static str, (&'static str, Value))> {
    let argument = json!({ "name": "a", "value": "b" });
    vec![
        (
            "call without name",
            ("tools/call", json!({ "arguments": {} })),
        ),
        ("call, name 5", ("tools/call", json!({ "name": 5 }))),
        (
            "call, arguments []",
            ("tools/call", json!({ "name": "greet", "arguments": [] })),
        ),
        (
            "call, arguments text",
            ("tools/call", json!({ "name": "greet", "arguments": "x" })),
        ),
        (
            "call, argument missing",
            ("tools/call", json!({ "name": "greet", "arguments": {} })),
        ),
        (
            "call, argument 5",
            (
                "tools/call",
                json!({ "name": "greet", "arguments": { "name": 5 } }),
            ),
        ),
        ("read without uri", ("resources/read", json!({}))),
        ("read, uri 5", ("resources/read", json!({ "uri": 5 }))),
        ("prompt without name", ("prompts/get", json!({}))),
        (
            "prompt, arguments 5",
            (
                "prompts/get",
                json!({ "name": "test_simple_prompt", "arguments": 5 }),
            ),
        ),
        ("list, cursor 5", ("tools/list", json!({ "cursor": 5 }))),
        (
            "complete without ref",
            ("completion/complete", json!({ "argument": argument })),
        ),
        (
            "complete, unknown ref",
            (
                "completion/complete",
                json!({ "ref": { "type": "ref/none" }, "argument": argument }),
            ),
        ),
        (
            "level unknown",
            ("logging/setLevel", json!({ "level": "loud" })),
        ),
        ("subscribe without uri", ("resources/subscribe", json!({}))),
        (
            "listen without notifications",
            ("subscriptions/listen", json!({})),
        ),
    ]
}

/// Headers that repeat the body.
fn routing_headers() -> Vec<Script> {
    let list = || Request::modern("tools/list", json!({}));
    let call = || Request::modern("tools/call", json!({ "name": "test_simple_text" }));
    let encoded = "=?base64?dGVzdF9zaW1wbGVfdGV4dA==?=";
    let cases = [
        ("no Mcp-Method", list().reheader("Mcp-Method", None)),
        (
            "another Mcp-Method",
            list().reheader("Mcp-Method", Some("prompts/list")),
        ),
        (
            "Mcp-Method in capitals",
            list().reheader("Mcp-Method", Some("TOOLS/LIST")),
        ),
        ("no Mcp-Name", call().reheader("Mcp-Name", None)),
        (
            "another Mcp-Name",
            call().reheader("Mcp-Name", Some("greet")),
        ),
        (
            "Mcp-Name with spaces",
            call().reheader("Mcp-Name", Some("  test_simple_text ")),
        ),
        (
            "Mcp-Name in base64",
            call().reheader("Mcp-Name", Some(encoded)),
        ),
        (
            "Mcp-Name in bad base64",
            call().reheader("Mcp-Name", Some("=?base64?dGVz!!?=")),
        ),
        (
            "Mcp-Name twice",
            call().header("Mcp-Name", "test_simple_text"),
        ),
        (
            "no version header",
            list().reheader("MCP-Protocol-Version", None),
        ),
        (
            "unknown version header",
            list().reheader("MCP-Protocol-Version", Some("2099-01-01")),
        ),
        (
            "legacy version header",
            list().reheader("MCP-Protocol-Version", Some(LEGACY)),
        ),
    ];
    singles(cases)
}

fn transport_headers() -> Vec<Script> {
    let list = || Request::modern("tools/list", json!({}));
    let cases = [
        ("a session id", list().header("Mcp-Session-Id", "none")),
        ("Last-Event-ID", list().header("Last-Event-ID", "0")),
        (
            "Accept: JSON",
            list().reheader("Accept", Some("application/json")),
        ),
        ("Accept: anything", list().reheader("Accept", Some("*/*"))),
        (
            "Accept: events",
            list().reheader("Accept", Some("text/event-stream")),
        ),
        ("no Accept", list().reheader("Accept", None)),
        ("no Content-Type", list().reheader("Content-Type", None)),
        (
            "Content-Type: text",
            list().reheader("Content-Type", Some("text/plain")),
        ),
        (
            "Content-Type with charset",
            list().reheader("Content-Type", Some("application/json; charset=utf-8")),
        ),
        ("Host: evil", list().header("Host", "evil.example.com")),
        (
            "Origin: evil",
            list().header("Origin", "https://evil.example.com"),
        ),
        ("Origin: null", list().header("Origin", "null")),
        (
            "Origin: localhost",
            list().header("Origin", "http://localhost:8080"),
        ),
    ];
    singles(cases)
}

fn singles<const N: usize>(cases: [(&str, Request); N]) -> Vec<Script> {
    cases
        .into_iter()
        .map(|(name, request)| Script::one(Step::new(name, request)))
        .collect()
}

/// What is wrong with `_meta`, and methods that revision 2026-07-28 removed.
fn meta() -> Vec<Script> {
    let without = |key: &str| {
        let request = Request::modern("tools/list", json!({}));
        let mut message = request.message();
        if let Some(meta) = message["params"]["_meta"].as_object_mut() {
            meta.remove(&format!("io.modelcontextprotocol/{key}"));
        }
        request.body(&message.to_string())
    };
    let with = |key: &str, value: Value| {
        let key = format!("io.modelcontextprotocol/{key}");
        Request::modern("tools/list", json!({ "_meta": { key: value } }))
    };
    let no_params = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }).to_string();
    let unknown = with("protocolVersion", json!("2099-01-01"));
    let older = with("protocolVersion", json!(LEGACY));
    let mut cases = vec![
        (
            "no params",
            Request::modern("tools/list", json!({})).body(&no_params),
        ),
        ("no version", without("protocolVersion")),
        ("no clientInfo", without("clientInfo")),
        ("no clientCapabilities", without("clientCapabilities")),
        ("version 5", with("protocolVersion", json!(5))),
        ("capabilities 5", with("clientCapabilities", json!(5))),
        ("unknown version in the body", unknown.clone()),
        (
            "unknown version",
            unknown.reheader("MCP-Protocol-Version", Some("2099-01-01")),
        ),
        ("older version in the body", older),
    ];
    for method in [
        "ping",
        "initialize",
        "logging/setLevel",
        "resources/subscribe",
        "tasks/list",
    ] {
        cases.push((
            method,
            Request::modern(method, json!({ "level": "info", "uri": "test://x" })),
        ));
    }
    let named = |(name, request)| Script::one(Step::new(&format!("meta: {name}"), request));
    cases.into_iter().map(named).collect()
}

/// `Mcp-Param-Value`, which repeats the argument `value` of one tool.
fn param_headers() -> Vec<Script> {
    let call = |value: Value| {
        Request::modern(
            "tools/call",
            json!({ "name": "test_custom_header", "arguments": value }),
        )
    };
    let hello = || call(json!({ "value": "Hello" }));
    let cases = [
        ("the same", hello().header("Mcp-Param-Value", "Hello")),
        (
            "in base64",
            hello().header("Mcp-Param-Value", "=?base64?SGVsbG8=?="),
        ),
        ("another", hello().header("Mcp-Param-Value", "Bye")),
        ("missing", hello()),
        (
            "bad padding",
            hello().header("Mcp-Param-Value", "=?base64?SGVsbG8?="),
        ),
        (
            "bad characters",
            hello().header("Mcp-Param-Value", "=?base64?SGV$bG8=?="),
        ),
        ("no argument, no header", call(json!({}))),
        (
            "no argument, a header",
            call(json!({})).header("Mcp-Param-Value", "Hello"),
        ),
        ("null, no header", call(json!({ "value": null }))),
        (
            "empty",
            call(json!({ "value": "" })).header("Mcp-Param-Value", ""),
        ),
    ];
    let named = |(name, request)| Script::one(Step::new(&format!("param header: {name}"), request));
    cases.into_iter().map(named).collect()
}

fn verbs() -> Vec<Script> {
    let modern = |verb| Request::bare(verb).header("MCP-Protocol-Version", MODERN);
    let cases = [
        ("modern GET", modern("GET")),
        ("modern DELETE", modern("DELETE")),
        ("GET without session", Request::bare("GET")),
        ("DELETE without session", Request::bare("DELETE")),
        ("PUT", Request::bare("PUT")),
        ("PATCH", Request::bare("PATCH")),
    ];
    cases
        .into_iter()
        .map(|(name, request)| Script::one(Step::new(name, request).until(Until::Head)))
        .collect()
}

/// What is wrong with sessions.
fn sessions() -> Vec<Script> {
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let posted = |id: &str| Request::post().header("Mcp-Session-Id", id).body(list);
    let bare = |verb| Request::bare(verb).header("Mcp-Session-Id", "9f1c");
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let incomplete = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#;
    let mut scripts = vec![
        Script::one(Step::new("no session", Request::post().body(list))),
        Script::one(Step::new("unknown session", posted("9f1c"))),
        Script::one(Step::new("empty session", posted(""))),
        Script::one(Step::new("GET, unknown session", bare("GET")).until(Until::Head)),
        Script::one(Step::new("DELETE, unknown session", bare("DELETE"))),
        Script::one(Step::new(
            "initialized, no session",
            Request::post().body(initialized),
        )),
        Script::one(Step::new(
            "initialize without params",
            Request::post().body(incomplete),
        )),
    ];
    for version in [MODERN, "2024-11-05", "2099-01-01", "never"] {
        let name = format!("initialize with {version}");
        scripts.push(Script::one(Step::new(&name, Request::initialize(version))));
    }
    let in_session = |name, request: Request| Step::new(name, request.body(list));
    scripts.push(Script::session(
        LEGACY,
        "headers",
        vec![
            in_session("another known version", Request::legacy("2025-06-18")),
            in_session("an unknown version", Request::legacy("2099-01-01")),
            in_session(
                "no version",
                Request::legacy(LEGACY).reheader("MCP-Protocol-Version", None),
            ),
            in_session(
                "Accept: JSON",
                Request::legacy(LEGACY).reheader("Accept", Some("application/json")),
            ),
            in_session(
                "Origin: evil",
                Request::legacy(LEGACY).header("Origin", "https://evil.example.com"),
            ),
            in_session(
                "Host: evil",
                Request::legacy(LEGACY).header("Host", "evil.example.com"),
            ),
            Step::new("initialize again", Request::initialize(LEGACY)),
        ],
    ));
    scripts
}
