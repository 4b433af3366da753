//! Every MCP tool and its REST twin do the same: random operations through MCP on one set of notes
//! and through REST on another, with the same clock and the same ids, have the same answers and
//! leave the same notes.

use http::StatusCode;
use notes::{Caller, Notes};
use proptest::{collection::vec, option, prelude::*, sample::select, test_runner::TestRunner};
use serde_json::{Map, Value, json};

use crate::desk::{Answer, Desk};

/// One operation, given to both faces. Values may be wrong on purpose.
#[derive(Clone, Debug)]
enum Operation {
    Create(Map<String, Value>),
    Get(String),
    List(Map<String, Value>),
    Search(Map<String, Value>),
    Update(String, Map<String, Value>, Option<u64>),
    Delete(String, Option<u64>),
    Wait(i64),
}

/// What a face answered, in common terms.
#[derive(Debug, PartialEq)]
enum Outcome {
    Done(Value),
    Gone,
    NotFound,
    Conflict(u64),
    Invalid(Vec<(String, String)>),
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(vec!["a", "Garden", "garden plan", "日本語", "Straße", "x\ny", "<b>", "👩‍👩‍👧"])
            .prop_map(str::to_owned),
        1 => ".{0,12}",
        1 => select(vec!["", " ", "a\u{7}b", "\u{202e}abc", "e\u{301}"]).prop_map(str::to_owned),
        1 => select(vec![255_usize, 256, 10_000, 10_001]).prop_map(|length| "é".repeat(length)),
    ]
}

fn tags() -> impl Strategy<Value = Value> {
    let tag = select(vec!["a", "B", "#c", "to do", "日本", "", "x,y"]);
    prop_oneof![
        8 => vec(tag, 0..4).prop_map(|tags| json!(tags)),
        1 => (30_usize..35).prop_map(|count| json!(vec!["same"; count])),
        1 => Just(json!(["x".repeat(65)])),
        1 => Just(json!("a")),
    ]
}

fn id() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => (1_u32..6).prop_map(|number| number.to_string()),
        1 => select(vec!["a b", "..", "search%20", "ü"]).prop_map(str::to_owned),
    ]
}

