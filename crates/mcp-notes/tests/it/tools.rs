//! The tools, called over HTTP in both eras.

use std::path::Path;

use mcp_serve::test_util::{Legacy, Modern, RpcAnswer, TestServer};
use serde_json::{Value, json};

use crate::desk::Desk;

/// The longest that all descriptions of tools may be together, in bytes.
const TOOLS_BYTES_MAX: usize = 9_500;

/// A client of either era.
enum Client {
    Modern(Box<Modern>),
    Legacy(Box<Legacy>),
}

impl Client {
    async fn all(server: &TestServer) -> Vec<Self> {
        let mut clients = vec![Self::Modern(Box::new(server.modern()))];
        for version in ["2025-11-25", "2025-06-18"] {
            clients.push(Self::Legacy(Box::new(server.legacy(version).await)));
        }
        clients
    }

    async fn call(&mut self, method: &str, params: Value) -> RpcAnswer {
        match self {
            Self::Modern(client) => client.call(method, params).await.unwrap(),
            Self::Legacy(client) => client.call(method, params).await.unwrap(),
        }
    }

    /// Calls a tool, and holds its result to what every result must be.
    async fn tool(&mut self, name: &str, arguments: Value) -> Value {
        let tools = self.call("tools/list", json!({})).await.result()["tools"].clone();
        let tool = tools
            .as_array()
            .unwrap()
            .iter()
            .find(|tool| tool["name"] == name)
            .unwrap();
        let params = json!({"name": name, "arguments": arguments});
        let answer = self.call("tools/call", params).await;
        assert_eq!(answer.status(), 200);
        let result = answer.result();
        let content = &result["structuredContent"];
        let schema = jsonschema::validator_for(&tool["outputSchema"]).unwrap();
        let errors: Vec<String> = schema.iter_errors(content).map(|e| e.to_string()).collect();
        assert!(
            errors.is_empty(),
            "{name} {arguments}: {errors:?} in {content}"
        );
        let text = result["content"][0]["text"].as_str().unwrap();
        if result["isError"] == true {
            let message = content["error"]["message"].as_str().unwrap();
            assert!(text.starts_with(message), "{text}");
        } else {
            assert_eq!(serde_json::from_str::<Value>(text).unwrap(), *content);
        }
        assert_eq!(result["content"].as_array().unwrap().len(), 1);
        result
    }

    async fn good(&mut self, name: &str, arguments: Value) -> Value {
        let result = self.tool(name, arguments).await;
        assert_ne!(result["isError"], true, "{result}");
        result["structuredContent"].clone()
    }

    async fn bad(&mut self, name: &str, arguments: Value) -> Value {
        let result = self.tool(name, arguments).await;
        assert_eq!(result["isError"], true, "{result}");
        result["structuredContent"]["error"].clone()
    }
}

#[tokio::test]
async fn the_list_of_tools_is_the_golden_one() {
    let desk = Desk::new().await;
    let server = desk.serve().await;
    let golden: Value = serde_json::from_str(include_str!("golden/tools.json")).unwrap();
    for mut client in Client::all(&server).await {
        let result = client.call("tools/list", json!({})).await.result();
        if result["tools"] != golden {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tools.json");
            let text = serde_json::to_string_pretty(&result["tools"]).unwrap();
            std::fs::write(&path, text + "\n").unwrap();
            panic!(
                "the tools changed; look at {} and keep it if it is right",
                path.display()
            );
        }
        match client {
            Client::Modern(_) => {
                assert_eq!(result["ttlMs"], 300_000);
                assert_eq!(result["cacheScope"], "public");
            }
            Client::Legacy(_) => {
                for modern in ["ttlMs", "cacheScope", "resultType"] {
                    assert!(result.get(modern).is_none(), "{modern}");
                }
            }
        }
    }
}

