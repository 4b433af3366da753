//! What can be done with notes: each action with its tool, its scope and its budget, the same
//! whichever face it comes through.

use mcp_serve::{
    limit::Class,
    policy::{Access, Demand},
};

/// Something that can be done with notes. A tool and the REST operations that do the same share
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Keep a new note.
    Create,
    /// Read a note.
    Get,
    /// List notes.
    List,
    /// Search notes.
    Search,
    /// Change a note.
    Update,
    /// Delete a note.
    Delete,
}

/// Allows reading: get, list, search, resources, prompts, completion, subscriptions.
pub const READ: &str = "notes:read";
/// Allows creating and changing notes, and all that [`READ`] allows.
pub const WRITE: &str = "notes:write";
/// Allows deleting notes, and all that [`READ`] allows.
pub const DELETE: &str = "notes:delete";
/// Allows everything.
pub const ADMIN: &str = "notes:admin";

/// What an operation that reads takes.
pub const READS: Demand = demand(READ_ONLY, Class::Read);
/// What an operation takes that looks through all notes.
pub const SEARCHES: Demand = demand(READ_ONLY, Class::Search);

const READ_ONLY: &[&str] = &[READ];

impl Action {
    /// Every action, in the order in which the tools are listed.
    pub const ALL: [Self; 6] = [
        Self::Create,
        Self::Get,
        Self::List,
        Self::Search,
        Self::Update,
        Self::Delete,
    ];

    /// The name of its tool.
    pub const fn tool(self) -> &'static str {
        match self {
            Self::Create => "create_note",
            Self::Get => "get_note",
            Self::List => "list_notes",
            Self::Search => "search_notes",
            Self::Update => "update_note",
            Self::Delete => "delete_note",
        }
    }

    /// The action of the tool `name`.
    pub fn of_tool(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.tool() == name)
    }

    /// Whether it changes notes.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::Delete)
    }

    /// What it takes.
    pub const fn demand(self) -> Demand {
        match self {
            Self::Create | Self::Update => demand(&[WRITE], Class::Write),
            Self::Delete => demand(&[DELETE], Class::Write),
            Self::Get | Self::List => READS,
            Self::Search => SEARCHES,
        }
    }
}

const fn demand(scopes: &'static [&'static str], class: Class) -> Demand {
    Demand {
        access: Access::Scopes(scopes),
        class: Some(class),
    }
}