fn object(fields: Vec<(&'static str, Option<Value>)>) -> Map<String, Value> {
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

fn parts() -> impl Strategy<Value = Map<String, Value>> {
    let some = |value: BoxedStrategy<Value>| option::weighted(0.8, value);
    let string = || text().prop_map(Value::from).boxed();
    let odd = option::weighted(0.05, Just(json!(7)));
    (some(string()), some(string()), some(tags().boxed()), odd).prop_map(
        |(title, content, tags, odd)| {
            object(vec![
                ("title", title),
                ("content", content),
                ("tags", tags),
                ("odd", odd),
            ])
        },
    )
}

fn operation() -> impl Strategy<Value = Operation> {
    let version = || option::weighted(0.4, 1_u64..4);
    let limit = option::weighted(
        0.5,
        select(vec![1_u64, 2, 3, 100, 0, 101]).prop_map(Value::from),
    );
    let tag = option::weighted(
        0.3,
        select(vec!["a", "B", "to do", "", "日本"]).prop_map(Value::from),
    );
    let prefix = option::weighted(
        0.2,
        select(vec!["g", "GARDEN", "日", ""]).prop_map(Value::from),
    );
    let time = option::weighted(
        0.2,
        select(vec![
            "2026-01-31T12:01:00Z",
            "2026-01-31T14:02:00+02:00",
            "soon",
        ])
        .prop_map(Value::from),
    );
    let list = (limit.clone(), tag, prefix, time).prop_map(|(limit, tag, prefix, time)| {
        let fields = [("limit", limit), ("tag", tag), ("title_prefix", prefix)];
        object(
            fields
                .into_iter()
                .chain([("updated_after", time)])
                .collect(),
        )
    });
    let search = (text(), limit).prop_map(|(query, limit)| {
        object(vec![("query", Some(Value::from(query))), ("limit", limit)])
    });
    prop_oneof![
        4 => parts().prop_map(Operation::Create),
        2 => id().prop_map(Operation::Get),
        2 => list.prop_map(Operation::List),
        2 => search.prop_map(Operation::Search),
        4 => (id(), parts(), version()).prop_map(|(id, parts, v)| Operation::Update(id, parts, v)),
        1 => (id(), version()).prop_map(|(id, version)| Operation::Delete(id, version)),
        1 => (0_i64..90).prop_map(Operation::Wait),
    ]
}

/// The ids of the test count up, so the number of a note stands for its id on both sides.
fn note_id(number: &str) -> String {
    if number.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("note-{number}")
    } else {
        number.to_owned()
    }
}

/// A side that is driven through MCP.
struct OverMcp {
    desk: Desk,
    client: mcp_serve::test_util::Modern,
    _server: mcp_serve::test_util::TestServer,
}

impl OverMcp {
    async fn new() -> Self {
        let desk = Desk::new().await;
        let server = desk.serve().await;
        Self {
            client: server.modern(),
            desk,
            _server: server,
        }
    }

    async fn run(&mut self, operation: &Operation) -> Outcome {
        let (tool, arguments) = match operation {
            Operation::Create(new) => ("create_note", new.clone()),
            Operation::Get(id) => ("get_note", object(vec![("id", Some(json!(note_id(id))))])),
            Operation::List(query) => ("list_notes", query.clone()),
            Operation::Search(query) => ("search_notes", query.clone()),
            Operation::Update(id, parts, version) => {
                let mut arguments = parts.clone();
                arguments.insert("id".to_owned(), json!(note_id(id)));
                arguments.extend(object(vec![("expected_version", version.map(Value::from))]));
                ("update_note", arguments)
            }
            Operation::Delete(id, version) => {
                let id = Some(json!(note_id(id)));
                let version = version.map(Value::from);
                (
                    "delete_note",
                    object(vec![("id", id), ("expected_version", version)]),
                )
            }
            Operation::Wait(seconds) => return self.desk.wait(*seconds),
        };
        let params = json!({"name": tool, "arguments": arguments});
        let result = self
            .client
            .call("tools/call", params)
            .await
            .unwrap()
            .result();
        let content = &result["structuredContent"];
        let Some(error) = content.get("error") else {
            return if tool == "delete_note" {
                Outcome::Gone
            } else {
                Outcome::Done(content.clone())
            };
        };
        match error["code"].as_str().unwrap() {
            "not_found" => Outcome::NotFound,
            "conflict" => Outcome::Conflict(error["current"]["version"].as_u64().unwrap()),
            "invalid" => Outcome::Invalid(problems(&error["problems"])),
            other => panic!("{other}: {error}"),
        }
    }
}

async fn run_rest(desk: &Desk, operation: &Operation) -> Outcome {
    const NOTES: &str = "/api/v1/notes";
    let path = |id: &str| format!("{NOTES}/{}", escaped(&note_id(id)));
    let json = ("content-type", "application/json");
    let tag = |version: &Option<u64>| version.map(|version| format!("\"v{version}\""));
    let answer = match operation {
        Operation::Create(new) => {
            desk.rest("POST", NOTES, &Value::from(new.clone()).to_string())
                .await
        }
        Operation::Get(id) => desk.rest("GET", &path(id), "").await,
        Operation::List(query) => {
            desk.rest("GET", &format!("{NOTES}?{}", encoded(query)), "")
                .await
        }
        Operation::Search(query) => {
            let query = encoded(query).replace("query=", "q=");
            desk.rest("GET", &format!("{NOTES}/search?{query}"), "")
                .await
        }
        Operation::Update(id, parts, version) => {
            let version = tag(version);
            let mut headers = vec![json];
            headers.extend(version.as_deref().map(|tag| ("if-match", tag)));
            let body = Value::from(parts.clone()).to_string();
            // A whole note is replaced, a part of one is merged: for these bodies it is the same.
            let method = if parts.len() == 3 && !parts.contains_key("odd") {
                "PUT"
            } else {
                "PATCH"
            };
            desk.ask(method, &path(id), &headers, body).await
        }
        Operation::Delete(id, version) => {
            let version = tag(version);
            let headers: Vec<_> = version
                .as_deref()
                .map(|tag| ("if-match", tag))
                .into_iter()
                .collect();
            desk.ask("DELETE", &path(id), &headers, "").await
        }
        Operation::Wait(seconds) => return desk.wait(*seconds),
    };
    outcome(&answer, matches!(operation, Operation::Search(_)))
}

fn outcome(answer: &Answer, is_search: bool) -> Outcome {
    match answer.status {
        StatusCode::OK | StatusCode::CREATED => Outcome::Done(answer.json()),
        StatusCode::NO_CONTENT => Outcome::Gone,
        StatusCode::NOT_FOUND => Outcome::NotFound,
        StatusCode::PRECONDITION_FAILED => {
            Outcome::Conflict(answer.json()["current_version"].as_u64().unwrap())
        }
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            let mut found = problems(&answer.json()["errors"]);
            if is_search {
                found
                    .iter_mut()
                    .filter(|(field, _)| field == "q")
                    .for_each(|(field, _)| {
                        "query".clone_into(field);
                    });
            }
            Outcome::Invalid(found)
        }
        _ => panic!("{answer:?}"),
    }
}