#[tokio::test]
async fn every_tool_is_described_for_models_and_clients() {
    let desk = Desk::new().await;
    let server = desk.serve().await;
    let tools = server
        .modern()
        .call("tools/list", json!({}))
        .await
        .unwrap()
        .result();
    let tools = tools["tools"].as_array().unwrap().clone();
    assert_eq!(tools.len(), 6);
    // A model pays for every word of it in every conversation.
    let bytes = serde_json::to_string(&tools).unwrap().len();
    assert!(bytes < TOOLS_BYTES_MAX, "{bytes}");
    for tool in &tools {
        assert!(tool["name"].as_str().unwrap().len() <= 64);
        assert!(tool["title"].is_string() && tool["description"].is_string());
        for hint in [
            "readOnlyHint",
            "destructiveHint",
            "idempotentHint",
            "openWorldHint",
        ] {
            assert!(
                tool["annotations"][hint].is_boolean() || hint == "idempotentHint",
                "{hint} of {tool}"
            );
        }
        for schema in [&tool["inputSchema"], &tool["outputSchema"]] {
            assert_eq!(schema["type"], "object");
            assert!(jsonschema::meta::is_valid(schema), "{schema}");
            no_boolean_schemas(schema);
            assert!(!schema.to_string().contains("$ref"), "{schema}");
        }
        assert_eq!(tool["inputSchema"]["additionalProperties"], false);
    }
}

/// Properties and items are objects: older revisions know no boolean schemas there.
fn no_boolean_schemas(schema: &Value) {
    for property in schema["properties"]
        .as_object()
        .into_iter()
        .flat_map(|all| all.values())
    {
        assert!(property.is_object(), "{schema}");
        no_boolean_schemas(property);
    }
    let items = &schema["items"];
    assert!(items.is_null() || items.is_object(), "{schema}");
}

#[tokio::test]
async fn a_note_lives_and_ends_in_each_era() {
    let desk = Desk::new().await;
    let server = desk.serve().await;
    for mut client in Client::all(&server).await {
        let given = json!({
            "title": "Ärger mit <b>HTML</b> & \"Zitaten\"",
            "content": "Vec<String> && 日本語 👩‍👩‍👧\r\n\ttab",
            "tags": ["#To Do", "plan"],
        });
        let note = client.good("create_note", given.clone()).await;
        assert_eq!(note["title"], given["title"]);
        assert_eq!(note["content"], given["content"]);
        assert_eq!(note["tags"], json!(["plan", "to-do"]));
        assert_eq!(note["version"], 1);
        assert_eq!(note["created_at"], "2026-01-31T12:00:00Z");
        assert_eq!(note["created_by"], "anonymous");
        let id = note["id"].as_str().unwrap();
        assert_eq!(client.good("get_note", json!({"id": id})).await, note);

        let list = client
            .good("list_notes", json!({"tag": "TO DO", "limit": 1}))
            .await;
        assert_eq!(list["notes"][0]["id"], id);
        assert_eq!(
            list["notes"][0]["content_chars"],
            given["content"].as_str().unwrap().chars().count()
        );
        assert_eq!(list["next_cursor"], Value::Null);
        let hits = client.good("search_notes", json!({"query": "日本"})).await;
        assert_eq!(hits["hits"][0]["id"], id);

        let change = json!({"id": id, "content": "short", "tags": [], "expected_version": 1.0});
        let changed = client.good("update_note", change).await;
        assert_eq!(changed["version"], 2);
        assert_eq!(changed["title"], given["title"]);
        assert_eq!(changed["content"], "short");
        assert_eq!(changed["tags"], json!([]));

        let gone = client
            .good("delete_note", json!({"id": id, "expected_version": 2}))
            .await;
        assert_eq!(gone, json!({"id": id, "deleted": true}));
        let error = client.bad("get_note", json!({"id": id})).await;
        assert_eq!(error["code"], "not_found");
        assert!(error["message"].as_str().unwrap().contains(id));
    }
}

