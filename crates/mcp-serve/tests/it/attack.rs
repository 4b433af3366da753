//! The server under attack: each test is named after its threat, and `docs/security.md` names each
//! test. Sockets are raw where a proper client would be too polite.

mod coding;
mod cors;
mod csrf;
mod frames;
mod http2;
mod json;
mod rebinding;
mod sessions;
mod slow;
mod smuggling;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Bytes, routing};
use mcp_serve::{
    Config,
    config::{AllowedHosts, AllowedOrigins},
    test_util::{RawClient, RawResponse, TestServer},
};

use super::edge::start;

/// Longer than anything takes that is going to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server whose routes count how often they are reached.
struct Target {
    server: TestServer,
    reached: Arc<AtomicUsize>,
}

impl Target {
    async fn start(config: Config) -> Self {
        let reached = Arc::new(AtomicUsize::new(0));
        let count = reached.clone();
        let any = routing::any(move |body: Bytes| {
            count.fetch_add(1, Ordering::Relaxed);
            async move { body }
        });
        let routes = Router::new()
            .route("/notes", any.clone())
            .route("/notes/{id}", any);
        Self {
            server: start(routes, config).await,
            reached,
        }
    }

    /// Sends bytes on a connection of their own and reads one answer.
    async fn send(&self, bytes: &[u8]) -> RawResponse {
        let mut client = self.server.connect().await;
        client.send(bytes).await.unwrap();
        client.read_response(false).await.unwrap()
    }

    /// One request on a connection of its own.
    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> RawResponse {
        let mut client = self.server.connect().await;
        client.request(method, path, headers, body).await.unwrap()
    }

    /// How often a route was reached since this was last asked.
    fn reached(&self) -> usize {
        self.reached.swap(0, Ordering::Relaxed)
    }

    /// Fails unless a proper request is answered.
    async fn assert_alive(&self) {
        let answer = self.ask("GET", "/notes", &[], b"").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        self.reached();
    }
}

/// A server for the public: two hosts and two origins.
fn public() -> Config {
    Config {
        allowed_hosts: AllowedHosts::parse("notes.example.com,127.0.0.1").unwrap(),
        allowed_origins: AllowedOrigins::parse(
            "https://app.example.com,http://dev.example.com:5173",
        )
        .unwrap(),
        ..Config::default()
    }
}

/// Every answer that comes until the server closes the connection, which it must.
async fn answers_until_closed(client: &mut RawClient) -> Vec<u16> {
    let mut statuses = Vec::new();
    while let Ok(answer) = client.read_response(false).await {
        statuses.push(answer.status);
        assert!(statuses.len() < 100, "answers without end");
    }
    assert!(
        client.is_closed_within(PATIENCE).await,
        "after {statuses:?}"
    );
    statuses
}
