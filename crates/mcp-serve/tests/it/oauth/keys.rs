//! How the keys of an issuer are found, kept and renewed.

use http::StatusCode;
use mcp_serve::auth::oauth::{IssuerUrl, OAuth, OAuthError, ResourceUrl, Settings};
use serde_json::json;

use super::{
    RESOURCE, ask, guarded,
    issuer::{Issuer, Key, Page, with},
    refused, settings, taken, unavailable,
};

const RFC_8414: &str = "/.well-known/oauth-authorization-server";
const OIDC: &str = "/.well-known/openid-configuration";
const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

#[tokio::test]
async fn keys_are_read_once_and_again_when_they_are_old() {
    let issuer = Issuer::start().await;
    let (settings, hands) = settings(&[&issuer.url()]);
    let server = guarded(settings).await;
    let token = issuer.token(json!({}));
    for _ in 0..5 {
        taken(&server, &token).await;
    }
    assert_eq!(issuer.count("/jwks"), 1);
    hands.forward(9 * MINUTE);
    taken(&server, &token).await;
    assert_eq!(issuer.count("/jwks"), 1);
    hands.forward(2 * MINUTE - 1);
    // This one does not wait for the keys; the new ones come in the background.
    taken(&server, &token).await;
    let second = Key::elliptic("second");
    issuer.publish(&[&second]);
    taken(&server, &second.sign(&issuer.claims())).await;
    assert!((2..=3).contains(&issuer.count("/jwks")));
}

#[tokio::test]
async fn an_issuer_says_how_long_its_keys_hold_within_bounds() {
    for (asked, minutes_fresh) in [(0, 1), (1800, 30), (1_000_000, 60)] {
        let issuer = Issuer::start().await;
        let page = json!({ "keys": [issuer.key.public] });
        issuer.put("/jwks", Page::Aged(page, asked));
        let (settings, hands) = settings(&[&issuer.url()]);
        let server = guarded(settings).await;
        let token = issuer.token(json!({}));
        taken(&server, &token).await;
        hands.forward(minutes_fresh * MINUTE - 1);
        taken(&server, &token).await;
        assert_eq!(issuer.count("/jwks"), 1, "{asked}");
        // Now the keys are old: they are read again, after which the first ones are gone.
        hands.forward(1);
        issuer.publish(&[&Key::elliptic("second")]);
        taken(&server, &token).await;
        refused_at_last(&server, &token).await;
    }
}

/// The keys are renewed in the background; a token of a key that is gone is refused soon.
async fn refused_at_last(server: &mcp_serve::test_util::TestServer, token: &str) {
    for _ in 0..1000 {
        match ask(server, token).await.status {
            200 => tokio::task::yield_now().await,
            401 => return,
            other => panic!("{other}"),
        }
    }
    panic!("the old key still counts");
}

#[tokio::test]
async fn a_key_that_is_new_is_taken_at_once_key_rotation() {
    let issuer = Issuer::start().await;
    let server = guarded(settings(&[&issuer.url()]).0).await;
    let old = issuer.token(json!({}));
    taken(&server, &old).await;
    let second = Key::elliptic("second");
    issuer.publish(&[&second, &issuer.key]);
    taken(&server, &second.sign(&issuer.claims())).await;
    taken(&server, &old).await;
    assert_eq!(issuer.count("/jwks"), 2);
}

#[tokio::test]
async fn unknown_keys_do_not_flood_the_issuer_kid() {
    let issuer = Issuer::start().await;
    let (settings, hands) = settings(&[&issuer.url()]);
    let server = guarded(settings).await;
    taken(&server, &issuer.token(json!({}))).await;
    let stranger = |id: &str| Key::elliptic(id).sign(&issuer.claims());
    for n in 0..50 {
        refused(&server, &stranger(&format!("k{n}"))).await;
    }
    assert_eq!(issuer.count("/jwks"), 2);
    hands.forward(MINUTE - 1);
    refused(&server, &stranger("late")).await;
    assert_eq!(issuer.count("/jwks"), 2);
    hands.forward(1);
    refused(&server, &stranger("later")).await;
    assert_eq!(issuer.count("/jwks"), 3);
    taken(&server, &issuer.token(json!({}))).await;
}

