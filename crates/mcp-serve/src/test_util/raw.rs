//! HTTP/1.1 by hand over one socket: sends what a test says, to the letter, and reads with
//! deadlines.

use std::{
    fmt::{Debug, Write as _},
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// The longest wait for the head of a response, and for its body.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes both ways, in the clear or within TLS.
pub trait Bytes: AsyncRead + AsyncWrite + Debug + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Debug + Send + Unpin> Bytes for T {}

/// One connection to a server.
#[derive(Debug)]
pub struct RawClient {
    stream: BufReader<Box<dyn Bytes>>,
    address: SocketAddr,
}

/// The status line and the header fields of a response, names in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawHead {
    /// The status code.
    pub status: u16,
    /// Names and values in the order in which they came.
    pub headers: Vec<(String, String)>,
}

impl RawHead {
    /// The first value of the field `name` (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A whole response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawResponse {
    /// The status code.
    pub status: u16,
    /// Names (in lower case) and values in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// The body, its chunks joined.
    pub body: Vec<u8>,
}

impl RawResponse {
    /// The first value of the field `name` (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; panics when it is none.
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("no JSON ({error}) in {} {:?}", self.status, self.text()),
        }
    }
}

impl RawClient {
    /// Opens a connection.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream, address))
    }

    /// Opens a connection within TLS to a server that is called `localhost`.
    pub async fn connect_tls(
        address: SocketAddr,
        config: Arc<rustls::ClientConfig>,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Self::over(stream, address).secure(config).await
    }

    /// Speaks over a connection that is open.
    #[must_use]
    pub fn over(stream: impl Bytes + 'static, address: SocketAddr) -> Self {
        Self {
            stream: BufReader::new(Box::new(stream)),
            address,
        }
    }

    /// Goes on within TLS with a server that is called `localhost`. What was read and not used is
    /// lost.
    pub async fn secure(self, config: Arc<rustls::ClientConfig>) -> io::Result<Self> {
        self.secure_with("localhost", config).await
    }

    /// Goes on within TLS with a server that is called `name`. What was read and not used is lost.
    pub async fn secure_with(
        self,
        name: &'static str,
        config: Arc<rustls::ClientConfig>,
    ) -> io::Result<Self> {
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let shaking = TlsConnector::from(config).connect(name, self.stream.into_inner());
        let stream = timeout(PATIENCE, shaking)
            .await
            .map_err(|_| timed_out("a handshake"))??;
        Ok(Self::over(stream, self.address))
    }

    /// Reads up to the end of the connection.
    pub async fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        timeout(PATIENCE, self.stream.read_to_end(&mut bytes))
            .await
            .map_err(|_| timed_out("the end"))??;
        Ok(bytes)
    }

    /// Sends these bytes and nothing else.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Sends a request without waiting for its answer. `Host` and `Content-Length` are added
    /// unless `headers` have them.
    pub async fn send_request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<()> {
        let has = |name: &str| {
            headers
                .iter()
                .any(|(own, _)| own.eq_ignore_ascii_case(name))
        };
        let mut text = format!("{method} {path} HTTP/1.1\r\n");
        if !has("host") {
            write!(text, "Host: {}\r\n", self.address).map_err(io::Error::other)?;
        }
        for (name, value) in headers {
            write!(text, "{name}: {value}\r\n").map_err(io::Error::other)?;
        }
        if !has("content-length") && !has("transfer-encoding") && !body.is_empty() {
            write!(text, "Content-Length: {}\r\n", body.len()).map_err(io::Error::other)?;
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(body);
        self.send(&bytes).await
    }

    /// Sends a request and reads its whole answer.
    pub async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<RawResponse> {
        self.send_request(method, path, headers, body).await?;
        self.read_response(method == "HEAD").await
    }

    /// Reads one whole response; `bodiless` when it answers a HEAD.
    pub async fn read_response(&mut self, bodiless: bool) -> io::Result<RawResponse> {
        let head = self.read_head().await?;
        let body = if bodiless {
            Vec::new()
        } else {
            self.read_body_of(&head).await?
        };
        Ok(RawResponse {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    /// Reads a response up to its body.
    pub async fn read_head(&mut self) -> io::Result<RawHead> {
        let reading = async {
            let line = self.read_line().await?;
            let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
            let status = status.ok_or_else(|| broken(&format!("status line {line:?}")))?;
            let mut headers = Vec::new();
            loop {
                let line = self.read_line().await?;
                if line.is_empty() {
                    return Ok(RawHead { status, headers });
                }
                let (name, value) = line
                    .split_once(':')
                    .ok_or_else(|| broken(&format!("header {line:?}")))?;
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
        };
        timeout(PATIENCE, reading)
            .await
            .map_err(|_| timed_out("a response head"))?
    }

    /// Reads `path` with GET and no header fields but the necessary ones.
    pub async fn get(&mut self, path: &str) -> io::Result<RawResponse> {
        self.request("GET", path, &[], b"").await
    }

    /// Sends a request whose answer is a stream of server-sent events.
    ///
    /// Any other answer is an error of kind `InvalidData` that shows it.
    pub async fn open_stream(
        mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<SseReader> {
        self.send_request(method, path, headers, body).await?;
        let head = self.read_head().await?;
        if !is_event_stream(&head) {
            let body = self.read_body_of(&head).await?;
            let text = String::from_utf8_lossy(&body).into_owned();
            return Err(broken(&format!("no event stream but {head:?} {text:?}")));
        }
        Ok(self.into_events(head))
    }

    /// Reads the body that follows `head` as server-sent events.
    pub fn into_events(self, head: RawHead) -> SseReader {
        SseReader {
            client: self,
            head,
            text: String::new(),
            searched: 0,
            ended: false,
            comments: 0,
        }
    }

    /// Whether the server closes the connection within `deadline` without sending anything more.
    pub async fn is_closed_within(&mut self, deadline: Duration) -> bool {
        let mut byte = [0; 1];
        match timeout(deadline, self.stream.read(&mut byte)).await {
            Ok(Ok(0)) => true,
            Ok(Err(error)) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof
            ),
            Ok(Ok(_)) | Err(_) => false,
        }
    }

    /// Reads the body that follows `head`.
    pub(super) async fn read_body_of(&mut self, head: &RawHead) -> io::Result<Vec<u8>> {
        if head.status == 204 || head.status == 304 {
            return Ok(Vec::new());
        }
        timeout(PATIENCE, self.read_body(head))
            .await
            .map_err(|_| timed_out("a body"))?
    }

    async fn read_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    async fn read_body(&mut self, head: &RawHead) -> io::Result<Vec<u8>> {
        if is_chunked(head) {
            let mut body = Vec::new();
            while let Some(chunk) = self.read_chunk().await? {
                body.extend(chunk);
            }
            return Ok(body);
        }
        let Some(length) = head.header("content-length") else {
            let mut body = Vec::new();
            self.stream.read_to_end(&mut body).await?;
            return Ok(body);
        };
        let length = length.parse().map_err(|_| broken("content-length"))?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok(body)
    }

    /// The next chunk; `None` for the last one.
    async fn read_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.read_line().await?;
        let size = usize::from_str_radix(&line, 16).map_err(|_| broken("chunk size"))?;
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk).await?;
        chunk.truncate(size);
        Ok((size > 0).then_some(chunk))
    }
}

/// A response that is a stream of server-sent events. Dropping it closes the connection.
#[derive(Debug)]
pub struct SseReader {
    client: RawClient,
    /// The head of the response.
    pub head: RawHead,
    text: String,
    /// Up to here there is no end of an event.
    searched: usize,
    ended: bool,
    comments: usize,
}

/// One event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// Its id, if it has one.
    pub id: Option<String>,
    /// Its type, if it has one.
    pub event: Option<String>,
    /// The time to wait before a new connection, in milliseconds, if it has one.
    pub retry: Option<u64>,
    /// Its data.
    pub data: String,
}

impl SseEvent {
    /// The data as JSON; panics when it is none.
    pub fn json(&self) -> Value {
        match serde_json::from_str(&self.data) {
            Ok(value) => value,
            Err(error) => panic!("no JSON ({error}) in {self:?}"),
        }
    }
}

/// What [`SseReader::next_event`] met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// An event.
    Event(SseEvent),
    /// The stream ended as it should, with its last chunk.
    End,
    /// The connection broke off.
    Broken,
    /// Nothing until the deadline.
    Silence,
}

