//! Two people do anything over any face, and neither ever sees a trace of the other.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestRunner};
use serde_json::{Value, json};

use super::{NOTES, apart};
use crate::people::Person;

#[derive(Clone, Debug)]
enum Deed {
    Create(&'static str),
    Get(u32),
    Read(u32),
    List,
    Tagged,
    Search,
    Resources,
    Update(u32),
    Delete(u32),
    CompleteId,
    CompleteTag,
    Prompt(&'static str, u32),
}

/// Who does it, and over which face where there are two.
type Step = (bool, bool, Deed);

fn step() -> impl Strategy<Value = Step> {
    // Few ids, so that people often ask for those of each other.
    let number = || 1_u32..10;
    let prompt = select(vec![
        "find_related",
        "summarize_note",
        "tidy_tags",
        "weekly_review",
    ]);
    let deed = prop_oneof![
        4 => select(vec!["plan", "Garden", "日本"]).prop_map(Deed::Create),
        2 => number().prop_map(Deed::Get),
        1 => number().prop_map(Deed::Read),
        2 => Just(Deed::List),
        1 => Just(Deed::Tagged),
        2 => Just(Deed::Search),
        1 => Just(Deed::Resources),
        2 => number().prop_map(Deed::Update),
        1 => number().prop_map(Deed::Delete),
        1 => Just(Deed::CompleteId),
        1 => Just(Deed::CompleteTag),
        1 => (prompt, number()).prop_map(|(name, number)| Deed::Prompt(name, number)),
    ];
    (any::<bool>(), any::<bool>(), deed)
}

/// Somebody, with the ids of the notes that it has.
struct Actor {
    person: Person,
    /// Stands in every title, text and tag of this person, and in nothing else.
    mark: &'static str,
    notes: BTreeSet<String>,
}

impl Actor {
    /// Does it and gives all that was answered.
    async fn act(&mut self, over_rest: bool, deed: &Deed) -> String {
        let id = |number: &u32| format!("note-{number}");
        let mark = self.mark;
        let note = |title: &str| {
            json!({"title": format!("{title} {mark}"), "content": format!("common {mark}"),
                "tags": [format!("tag-{mark}"), "same"]})
        };
        let complete = |reference: Value, name: &str| json!({"ref": reference, "argument": {"name": name, "value": ""}});
        let with_id = |mut arguments: Value, id: String| {
            arguments["id"] = id.into();
            arguments
        };
        let (method, path, body) = match deed {
            Deed::Create(title) => ("POST", NOTES.to_owned(), note(title)),
            Deed::Get(n) => ("GET", format!("{NOTES}/{}", id(n)), Value::Null),
            Deed::List => ("GET", format!("{NOTES}?limit=100"), Value::Null),
            Deed::Tagged => ("GET", format!("{NOTES}?limit=100&tag=same"), Value::Null),
            Deed::Search => (
                "GET",
                format!("{NOTES}/search?limit=100&q=common"),
                Value::Null,
            ),
            Deed::Update(n) => ("PUT", format!("{NOTES}/{}", id(n)), note("new")),
            Deed::Delete(n) => ("DELETE", format!("{NOTES}/{}", id(n)), Value::Null),
            _ => ("", String::new(), Value::Null),
        };
        if over_rest && !method.is_empty() {
            let answer = self.person.rest(method, &path, &body.to_string()).await;
            return format!("{:?} {}", answer.headers, answer.text());
        }
        let resource = || json!({"type": "ref/resource", "uri": "note:///{id}"});
        let review = || json!({"type": "ref/prompt", "name": "weekly_review"});
        let tool = |name: &str, arguments: Value| {
            ("tools/call", json!({"name": name, "arguments": arguments}))
        };
        let (method, params) = match deed {
            Deed::Create(title) => tool("create_note", note(title)),
            Deed::Get(n) => tool("get_note", json!({"id": id(n)})),
            Deed::Read(n) => (
                "resources/read",
                json!({"uri": format!("note:///{}", id(n))}),
            ),
            Deed::List => tool("list_notes", json!({"limit": 100})),
            Deed::Tagged => tool("list_notes", json!({"limit": 100, "tag": "same"})),
            Deed::Search => tool("search_notes", json!({"limit": 100, "query": "common"})),
            Deed::Resources => ("resources/list", json!({})),
            Deed::Update(n) => tool("update_note", with_id(note("new"), id(n))),
            Deed::Delete(n) => tool("delete_note", json!({"id": id(n)})),
            Deed::CompleteId => ("completion/complete", complete(resource(), "id")),
            Deed::CompleteTag => ("completion/complete", complete(review(), "tag")),
            Deed::Prompt(name @ ("find_related" | "summarize_note"), n) => {
                let arguments = json!({"note_id": id(n)});
                ("prompts/get", json!({"name": name, "arguments": arguments}))
            }
            Deed::Prompt(name, _) => ("prompts/get", json!({"name": name})),
        };
        let answer = self.person.mcp(method, params).await;
        answer.last().to_string()
    }

    /// Takes note of what was done, and checks what was shown.
    fn learn(&mut self, deed: &Deed, answer: &str, other: &Actor) -> Result<(), TestCaseError> {
        prop_assert!(!answer.contains(other.mark), "{deed:?}: {answer}");
        let asked = match deed {
            Deed::Get(n)
            | Deed::Read(n)
            | Deed::Update(n)
            | Deed::Delete(n)
            | Deed::Prompt(_, n) => Some(format!("note-{n}")),
            _ => None,
        };
        if let Deed::Create(_) = deed {
            let known: Vec<_> = ids(answer).collect();
            let first = known.first().expect("an id");
            self.notes.insert(first.clone());
        }
        for id in ids(answer).filter(|id| Some(id) != asked.as_ref()) {
            prop_assert!(self.notes.contains(&id), "{deed:?}: {id} in {answer}");
        }
        if let Deed::Delete(n) = deed {
            self.notes.remove(&format!("note-{n}"));
        }
        let count = self.notes.len();
        let total = format!("\"total\":{count}");
        let tags = format!("\"total\":{}", if count > 0 { 2 } else { 0 });
        match deed {
            Deed::List | Deed::Tagged | Deed::Search | Deed::CompleteId => {
                prop_assert!(answer.contains(&total), "{deed:?}, {count}: {answer}");
            }
            Deed::CompleteTag => {
                prop_assert!(answer.contains(&tags), "{deed:?}, {count}: {answer}");
            }
            _ => {}
        }
        Ok(())
    }
}

/// Every id of a note in `text`.
fn ids(text: &str) -> impl Iterator<Item = String> {
    text.split("note-").skip(1).filter_map(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        (!digits.is_empty()).then(|| format!("note-{digits}"))
    })
}

#[test]
fn two_people_never_see_a_trace_of_each_other() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let result = runner.run(&vec(step(), 1..32), |steps| {
        runtime.block_on(async {
            let (_desk, _server, ann, bob) = apart().await;
            let actor = |person, mark| Actor {
                person,
                mark,
                notes: BTreeSet::new(),
            };
            let (mut ann, mut bob) = (actor(ann, "annmark"), actor(bob, "bobmark"));
            for (is_ann, over_rest, deed) in &steps {
                let (one, other) = if *is_ann {
                    (&mut ann, &bob)
                } else {
                    (&mut bob, &ann)
                };
                let answer = one.act(*over_rest, deed).await;
                one.learn(deed, &answer, other)?;
            }
            Ok(())
        })
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
