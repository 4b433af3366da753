//! Whole requests to the REST API over notes in memory: paths, queries, conditions, `Accept`, bodies, pages.

use std::{cell::RefCell, sync::Arc};

use mcp_notes::{
    audit::Audit,
    rest::{self, Options},
    rules::Rules,
};
use mcp_serve::auth::Principal;
use notes::{Limits, Notes, clock::CountingIds};
use tokio::runtime::{Builder, Runtime};
use tower::Service as _;

use crate::{NOTES, oracle, request};

/// After so many inputs there are new notes.
const INPUTS_PER_STORE: u32 = 250;

/// Notes that are there from the beginning, with the ids `note-1` and on.
const FIRST: [&str; 2] = [
    r##"{"title": "Garden plan", "content": "# Beds\n\n- [beans](note:///note-2)\n- peas", "tags": ["garden"]}"##,
    r#"{"title": "Äpfel", "content": "| a | b |\n|---|---|\n| 1 | <br> |", "tags": ["garden", "東京"]}"#,
];

/// The API never panics and never fails; what it calls JSON is JSON, and a page holds nothing but what is allowed.
pub fn rest_request(data: &[u8]) {
    thread_local! {
        static DESK: RefCell<Option<Desk>> = const { RefCell::new(None) };
    }
    DESK.with_borrow_mut(|desk| {
        let desk = desk.get_or_insert_with(Desk::new);
        desk.ask(data);
        if desk.left == 0 {
            desk.close();
            *desk = Desk::new();
        }
    });
}

struct Desk {
    runtime: Runtime,
    notes: Notes,
    routes: axum::Router,
    left: u32,
}

impl Desk {
    fn new() -> Self {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let store = runtime
            .block_on(notes::open("sqlite::memory:"))
            .expect("a store");
        let notes = Notes::new(store, Limits::default()).with_ids(Arc::new(CountingIds::default()));
        let options = Options {
            body_bytes_max: 64 << 10,
            cache: std::time::Duration::ZERO,
            rules: Rules::default(),
            audit: Audit::off(),
        };
        let routes = rest::router(notes.clone(), options);
        let mut desk = Self {
            runtime,
            notes,
            routes,
            left: INPUTS_PER_STORE,
        };
        for body in FIRST {
            let post = format!("POST {NOTES}\ncontent-type: application/json\n\n{body}");
            assert_eq!(desk.ask(post.as_bytes()), Some(201));
        }
        desk
    }

    fn close(&self) {
        let _ = self.runtime.block_on(self.notes.close());
    }

    fn ask(&mut self, data: &[u8]) -> Option<u16> {
        self.left = self.left.saturating_sub(1);
        let mut request = request::read(data)?;
        request.extensions_mut().insert(Principal::anonymous());
        let routes = &mut self.routes;
        let answer = self.runtime.block_on(async {
            let response = routes.call(request).await.expect("infallible");
            let (parts, body) = response.into_parts();
            let body = axum::body::to_bytes(body, 16 << 20)
                .await
                .expect("a body of some megabytes");
            (parts, body)
        });
        let (parts, body) = answer;
        assert!(
            parts.status.as_u16() < 500,
            "{}",
            String::from_utf8_lossy(&body)
        );
        let media = parts
            .headers
            .get("content-type")
            .map_or(&b""[..], |it| it.as_bytes());
        if media.ends_with(b"json") && !body.is_empty() {
            let json: Result<serde_json::Value, _> = serde_json::from_slice(&body);
            assert!(json.is_ok(), "{}", String::from_utf8_lossy(&body));
        }
        if media.starts_with(b"text/html") && !body.is_empty() {
            let html = String::from_utf8_lossy(&body);
            for scripting in [true, false] {
                let page = oracle::page(&html, NOTES, scripting);
                assert!(
                    page.complaints.is_empty(),
                    "{:?} in {html}",
                    page.complaints
                );
            }
        }
        Some(parts.status.as_u16())
    }
}
