//! Sessions of the older revisions: whose they are, how many there may be, and how they end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::request::Parts;
use mcp_serve::{
    Config,
    auth::{AuthError, Authenticator, Principal},
    session::{
        self, MemorySessions, Session, SessionChange, SessionError, SessionId, SessionStore,
    },
    test_util::{Legacy, RawClient},
};
use serde_json::json;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    SOON,
    probe::{Fate, Running, start, start_with},
};

/// Takes the name in `Authorization` for the caller's; good enough to tell two apart.
struct ByName;

#[async_trait]
impl Authenticator for ByName {
    async fn authenticate(&self, parts: &Parts) -> Result<Principal, AuthError> {
        let name = parts
            .headers
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        name.map(Principal::new)
            .ok_or_else(|| AuthError::Unauthenticated {
                reason: "test",
                challenge: "Bearer".into(),
            })
    }
}

pub(crate) fn named(config: &mut Config) {
    config.authenticator = Arc::new(ByName);
}

pub(crate) async fn session_of(running: &Running, name: &str) -> Legacy {
    let headers = vec![("Authorization".to_owned(), name.to_owned())];
    Legacy::initialize_with(running.server.addr(), "2025-11-25", json!({}), headers)
        .await
        .unwrap()
}

/// The status of a GET that opens no stream.
pub(crate) async fn get_status(legacy: &Legacy, address: SocketAddr) -> u16 {
    let headers = legacy.session_headers();
    let headers: Vec<_> = headers
        .iter()
        .map(|it| (it.0.as_str(), it.1.as_str()))
        .collect();
    let mut client = RawClient::connect(address).await.unwrap();
    client
        .request("GET", "/mcp", &headers, b"")
        .await
        .unwrap()
        .status
}

#[tokio::test]
async fn a_session_is_named_well_and_lives_until_it_is_deleted() {
    let running = start().await;
    let mut legacy = running.server.legacy("2025-11-25").await;
    let id = legacy.session.clone().unwrap();
    assert!(
        id.len() >= 22 && id.bytes().all(|byte| byte.is_ascii_graphic()),
        "{id}"
    );
    assert_ne!(running.server.legacy("2025-11-25").await.session, Some(id));
    assert_eq!(
        legacy.call("tools/list", json!({})).await.unwrap().status(),
        200
    );
    assert_eq!(legacy.delete().await.unwrap(), 204);
    assert_eq!(legacy.delete().await.unwrap(), 404);
    let gone = legacy.call("tools/list", json!({})).await.unwrap();
    assert_eq!((gone.status(), gone.error_code()), (404, -32001));
}

/// Sessions whose end is known only after a while, and then as that of another try.
struct Hesitant {
    sessions: MemorySessions,
    ended: Arc<Notify>,
}

#[async_trait]
impl SessionStore for Hesitant {
    async fn create(&self, session: Session) -> Result<SessionId, SessionError> {
        self.sessions.create(session).await
    }

    async fn touch(
        &self,
        id: &SessionId,
        principal: &Principal,
    ) -> Result<Option<Arc<Session>>, SessionError> {
        self.sessions.touch(id, principal).await
    }

    async fn change(
        &self,
        id: &SessionId,
        principal: &Principal,
        change: SessionChange,
    ) -> Result<bool, SessionError> {
        self.sessions.change(id, principal, change).await
    }

    async fn delete(&self, id: &SessionId, principal: &Principal) -> Result<bool, SessionError> {
        self.sessions.delete(id, principal).await?;
        self.ended.notify_one();
        sleep(Duration::from_millis(300)).await;
        self.sessions.delete(id, principal).await
    }

    async fn sweep(&self) {
        self.sessions.sweep().await;
    }

    async fn count(&self) -> Result<usize, SessionError> {
        self.sessions.count().await
    }
}

