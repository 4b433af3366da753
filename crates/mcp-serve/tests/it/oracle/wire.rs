//! HTTP by hand: what a client library would refuse to send can be sent, and a stream can be read
//! message by message.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::SocketAddr,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time,
};

use super::exchange::{Request, Step, Then, Until};

/// No exchange takes longer, on any machine; one that does counts as without an answer.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// What came back for one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) form: Form,
    /// A session id was handed out.
    pub(super) session: bool,
    /// An event without data came first, for a client to resume from.
    pub(super) primed: bool,
    /// The JSON-RPC messages, in order.
    pub(super) messages: Vec<Value>,
    /// The statuses of what was sent while the answer came in.
    pub(super) then: Vec<u16>,
}

/// The content type, as far as it matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Form {
    #[default]
    Empty,
    Json,
    Events,
    Text,
}

/// A client of one server, for one script.
pub(super) struct Client {
    address: SocketAddr,
    session: Option<String>,
    /// What earlier answers gave: `task` and `state`.
    captured: HashMap<&'static str, String>,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            session: None,
            captured: HashMap::new(),
        }
    }

    /// Sends the request of a step and whatever is due while its answer comes in.
    pub(super) async fn play(&mut self, step: &Step) -> io::Result<Answer> {
        match time::timeout(ANSWER_MAX, self.play_on(step)).await {
            Ok(answer) => answer,
            Err(_) => Err(io::Error::other(format!(
                "no answer in time to {}",
                step.name
            ))),
        }
    }

    async fn play_on(&mut self, step: &Step) -> io::Result<Answer> {
        let mut due: VecDeque<_> = step.then.iter().collect();
        let mut reply = self.open(&step.request).await?;
        let mut answer = Answer {
            status: reply.status,
            ..Answer::default()
        };
        if let Some(id) = reply.header("mcp-session-id") {
            answer.session = true;
            self.session = Some(id.to_owned());
        }
        let mut seen = 0;
        loop {
            let parsed = reply.parse();
            for message in &parsed.messages[seen..] {
                self.capture(message);
                if message.get("result").is_none()
                    && message.get("error").is_none()
                    && let Some(then) = due.pop_front()
                {
                    answer.then.push(self.send(then, message).await?);
                }
            }
            seen = parsed.messages.len();
            match step.until {
                // What a stream begins with is not waited for, so it is not looked at either.
                Until::Head if parsed.form == Form::Events => {
                    answer.form = parsed.form;
                    return Ok(answer);
                }
                Until::Messages(count) if seen >= count => return Ok(parsed.complete(answer)),
                _ if !reply.read().await? => return Ok(reply.parse().complete(answer)),
                _ => {}
            }
        }
    }

    async fn send(&self, then: &Then, message: &Value) -> io::Result<u16> {
        let request = match then {
            Then::Send(request) => request.clone(),
            Then::Answer(version, result) => Request::legacy(version).body(
                &json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }).to_string(),
            ),
        };
        let mut reply = self.open(&request).await?;
        while reply.read().await? {}
        Ok(reply.status)
    }

    async fn open(&self, request: &Request) -> io::Result<Reply> {
        let mut stream = TcpStream::connect(self.address).await?;
        let session = self.session.as_deref().unwrap_or("none-was-given");
        let host = format!("localhost:{}", self.address.port());
        let bytes = request.to_bytes(&host, session, &self.captured);
        stream.write_all(&bytes).await?;
        let mut reply = Reply {
            stream,
            raw: Vec::new(),
            body: 0,
            status: 0,
            headers: Vec::new(),
        };
        while !reply.has_head()? {
            if !reply.read().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(reply)
    }

    fn capture(&mut self, message: &Value) {
        let result = &message["result"];
        for (name, value) in [
            ("task", &result["taskId"]),
            ("state", &result["requestState"]),
        ] {
            if let Some(value) = value.as_str() {
                self.captured.insert(name, value.to_owned());
            }
        }
    }
}

