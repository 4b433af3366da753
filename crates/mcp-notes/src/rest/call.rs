//! A request to the REST API, read: who asks, for what, under which conditions.

use std::{collections::BTreeSet, fmt};

use axum::{
    RequestExt,
    body::Body,
    extract::{Path, Query, Request},
};
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use mcp_serve::auth::Principal;
use notes::Caller;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use super::{Rest, answer::Refusal};
use crate::{
    error_map::{Failure, Kind},
    operations,
    wire::{FLAWS_MAX, Flaw, Shape, read},
};

/// A request whose head is read.
pub(super) struct Call {
    pub(super) caller: Caller,
    /// The path as the client asked for it, below one of the mounts.
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    /// The query, in order.
    pub(super) query: Vec<(String, String)>,
    id: Option<String>,
}

/// The body of a request, not yet read.
pub(super) struct Payload {
    body: Body,
    body_bytes_max: usize,
}

impl Call {
    pub(super) async fn read(
        rest: &Rest,
        mut request: Request,
    ) -> Result<(Self, Payload), Refusal> {
        let principal = request.extensions().get::<Principal>();
        let caller = rest.rules.isolation.caller(principal)?;
        let unreadable = |what: &str| {
            Refusal::Problem(
                Kind::BadRequest,
                format!("the {what} cannot be read as UTF-8"),
            )
        };
        let path = request.uri().path().to_owned();
        let id = match request.extract_parts::<Path<Vec<(String, String)>>>().await {
            Ok(Path(parameters)) => parameters.into_iter().next().map(|(_, id)| id),
            Err(_) => return Err(unreadable("path")),
        };
        if let Some(id) = &id {
            operations::note_id(id)?;
        }
        let query = request
            .extract_parts::<Query<Vec<(String, String)>>>()
            .await;
        let Query(query) = query.map_err(|_| unreadable("query"))?;
        let (parts, body) = request.into_parts();
        let payload = Payload {
            body,
            body_bytes_max: rest.body_bytes_max,
        };
        Ok((
            Self {
                caller,
                path,
                headers: parts.headers,
                query,
                id,
            },
            payload,
        ))
    }

    /// The id of the note in the path.
    pub(super) fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    /// Refuses any query: the operation knows none.
    pub(super) fn no_query(&self) -> Result<(), Refusal> {
        let flaws: Vec<Flaw> = self
            .query
            .iter()
            .map(|(name, _)| Flaw::unknown(name, std::iter::empty()))
            .collect();
        if flaws.is_empty() {
            Ok(())
        } else {
            Err(Failure::invalid(flaws).into())
        }
    }

    /// The query as a shape, whose fields have other names in the query where `names` says so.
    /// Parameters for lists may be given more than once.
    pub(super) fn query<T: DeserializeOwned>(
        &self,
        schema: &Shape,
        names: &Names,
    ) -> Result<T, Refusal> {
        let mut object = Map::new();
        let mut flaws = Vec::new();
        for (name, text) in &self.query {
            if flaws.len() >= FLAWS_MAX {
                break;
            }
            let field = names.field(name);
            let Some(property) = names.shown(schema, name) else {
                flaws.push(Flaw::unknown(name, names.all(schema).into_iter()));
                continue;
            };
            if property.get("type").is_some_and(|kind| kind == "array") {
                let values = object
                    .entry(field)
                    .or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(values) = values {
                    values.push(Value::from(text.as_str()));
                }
            } else if object
                .insert(field.to_owned(), value(text, property))
                .is_some()
            {
                flaws.push(Flaw::new(name, "repeated", "is given more than once"));
            }
        }
        match read(&Value::Object(object), schema) {
            Ok(query) if flaws.is_empty() => Ok(query),
            Ok(_) => Err(Failure::invalid(flaws).into()),
            Err(mut found) => {
                flaws.append(&mut found);
                Err(names.in_query(Failure::invalid(flaws)).into())
            }
        }
    }
}

