//! The operations of the REST API: the router and the OpenAPI document are both made from this
//! table.

use crate::action::Action;

/// Which handler does an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    List,
    Create,
    Search,
    Get,
    Replace,
    Patch,
    Delete,
}

/// One operation.
pub(super) struct Operation {
    pub(super) endpoint: Endpoint,
    /// What it does; its scope and its budget are those of the action.
    pub(super) action: Action,
    /// In lower case, as OpenAPI has it.
    pub(super) method: &'static str,
    /// Below the mount.
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) description: &'static str,
    /// Names of shared parameters of the document.
    pub(super) parameters: &'static [&'static str],
    pub(super) body: Option<Body>,
    pub(super) success: Success,
    /// Statuses beside the success and those that every operation has.
    pub(super) problems: &'static [u16],
}

/// What an operation reads.
pub(super) struct Body {
    pub(super) schema: &'static str,
    pub(super) media_types: &'static [&'static str],
}

/// What an operation answers when all went well.
pub(super) struct Success {
    pub(super) status: u16,
    pub(super) description: &'static str,
    pub(super) schema: Option<&'static str>,
    /// Whether a client that prefers it gets a page for people instead.
    pub(super) is_page_too: bool,
    /// Names of shared headers of the document.
    pub(super) headers: &'static [&'static str],
    /// Whether a client that has it already is told so with 304.
    pub(super) is_conditional: bool,
}

const PAGE: Success = Success {
    status: 200,
    description: "One page.",
    schema: None,
    is_page_too: false,
    headers: &["ETag", "CacheControl", "Link"],
    is_conditional: true,
};

const NOTE: Success = Success {
    status: 200,
    description: "The note.",
    schema: Some("Note"),
    is_page_too: false,
    headers: &["ETag", "CacheControl"],
    is_conditional: false,
};

/// Every operation, in the order in which it is documented.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        endpoint: Endpoint::List,
        action: Action::List,
        method: "get",
        path: "",
        id: "listNotes",
        summary: "List notes",
        description: "Notes with the beginning of their texts, newest change first. The link \
            `next` leads to the next page; pages are stable while notes change.",
        parameters: &[
            "limit",
            "cursor",
            "tag",
            "updated_after",
            "updated_before",
            "created_after",
            "created_before",
            "title_prefix",
            "If-None-Match",
        ],
        body: None,
        success: Success {
            schema: Some("NoteList"),
            ..PAGE
        },
        problems: &[400],
    },
    Operation {
        endpoint: Endpoint::Create,
        action: Action::Create,
        method: "post",
        path: "",
        id: "createNote",
        summary: "Create a note",
        description: "Keeps a new note. The text is kept exactly as given, or refused.",
        parameters: &[],
        body: Some(Body {
            schema: "NewNote",
            media_types: super::handlers::JSON,
        }),
        success: Success {
            status: 201,
            description: "The note was created; `Location` is where it is.",
            headers: &["Location", "ETag", "CacheControl"],
            ..NOTE
        },
        problems: &[400, 413, 415, 422],
    },
    Operation {
        endpoint: Endpoint::Search,
        action: Action::Search,
        method: "get",
        path: "/search",
        id: "searchNotes",
        summary: "Search notes",
        description: "Notes that contain all the words of `q` in title, text or tags, best match \
            first, with the text around the match. Words in double quotes must follow each other; \
            the last word may be the beginning of one.",
        parameters: &["q", "limit", "cursor", "If-None-Match"],
        body: None,
        success: Success {
            schema: Some("NoteHits"),
            ..PAGE
        },
        problems: &[400],
    },
    Operation {
        endpoint: Endpoint::Get,
        action: Action::Get,
        method: "get",
        path: "/{id}",
        id: "getNote",
        summary: "Read a note",
        description: "One whole note; as a page for people, its Markdown rendered, when `Accept` \
            prefers `text/html`.",
        parameters: &["id", "If-None-Match"],
        body: None,
        success: Success {
            is_page_too: true,
            headers: &["ETag", "CacheControl", "Vary"],
            is_conditional: true,
            ..NOTE
        },
        problems: &[400, 404],
    },
    Operation {
        endpoint: Endpoint::Replace,
        action: Action::Update,
        method: "put",
        path: "/{id}",
        id: "replaceNote",
        summary: "Replace a note",
        description: "Replaces title, text and tags together; tags that are left out are removed. \
            With `If-Match` only if the note is at the version that was read. Notes are not \
            created this way.",
        parameters: &["id", "If-Match"],
        body: Some(Body {
            schema: "NewNote",
            media_types: super::handlers::JSON,
        }),
        success: Success {
            description: "The note as it is now.",
            ..NOTE
        },
        problems: &[400, 404, 412, 413, 415, 422],
    },
    Operation {
        endpoint: Endpoint::Patch,
        action: Action::Update,
        method: "patch",
        path: "/{id}",
        id: "patchNote",
        summary: "Change parts of a note",
        description: "A merge patch (RFC 7396): replaces what is given and leaves the rest as it \
            is. With `If-Match` only if the note is at the version that was read.",
        parameters: &["id", "If-Match"],
        body: Some(Body {
            schema: "NotePatch",
            media_types: super::handlers::MERGE_PATCH,
        }),
        success: Success {
            description: "The note as it is now.",
            ..NOTE
        },
        problems: &[400, 404, 412, 413, 415, 422],
    },
    Operation {
        endpoint: Endpoint::Delete,
        action: Action::Delete,
        method: "delete",
        path: "/{id}",
        id: "deleteNote",
        summary: "Delete a note",
        description: "With `If-Match` only if the note is at the version that was read.",
        parameters: &["id", "If-Match"],
        body: None,
        success: Success {
            status: 204,
            description: "The note is deleted.",
            schema: None,
            is_page_too: false,
            headers: &[],
            is_conditional: false,
        },
        problems: &[400, 404, 412],
    },
];

/// Statuses that every operation can answer with; the server in front of all faces gives some.
pub(super) const COMMON_PROBLEMS: [u16; 8] = [401, 403, 414, 429, 431, 500, 503, 504];

impl Operation {
    /// Whether a request with this method and this path, below the mount, is for it. HEAD is
    /// answered where GET is.
    pub(super) fn takes(&self, method: &http::Method, below: &str) -> bool {
        let method = match method.as_str() {
            "HEAD" => "GET",
            other => other,
        };
        let is_note = |below: &str| {
            let id = below.strip_prefix('/');
            id.is_some_and(|id| !id.is_empty() && !id.contains('/'))
        };
        let fits = match self.path {
            "/{id}" => is_note(below) && !OPERATIONS.iter().any(|other| other.path == below),
            path => path == below,
        };
        fits && self.method.eq_ignore_ascii_case(method)
    }
}
