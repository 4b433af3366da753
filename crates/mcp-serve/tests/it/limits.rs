//! Peers that send too much, too slowly or nothing, and too many of them.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    routing,
};
use mcp_serve::{Config, test_util::RawClient};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};

use super::edge::{assert_rpc_error, start};

const SOON: Duration = Duration::from_millis(100);
/// Generous for a busy machine; what is tested ends far earlier.
const PATIENCE: Duration = Duration::from_secs(10);

fn routes() -> Router {
    Router::new()
        .route("/hello", routing::get(|| async { "hello" }))
        .route("/echo", routing::post(|body: Bytes| async move { body }))
        .route(
            "/flood",
            routing::get(|| async { Body::from(vec![b'x'; 64 << 20]) }),
        )
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let mut config = Config::default();
    config.limits.first_byte = SOON;
    let server = start(routes(), config).await;
    assert!(server.connect().await.is_closed_within(PATIENCE).await);
}

#[tokio::test]
async fn slow_headers_are_cut_off_however_steadily_they_drip() {
    let mut config = Config::default();
    config.limits.header_read = Duration::from_millis(300);
    let server = start(routes(), config).await;
    let mut client = server.connect().await;
    client.send(b"GET /hello HTTP/1.1\r\n").await.unwrap();
    let begun = Instant::now();
    loop {
        // One more field before each limit of silence would strike.
        if client.send(b"x: y\r\n").await.is_err() || client.is_closed_within(SOON / 2).await {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "headers may drip for ever");
    }
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn slow_headers_of_a_later_request_are_cut_off_too() {
    let mut config = Config::default();
    config.limits.header_read = SOON;
    let server = start(routes(), config).await;
    let mut client = server.connect().await;
    assert_eq!(client.get("/hello").await.unwrap().status, 200);
    client.send(b"GET /hel").await.unwrap();
    assert!(client.is_closed_within(PATIENCE).await);
}

#[tokio::test]
async fn a_connection_without_requests_is_kept_and_then_closed() {
    let mut config = Config::default();
    config.limits.header_read = SOON;
    config.limits.keep_alive_idle = 5 * SOON;
    let server = start(routes(), config).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        assert_eq!(client.get("/hello").await.unwrap().status, 200);
        // Longer than a head may take, shorter than the idle time.
        assert!(!client.is_closed_within(2 * SOON).await);
    }
    assert!(client.is_closed_within(PATIENCE).await);
}

#[tokio::test]
async fn a_flood_of_headers_is_431() {
    let server = start(routes(), Config::default()).await;
    let huge = "x".repeat(17 << 10);
    let answer = server
        .connect()
        .await
        .request("GET", "/hello", &[("x", &huge)], b"")
        .await;
    assert_eq!(answer.unwrap().status, 431);

    let many: Vec<_> = (0..101).map(|_| ("x", "y")).collect();
    let answer = server
        .connect()
        .await
        .request("GET", "/hello", &many, b"")
        .await
        .unwrap();
    assert_eq!(answer.status, 431);
    assert_eq!(answer.json()["status"], 431);
    assert!(answer.header("x-request-id").is_some());

    let fits = "x".repeat(15 << 10);
    let answer = server
        .connect()
        .await
        .request("GET", "/hello", &[("x", &fits)], b"")
        .await;
    assert_eq!(answer.unwrap().status, 200);
}

#[tokio::test]
async fn an_endless_head_is_ended_by_the_server() {
    let server = start(routes(), Config::default()).await;
    let mut client = server.connect().await;
    client.send(b"GET /hello HTTP/1.1\r\nx: ").await.unwrap();
    let mut sent = 0;
    while client.send(&[b'y'; 16 << 10]).await.is_ok() {
        sent += 16 << 10;
        assert!(sent < 64 << 20, "an endless head is read");
    }
}

#[tokio::test]
async fn a_long_target_is_414() {
    let server = start(routes(), Config::default()).await;
    let path = format!("/mcp?{}", "x".repeat(9 << 10));
    let answer = server
        .connect()
        .await
        .request("POST", &path, &[], b"")
        .await
        .unwrap();
    assert_rpc_error(&answer, 414, -32600);
}

#[tokio::test]
async fn an_announced_body_that_is_too_large_is_413_at_once() {
    let server = start(routes(), Config::default()).await;
    for path in ["/mcp", "/echo"] {
        let mut client = server.connect().await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 1048577\r\n\r\n",
            server.addr()
        );
        client.send(head.as_bytes()).await.unwrap();
        let answer = client.read_response(false).await.unwrap();
        assert_eq!(answer.status, 413, "{path}");
        let limit = "the body is larger than 1048576 bytes";
        assert!(answer.text().contains(limit), "{path} {answer:?}");
    }
}

