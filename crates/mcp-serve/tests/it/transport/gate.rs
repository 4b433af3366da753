//! The gate: who may do what, how much of it, and for how long a stream stays open.

mod rates;
mod scopes;
mod streams;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use http::request::Parts;
use jiff::Timestamp;
use mcp_serve::{
    Config,
    audit::{Auditor, REASONS, Refused},
    auth::{AuthError, Authenticator, Identity, Principal, Scopes},
    limit::Class,
    policy::{Access, Demand, Operation, Policy},
    test_util::{Legacy, Modern},
};
use serde_json::json;

use super::probe::Running;

/// Knows callers by name. Scopes and expiry are part of the name that stands in `Authorization`:
/// `Bearer NAME [SECONDS] SCOPE...`.
#[derive(Default)]
struct Names {
    revoked: Mutex<HashSet<String>>,
}

#[async_trait]
impl Authenticator for Names {
    async fn authenticate(&self, parts: &Parts) -> Result<Principal, AuthError> {
        let unknown = |reason| AuthError::Unauthenticated {
            reason,
            challenge: "Bearer realm=\"test\"".into(),
        };
        let field = parts.headers.get("authorization");
        let field = field.ok_or_else(|| unknown("missing"))?.to_str().unwrap();
        let mut words = field.split(' ').skip(1).peekable();
        let name = words.next().unwrap_or_default();
        if name.is_empty() || self.revoked.lock().unwrap().contains(name) {
            return Err(unknown("unknown"));
        }
        let seconds = words.next_if(|word| word.parse::<i64>().is_ok());
        let left = seconds.map(|word| jiff::SignedDuration::from_secs(word.parse().unwrap()));
        Ok(Principal::of(Identity {
            subject: name.to_owned(),
            scopes: Some(words.collect::<Scopes>()),
            expires_at: left.map(|left| Timestamp::now() + left),
            ..Identity::default()
        }))
    }

    async fn is_current(&self, principal: &Principal) -> bool {
        !self.revoked.lock().unwrap().contains(principal.key())
    }
}

/// `slow` needs `write`, which includes `read`; `echo` and streams need `read`.
struct Rules;

impl Policy for Rules {
    fn demand(&self, operation: Operation<'_>) -> Demand {
        let (access, class) = match operation {
            Operation::Mcp {
                method: "tools/call",
                params,
            } => match params["name"].as_str() {
                Some("slow") => (Access::Scopes(&["write"]), Class::Write),
                Some("echo") => (Access::Scopes(&["read"]), Class::Search),
                _ => (Access::Known, Class::Read),
            },
            Operation::Mcp {
                method: "subscriptions/listen" | "resources/subscribe",
                ..
            }
            | Operation::McpStream => (Access::Scopes(&["read"]), Class::Read),
            Operation::Mcp {
                method: "initialize",
                ..
            } => (Access::Known, Class::Session),
            Operation::Mcp {
                method: "notifications/cancelled",
                ..
            }
            | Operation::McpEnd => (Access::Known, Class::Control),
            Operation::Http { path: "/open", .. } => (Access::Public, Class::Read),
            Operation::Http { path: "/notes", .. } => (Access::Scopes(&["write"]), Class::Write),
            _ => (Access::Known, Class::Read),
        };
        Demand {
            access,
            class: Some(class),
        }
    }

    fn implies(&self, granted: &str, needed: &str) -> bool {
        granted == needed || (granted == "write" && needed == "read")
    }
}

/// Writes down what it hears.
#[derive(Default)]
pub(crate) struct Book(Mutex<Vec<(String, String, u16, &'static str)>>);

impl Book {
    /// What it heard since it was last asked: who, what, status and reason.
    pub(crate) fn take(&self) -> Vec<(String, String, u16, &'static str)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Auditor for Book {
    fn refused(&self, refused: &Refused<'_>) {
        let is_known =
            |reason| REASONS.contains(&reason) || ["missing", "unknown"].contains(&reason);
        assert!(is_known(refused.reason), "{refused:?}");
        let who = refused.principal.map_or("-", Principal::key).to_owned();
        let entry = (
            who,
            refused.action.to_owned(),
            refused.status,
            refused.reason,
        );
        self.0.lock().unwrap().push(entry);
    }
}

fn guarded(config: &mut Config) -> (Arc<Names>, Arc<Book>) {
    let (names, book) = (Arc::new(Names::default()), Arc::new(Book::default()));
    config.authenticator = names.clone();
    config.policy = Arc::new(Rules);
    config.auditor = Some(book.clone());
    (names, book)
}

fn bearer(credential: &str) -> Vec<(String, String)> {
    vec![("Authorization".to_owned(), format!("Bearer {credential}"))]
}

fn modern(running: &Running, credential: &str) -> Modern {
    let mut modern = running.server.modern();
    modern.headers = bearer(credential);
    modern
}

async fn legacy(running: &Running, credential: &str) -> Legacy {
    let (address, headers) = (running.server.addr(), bearer(credential));
    let version = if credential.contains("batch") {
        "2025-03-26"
    } else {
        "2025-11-25"
    };
    Legacy::initialize_with(address, version, json!({}), headers)
        .await
        .unwrap()
}

/// The parameters of a structured field such as `"read";r=4;t=17`.
fn parameters(field: &str) -> HashMap<&str, u64> {
    let pairs = field.split(';').skip(1).filter_map(|it| it.split_once('='));
    pairs
        .map(|(key, value)| (key, value.parse().unwrap()))
        .collect()
}
