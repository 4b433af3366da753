//! What a request asks for: which scopes it needs and which budget it comes out of.

use http::Method;
use rmcp::model::JsonObject;

use crate::{auth::Scopes, limit::Class};

/// What a caller wants done, as far as it is known before anything is done.
#[derive(Debug, Clone, Copy)]
pub enum Operation<'a> {
    /// A message of MCP, by what its body says.
    Mcp {
        /// Its method; `response` for an answer to a request of the server, `malformed` for what
        /// cannot be read.
        method: &'a str,
        /// Its parameters, without `_meta`.
        params: &'a JsonObject,
    },
    /// A GET on an MCP path: the stream of a session.
    McpStream,
    /// A DELETE on an MCP path: the end of a session.
    McpEnd,
    /// A request outside the MCP paths.
    Http {
        /// Its method.
        method: &'a Method,
        /// Its path.
        path: &'a str,
    },
}

/// What an operation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Who may ask for it.
    pub access: Access,
    /// The budget that it comes out of; `None` when it is free.
    pub class: Option<Class>,
}

/// Who may ask for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody, without a credential. Only outside the MCP paths.
    Public,
    /// Every caller that is known.
    Known,
    /// Known callers whose credential has all of these scopes.
    Scopes(&'static [&'static str]),
}

/// Says what each operation takes.
pub trait Policy: Send + Sync + 'static {
    /// What `operation` takes.
    fn demand(&self, operation: Operation<'_>) -> Demand;

    /// Whether a credential with the scope `granted` may do what needs the scope `needed`, where
    /// scopes include each other. By default only the same scope does.
    fn implies(&self, granted: &str, needed: &str) -> bool {
        granted == needed
    }

    /// The scopes that a client should ask for to begin with (MCP authorization, "Scope Selection").
    fn basic_scopes(&self) -> Scopes {
        Scopes::default()
    }
}

/// Every known caller may do everything; opening a session and everything else have budgets apart.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unscoped;

impl Policy for Unscoped {
    fn demand(&self, operation: Operation<'_>) -> Demand {
        let class = match operation {
            Operation::Mcp {
                method: "initialize",
                ..
            } => Class::Session,
            Operation::Mcp {
                method: "tools/call",
                ..
            } => Class::Write,
            Operation::Mcp {
                method: "response" | "notifications/cancelled",
                ..
            }
            | Operation::McpEnd => Class::Control,
            Operation::Http { method, .. } if !method.is_safe() => Class::Write,
            _ => Class::Read,
        };
        Demand {
            access: Access::Known,
            class: Some(class),
        }
    }
}
