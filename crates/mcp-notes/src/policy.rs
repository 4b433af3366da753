//! Who may do what with notes, and out of which budget: decided by what a request does, never by
//! what its header fields say.
//!
//! The scopes are `notes:read`, `notes:write`, `notes:delete` and `notes:admin`. Who may write or
//! delete may also read, because both answer with notes; writing does not include deleting, nor
//! deleting writing; `notes:admin` includes everything.

use http::Method;
use mcp_serve::{
    auth::Scopes,
    limit::Class,
    policy::{Access, Demand, Operation, Policy},
};
use rmcp::model::JsonObject;
use serde_json::Value;

use crate::{
    action::{ADMIN, Action, DELETE, READ, READS, SEARCHES, WRITE},
    rest,
    rules::Rules,
    web,
};

/// The policy of the notes server.
#[derive(Clone, Debug, Default)]
pub struct NotesPolicy {
    rules: Rules,
}

impl NotesPolicy {
    /// The policy of a server with these rules. What they allow to nobody needs no scope: no
    /// credential would help.
    pub fn new(rules: Rules) -> Self {
        Self { rules }
    }

    fn of(&self, action: Option<Action>) -> Demand {
        let allowed = action.filter(|action| self.rules.allow(*action));
        allowed.map_or(KNOWN, Action::demand)
    }
}

/// What is the same for everybody and shows no note.
const KNOWN: Demand = Demand {
    access: Access::Known,
    class: Some(Class::Read),
};

/// What belongs to a running call, or ends a session.
const CONTROL: Demand = Demand {
    access: Access::Known,
    class: Some(Class::Control),
};

/// Pages that hold no notes.
const PUBLIC: Demand = Demand {
    access: Access::Public,
    class: Some(Class::Read),
};

impl Policy for NotesPolicy {
    fn demand(&self, operation: Operation<'_>) -> Demand {
        match operation {
            Operation::Mcp { method, params } => self.of_method(method, params),
            Operation::McpStream => READS,
            Operation::McpEnd => CONTROL,
            Operation::Http { method, path } => self.of_path(method, path),
        }
    }

    fn implies(&self, granted: &str, needed: &str) -> bool {
        granted == needed
            || match granted {
                ADMIN => [READ, WRITE, DELETE].contains(&needed),
                WRITE | DELETE => needed == READ,
                _ => false,
            }
    }

    /// Reading: whoever wants to change notes is asked for more when it comes to that.
    fn basic_scopes(&self) -> Scopes {
        [READ].into_iter().collect()
    }
}

impl NotesPolicy {
    fn of_method(&self, method: &str, params: &JsonObject) -> Demand {
        match method {
            "tools/call" => {
                let name = params.get("name").and_then(Value::as_str);
                // What is no tool is refused by the handler.
                self.of(name.and_then(Action::of_tool))
            }
            "resources/list"
            | "resources/read"
            | "resources/subscribe"
            | "resources/unsubscribe"
            | "subscriptions/listen" => READS,
            // Both look through all notes.
            "prompts/get" | "completion/complete" => SEARCHES,
            "initialize" => Demand {
                class: Some(Class::Session),
                ..KNOWN
            },
            "response" | "notifications/cancelled" => CONTROL,
            _ => KNOWN,
        }
    }

    fn of_path(&self, method: &Method, path: &str) -> Demand {
        if web::PATHS.contains(&path) {
            return PUBLIC;
        }
        self.of(rest::action(method, path))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A tool, what it takes, and the requests to the REST API that do the same.
    type Row = (
        &'static str,
        Demand,
        &'static [(&'static str, &'static str)],
    );

    fn mcp(method: &str, params: &Value) -> Demand {
        let params = params.as_object().unwrap();
        NotesPolicy::default().demand(Operation::Mcp { method, params })
    }

    fn http(method: &str, path: &str) -> Demand {
        let method = &method.parse().unwrap();
        NotesPolicy::default().demand(Operation::Http { method, path })
    }

    fn takes(scope: &'static [&'static str], class: Class) -> Demand {
        Demand {
            access: Access::Scopes(scope),
            class: Some(class),
        }
    }

