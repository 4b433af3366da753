//! Which tokens are taken: those of a known issuer for this resource, and nothing that looks alike.

use http::Request;
use jsonwebtoken::{Algorithm, EncodingKey, get_current_timestamp};
use mcp_serve::{
    auth::{
        AuthError, Authenticator as _, Confirmation,
        oauth::{self, OAuth},
    },
    client::{Client, Peer, Scheme},
    test_util::TestServer,
};
use serde_json::{Value, json};

use super::{
    RESOURCE, guarded,
    issuer::{Issuer, Key, sign, unsigned, with},
    refused, settings, taken,
};

/// An issuer and a server that knows it.
async fn pair() -> (Issuer, TestServer) {
    let issuer = Issuer::start().await;
    let server = guarded(settings(&[&issuer.url()]).0).await;
    (issuer, server)
}

#[tokio::test]
async fn a_token_says_who_calls_and_what_it_allows() {
    let (issuer, server) = pair().await;
    let claims = with(issuer.claims(), json!({ "act": { "sub": "robot" } }));
    let who = taken(&server, &issuer.key.sign(&claims)).await;
    let expected = json!({
        "key": format!("{} alice", issuer.url()),
        "issuer": issuer.url(),
        "subject": "alice",
        "client": "desk",
        "scopes": "notes:read notes:write",
        "ends": claims["exp"],
        "actor": "robot",
        "credential": "t-1",
    });
    assert_eq!(who, expected);
}

#[tokio::test]
async fn scopes_are_read_as_issuers_write_them() {
    let (issuer, server) = pair().await;
    for (claims, scopes) in [
        (json!({ "scope": "b a" }), "a b"),
        (json!({ "scope": ["b", "a"] }), "a b"),
        (json!({ "scope": null, "scp": "b a" }), "a b"),
        (json!({ "scope": null, "scp": ["b", "a"] }), "a b"),
        (json!({ "scope": "" }), ""),
        (json!({ "scope": null }), ""),
    ] {
        let who = taken(&server, &issuer.token(claims.clone())).await;
        assert_eq!(who["scopes"], scopes, "{claims}");
    }
    let by_azp = json!({ "client_id": null, "azp": "phone" });
    let who = taken(&server, &issuer.token(by_azp)).await;
    assert_eq!(who["client"], "phone");
}

#[tokio::test]
async fn every_algorithm_of_the_list_is_understood_and_no_other() {
    let issuer = Issuer::start().await;
    let all = [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ];
    let keys: Vec<_> = all
        .iter()
        .map(|it| Key::of(&format!("{it:?}"), *it))
        .collect();
    issuer.publish(&keys.iter().collect::<Vec<_>>());
    let (open, _) = settings(&[&issuer.url()]);
    let mut narrow = open.clone();
    narrow.algorithms = vec![oauth::Algorithm::ES256];
    let (open, narrow) = (guarded(open).await, guarded(narrow).await);
    for key in &keys {
        let token = key.sign(&issuer.claims());
        taken(&open, &token).await;
        if key.algorithm == Algorithm::ES256 {
            taken(&narrow, &token).await;
        } else {
            refused(&narrow, &token).await;
        }
    }
}

#[tokio::test]
async fn an_unsigned_token_is_refused_alg_none() {
    let (issuer, server) = pair().await;
    let good = issuer.token(json!({}));
    let signature = good.rsplit('.').next().unwrap();
    for alg in ["none", "None", "NONE", ""] {
        let header = with(issuer.key.header(), json!({ "alg": alg }));
        let message = unsigned(&header, &issuer.claims());
        refused(&server, &format!("{message}.")).await;
        refused(&server, &format!("{message}.{signature}")).await;
        refused(&server, &message).await;
    }
    let (message, _) = good.rsplit_once('.').unwrap();
    refused(&server, &format!("{message}.")).await;
    refused(&server, message).await;
}