#[tokio::test]
async fn the_oldest_revision_gets_all_of_it_as_text() {
    let desk = Desk::new().await;
    let server = desk.serve().await;
    let mut client = server.legacy("2025-03-26").await;
    for (arguments, is_error, expected) in [
        (
            json!({"title": "a", "content": "b"}),
            false,
            "\"content\":\"b\"",
        ),
        (json!({"title": "", "content": "b"}), true, "title is empty"),
    ] {
        let params = json!({"name": "create_note", "arguments": arguments});
        let result = client.call("tools/call", params).await.unwrap().result();
        assert_eq!(result["isError"], is_error);
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn lists_and_searches_have_pages() {
    let desk = Desk::new().await;
    let server = desk.serve().await;
    let mut client = Client::Modern(Box::new(server.modern()));
    for number in 1..=5 {
        desk.clock.advance(jiff::SignedDuration::from_mins(1));
        let note = json!({"title": format!("Note {number}"), "content": "the same words"});
        client.good("create_note", note).await;
    }
    for (tool, items, base) in [
        ("list_notes", "notes", json!({"limit": 2})),
        (
            "search_notes",
            "hits",
            json!({"limit": 2, "query": "same words"}),
        ),
    ] {
        let mut titles = Vec::new();
        let mut arguments = base.clone();
        loop {
            let page = client.good(tool, arguments.clone()).await;
            assert_eq!(page["total"], 5, "{tool}");
            let found = page[items].as_array().unwrap();
            titles.extend(
                found
                    .iter()
                    .map(|note| note["title"].as_str().unwrap().to_owned()),
            );
            match page["next_cursor"].as_str() {
                Some(cursor) => arguments["cursor"] = json!(cursor),
                None => break,
            }
        }
        assert_eq!(
            titles,
            ["Note 5", "Note 4", "Note 3", "Note 2", "Note 1"],
            "{tool}"
        );
        arguments["cursor"] = json!("nonsense");
        let error = client.bad(tool, arguments).await;
        assert_eq!(error["problems"][0]["field"], "cursor");
        assert_eq!(error["problems"][0]["code"], "bad_cursor");
    }
    let since =
        json!({"updated_after": "2026-01-31T12:04:00Z", "updated_before": "2026-01-31T12:05:00Z"});
    let page = client.good("list_notes", since).await;
    assert_eq!(page["notes"].as_array().unwrap().len(), 1);
    assert_eq!(page["notes"][0]["title"], "Note 4");
    let change = json!({"id": page["notes"][0]["id"], "content": "changed last"});
    client.good("update_note", change).await;
    let since =
        json!({"created_after": "2026-01-31T12:04:00Z", "created_before": "2026-01-31T12:05:00Z"});
    let page = client.good("list_notes", since).await;
    assert_eq!(page["total"], 1);
    assert_eq!(page["notes"][0]["title"], "Note 4");
    let page = client
        .good("list_notes", json!({"title_prefix": "note 3"}))
        .await;
    assert_eq!(page["notes"].as_array().unwrap().len(), 1);
}

/// Tool, arguments, and the fields with the codes of what is wrong with them. `LONG` stands for 256
/// characters, `TEXT` for 10,001, `MANY` for 33 tags.
const REFUSED: &str = r#"
create_note | {} | title missing, content missing
create_note | {"title": "", "content": ""} | title empty, content empty
create_note | {"title": "LONG", "content": "TEXT"} | title too_long, content too_long
create_note | {"title": " \u3000", "content": "x"} | title empty
create_note | {"title": "a\nb", "content": "a\u001bb"} | title forbidden_character, content forbidden_character
create_note | {"title": 1, "content": null} | content wrong_type, title wrong_type
create_note | {"title": "a", "content": "b", "owner": "me"} | owner unknown_field
create_note | {"title": "a", "content": "b", "tags": "c"} | tags wrong_type
create_note | {"title": "a", "content": "b", "tags": ["c", "", "d,e", "LONG"]} | tags[1] empty, tags[2] forbidden_character, tags[3] too_long
create_note | {"title": "a", "content": "b", "tags": MANY} | tags too_many
get_note | {"id": "../etc"} | id bad_format
get_note | {"id": ""} | id empty
get_note | {"id": "LONG"} | id too_long
list_notes | {"limit": 0} | limit out_of_range
list_notes | {"limit": 101} | limit out_of_range
list_notes | {"limit": "10"} | limit wrong_type
list_notes | {"updated_after": "yesterday"} | updated_after bad_format
list_notes | {"tag": ""} | tag empty
search_notes | {} | query missing
search_notes | {"query": ""} | query empty
update_note | {"id": "note-1"} |  empty
update_note | {"id": "a b", "title": ""} | id bad_format, title empty
update_note | {"id": "note-1", "expected_version": -1} | expected_version wrong_type
update_note | {"id": "note-1", "title": "a", "expected_version": 0} | expected_version out_of_range
list_notes | {"created_before": "2026-13-01"} | created_before bad_format
delete_note | {"id": "note-1", "expected_version": 0} | expected_version out_of_range
delete_note | {"id": "note-1", "force": true} | force unknown_field
"#;

#[tokio::test]
async fn input_that_is_not_accepted_says_what_would_be() {
    let desk = Desk::new().await;
    let server = desk.serve().await;
    let many: Vec<String> = (0..33).map(|number| format!("t{number}")).collect();
    let cases = REFUSED
        .replace("LONG", &"x".repeat(256))
        .replace("TEXT", &"x".repeat(10_001))
        .replace("MANY", &json!(many).to_string());
    for mut client in Client::all(&server).await {
        for case in cases.lines().filter(|line| !line.is_empty()) {
            let [tool, arguments, expected] = case.split(" | ").collect::<Vec<_>>()[..] else {
                panic!("{case}");
            };
            let arguments: Value = serde_json::from_str(arguments).unwrap();
            let error = client.bad(tool, arguments).await;
            assert_eq!(error["code"], "invalid", "{case}: {error}");
            let problems = error["problems"].as_array().unwrap().iter();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let found: Vec<String> = problems
                .map(|problem| format!("{} {}", text(&problem["field"]), text(&problem["code"])))
                .collect();
            assert_eq!(found.join(", "), expected, "{tool}: {error}");
            for problem in found {
                let field = problem.split(' ').next().unwrap();
                assert!(text(&error["message"]).contains(field), "{error}");
            }
        }
    }
    let forbidden = json!({"title": "ab\u{7}", "content": "x"});
    let error = Client::Modern(Box::new(server.modern()))
        .bad("create_note", forbidden)
        .await;
    let message = error["problems"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("U+0007") && message.contains('3'),
        "{message}"
    );
}

/// Tool, arguments that are good, a field, and values around its limits.
fn around_the_limits() -> Vec<(&'static str, Value, &'static str, Vec<Value>)> {
    let limits = notes::Limits::default();
    let text = |length: usize| json!("é".repeat(length));
    let texts = |most: usize| vec![text(0), text(1), text(most), text(most + 1), json!(null)];
    let note = || json!({"title": "a", "content": "b"});
    let (tag, tags) = (limits.tag_chars_max, limits.tags_max);
    let mut lists = vec![json!([]), json!([text(1)]), json!([1]), json!({})];
    // Too long only as it is given: the leading # is not kept.
    let hashed = json!(format!("#{}", "é".repeat(tag)));
    lists.push(json!([hashed]));
    let mut one_tag = texts(tag);
    one_tag.push(hashed);
    lists.extend([tag, tag + 1].map(|length| json!([text(length)])));
    lists.extend([tags, tags + 1].map(|count| json!(vec!["same"; count])));
    let numbers = [0.0, 1.0, 100.0, 101.0, 2.5, -1.0, 1e30].map(|number| json!(number));
    let mut limit = numbers.to_vec();
    limit.extend([0, 1, 100, 101, -1].map(|number| json!(number)));
    let ids = vec![text(0), json!("a".repeat(128)), json!("a".repeat(129))];
    let mut versions = vec![json!(null), json!("1")];
    versions.extend([0, 1, 2, -1].map(|number| json!(number)));
    versions.extend([0.0, 1.0, 1.5].map(|number| json!(number)));
    let change = json!({"id": "note-1", "title": "a"});
    vec![
        (
            "create_note",
            note(),
            "title",
            texts(limits.title_chars_max),
        ),
        (
            "create_note",
            note(),
            "content",
            texts(limits.content_chars_max),
        ),
        ("create_note", note(), "tags", lists),
        ("list_notes", json!({}), "limit", limit),
        ("list_notes", json!({}), "tag", one_tag),
        (
            "search_notes",
            json!({}),
            "query",
            vec![text(0), text(1), json!(3)],
        ),
        ("get_note", json!({}), "id", ids),
        ("update_note", change, "expected_version", versions.clone()),
        (
            "delete_note",
            json!({"id": "note-1"}),
            "expected_version",
            versions,
        ),
    ]
}

#[tokio::test]
async fn what_the_schema_refuses_is_refused_and_the_other_way_round() {
    let desk = Desk::new().await;
    let server = desk.serve().await;
    let mut client = Client::Modern(Box::new(server.modern()));
    let listed = client.call("tools/list", json!({})).await.result();
    for (tool, base, field, values) in around_the_limits() {
        let mut tools = listed["tools"].as_array().unwrap().iter();
        let schema = &tools.find(|known| known["name"] == tool).unwrap()["inputSchema"];
        let schema = jsonschema::validator_for(schema).unwrap();
        for value in values {
            let mut arguments = base.clone();
            arguments[field] = value;
            let result = client.tool(tool, arguments.clone()).await;
            let is_invalid = result["structuredContent"]["error"]["code"] == "invalid";
            assert_eq!(
                schema.is_valid(&arguments),
                !is_invalid,
                "{tool} {field} {}: {result}",
                arguments[field]
            );
        }
    }
}

#[tokio::test]
async fn a_stale_version_changes_nothing_and_shows_the_note() {
    let desk = Desk::new().await;
    let server = desk.serve().await;
    for mut client in Client::all(&server).await {
        let note = client
            .good("create_note", json!({"title": "a", "content": "one"}))
            .await;
        let id = &note["id"];
        let now = client
            .good("update_note", json!({"id": id, "content": "two"}))
            .await;
        for (tool, arguments) in [
            (
                "update_note",
                json!({"id": id, "content": "three", "expected_version": 1}),
            ),
            ("delete_note", json!({"id": id, "expected_version": 1})),
            ("delete_note", json!({"id": id, "expected_version": 7})),
        ] {
            let result = client.tool(tool, arguments).await;
            let error = &result["structuredContent"]["error"];
            assert_eq!(error["code"], "conflict");
            assert_eq!(error["current"], now);
            let text = result["content"][0]["text"].as_str().unwrap();
            assert!(
                text.contains("version 2") && text.contains("\"two\""),
                "{text}"
            );
            assert_eq!(client.good("get_note", json!({"id": id})).await, now);
        }
    }
}

#[tokio::test]
async fn an_unknown_tool_is_an_error_of_the_protocol() {
    let desk = Desk::new().await;
    let server = desk.serve().await;
    for mut client in Client::all(&server).await {
        let answer = client
            .call("tools/call", json!({"name": "drop_notes"}))
            .await;
        assert_eq!(answer.error_code(), -32602);
        assert_eq!(answer.status(), 200);
        let answer = client.call("tools/list", json!({"cursor": "2"})).await;
        assert_eq!(answer.error_code(), -32602);
    }
}

#[tokio::test]
async fn a_failing_store_says_nothing_of_itself() {
    let desk = Desk::new().await;
    let server = desk.serve().await;
    let mut clients = Client::all(&server).await;
    desk.notes.close().await.unwrap();
    for client in &mut clients {
        for (tool, arguments) in [
            ("create_note", json!({"title": "a", "content": "b"})),
            ("get_note", json!({"id": "note-1"})),
            ("list_notes", json!({})),
            ("search_notes", json!({"query": "a"})),
        ] {
            let error = client.bad(tool, arguments).await;
            assert_eq!(error["code"], "unavailable");
            assert!(!error.to_string().to_lowercase().contains("sql"), "{error}");
        }
        let answer = client.call("resources/list", json!({})).await;
        assert_eq!(answer.error_code(), -32603);
    }
    let answer = desk.rest("GET", "/api/v1/notes", "").await;
    assert_eq!(answer.status, 503);
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(answer.header("content-type"), "application/problem+json");
}
