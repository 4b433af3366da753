//! The end of a server: what is under way is finished, nothing new begins, and it ends in time.

mod calls;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, routing};
use mcp_serve::{
    Config,
    test_util::{RawClient, TestServer},
};
use tokio::sync::Semaphore;

use super::edge::start;

const SOON: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(10);

/// A route whose answers a test holds back.
struct Slow {
    begun: Arc<Semaphore>,
    may_end: Arc<Semaphore>,
}

impl Slow {
    fn new() -> (Self, Router) {
        let slow = Self {
            begun: Arc::new(Semaphore::new(0)),
            may_end: Arc::new(Semaphore::new(0)),
        };
        let (begun, may_end) = (slow.begun.clone(), slow.may_end.clone());
        let handler = move || async move {
            begun.add_permits(1);
            may_end.acquire().await.unwrap().forget();
            "finished"
        };
        let routes = Router::new()
            .route("/slow", routing::get(handler))
            .route("/hello", routing::get(|| async { "hello" }));
        (slow, routes)
    }

    /// A connection on which a slow request is under way.
    async fn call(&self, server: &TestServer) -> RawClient {
        let mut client = server.connect().await;
        client.send_request("GET", "/slow", &[], b"").await.unwrap();
        self.begun.acquire().await.unwrap().forget();
        client
    }
}

async fn refuses_connections(server: &TestServer) {
    let begun = Instant::now();
    while RawClient::connect(server.addr()).await.is_ok() {
        assert!(
            begun.elapsed() < PATIENCE,
            "the server still takes connections"
        );
        tokio::time::sleep(SOON / 10).await;
    }
}

#[tokio::test]
async fn a_call_under_way_finishes_while_nothing_new_begins() {
    let (slow, routes) = Slow::new();
    let mut server = start(routes, Config::default()).await;
    let mut client = slow.call(&server).await;

    server.begin_stop();
    refuses_connections(&server).await;
    slow.may_end.add_permits(1);
    let answer = client.read_response(false).await.unwrap();
    assert_eq!(answer.text(), "finished");
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.is_closed_within(PATIENCE).await);

    let drained = server.stop().await;
    assert!(drained.is_clean(), "{drained:?}");
}

#[tokio::test]
async fn connections_without_requests_do_not_hold_the_drain() {
    let (_slow, routes) = Slow::new();
    let server = start(routes, Config::default()).await;
    let mut idle = server.connect().await;
    assert_eq!(idle.get("/hello").await.unwrap().status, 200);
    let mut silent = server.connect().await;
    let mut halfway = server.connect().await;
    halfway.send(b"GET /hello HTT").await.unwrap();
    // It is served, so the server has met the connections before it.
    assert_eq!(idle.get("/hello").await.unwrap().status, 200);

    let drained = server.stop().await;
    assert!(drained.is_clean(), "{drained:?}");
    assert!(drained.took < Duration::from_secs(5), "{drained:?}");
    assert!(idle.is_closed_within(PATIENCE).await);
    assert!(silent.is_closed_within(PATIENCE).await);
    assert!(halfway.is_closed_within(PATIENCE).await);
}

#[tokio::test]
async fn the_limit_ends_a_call_that_does_not_end_by_itself() {
    let (slow, routes) = Slow::new();
    let mut config = Config::default();
    config.drain.limit = 2 * SOON;
    config.drain.grace = SOON;
    let server = start(routes, config).await;
    let mut client = slow.call(&server).await;
    let drained = server.stop().await;
    assert_eq!(drained.requests_cut, 1);
    assert_eq!(drained.tasks_left, 0);
    assert!(
        drained.took >= 2 * SOON && drained.took < PATIENCE,
        "{drained:?}"
    );
    assert!(client.read_response(false).await.is_err());
}

