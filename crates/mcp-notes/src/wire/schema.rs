//! JSON Schemas (2020-12) of the wire shapes, with the configured limits written into them.

use notes::{Limits, NoteId, query::PAGE_ITEMS_MAX};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{NewNote, NoteHits, NoteList, NotePatch, NoteView};
use crate::error_map::Problem;

/// A JSON Schema that is an object.
pub type Shape = Map<String, Value>;

/// The schema of what `T` accepts, without references, so that every client can read it.
pub fn input_schema<T: JsonSchema>(limits: &Limits) -> Shape {
    let mut schema = inline::<T>(SchemaSettings::draft2020_12().for_deserialize());
    write_limits(&mut schema, limits);
    schema
}

/// The schema of a tool's result: `T`, or an error. What the fields mean is left out: a model sees
/// the result itself, and every client would pay for the words.
///
/// Both are in one schema because clients check the structured content of errors against it too.
pub fn output_schema<T: JsonSchema>() -> Shape {
    let mut schema = inline::<T>(SchemaSettings::draft2020_12().for_serialize());
    if let Some(Value::Object(fields)) = schema.get_mut("properties") {
        fields.values_mut().for_each(remove_descriptions);
        fields.insert("error".to_owned(), json!({"type": "object"}));
    }
    let required = schema.remove("required").unwrap_or_else(|| json!([]));
    schema.insert(
        "anyOf".into(),
        json!([{"required": required}, {"required": ["error"]}]),
    );
    schema
}

/// Removes descriptions from a schema and the schemas of its properties and items.
fn remove_descriptions(schema: &mut Value) {
    let Value::Object(schema) = schema else {
        return;
    };
    schema.remove("description");
    if let Some(Value::Object(fields)) = schema.get_mut("properties") {
        fields.values_mut().for_each(remove_descriptions);
    }
    if let Some(items) = schema.get_mut("items") {
        remove_descriptions(items);
    }
}

/// The schemas that the OpenAPI document refers to, by name.
pub fn components(limits: &Limits) -> Shape {
    let settings = |settings: SchemaSettings| {
        settings.with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
    };
    let mut given = settings(SchemaSettings::draft2020_12().for_deserialize()).into_generator();
    given.subschema_for::<NewNote>();
    given.subschema_for::<NotePatch>();
    let mut shown = settings(SchemaSettings::draft2020_12().for_serialize()).into_generator();
    shown.subschema_for::<NoteView>();
    shown.subschema_for::<NoteList>();
    shown.subschema_for::<NoteHits>();
    shown.subschema_for::<Problem>();

    let mut components = definitions(&mut given);
    for schema in components.values_mut() {
        if let Value::Object(schema) = schema {
            write_limits(schema, limits);
        }
    }
    if let Some(Value::Object(patch)) = components.get_mut("NotePatch") {
        patch.insert("minProperties".to_owned(), json!(1));
    }
    components.append(&mut definitions(&mut shown));
    components
}

fn definitions(generator: &mut SchemaGenerator) -> Shape {
    let mut definitions = generator.take_definitions(true);
    definitions.values_mut().for_each(tidy);
    definitions
}

fn inline<T: JsonSchema>(settings: SchemaSettings) -> Shape {
    let settings = settings.with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut value = settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    tidy(&mut value);
    let Value::Object(mut schema) = value else {
        return Shape::new();
    };
    schema.remove("title");
    schema.remove("description");
    schema
}

/// Removes what the derived schema says too much: formats such as `uint64`, which JSON Schema does
/// not know, `null` as the default of what cannot be null, and line breaks in descriptions.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let is_number = |format: &Value| {
                let name = format.as_str().unwrap_or_default();
                name.starts_with("uint") || name.starts_with("int")
            };
            if object.get("format").is_some_and(is_number) {
                object.remove("format");
            }
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
            if let Some(Value::String(description)) = object.get_mut("description") {
                *description = description.replace('\n', " ");
            }
            object.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn write_limits(schema: &mut Shape, limits: &Limits) {
    let Some(Value::Object(properties)) = schema.get_mut("properties") else {
        return;
    };
    for (name, property) in properties {
        let Value::Object(property) = property else {
            continue;
        };
        let bounds = match name.as_str() {
            "title" => json!({"minLength": 1, "maxLength": limits.title_chars_max}),
            "content" => json!({"minLength": 1, "maxLength": limits.content_chars_max}),
            "tags" => {
                if let Some(Value::Object(tag)) = property.get_mut("items") {
                    tag.insert("minLength".to_owned(), json!(1));
                    tag.insert("maxLength".to_owned(), json!(limits.tag_chars_max));
                }
                json!({"maxItems": limits.tags_max})
            }
            "tag" => json!({"minLength": 1, "maxLength": limits.tag_chars_max}),
            "id" => json!({"minLength": 1, "maxLength": NoteId::CHARS_MAX}),
            "query" => json!({"minLength": 1}),
            "limit" => json!({"minimum": 1, "maximum": PAGE_ITEMS_MAX}),
            "expected_version" => json!({"minimum": 1}),
            _ => continue,
        };
        if let Value::Object(bounds) = bounds {
            property.extend(bounds);
        }
    }
}
