//! What a caller without a good token is told: where to get one, and for which scopes.

use http::Request;
use mcp_serve::auth::{Authenticator as _, Scopes, oauth::OAuth};
use serde_json::json;

use super::{RESOURCE, guarded, settings};

const METADATA: &str = "https://notes.example.com/.well-known/oauth-protected-resource";
const ISSUER: &str = "https://login.example.com/";

#[tokio::test]
async fn a_stranger_is_told_where_to_get_a_token() {
    let server = guarded(settings(&[ISSUER]).0).await;
    for (path, metadata) in [
        ("/mcp", "/mcp"),
        ("/mcp/", "/mcp"),
        ("/api/v1/mcp", "/api/v1/mcp"),
        ("/who", "/mcp"),
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let mut client = server.connect().await;
            let answer = client.request(method, path, &[], b"").await.unwrap();
            assert_eq!(answer.status, 401, "{method} {path}");
            let expected =
                format!("Bearer scope=\"notes:read\", resource_metadata=\"{METADATA}{metadata}\"");
            assert_eq!(answer.header("www-authenticate"), Some(expected.as_str()));
        }
    }
}

#[tokio::test]
async fn a_token_in_the_address_is_refused_and_said_so() {
    let server = guarded(settings(&[ISSUER]).0).await;
    let answer = server
        .connect()
        .await
        .get("/mcp?access_token=x")
        .await
        .unwrap();
    assert_eq!(answer.status, 400);
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(
        challenge.contains("error=\"invalid_request\""),
        "{challenge}"
    );
}

#[tokio::test]
async fn the_metadata_of_each_path_name_that_path() {
    let server = guarded(settings(&[ISSUER]).0).await;
    let mut client = server.connect().await;
    let at = "/.well-known/oauth-protected-resource";
    for (path, resource) in [
        ("", RESOURCE),
        ("/mcp", RESOURCE),
        ("/api/v1/mcp", "https://notes.example.com/api/v1/mcp"),
    ] {
        let answer = client.get(&format!("{at}{path}")).await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let expected = json!({
            "resource": resource,
            "authorization_servers": [ISSUER],
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["notes:read"],
        });
        assert_eq!(answer.json(), expected);
    }
    let other = client.get(&format!("{at}/who")).await.unwrap();
    assert_eq!(other.status, 404);
}

#[tokio::test]
async fn a_caller_with_too_few_scopes_is_told_all_that_it_needs() {
    let oauth = OAuth::new(settings(&[ISSUER]).0).unwrap();
    let request = Request::post("/api/v1/mcp").body(()).unwrap();
    let (parts, ()) = request.into_parts();
    let scopes = Scopes::parse("notes:read notes:write");
    assert_eq!(
        oauth.insufficient_scope(&parts, &scopes),
        format!(
            "Bearer error=\"insufficient_scope\", scope=\"notes:read notes:write\", \
             resource_metadata=\"{METADATA}/api/v1/mcp\""
        )
    );
}