#[tokio::test]
async fn what_runs_in_a_session_ends_with_it_whether_or_not_the_client_waits_for_that() {
    let ended = Arc::new(Notify::new());
    let mut running = start_with(|config| {
        config.sessions = Arc::new(Hesitant {
            sessions: MemorySessions::default(),
            ended: ended.clone(),
        });
    })
    .await;
    for waits in [false, true] {
        let mut legacy = running.server.legacy("2025-11-25").await;
        let slow = json!({"name": "slow", "arguments": {"millis": 60_000}});
        let body = legacy.body("tools/call", slow);
        let call = {
            let legacy = legacy.clone();
            tokio::spawn(async move { legacy.post(&body).await })
        };
        assert_eq!(running.fate().await, Fate::Begun);
        let ending = legacy.clone();
        let mut ending = tokio::spawn(async move { ending.delete().await });
        if waits {
            assert_eq!((&mut ending).await.unwrap().unwrap(), 204);
        } else {
            timeout(SOON, ended.notified()).await.unwrap();
            ending.abort();
        }
        assert_eq!(running.fate().await, Fate::Dropped);
        assert_eq!(legacy.delete().await.unwrap(), 404);
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_missing_session_is_400_and_an_unknown_one_404() {
    let running = start().await;
    let mut legacy = running.server.legacy("2025-11-25").await;
    legacy.session = None;
    let missing = legacy.call("tools/list", json!({})).await.unwrap();
    assert_eq!((missing.status(), missing.error_code()), (400, -32000));
    for unknown in ["unknown", &"x".repeat(129)] {
        legacy.session = Some(unknown.to_owned());
        assert_eq!(
            legacy.call("tools/list", json!({})).await.unwrap().status(),
            404
        );
        assert_eq!(
            legacy
                .notify("notifications/initialized", json!({}))
                .await
                .unwrap()
                .status(),
            404
        );
        assert_eq!(legacy.delete().await.unwrap(), 404);
        assert_eq!(get_status(&legacy, running.server.addr()).await, 404);
    }
}

#[tokio::test]
async fn to_another_principal_a_session_does_not_exist() {
    let running = start_with(named).await;
    let mut mine = session_of(&running, "me").await;
    let mut stolen = mine.clone();
    stolen.headers = vec![("Authorization".to_owned(), "thief".to_owned())];
    let subscribe = json!({"uri": "test:a"});
    for (method, params) in [
        ("tools/list", json!({})),
        ("resources/subscribe", subscribe),
        ("ping", json!({})),
    ] {
        assert_eq!(
            stolen.call(method, params).await.unwrap().status(),
            404,
            "{method}"
        );
    }
    assert_eq!(get_status(&stolen, running.server.addr()).await, 404);
    assert_eq!(stolen.delete().await.unwrap(), 404);
    stolen.headers.clear();
    assert_eq!(
        stolen.call("tools/list", json!({})).await.unwrap().status(),
        401
    );
    assert_eq!(
        mine.call("tools/list", json!({})).await.unwrap().status(),
        200
    );
}

#[tokio::test]
async fn a_version_that_is_not_the_sessions_is_refused() {
    let running = start().await;
    let mut legacy = running.server.legacy("2025-06-18").await;
    for version in ["2025-11-25", "1999-01-01", "nonsense"] {
        legacy.version = version.to_owned();
        let answer = legacy.call("tools/list", json!({})).await.unwrap();
        assert_eq!(
            (answer.status(), answer.error_code()),
            (400, -32000),
            "{version}"
        );
    }
    let headers: Vec<_> = legacy.session_headers();
    let kept: Vec<_> = headers
        .iter()
        .filter(|it| it.0 != "MCP-Protocol-Version")
        .cloned()
        .collect();
    let body = legacy.body("tools/list", json!({}));
    let answer = mcp_serve::test_util::post(running.server.addr(), "/mcp", &kept, &body).await;
    assert_eq!(answer.unwrap().status(), 200);
}

#[tokio::test]
async fn initialize_agrees_on_a_revision_that_has_it() {
    let running = start().await;
    for (asked, given) in [
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2024-11-05", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("2099-01-01", "2025-11-25"),
    ] {
        assert_eq!(running.server.legacy(asked).await.version, given, "{asked}");
    }
}

#[tokio::test]
async fn over_the_cap_a_new_session_is_told_when_to_come_back() {
    let running = start_with(|config| {
        named(config);
        let limits = session::Limits {
            sessions_max: 3,
            per_principal_max: 2,
            ..session::Limits::default()
        };
        config.sessions = Arc::new(MemorySessions::new(limits));
    })
    .await;
    session_of(&running, "a").await;
    session_of(&running, "a").await;
    for name in ["a", "b", "c"] {
        let body = json!({"jsonrpc": "2.0", "id": 9, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        }});
        let mut client = RawClient::connect(running.server.addr()).await.unwrap();
        let headers = [
            ("Content-Type", "application/json"),
            ("Authorization", name),
        ];
        let answer = client
            .request("POST", "/mcp", &headers, body.to_string().as_bytes())
            .await
            .unwrap();
        if name == "b" {
            assert_eq!(answer.status, 200);
            continue;
        }
        assert_eq!(answer.status, 503, "{name}");
        let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&after));
        assert_eq!(
            (answer.header("mcp-session-id"), &answer.json()["id"]),
            (None, &json!(9))
        );
    }
}