#[tokio::test]
async fn callers_who_come_together_ask_the_issuer_once() {
    let issuer = Issuer::start().await;
    let server = guarded(settings(&[&issuer.url()]).0).await;
    let token = issuer.token(json!({}));
    let askers = (0..20).map(|_| taken(&server, &token));
    futures_util::future::join_all(askers).await;
    assert_eq!(issuer.count("/jwks"), 1);
    assert_eq!(issuer.count(RFC_8414), 1);
}

#[tokio::test]
async fn a_key_name_leads_nowhere_kid_injection() {
    let issuer = Issuer::start().await;
    let server = guarded(settings(&[&issuer.url()]).0).await;
    let long = "k".repeat(4000);
    for id in [
        "../../etc/passwd",
        "/dev/null",
        "https://evil.example.com/jwks",
        "' OR 1=1 --",
        "first\u{0}",
        "",
        long.as_str(),
    ] {
        let header = with(issuer.key.header(), json!({ "kid": id }));
        refused(&server, &issuer.key.sign_with(&header, &issuer.claims())).await;
    }
    let asked = issuer.book.lock().unwrap().asked.clone();
    assert!(asked.iter().all(|path| path == "/jwks" || path == RFC_8414));
}

#[tokio::test]
async fn a_token_that_names_no_key_has_the_only_one_of_its_kind() {
    let issuer = Issuer::start().await;
    let server = guarded(settings(&[&issuer.url()]).0).await;
    let header = with(issuer.key.header(), json!({ "kid": null }));
    let token = issuer.key.sign_with(&header, &issuer.claims());
    taken(&server, &token).await;

    issuer.publish(&[&issuer.key, &Key::elliptic("second")]);
    let server = guarded(settings(&[&issuer.url()]).0).await;
    refused(&server, &token).await;
}

#[tokio::test]
async fn known_keys_count_while_the_issuer_is_down_but_not_for_ever() {
    let issuer = Issuer::start().await;
    let (settings, hands) = settings(&[&issuer.url()]);
    let server = guarded(settings).await;
    let token = issuer.token(json!({}));
    taken(&server, &token).await;
    issuer.fail(Some(StatusCode::BAD_GATEWAY));
    hands.forward(23 * HOUR);
    taken(&server, &token).await;
    // It may be signed with a key that only the issuer could tell.
    unavailable(&server, &Key::elliptic("second").sign(&issuer.claims())).await;
    hands.forward(HOUR);
    unavailable(&server, &token).await;
    issuer.fail(None);
    unavailable(&server, &token).await;
    hands.forward(5);
    taken(&server, &token).await;
}

#[tokio::test]
async fn a_key_that_is_gone_counts_no_longer_when_nobody_came_in_between() {
    let issuer = Issuer::start().await;
    let (settings, hands) = settings(&[&issuer.url()]);
    let server = guarded(settings).await;
    let token = issuer.token(json!({}));
    taken(&server, &token).await;
    // The issuer was away for a moment, which is no excuse an hour later.
    hands.forward(12 * MINUTE);
    issuer.fail(Some(StatusCode::BAD_GATEWAY));
    taken(&server, &token).await;
    issuer.fail(None);
    issuer.publish(&[&Key::elliptic("second")]);
    hands.forward(HOUR);
    refused(&server, &token).await;
}

#[tokio::test]
async fn a_server_starts_without_its_issuer_and_serves_when_it_is_there() {
    let issuer = Issuer::start().await;
    issuer.fail(Some(StatusCode::SERVICE_UNAVAILABLE));
    let (settings, hands) = settings(&[&issuer.url()]);
    let server = guarded(settings).await;
    let token = issuer.token(json!({}));
    for _ in 0..5 {
        unavailable(&server, &token).await;
    }
    // Two documents, each once: it is left alone for a while.
    assert_eq!(issuer.count(RFC_8414), 1);
    assert_eq!(issuer.count(OIDC), 1);
    issuer.fail(None);
    hands.forward(5);
    taken(&server, &token).await;
}

#[tokio::test]
async fn nobody_listens_where_the_issuer_should_be() {
    let issuer = Issuer::start().await;
    let (url, token) = (issuer.url(), issuer.token(json!({})));
    drop(issuer);
    let server = guarded(settings(&[&url]).0).await;
    unavailable(&server, &token).await;
}