impl Payload {
    /// The body as a shape. Its content type must be one of `media_types`.
    pub(super) async fn body<T: DeserializeOwned>(
        self,
        headers: &HeaderMap,
        schema: &Shape,
        media_types: &[&str],
    ) -> Result<T, Refusal> {
        check_media_type(headers, media_types)?;
        let collected = Limited::new(self.body, self.body_bytes_max).collect().await;
        let bytes = collected.map_err(|error| unread(error.as_ref(), self.body_bytes_max))?;
        let bytes = bytes.to_bytes();
        let mut flaws = Vec::new();
        let value = match serde_json::from_slice(&bytes) {
            Ok(Members { object, repeated }) => {
                let known = repeated.iter().filter(|name| has_field(schema, name));
                flaws.extend(
                    known.map(|name| Flaw::new(name, "repeated", "is given more than once")),
                );
                Value::Object(object)
            }
            // What is no object may still be JSON.
            Err(_) => serde_json::from_slice(&bytes).map_err(|error| {
                let (line, column) = (error.line(), error.column());
                let detail = format!("the body is not JSON, as line {line}, column {column} shows");
                Refusal::Problem(Kind::BadRequest, detail)
            })?,
        };
        let body = read(&value, schema).map_err(|mut found| flaws.append(&mut found));
        match body {
            Ok(body) if flaws.is_empty() => Ok(body),
            _ => Err(Refusal::Failure {
                failure: Failure::invalid(flaws),
                of_body: true,
            }),
        }
    }
}

/// A JSON object with the names that stand in it more than once, of which others would lose all
/// values but one without a word.
struct Members {
    object: Map<String, Value>,
    repeated: BTreeSet<String>,
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let (mut object, mut repeated) = (Map::new(), BTreeSet::new());
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if object.contains_key(&name) {
                        repeated.insert(name.clone());
                    }
                    object.insert(name, value);
                }
                Ok(Members { object, repeated })
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

fn has_field(schema: &Shape, name: &str) -> bool {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.is_some_and(|properties| properties.contains_key(name))
}

fn check_media_type(headers: &HeaderMap, media_types: &[&str]) -> Result<(), Refusal> {
    let given = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = given
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim();
    if media_types
        .iter()
        .any(|known| essence.eq_ignore_ascii_case(known))
    {
        return Ok(());
    }
    let detail = format!(
        "the body must have the content type {}",
        media_types.join(" or ")
    );
    Err(Refusal::Problem(Kind::UnsupportedMediaType, detail))
}

/// Names that fields of a shape have in the query: the name there, and the field.
pub(super) struct Names(pub(super) &'static [(&'static str, &'static str)]);

impl Names {
    fn field<'a>(&self, name: &'a str) -> &'a str {
        self.0
            .iter()
            .find(|(shown, _)| *shown == name)
            .map_or(name, |(_, field)| field)
    }

    /// The schema of the parameter `name`, if there is one.
    pub(super) fn shown<'s>(&self, schema: &'s Shape, name: &str) -> Option<&'s Shape> {
        let is_hidden = self
            .0
            .iter()
            .any(|(shown, field)| *field == name && *shown != name);
        let properties = schema.get("properties")?.as_object()?;
        if is_hidden {
            None
        } else {
            properties.get(self.field(name))?.as_object()
        }
    }

    fn all<'s>(&self, schema: &'s Shape) -> Vec<&'s str> {
        let properties = schema.get("properties").and_then(Value::as_object);
        let plain = properties
            .into_iter()
            .flat_map(Map::keys)
            .map(String::as_str);
        let mut all: Vec<&str> = plain
            .chain(self.0.iter().map(|(shown, _)| *shown))
            .collect();
        all.retain(|name| self.shown(schema, name).is_some());
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The failure with the names of the query.
    pub(super) fn in_query(&self, failure: Failure) -> Failure {
        if failure.problems.is_empty() {
            return failure;
        }
        let mut flaws = failure.problems;
        for flaw in &mut flaws {
            let field = flaw.field.split('[').next().unwrap_or_default();
            if let Some((shown, _)) = self.0.iter().find(|(_, known)| *known == field) {
                flaw.field = (*shown).to_owned();
            }
        }
        Failure::invalid(flaws)
    }
}

/// A value of the query in the type its schema asks for; as text where it does not fit.
fn value(text: &str, schema: &Shape) -> Value {
    let is_number = schema.get("type").is_some_and(|kind| kind == "integer");
    if is_number && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // What does not fit into 64 bits is out of every range.
        return Value::from(text.parse::<u64>().unwrap_or(u64::MAX));
    }
    Value::from(text)
}

fn unread(error: &(dyn std::error::Error + Send + Sync + 'static), most: usize) -> Refusal {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            let detail = format!("the body has more than {most} bytes");
            return Refusal::Problem(Kind::TooLarge, detail);
        }
        cause = error.source();
    }
    Refusal::Problem(
        Kind::BadRequest,
        "the body ended before it was complete".to_owned(),
    )
}