#[tokio::test]
async fn a_public_key_is_no_shared_secret_hs256() {
    let issuer = Issuer::start().await;
    let rsa = Key::of("rsa", Algorithm::RS256);
    issuer.publish(&[&rsa]);
    let server = guarded(settings(&[&issuer.url()]).0).await;
    taken(&server, &rsa.sign(&issuer.claims())).await;
    let modulus = rsa.public["n"].as_str().unwrap();
    let secrets = [
        modulus.as_bytes().to_vec(),
        rsa.public.to_string().into_bytes(),
    ];
    for secret in secrets {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let header = with(rsa.header(), json!({ "alg": algorithm }));
            let key = EncodingKey::from_secret(&secret);
            refused(&server, &sign(&header, &issuer.claims(), &key, algorithm)).await;
        }
    }
}

#[tokio::test]
async fn a_key_signs_only_what_it_is_for() {
    let issuer = Issuer::start().await;
    let rsa = Key::of("rsa", Algorithm::RS256);
    issuer.publish(&[&rsa, &issuer.key]);
    let server = guarded(settings(&[&issuer.url()]).0).await;
    // The right key, for another kind of signature than it is published for.
    let other = Key {
        algorithm: Algorithm::PS256,
        ..rsa.clone()
    };
    refused(&server, &other.sign(&issuer.claims())).await;
    // The name of one key on the signature of the other.
    let header = with(issuer.key.header(), json!({ "kid": "rsa" }));
    refused(&server, &issuer.key.sign_with(&header, &issuer.claims())).await;
    let header = with(rsa.header(), json!({ "kid": "first" }));
    refused(&server, &rsa.sign_with(&header, &issuer.claims())).await;
}

#[tokio::test]
async fn a_forged_signature_is_refused() {
    let (issuer, server) = pair().await;
    let thief = Key::elliptic("first");
    refused(&server, &thief.sign(&issuer.claims())).await;
    let good = issuer.token(json!({}));
    let other = issuer.token(json!({ "sub": "mallory" }));
    let (_, signature) = good.rsplit_once('.').unwrap();
    let (message, _) = other.rsplit_once('.').unwrap();
    refused(&server, &format!("{message}.{signature}")).await;
}

#[tokio::test]
async fn a_token_for_another_audience_is_refused() {
    let (issuer, server) = pair().await;
    for aud in [
        json!("https://mail.example.com/mcp"),
        json!("https://notes.example.com"),
        json!("https://notes.example.com/mcp/"),
        json!("https://NOTES.example.com/mcp"),
        json!([
            "https://mail.example.com",
            "https://notes.example.com.evil.example/mcp"
        ]),
        json!([]),
        json!(""),
        json!(7),
        json!({ "aud": RESOURCE }),
        Value::Null,
    ] {
        refused(&server, &issuer.token(json!({ "aud": aud }))).await;
    }
}

#[tokio::test]
async fn a_token_for_a_generic_audience_is_refused() {
    let (issuer, server) = pair().await;
    for aud in ["api", "account", "default", "*", "mcp"] {
        refused(&server, &issuer.token(json!({ "aud": aud }))).await;
    }
}

#[tokio::test]
async fn one_of_several_audiences_is_enough() {
    let (issuer, server) = pair().await;
    let aud = json!(["https://mail.example.com", RESOURCE]);
    taken(&server, &issuer.token(json!({ "aud": aud }))).await;
    let aud = json!("https://notes.example.com/api/v1/mcp");
    taken(&server, &issuer.token(json!({ "aud": aud }))).await;

    let (mut named, _) = settings(&[&issuer.url()]);
    named.audiences = vec!["notes-server".to_owned()];
    let server = guarded(named).await;
    taken(&server, &issuer.token(json!({ "aud": "notes-server" }))).await;
    refused(&server, &issuer.token(json!({}))).await;
}

