//! Opaque tokens that are made up, many at a time, and streams whose token the issuer takes back.

use std::{net::IpAddr, time::Duration};

use futures_util::future::join_all;
use http::{Request, StatusCode, request::Parts};
use mcp_serve::{
    auth::{AuthError, Authenticator as _, Suspect, oauth::OAuth},
    client::{Client, Peer, Scheme},
    limit::{Budget, Budgets},
};
use serde_json::json;

use super::{
    ask, guarded_by,
    introspection::{asking, say},
    issuer::Issuer,
    taken,
};
use crate::log::log;

const OK: &str = "ok";

/// The head of a request from `address` with this token.
fn from(address: &str, token: &str) -> Parts {
    let client = Client::direct(&Peer {
        address: (address.parse::<IpAddr>().unwrap(), 1).into(),
        scheme: Scheme::Https,
        certificate: None,
        is_hidden: false,
    });
    let request = Request::get("/mcp").header("authorization", format!("Bearer {token}"));
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    parts.extensions.insert(client);
    parts
}

/// What becomes of a request, in a word.
async fn outcome(oauth: &OAuth, parts: Parts) -> &'static str {
    match oauth.authenticate(&parts).await {
        Ok(_) => OK,
        Err(AuthError::Unauthenticated { reason, .. }) => reason,
        Err(AuthError::Unavailable) => "unavailable",
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_issuer_is_not_asked_for_a_network_that_made_up_too_many_tokens() {
    let issuer = Issuer::start().await;
    let (settings, hands) = asking(&issuer);
    let oauth = OAuth::new(settings).unwrap();
    for token in ["good", "new"] {
        say(&issuer, token, json!({}));
    }
    let suspect = |token: &str| {
        let mut parts = from("192.0.2.1", token);
        parts.extensions.insert(Suspect);
        parts
    };
    assert_eq!(outcome(&oauth, from("192.0.2.1", "good")).await, OK);
    for n in 0..50 {
        let found = outcome(&oauth, suspect(&format!("guess{n}"))).await;
        assert_eq!(found, "suspect");
        assert_eq!(outcome(&oauth, suspect("good")).await, OK);
    }
    assert_eq!(outcome(&oauth, suspect("new")).await, "suspect");
    assert_eq!(issuer.count("/introspect"), 1);
    // What was good is asked about again, and what was refused for that alone is not remembered.
    hands.forward(60);
    assert_eq!(outcome(&oauth, suspect("good")).await, OK);
    assert_eq!(issuer.count("/introspect"), 2);
    assert_eq!(outcome(&oauth, from("192.0.2.1", "new")).await, OK);
}

#[tokio::test]
async fn a_flood_of_made_up_tokens_is_asked_about_as_often_as_the_budget_has_it() {
    let issuer = Issuer::start().await;
    let (settings, hands) = asking(&issuer);
    say(&issuer, "good", json!({}));
    let budgets = Budgets {
        auth_failure: Budget::new(5, Duration::from_hours(1)),
        ..Budgets::default()
    };
    let server = guarded_by(settings, budgets).await;
    taken(&server, "good").await;
    for n in 0..50 {
        let answer = ask(&server, &format!("guess{n}")).await;
        assert_eq!(answer.status, if n < 5 { 401 } else { 429 });
        taken(&server, "good").await;
    }
    // The one that found the budget empty was asked about too.
    assert_eq!(issuer.count("/introspect"), 1 + 5 + 1);
    hands.forward(60);
    taken(&server, "good").await;
}

#[tokio::test]
async fn one_network_has_only_so_many_questions_open() {
    let issuer = Issuer::start().await;
    let oauth = OAuth::new(asking(&issuer).0).unwrap();
    let guesses = |address: &'static str| {
        let name = address.replace(':', "-");
        let guess = move |n| from(address, &format!("{name}.{n}"));
        join_all((0..20).map(guess).map(|parts| outcome(&oauth, parts)))
    };
    let answers = guesses("2001:db8::1").await;
    let asked = |answers: &[&str]| answers.iter().filter(|it| **it == "inactive").count();
    assert_eq!(asked(&answers), 8, "{answers:?}");
    assert_eq!(
        answers.iter().filter(|it| **it == "unavailable").count(),
        12
    );
    assert_eq!(issuer.count("/introspect"), 8);
    // Another address of the same network shares its places; another network has its own.
    let mut parts: Vec<_> = (0..8)
        .map(|n| from("2001:db8::1", &format!("a{n}")))
        .collect();
    parts.push(from("2001:db8::2", "b"));
    parts.push(from("2001:db8:0:1::1", "c"));
    let answers = join_all(parts.into_iter().map(|parts| outcome(&oauth, parts))).await;
    assert_eq!(answers[8..], ["unavailable", "inactive"]);
    // Nothing of that stays.
    assert_eq!(asked(&guesses("2001:db8::3").await), 8);
}

