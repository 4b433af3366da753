//! The differences between rmcp's transport and ours that are meant: which, why, and what follows
//! from each for an answer of rmcp's.
//!
//! In brackets: the numbers of the requirement (M, L, S) and of the gap in rmcp's transport (G).

mod bodies;
mod streams;

use std::{fmt, ptr};

use serde_json::{Value, json};

use super::{
    exchange::{MODERN, Request, Script, Step},
    wire::{Answer, Form},
};

/// One exchange with rmcp's transport.
pub(super) struct Case<'a> {
    pub(super) script: &'a Script,
    pub(super) step: &'a Step,
    pub(super) theirs: &'a Answer,
    /// The request as JSON, `Null` when it is none.
    pub(super) message: Value,
}

/// What ours is to answer, and which differences made it so.
pub(super) struct Expected {
    pub(super) answer: Answer,
    pub(super) because: Vec<&'static str>,
}

/// A difference that is meant.
struct Difference {
    name: &'static str,
    why: &'static str,
    /// Turns rmcp's answer into ours, where it applies.
    apply: fn(&Case<'_>, &mut Answer),
}

/// All of them, in the order in which they apply.
const ALL: [Difference; 20] = [
    Difference {
        name: "foreign origins are refused",
        why: "every request's Origin must be checked; rmcp does it only where told to",
        apply: foreign_origin,
    },
    Difference {
        name: "what is no JSON is a parse error",
        why: "JSON-RPC 2.0, 5.1: -32700, with 400; rmcp says 415 in plain text",
        apply: bodies::not_json,
    },
    Difference {
        name: "what is no message is an invalid request",
        why: "JSON-RPC 2.0, 5.1: -32600, with the id if there is one; rmcp: 415 as text",
        apply: bodies::not_a_message,
    },
    Difference {
        name: "parameters that are no object are invalid parameters",
        why: "JSON-RPC 2.0, 5.1: -32602; rmcp: 415 in plain text",
        apply: bodies::params_no_object,
    },
    Difference {
        name: "malformed parameters are invalid parameters",
        why: "-32602 and 200; rmcp says -32601 and, in the new revision, 404",
        apply: bodies::malformed_params,
    },
    Difference {
        name: "a cursor is a string",
        why: "an invalid cursor is -32602; rmcp reads what is no string as no cursor",
        apply: bodies::malformed_cursor,
    },
    Difference {
        name: "arguments are held to their schema",
        why: "inputs must be validated; rmcp advertises limits without enforcing them",
        apply: bodies::arguments_against_schema,
    },
    Difference {
        name: "initialize without parameters is answered in JSON-RPC",
        why: "it is a request like others; rmcp: 400 in plain text",
        apply: incomplete_initialize,
    },
    Difference {
        name: "removed methods are not found whatever their headers say",
        why: "404 and -32601; rmcp misses Mcp-Name first",
        apply: removed_method,
    },
    Difference {
        name: "notifications need no headers",
        why: "the revision has no header rules for notifications; accepted with 202",
        apply: notification,
    },
    Difference {
        name: "a session has one version",
        why: "a header that contradicts what was negotiated is 400; rmcp takes it",
        apply: other_version,
    },
    Difference {
        name: "an ended or unknown session is not found, for DELETE too",
        why: "404, so that a client knows; rmcp says 202",
        apply: dead_session,
    },
    Difference {
        name: "DELETE has no content to wait for",
        why: "any 2xx will do; 204 says that the session is gone, 202 that it will be",
        apply: deleted,
    },
    Difference {
        name: "refusals are JSON-RPC errors",
        why: "a client tells the eras apart by them; rmcp's are plain text",
        apply: plain_text,
    },
    Difference {
        name: "log messages of a call are on its stream",
        why: "they belong to it; rmcp sends them to the stream of the session, or nowhere",
        apply: streams::log_messages,
    },
    Difference {
        name: "a tool can close its stream",
        why: "the result waits for GET and Last-Event-ID; rmcp's tools have no way to (SEP-1699)",
        apply: streams::closed,
    },
    Difference {
        name: "one message is JSON",
        why: "a stream is only opened where something streams; rmcp opens one always",
        apply: streams::json,
    },
    Difference {
        name: "who takes only events gets events",
        why: "both forms are allowed; rmcp refuses such a client with 406",
        apply: streams::only_events,
    },
    Difference {
        name: "streams are primed from revision 2025-11-25 on",
        why: "an event without data is of that revision; rmcp sends it to all",
        apply: streams::priming,
    },
    Difference {
        name: "discovery may be kept for a while",
        why: "hints are set for each method; rmcp's say that everything is stale at once",
        apply: hints,
    },
];

/// Applied to what the others made: not a difference of single exchanges.
const LAST: Difference = Difference {
    name: "every modern result says who the server is",
    why: "rmcp says it only in server/discover and at the end of a subscription",
    apply: server_info,
};

/// A difference in what is taken: rmcp is sent what it takes, ours what the step says.
const REPHRASED: &str = "one of the two media types is enough, and none is any (RFC 9110, 12.5.1); \
                         rmcp wants both (406)";

/// How often each difference occurred.
#[derive(Default)]
pub(super) struct Tally {
    counts: [usize; ALL.len()],
    last: usize,
    rephrased: usize,
}

impl Tally {
    /// The step as rmcp's transport takes it.
    pub(super) fn rephrase(&mut self, step: &Step) -> Step {
        let request = &step.request;
        let takes = |media: &str| {
            matches!(
                media.trim(),
                "application/json" | "text/event-stream" | "*/*"
            )
        };
        let accept = request.value("accept");
        let enough = accept.is_none_or(|accept| accept.split(',').any(takes));
        let both = accept.is_some_and(|accept| accept.contains("json") && accept.contains("event"));
        if request.verb != "POST" || !enough || both {
            return step.clone();
        }
        self.rephrased += 1;
        let all = "application/json, text/event-stream";
        Step {
            request: request.clone().reheader("Accept", Some(all)),
            ..step.clone()
        }
    }