#[tokio::test]
async fn keys_are_read_before_anybody_comes() {
    let issuer = Issuer::start().await;
    let oauth = OAuth::new(settings(&[&issuer.url()]).0).unwrap();
    oauth.warm_up();
    while issuer.count("/jwks") == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn metadata_are_found_where_openid_has_them_too() {
    for path in ["", "/tenant/1"] {
        let host = Issuer::start().await;
        let url = format!("{}{path}", host.url());
        let claims = with(host.claims(), json!({ "iss": url }));
        let token = host.key.sign(&claims);
        let document = with(host.metadata(), json!({ "issuer": url }));
        host.remove(RFC_8414);
        let mut places = vec![format!("{RFC_8414}{path}"), format!("{OIDC}{path}")];
        places.push(format!("{path}{OIDC}"));
        for place in places {
            host.set(&place, document.clone());
            taken(&guarded(settings(&[&url]).0).await, &token).await;
            host.remove(&place);
            unavailable(&guarded(settings(&[&url]).0).await, &token).await;
        }
    }
}

#[tokio::test]
async fn metadata_that_speak_for_another_issuer_are_refused() {
    let issuer = Issuer::start().await;
    let token = issuer.token(json!({}));
    for other in [
        json!("https://login.example.com"),
        json!(format!("{}/", issuer.url())),
        json!(null),
        json!([issuer.url()]),
    ] {
        let document = with(issuer.metadata(), json!({ "issuer": other }));
        issuer.set(RFC_8414, document);
        unavailable(&guarded(settings(&[&issuer.url()]).0).await, &token).await;
    }
    assert_eq!(issuer.count("/jwks"), 0);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (issuer, evil) = (Issuer::start().await, Issuer::start().await);
    let token = issuer.token(json!({}));
    let document = with(evil.metadata(), json!({ "issuer": issuer.url() }));
    evil.set(RFC_8414, document);
    let to = Page::Redirect(format!("{}{RFC_8414}", evil.url()));
    issuer.put(RFC_8414, to);
    unavailable(&guarded(settings(&[&issuer.url()]).0).await, &token).await;
    issuer.set(RFC_8414, issuer.metadata());
    issuer.put("/jwks", Page::Redirect(format!("{}/jwks", evil.url())));
    unavailable(&guarded(settings(&[&issuer.url()]).0).await, &token).await;
    assert_eq!(evil.book.lock().unwrap().asked, [""; 0]);
}

#[tokio::test]
async fn an_issuer_on_this_machine_cannot_send_us_over_the_network_in_the_clear() {
    let issuer = Issuer::start().await;
    let token = issuer.token(json!({}));
    for uri in [
        "http://keys.example.com/jwks",
        "file:///etc/passwd",
        "/jwks",
        "",
    ] {
        let document = with(issuer.metadata(), json!({ "jwks_uri": uri }));
        issuer.set(RFC_8414, document);
        unavailable(&guarded(settings(&[&issuer.url()]).0).await, &token).await;
    }
}

#[tokio::test]
async fn a_set_of_keys_that_is_too_large_is_refused() {
    let issuer = Issuer::start().await;
    let token = issuer.token(json!({}));
    let key = &issuer.key.public;
    let padded = with(key.clone(), json!({ "pad": "x".repeat(600 << 10) }));
    for keys in [vec![padded], vec![key.clone(); 101], vec![]] {
        issuer.set("/jwks", json!({ "keys": keys }));
        unavailable(&guarded(settings(&[&issuer.url()]).0).await, &token).await;
    }
    issuer.set("/jwks", json!({ "keys": vec![key; 100] }));
    taken(&guarded(settings(&[&issuer.url()]).0).await, &token).await;
}

#[test]
fn settings_without_which_nobody_could_come_in_are_named() {
    let issuer = || vec![IssuerUrl::parse("https://login.example.com").unwrap()];
    let resource = || vec![ResourceUrl::parse(RESOURCE).unwrap()];
    let no_issuer = OAuth::new(Settings::new(vec![], resource()));
    assert!(matches!(no_issuer, Err(OAuthError::NoIssuer)));
    let no_resource = OAuth::new(Settings::new(issuer(), vec![]));
    assert!(matches!(no_resource, Err(OAuthError::NoResource)));
    let mut settings = Settings::new(issuer(), resource());
    settings.algorithms.clear();
    assert!(matches!(OAuth::new(settings), Err(OAuthError::NoAlgorithm)));
}
