//! Notes that attack who reads them in a browser: a corpus of payloads against every wall, alone and
//! together.

mod oracle;

use mcp_notes::web::markdown::Markdown;
use serde_json::json;

use crate::desk::{Answer, Desk};

const NOTES: &str = "/api/v1/notes";
const HTML: [(&str, &str); 1] = [("accept", "text/html,*/*;q=0.5")];

/// A payload and what it is.
struct Payload {
    name: String,
    text: String,
}

/// `%%` begins a payload with its name; `\u{..}` is a character that would not be seen.
fn payloads() -> Vec<Payload> {
    let all = include_str!("xss/payloads.txt");
    let payloads = all.split("%% ").skip(1).map(|part| {
        let (name, text) = part.split_once('\n').unwrap();
        let mut plain = String::new();
        let mut rest = text.trim_end_matches('\n');
        while let Some((before, after)) = rest.split_once("\\u{") {
            let (code, after) = after.split_once('}').unwrap();
            plain.push_str(before);
            plain.push(u32::from_str_radix(code, 16).unwrap().try_into().unwrap());
            rest = after;
        }
        plain.push_str(rest);
        Payload {
            name: name.to_owned(),
            text: plain,
        }
    });
    payloads.collect()
}

/// A payload in places of Markdown where text is read in another way.
fn places(text: &str) -> Vec<String> {
    let line = text.replace('\n', " ");
    vec![
        text.to_owned(),
        format!("\n\n{text}\n\n*after*"),
        format!("- {}\n", text.replace('\n', "\n  ")),
        format!("> > {}", text.replace('\n', "\n> > ")),
        format!("## {line} ##"),
        format!("| a |\n|---|\n| {} |", line.replace('|', "\\|")),
        format!("*{line}* **{line}** ~~{line}~~ `{line}`"),
        format!("[{line}](https://a.example)"),
        format!("[x](<{line}>)"),
        format!("[x](https://a.example/{line})"),
        format!("[x](https://a.example \"{line}\")"),
        format!("![{line}](https://a.example/x.png '{line}')"),
        format!("[x][r]\n\n[r]: <{line}> \"{line}\""),
        format!("<{line}>"),
        format!("```{line}\n{text}\n```"),
        format!("<sub>{text}<kbd>"),
    ]
}

#[test]
fn no_payload_leaves_anything_but_what_is_allowed() {
    let markdown = Markdown::new(NOTES);
    let all = payloads();
    assert!(all.len() >= 280, "{}", all.len());
    let mut rendered = 0;
    for Payload { name, text } in &all {
        for place in places(text) {
            let html = markdown.to_html(&place);
            let complaints = oracle::fragment(&html, NOTES);
            assert!(
                complaints.is_empty(),
                "{name}: {complaints:?}\n{place}\n{html}"
            );
            // What is parsed, written and parsed again stays the same: nothing can change its meaning.
            assert_eq!(markdown.clean(&html), html, "{name}: {place}");
            rendered += 1;
        }
    }
    assert_eq!(rendered, all.len() * 16);
}

#[test]
fn the_second_wall_stands_alone() {
    let markdown = Markdown::new(NOTES);
    for Payload { name, text } in payloads() {
        for html in [
            text.clone(),
            format!("<p>{text}</p>"),
            format!("<table><tr><td>{text}"),
            format!("<a href=\"{text}\" title=\"{text}\">x</a>"),
            format!("<a href='{text}'><svg><math>{text}"),
            pulldown(&text),
        ] {
            let cleaned = markdown.clean(&html);
            let complaints = oracle::fragment(&cleaned, NOTES);
            assert!(
                complaints.is_empty(),
                "{name}: {complaints:?}\n{html}\n{cleaned}"
            );
        }
    }
}

/// Markdown as it is rendered without the first wall.
fn pulldown(text: &str) -> String {
    let mut html = String::new();
    let all = pulldown_cmark::Options::all();
    pulldown_cmark::html::push_html(&mut html, pulldown_cmark::Parser::new_ext(text, all));
    html
}

#[test]
fn the_oracle_sees_what_is_wrong() {
    let blind = payloads()
        .into_iter()
        .filter(|payload| oracle::fragment(&pulldown(&payload.text), NOTES).is_empty())
        .count();
    // Some payloads are nothing but text as soon as they are read as CommonMark.
    assert!(blind < 60, "{blind}");
    for bad in [
        "<a href=\"https://a.example\">x</a>",
        "<a rel=\"noopener noreferrer nofollow\" href=\"/api/v1/notes/../x\">x</a>",
        "<a rel=\"noopener noreferrer nofollow\" href=\" javascript:x\">x</a>",
        "<p class=x>",
        "<!-- x -->",
    ] {
        assert!(!oracle::fragment(bad, NOTES).is_empty(), "{bad}");
    }
}

#[tokio::test]
async fn no_payload_gets_out_of_its_page_and_none_is_changed() {
    let desk = Desk::new().await;
    let (mut shown, mut refused) = (0, Vec::new());
    for Payload { name, text } in payloads() {
        let line = text.replace('\n', " ");
        let title: String = line.trim().chars().take(255).collect();
        let tag: String = line.chars().take(40).collect();
        let mut note = json!({"title": title, "content": text, "tags": [tag]});
        let mut created = desk.rest("POST", NOTES, &note.to_string()).await;
        if created.status == 422 {
            // Not everything may be a tag.
            note["tags"] = json!([]);
            created = desk.rest("POST", NOTES, &note.to_string()).await;
        }
        if created.status == 422 {
            refused.push(name);
            continue;
        }
        assert_eq!(created.status, 201, "{name}: {created:?}");
        let path = created.header("location").to_owned();
        let answer = desk.ask("GET", &path, &HTML, "").await;
        let html = String::from_utf8(answer.body.clone()).unwrap();
        let tags = created.json()["tags"].clone();
        for scripting in [true, false] {
            let page = oracle::page(&html, NOTES, scripting);
            assert!(
                page.complaints.is_empty(),
                "{name}: {:?}\n{html}",
                page.complaints
            );
            assert_eq!((&page.title, &page.heading), (&title, &title), "{name}");
            assert_eq!(json!(page.tags), tags, "{name}");
        }
        policed(&answer, &html);
        let kept = desk.rest("GET", &path, "").await.json();
        assert_eq!(kept["content"], json!(text), "{name}");
        assert_eq!(kept["title"], json!(title), "{name}");
        shown += 1;
    }
    assert!(shown >= 280, "{shown}, refused: {refused:?}");
}

/// Holds a page to the policy that it is sent with: its one style, known by its hash.
fn policed(answer: &Answer, html: &str) {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use sha2::{Digest as _, Sha256};

    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    let style = oracle::page(html, NOTES, true).style;
    let hash = STANDARD.encode(Sha256::digest(&style));
    assert_eq!(
        answer.header("content-security-policy"),
        format!(
            "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'"
        )
    );
}