impl Next {
    /// The event; panics when it is none.
    pub fn event(self) -> SseEvent {
        match self {
            Self::Event(event) => event,
            other => panic!("expected an event, met {other:?}"),
        }
    }
}

impl SseReader {
    /// Waits for the next event at most so long. Comments are counted and passed over.
    pub async fn next_event(&mut self, deadline: Duration) -> Next {
        let until = Instant::now() + deadline;
        loop {
            if let Some(end) = self.text[self.searched..].find("\n\n") {
                let block: String = self.text.drain(..self.searched + end + 2).collect();
                self.searched = 0;
                if let Some(event) = self.parse_block(&block) {
                    return Next::Event(event);
                }
                continue;
            }
            // A large event comes in many chunks, of which none is looked at twice.
            self.searched = self.text.len() - usize::from(self.text.ends_with('\n'));
            if self.ended {
                return Next::End;
            }
            let left = until.saturating_duration_since(Instant::now());
            // A chunk that has begun is read to its end: this reader is not cancel-safe inside one.
            if timeout(left, self.client.stream.fill_buf()).await.is_err() {
                return Next::Silence;
            }
            match timeout(PATIENCE, self.client.read_chunk()).await {
                Ok(Ok(Some(chunk))) => self.text.push_str(&String::from_utf8_lossy(&chunk)),
                Ok(Ok(None)) => self.ended = true,
                Ok(Err(_)) | Err(_) => return Next::Broken,
            }
        }
    }