    pub(super) fn expect(&mut self, case: &Case<'_>) -> Expected {
        let mut answer = case.theirs.clone();
        let mut because = Vec::new();
        let counted = ALL
            .iter()
            .zip(&mut self.counts)
            .chain([(&LAST, &mut self.last)]);
        for (difference, count) in counted {
            let before = answer.clone();
            (difference.apply)(case, &mut answer);
            if answer != before {
                *count += 1;
                because.push(difference.name);
            }
        }
        Expected { answer, because }
    }

    /// The differences that did not occur.
    pub(super) fn unused(&self) -> Vec<&'static str> {
        let rephrased = (self.rephrased == 0).then_some(REPHRASED);
        let unused = self.all().filter(|(_, count)| *count == 0);
        unused
            .map(|(difference, _)| difference.name)
            .chain(rephrased)
            .collect()
    }

    fn all(&self) -> impl Iterator<Item = (&'static Difference, usize)> {
        ALL.iter().zip(self.counts).chain([(&LAST, self.last)])
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (difference, count) in self.all() {
            write!(f, "\n  {count:>4} {} ({})", difference.name, difference.why)?;
        }
        write!(f, "\n  {:>4} {REPHRASED}", self.rephrased)
    }
}

impl Case<'_> {
    fn request(&self) -> &Request {
        &self.step.request
    }

    fn method(&self) -> &str {
        self.message["method"].as_str().unwrap_or_default()
    }

    /// The rule by which both transports tell the eras apart.
    fn is_modern(&self) -> bool {
        let meta = &self.message["params"]["_meta"];
        let named = !meta["io.modelcontextprotocol/protocolVersion"].is_null();
        let header = self
            .request()
            .value("mcp-protocol-version")
            .unwrap_or_default();
        named || header == MODERN || self.method() == "server/discover"
    }

    /// The id of the request, if it has one that JSON-RPC allows.
    fn id(&self) -> Option<Value> {
        let id = &self.message["id"];
        (id.is_string() || id.is_i64()).then(|| id.clone())
    }

    /// Whether the script ended the session before this step, or never had the one it names.
    fn is_session_dead(&self) -> bool {
        let before = self
            .script
            .steps
            .iter()
            .take_while(|step| !ptr::eq(*step, self.step));
        let named = self.request().value("mcp-session-id");
        named.is_some_and(|id| id != "{{session}}")
            || before.into_iter().any(|step| step.request.verb == "DELETE")
    }
}

