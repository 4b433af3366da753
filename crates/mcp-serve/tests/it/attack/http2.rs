//! Abuse of HTTP/2: frames that cost the server more than the client. See also `http2.rs`.

use std::time::Duration;

use mcp_serve::Config;

use super::{
    Target,
    frames::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, Raw, SETTINGS,
        WINDOW_UPDATE, frame, get_block, literal,
    },
};

const AUTHORITY: (&str, &str) = (":authority", "localhost");

/// `ENHANCE_YOUR_CALM`.
const CALM: u32 = 11;

/// The header block of a request with a body.
fn post_block() -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/notes"),
        AUTHORITY,
    ] {
        literal(&mut block, name, value);
    }
    block
}

#[tokio::test]
async fn rapid_reset_ends_the_connection() {
    let target = Target::start(Config::default()).await;
    let mut client = Raw::connect(target.server.addr()).await;
    let block = get_block("/notes", &[AUTHORITY]);
    let mut bytes = Vec::new();
    for stream in (1..20_001_u32).step_by(2) {
        bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &block));
        bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    // The server stops reading at some point, and may reset the connection.
    let sent = client.bytes(&bytes).await;
    if sent.is_ok() {
        assert_eq!(client.ended().await, Some(CALM));
    }
    assert!(target.reached() < 5_000, "nearly every stream was served");
    target.assert_alive().await;
}

#[tokio::test]
async fn a_header_block_without_end_ends_the_connection() {
    let target = Target::start(Config::default()).await;
    let mut client = Raw::connect(target.server.addr()).await;
    let block = get_block("/notes", &[AUTHORITY]);
    client.send(HEADERS, END_STREAM, 1, &block).await.unwrap();
    let mut more = Vec::new();
    literal(&mut more, "x-flood", &"y".repeat(1000));
    let mut sent = 0;
    while client.send(CONTINUATION, 0, 1, &more).await.is_ok() {
        sent += 1;
        assert!(sent < 100_000, "CONTINUATION frames are read for ever");
    }
    // Empty ones cost nothing to send.
    let mut client = Raw::connect(target.server.addr()).await;
    client.send(HEADERS, END_STREAM, 1, &block).await.unwrap();
    let mut sent = 0;
    while client.send(CONTINUATION, 0, 1, &[]).await.is_ok() {
        sent += 1;
        assert!(
            sent < 1_000_000,
            "empty CONTINUATION frames are read for ever"
        );
    }
    assert_eq!(target.reached(), 0);
    target.assert_alive().await;
}

#[tokio::test]
async fn a_flood_of_settings_and_pings_stays_in_bounds() {
    let target = Target::start(Config::default()).await;
    let floods = [
        frame(SETTINGS, 0, 0, &[]),
        frame(PING, 0, 0, &[0; 8]),
        frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
    ];
    for flood in floods {
        let mut client = Raw::connect(target.server.addr()).await;
        // Nothing is read: what the server would answer must not pile up in it. It stops reading
        // when it cannot write, or ends the connection.
        let bytes = flood.repeat(1000);
        let mut sent = 0_usize;
        let pushing = async {
            while client.bytes(&bytes).await.is_ok() && sent < 32 << 20 {
                sent += bytes.len();
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), pushing).await;
        target.assert_alive().await;
    }
}

