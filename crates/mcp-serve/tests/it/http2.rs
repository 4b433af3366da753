//! HTTP/2 without TLS, by prior knowledge: the same guard, the same routes, the same drain.

use axum::{Router, routing};
use bytes::Bytes;
use http::{Request, Version, header::HOST};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mcp_serve::{Config, config::AllowedHosts, test_util::TestServer};
use tokio::net::TcpStream;

use super::edge::start;

async fn connect(server: &TestServer) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(server.addr()).await.unwrap();
    let io = TokioIo::new(stream);
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
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
    Router::new().route("/hello", routing::get(|| async { "hello" }))
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
    config.limits.write_stall = std::time::Duration::from_millis(200);
    let server = start(routes(), config).await;
    let stream = TcpStream::connect(server.addr()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(0)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("{}/hello", server.url()));
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = tokio::time::timeout(
        std::time::Duration::from_secs(10),
        response.into_body().collect(),
    );
    assert!(body.await.expect("the answer is kept for ever").is_err());
}
