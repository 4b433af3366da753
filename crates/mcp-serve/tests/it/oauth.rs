//! This server as an OAuth 2.1 protected resource, before a real issuer on loopback: which tokens are
//! taken, how keys are read, and how opaque tokens are looked up. Each attack has a test of its name.

mod challenges;
mod flood;
mod introspection;
mod issuer;
mod keys;
mod outages;
mod tokens;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Extension, Router, routing};
use mcp_serve::{
    Config,
    auth::{
        Principal, Scopes,
        oauth::{IssuerUrl, OAuth, ResourceUrl, Settings},
    },
    limit::Budgets,
    test_util::{RawResponse, TestServer},
};
use serde_json::{Value, json};

use crate::edge::start;

/// What the tests protect.
const RESOURCE: &str = "https://notes.example.com/mcp";

/// A clock that stands still until it is moved.
#[derive(Clone, Default)]
struct Hands(Arc<AtomicU64>);

impl Hands {
    fn forward(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

/// Settings for tokens of this issuer, with a clock that the test moves.
fn settings(issuers: &[&str]) -> (Settings, Hands) {
    let issuers = issuers.iter().map(|url| IssuerUrl::parse(url).unwrap());
    let resources = [RESOURCE, "https://notes.example.com/api/v1/mcp"];
    let resources = resources.map(|url| ResourceUrl::parse(url).unwrap());
    let mut settings = Settings::new(issuers.collect(), resources.into());
    settings.basic_scopes = Scopes::parse("notes:read");
    let hands = Hands::default();
    let read = hands.clone();
    settings.clock = Arc::new(move || Duration::from_secs(read.0.load(Ordering::Relaxed)));
    (settings, hands)
}

/// A server that tells who calls.
async fn guarded(settings: Settings) -> TestServer {
    guarded_by(settings, Budgets::default()).await
}

/// The same with these budgets.
async fn guarded_by(settings: Settings, budgets: Budgets) -> TestServer {
    let who = |Extension(who): Extension<Principal>| async move {
        let identity = who.identity();
        let about = json!({
            "key": who.key(),
            "issuer": identity.issuer,
            "subject": identity.subject,
            "client": identity.client_id,
            "scopes": identity.scopes.as_ref().map(ToString::to_string),
            "ends": identity.expires_at.map(jiff::Timestamp::as_second),
            "actor": identity.actor.as_ref().map(|actor| &actor.subject),
            "credential": identity.credential,
        });
        about.to_string()
    };
    let config = Config {
        authenticator: Arc::new(OAuth::new(settings).unwrap()),
        budgets,
        ..Config::default()
    };
    start(Router::new().route("/who", routing::get(who)), config).await
}

/// Asks the server who the holder of this token is.
async fn ask(server: &TestServer, token: &str) -> RawResponse {
    let field = format!("Bearer {token}");
    let headers = [("Authorization", field.as_str())];
    let mut client = server.connect().await;
    client.request("GET", "/who", &headers, b"").await.unwrap()
}

/// Who the server says that the holder of a token is.
async fn taken(server: &TestServer, token: &str) -> Value {
    let answer = ask(server, token).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// A token is refused as RFC 6750 section 3.1 has it, and nothing of why is told.
async fn refused(server: &TestServer, token: &str) {
    let answer = ask(server, token).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    assert_eq!(answer.json()["detail"], "authentication required");
}

/// A token cannot be judged now.
async fn unavailable(server: &TestServer, token: &str) {
    let answer = ask(server, token).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some());
}