#[tokio::test]
async fn a_413_arrives_although_the_client_goes_on_sending() {
    let server = start(routes(), Config::default()).await;
    let body = vec![b'x'; 12 << 20];
    for path in ["/mcp", "/echo"] {
        let answer = server
            .connect()
            .await
            .request("POST", path, &[], &body)
            .await
            .unwrap();
        assert_eq!(answer.status, 413, "{path}");
    }
}

#[tokio::test]
async fn a_chunked_body_that_is_too_large_is_413() {
    let mut config = Config::default();
    config.limits.body_bytes_max = 1000;
    let server = start(routes(), config).await;
    let chunked = [
        ("Transfer-Encoding", "chunked"),
        ("Content-Type", "application/json"),
    ];
    let chunk = |size: usize| format!("{size:x}\r\n{}\r\n", "x".repeat(size));
    for path in ["/mcp", "/echo"] {
        let body = format!("{}{}0\r\n\r\n", chunk(900), chunk(101));
        let mut client = server.connect().await;
        let answer = client
            .request("POST", path, &chunked, body.as_bytes())
            .await
            .unwrap();
        assert_eq!(answer.status, 413, "{path} {answer:?}");
        let limit = "the body is larger than 1000 bytes";
        assert!(answer.text().contains(limit), "{path} {answer:?}");
        let json = answer.header("content-type").unwrap();
        assert!(
            json == "application/json" || json == "application/problem+json",
            "{json}"
        );
    }
    let body = format!("{}0\r\n\r\n", chunk(1000));
    let answer = server
        .connect()
        .await
        .request("POST", "/echo", &chunked, body.as_bytes())
        .await;
    assert_eq!(answer.unwrap().body.len(), 1000);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut_off() {
    let mut config = Config::default();
    config.limits.write_stall = 2 * SOON;
    let server = start(routes(), config).await;
    let mut other = server.connect().await;
    assert_eq!(other.get("/hello").await.unwrap().status, 200);
    let before = server.lifecycle().tasks.len();
    let mut client = server.connect().await;
    client
        .send_request("GET", "/flood", &[], b"")
        .await
        .unwrap();
    // Nothing is read until the server has given up; then the answer proves to be incomplete.
    let begun = Instant::now();
    while server.lifecycle().tasks.len() > before || begun.elapsed() < SOON {
        assert!(
            begun.elapsed() < PATIENCE,
            "the server waits for a reader that does not read"
        );
        tokio::time::sleep(SOON / 10).await;
    }
    assert!(client.read_response(false).await.is_err());
}

async fn connect_from_small_buffers(address: SocketAddr) -> tokio::net::TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(address).await.unwrap()
}

#[tokio::test]
async fn a_slow_reader_that_does_read_gets_everything() {
    let mut config = Config::default();
    config.limits.write_stall = PATIENCE;
    config.limits.keep_alive_idle = SOON;
    let server = start(routes(), config).await;
    let mut stream = connect_from_small_buffers(server.addr()).await;
    let head = format!("GET /flood HTTP/1.1\r\nHost: {}\r\n\r\n", server.addr());
    stream.write_all(head.as_bytes()).await.unwrap();
    // Longer than an idle connection may live: one that still has to be written to is not idle.
    tokio::time::sleep(3 * SOON).await;
    let mut total = 0;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => break,
            count => total += count,
        }
    }
    assert!(total > 64 << 20, "{total}");
}

#[tokio::test]
async fn one_connection_too_many_is_refused_politely() {
    let mut config = Config::default();
    config.limits.connections_max = 2;
    let server = start(routes(), config).await;
    let mut first = server.connect().await;
    let mut second = server.connect().await;
    for client in [&mut first, &mut second] {
        assert_eq!(client.get("/hello").await.unwrap().status, 200);
    }
    let mut third = server.connect().await;
    let answer = third.get("/hello").await.unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(answer.json()["status"], 503);
    assert!(third.is_closed_within(PATIENCE).await);

    // Those inside are served on, and a place that becomes free is given away.
    assert_eq!(first.get("/hello").await.unwrap().status, 200);
    drop(second);
    let begun = Instant::now();
    loop {
        let mut client = RawClient::connect(server.addr()).await.unwrap();
        if client.get("/hello").await.is_ok_and(|a| a.status == 200) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "the place did not become free");
    }
}

#[tokio::test]
async fn a_slow_body_is_not_waited_for_beyond_the_deadline() {
    let mut config = Config::default();
    config.limits.request_deadline = 2 * SOON;
    config.mcp.request_deadline = 2 * SOON;
    let server = start(routes(), config).await;
    for path in ["/mcp", "/echo"] {
        let mut client = server.connect().await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: 100\r\n\r\n{{",
            server.addr()
        );
        client.send(head.as_bytes()).await.unwrap();
        let answer = client.read_response(false).await.unwrap();
        assert!(
            answer.status == 408 || answer.status == 504,
            "{path} {answer:?}"
        );
        assert!(client.is_closed_within(PATIENCE).await, "{path}");
    }
}
