//! HTTP/2 without TLS, by prior knowledge: the same guard, the same routes, the same drain.

use std::time::{Duration, Instant};

use axum::{Router, routing};
use bytes::Bytes;
use http::{Request, Response, Version, header::HOST};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mcp_serve::{Config, config::AllowedHosts, test_util::TestServer};
use tokio::net::TcpStream;

use super::edge::start;

const SOON: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(10);
const BIG: usize = 2 << 20;

async fn connect(server: &TestServer) -> SendRequest<Full<Bytes>> {
    connect_with_window(server, (1 << 16) - 1).await
}

/// A connection that takes so many bytes of an answer before the test reads them.
async fn connect_with_window(server: &TestServer, bytes: u32) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(server.addr()).await.unwrap();
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(bytes)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

/// Asks for `path` and reads the head of the answer alone.
async fn ask(
    sender: &mut SendRequest<Full<Bytes>>,
    server: &TestServer,
    path: &str,
) -> Response<Incoming> {
    let request = Request::get(format!("{}{path}", server.url()));
    let request = request.body(Full::default()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    response
}

async fn get(
    sender: &mut SendRequest<Full<Bytes>>,
    uri: &str,
    host: Option<&str>,
) -> (u16, String) {
    let mut request = Request::get(uri).version(Version::HTTP_2);
    if let Some(host) = host {
        request = request.header(HOST, host);
    }
    let response = sender
        .send_request(request.body(Full::default()).unwrap())
        .await
        .unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

fn routes() -> Router {
    Router::new()
        .route("/hello", routing::get(|| async { "hello" }))
        .route("/big", routing::get(|| async { vec![b'x'; BIG] }))
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let server = start(routes(), Config::default()).await;
    let sender = connect(&server).await;
    let uri = format!("{}/hello", server.url());
    let calls = (0..50).map(|_| {
        let (mut sender, uri) = (sender.clone(), uri.clone());
        async move { get(&mut sender, &uri, None).await }
    });
    for (status, body) in futures_util::future::join_all(calls).await {
        assert_eq!((status, body.as_str()), (200, "hello"));
    }
    drop(sender);
    assert!(server.stop().await.is_clean());
}

#[tokio::test]
async fn the_authority_is_guarded_like_a_host() {
    let config = Config {
        allowed_hosts: AllowedHosts::parse("notes.example.com").unwrap(),
        ..Config::default()
    };
    let server = start(routes(), config).await;
    let mut sender = connect(&server).await;
    let good = "http://notes.example.com/hello";
    assert_eq!(get(&mut sender, good, None).await.0, 200);
    assert_eq!(
        get(&mut sender, good, Some("notes.example.com")).await.0,
        200
    );
    assert_eq!(
        get(&mut sender, "http://evil.example/hello", None).await.0,
        403
    );
    let mixed = get(&mut sender, good, Some("evil.example")).await;
    assert_eq!(mixed.0, 400);
    let mixed = get(
        &mut sender,
        "http://evil.example/hello",
        Some("notes.example.com"),
    )
    .await;
    assert_eq!(mixed.0, 400);
}

#[tokio::test]
async fn a_flood_of_headers_is_431() {
    let server = start(routes(), Config::default()).await;
    let mut sender = connect(&server).await;
    let mut request = Request::get(format!("{}/hello", server.url()));
    for index in 0..101 {
        request = request.header(format!("x-{index}"), "y");
    }
    let response = sender
        .send_request(request.body(Full::default()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), 431);

    let huge = Request::get(format!("{}/hello", server.url())).header("x", "y".repeat(17 << 10));
    let answer = sender
        .send_request(huge.body(Full::default()).unwrap())
        .await;
    assert!(answer.is_err() || answer.is_ok_and(|response| response.status() == 431));
}

#[tokio::test]
async fn a_connection_without_requests_is_closed() {
    let mut config = Config::default();
    config.limits.keep_alive_idle = std::time::Duration::from_millis(100);
    let server = start(routes(), config).await;
    let mut sender = connect(&server).await;
    let uri = format!("{}/hello", server.url());
    assert_eq!(get(&mut sender, &uri, None).await.0, 200);
    let closed = tokio::time::timeout(std::time::Duration::from_secs(10), async {
        while sender.ready().await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    });
    assert!(closed.await.is_ok());
}

#[tokio::test]
async fn a_reader_that_keeps_its_window_shut_is_cut_off() {
    let mut config = Config::default();
    config.limits.write_stall = 2 * SOON;
    let server = start(routes(), config).await;
    let mut sender = connect_with_window(&server, 0).await;
    let response = ask(&mut sender, &server, "/hello").await;
    let body = tokio::time::timeout(PATIENCE, response.into_body().collect());
    assert!(body.await.expect("the answer is kept for ever").is_err());
}

#[tokio::test]
async fn a_stalled_answer_ends_alone() {
    let mut config = Config::default();
    config.limits.write_stall = 5 * SOON;
    let server = start(routes(), config).await;
    let mut sender = connect_with_window(&server, 16 << 10).await;
    let begun = Instant::now();
    let stalled = ask(&mut sender, &server, "/big").await;
    let idle = server.lifecycle().tasks.len() - 1;
    // Others are answered all the while, for as long as a stall may last.
    while server.lifecycle().tasks.len() > idle {
        let hello = ask(&mut sender, &server, "/hello").await;
        hello.into_body().collect().await.unwrap();
        assert!(begun.elapsed() < PATIENCE, "the stalled answer is kept");
        tokio::time::sleep(SOON / 4).await;
    }
    assert!(begun.elapsed() >= 5 * SOON);
    assert!(stalled.into_body().collect().await.is_err());
    let hello = ask(&mut sender, &server, "/hello").await;
    let hello = hello.into_body().collect().await.unwrap();
    assert_eq!(hello.to_bytes(), "hello");
}

#[tokio::test]
async fn a_slow_reader_gets_everything_whatever_ends_meanwhile() {
    let mut config = Config::default();
    config.limits.keep_alive_idle = SOON;
    config.drain.grace = SOON;
    let mut server = start(routes(), config).await;
    let mut sender = connect_with_window(&server, 16 << 10).await;
    let mut body = ask(&mut sender, &server, "/big").await.into_body();
    // The whole answer is in the hands of HTTP/2 by now. It outlives the idle time and the grace.
    tokio::time::sleep(3 * SOON).await;
    server.begin_stop();
    tokio::time::sleep(3 * SOON).await;
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        total += frame.unwrap().data_ref().map_or(0, Bytes::len);
    }
    assert_eq!(total, BIG);
    let drained = server.stop().await;
    assert!(drained.is_clean(), "{drained:?}");
    assert!(drained.took < PATIENCE, "{drained:?}");
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_cut_at_the_limit_and_counted() {
    let mut config = Config::default();
    config.drain.limit = SOON;
    config.drain.grace = SOON;
    let server = start(routes(), config).await;
    let mut sender = connect_with_window(&server, 16 << 10).await;
    let unread = ask(&mut sender, &server, "/big").await;
    let drained = server.stop().await;
    assert_eq!((drained.requests_cut, drained.tasks_left), (1, 0));
    assert!(unread.into_body().collect().await.is_err());
}
