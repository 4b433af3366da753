//! One line of the audit log: what it may hold, and its form.

use std::{borrow::Cow, net::IpAddr};

use http::Method;
use mcp_serve::{auth::Principal, telemetry::RequestId};
use notes::{NoteId, Timestamp};
use serde::Serialize;

use super::read::{fit, is_unfit};
use crate::{action::Action, rest};

/// Every word that an operation on notes gives as its reason. The edge has words of its own.
pub const REASONS: [&str; 16] = [
    "bad-request",
    "conflict",
    "cut",
    "exists",
    "forbidden",
    "internal",
    "invalid",
    "not_found",
    "other",
    "precondition-failed",
    "read_only",
    "switched_off",
    "too-large",
    "unavailable",
    "unconfirmed",
    "unsupported-media-type",
];

/// The action of a call of a tool that there is not; the name is the caller's own.
pub const UNKNOWN_TOOL: &str = "unknown_tool";

/// Longest text that a line takes over from a credential, in characters.
const CHARS_MAX: usize = 256;

/// One thing that somebody did, or tried to do.
#[derive(Debug, Clone)]
pub struct Entry {
    /// How it came in.
    pub face: Face,
    /// What was done.
    pub action: &'static str,
    /// Whether it leaves everything as it is.
    pub is_read: bool,
    /// The request, where there is one.
    pub request_id: Option<RequestId>,
    /// Where it came from.
    pub client: Option<IpAddr>,
    /// Who did it.
    pub principal: Option<Principal>,
    /// The note, or the name of the token.
    pub note: Option<NoteId>,
    /// The credential that it is about, by its id.
    pub token: Option<String>,
    /// The version that the note has now.
    pub version: Option<u64>,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it was refused or failed, in one word of a bounded set; empty when it was done.
    pub reason: &'static str,
    /// The HTTP status of the answer, where it says something.
    pub status: Option<u16>,
    /// How many such there were, when the line stands for more than one.
    pub count: Option<u64>,
}

/// How something came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Face {
    /// MCP over HTTP.
    Mcp,
    /// The REST API, the pages and everything else over HTTP.
    Rest,
    /// MCP over standard input and output.
    Stdio,
    /// A command.
    Cli,
    /// The server itself.
    Server,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    Ok,
    /// It was not done, because of who asked or what was asked.
    Refused,
    /// It was not done, because something failed; or nobody knows, because it was cut off.
    Failed,
}

impl Entry {
    /// An action that failed, until something better is known.
    pub fn new(face: Face, action: &'static str) -> Self {
        Self {
            face,
            action,
            is_read: false,
            request_id: None,
            client: None,
            principal: None,
            note: None,
            token: None,
            version: None,
            outcome: Outcome::Failed,
            reason: "cut",
            status: None,
            count: None,
        }
    }

    /// The line, with its end.
    pub(super) fn to_line(&self, time: Timestamp) -> Vec<u8> {
        let line = Line {
            time: format!("{time:.3}"),
            target: "audit",
            request_id: self.request_id.as_ref().map(RequestId::as_str),
            face: self.face,
            action: self.action,
            note: self.note.as_ref().map(NoteId::as_str),
            token: self.token.as_deref().map(bounded),
            version: self.version,
            outcome: self.outcome,
            reason: Some(self.reason).filter(|reason| !reason.is_empty()),
            status: self.status,
            client: self.client,
            principal: self.principal.as_ref().map(who),
            count: self.count,
        };
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    target: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    face: Face,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<Who<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

#[derive(Serialize)]
struct Who<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<Cow<'a, str>>,
    subject: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor_issuer: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<Cow<'a, str>>,
}

fn who(principal: &Principal) -> Who<'_> {
    let identity = principal.identity();
    let subject = if principal.is_anonymous() {
        principal.key()
    } else {
        &identity.subject
    };
    let actor = identity.actor.as_ref();
    Who {
        issuer: text(identity.issuer.as_ref()),
        subject: bounded(subject),
        client_id: text(identity.client_id.as_ref()),
        actor: actor.map(|actor| bounded(&actor.subject)),
        actor_issuer: actor.and_then(|actor| text(actor.issuer.as_ref())),
        credential: text(identity.credential.as_ref()),
    }
}

fn text(given: Option<&String>) -> Option<Cow<'_, str>> {
    given.map(|text| bounded(text))
}

/// Text from outside, cut to its bound, with nothing in it that does something to a terminal.
fn bounded(text: &str) -> Cow<'_, str> {
    if text.len() <= CHARS_MAX && !text.contains(is_unfit) {
        return text.into();
    }
    text.chars().take(CHARS_MAX).map(fit).collect()
}

/// The names of what the edge refuses: `METHOD PATH` over HTTP, or a method of MCP and what it is
/// about. Whatever the caller chose freely is not taken over.
pub(super) fn action_of_request(text: &str) -> (Face, &'static str) {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    let is_mcp_path = |path: &str| matches!(path.trim_end_matches('/'), "/mcp" | "/api/v1/mcp");
    // No method of MCP is about a path.
    if !rest.starts_with('/')
        && let Some(action) = action_of_method(first, rest)
    {
        return (Face::Mcp, action);
    }
    if is_mcp_path(rest) {
        return (Face::Mcp, "mcp");
    }
    let action = Method::from_bytes(first.as_bytes())
        .ok()
        .and_then(|method| rest::action(&method, rest));
    (Face::Rest, action.map_or("http", Action::tool))
}

/// What the method of MCP is called here, where it is about notes; its own name otherwise.
fn action_of_method(method: &str, about: &str) -> Option<&'static str> {
    Some(match method {
        "tools/call" => Action::of_tool(about).map_or(UNKNOWN_TOOL, Action::tool),
        "resources/list" => "list_resources",
        "resources/read" => "read_resource",
        "resources/subscribe" => "subscribe",
        "resources/unsubscribe" => "unsubscribe",
        "subscriptions/listen" => "listen",
        "prompts/get" => "get_prompt",
        "completion/complete" => "complete",
        "initialize" => "initialize",
        "ping" => "ping",
        "server/discover" => "discover",
        "tools/list" => "list_tools",
        "prompts/list" => "list_prompts",
        "resources/templates/list" => "list_resource_templates",
        "logging/setLevel" => "set_level",
        "batch" => "batch",
        // Neither has a name that is not the caller's own.
        "response" | "other" => "mcp",
        _ if method.starts_with("notifications/") => "notification",
        _ => return None,
    })
}
