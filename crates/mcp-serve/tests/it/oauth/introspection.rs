//! Opaque tokens: their issuer is asked, not too often, and never told on.

use http::StatusCode;
use jsonwebtoken::get_current_timestamp;
use mcp_serve::{
    auth::oauth::{EndpointUrl, Introspection, IssuerUrl, OAuth, OAuthError, Settings},
    test_util::TestServer,
};
use serde_json::{Value, json};

use super::{
    Hands, guarded,
    issuer::{Issuer, with},
    refused, settings, taken, unavailable,
};

const SECRET: &str = "p:ss wörd";

pub(super) fn asking(issuer: &Issuer) -> (Settings, Hands) {
    let (mut settings, hands) = settings(&[&issuer.url()]);
    let url = IssuerUrl::parse(&issuer.url()).unwrap();
    let asked = Introspection::new(url, "notes".to_owned(), SECRET.to_owned());
    settings.introspection = Some(asked);
    (settings, hands)
}

/// What the issuer says of a token from now on.
pub(super) fn say(issuer: &Issuer, token: &str, changes: Value) {
    let said = with(issuer.claims(), json!({ "active": true }));
    let said = with(said, changes);
    let mut book = issuer.book.lock().unwrap();
    book.tokens.insert(token.to_owned(), said);
}

async fn pair() -> (Issuer, TestServer, Hands) {
    let issuer = Issuer::start().await;
    let (settings, hands) = asking(&issuer);
    let server = guarded(settings).await;
    (issuer, server, hands)
}

#[tokio::test]
async fn an_opaque_token_is_what_its_issuer_says() {
    let (issuer, server, _) = pair().await;
    say(&issuer, "good", json!({ "token_type": "Bearer" }));
    let who = taken(&server, "good").await;
    assert_eq!(who["key"], format!("{} alice", issuer.url()));
    assert_eq!(who["scopes"], "notes:read notes:write");
    assert_eq!(who["client"], "desk");
    // The issuer may leave itself out.
    say(&issuer, "short", json!({ "iss": null, "iat": null }));
    taken(&server, "short").await;
    // RFC 6749 section 2.3.1: both parts are encoded before they are joined.
    let login = &issuer.book.lock().unwrap().logins[0];
    assert_eq!(login, "Basic bm90ZXM6cCUzQXNzK3clQzMlQjZyZA==");
}

#[tokio::test]
async fn a_token_without_anybody_to_ask_is_refused() {
    let issuer = Issuer::start().await;
    say(&issuer, "good", json!({}));
    let server = guarded(settings(&[&issuer.url()]).0).await;
    refused(&server, "good").await;
    assert_eq!(issuer.count("/introspect"), 0);
}

#[tokio::test]
async fn a_token_that_is_signed_is_not_looked_up() {
    let (issuer, server, _) = pair().await;
    taken(&server, &issuer.token(json!({}))).await;
    let forged = issuer.token(json!({ "aud": "https://mail.example.com" }));
    say(&issuer, &forged, json!({}));
    refused(&server, &forged).await;
    assert_eq!(issuer.count("/introspect"), 0);
}

#[tokio::test]
async fn an_opaque_token_for_somebody_else_is_refused() {
    let (issuer, server, _) = pair().await;
    let now = get_current_timestamp();
    let cases = [
        ("revoked", json!({ "active": false })),
        ("mail", json!({ "aud": "https://mail.example.com" })),
        ("generic", json!({ "aud": "api" })),
        ("nobodys", json!({ "aud": null })),
        ("foreign", json!({ "iss": "https://login.example.com" })),
        ("expired", json!({ "exp": now - 1 })),
        ("endless", json!({ "exp": null })),
        ("early", json!({ "nbf": now + 120 })),
        ("anonymous", json!({ "sub": null })),
        ("dpop", json!({ "token_type": "DPoP" })),
        ("bound", json!({ "cnf": { "jkt": "x" } })),
    ];
    for (token, changes) in cases {
        say(&issuer, token, changes);
        refused(&server, token).await;
    }
    refused(&server, "unknown").await;
    say(&issuer, "good", json!({ "aud": ["a", super::RESOURCE] }));
    taken(&server, "good").await;
}

