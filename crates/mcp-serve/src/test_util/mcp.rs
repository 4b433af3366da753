//! Clients of both eras that send exactly what a correct client sends, and show what comes back.

use std::{io, net::SocketAddr, time::Duration};

use serde_json::{Map, Value, json};

use super::raw::{RawClient, RawHead, SseReader, is_event_stream};

const PATIENCE: Duration = Duration::from_secs(10);
const ACCEPT: &str = "application/json, text/event-stream";
const META: &str = "io.modelcontextprotocol/";

/// The answer to one POST.
#[derive(Debug, Clone)]
pub struct RpcAnswer {
    /// Status and header fields.
    pub head: RawHead,
    /// Every JSON-RPC message that came, the response last. Empty for an empty body.
    pub messages: Vec<Value>,
}

impl RpcAnswer {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The last message, which is the response; `null` when there is none.
    pub fn last(&self) -> Value {
        self.messages.last().cloned().unwrap_or_default()
    }

    /// The `result` of the response; panics when it has none.
    pub fn result(&self) -> Value {
        match self.last().get("result") {
            Some(result) => result.clone(),
            None => panic!("no result in {self:?}"),
        }
    }

    /// The code of the error in the response; panics when it is none.
    pub fn error_code(&self) -> i64 {
        match self.last().pointer("/error/code").and_then(Value::as_i64) {
            Some(code) => code,
            None => panic!("no error in {self:?}"),
        }
    }
}

/// A client of revision 2026-07-28. Every request stands for itself.
#[derive(Debug, Clone)]
pub struct Modern {
    address: SocketAddr,
    /// The MCP path. Default `/mcp`.
    pub path: String,
    /// The revision in header and `_meta`. Default `2026-07-28`.
    pub version: String,
    /// What the client says that it can. Default nothing.
    pub capabilities: Value,
    /// Further entries of `_meta`, with their whole names (`progressToken`).
    pub meta: Map<String, Value>,
    /// Further header fields of every request, such as `Authorization`.
    pub headers: Vec<(String, String)>,
    next_id: u64,
}