#[tokio::test]
async fn the_hard_token_cuts_at_once() {
    let (slow, routes) = Slow::new();
    let mut config = Config::default();
    config.drain.limit = Duration::from_mins(10);
    config.drain.grace = SOON;
    let mut server = start(routes, config).await;
    let mut client = slow.call(&server).await;
    server.begin_stop();
    refuses_connections(&server).await;
    server.lifecycle().hard.cancel();
    let drained = server.stop().await;
    assert_eq!(drained.requests_cut, 1);
    assert!(client.read_response(false).await.is_err());
}

#[tokio::test]
async fn during_the_notice_the_server_is_not_ready_and_serves() {
    let (slow, routes) = Slow::new();
    let mut config = Config::default();
    config.drain.notice = Duration::from_mins(10);
    let mut server = start(routes, config).await;
    let mut client = server.connect().await;
    assert_eq!(client.get("/readyz").await.unwrap().status, 200);

    server.begin_stop();
    let begun = Instant::now();
    while client.get("/readyz").await.unwrap().status != 503 {
        assert!(begun.elapsed() < PATIENCE, "the server stays ready");
    }
    assert_eq!(client.get("/livez").await.unwrap().status, 200);
    assert_eq!(client.get("/health").await.unwrap().status, 503);
    assert_eq!(client.get("/hello").await.unwrap().status, 200);
    let mut late = slow.call(&server).await;

    // The embedder may cut the notice short.
    server.lifecycle().soft.cancel();
    refuses_connections(&server).await;
    slow.may_end.add_permits(1);
    assert_eq!(late.read_response(false).await.unwrap().text(), "finished");
    assert!(server.stop().await.is_clean());
}

#[tokio::test]
async fn a_request_that_comes_too_late_is_refused_and_told_so() {
    let (slow, routes) = Slow::new();
    let mut server = start(routes, Config::default()).await;
    let mut client = slow.call(&server).await;
    // A second request waits in the connection behind the slow one.
    client
        .send_request("GET", "/hello", &[], b"")
        .await
        .unwrap();
    server.begin_stop();
    refuses_connections(&server).await;
    slow.may_end.add_permits(1);
    assert_eq!(
        client.read_response(false).await.unwrap().text(),
        "finished"
    );
    // It is not served: the connection ends, or says that the server does.
    if let Ok(answer) = client.read_response(false).await {
        assert_eq!(answer.status, 503);
    }
    assert!(server.stop().await.is_clean());
}

#[tokio::test]
async fn a_client_that_goes_takes_its_request_along() {
    struct Told(Arc<Semaphore>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.add_permits(1);
        }
    }
    let gone = Arc::new(Semaphore::new(0));
    let begun = Arc::new(Semaphore::new(0));
    let (in_gone, in_begun) = (gone.clone(), begun.clone());
    let handler = move || async move {
        let _told = Told(in_gone);
        in_begun.add_permits(1);
        std::future::pending::<()>().await;
    };
    let server = start(
        Router::new().route("/wait", routing::get(handler)),
        Config::default(),
    )
    .await;
    let mut client = server.connect().await;
    client.send_request("GET", "/wait", &[], b"").await.unwrap();
    begun.acquire().await.unwrap().forget();
    drop(client);
    tokio::time::timeout(PATIENCE, gone.acquire())
        .await
        .unwrap()
        .unwrap()
        .forget();
    assert!(server.stop().await.is_clean());
}

#[tokio::test]
async fn during_the_farewell_only_those_inside_are_served_and_asked_to_leave() {
    let (slow, routes) = Slow::new();
    let mut config = Config::default();
    config.drain.farewell = 2 * PATIENCE;
    let mut server = start(routes, config).await;
    let (mut kept, mut busy) = (server.connect().await, slow.call(&server).await);
    assert_eq!(kept.get("/hello").await.unwrap().status, 200);

    server.begin_stop();
    refuses_connections(&server).await;
    let answer = kept.get("/hello").await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(kept.is_closed_within(PATIENCE).await);
    slow.may_end.add_permits(1);
    let answer = busy.read_response(false).await.unwrap();
    assert_eq!(answer.text(), "finished");
    // Nobody is left to take leave of.
    let drained = server.stop().await;
    assert!(drained.is_clean() && drained.took < PATIENCE, "{drained:?}");
}