#[tokio::test]
async fn a_token_of_another_issuer_is_refused() {
    let (issuer, server) = pair().await;
    let stranger = Issuer::start().await;
    refused(&server, &stranger.token(json!({}))).await;
    assert_eq!(
        stranger.count("/jwks"),
        0,
        "nobody asks an issuer that is not known"
    );
    for iss in [
        json!(format!("{}/", issuer.url())),
        json!(issuer.url().to_uppercase()),
        json!([issuer.url()]),
        json!(""),
        Value::Null,
    ] {
        refused(&server, &issuer.token(json!({ "iss": iss }))).await;
    }
}

#[tokio::test]
async fn an_issuer_cannot_speak_for_another_one() {
    let (one, two) = (Issuer::start().await, Issuer::start().await);
    let server = guarded(settings(&[&one.url(), &two.url()]).0).await;
    let who = taken(&server, &one.token(json!({}))).await;
    assert_eq!(who["issuer"], one.url());
    let who = taken(&server, &two.token(json!({}))).await;
    assert_eq!(who["issuer"], two.url());
    refused(&server, &one.token(json!({ "iss": two.url() }))).await;
}

#[tokio::test]
async fn a_token_of_another_kind_is_refused_typ() {
    let (issuer, server) = pair().await;
    let typed = |typ: Value| {
        let header = with(issuer.key.header(), json!({ "typ": typ }));
        issuer.key.sign_with(&header, &issuer.claims())
    };
    for typ in ["dpop+jwt", "logout+jwt", "secevent+jwt", "JOSE", ""] {
        refused(&server, &typed(json!(typ))).await;
    }
    for typ in [
        json!("at+jwt"),
        json!("application/AT+JWT"),
        json!("JWT"),
        Value::Null,
    ] {
        taken(&server, &typed(typ)).await;
    }
    let (mut strict, _) = settings(&[&issuer.url()]);
    strict.typed = true;
    let strict = guarded(strict).await;
    taken(&strict, &typed(json!("at+jwt"))).await;
    refused(&strict, &typed(json!("JWT"))).await;
    refused(&strict, &typed(Value::Null)).await;
}

#[tokio::test]
async fn an_id_token_is_no_access_token() {
    let (issuer, server) = pair().await;
    let header = with(issuer.key.header(), json!({ "typ": "JWT" }));
    for mark in [
        json!({ "nonce": "n" }),
        json!({ "at_hash": "h" }),
        json!({ "c_hash": "h" }),
        json!({ "typ": "ID" }),
        json!({ "typ": "Refresh" }),
        json!({ "token_use": "id" }),
        json!({ "token_use": "refresh_token" }),
        json!({ "events": { "http://schemas.openid.net/event/backchannel-logout": {} } }),
    ] {
        let claims = with(issuer.claims(), mark);
        refused(&server, &issuer.key.sign_with(&header, &claims)).await;
    }
    for mark in [json!({ "typ": "Bearer" }), json!({ "token_use": "access" })] {
        let claims = with(issuer.claims(), mark);
        taken(&server, &issuer.key.sign_with(&header, &claims)).await;
    }
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let (issuer, server) = pair().await;
    let now = get_current_timestamp();
    refused(&server, &issuer.token(json!({ "exp": now - 60 }))).await;
    // Clocks differ.
    taken(&server, &issuer.token(json!({ "exp": now - 10 }))).await;
    for exp in [
        json!(0),
        json!(-1),
        json!("never"),
        json!(1e300),
        Value::Null,
    ] {
        refused(&server, &issuer.token(json!({ "exp": exp }))).await;
    }
}

#[tokio::test]
async fn a_token_that_is_not_yet_valid_is_refused() {
    let (issuer, server) = pair().await;
    let now = get_current_timestamp();
    for claim in ["nbf", "iat"] {
        refused(&server, &issuer.token(json!({ claim: now + 120 }))).await;
        taken(&server, &issuer.token(json!({ claim: now + 10 }))).await;
        refused(&server, &issuer.token(json!({ claim: "soon" }))).await;
    }
}

