//! The page that shows the OpenAPI document: plain HTML, made here, without any script.

use std::fmt::Write as _;

use http::HeaderValue;
use serde_json::Value;

use super::html::{self, Escaped};
use crate::error_map::Kind;

const STYLE: &str = include_str!("style.css");

/// What the page may load.
pub(super) fn policy() -> HeaderValue {
    html::policy(STYLE)
}

/// The page for `document`.
pub(super) fn page(document: &Value) -> String {
    let mut html = String::with_capacity(64 << 10);
    let info = &document["info"];
    let title = format!("{} API {}", text(&info["title"]), text(&info["version"]));
    html.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    let _ = write!(
        html,
        "<title>{}</title>\n<style>{STYLE}</style>\n</head>\n",
        Escaped(&title)
    );
    html.push_str("<body>\n<a class=\"skip\" href=\"#main\">Skip to content</a>\n<header>\n");
    let _ = write!(
        html,
        "<h1>{}</h1>\n<p>{}</p>\n",
        Escaped(&title),
        Escaped(text(&info["description"]))
    );
    let _ = write!(
        html,
        "<p>The document itself: <a href=\"{0}\"><code>{0}</code></a>. Base paths:",
        super::OPENAPI_PATH
    );
    for server in document["servers"].as_array().into_iter().flatten() {
        let _ = write!(html, " <code>{}</code>", Escaped(text(&server["url"])));
    }
    html.push_str(".</p>\n</header>\n");
    let operations = operations(document);
    contents(&mut html, document, &operations);
    html.push_str("<main id=\"main\">\n<h2>Operations</h2>\n");
    for operation in &operations {
        describe(&mut html, document, operation);
    }
    html.push_str("<h2 id=\"schemas\">Schemas</h2>\n");
    for (name, schema) in entries(&document["components"]["schemas"]) {
        let _ = writeln!(
            html,
            "<section id=\"schema-{0}\">\n<h3>{0}</h3>",
            Escaped(name)
        );
        fields(&mut html, schema);
        html.push_str("</section>\n");
    }
    problems(&mut html);
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    id: &'a str,
    described: &'a Value,
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let paths = entries(&document["paths"]);
    let all = paths.flat_map(|(path, methods)| {
        entries(methods).map(move |(method, described)| Operation {
            method,
            path,
            id: text(&described["operationId"]),
            described,
        })
    });
    all.collect()
}