#[tokio::test]
async fn an_idle_session_ends_and_its_stream_with_it() {
    let running = start_with(|config| {
        let limits = session::Limits {
            idle: Duration::from_secs(2),
            lifetime: Duration::from_secs(9),
            ..session::Limits::default()
        };
        config.sessions = Arc::new(MemorySessions::new(limits));
    })
    .await;
    let mut idle = running.server.legacy("2025-11-25").await;
    let streaming = running.server.legacy("2025-11-25").await;
    let mut stream = streaming.open_get().await.unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(idle.call("ping", json!({})).await.unwrap().status(), 404);
    // An open stream keeps its session in use, but not beyond the lifetime.
    assert_eq!(
        streaming
            .clone()
            .call("ping", json!({}))
            .await
            .unwrap()
            .status(),
        200
    );
    stream.rest(2 * super::SOON).await;
    assert_eq!(
        streaming
            .clone()
            .call("ping", json!({}))
            .await
            .unwrap()
            .status(),
        404
    );
}

#[tokio::test]
async fn two_requests_of_one_session_cannot_run_under_one_id() {
    let mut running = start().await;
    let mut legacy = running.server.legacy("2025-11-25").await;
    let body = legacy.body(
        "tools/call",
        json!({"name": "slow", "arguments": {"millis": 60_000}}),
    );
    let first = {
        let (legacy, body) = (legacy.clone(), body.clone());
        tokio::spawn(async move { legacy.post(&body).await })
    };
    running.fate().await;
    let second = legacy.post(&body).await.unwrap();
    assert_eq!((second.status(), second.error_code()), (400, -32600));
    legacy
        .notify("notifications/cancelled", json!({"requestId": body["id"]}))
        .await
        .unwrap();
    first.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_a_session_keeps_is_bounded_in_size() {
    let running = start().await;
    let long = "x".repeat(20_000);
    let capabilities = json!({"experimental": {"a": {"b": long}}});
    let address = running.server.addr();
    let opened = Legacy::initialize_with(address, "2025-11-25", capabilities, Vec::new()).await;
    assert!(opened.unwrap_err().to_string().contains("-32602"));
    let mut legacy = running.server.legacy("2025-11-25").await;
    let uri = json!({"uri": format!("test:{long}")});
    assert_eq!(
        legacy
            .call("resources/subscribe", uri)
            .await
            .unwrap()
            .error_code(),
        -32602
    );
}

#[tokio::test]
async fn the_calls_of_one_session_are_bounded() {
    let mut running = start_with(|config| config.mcp.calls_per_session_max = 1).await;
    let mut legacy = running.server.legacy("2025-11-25").await;
    let slow = json!({"name": "slow", "arguments": {"millis": 60_000}});
    let body = legacy.body("tools/call", slow.clone());
    let first = {
        let (legacy, body) = (legacy.clone(), body.clone());
        tokio::spawn(async move { legacy.post(&body).await })
    };
    running.fate().await;
    let second = legacy.call("tools/call", slow.clone()).await.unwrap();
    assert_eq!(
        (second.status(), second.head.header("retry-after")),
        (429, Some("1"))
    );
    // What is only looked at still is, and so are other sessions served.
    assert_eq!(
        legacy.call("tools/list", json!({})).await.unwrap().status(),
        200
    );
    let mut other = running.server.legacy("2025-11-25").await;
    let echo = json!({"name": "echo", "arguments": {"text": "a"}});
    assert_eq!(other.call("tools/call", echo).await.unwrap().status(), 200);
    legacy
        .notify("notifications/cancelled", json!({"requestId": body["id"]}))
        .await
        .unwrap();
    first.await.unwrap().unwrap();
}
