//! The OpenAPI 3.1 document, made from the table of operations and the schemas of the wire shapes.

use notes::Limits;
use serde_json::{Map, Value, json};

use super::{
    handlers::{LIST_NAMES, SEARCH_NAMES},
    table::{COMMON_PROBLEMS, Endpoint, OPERATIONS, Operation},
};
use crate::{
    error_map::{Kind, Problem},
    rules::Rules,
    wire::{ListNotes, SearchNotes, Shape, components, input_schema},
};

/// The document that describes the API for notes with these limits, as far as `rules` allow it.
pub fn document(limits: &Limits, rules: &Rules) -> Value {
    let mut paths = Map::new();
    for operation in OPERATIONS.iter().filter(|it| rules.allow(it.action)) {
        let path = paths
            .entry(format!("/notes{}", operation.path))
            .or_insert_with(|| json!({}));
        if let Value::Object(path) = path {
            path.insert(operation.method.to_owned(), describe(operation, rules));
        }
    }
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Notes",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "The notes that assistants reach over MCP, for programs and people. \
                Errors are problem documents (RFC 9457) that name each field and what would be \
                right. Notes have a version: send it back as If-Match, and nobody's change is \
                overwritten."
        },
        "servers": [{"url": "/api/v1"}, {"url": "/api/v1/mcp"}],
        "tags": [{"name": "notes", "description": "Everything that can be done with notes."}],
        "paths": paths,
        "components": {
            "schemas": components(limits),
            "parameters": parameters(limits),
            "headers": headers(),
            "responses": responses(),
        },
    })
}

fn describe(operation: &Operation, rules: &Rules) -> Value {
    let reference = |kind: &str, name: &str| json!({"$ref": format!("#/components/{kind}/{name}")});
    let parameters: Vec<Value> = operation
        .parameters
        .iter()
        .map(|name| reference("parameters", name))
        .collect();
    let mut responses = Map::new();
    let success = &operation.success;
    let headers: Map<String, Value> = success
        .headers
        .iter()
        .map(|name| (header_name(name).to_owned(), reference("headers", name)))
        .collect();
    let mut answer = json!({"description": success.description});
    if !headers.is_empty() {
        answer["headers"] = Value::Object(headers);
    }
    if let Some(schema) = success.schema {
        let mut content = json!({"schema": reference("schemas", schema)});
        content["example"] = example(schema);
        answer["content"] = json!({"application/json": content});
    }
    if success.is_page_too {
        answer["content"]["text/html"] = json!({"schema": {"type": "string"}});
    }
    if operation.id == "createNote" {
        answer["links"] = links(rules);
    }
    responses.insert(success.status.to_string(), answer);
    if success.is_conditional {
        responses.insert("304".to_owned(), reference("responses", "304"));
    }
    for status in operation.problems.iter().chain(&COMMON_PROBLEMS) {
        responses.insert(
            status.to_string(),
            reference("responses", &status.to_string()),
        );
    }
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "description": operation.description,
        "tags": ["notes"],
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(body) = &operation.body {
        let content: Map<String, Value> = body
            .media_types
            .iter()
            .map(|media_type| {
                let schema = reference("schemas", body.schema);
                let content = json!({"schema": schema, "example": example(body.schema)});
                ((*media_type).to_owned(), content)
            })
            .collect();
        described["requestBody"] = json!({"required": true, "content": content});
    }
    described
}

/// What can be done with a note that was created.
fn links(rules: &Rules) -> Value {
    let names = [
        (Endpoint::Get, "read"),
        (Endpoint::Replace, "replace"),
        (Endpoint::Patch, "change"),
        (Endpoint::Delete, "delete"),
    ];
    let mut links = Map::new();
    for operation in OPERATIONS.iter().filter(|it| rules.allow(it.action)) {
        if let Some((_, name)) = names.iter().find(|(it, _)| *it == operation.endpoint) {
            let link =
                json!({"operationId": operation.id, "parameters": {"id": "$response.body#/id"}});
            links.insert((*name).to_owned(), link);
        }
    }
    Value::Object(links)
}

