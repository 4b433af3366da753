//! The end of the process: it leaves in order and in time, whoever is still connected.

use std::time::{Duration, Instant};

use mcp_serve::test_util::{Legacy, Modern, Next, RawClient};
use serde_json::json;
use tempfile::tempdir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
};

use crate::process::{Served, signal};

/// Far less than `DRAIN_SECONDS` here: nothing that is open may use that time up.
const AT_ONCE: Duration = Duration::from_secs(15);

#[tokio::test]
async fn streams_and_idle_connections_do_not_hold_the_end_up() {
    let folder = tempdir().unwrap();
    let served = Served::start(folder.path(), &[("DRAIN_SECONDS", "60")]).await;

    let mut idle = RawClient::connect(served.address).await.unwrap();
    assert_eq!(idle.get("/api/v1/notes").await.unwrap().status, 200);
    let mut modern = Modern::new(served.address);
    let filter = json!({ "notifications": { "resourcesListChanged": true } });
    let mut listening = modern.open("subscriptions/listen", filter).await.unwrap();
    let first = listening.next_event(AT_ONCE).await.event().json();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    let legacy = Legacy::initialize(served.address, "2025-11-25")
        .await
        .unwrap();
    let mut stream = legacy.open_get().await.unwrap();

    let begun = Instant::now();
    signal(&served.child, "TERM").await;
    let last = listening.rest(AT_ONCE).await.pop().unwrap().json();
    assert_eq!(last["result"]["resultType"], "complete");
    stream.rest(AT_ONCE).await;
    assert!(idle.is_closed_within(AT_ONCE).await);
    let address = served.address;
    let (status, log) = served.ended().await;
    assert_eq!(status.code(), Some(0));
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    assert!(log.iter().any(|line| line["msg"] == "drained"), "{log:?}");
    assert!(
        RawClient::connect(address).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off_in_time() {
    let folder = tempdir().unwrap();
    let served = Served::start(folder.path(), &[("DRAIN_SECONDS", "1")]).await;
    let mut half = RawClient::connect(served.address).await.unwrap();
    let head = b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                 accept: application/json, text/event-stream\r\ncontent-length: 100\r\n\r\n{";
    half.send(head).await.unwrap();
    let begun = Instant::now();
    let (status, _) = served.stop().await;
    assert_eq!(status.code(), Some(0));
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_client_that_stops_reading_its_answer_is_cut_off_in_time() {
    // More than the buffers of the system hold between the two.
    const CONTENT_CHARS: usize = 9_000_000;
    let folder = tempdir().unwrap();
    let vars = [
        ("DRAIN_SECONDS", "1"),
        ("BODY_BYTES_MAX", "10000000"),
        ("CONTENT_CHARS_MAX", "9000000"),
    ];
    let served = Served::start(folder.path(), &vars).await;
    let mut maker = RawClient::connect(served.address).await.unwrap();
    let note = json!({ "title": "Long", "content": "-".repeat(CONTENT_CHARS) }).to_string();
    let json = [("content-type", "application/json")];
    let made = maker.request("POST", "/api/v1/notes", &json, note.as_bytes());
    let made = made.await.unwrap().json();

    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut reader = socket.connect(served.address).await.unwrap();
    let path = format!("/api/v1/notes/{}", made["id"].as_str().unwrap());
    let get = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    reader.write_all(get.as_bytes()).await.unwrap();
    let mut begun = [0; 12];
    reader.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");

    let begun = Instant::now();
    let (status, log) = served.stop().await;
    assert_eq!(status.code(), Some(0));
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "nothing was left to cut off"
    );
    assert!(begun.elapsed() < AT_ONCE, "{:?} {log:?}", begun.elapsed());
}

#[tokio::test]
async fn a_second_signal_is_hard() {
    let folder = tempdir().unwrap();
    let served = Served::start(folder.path(), &[("DRAIN_SECONDS", "60")]).await;
    let mut half = RawClient::connect(served.address).await.unwrap();
    half.send(b"POST /api/v1/notes HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{")
        .await
        .unwrap();
    let mut modern = Modern::new(served.address);
    let filter = json!({ "notifications": { "resourcesListChanged": true } });
    let mut listening = modern.open("subscriptions/listen", filter).await.unwrap();
    listening.next_event(AT_ONCE).await.event();
    let begun = Instant::now();
    signal(&served.child, "TERM").await;
    // The end of the stream shows that the first signal has been seen.
    while !matches!(
        listening.next_event(AT_ONCE).await,
        Next::End | Next::Broken
    ) {}
    signal(&served.child, "INT").await;
    served.ended().await;
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
}
