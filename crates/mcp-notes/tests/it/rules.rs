//! Read-only servers and tools that are switched off: refused on every face, and listed on none.

use std::ffi::OsString;

use mcp_notes::{
    action::Action,
    config::{Config, Mistake, Vars},
    rules::{Isolation, Rules},
};
use mcp_serve::test_util::Modern;
use serde_json::{Value, json};

use crate::desk::Desk;

const MOUNTS: [&str; 2] = ["/api/v1/notes", "/api/v1/mcp/notes"];

/// A server with these rules and one note, `note-1`.
async fn desk(rules: Rules) -> Desk {
    let desk = Desk::with(rules).await;
    let caller = Isolation::Owner.caller(None).unwrap();
    let new = notes::NewNote::parse("title", "text", &[], desk.notes.limits()).unwrap();
    desk.notes.create(&caller, new).await.unwrap();
    desk
}

async fn listed(client: &mut Modern) -> Vec<String> {
    let tools = client.call("tools/list", json!({})).await.unwrap().result();
    let tools = tools["tools"].as_array().unwrap();
    let name = |tool: &Value| tool["name"].as_str().unwrap().to_owned();
    tools.iter().map(name).collect()
}

async fn call(client: &mut Modern, tool: &str) -> Value {
    let arguments = json!({"id": "note-1", "title": "new", "content": "new", "query": "text"});
    let fields: &[&str] = match tool {
        "create_note" => &["title", "content"],
        "get_note" | "delete_note" => &["id"],
        "list_notes" => &[],
        "search_notes" => &["query"],
        _ => &["id", "title"],
    };
    let arguments: Value = fields
        .iter()
        .map(|it| (*it, arguments[*it].clone()))
        .collect();
    let params = json!({"name": tool, "arguments": arguments});
    client.call("tools/call", params).await.unwrap().result()
}

/// The requests to the REST API and the tools they are twins of.
const TWINS: [(&str, &str, &str); 7] = [
    ("get_note", "GET", "/note-1"),
    ("list_notes", "GET", ""),
    ("search_notes", "GET", "/search?q=text"),
    ("create_note", "POST", ""),
    ("update_note", "PUT", "/note-1"),
    ("update_note", "PATCH", "/note-1"),
    ("delete_note", "DELETE", "/note-1"),
];

/// Checks that a server refuses exactly these tools, with these codes, on all faces.
async fn refuses(rules: Rules, refused: &[(&str, &str)]) {
    let desk = desk(rules).await;
    let server = desk.serve().await;
    let mut client = server.modern();
    let mut legacy = server.legacy("2025-11-25").await;
    let document = desk.rest("GET", "/api/v1/openapi.json", "").await.json();
    let all = Action::ALL.map(Action::tool);
    let code_of = |tool: &str| {
        refused
            .iter()
            .find(|(name, _)| *name == tool)
            .map(|it| it.1)
    };
    let kept: Vec<_> = all
        .into_iter()
        .filter(|tool| code_of(tool).is_none())
        .collect();
    assert_eq!(listed(&mut client).await, kept);
    for (tool, code) in refused {
        let result = call(&mut client, tool).await;
        assert_eq!(result["isError"], true, "{tool}: {result}");
        assert_eq!(
            result["structuredContent"]["error"]["code"], *code,
            "{tool}"
        );
        // Whatever a header says, the body decides.
        let params = json!({"name": tool, "arguments": {"id": "note-1"}});
        legacy.headers = vec![("Mcp-Name".to_owned(), "get_note".to_owned())];
        let result = legacy.call("tools/call", params).await.unwrap().result();
        assert_eq!(
            result["structuredContent"]["error"]["code"], *code,
            "{tool}"
        );
    }
    for (tool, method, path) in TWINS {
        let is_refused = code_of(tool).is_some();
        for mount in MOUNTS {
            if method == "DELETE" && !is_refused {
                continue;
            }
            let body = r#"{"title": "new", "content": "new"}"#;
            let answer = desk.rest(method, &format!("{mount}{path}"), body).await;
            assert_eq!(
                answer.status == 403,
                is_refused,
                "{method} {path}: {answer:?}"
            );
            if is_refused {
                assert_eq!(answer.header("content-type"), "application/problem+json");
                assert_eq!(answer.json()["type"], "/api/v1/docs#problem-forbidden");
            } else {
                assert!(answer.status.is_success(), "{method} {path}: {answer:?}");
            }
        }
        let template = match path {
            "/note-1" => "/notes/{id}",
            "" => "/notes",
            _ => "/notes/search",
        };
        let described = &document["paths"][template][method.to_lowercase()];
        assert_eq!(described.is_null(), is_refused, "{method} {template}");
    }
    for tool in kept {
        assert_ne!(call(&mut client, tool).await["isError"], true, "{tool}");
    }
}