fn header_name(component: &str) -> &str {
    match component {
        "CacheControl" => "Cache-Control",
        other => other,
    }
}

fn parameters(limits: &Limits) -> Value {
    let list = input_schema::<ListNotes>(limits);
    let search = input_schema::<SearchNotes>(limits);
    let mut all = Map::new();
    for name in [
        "limit",
        "cursor",
        "tag",
        "updated_after",
        "updated_before",
        "created_after",
        "created_before",
        "title_prefix",
    ] {
        all.insert(
            name.to_owned(),
            query_parameter(name, LIST_NAMES.shown(&list, name), false),
        );
    }
    all.insert(
        "q".to_owned(),
        query_parameter("q", SEARCH_NAMES.shown(&search, "q"), true),
    );
    let id = json!({
        "name": "id", "in": "path", "required": true,
        "description": "The id of the note.",
        "schema": {"type": "string", "minLength": 1, "maxLength": notes::NoteId::CHARS_MAX,
            "pattern": "^[A-Za-z0-9._~-]+$"},
        "example": ID,
    });
    all.insert("id".to_owned(), id);
    let condition = |name: &str, description: &str| {
        json!({
            "name": name, "in": "header", "required": false, "description": description,
            "schema": {"type": "string"},
            "example": "\"v3\"",
        })
    };
    let if_match = "Entity tags in double quotes, separated by commas, or *: the versions the note may \
        have; at another it is left alone and the answer is 412.";
    let if_none_match = "Entity tags in double quotes, separated by commas, or *: what the client has \
        already; if that is still the same, the answer is 304.";
    all.insert("If-Match".to_owned(), condition("If-Match", if_match));
    all.insert(
        "If-None-Match".to_owned(),
        condition("If-None-Match", if_none_match),
    );
    Value::Object(all)
}

fn query_parameter(name: &str, schema: Option<&Shape>, required: bool) -> Value {
    let mut schema = schema.cloned().unwrap_or_default();
    let description = schema.remove("description").unwrap_or_default();
    schema.remove("default");
    json!({
        "name": name, "in": "query", "required": required,
        "description": description, "style": "form", "explode": true, "schema": schema,
    })
}

fn headers() -> Value {
    json!({
        "ETag": {
            "description": "The entity tag; for a note it is its version, such as \"v3\".",
            "required": true,
            "schema": {"type": "string"},
        },
        "CacheControl": {
            "description": "How long the answer may be kept.",
            "required": true,
            "schema": {"type": "string"},
        },
        "Location": {
            "description": "Where the note is.",
            "required": true,
            "schema": {"type": "string", "format": "uri-reference"},
        },
        "Vary": {
            "description": "What of the request decides about the representation.",
            "required": true,
            "schema": {"type": "string"},
        },
        "Link": {
            "description": "The next page, with rel=\"next\"; absent on the last page.",
            "schema": {"type": "string"},
        },
        "RetryAfter": {
            "description": "Seconds to wait before trying again.",
            "schema": {"type": "integer"},
        },
    })
}

fn responses() -> Value {
    let mut all = Map::new();
    let etag = json!({"$ref": "#/components/headers/ETag"});
    let cache = json!({"$ref": "#/components/headers/CacheControl"});
    all.insert(
        "304".to_owned(),
        json!({
            "description": "What the client has is still the same.",
            "headers": {"ETag": etag, "Cache-Control": cache},
        }),
    );
    for kind in Kind::ALL {
        let (status, _, title) = kind.describe();
        // Those the server in front of all faces answers too are below.
        if [403, 405, 504].contains(&status) {
            continue;
        }
        let mut response = json!({
            "description": format!("{title}."),
            "content": {"application/problem+json": {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": problem_example(kind),
            }},
        });
        if kind == Kind::PreconditionFailed {
            response["headers"] = json!({"ETag": {"$ref": "#/components/headers/ETag"}});
        }
        if kind == Kind::Unavailable {
            response["headers"] =
                json!({"Retry-After": {"$ref": "#/components/headers/RetryAfter"}});
        }
        all.insert(status.to_string(), response);
    }
    for (status, title, description, detail) in EDGE {
        let mut response = json!({
            "description": description,
            "content": {"application/problem+json": {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": {
                    "type": "about:blank", "title": title, "status": status, "detail": detail,
                },
            }},
        });
        // Such a header is not read to its end, and the answer may be only a status.
        if let (431, Value::Object(response)) = (status, &mut response) {
            response.remove("content");
        }
        all.insert(status.to_string(), response);
    }
    Value::Object(all)
}