    /// All events up to the end of the stream, which must come within `deadline`; panics otherwise.
    pub async fn rest(&mut self, deadline: Duration) -> Vec<SseEvent> {
        let until = Instant::now() + deadline;
        let mut events = Vec::new();
        loop {
            match self
                .next_event(until.saturating_duration_since(Instant::now()))
                .await
            {
                Next::Event(event) => events.push(event),
                Next::End => return events,
                other => panic!("the stream did not end: {other:?} after {events:?}"),
            }
        }
    }

    /// How many comments have come so far.
    pub fn comments(&self) -> usize {
        self.comments
    }

    fn parse_block(&mut self, block: &str) -> Option<SseEvent> {
        let mut event = SseEvent::default();
        let mut has_field = false;
        let mut data = Vec::new();
        for line in block.lines().filter(|line| !line.is_empty()) {
            if line.starts_with(':') {
                self.comments += 1;
                continue;
            }
            has_field = true;
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "id" => event.id = Some(value.to_owned()),
                "event" => event.event = Some(value.to_owned()),
                "retry" => event.retry = value.parse().ok(),
                "data" => data.push(value),
                _ => {}
            }
        }
        event.data = data.join("\n");
        has_field.then_some(event)
    }
}

/// Whether a response is a stream of server-sent events.
pub(super) fn is_event_stream(head: &RawHead) -> bool {
    head.header("content-type")
        .is_some_and(|value| value.starts_with("text/event-stream"))
}

fn is_chunked(head: &RawHead) -> bool {
    head.header("transfer-encoding")
        .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn timed_out(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("{what} did not come within {PATIENCE:?}"),
    )
}