impl Desk {
    fn wait(&self, seconds: i64) -> Outcome {
        self.clock.advance(jiff::SignedDuration::from_secs(seconds));
        Outcome::Gone
    }
}

fn problems(found: &Value) -> Vec<(String, String)> {
    let text = |problem: &Value, name: &str| problem[name].as_str().unwrap().to_owned();
    let all = found.as_array().unwrap().iter();
    all.map(|problem| (text(problem, "field"), text(problem, "code")))
        .collect()
}

/// REST refuses a bad id before it reads the body, MCP reads all arguments together: that both
/// refuse is what they have in common.
fn comparable(operation: &Operation, outcome: Outcome) -> Outcome {
    match (operation, outcome) {
        (Operation::Update(id, ..), Outcome::Invalid(_)) if note_id(id) == *id => {
            Outcome::Invalid(Vec::new())
        }
        (_, outcome) => outcome,
    }
}

fn encoded(query: &Map<String, Value>) -> String {
    let pairs: Vec<String> = query
        .iter()
        .map(|(name, value)| {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            format!("{name}={}", escaped(&value))
        })
        .collect();
    pairs.join("&")
}

fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

async fn everything(notes: &Notes) -> Vec<Value> {
    let Caller { owner, .. } = mcp_notes::rules::Isolation::Owner.caller(None).unwrap();
    let query = notes::ListQuery {
        limit: 100,
        ..notes::ListQuery::default()
    };
    let mut all = Vec::new();
    for preview in notes.list(&owner, &query).await.unwrap().items {
        let note = notes.get(&owner, &preview.id).await.unwrap();
        all.push(serde_json::to_value(mcp_notes::wire::NoteView::from(note)).unwrap());
    }
    all
}

#[test]
fn mcp_and_rest_are_two_faces_of_the_same_notes() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let result = runner.run(&vec(operation(), 1..24), |operations| {
        runtime.block_on(async {
            let (mut mcp, rest) = (OverMcp::new().await, Desk::new().await);
            for operation in &operations {
                let left = comparable(operation, mcp.run(operation).await);
                let right = comparable(operation, run_rest(&rest, operation).await);
                prop_assert_eq!(left, right, "{:?}", operation);
            }
            let (left, right) = (
                everything(&mcp.desk.notes).await,
                everything(&rest.notes).await,
            );
            prop_assert_eq!(left, right);
            Ok(())
        })
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