/// Makes an answer a JSON-RPC error.
fn refuse(answer: &mut Answer, status: u16, code: i32, id: Option<Value>) {
    let mut message = json!({ "jsonrpc": "2.0", "error": { "code": code, "message": "worded" } });
    if let Some(id) = id {
        message["id"] = id;
    }
    *answer = Answer {
        status,
        form: Form::Json,
        messages: vec![message],
        ..Answer::default()
    };
}

fn code(answer: &Answer) -> Option<i64> {
    answer.messages.last()?["error"]["code"].as_i64()
}

fn foreign_origin(case: &Case<'_>, answer: &mut Answer) {
    let origin = case.request().value("origin");
    if origin.is_some_and(|origin| !origin.starts_with("http://localhost")) {
        refuse(answer, 403, -32600, None);
    }
}

fn incomplete_initialize(case: &Case<'_>, answer: &mut Answer) {
    if case.method() == "initialize" && answer.status == 400 && answer.form == Form::Text {
        refuse(answer, 200, -32602, case.id());
    }
}

fn removed_method(case: &Case<'_>, answer: &mut Answer) {
    let removed = ["resources/subscribe", "resources/unsubscribe"].contains(&case.method());
    if removed && case.is_modern() && code(answer) == Some(-32020) {
        refuse(answer, 404, -32601, case.id());
    }
}

fn notification(case: &Case<'_>, answer: &mut Answer) {
    let is_notification = case.message["method"].is_string() && case.message.get("id").is_none();
    if is_notification && case.is_modern() && code(answer) == Some(-32020) {
        *answer = Answer {
            status: 202,
            ..Answer::default()
        };
    }
}

fn other_version(case: &Case<'_>, answer: &mut Answer) {
    let Some(version) = case.script.version else {
        return;
    };
    let header = case.request().value("mcp-protocol-version");
    let other = header.is_some_and(|header| header != version);
    if other && answer.status == 200 && !case.is_modern() && case.method() != "initialize" {
        refuse(answer, 400, -32000, case.id());
    }
}

fn dead_session(case: &Case<'_>, answer: &mut Answer) {
    if case.request().verb == "DELETE" && answer.status == 202 && case.is_session_dead() {
        refuse(answer, 404, -32001, None);
    }
}

fn deleted(case: &Case<'_>, answer: &mut Answer) {
    if case.request().verb == "DELETE" && answer.status == 202 {
        answer.status = 204;
    }
}

fn plain_text(case: &Case<'_>, answer: &mut Answer) {
    if answer.form != Form::Text {
        return;
    }
    let version = case.request().value("mcp-protocol-version");
    // Taken for a request of a later revision, which says in `_meta` what it is.
    let later = version.is_some_and(|version| version > MODERN && version.starts_with("20"));
    let (code, id) = match answer.status {
        404 => (-32001, case.id()),
        400 if later => (-32602, case.id()),
        400 => (-32000, case.id()),
        _ => (-32600, None),
    };
    refuse(answer, answer.status, code, id);
}

fn hints(case: &Case<'_>, answer: &mut Answer) {
    if !case.is_modern() || case.method() != "server/discover" {
        return;
    }
    for message in &mut answer.messages {
        if message["result"]["ttlMs"] == 0 {
            message["result"]["ttlMs"] = json!(300_000);
        }
    }
}

fn server_info(case: &Case<'_>, answer: &mut Answer) {
    if !case.is_modern() {
        return;
    }
    for message in &mut answer.messages {
        if message["result"].is_object() {
            let info = json!({ "name": "conformance-fixture", "version": "1.0.0" });
            message["result"]["_meta"]["io.modelcontextprotocol/serverInfo"] = info;
        }
    }
}
