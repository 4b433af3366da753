//! The REST API, called in process.

use serde_json::{Value, json};

use crate::desk::{Answer, BODY_BYTES_MAX, Desk};

const NOTES: &str = "/api/v1/notes";

/// Holds an error to what every error must be, and gives its document.
fn problem(answer: &Answer, status: u16, path: &str) -> Value {
    assert_eq!(answer.status, status, "{path}: {answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let document = answer.json();
    assert_eq!(document["status"], status);
    assert_eq!(document["instance"], path);
    let kind = document["type"].as_str().unwrap();
    assert!(kind.starts_with("/api/v1/docs#problem-"), "{kind}");
    assert!(document["title"].is_string() && document["detail"].is_string());
    document
}

fn fields(problem: &Value) -> Vec<(&str, &str)> {
    let errors = problem["errors"].as_array().unwrap();
    errors
        .iter()
        .map(|e| (e["field"].as_str().unwrap(), e["code"].as_str().unwrap()))
        .collect()
}

#[tokio::test]
async fn a_note_lives_and_ends_under_both_mounts() {
    let desk = Desk::new().await;
    for mount in [NOTES, "/api/v1/mcp/notes"] {
        let given = json!({"title": "a", "content": "Vec<String> && \r\n", "tags": ["#B", "a"]});
        let created = desk.rest("POST", mount, &given.to_string()).await;
        assert_eq!(created.status, 201);
        assert_eq!(created.header("etag"), "\"v1\"");
        let note = created.json();
        let path = created.header("location").to_owned();
        assert_eq!(path, format!("{mount}/{}", note["id"].as_str().unwrap()));
        assert_eq!(
            (&note["content"], &note["tags"]),
            (&given["content"], &json!(["a", "b"]))
        );

        let read = desk.rest("GET", &path, "").await;
        assert_eq!((read.status.as_u16(), read.json()), (200, note.clone()));
        assert_eq!(read.header("content-type"), "application/json");
        assert_eq!(read.header("cache-control"), "private, no-cache");
        let known = desk
            .ask("GET", &path, &[("if-none-match", "\"v1\"")], "")
            .await;
        assert_eq!((known.status.as_u16(), known.body.len()), (304, 0));
        assert_eq!(known.header("etag"), "\"v1\"");
        let head = desk.rest("HEAD", &path, "").await;
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));

        let replaced = desk
            .rest("PUT", &path, r#"{"title": "b", "content": "c"}"#)
            .await;
        assert_eq!(replaced.header("etag"), "\"v2\"");
        assert_eq!(replaced.json()["tags"], json!([]));
        let change = r#"{"tags": ["x"]}"#;
        let merge = [(
            "content-type",
            "application/merge-patch+json; charset=utf-8",
        )];
        let patched = desk.ask("PATCH", &path, &merge, change).await;
        assert_eq!(patched.json()["tags"], json!(["x"]));
        assert_eq!(patched.json()["title"], "b");
        let emptied = desk.rest("PATCH", &path, r#"{"tags": null}"#).await;
        assert_eq!(
            (&emptied.json()["tags"], &emptied.json()["version"]),
            (&json!([]), &json!(4))
        );

        let deleted = desk.rest("DELETE", &path, "").await;
        assert_eq!((deleted.status.as_u16(), deleted.body.len()), (204, 0));
        for method in ["GET", "DELETE"] {
            let document = problem(&desk.rest(method, &path, "").await, 404, &path);
            assert_eq!(document["type"], "/api/v1/docs#problem-not-found");
        }
        let gone = desk
            .rest("PUT", &path, r#"{"title": "b", "content": "c"}"#)
            .await;
        problem(&gone, 404, &path);
    }
}

#[tokio::test]
async fn lists_have_filters_links_and_entity_tags() {
    let desk = Desk::new().await;
    for (title, tags) in [
        ("Äpfel", "\"x\""),
        ("Birnen", "\"x\", \"y z\""),
        ("apple", "\"x\""),
    ] {
        desk.clock.advance(jiff::SignedDuration::from_mins(1));
        let body = format!(r#"{{"title": "{title}", "content": "fruit", "tags": [{tags}]}}"#);
        assert_eq!(desk.rest("POST", NOTES, &body).await.status, 201);
    }
    let mut path = format!("{NOTES}?limit=1&tag=x");
    let mut titles = Vec::new();
    loop {
        let page = desk.rest("GET", &path, "").await;
        assert_eq!(page.status, 200, "{page:?}");
        titles.push(
            page.json()["notes"][0]["title"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
        assert!(page.json()["notes"][0].get("content").is_none());
        assert_eq!(page.json()["total"], 3);
        let known = desk
            .ask("GET", &path, &[("if-none-match", page.header("etag"))], "")
            .await;
        assert_eq!(known.status, 304);
        let Some(link) = page.header("link").strip_prefix('<') else {
            break;
        };
        let (target, relation) = link.split_once('>').unwrap();
        assert_eq!(relation, "; rel=\"next\"");
        assert!(
            target.starts_with(&format!("{NOTES}?limit=1&tag=x&cursor=")),
            "{target}"
        );
        path = target.to_owned();
    }
    assert_eq!(titles, ["apple", "Birnen", "Äpfel"]);
    for (query, expected) in [
        ("tag=x&tag=Y%20Z", vec!["Birnen"]),
        ("title_prefix=%C3%A4", vec!["Äpfel"]),
        (
            "updated_after=2026-01-31T12:02:00Z&updated_before=2026-01-31T12:03:00Z",
            vec!["Birnen"],
        ),
        ("updated_after=2026-01-31T14:03:00%2B02:00", vec!["apple"]),
        (
            "created_after=2026-01-31T12:02:00Z&created_before=2026-01-31T12:03:00Z",
            vec!["Birnen"],
        ),
    ] {
        let page = desk
            .rest("GET", &format!("{NOTES}?{query}"), "")
            .await
            .json();
        let found: Vec<&str> = page["notes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n["title"].as_str().unwrap())
            .collect();
        assert_eq!(found, expected, "{query}");
    }
    let hits = desk
        .rest("GET", &format!("{NOTES}/search?q=fruit&limit=2"), "")
        .await;
    assert_eq!(hits.json()["hits"].as_array().unwrap().len(), 2);
    assert!(
        hits.header("link")
            .contains("/search?q=fruit&limit=2&cursor=")
    );
    let before = desk.rest("GET", NOTES, "").await;
    desk.rest("POST", NOTES, r#"{"title": "new", "content": "x"}"#)
        .await;
    let asked = [("if-none-match", before.header("etag"))];
    assert_eq!(desk.ask("GET", NOTES, &asked, "").await.status, 200);
}

#[tokio::test]
async fn conditions_keep_a_change_from_overwriting_another() {
    let desk = Desk::new().await;
    desk.rest("POST", NOTES, r#"{"title": "a", "content": "one"}"#)
        .await;
    let path = format!("{NOTES}/note-1");
    desk.rest("PATCH", &path, r#"{"content": "two"}"#).await;
    let json = ("content-type", "application/json");
    let body = r#"{"title": "a", "content": "three"}"#;
    for condition in [
        ("if-match", "\"v1\""),
        ("if-match", "W/\"v2\""),
        ("if-match", "\"v1\", \"v7\""),
        ("if-match", "\"other\""),
        ("if-none-match", "\"v2\""),
        ("if-none-match", "*"),
    ] {
        for method in ["PUT", "PATCH", "DELETE"] {
            let answer = desk.ask(method, &path, &[json, condition], body).await;
            let document = problem(&answer, 412, &path);
            assert_eq!(document["current_version"], 2, "{condition:?}");
            assert_eq!(answer.header("etag"), "\"v2\"");
            assert!(!document.to_string().contains("two"), "{document}");
        }
    }
    for condition in [
        ("if-match", "v2"),
        ("if-match", "\"v2"),
        ("if-none-match", ""),
    ] {
        problem(
            &desk.ask("PUT", &path, &[json, condition], body).await,
            400,
            &path,
        );
    }
    assert_eq!(desk.rest("GET", &path, "").await.json()["content"], "two");
    for (version, condition) in [
        (3, ("if-match", "\"v2\"")),
        (4, ("if-match", "*")),
        (5, ("if-match", "\"x\", \"v4\"")),
    ] {
        let answer = desk.ask("PUT", &path, &[json, condition], body).await;
        assert_eq!(
            answer.header("etag"),
            format!("\"v{version}\""),
            "{answer:?}"
        );
    }
    let last = [("if-none-match", "\"v1\"")];
    assert_eq!(desk.ask("DELETE", &path, &last, "").await.status, 204);
}

#[tokio::test]
async fn requests_that_cannot_be_understood_say_where() {
    let desk = Desk::new().await;
    let long = "x".repeat(129);
    for (path, expected) in [
        ("?limit=0".to_owned(), vec![("limit", "out_of_range")]),
        (
            "?limit=99999999999999999999".to_owned(),
            vec![("limit", "out_of_range")],
        ),
        ("?limit=-1".to_owned(), vec![("limit", "wrong_type")]),
        ("?limit=".to_owned(), vec![("limit", "wrong_type")]),
        ("?limit=1&limit=2".to_owned(), vec![("limit", "repeated")]),
        ("?color=red".to_owned(), vec![("color", "unknown_field")]),
        ("?tags=a".to_owned(), vec![("tags", "unknown_field")]),
        ("?tag=a&tag=".to_owned(), vec![("tag", "empty")]),
        ("?cursor=abc".to_owned(), vec![("cursor", "bad_cursor")]),
        ("?cursor=".to_owned(), vec![("cursor", "bad_cursor")]),
        (
            "?updated_after=now".to_owned(),
            vec![("updated_after", "bad_format")],
        ),
        ("/search".to_owned(), vec![("q", "missing")]),
        ("/search?q=".to_owned(), vec![("q", "empty")]),
        (
            "/search?query=a&q=b".to_owned(),
            vec![("query", "unknown_field")],
        ),
        ("/a%20b".to_owned(), vec![("id", "bad_format")]),
        ("/..%2F..".to_owned(), vec![("id", "bad_format")]),
        (format!("/{long}"), vec![("id", "too_long")]),
        ("/note-1?x=1".to_owned(), vec![("x", "unknown_field")]),
    ] {
        let full = format!("{NOTES}{path}");
        let answer = desk.rest("GET", &full, "").await;
        let document = problem(&answer, 400, full.split('?').next().unwrap());
        assert_eq!(fields(&document), expected, "{path}");
    }
    let path = format!("{NOTES}/%ff");
    problem(&desk.rest("GET", &path, "").await, 400, &path);
    for body in [
        "",
        "{",
        "{\"title\": \"a\", }",
        "{\"title\": \"\\ud800\"}",
        "\u{feff}{}",
    ] {
        let document = problem(&desk.rest("POST", NOTES, body).await, 400, NOTES);
        assert!(
            document["detail"].as_str().unwrap().contains("line 1"),
            "{document}"
        );
    }
    let json = [("content-type", "application/json")];
    problem(
        &desk
            .ask("POST", NOTES, &json, b"{\"title\": \"\xff\"}".to_vec())
            .await,
        400,
        NOTES,
    );
    let deep = "[".repeat(100_000);
    let small = &deep[..BODY_BYTES_MAX];
    problem(&desk.rest("POST", NOTES, small).await, 400, NOTES);
    problem(&desk.rest("POST", NOTES, &deep).await, 413, NOTES);
}

#[tokio::test]
async fn bodies_that_are_no_notes_name_each_field() {
    let desk = Desk::new().await;
    desk.rest("POST", NOTES, r#"{"title": "a", "content": "b"}"#)
        .await;
    let path = format!("{NOTES}/note-1");
    for (method, body, expected) in [
        (
            "POST",
            json!({}),
            vec![("title", "missing"), ("content", "missing")],
        ),
        ("POST", json!([1]), vec![("", "wrong_type")]),
        (
            "POST",
            json!({"title": "a\nb", "content": ""}),
            vec![("title", "forbidden_character"), ("content", "empty")],
        ),
        (
            "POST",
            json!({"title": "a", "content": "b", "id": "c"}),
            vec![("id", "unknown_field")],
        ),
        ("PUT", json!({"title": "a"}), vec![("content", "missing")]),
        (
            "PUT",
            json!({"title": "a", "content": "b", "tags": null}),
            vec![("tags", "wrong_type")],
        ),
        ("PATCH", json!({}), vec![("", "empty")]),
        (
            "PATCH",
            json!({"title": null}),
            vec![("title", "wrong_type")],
        ),
        (
            "PATCH",
            json!({"id": "note-1"}),
            vec![("id", "unknown_field")],
        ),
        (
            "PATCH",
            json!({"version": 3}),
            vec![("version", "unknown_field")],
        ),
        (
            "PATCH",
            json!({"tags": ["a", ""]}),
            vec![("tags[1]", "empty")],
        ),
    ] {
        let target = if method == "POST" { NOTES } else { &path };
        let answer = desk.rest(method, target, &body.to_string()).await;
        let document = problem(&answer, 422, target);
        assert_eq!(document["type"], "/api/v1/docs#problem-invalid");
        assert_eq!(fields(&document), expected, "{method} {body}");
    }
    for content_type in [
        "text/plain",
        "application/xml",
        "application/merge-patch+json",
        "",
    ] {
        let body = r#"{"title": "a", "content": "b"}"#;
        let headers = [("content-type", content_type)];
        problem(&desk.ask("POST", NOTES, &headers, body).await, 415, NOTES);
        problem(&desk.ask("POST", NOTES, &[], body).await, 415, NOTES);
    }
    assert_eq!(desk.rest("GET", &path, "").await.json()["version"], 1);
}

#[tokio::test]
async fn every_operation_is_documented_and_nothing_else_is_there() {
    let desk = Desk::new().await;
    let answer = desk.rest("GET", "/api/v1/openapi.json", "").await;
    assert_eq!(answer.header("content-type"), "application/json");
    let document = answer.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 3);
    for (path, operations) in paths {
        for server in document["servers"].as_array().unwrap() {
            let server = server["url"].as_str().unwrap();
            let target = format!("{server}{}", path.replace("{id}", "note-1"));
            let operations = operations.as_object().unwrap();
            for method in [
                "GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "BREW",
            ] {
                let answer = desk.rest(method, &target, "").await;
                if operations.contains_key(&method.to_lowercase()) {
                    assert_ne!(answer.status, 405, "{method} {target}");
                    let documented = operations[&method.to_lowercase()]["responses"].as_object();
                    let status = answer.status.as_u16().to_string();
                    assert!(
                        documented.unwrap().contains_key(&status),
                        "{method} {target} {status}"
                    );
                    continue;
                }
                problem(&answer, 405, &target);
                let mut allowed: Vec<String> = answer
                    .header("allow")
                    .split(',')
                    .map(str::to_lowercase)
                    .collect();
                allowed.retain(|method| method != "head");
                allowed.sort();
                let mut expected: Vec<&String> = operations.keys().collect();
                expected.sort();
                assert_eq!(allowed.iter().collect::<Vec<_>>(), expected, "{target}");
            }
        }
    }
    for path in ["/a/b", "/search/b", "/", "/a/"].map(|path| format!("{NOTES}{path}")) {
        problem(&desk.rest("GET", &path, "").await, 404, &path);
    }
    for path in ["/api/v1/openapi.json", "/api/v1/docs"] {
        problem(&desk.rest("POST", path, "").await, 405, path);
    }
}

#[tokio::test]
async fn the_document_holds_together() {
    let desk = Desk::new().await;
    let document = desk.rest("GET", "/api/v1/openapi.json", "").await.json();
    let mut targets = Vec::new();
    references(&document, &mut targets);
    assert!(targets.len() > 30);
    for target in targets {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target}");
    }
    let schemas = &document["components"]["schemas"];
    for (name, schema) in schemas.as_object().unwrap() {
        assert!(jsonschema::meta::is_valid(schema), "{name}");
    }
    let mut examples = 0;
    check_examples(&document, &document, &mut examples);
    assert!(examples > 15, "{examples}");
    let mut answers = Vec::new();
    let body = r#"{"title": "a", "content": "b"}"#;
    answers.push(("Note", desk.rest("POST", NOTES, body).await));
    answers.push(("NoteList", desk.rest("GET", NOTES, "").await));
    answers.push((
        "NoteHits",
        desk.rest("GET", &format!("{NOTES}/search?q=a"), "").await,
    ));
    answers.push(("Problem", desk.rest("POST", NOTES, "{}").await));
    for (name, answer) in answers {
        conforms(
            &document,
            &json!({"$ref": format!("#/components/schemas/{name}")}),
            &answer.json(),
        );
    }
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(target)) = object.get("$ref") {
                found.push(target.clone());
            }
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

fn check_examples(document: &Value, value: &Value, checked: &mut u32) {
    if let (Some(schema), Some(example)) = (value.get("schema"), value.get("example")) {
        conforms(document, schema, example);
        *checked += 1;
    }
    match value {
        Value::Object(object) => {
            object
                .values()
                .for_each(|value| check_examples(document, value, checked));
        }
        Value::Array(items) => {
            for value in items {
                check_examples(document, value, checked);
            }
        }
        _ => {}
    }
}

fn conforms(document: &Value, schema: &Value, value: &Value) {
    let whole = json!({"components": document["components"], "allOf": [schema]});
    let validator = jsonschema::validator_for(&whole).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(value)
        .map(|e| e.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?} in {value} of {schema}");
}

#[tokio::test]
async fn the_page_shows_everything_and_loads_nothing() {
    let desk = Desk::new().await;
    let page = desk.rest("GET", "/api/v1/docs", "").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    let html = String::from_utf8(page.body.clone()).unwrap();
    for absent in [
        "<script", "http://", "https://", "style=", "src=", "@import", "url(",
    ] {
        assert!(!html.contains(absent), "{absent}");
    }
    let document = desk.rest("GET", "/api/v1/openapi.json", "").await.json();
    for operations in document["paths"].as_object().unwrap().values() {
        for operation in operations.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(html.contains(&format!("<section id=\"{id}\">")), "{id}");
        }
    }
    for name in document["components"]["schemas"]
        .as_object()
        .unwrap()
        .keys()
    {
        assert!(
            html.contains(&format!("<section id=\"schema-{name}\">")),
            "{name}"
        );
    }
    // Every link inside the page leads somewhere, those in problem documents included.
    let mut rest = html.as_str();
    while let Some((_, after)) = rest.split_once("href=\"#") {
        let (target, after) = after.split_once('"').unwrap();
        assert!(html.contains(&format!("id=\"{target}\"")), "{target}");
        rest = after;
    }
    assert!(html.contains("id=\"problem-invalid\""));
    let known = desk
        .ask(
            "GET",
            "/api/v1/docs",
            &[("if-none-match", page.header("etag"))],
            "",
        )
        .await;
    assert_eq!((known.status.as_u16(), known.body.len()), (304, 0));
}

#[tokio::test]
async fn a_field_that_is_given_twice_is_refused() {
    let desk = Desk::new().await;
    desk.rest("POST", NOTES, r#"{"title": "a", "content": "b"}"#)
        .await;
    let path = format!("{NOTES}/note-1");
    for (method, path, body, expected) in [
        (
            "POST",
            NOTES,
            r#"{"title": "a", "content": "b", "title": "c"}"#,
            vec![("title", "repeated")],
        ),
        (
            "POST",
            NOTES,
            r#"{"title": "a", "content": "b", "t\u0061gs": [], "tags": []}"#,
            vec![("tags", "repeated")],
        ),
        (
            "PATCH",
            &path,
            r#"{"content": "x", "content": "x", "content": 1}"#,
            vec![("content", "repeated"), ("content", "wrong_type")],
        ),
        (
            "PUT",
            &path,
            r#"{"title": "a", "title": "a", "odd": 1, "odd": 2}"#,
            vec![
                ("title", "repeated"),
                ("content", "missing"),
                ("odd", "unknown_field"),
            ],
        ),
    ] {
        let document = problem(&desk.rest(method, path, body).await, 422, path);
        assert_eq!(fields(&document), expected, "{body}");
    }
    assert_eq!(desk.rest("GET", &path, "").await.json()["content"], "b");
}

#[tokio::test]
async fn what_the_server_refuses_itself_is_documented_too() {
    let desk = Desk::new().await;
    let server = desk.serve().await;
    let document = desk.rest("GET", "/api/v1/openapi.json", "").await.json();
    let schema = json!({
        "$ref": "#/components/schemas/Problem", "components": document["components"],
    });
    let schema = jsonschema::validator_for(&schema).unwrap();
    let long = format!("{NOTES}?title_prefix={}", "x".repeat(10_000));
    let many: Vec<(&str, &str)> = vec![("x-filler", "x"); 150];
    for (path, headers, status) in [
        (NOTES, vec![("origin", "https://evil.example")], 403),
        (&long, vec![], 414),
        (NOTES, many, 431),
    ] {
        let mut client = server.connect().await;
        let answer = client.request("GET", path, &headers, b"").await.unwrap();
        assert_eq!(answer.status, status);
        // A header that is too large is not read to its end, and the answer is only a status.
        let has_body = status != 431;
        if has_body {
            let body = answer.json();
            let errors = schema.iter_errors(&body).map(|e| e.to_string());
            let errors: Vec<_> = errors.collect();
            assert!(errors.is_empty(), "{status}: {errors:?}");
        }
        for operation in ["get", "post"] {
            let responses = &document["paths"]["/notes"][operation]["responses"];
            let answer = &responses[status.to_string()]["$ref"];
            let answer = answer.as_str().unwrap().trim_start_matches('#');
            let answer = document.pointer(answer).unwrap();
            assert_eq!(answer["content"].is_object(), has_body, "{answer}");
        }
    }
}
