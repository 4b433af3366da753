//! People who use the server of one test, each known by the name that its requests give.

use std::sync::Arc;

use async_trait::async_trait;
use http::request::Parts;
use mcp_serve::{
    auth::{AuthError, Authenticator, Identity, Principal, Scopes},
    test_util::{Legacy, Modern, RawClient, RawResponse, RpcAnswer, TestServer},
};
use serde_json::{Value, json};

/// Takes callers at their word: the name in `X-User`, the scopes in `X-Scopes` (without it, all).
pub(crate) struct ByName;

#[async_trait]
impl Authenticator for ByName {
    async fn authenticate(&self, parts: &Parts) -> Result<Principal, AuthError> {
        let field = |name: &str| parts.headers.get(name).map(|it| it.to_str().unwrap());
        let Some(name) = field("x-user") else {
            return Err(AuthError::Unauthenticated {
                reason: "missing",
                challenge: "Bearer".into(),
            });
        };
        Ok(Principal::of(Identity {
            subject: name.into(),
            scopes: field("x-scopes").map(Scopes::parse),
            ..Identity::default()
        }))
    }
}

impl ByName {
    pub(crate) fn authenticator() -> Arc<dyn Authenticator> {
        Arc::new(Self)
    }
}

/// One of them, with a client for each face.
pub(crate) struct Person {
    pub(crate) modern: Modern,
    headers: Vec<(String, String)>,
    server: std::net::SocketAddr,
}

impl Person {
    pub(crate) fn new(server: &TestServer, name: &str) -> Self {
        Self::with(server, &[("X-User", name)])
    }

    /// Somebody whose credential has only these scopes.
    pub(crate) fn scoped(server: &TestServer, name: &str, scopes: &str) -> Self {
        Self::with(server, &[("X-User", name), ("X-Scopes", scopes)])
    }

    fn with(server: &TestServer, headers: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let headers: Vec<_> = headers.iter().map(owned).collect();
        let mut modern = server.modern();
        modern.headers.clone_from(&headers);
        Self {
            modern,
            headers,
            server: server.addr(),
        }
    }

    /// Opens a session of an older revision.
    pub(crate) async fn legacy(&self) -> Legacy {
        let headers = self.headers.clone();
        Legacy::initialize_with(self.server, "2025-11-25", json!({}), headers)
            .await
            .unwrap()
    }

    pub(crate) async fn mcp(&mut self, method: &str, params: Value) -> RpcAnswer {
        self.modern.call(method, params).await.unwrap()
    }

    /// Calls a tool and gives its structured content.
    pub(crate) async fn tool(&mut self, name: &str, arguments: Value) -> Value {
        let params = json!({"name": name, "arguments": arguments});
        self.mcp("tools/call", params).await.result()["structuredContent"].clone()
    }

    /// Keeps a note and gives its id.
    pub(crate) async fn write(&mut self, title: &str, content: &str, tags: &[&str]) -> String {
        let new = json!({"title": title, "content": content, "tags": tags});
        let note = self.tool("create_note", new).await;
        note["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn rest(&self, method: &str, path: &str, body: &str) -> RawResponse {
        self.ask(method, path, &[("Content-Type", "application/json")], body)
            .await
    }

    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> RawResponse {
        let own = self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let all: Vec<_> = own.chain(headers.iter().copied()).collect();
        let mut client = RawClient::connect(self.server).await.unwrap();
        let answer = client.request(method, path, &all, body.as_bytes()).await;
        answer.unwrap()
    }
}