#[tokio::test]
async fn all_who_come_with_one_token_ask_about_it_once() {
    let issuer = Issuer::start().await;
    let oauth = OAuth::new(asking(&issuer).0).unwrap();
    say(&issuer, "good", json!({}));
    let all = (0..20).map(|_| outcome(&oauth, from("192.0.2.1", "good")));
    assert_eq!(join_all(all).await, [OK; 20]);
    assert_eq!(issuer.count("/introspect"), 1);
}

#[tokio::test]
async fn a_stream_is_told_when_its_token_was_taken_back() {
    let issuer = Issuer::start().await;
    let (settings, hands) = asking(&issuer);
    let oauth = OAuth::new(settings).unwrap();
    say(&issuer, "good", json!({}));
    let holder = oauth.authenticate(&from("192.0.2.1", "good")).await;
    let holder = holder.unwrap();
    let shown = format!("{holder:?}");
    assert!(!shown.contains("good"), "{shown}");
    for _ in 0..5 {
        assert!(oauth.is_current(&holder).await);
    }
    assert_eq!(issuer.count("/introspect"), 1);
    hands.forward(60);
    assert!(oauth.is_current(&holder).await);
    assert_eq!(issuer.count("/introspect"), 2);
    // An outage ends no stream.
    hands.forward(60);
    issuer.fail(Some(StatusCode::BAD_GATEWAY));
    assert!(oauth.is_current(&holder).await);
    issuer.fail(None);
    say(&issuer, "good", json!({ "active": false }));
    assert!(!oauth.is_current(&holder).await);
    // With fewer scopes it is another token.
    hands.forward(60);
    say(&issuer, "good", json!({ "scope": "notes:read" }));
    assert!(!oauth.is_current(&holder).await);
    // With a later end it is the same.
    let end = jsonwebtoken::get_current_timestamp() + 900;
    say(&issuer, "good", json!({ "exp": end }));
    hands.forward(60);
    assert!(oauth.is_current(&holder).await);
}

#[tokio::test]
async fn an_issuer_that_is_away_leaves_one_line_and_one_when_it_is_back() {
    let (log, _guard) = log();
    let issuer = Issuer::start().await;
    let oauth = OAuth::new(asking(&issuer).0).unwrap();
    let come = async |token: String| outcome(&oauth, from("192.0.2.1", &token)).await;
    assert_eq!(come("first".to_owned()).await, "inactive");
    for round in 0..2 {
        issuer.fail(Some(StatusCode::BAD_GATEWAY));
        for n in 0..5 {
            assert_eq!(come(format!("lost-{round}-{n}")).await, "unavailable");
        }
        issuer.fail(None);
        for n in 0..5 {
            assert_eq!(come(format!("told-{round}-{n}")).await, "inactive");
        }
    }
    let lines = |words: &str| log.text().matches(words).count();
    assert_eq!(lines("\"a token cannot be looked up\""), 2);
    assert_eq!(lines("\"tokens can be looked up again\""), 2);
    assert_eq!(lines("\"WARN\""), 2);
}