fn contents(html: &mut String, document: &Value, operations: &[Operation<'_>]) {
    html.push_str("<nav aria-label=\"Contents\">\n<ul>\n");
    for Operation {
        method,
        path,
        id,
        described,
    } in operations
    {
        let _ = writeln!(
            html,
            "<li><a href=\"#{id}\"><span class=\"method {method}\">{method}</span> {} \
             <span class=\"path\">{}</span></a></li>",
            Escaped(text(&described["summary"])),
            Escaped(path)
        );
    }
    for (name, _) in entries(&document["components"]["schemas"]) {
        let _ = writeln!(
            html,
            "<li><a href=\"#schema-{0}\">{0}</a></li>",
            Escaped(name)
        );
    }
    html.push_str("<li><a href=\"#problems\">Problems</a></li>\n</ul>\n</nav>\n");
}

fn describe(html: &mut String, document: &Value, operation: &Operation<'_>) {
    let Operation {
        method,
        path,
        id,
        described,
    } = operation;
    let _ = writeln!(
        html,
        "<section id=\"{id}\">\n<h3><span class=\"method {method}\">{method}</span> \
         <code>{}</code> {}</h3>\n<p>{}</p>",
        Escaped(path),
        Escaped(text(&described["summary"])),
        Escaped(text(&described["description"]))
    );
    parameters(html, document, described);
    let body = &described["requestBody"]["content"];
    if !body.is_null() {
        html.push_str("<h4>Body</h4>\n");
        media(html, body);
    }
    html.push_str("<h4>Answers</h4>\n<dl>\n");
    for (status, response) in entries(&described["responses"]) {
        let response = resolve(document, response);
        let description = Escaped(text(&response["description"]));
        let _ = write!(html, "<dt>{status}</dt>\n<dd>{description}");
        let headers: Vec<&str> = entries(&response["headers"])
            .map(|(name, _)| name)
            .collect();
        if !headers.is_empty() {
            let _ = write!(html, " Headers: {}.", Escaped(&headers.join(", ")));
        }
        if status.starts_with('2') {
            html.push('\n');
            media(html, &response["content"]);
        }
        html.push_str("</dd>\n");
    }
    html.push_str("</dl>\n</section>\n");
}

fn parameters(html: &mut String, document: &Value, described: &Value) {
    let all = described["parameters"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if all.is_empty() {
        return;
    }
    html.push_str(
        "<h4>Parameters</h4>\n<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">Name</th>\
         <th scope=\"col\">In</th><th scope=\"col\">Type</th><th scope=\"col\">Meaning</th></tr>\
         </thead>\n<tbody>\n",
    );
    for parameter in all {
        let parameter = resolve(document, parameter);
        let needed = if parameter["required"] == true {
            " (required)"
        } else {
            ""
        };
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\"><code>{}</code></th><td>{}{needed}</td><td>{}</td><td>{}</td></tr>",
            Escaped(text(&parameter["name"])),
            Escaped(text(&parameter["in"])),
            kind(&parameter["schema"]),
            Escaped(text(&parameter["description"]))
        );
    }
    html.push_str("</tbody>\n</table></div>\n");
}

fn media(html: &mut String, content: &Value) {
    for (media_type, described) in entries(content) {
        let _ = writeln!(
            html,
            "<p><code>{}</code>: {}</p>",
            Escaped(media_type),
            kind(&described["schema"])
        );
        if let Ok(example) = serde_json::to_string_pretty(&described["example"]) {
            let _ = writeln!(
                html,
                "<pre tabindex=\"0\"><code>{}</code></pre>",
                Escaped(&example)
            );
        }
    }
}

fn fields(html: &mut String, schema: &Value) {
    if let Some(description) = schema["description"].as_str() {
        let _ = writeln!(html, "<p>{}</p>", Escaped(description));
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        let _ = writeln!(html, "<p>One of {}.</p>", Escaped(&values.join(", ")));
    }
    if !schema["properties"].is_object() {
        return;
    }
    html.push_str(
        "<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">Field</th><th scope=\"col\">\
         Type</th><th scope=\"col\">Meaning</th></tr></thead>\n<tbody>\n",
    );
    let required = schema["required"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    for (name, field) in entries(&schema["properties"]) {
        let needed = if required.iter().any(|known| known == name) {
            " (always)"
        } else {
            ""
        };
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\"><code>{}</code></th><td>{}{needed}</td><td>{}</td></tr>",
            Escaped(name),
            kind(field),
            Escaped(text(&field["description"]))
        );
    }
    html.push_str("</tbody>\n</table></div>\n");
}

/// The kind of value a schema describes, with its bounds, as HTML.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"]
        .as_str()
        .and_then(|target| target.rsplit('/').next())
    {
        return format!("<a href=\"#schema-{0}\">{0}</a>", Escaped(name));
    }
    let mut html = match &schema["type"] {
        Value::String(one) if one == "array" => format!("list of {}", kind(&schema["items"])),
        Value::String(one) => Escaped(one).to_string(),
        Value::Array(several) => {
            let names: Vec<&str> = several.iter().map(text).collect();
            Escaped(&names.join(" or ")).to_string()
        }
        _ => "any".to_owned(),
    };
    let bound = |name: &str| schema.get(name).map(ToString::to_string);
    for (low, high, unit) in [
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
        ("minimum", "maximum", ""),
    ] {
        let _ = match (bound(low), bound(high)) {
            (Some(low), Some(high)) => write!(html, ", {low} to {high}{unit}"),
            (Some(low), None) => write!(html, ", at least {low}{unit}"),
            (None, Some(high)) => write!(html, ", at most {high}{unit}"),
            (None, None) => Ok(()),
        };
    }
    if let Some(format) = schema["format"].as_str() {
        let _ = write!(html, " ({})", Escaped(format));
    }
    html
}

fn problems(html: &mut String) {
    html.push_str(
        "<h2 id=\"problems\">Problems</h2>\n<p>Every error is a problem document (RFC 9457), a \
         <a href=\"#schema-Problem\">Problem</a> of the type <code>application/problem+json</code>. \
         Its <code>type</code> is one of these:</p>\n<dl>\n",
    );
    for kind in Kind::ALL {
        let (status, name, title) = kind.describe();
        let _ = writeln!(
            html,
            "<dt id=\"problem-{name}\">{status} {name}</dt>\n<dd>{title}.</dd>"
        );
    }
    html.push_str("</dl>\n");
}

fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let target = value["$ref"]
        .as_str()
        .and_then(|target| target.strip_prefix('#'));
    target
        .and_then(|pointer| document.pointer(pointer))
        .unwrap_or(value)
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