#[tokio::test]
async fn an_answer_counts_for_a_while_and_not_longer() {
    let (issuer, server, hands) = pair().await;
    say(&issuer, "good", json!({}));
    for _ in 0..5 {
        taken(&server, "good").await;
    }
    assert_eq!(issuer.count("/introspect"), 1);
    // Revoked: it takes effect when the answer is old.
    say(&issuer, "good", json!({ "active": false }));
    hands.forward(59);
    taken(&server, "good").await;
    hands.forward(1);
    refused(&server, "good").await;
    for _ in 0..5 {
        refused(&server, "good").await;
    }
    assert_eq!(issuer.count("/introspect"), 2);
    hands.forward(10);
    refused(&server, "good").await;
    assert_eq!(issuer.count("/introspect"), 3);
}

#[tokio::test]
async fn an_answer_never_outlives_its_token() {
    let (issuer, server, hands) = pair().await;
    let end = get_current_timestamp() + 20;
    say(&issuer, "brief", json!({ "exp": end }));
    taken(&server, "brief").await;
    say(&issuer, "brief", json!({ "active": false }));
    hands.forward(20);
    refused(&server, "brief").await;
}

#[tokio::test]
async fn many_different_tokens_do_not_fill_the_memory() {
    let issuer = Issuer::start().await;
    let (mut settings, _) = asking(&issuer);
    if let Some(asked) = &mut settings.introspection {
        asked.cached_max = 4;
    }
    let server = guarded(settings).await;
    say(&issuer, "good", json!({}));
    taken(&server, "good").await;
    for n in 0..20 {
        refused(&server, &format!("guess{n}")).await;
    }
    // Guesses push out guesses, and not what is known to be good.
    taken(&server, "good").await;
    assert_eq!(issuer.count("/introspect"), 21);
    refused(&server, "guess0").await;
    assert_eq!(issuer.count("/introspect"), 22);
}

#[tokio::test]
async fn while_the_issuer_is_down_only_what_is_known_counts() {
    let (issuer, server, hands) = pair().await;
    say(&issuer, "good", json!({}));
    taken(&server, "good").await;
    issuer.fail(Some(StatusCode::BAD_GATEWAY));
    taken(&server, "good").await;
    unavailable(&server, "other").await;
    hands.forward(60);
    unavailable(&server, "good").await;
    issuer.fail(None);
    taken(&server, "good").await;
}

#[tokio::test]
async fn a_login_that_the_issuer_does_not_know_is_our_failure() {
    let (issuer, server, _) = pair().await;
    say(&issuer, "good", json!({}));
    taken(&server, "good").await;
    issuer.fail(Some(StatusCode::UNAUTHORIZED));
    unavailable(&server, "other").await;
}

#[tokio::test]
async fn the_endpoint_may_be_given() {
    let issuer = Issuer::start().await;
    let (mut settings, _) = asking(&issuer);
    issuer.remove("/.well-known/oauth-authorization-server");
    say(&issuer, "good", json!({}));
    unavailable(&guarded(settings.clone()).await, "good").await;
    if let Some(asked) = &mut settings.introspection {
        let url = format!("{}/introspect", issuer.url());
        asked.endpoint = Some(EndpointUrl::parse(&url).unwrap());
    }
    taken(&guarded(settings).await, "good").await;
}

#[tokio::test]
async fn an_issuer_of_opaque_tokens_needs_no_keys() {
    let issuer = Issuer::start().await;
    say(&issuer, "good", json!({}));
    issuer.publish(&[]);
    let server = guarded(asking(&issuer).0).await;
    taken(&server, "good").await;
    refused(&server, &issuer.token(json!({}))).await;
    let path = "/.well-known/oauth-authorization-server";
    issuer.set(path, with(issuer.metadata(), json!({ "jwks_uri": null })));
    let server = guarded(asking(&issuer).0).await;
    taken(&server, "good").await;
    refused(&server, &issuer.token(json!({}))).await;
}

#[tokio::test]
async fn the_secret_of_the_client_is_not_shown() {
    let issuer = Issuer::start().await;
    let (settings, _) = asking(&issuer);
    let shown = format!("{:?}", settings.introspection);
    assert!(!shown.contains(SECRET), "{shown}");
    let shown = format!("{:?}", OAuth::new(settings.clone()).unwrap());
    assert!(!shown.contains(SECRET), "{shown}");
    let mut stranger = settings;
    stranger.issuers = vec![IssuerUrl::parse("https://login.example.com").unwrap()];
    assert!(matches!(
        OAuth::new(stranger),
        Err(OAuthError::UnknownIssuer)
    ));
}
