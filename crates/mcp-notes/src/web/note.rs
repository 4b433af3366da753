//! The page that shows one note: plain HTML, made here, without any script.

use std::fmt::Write as _;

use http::HeaderValue;

use super::{
    html::{self, Escaped},
    markdown::Markdown,
};
use crate::wire::NoteView;

const STYLE: &str = include_str!("note.css");

/// What the page may load.
pub(crate) fn policy() -> HeaderValue {
    html::policy(STYLE)
}

/// The page for `note`. The languages of title and text are not known, and neither is their
/// direction, which must not reach the words around them.
pub(crate) fn page(note: &NoteView, markdown: &Markdown) -> String {
    let mut html = String::with_capacity(4 << 10);
    let title = Escaped(&note.title);
    html.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    let _ = write!(
        html,
        "<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<header>\n\
         <h1 lang=\"\" dir=\"auto\">{title}</h1>\n"
    );
    if !note.tags.is_empty() {
        html.push_str("<ul aria-label=\"Tags\">\n");
        for tag in &note.tags {
            let _ = writeln!(html, "<li lang=\"\" dir=\"auto\">{}</li>", Escaped(tag));
        }
        html.push_str("</ul>\n");
    }
    let _ = write!(
        html,
        "<p>Created <time datetime=\"{0}\">{0}</time> by <bdi>{1}</bdi>, changed \
         <time datetime=\"{2}\">{2}</time> by <bdi>{3}</bdi>, version {4}.</p>\n</header>\n",
        note.created_at,
        Escaped(&note.created_by),
        note.updated_at,
        Escaped(&note.updated_by),
        note.version
    );
    html.push_str("<article lang=\"\" dir=\"auto\">\n");
    html.push_str(&markdown.to_html(&note.content));
    html.push_str("</article>\n</main>\n</body>\n</html>\n");
    html
}