/// What the server in front of all faces answers itself: the status, its title, what it means and
/// an example of its detail.
const EDGE: [(u16, &str, &str, &str); 6] = [
    (
        401,
        "Unauthorized",
        "There is no credential, or one that is not valid; `WWW-Authenticate` says how to get one.",
        "authentication required",
    ),
    (
        403,
        "Forbidden",
        "The host or the origin is not one that is served, the credential does not allow it, or \
         this server allows it to nobody.",
        "this origin is not allowed",
    ),
    (
        414,
        "URI Too Long",
        "The path with its query is too long.",
        "the target is too long",
    ),
    (
        429,
        "Too Many Requests",
        "The caller has asked for too much; `Retry-After` says when to try again.",
        "Rate limit exceeded (read)",
    ),
    (
        431,
        "Request Header Fields Too Large",
        "The header of the request is too large.",
        "the request has too many header fields",
    ),
    (
        504,
        "Gateway Timeout",
        "The answer was not ready in time; whether a change was made is not known.",
        "the request took too long",
    ),
];

const ID: &str = "0199c2f0-7c1e-7d3a-9b52-2f6f3c1a8e04";

fn problem_example(kind: Kind) -> Value {
    let instance = format!("/api/v1/notes/{ID}");
    let detail = match kind {
        Kind::BadRequest => "limit is 500; it must be between 1 and 100",
        Kind::Forbidden => "this server is read-only: its notes can be read, not changed",
        Kind::NotFound => "there is no note with this id; list or search the notes to find its id",
        Kind::MethodNotAllowed => "TRACE is not a method of this path; see Allow",
        Kind::PreconditionFailed => "the note is at version 4, not at version 3",
        Kind::TooLarge => "the body has more than 1048576 bytes",
        Kind::UnsupportedMediaType => "the body must have the content type application/json",
        Kind::Invalid => "title is 300 characters long; at most 255 are allowed",
        Kind::Internal => "internal error",
        Kind::Unavailable => "the notes cannot be reached or written at the moment",
        Kind::Unconfirmed => "the change was not confirmed in time and may be made or not",
    };
    serde_json::to_value(Problem::new(kind, detail, &instance)).unwrap_or_default()
}

fn example(schema: &str) -> Value {
    let (created, updated) = ("2026-01-31T09:15:00.000001Z", "2026-02-03T17:40:12.345678Z");
    let common = json!({
        "id": ID, "title": "Garden plan", "tags": ["garden", "plan"], "version": 3,
        "created_at": created, "updated_at": updated,
    });
    let with = |more: Value| {
        let mut value = common.clone();
        if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
            value.extend(more);
        }
        value
    };
    match schema {
        "NewNote" => json!({
            "title": "Garden plan", "content": "# Beds\n\n- beans\n- peas", "tags": ["garden"],
        }),
        "NotePatch" => json!({"tags": ["garden", "plan"]}),
        "Note" => with(json!({
            "content": "# Beds\n\n- beans\n- peas",
            "created_by": "anonymous", "updated_by": "anonymous",
        })),
        "NoteList" => json!({
            "notes": [with(json!({"preview": "# Beds\n\n- beans\n- peas", "content_chars": 23}))],
            "next_cursor": null, "total": 1,
        }),
        _ => json!({
            "hits": [with(json!({"snippet": "# Beds\n\n- beans\n- peas", "content_chars": 23}))],
            "next_cursor": null, "total": 1,
        }),
    }
}
