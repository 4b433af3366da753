//! Nobody sees, finds, hears of, counts or changes the notes of somebody else, on any face.

mod random;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mcp_notes::rules::{Isolation, Rules};
use mcp_serve::test_util::{Next, RawResponse, SseReader, TestServer};
use serde_json::{Value, json};

use crate::{
    desk::Desk,
    people::{ByName, Person},
};

const NOTES: &str = "/api/v1/notes";
const JSON: (&str, &str) = ("content-type", "application/json");
const PATIENCE: Duration = Duration::from_secs(10);

/// Header fields of a request.
type Fields = &'static [(&'static str, &'static str)];
/// Makes the parameters of a call about the note with an id.
type Params = fn(&str) -> Value;

async fn open(rules: Rules) -> (Desk, TestServer, Person, Person) {
    let desk = Desk::with(rules).await;
    let server = desk.serve_to(ByName::authenticator()).await;
    let (ann, bob) = (Person::new(&server, "ann"), Person::new(&server, "bob"));
    (desk, server, ann, bob)
}

async fn apart() -> (Desk, TestServer, Person, Person) {
    open(Rules::default()).await
}

/// What an answer says, without what is new in every answer.
fn said(answer: &RawResponse, id: &str) -> (u16, Vec<(String, String)>, String) {
    let mut headers = answer.headers.clone();
    headers.retain(|(name, _)| name != "date" && name != "x-request-id");
    let text = answer.text().replace(id, "ID");
    for (name, value) in &mut headers {
        *value = value.replace(id, "ID");
        if name == "content-length" {
            *value = text.len().to_string();
        }
    }
    headers.sort();
    (answer.status, headers, text)
}

