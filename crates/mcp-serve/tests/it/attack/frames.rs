//! HTTP/2 by hand over one socket (RFC 9113, RFC 7541): frames as a test says, proper or not.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::PATIENCE;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// A header field or pseudo header.
pub(super) type Field<'a> = (&'a str, &'a str);

/// A frame of the server.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

/// One connection.
pub(super) struct Raw {
    stream: TcpStream,
}

impl Raw {
    /// Connects, and sends the preface and empty settings.
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let mut raw = Self {
            stream: TcpStream::connect(address).await.unwrap(),
        };
        raw.stream.set_nodelay(true).unwrap();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        raw.stream.write_all(preface).await.unwrap();
        raw.send(SETTINGS, 0, 0, &[]).await.unwrap();
        raw
    }

    /// Sends one frame.
    pub(super) async fn send(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> io::Result<()> {
        self.bytes(&frame(kind, flags, stream, payload)).await
    }

    /// Sends bytes as they are, within the patience.
    pub(super) async fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = timeout(PATIENCE, self.stream.write_all(bytes)).await;
        sent.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Asks for `path` with `fields` and nothing else.
    pub(super) async fn get(&mut self, stream: u32, path: &str, fields: &[Field<'_>]) {
        let block = get_block(path, fields);
        let flags = END_STREAM | END_HEADERS;
        self.send(HEADERS, flags, stream, &block).await.unwrap();
    }

    /// The next frame; `None` when the connection is closed. Panics when nothing comes.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        let reading = async {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some(Frame {
                kind: head[3],
                stream: u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]),
                payload,
            })
        };
        let read = timeout(PATIENCE, reading).await;
        read.expect("the server says something or closes")
    }

    /// The status of the first answer on a connection, which is on `stream`; `None` when it is
    /// reset, or the connection ends.
    pub(super) async fn status(&mut self, stream: u32) -> Option<u16> {
        loop {
            let frame = self.next().await?;
            match frame.kind {
                HEADERS if frame.stream == stream => return Some(status(&frame.payload)),
                RST_STREAM if frame.stream == stream => return None,
                GOAWAY => return None,
                _ => {}
            }
        }
    }

    /// Reads until the server ends the connection; the code of its GOAWAY, if there was one.
    pub(super) async fn ended(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                code = frame.payload.get(4..8).map(number);
            }
        }
        code
    }
}

/// One frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The header block of a GET of `path`.
pub(super) fn get_block(path: &str, fields: &[Field<'_>]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [(":method", "GET"), (":scheme", "http"), (":path", path)] {
        literal(&mut block, name, value);
    }
    for (name, value) in fields {
        literal(&mut block, name, value);
    }
    block
}

/// A literal field without indexing (RFC 7541 section 6.2.2), its texts not compressed.
pub(super) fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        integer(block, text.len());
        block.extend(text.as_bytes());
    }
}

/// An integer with a prefix of seven bits (RFC 7541 section 5.1).
fn integer(block: &mut Vec<u8>, mut number: usize) {
    let byte = |number| u8::try_from(number).unwrap();
    if number < 127 {
        block.push(byte(number));
        return;
    }
    block.push(127);
    number -= 127;
    while number >= 128 {
        block.push(byte(number % 128) | 128);
        number /= 128;
    }
    block.push(byte(number));
}

fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// `:status` at the beginning of the first header block of a connection (RFC 7541 appendix A).
fn status(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    match block {
        [first @ 0x88..=0x8e, ..] => INDEXED[usize::from(first - 0x88)],
        [0x08 | 0x48, 3, a, b, c, ..] => {
            let digits = [*a, *b, *c].map(|digit| u16::from(digit - b'0'));
            digits[0] * 100 + digits[1] * 10 + digits[2]
        }
        [0x08 | 0x48, 0x82, a, b, ..] => digits(u32::from_be_bytes([*a, *b, 0, 0])),
        [0x08 | 0x48, 0x83, a, b, c, ..] => digits(u32::from_be_bytes([*a, *b, *c, 0])),
        other => panic!("no status in {other:?}"),
    }
}

/// Three digits in the code of RFC 7541 appendix B: five bits for 0, 1 and 2, six for the others.
fn digits(mut bits: u32) -> u16 {
    let mut number = 0;
    for _ in 0..3 {
        let (digit, width) = match bits >> 27 {
            short @ 0..3 => (short, 5),
            _ => ((bits >> 26) - 0b01_1001 + 3, 6),
        };
        number = number * 10 + u16::try_from(digit).unwrap();
        bits <<= width;
    }
    number
}
