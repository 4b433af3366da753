//! Request smuggling: bytes that two parsers could take for different requests.

use mcp_serve::{Config, test_util::RawClient};

use super::{Target, answers_until_closed};

/// What an attacker wants to be taken for a request of its own.
const HIDDEN: &str = "DELETE /notes/1 HTTP/1.1\r\nHost: localhost\r\n\r\n";

const HEAD: &str = "POST /notes HTTP/1.1\r\nHost: localhost\r\n";

/// Sends bytes and the hidden request after them; the statuses that come back.
async fn statuses(target: &Target, bytes: &[u8]) -> Vec<u16> {
    let mut client = target.server.connect().await;
    client.send(bytes).await.unwrap();
    // The server may have closed already.
    let _ = client.send(HIDDEN.as_bytes()).await;
    answers_until_closed(&mut client).await
}

#[tokio::test]
async fn smuggling_by_two_lengths() {
    let target = Target::start(Config::default()).await;
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 5;\r\n",
        "Content-Length: 5.0\r\n",
        "Content-Length: \r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 18446744073709551615\r\n",
    ] {
        let bytes = format!("{HEAD}{fields}\r\nhello");
        let statuses = statuses(&target, bytes.as_bytes()).await;
        assert_eq!(statuses.len(), 1, "{fields} {statuses:?}");
        assert!(
            [400, 413, 431].contains(&statuses[0]),
            "{fields} {statuses:?}"
        );
        assert_eq!(target.reached(), 0, "{fields}");
    }
}

#[tokio::test]
async fn smuggling_by_a_length_and_chunks_together() {
    let target = Target::start(Config::default()).await;
    // Chunks count, and whatever follows them is not taken for a request (RFC 9112 section 6.1).
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n",
    ] {
        let bytes = format!("{HEAD}{fields}\r\n0\r\n\r\n");
        let statuses = statuses(&target, bytes.as_bytes()).await;
        assert_eq!(statuses, [200], "{fields}");
        assert_eq!(target.reached(), 1, "{fields}");
    }
}

#[tokio::test]
async fn smuggling_by_a_transfer_coding_in_disguise() {
    let target = Target::start(Config::default()).await;
    for field in [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chun\tked",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding: chunked\0",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked",
        "X: y\rTransfer-Encoding: chunked",
        "Transfer-Encoding",
        ": chunked",
        "Transfer-\0Encoding: chunked",
    ] {
        let bytes = format!("{HEAD}{field}\r\n\r\n0\r\n\r\n");
        let statuses = statuses(&target, bytes.as_bytes()).await;
        assert_eq!(statuses, [400], "{field:?}");
        assert_eq!(target.reached(), 0, "{field:?}");
    }
    // Not a coding at all to us: the body has no length, so there is none.
    let bytes = format!("{HEAD}Transfer_Encoding: chunked\r\nConnection: close\r\n\r\n");
    assert_eq!(statuses(&target, bytes.as_bytes()).await, [200]);
    let old =
        "POST /notes HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(statuses(&target, old.as_bytes()).await, [400]);
}

#[tokio::test]
async fn smuggling_by_line_ends() {
    let target = Target::start(Config::default()).await;
    for bytes in [
        "GET /notes HTTP/1.1\rHost: localhost\r\r",
        "GET /notes HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n",
        "GET /notes\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /notes HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
        "GET  /notes HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /no tes HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET\t/notes\tHTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /notes HTTP/1.1 \r\nHost: localhost\r\n\r\n",
        "GET /notes HTTP/9.9\r\nHost: localhost\r\n\r\n",
        "GET /notes\r\n\r\n",
        "(GET) /notes HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let statuses = statuses(&target, bytes.as_bytes()).await;
        assert_eq!(statuses, [400], "{bytes:?}");
        assert_eq!(target.reached(), 0, "{bytes:?}");
    }
    // A bare line feed ends a line (RFC 9112 section 2.2), so a field behind one is seen and counts.
    let bytes = "POST /notes HTTP/1.1\r\nHost: localhost\r\nX: y\nContent-Length: 99999999\r\n\r\n";
    assert_eq!(statuses(&target, bytes.as_bytes()).await, [413]);
    let bytes = "POST /notes HTTP/1.1\r\nHost: localhost\r\nX: y\nHost: evil.example\r\n\r\n";
    let mut client = target.server.connect().await;
    client.send(bytes.as_bytes()).await.unwrap();
    assert_eq!(client.read_response(false).await.unwrap().status, 400);
    assert_eq!(target.reached(), 0);
}

/// Sends a chunked body as it stands and gives the status; `None` when the connection just ends.
async fn chunked(target: &Target, body: &str) -> Option<u16> {
    let mut client = target.server.connect().await;
    let head = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n");
    client.send(head.as_bytes()).await.unwrap();
    let _ = client.send(body.as_bytes()).await;
    client.read_response(false).await.ok().map(|it| it.status)
}

