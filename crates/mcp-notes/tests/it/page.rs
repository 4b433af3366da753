//! One note as a page for people: who gets it, and what is on it.

use serde_json::json;

use crate::desk::Desk;

const PATH: &str = "/api/v1/notes/note-1";
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

async fn desk() -> Desk {
    let desk = Desk::new().await;
    let note = json!({
        "title": "Beds & <borders>",
        "content": "## Beds\n\n- [x] beans\n- see [peas](note:///note-2)\n\n`a < b`",
        "tags": ["garden", "r&d"],
    });
    let created = desk.rest("POST", "/api/v1/notes", &note.to_string()).await;
    assert_eq!(created.status, 201);
    desk
}

#[tokio::test]
async fn a_page_is_for_those_who_prefer_it() {
    let desk = desk().await;
    let json = desk.rest("GET", PATH, "").await;
    for (accept, is_page) in [
        (BROWSER, true),
        ("text/html", true),
        ("application/json;q=0.5, text/html;q=0.6", true),
        ("*/*", false),
        ("text/html;q=0.5, */*", false),
        ("application/json", false),
        ("image/png", false),
    ] {
        for path in [PATH, "/api/v1/mcp/notes/note-1"] {
            let answer = desk.ask("GET", path, &[("accept", accept)], "").await;
            assert_eq!(
                (answer.status.as_u16(), answer.header("vary")),
                (200, "accept")
            );
            let kind = if is_page {
                "text/html; charset=utf-8"
            } else {
                "application/json"
            };
            assert_eq!(answer.header("content-type"), kind, "{accept}");
            assert_eq!(answer.header("cache-control"), "private, no-cache");
            assert_eq!(
                answer.header("content-security-policy").is_empty(),
                !is_page
            );
            assert_eq!(answer.body == json.body, !is_page);
        }
    }
    let gone = desk
        .ask("GET", "/api/v1/notes/other", &[("accept", BROWSER)], "")
        .await;
    assert_eq!(gone.status, 404);
    assert_eq!(gone.header("content-type"), "application/problem+json");
}

#[tokio::test]
async fn each_representation_has_its_own_entity_tag() {
    let desk = desk().await;
    let page = desk.ask("GET", PATH, &[("accept", BROWSER)], "").await;
    let (of_page, of_json) = (page.header("etag").to_owned(), "\"v1\"");
    assert_ne!(of_page, of_json);
    for (accept, known, status) in [
        (BROWSER, of_page.as_str(), 304),
        (BROWSER, of_json, 200),
        ("*/*", of_json, 304),
        ("*/*", &of_page, 200),
    ] {
        let asked = [("accept", accept), ("if-none-match", known)];
        let answer = desk.ask("GET", PATH, &asked, "").await;
        assert_eq!(answer.status, status, "{accept} {known}");
        assert_eq!(answer.header("vary"), "accept");
        assert_eq!(answer.body.is_empty(), status == 304);
    }
    // It names no version, so nothing can be changed on the ground of it.
    let headers = [
        ("if-match", of_page.as_str()),
        ("content-type", "application/json"),
    ];
    let change = desk.ask("PATCH", PATH, &headers, r#"{"title": "b"}"#).await;
    assert_eq!(change.status, 412);
    let change = desk.rest("PATCH", PATH, r#"{"title": "b"}"#).await;
    assert_eq!(change.status, 200);
    let again = desk.ask("GET", PATH, &[("accept", BROWSER)], "").await;
    assert_ne!(again.header("etag"), of_page);
}

#[tokio::test]
async fn the_page_has_everything_of_the_note() {
    let desk = desk().await;
    let page = desk.ask("GET", PATH, &[("accept", BROWSER)], "").await;
    let html = String::from_utf8(page.body).unwrap();
    for part in [
        "<title>Beds &amp; &lt;borders&gt;</title>",
        "<h1 lang=\"\" dir=\"auto\">Beds &amp; &lt;borders&gt;</h1>",
        "<li lang=\"\" dir=\"auto\">r&amp;d</li>",
        "<time datetime=\"2026-01-31T12:00:00Z\">",
        "<bdi>anonymous</bdi>, version 1.",
        "<h2>Beds</h2>",
        "<li>\u{2611} beans</li>",
        "<a href=\"/api/v1/notes/note-2\" rel=\"noopener noreferrer nofollow\">peas</a>",
        "<code>a &lt; b</code>",
    ] {
        assert!(html.contains(part), "{part}\n{html}");
    }
    let document = desk.rest("GET", "/api/v1/openapi.json", "").await.json();
    let answer = &document["paths"]["/notes/{id}"]["get"]["responses"]["200"];
    assert_eq!(
        answer["content"]["text/html"],
        json!({"schema": {"type": "string"}})
    );
    assert!(answer["headers"]["Vary"].is_object());
    let described = desk.rest("GET", "/api/v1/docs", "").await;
    assert!(
        String::from_utf8(described.body)
            .unwrap()
            .contains("<code>text/html</code>: string")
    );
}