#[tokio::test]
async fn a_note_of_somebody_else_is_as_missing_as_one_that_never_was() {
    let (_desk, _server, mut ann, mut bob) = apart().await;
    let foreign = ann.write("secret title", "secret text", &["secret"]).await;
    let never = "note-9999";

    let requests: [(&str, Fields, &str); 9] = [
        ("GET", &[], ""),
        ("HEAD", &[], ""),
        ("GET", &[("if-none-match", "\"v1\"")], ""),
        ("PUT", &[JSON], r#"{"title": "x", "content": "y"}"#),
        (
            "PUT",
            &[JSON, ("if-match", "\"v9\"")],
            r#"{"title": "x", "content": "y"}"#,
        ),
        ("PATCH", &[JSON, ("if-match", "*")], r#"{"title": "x"}"#),
        (
            "PATCH",
            &[JSON, ("if-none-match", "\"v1\"")],
            r#"{"title": "x"}"#,
        ),
        ("DELETE", &[("if-match", "\"v1\"")], ""),
        ("DELETE", &[], ""),
    ];
    for (method, headers, body) in requests {
        let ask = async |id: &str| {
            let path = format!("{NOTES}/{id}");
            said(&bob.ask(method, &path, headers, body).await, id)
        };
        let (theirs, nobodys) = (ask(&foreign).await, ask(never).await);
        assert_eq!(theirs, nobodys, "{method} {headers:?}");
        assert_eq!(theirs.0, 404, "{method} {headers:?}");
    }

    let calls: [(&str, Params); 8] = [
        (
            "tools/call",
            |id| json!({"name": "get_note", "arguments": {"id": id}}),
        ),
        (
            "tools/call",
            |id| json!({"name": "update_note", "arguments": {"id": id, "title": "x"}}),
        ),
        (
            "tools/call",
            |id| json!({"name": "update_note", "arguments": {"id": id, "title": "x", "expected_version": 9}}),
        ),
        (
            "tools/call",
            |id| json!({"name": "delete_note", "arguments": {"id": id}}),
        ),
        (
            "resources/read",
            |id| json!({"uri": format!("note:///{id}")}),
        ),
        (
            "prompts/get",
            |id| json!({"name": "summarize_note", "arguments": {"note_id": id}}),
        ),
        (
            "prompts/get",
            |id| json!({"name": "find_related", "arguments": {"note_id": id}}),
        ),
        (
            "completion/complete",
            |id| json!({"ref": {"type": "ref/resource", "uri": "note:///{id}"}, "argument": {"name": "id", "value": id}}),
        ),
    ];
    for (method, params) in calls {
        let mut answers = Vec::new();
        for id in [foreign.as_str(), never] {
            let answer = bob.mcp(method, params(id)).await;
            let mut last = answer.last();
            last["id"] = Value::Null;
            answers.push((answer.status(), last.to_string().replace(id, "ID")));
        }
        assert_eq!(answers[0], answers[1], "{method}");
    }
    let mut session = bob.legacy().await;
    for method in ["resources/subscribe", "resources/read"] {
        let uri = json!({"uri": format!("note:///{foreign}")});
        let answer = session.call(method, uri).await.unwrap();
        assert_eq!(answer.error_code(), -32002, "{method}");
    }
    let note = ann.tool("get_note", json!({"id": foreign})).await;
    assert_eq!(
        (&note["title"], &note["version"]),
        (&json!("secret title"), &json!(1))
    );
}

#[tokio::test]
async fn completion_and_search_show_nothing_of_somebody_else() {
    let (_desk, _server, mut ann, mut bob) = apart().await;
    ann.write("Layoffs in March", "the secret plan", &["secret"])
        .await;
    bob.write("Marching band", "nothing", &["second"]).await;
    let mut complete = async |reference: Value, name: &str, value: &str| {
        let params = json!({"ref": reference, "argument": {"name": name, "value": value}});
        let result = bob.mcp("completion/complete", params).await.result();
        (
            result["completion"]["values"].clone(),
            result["completion"]["total"].clone(),
        )
    };
    let resource = || json!({"type": "ref/resource", "uri": "note:///{id}"});
    let prompt = |name: &str| json!({"type": "ref/prompt", "name": name});
    for typed in ["", "Mar", "march"] {
        let own = (json!(["note-2"]), json!(1));
        assert_eq!(complete(resource(), "id", typed).await, own, "{typed}");
        assert_eq!(
            complete(prompt("summarize_note"), "note_id", typed).await,
            own
        );
    }
    for typed in ["", "sec", "se"] {
        let own = (json!(["second"]), json!(1));
        assert_eq!(
            complete(prompt("weekly_review"), "tag", typed).await,
            own,
            "{typed}"
        );
    }
    assert_eq!(
        complete(resource(), "id", "Layoffs").await,
        (json!([]), json!(0))
    );
    for query in ["layoffs", "secret", "plan", "in", "\"secret plan\"", "-"] {
        let found = bob.tool("search_notes", json!({"query": query})).await;
        assert_eq!(
            (&found["hits"], &found["total"]),
            (&json!([]), &json!(0)),
            "{query}"
        );
        let path = format!(
            "{NOTES}/search?q={}",
            query.replace(' ', "+").replace('"', "%22")
        );
        assert_eq!(
            bob.rest("GET", &path, "").await.json()["total"],
            0,
            "{query}"
        );
    }
    for name in ["weekly_review", "tidy_tags"] {
        let prompt = bob.mcp("prompts/get", json!({"name": name})).await.result();
        let text = prompt.to_string();
        assert!(
            !text.contains("secret") && !text.contains("Layoffs"),
            "{text}"
        );
        assert!(
            text.contains("second") || text.contains("Marching"),
            "{text}"
        );
    }
}

async fn next_message(stream: &mut SseReader) -> Value {
    loop {
        let event = stream.next_event(PATIENCE).await.event();
        if !event.data.is_empty() {
            return event.json();
        }
    }
}

#[tokio::test]
async fn nobody_hears_of_what_somebody_else_does() {
    let (_desk, _server, mut ann, mut bob) = apart().await;
    let id = ann.write("secret", "text", &[]).await;
    let own = bob.write("own", "text", &[]).await;
    let uris = [format!("note:///{id}"), format!("note:///{own}")];
    let filter = json!({"resourcesListChanged": true, "resourceSubscriptions": uris});
    let params = json!({"notifications": filter});
    let mut listening = bob
        .modern
        .open("subscriptions/listen", params)
        .await
        .unwrap();
    next_message(&mut listening).await;
    let mut session = bob.legacy().await;
    let foreign = session
        .call("resources/subscribe", json!({"uri": uris[0]}))
        .await;
    assert_eq!(foreign.unwrap().error_code(), -32002);
    let subscribed = session
        .call("resources/subscribe", json!({"uri": uris[1]}))
        .await;
    assert_eq!(subscribed.unwrap().result(), json!({}));
    let mut tail = session.open_get().await.unwrap();

    ann.tool("update_note", json!({"id": id, "title": "changed"}))
        .await;
    ann.rest("PATCH", &format!("{NOTES}/{id}"), r#"{"content": "new"}"#)
        .await;
    ann.write("another", "text", &[]).await;
    ann.tool("delete_note", json!({"id": id})).await;
    bob.tool("update_note", json!({"id": own, "title": "mine"}))
        .await;
    for stream in [&mut listening, &mut tail] {
        let mut heard = [next_message(stream).await, next_message(stream).await];
        heard.sort_by_key(|message| message["method"].to_string());
        assert_eq!(heard[0]["method"], "notifications/resources/list_changed");
        assert_eq!(heard[1]["params"]["uri"], uris[1]);
        let silence = stream.next_event(Duration::from_millis(50)).await;
        assert_eq!(silence, Next::Silence);
    }
}

/// The cursors of the first pages of all lists there are.
async fn cursors(who: &mut Person) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = who.tool("list_notes", json!({"limit": 1})).await;
    let search = who
        .tool("search_notes", json!({"query": "word", "limit": 1}))
        .await;
    let path = format!("{NOTES}?limit=1&tag=t");
    let tagged = who.rest("GET", &path, "").await.json();
    [list, search, tagged]
        .iter()
        .map(|page| text(&page["next_cursor"]))
        .collect()
}

#[tokio::test]
async fn a_stolen_cursor_is_refused_and_a_forged_one_reaches_own_notes_only() {
    let (desk, _server, mut ann, mut bob) = apart().await;
    for (who, count) in [(&mut ann, 60), (&mut bob, 3)] {
        for number in 0..count {
            desk.clock.advance(jiff::SignedDuration::from_secs(1));
            who.write(&format!("word {number}"), "text", &["t"]).await;
        }
    }
    let resources = ann.mcp("resources/list", json!({})).await.result();
    let stolen = resources["nextCursor"].as_str().unwrap();
    let answer = bob.mcp("resources/list", json!({"cursor": stolen})).await;
    assert_eq!(answer.error_code(), -32602);
    let (anns, bobs) = (cursors(&mut ann).await, cursors(&mut bob).await);
    let asks = |cursor: &str| {
        [
            (
                "list_notes",
                json!({"cursor": cursor}),
                format!("{NOTES}?cursor={cursor}"),
            ),
            (
                "search_notes",
                json!({"query": "word", "cursor": cursor}),
                format!("{NOTES}/search?q=word&cursor={cursor}"),
            ),
            (
                "list_notes",
                json!({"tag": "t", "cursor": cursor}),
                format!("{NOTES}?tag=t&cursor={cursor}"),
            ),
        ]
    };
    for (made_for, stolen) in anns.iter().enumerate() {
        for (asked, (tool, arguments, path)) in asks(stolen).into_iter().enumerate() {
            let refused = bob.tool(tool, arguments.clone()).await;
            assert_eq!(
                refused["error"]["problems"][0]["code"], "bad_cursor",
                "{refused}"
            );
            assert_eq!(bob.rest("GET", &path, "").await.status, 400);
            // Its owner may use it, for the question that it is of.
            let answer = ann.rest("GET", &path, "").await;
            assert_eq!(answer.status == 200, made_for == asked, "{path}");
        }
        // The position of another in a cursor of one's own leads to one's own notes.
        let own = URL_SAFE_NO_PAD.decode(&bobs[made_for]).unwrap();
        let other = URL_SAFE_NO_PAD.decode(stolen).unwrap();
        let forged = URL_SAFE_NO_PAD.encode([&own[..9], &other[9..]].concat());
        let (tool, arguments, _) = asks(&forged)[made_for].clone();
        let page = bob.tool(tool, arguments).await;
        let items = page["notes"]
            .as_array()
            .or(page["hits"].as_array())
            .unwrap();
        assert!(items.len() <= 3, "{page}");
        assert!(
            items
                .iter()
                .all(|note| note["title"].as_str().unwrap().len() == "word 0".len())
        );
        for note in items {
            assert!(!bob.tool("get_note", json!({"id": note["id"]})).await["title"].is_null());
        }
    }
}

#[tokio::test]
async fn what_may_be_cached_for_everybody_is_the_same_for_everybody() {
    let (_desk, server, mut ann, mut bob) = apart().await;
    let id = ann.write("secret", "text", &["secret"]).await;
    for number in 0..3 {
        bob.write(&format!("n{number}"), "text", &["other"]).await;
    }
    let mut people = [ann, bob, Person::scoped(&server, "carl", "notes:read")];
    let uri = format!("note:///{id}");
    let methods = [
        ("server/discover", json!({})),
        ("tools/list", json!({})),
        ("prompts/list", json!({})),
        ("resources/templates/list", json!({})),
        ("resources/list", json!({})),
        ("resources/read", json!({"uri": uri})),
        ("prompts/get", json!({"name": "tidy_tags"})),
    ];
    let mut public = Vec::new();
    for (method, params) in methods {
        let mut bodies = Vec::new();
        for person in &mut people {
            let mut body = person.mcp(method, params.clone()).await.last();
            body["id"] = Value::Null;
            bodies.push(body);
        }
        if bodies
            .iter()
            .any(|body| body["result"]["cacheScope"] == "public")
        {
            assert_eq!(bodies[0], bodies[1], "{method}");
            assert_eq!(bodies[0], bodies[2], "{method}");
            public.push(method);
        } else if method != "prompts/get" {
            assert_eq!(bodies[0]["result"]["cacheScope"], "private", "{method}");
        }
    }
    let expected = [
        "server/discover",
        "tools/list",
        "prompts/list",
        "resources/templates/list",
    ];
    assert_eq!(public, expected);
    for path in ["", "/search?q=secret", &format!("/{id}")] {
        let answer = people[0].rest("GET", &format!("{NOTES}{path}"), "").await;
        let cache = answer.header("cache-control").unwrap_or_default();
        assert_eq!(answer.status, 200);
        assert!(
            cache.starts_with("private") || cache == "no-store",
            "{path}: {cache}"
        );
    }
}

#[tokio::test]
async fn a_team_shares_its_notes_and_sees_who_wrote_them() {
    let rules = Rules {
        isolation: Isolation::Shared,
        ..Rules::default()
    };
    let (_desk, _server, mut ann, mut bob) = open(rules).await;
    let params = json!({"notifications": {"resourcesListChanged": true}});
    let mut listening = bob
        .modern
        .open("subscriptions/listen", params)
        .await
        .unwrap();
    next_message(&mut listening).await;
    let id = ann.write("plan", "text", &["team"]).await;
    let heard = next_message(&mut listening).await;
    assert_eq!(heard["method"], "notifications/resources/list_changed");
    let note = bob
        .tool("update_note", json!({"id": id, "content": "better"}))
        .await;
    assert_eq!(
        (&note["created_by"], &note["updated_by"]),
        (&json!("ann"), &json!("bob"))
    );
    for who in [&mut ann, &mut bob] {
        assert_eq!(
            who.tool("search_notes", json!({"query": "better"})).await["total"],
            1
        );
        assert_eq!(
            who.rest("GET", NOTES, "").await.json()["notes"][0]["id"],
            id
        );
    }
}