#[tokio::test]
async fn smuggling_by_the_size_of_a_chunk() {
    let target = Target::start(Config::default()).await;
    assert_eq!(chunked(&target, "5\r\nhello\r\n0\r\n\r\n").await, Some(200));
    assert_eq!(target.reached(), 1);
    for body in [
        "5\nhello\n0\n\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "\r\n0\r\n\r\n",
        "5\r\nhelloo\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "10000000000000000\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5;x=\n\r\nhello\r\n0\r\n\r\n",
    ] {
        let status = chunked(&target, body).await;
        assert!(
            status.is_none_or(|status| [400, 413].contains(&status)),
            "{body:?} {status:?}"
        );
        assert_eq!(target.reached(), 0, "{body:?}");
    }
    target.assert_alive().await;
}

#[tokio::test]
async fn a_flood_of_chunk_extensions_or_trailers_is_cut_off() {
    let target = Target::start(Config::default()).await;
    let extended = format!("1;{}\r\nx\r\n", "e".repeat(1000)).repeat(100);
    let trailers = format!("0\r\n{}\r\n", "X-Trailer: y\r\n".repeat(10_000));
    let long = format!("0\r\nX-Trailer: {}\r\n\r\n", "y".repeat(100_000));
    for body in [extended, trailers, long] {
        let status = chunked(&target, &body).await;
        assert!(
            status.is_none_or(|status| (400..500).contains(&status)),
            "{status:?}"
        );
        assert_eq!(target.reached(), 0);
    }
    target.assert_alive().await;
}

#[tokio::test]
async fn a_trailer_cannot_pass_for_a_header() {
    let target = Target::start(super::public()).await;
    let mut client = target.server.connect().await;
    let body = "POST /notes HTTP/1.1\r\nHost: evil.example\r\nTransfer-Encoding: chunked\r\n\r\n\
                0\r\nHost: notes.example.com\r\nOrigin: https://app.example.com\r\n\r\n";
    client.send(body.as_bytes()).await.unwrap();
    let answer = client.read_response(false).await.unwrap();
    assert_eq!(answer.status, 403);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(target.reached(), 0);
}

#[tokio::test]
async fn nothing_is_read_behind_a_request_that_is_none() {
    let target = Target::start(Config::default()).await;
    let good = "GET /notes HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let bad = "GET /notes HTTP/1.1\r\nHost: localhost\r\nX : y\r\n\r\n";
    let mut client = target.server.connect().await;
    let bytes = [good, bad, good, HIDDEN].concat();
    client.send(bytes.as_bytes()).await.unwrap();
    assert_eq!(answers_until_closed(&mut client).await, [200, 400]);
    assert_eq!(target.reached(), 1);
}

#[tokio::test]
async fn the_rest_of_a_refused_body_is_never_taken_for_a_request() {
    let target = Target::start(Config::default()).await;
    // Refused from their heads alone: a foreign host, a type, a coding, a size.
    for fields in [
        "Host: evil.example\r\n",
        "Host: localhost\r\nOrigin: https://evil.example\r\n",
        "Host: localhost\r\nContent-Encoding: gzip\r\n",
        "Host: localhost\r\nContent-Type: text/plain\r\n",
    ] {
        let mut client: RawClient = target.server.connect().await;
        let head = format!(
            "POST /mcp HTTP/1.1\r\n{fields}Content-Length: {}\r\n\r\n",
            HIDDEN.len()
        );
        client.send(head.as_bytes()).await.unwrap();
        let first = client.read_response(false).await.unwrap();
        assert!(first.status >= 400, "{fields}");
        // The body that was announced, and a request after it.
        let _ = client.send(HIDDEN.as_bytes()).await;
        let second = client.get("/livez").await;
        assert!(
            second.is_err() || second.is_ok_and(|answer| answer.status == 200),
            "{fields}"
        );
        assert_eq!(target.reached(), 0, "{fields}");
    }
}

#[tokio::test]
async fn a_connection_is_never_handed_to_another_protocol() {
    let target = Target::start(Config::default()).await;
    for upgrade in ["h2c", "websocket", "TLS/1.2", "HTTP/2.0"] {
        let headers = [
            ("Connection", "Upgrade, HTTP2-Settings"),
            ("Upgrade", upgrade),
            ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
        ];
        let answer = target.ask("GET", "/notes", &headers, b"").await;
        assert_eq!(answer.status, 200, "{upgrade}");
        assert_eq!(answer.header("upgrade"), None);
    }
    for target_form in ["localhost:22", "evil.example:443", "/notes", "*"] {
        let head = format!("CONNECT {target_form} HTTP/1.1\r\nHost: {target_form}\r\n\r\n");
        let answer = target.send(head.as_bytes()).await;
        assert!(
            (400..500).contains(&answer.status),
            "{target_form} {answer:?}"
        );
    }
}
