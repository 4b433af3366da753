//! Issuers that are slow, gone or not to be trusted yet: who waits, who is told, and what is logged.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use mcp_serve::{
    Config,
    auth::oauth::{Authorities, EndpointUrl, Introspection, IssuerUrl, OAuth},
    health::Check as _,
    test_util::{Authority, install},
    tls::Tls,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{
    ask, guarded,
    issuer::{Issuer, with},
    refused, settings, taken, unavailable,
};
use crate::log::log;

const SECRET: &str = "p:ss wörd";

/// An issuer that takes connections and says nothing.
async fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

#[tokio::test]
async fn an_issuer_that_answers_too_slowly_is_given_up() {
    let (listener, url) = silent().await;
    let issuer = Issuer::start().await;
    let token = issuer.token(json!({ "iss": url }));
    let (mut settings, _) = settings(&[&url]);
    settings.answer_deadline = Duration::from_millis(100);
    unavailable(&guarded(settings).await, &token).await;
    drop(listener);
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_holds_nobody_elses_callers() {
    let (listener, url) = silent().await;
    let issuer = Issuer::start().await;
    let (mut settings, _) = settings(&[&url, &issuer.url()]);
    settings.answer_deadline = Duration::from_hours(1);
    let server = Arc::new(guarded(settings).await);
    let token = issuer.token(json!({ "iss": url }));
    let waiting = tokio::spawn({
        let server = server.clone();
        async move { ask(&server, &token).await }
    });
    let (_connection, _) = listener.accept().await.unwrap();
    taken(&server, &issuer.token(json!({}))).await;
    assert!(!waiting.is_finished());
    waiting.abort();
}

#[tokio::test]
async fn an_issuer_is_known_by_the_authority_that_is_named() {
    let (root, other) = (Authority::root("root"), Authority::root("other"));
    let folder = tempfile::tempdir().unwrap();
    let tls = Tls::load(install(folder.path(), &root.issue())).unwrap();
    let config = Config {
        tls: Some(Arc::new(tls)),
        ..Config::default()
    };
    let issuer = Issuer::start_with(config).await;
    let token = issuer.token(json!({}));
    let (mut settings, _) = settings(&[&issuer.url()]);
    unavailable(&guarded(settings.clone()).await, &token).await;
    settings.authorities = Authorities::from_pem(other.pem.as_bytes()).unwrap();
    unavailable(&guarded(settings.clone()).await, &token).await;
    let both = format!("{}{}", other.pem, root.pem);
    settings.authorities = Authorities::from_pem(both.as_bytes()).unwrap();
    taken(&guarded(settings).await, &token).await;
    for nothing in ["", "no certificate", &root.issue().key] {
        assert!(Authorities::from_pem(nothing.as_bytes()).is_err());
    }
}

/// What the check says once it has settled.
async fn settled(oauth: &OAuth, expected: Result<(), &str>) {
    for _ in 0..10_000 {
        match (oauth.check().await, expected) {
            (Ok(()), Ok(())) => return,
            (Err(reason), Err(part)) if reason.contains(part) => return,
            _ => tokio::task::yield_now().await,
        }
    }
    panic!("{:?} is not {expected:?}", oauth.check().await);
}

#[tokio::test]
async fn a_server_without_its_issuer_is_not_ready_and_one_that_lost_it_is() {
    let issuer = Issuer::start().await;
    issuer.fail(Some(StatusCode::BAD_GATEWAY));
    let (settings, hands) = settings(&[&issuer.url()]);
    let oauth = OAuth::new(settings).unwrap();
    settled(&oauth, Err("have not been read yet")).await;
    assert!(oauth.is_vital());
    // It is asked again without anybody who brings a token.
    issuer.fail(None);
    hands.forward(5);
    settled(&oauth, Ok(())).await;
    issuer.fail(Some(StatusCode::BAD_GATEWAY));
    hands.forward(24 * 3600);
    settled(&oauth, Err("too old")).await;
    assert!(!oauth.is_vital());
    let reason = oauth.check().await.unwrap_err();
    assert!(reason.starts_with(&issuer.url()), "{reason}");
}

#[tokio::test]
async fn one_issuer_of_two_makes_a_server_ready() {
    let (here, gone) = (Issuer::start().await, Issuer::start().await);
    gone.fail(Some(StatusCode::BAD_GATEWAY));
    let oauth = OAuth::new(settings(&[&gone.url(), &here.url()]).0).unwrap();
    while oauth.is_vital() {
        let _ = oauth.check().await;
        tokio::task::yield_now().await;
    }
    let reason = oauth.check().await.unwrap_err();
    assert!(reason.contains(&gone.url()), "{reason}");
    assert!(!reason.contains(&here.url()), "{reason}");
}

#[tokio::test]
async fn what_can_be_looked_up_needs_no_keys_to_be_ready() {
    let issuer = Issuer::start().await;
    issuer.fail(Some(StatusCode::BAD_GATEWAY));
    let (mut settings, _) = settings(&[&issuer.url()]);
    let mut asked = introspection(&issuer);
    asked.endpoint = Some(EndpointUrl::parse(&format!("{}/introspect", issuer.url())).unwrap());
    settings.introspection = Some(asked);
    let oauth = OAuth::new(settings).unwrap();
    settled(&oauth, Err("have not been read yet")).await;
    assert!(!oauth.is_vital());
}

fn introspection(issuer: &Issuer) -> Introspection {
    let url = IssuerUrl::parse(&issuer.url()).unwrap();
    Introspection::new(url, "notes".to_owned(), SECRET.to_owned())
}

#[tokio::test]
async fn neither_tokens_nor_the_password_of_the_client_are_logged() {
    let (lines, _guard) = log();
    let issuer = Issuer::start().await;
    let (mut settings, hands) = settings(&[&issuer.url()]);
    settings.introspection = Some(introspection(&issuer));
    let server = guarded(settings).await;
    let said = with(issuer.claims(), json!({ "active": true }));
    let add = |token: &str| {
        let mut book = issuer.book.lock().unwrap();
        book.tokens.insert(token.to_owned(), said);
    };
    add("opaque-token");
    taken(&server, "opaque-token").await;
    refused(&server, "opaque-guess").await;
    let signed = issuer.token(json!({}));
    taken(&server, &signed).await;
    let login = issuer.book.lock().unwrap().logins[0].clone();
    issuer.fail(Some(StatusCode::BAD_GATEWAY));
    hands.forward(3600);
    for n in 0..5 {
        unavailable(&server, &format!("opaque-{n}")).await;
    }
    issuer.fail(None);
    taken(&server, "opaque-token").await;
    assert!(server.stop().await.is_clean());

    let text = lines.text();
    let login = login.strip_prefix("Basic ").unwrap();
    for word in ["opaque-", "eyJ", SECRET, "p%3Ass", login] {
        assert!(!text.contains(word), "{word}: {text}");
    }
    let said = |level: &str, words: &str| {
        let all = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        all.filter(|line| line["level"] == level && line["fields"]["message"] == words)
            .count()
    };
    // Whoever guesses while the issuer is down does not fill the log.
    assert_eq!(said("WARN", "a token cannot be looked up"), 1);
    assert_eq!(said("INFO", "tokens can be looked up again"), 1);
}
