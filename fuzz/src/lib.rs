//! What the fuzz targets do with their inputs, and what must hold then. A panic is a finding, and so are ten seconds
//! or a gigabyte.
//!
//! Inputs are text as far as they can be, so that seeds are written by hand: a request is its first line, its header
//! lines, an empty line and its body.

mod archive;
mod edge;
#[path = "../../crates/mcp-notes/tests/it/xss/oracle.rs"]
mod oracle;
mod parsers;
mod request;
mod rest;
mod store;
mod tokens;

use mcp_notes::web::markdown::Markdown;

pub use archive::archive;
pub use edge::mcp_request;
pub use parsers::{bearer, forwarded, hosts, packet, proxy_header, signal};
pub use rest::rest_request;
pub use store::{cursor, search};
pub use tokens::{token, tokens_file};

/// The path below which notes are.
const NOTES: &str = "/api/v1/notes";

/// The HTML of any text holds nothing but what is allowed, and stays the same when it is parsed and written again; so
/// does any HTML behind the second wall.
pub fn markdown(data: &[u8]) {
    thread_local! {
        static MARKDOWN: Markdown = Markdown::new(NOTES);
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    MARKDOWN.with(|markdown| {
        let html = markdown.to_html(text);
        let complaints = oracle::fragment(&html, NOTES);
        assert!(complaints.is_empty(), "{complaints:?} in {html}");
        assert_eq!(markdown.clean(&html), html);
        let cleaned = markdown.clean(text);
        let complaints = oracle::fragment(&cleaned, NOTES);
        assert!(complaints.is_empty(), "{complaints:?} in {cleaned}");
    });
}