#[tokio::test]
async fn a_token_without_a_subject_is_refused() {
    let (issuer, server) = pair().await;
    for sub in [json!(""), json!(7), Value::Null] {
        refused(&server, &issuer.token(json!({ "sub": sub }))).await;
    }
}

#[tokio::test]
async fn a_header_that_must_be_understood_and_is_not_is_refused_crit() {
    let (issuer, server) = pair().await;
    for extra in [
        json!({ "crit": ["b64"], "b64": false }),
        json!({ "crit": [] }),
        json!({ "zip": "DEF" }),
    ] {
        let header = with(issuer.key.header(), extra);
        refused(&server, &issuer.key.sign_with(&header, &issuer.claims())).await;
    }
}

#[tokio::test]
async fn a_token_cannot_bring_its_own_key_jku_jwk_x5u_x5c() {
    let (issuer, server) = pair().await;
    let (evil, thief) = (Issuer::start().await, Key::elliptic("first"));
    evil.publish(&[&thief]);
    let url = format!("{}/jwks", evil.url());
    for extra in [
        json!({ "jku": url }),
        json!({ "x5u": url }),
        json!({ "jwk": thief.public }),
        json!({ "x5c": ["AAAA"] }),
    ] {
        let header = with(thief.header(), extra.clone());
        refused(&server, &thief.sign_with(&header, &issuer.claims())).await;
        // Nor do they harm a good token.
        let header = with(issuer.key.header(), extra);
        taken(&server, &issuer.key.sign_with(&header, &issuer.claims())).await;
    }
    assert_eq!(evil.count("/jwks"), 0);
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let (issuer, server) = pair().await;
    let huge = format!("ey{}.e30.AA", "A".repeat(8000));
    for text in ["x", "a.b.c", "ey.ey.ey", "eyJ9..", "....", huge.as_str()] {
        refused(&server, text).await;
    }
    assert_eq!(issuer.book.lock().unwrap().asked, [""; 0]);
}

/// Asks with a client certificate of this thumbprint.
async fn ask_with(oauth: &OAuth, token: &str, certificate: Option<[u8; 32]>) -> &'static str {
    let client = Client::direct(&Peer {
        address: ([127, 0, 0, 1], 1).into(),
        scheme: Scheme::Https,
        certificate,
        is_hidden: false,
    });
    let request = Request::get("/mcp").header("authorization", format!("Bearer {token}"));
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    parts.extensions.insert(client);
    match oauth.authenticate(&parts).await {
        Ok(principal) => match principal.identity().confirmation {
            Some(Confirmation::Certificate(print)) => {
                assert_eq!(Some(print), certificate);
                "bound"
            }
            _ => "free",
        },
        Err(AuthError::Unauthenticated { reason, .. }) => reason,
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_stolen_token_that_is_bound_to_a_key_is_useless_cnf() {
    let issuer = Issuer::start().await;
    let oauth = OAuth::new(settings(&[&issuer.url()]).0).unwrap();
    let print = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
    let bound = issuer.token(json!({ "cnf": { "x5t#S256": print } }));
    assert_eq!(ask_with(&oauth, &bound, Some([1; 32])).await, "bound");
    assert_eq!(ask_with(&oauth, &bound, Some([2; 32])).await, "binding");
    assert_eq!(ask_with(&oauth, &bound, None).await, "binding");
    let free = issuer.token(json!({}));
    assert_eq!(ask_with(&oauth, &free, Some([1; 32])).await, "free");
    // A binding that cannot be checked is no reason to forget it; `jkt` is DPoP's (RFC 9449).
    for cnf in [
        json!({ "jkt": print }),
        json!({ "x5t#S256": print, "jkt": print }),
        json!({ "jwk": {} }),
        json!({ "x5t#S256": "AQ" }),
        json!({}),
    ] {
        let token = issuer.token(json!({ "cnf": cnf }));
        assert_eq!(
            ask_with(&oauth, &token, Some([1; 32])).await,
            "binding",
            "{cnf}"
        );
    }
}
