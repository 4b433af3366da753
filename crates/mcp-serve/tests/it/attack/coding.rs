//! Decompression bombs: nothing compressed is read, so nothing is inflated.

use mcp_serve::Config;

use super::Target;

/// Ten bytes of gzip's head and what follows; it is never looked at.
const GZIP: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\x48\xcd\xc9\xc9\x07\x00";

#[tokio::test]
async fn a_compressed_body_is_refused_and_never_inflated() {
    let target = Target::start(Config::default()).await;
    for coding in [
        "gzip",
        "GZIP",
        "x-gzip",
        "deflate",
        "br",
        "zstd",
        "compress",
        "identity, gzip",
        "gzip, gzip",
        "gzip;q=1",
        "nonsense",
    ] {
        for path in ["/mcp", "/notes"] {
            let headers = [
                ("Content-Type", "application/json"),
                ("Content-Encoding", coding),
            ];
            let answer = target.ask("POST", path, &headers, GZIP).await;
            assert_eq!(answer.status, 415, "{coding} {path} {answer:?}");
            assert_eq!(answer.header("accept-encoding"), Some("identity"));
        }
    }
    let twice = [("Content-Encoding", "identity"), ("Content-Encoding", "br")];
    assert_eq!(target.ask("POST", "/notes", &twice, GZIP).await.status, 415);
    assert_eq!(target.reached(), 0);
    let plain = [("Content-Encoding", "identity")];
    let answer = target.ask("POST", "/notes", &plain, GZIP).await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, GZIP));
}

#[tokio::test]
async fn a_compressed_transfer_is_refused_and_never_inflated() {
    let target = Target::start(Config::default()).await;
    let chunk = [b"11\r\n", GZIP, b"\r\n0\r\n\r\n"].concat();
    for (fields, status) in [
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        (
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            501,
        ),
        ("Transfer-Encoding: chunked, chunked\r\n", 501),
        ("Transfer-Encoding: CHUNKED\r\n", 200),
        // Whose end nobody could know.
        ("Transfer-Encoding: chunked, gzip\r\n", 400),
        ("Transfer-Encoding: gzip\r\n", 400),
        ("Transfer-Encoding: identity\r\n", 400),
    ] {
        let head = format!("POST /notes HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        let answer = target.send(&[head.as_bytes(), &chunk].concat()).await;
        assert_eq!(answer.status, status, "{fields}");
    }
    assert_eq!(target.reached(), 1);
}