impl Modern {
    /// A client of the server at `address`.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            path: "/mcp".to_owned(),
            version: "2026-07-28".to_owned(),
            capabilities: json!({}),
            meta: Map::new(),
            headers: Vec::new(),
            next_id: 1,
        }
    }

    /// Calls `method` and waits for the whole answer, on a connection of its own.
    pub async fn call(&mut self, method: &str, params: Value) -> io::Result<RpcAnswer> {
        let (headers, body) = self.request(method, params);
        post(self.address, &self.path, &headers, &body).await
    }

    /// Calls `method`, whose answer is a stream.
    pub async fn open(&mut self, method: &str, params: Value) -> io::Result<SseReader> {
        let (headers, body) = self.request(method, params);
        let client = RawClient::connect(self.address).await?;
        let headers = borrowed(&headers);
        client
            .open_stream("POST", &self.path, &headers, body.to_string().as_bytes())
            .await
    }

    /// The header fields and the body of the next request, for tests that spoil them.
    pub fn request(&mut self, method: &str, params: Value) -> (Vec<(String, String)>, Value) {
        let mut params = match params {
            Value::Object(params) => params,
            _ => Map::new(),
        };
        let mut meta = self.meta.clone();
        meta.insert(format!("{META}protocolVersion"), json!(self.version));
        meta.insert(
            format!("{META}clientCapabilities"),
            self.capabilities.clone(),
        );
        meta.insert(
            format!("{META}clientInfo"),
            json!({ "name": "test-client", "version": "1.0.0" }),
        );
        let named = match method {
            "tools/call" | "prompts/get" => params.get("name"),
            "resources/read" => params.get("uri"),
            _ => None,
        };
        let mut headers = base_headers();
        headers.push(("MCP-Protocol-Version".to_owned(), self.version.clone()));
        headers.push(("Mcp-Method".to_owned(), method.to_owned()));
        if let Some(Value::String(name)) = named {
            headers.push(("Mcp-Name".to_owned(), name.clone()));
        }
        headers.extend(self.headers.iter().cloned());
        params.insert("_meta".to_owned(), Value::Object(meta));
        let body =
            json!({ "jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params });
        self.next_id += 1;
        (headers, body)
    }
}

/// A client of an older revision, with its session open.
#[derive(Debug, Clone)]
pub struct Legacy {
    address: SocketAddr,
    /// The MCP path.
    pub path: String,
    /// The session's id, if the server gave one.
    pub session: Option<String>,
    /// The revision that was agreed on.
    pub version: String,
    /// The result of `initialize`.
    pub initialized: Value,
    /// Further header fields of every request, such as `Authorization`.
    pub headers: Vec<(String, String)>,
    next_id: u64,
}

impl Legacy {
    /// Opens a session on `/mcp`: `initialize` and `notifications/initialized`.
    pub async fn initialize(address: SocketAddr, version: &str) -> io::Result<Self> {
        Self::initialize_with(address, version, json!({}), Vec::new()).await
    }

    /// Opens a session with these client capabilities and further header fields.
    ///
    /// An `initialize` that is refused is an error that shows the answer.
    pub async fn initialize_with(
        address: SocketAddr,
        version: &str,
        capabilities: Value,
        headers: Vec<(String, String)>,
    ) -> io::Result<Self> {
        let mut client = Self {
            address,
            path: "/mcp".to_owned(),
            session: None,
            version: version.to_owned(),
            initialized: Value::Null,
            headers,
            next_id: 1,
        };
        let params = json!({
            "protocolVersion": version,
            "capabilities": capabilities,
            "clientInfo": { "name": "test-client", "version": "1.0.0" },
        });
        let mut sent = base_headers();
        sent.extend(client.headers.iter().cloned());
        let body = client.body("initialize", params);
        let answer = post(address, &client.path, &sent, &body).await?;
        let Some(result) = answer.last().get("result").cloned() else {
            return Err(io::Error::other(format!(
                "initialize was refused: {answer:?}"
            )));
        };
        client.session = answer.head.header("mcp-session-id").map(str::to_owned);
        if let Some(version) = result["protocolVersion"].as_str() {
            version.clone_into(&mut client.version);
        }
        client.initialized = result;
        client
            .notify("notifications/initialized", Value::Null)
            .await?;
        Ok(client)
    }

    /// The same session at another replica of the server.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Self {
        Self {
            address,
            ..self.clone()
        }
    }

    /// Calls `method` in the session and waits for the whole answer.
    pub async fn call(&mut self, method: &str, params: Value) -> io::Result<RpcAnswer> {
        let body = self.body(method, params);
        self.post(&body).await
    }

    /// Sends a notification; its answer has no message.
    pub async fn notify(&mut self, method: &str, params: Value) -> io::Result<RpcAnswer> {
        let mut body = json!({ "jsonrpc": "2.0", "method": method });
        if !params.is_null() {
            body["params"] = params;
        }
        self.post(&body).await
    }

    /// Posts any message, a batch or an answer to the server's request included.
    pub async fn post(&self, body: &Value) -> io::Result<RpcAnswer> {
        post(self.address, &self.path, &self.session_headers(), body).await
    }

    /// Calls `method`, whose answer is a stream.
    pub async fn open(&mut self, method: &str, params: Value) -> io::Result<SseReader> {
        let body = self.body(method, params);
        self.open_body(&body).await
    }

    /// Posts a request whose answer is a stream.
    pub async fn open_body(&self, body: &Value) -> io::Result<SseReader> {
        let body = body.to_string();
        let headers = self.session_headers();
        let client = RawClient::connect(self.address).await?;
        client
            .open_stream("POST", &self.path, &borrowed(&headers), body.as_bytes())
            .await
    }

    /// Opens the session's stream of notifications.
    pub async fn open_get(&self) -> io::Result<SseReader> {
        self.resume(None).await
    }

    /// Goes on after the event `last`, or opens the stream of notifications.
    pub async fn resume(&self, last: Option<&str>) -> io::Result<SseReader> {
        let mut headers = self.session_headers();
        if let Some(last) = last {
            headers.push(("Last-Event-ID".to_owned(), last.to_owned()));
        }
        let client = RawClient::connect(self.address).await?;
        client
            .open_stream("GET", &self.path, &borrowed(&headers), b"")
            .await
    }

    /// Ends the session; gives the HTTP status.
    pub async fn delete(&self) -> io::Result<u16> {
        let headers = self.session_headers();
        let mut client = RawClient::connect(self.address).await?;
        let answer = client
            .request("DELETE", &self.path, &borrowed(&headers), b"")
            .await?;
        Ok(answer.status)
    }

    /// The body of the next request with this method.
    pub fn body(&mut self, method: &str, params: Value) -> Value {
        let mut body = json!({ "jsonrpc": "2.0", "id": self.next_id, "method": method });
        if !params.is_null() {
            body["params"] = params;
        }
        self.next_id += 1;
        body
    }

    /// The header fields of a request in the session.
    pub fn session_headers(&self) -> Vec<(String, String)> {
        let mut headers = base_headers();
        if let Some(session) = &self.session {
            headers.push(("Mcp-Session-Id".to_owned(), session.clone()));
        }
        headers.push(("MCP-Protocol-Version".to_owned(), self.version.clone()));
        headers.extend(self.headers.iter().cloned());
        headers
    }
}

/// Posts a message on a connection of its own and reads all that comes back.
pub async fn post(
    address: SocketAddr,
    path: &str,
    headers: &[(String, String)],
    body: &Value,
) -> io::Result<RpcAnswer> {
    let mut client = RawClient::connect(address).await?;
    client
        .send_request(
            "POST",
            path,
            &borrowed(headers),
            body.to_string().as_bytes(),
        )
        .await?;
    read_answer(client).await
}

async fn read_answer(mut client: RawClient) -> io::Result<RpcAnswer> {
    let head = client.read_head().await?;
    if is_event_stream(&head) {
        let events = client.into_events(head.clone()).rest(PATIENCE).await;
        let filled = events.iter().filter(|event| !event.data.is_empty());
        return Ok(RpcAnswer {
            head,
            messages: filled.map(super::SseEvent::json).collect(),
        });
    }
    let body = client.read_body_of(&head).await?;
    let messages = match body.as_slice() {
        [] => Vec::new(),
        bytes => match serde_json::from_slice(bytes).map_err(io::Error::other)? {
            Value::Array(batch) => batch,
            message => vec![message],
        },
    };
    Ok(RpcAnswer { head, messages })
}

fn base_headers() -> Vec<(String, String)> {
    vec![
        ("Content-Type".to_owned(), "application/json".to_owned()),
        ("Accept".to_owned(), ACCEPT.to_owned()),
    ]
}

fn borrowed(headers: &[(String, String)]) -> Vec<(&str, &str)> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}