#[tokio::test]
async fn a_window_of_zero_keeps_no_request_for_ever() {
    let mut config = Config::default();
    config.limits.write_stall = Duration::from_millis(300);
    let target = Target::start(config).await;
    let mut client = Raw::connect(target.server.addr()).await;
    // SETTINGS_INITIAL_WINDOW_SIZE of 0, for as many streams as there may be.
    let zero = [0, 4, 0, 0, 0, 0];
    client.send(SETTINGS, 0, 0, &zero).await.unwrap();
    let before = target.server.lifecycle().tasks.len();
    let body = post_block();
    for stream in (1..200_u32).step_by(2) {
        client
            .send(HEADERS, END_HEADERS, stream, &body)
            .await
            .unwrap();
        client
            .send(DATA, END_STREAM, stream, b"hello")
            .await
            .unwrap();
    }
    let mut reset = 0;
    while reset < 100 {
        let frame = client.next().await.expect("the connection lives");
        assert_ne!(frame.kind, DATA, "{frame:?}");
        reset += usize::from(frame.kind == RST_STREAM);
    }
    assert!(target.server.lifecycle().tasks.len() <= before + 1);
    target.assert_alive().await;
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused() {
    let mut config = Config::default();
    config.limits.http2_streams_max = 10;
    let target = Target::start(config).await;
    let mut client = Raw::connect(target.server.addr()).await;
    let block = post_block();
    // Bodies that never come keep the streams open.
    for stream in (1..60_u32).step_by(2) {
        client
            .send(HEADERS, END_HEADERS, stream, &block)
            .await
            .unwrap();
    }
    let mut refused = 0;
    while refused < 20 {
        let Some(frame) = client.next().await else {
            break;
        };
        if frame.kind == RST_STREAM {
            // REFUSED_STREAM
            assert_eq!(frame.payload, 7_u32.to_be_bytes());
            refused += 1;
        }
    }
    assert!(refused >= 20, "only {refused} of 30 were refused");
    assert_eq!(target.reached(), 0);
}

#[tokio::test]
async fn a_header_list_too_large_is_refused() {
    let target = Target::start(Config::default()).await;
    let mut client = Raw::connect(target.server.addr()).await;
    let value = "y".repeat(1000);
    let fields: Vec<_> = std::iter::once(AUTHORITY)
        .chain(std::iter::repeat_n(("x-large", value.as_str()), 40))
        .collect();
    let block = get_block("/notes", &fields);
    let (first, rest) = block.split_at(16_000);
    client.send(HEADERS, END_STREAM, 1, first).await.unwrap();
    let _ = client.send(CONTINUATION, 0, 1, &rest[..16_000]).await;
    let _ = client
        .send(CONTINUATION, END_HEADERS, 1, &rest[16_000..])
        .await;
    let status = client.status(1).await;
    assert!(status.is_none_or(|status| status == 431), "{status:?}");

    // One field in the table, named thousands of times: a bomb for who expands before counting.
    let mut client = Raw::connect(target.server.addr()).await;
    let mut block = get_block("/notes", &[AUTHORITY]);
    // With indexing, so that it becomes entry 62, which 0xbe names.
    block.push(0x40);
    let mut named = Vec::new();
    literal(&mut named, "x-bomb", &"y".repeat(3000));
    block.extend(&named[1..]);
    block.extend([0xbe].repeat(8_000));
    client
        .send(HEADERS, END_STREAM | END_HEADERS, 1, &block)
        .await
        .unwrap();
    let status = client.status(1).await;
    assert!(status.is_none_or(|status| status == 431), "{status:?}");
    assert_eq!(target.reached(), 0);
    target.assert_alive().await;
}

#[tokio::test]
async fn smuggling_through_http2() {
    let target = Target::start(Config::default()).await;
    // Fields that mean a connection or a length of HTTP/1, and what would break a line there.
    for (name, value) in [
        ("connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("content-length", "5"),
        ("content-length", "x"),
        ("X-Upper", "y"),
        ("x y", "z"),
        ("x", "y\r\nHost: evil.example"),
        ("x", "y\nz"),
        ("x", "y\0z"),
        ("x:y", "z"),
        ("", "y"),
        (":evil", "y"),
        (":path", "/nowhere"),
        (":status", "200"),
    ] {
        let mut client = Raw::connect(target.server.addr()).await;
        client.get(1, "/notes", &[AUTHORITY, (name, value)]).await;
        let status = client.status(1).await;
        assert!(
            status.is_none_or(|status| (400..500).contains(&status)),
            "{name:?} {value:?} {status:?}"
        );
        assert_eq!(target.reached(), 0, "{name:?} {value:?}");
    }
    for path in [
        "",
        "notes",
        "*",
        "http://localhost/notes",
        "/no tes",
        "/notes\r\n",
    ] {
        let mut client = Raw::connect(target.server.addr()).await;
        client.get(1, path, &[AUTHORITY]).await;
        let status = client.status(1).await;
        assert!(
            status.is_none_or(|status| (400..500).contains(&status)),
            "{path:?} {status:?}"
        );
        assert_eq!(target.reached(), 0, "{path:?}");
    }
}

#[tokio::test]
async fn frames_that_make_no_sense_end_the_connection() {
    let target = Target::start(Config::default()).await;
    let block = get_block("/notes", &[AUTHORITY]);
    let flags = END_STREAM | END_HEADERS;
    let nonsense = [
        // Data, or the end, of a stream that was never opened.
        frame(DATA, END_STREAM, 1, b"x"),
        frame(RST_STREAM, 0, 1, &[0; 4]),
        // A stream of the server's, the connection as a stream, a continuation of nothing.
        frame(HEADERS, flags, 2, &block),
        frame(HEADERS, flags, 0, &block),
        frame(CONTINUATION, END_HEADERS, 1, &block),
        // Sizes that frames cannot have.
        frame(PING, 0, 0, &[0; 7]),
        frame(SETTINGS, 0, 0, &[0; 5]),
        frame(SETTINGS, ACK, 0, &[0; 6]),
        frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        frame(DATA, 0, 1, &vec![0; 20_000]),
        // A window beyond every bound, and a table that is not there.
        frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
        frame(HEADERS, flags, 1, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
    ];
    for bytes in nonsense {
        let mut client = Raw::connect(target.server.addr()).await;
        let _ = client.bytes(&bytes).await;
        client.ended().await;
        assert_eq!(target.reached(), 0, "{:?}", &bytes[..9]);
    }
    target.assert_alive().await;
}