/// A response that is still coming in.
struct Reply {
    stream: TcpStream,
    raw: Vec<u8>,
    /// Where the body begins in `raw`.
    body: usize,
    status: u16,
    headers: Vec<(String, String)>,
}

struct Parsed {
    form: Form,
    primed: bool,
    messages: Vec<Value>,
}

impl Parsed {
    fn complete(self, answer: Answer) -> Answer {
        Answer {
            form: self.form,
            primed: self.primed,
            messages: self.messages,
            ..answer
        }
    }
}

impl Reply {
    /// Reads on; false at the end of the response.
    async fn read(&mut self) -> io::Result<bool> {
        if self.body > 0 && self.is_complete() {
            return Ok(false);
        }
        Ok(self.stream.read_buf(&mut self.raw).await? > 0)
    }

    fn has_head(&mut self) -> io::Result<bool> {
        let Some(end) = self.raw.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(false);
        };
        let head = String::from_utf8_lossy(&self.raw[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok());
        self.status = status.ok_or_else(|| io::Error::other("not a status line"))?;
        self.headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        self.body = end + 4;
        Ok(true)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding")
            .is_some_and(|encoding| encoding.contains("chunked"))
    }

    fn is_complete(&self) -> bool {
        let length = self
            .header("content-length")
            .and_then(|length| length.parse().ok());
        match length {
            Some(length) => self.raw.len() - self.body >= length,
            None => self.is_chunked() && dechunk(&self.raw[self.body..]).1,
        }
    }

    fn parse(&self) -> Parsed {
        let raw = &self.raw[self.body..];
        let body = if self.is_chunked() {
            dechunk(raw).0
        } else {
            raw.to_vec()
        };
        let text = String::from_utf8_lossy(&body);
        let kind = self.header("content-type").unwrap_or_default();
        if kind.starts_with("text/event-stream") {
            let (messages, primed) = events(&text);
            return Parsed {
                form: Form::Events,
                primed,
                messages,
            };
        }
        let (form, messages) = if kind.starts_with("application/json") {
            (
                Form::Json,
                serde_json::from_str(&text).into_iter().collect(),
            )
        } else if text.is_empty() {
            (Form::Empty, Vec::new())
        } else {
            (Form::Text, Vec::new())
        };
        Parsed {
            form,
            primed: false,
            messages,
        }
    }
}

/// The messages of the events that are complete, and whether an empty one came first.
fn events(text: &str) -> (Vec<Value>, bool) {
    let mut messages = Vec::new();
    let mut primed = false;
    let text = text.replace("\r\n", "\n");
    let complete = text.rfind("\n\n").map_or("", |end| &text[..end]);
    for event in complete.split("\n\n") {
        let field = |name: &str| {
            let values = event.lines().filter_map(|line| line.strip_prefix(name));
            values
                .map(|value| value.strip_prefix(' ').unwrap_or(value))
                .collect::<Vec<_>>()
        };
        let data = field("data:").join("\n");
        if data.is_empty() {
            primed |= messages.is_empty() && !field("id:").is_empty();
        } else {
            messages.push(serde_json::from_str(&data).unwrap_or(Value::String(data)));
        }
    }
    (messages, primed)
}

/// A chunked body as far as it has come, and whether that is all of it.
fn dechunk(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = raw.windows(2).position(|window| window == b"\r\n") else {
            return (body, false);
        };
        let size = std::str::from_utf8(&raw[..end]).unwrap_or_default();
        let Ok(size) = usize::from_str_radix(size.split(';').next().unwrap_or_default(), 16) else {
            return (body, false);
        };
        if size == 0 {
            return (body, true);
        }
        let data = &raw[end + 2..];
        if data.len() < size + 2 {
            return (body, false);
        }
        body.extend_from_slice(&data[..size]);
        raw = &data[size + 2..];
    }
}