#[tokio::test]
async fn a_read_only_server_lists_and_does_nothing_that_writes() {
    let rules = Rules {
        read_only: true,
        ..Rules::default()
    };
    let writes = ["create_note", "update_note", "delete_note"];
    refuses(rules, &writes.map(|tool| (tool, "read_only"))).await;
}

#[tokio::test]
async fn a_tool_that_is_switched_off_is_off_on_every_face() {
    for tool in Action::ALL.map(Action::tool) {
        let disabled = Action::of_tool(tool).into_iter().collect();
        let rules = Rules {
            disabled,
            ..Rules::default()
        };
        refuses(rules, &[(tool, "switched_off")]).await;
    }
}

#[tokio::test]
async fn a_read_only_server_leaves_its_notes_as_they_are() {
    let rules = Rules {
        read_only: true,
        ..Rules::default()
    };
    let desk = desk(rules).await;
    let before = desk.rest("GET", "/api/v1/notes/note-1", "").await;
    for (_, method, path) in TWINS {
        desk.rest(
            method,
            &format!("{}{path}", MOUNTS[0]),
            r#"{"title": "x", "content": "y"}"#,
        )
        .await;
    }
    let after = desk.rest("GET", "/api/v1/notes/note-1", "").await;
    assert_eq!((before.status.as_u16(), before.json()), (200, after.json()));
    assert_eq!(
        desk.rest("GET", "/api/v1/notes", "").await.json()["total"],
        1
    );
}

fn read(pairs: &[(&str, &str)]) -> Result<Rules, Vec<Mistake>> {
    let var = |(name, value): &(&str, &str)| ((*name).to_owned(), OsString::from(value));
    let vars: Vars = pairs.iter().map(var).collect();
    let loaded = Config::from_vars(&vars).map_err(|error| error.mistakes);
    loaded.map(|loaded| loaded.config.rules)
}

#[test]
fn the_rules_are_settings_and_an_unknown_tool_stops_the_start() {
    assert_eq!(read(&[]), Ok(Rules::default()));
    assert_eq!(Rules::default().isolation, Isolation::Owner);
    let set = read(&[
        ("NOTES_ISOLATION", "shared"),
        ("NOTES_READ_ONLY", "true"),
        ("NOTES_TOOLS_DISABLED", " delete_note, search_notes,"),
    ]);
    let expected = Rules {
        isolation: Isolation::Shared,
        read_only: true,
        disabled: [Action::Delete, Action::Search].into(),
    };
    assert_eq!(set, Ok(expected));
    for (name, value) in [
        ("NOTES_ISOLATION", "nobody"),
        ("NOTES_READ_ONLY", "yes"),
        ("NOTES_TOOLS_DISABLED", "delete_note,remove_note"),
        ("NOTES_TOOLS_DISABLED", "Delete_Note"),
    ] {
        let mistakes = read(&[(name, value)]).unwrap_err();
        assert_eq!((mistakes.len(), mistakes[0].setting.as_str()), (1, name));
        assert_eq!(mistakes[0].given.as_deref(), Some(value));
    }
    let mistakes = read(&[("NOTES_TOOLS_DISABLED", "x")]).unwrap_err();
    for tool in Action::ALL.map(Action::tool) {
        assert!(mistakes[0].expected.contains(tool), "{}", mistakes[0]);
    }
}
