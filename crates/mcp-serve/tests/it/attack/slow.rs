//! Slow peers and those that never end. See also `limits.rs`.

use std::time::{Duration, Instant};

use mcp_serve::{Config, test_util::RawClient};

use super::{PATIENCE, Target};

const SOON: Duration = Duration::from_millis(200);

#[tokio::test]
async fn slow_heads_and_bodies_keep_nobody_else_from_being_served() {
    let mut config = Config::default();
    config.limits.header_read = 5 * SOON;
    config.limits.first_byte = 5 * SOON;
    config.limits.request_deadline = 5 * SOON;
    config.mcp.request_deadline = 5 * SOON;
    let target = Target::start(config).await;
    let mut slow = Vec::new();
    for bytes in [
        "",
        "G",
        "PRI * HTTP/2.0\r\n",
        "GET /notes HTTP/1.1\r\nHost: local",
        "POST /notes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx",
        "POST /notes HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nx",
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: 9\r\n\r\n{",
    ] {
        for _ in 0..30 {
            let mut client = target.server.connect().await;
            client.send(bytes.as_bytes()).await.unwrap();
            slow.push(client);
        }
    }
    for _ in 0..50 {
        let begun = Instant::now();
        target.assert_alive().await;
        assert!(begun.elapsed() < 10 * SOON, "slow peers slow others down");
    }
    // Each of them is answered or not, and then let go.
    let begun = Instant::now();
    for client in &mut slow {
        let _ = client.read_response(false).await;
        assert!(client.is_closed_within(PATIENCE).await);
    }
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(target.reached(), 0);
}

/// Sends a body piece by piece, never silent for long, until the server closes.
async fn drip(client: &mut RawClient, head: &str, piece: &[u8]) -> Duration {
    client.send(head.as_bytes()).await.unwrap();
    let begun = Instant::now();
    while client.send(piece).await.is_ok() && !client.is_closed_within(SOON / 10).await {
        assert!(begun.elapsed() < PATIENCE, "a body may drip for ever");
    }
    begun.elapsed()
}

#[tokio::test]
async fn a_body_that_drips_for_ever_is_cut_off() {
    let mut config = Config::default();
    config.limits.request_deadline = SOON;
    config.mcp.request_deadline = SOON;
    let target = Target::start(config).await;
    let types = "Host: localhost\r\nContent-Type: application/json\r\n";
    for path in ["/notes", "/mcp"] {
        let mut client = target.server.connect().await;
        let head = format!("POST {path} HTTP/1.1\r\n{types}Content-Length: 100000\r\n\r\n");
        let took = drip(&mut client, &head, b" ").await;
        assert!(took < 20 * SOON, "{path} {took:?}");
        let mut client = target.server.connect().await;
        let head = format!("POST {path} HTTP/1.1\r\n{types}Transfer-Encoding: chunked\r\n\r\n");
        let took = drip(&mut client, &head, b"1\r\n \r\n").await;
        assert!(took < 20 * SOON, "{path} {took:?}");
    }
    assert_eq!(target.reached(), 0);
}

#[tokio::test]
async fn requests_without_reading_answers_do_not_pile_up() {
    let mut config = Config::default();
    config.limits.write_stall = 5 * SOON;
    let target = Target::start(config).await;
    let mut client = target.server.connect().await;
    let body = "x".repeat(64 << 10);
    let request = format!(
        "POST /notes HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let begun = Instant::now();
    let mut sent = 0_usize;
    // Each answer is as large as its request. The server has to stop reading when it cannot write.
    loop {
        let sending = client.send(request.as_bytes());
        let sending = tokio::time::timeout(PATIENCE, sending).await;
        if sending
            .expect("the server neither reads nor closes")
            .is_err()
        {
            break;
        }
        sent += request.len();
        assert!(sent < 256 << 20, "answers pile up without end");
    }
    assert!(begun.elapsed() < PATIENCE);
    target.assert_alive().await;
}