    #[test]
    fn every_tool_and_every_rest_operation_has_its_demand_and_twins_agree() {
        let (read, search) = (takes(&[READ], Class::Read), takes(&[READ], Class::Search));
        let (write, delete) = (
            takes(&[WRITE], Class::Write),
            takes(&[DELETE], Class::Write),
        );
        let table: [Row; 6] = [
            ("create_note", write, &[("POST", "")]),
            ("get_note", read, &[("GET", "/a"), ("HEAD", "/a")]),
            ("list_notes", read, &[("GET", ""), ("HEAD", "")]),
            (
                "search_notes",
                search,
                &[("GET", "/search"), ("HEAD", "/search")],
            ),
            ("update_note", write, &[("PUT", "/a"), ("PATCH", "/a")]),
            ("delete_note", delete, &[("DELETE", "/a")]),
        ];
        assert_eq!(
            table.map(|(tool, ..)| tool),
            Action::ALL.map(Action::tool),
            "a tool is missing in this test"
        );
        let mut operations = 0;
        for (tool, demand, twins) in table {
            let called = mcp("tools/call", &json!({"name": tool, "arguments": {}}));
            assert_eq!(called, demand, "{tool}");
            for (method, below) in twins {
                operations += usize::from(*method != "HEAD");
                for mount in rest::MOUNTS {
                    assert_eq!(http(method, &format!("{mount}{below}")), demand, "{tool}");
                }
            }
        }
        assert_eq!(
            operations,
            rest::operations(),
            "an operation is missing in this test"
        );
    }

    #[test]
    fn whatever_shows_notes_needs_a_scope_and_nothing_else_does() {
        let none = json!({});
        for method in [
            "resources/list",
            "resources/read",
            "resources/subscribe",
            "resources/unsubscribe",
            "subscriptions/listen",
        ] {
            assert_eq!(mcp(method, &none), READS, "{method}");
        }
        for method in ["prompts/get", "completion/complete"] {
            assert_eq!(mcp(method, &none), SEARCHES, "{method}");
        }
        assert_eq!(NotesPolicy::default().demand(Operation::McpStream), READS);
        for method in [
            "server/discover",
            "ping",
            "tools/list",
            "prompts/list",
            "resources/templates/list",
            "logging/setLevel",
            "notifications/initialized",
            "no/such",
        ] {
            assert_eq!(mcp(method, &none), KNOWN, "{method}");
        }
        assert_eq!(mcp("initialize", &none).class, Some(Class::Session));
        assert_eq!(mcp("initialize", &none).access, Access::Known);
        for odd in [
            json!({}),
            json!({"name": 7}),
            json!({"name": "Delete_note"}),
        ] {
            assert_eq!(mcp("tools/call", &odd), KNOWN, "{odd}");
        }
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/api/v1/notes/"),
            ("DELETE", "/api/v1/notes"),
            ("GET", "/api/v1/notes/a/b"),
            ("GET", "/api/v1/notesx"),
            ("TRACE", "/api/v1/notes/a"),
        ] {
            assert_eq!(http(method, path), KNOWN, "{method} {path}");
        }
        assert_eq!(http("GET", "/api/v1/docs"), PUBLIC);
        assert_eq!(http("GET", "/api/v1/openapi.json"), PUBLIC);
    }

    #[test]
    fn scopes_include_each_other_as_documented() {
        let all = [READ, WRITE, DELETE, ADMIN, "notes", ""];
        let included: Vec<(&str, &str)> = all
            .iter()
            .flat_map(|granted| all.map(|needed| (*granted, needed)))
            .filter(|(granted, needed)| {
                granted != needed && NotesPolicy::default().implies(granted, needed)
            })
            .collect();
        assert_eq!(
            included,
            [
                (WRITE, READ),
                (DELETE, READ),
                (ADMIN, READ),
                (ADMIN, WRITE),
                (ADMIN, DELETE),
            ]
        );
    }
}
