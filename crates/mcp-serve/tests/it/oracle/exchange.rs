//! What is sent: requests, steps, scripts.

use std::collections::HashMap;

use serde_json::{Value, json};

pub(super) const MODERN: &str = "2026-07-28";

/// Steps that belong together, because later ones use the session or the values of earlier ones.
pub(super) struct Script {
    pub(super) name: String,
    /// The revision of its session, if it has one.
    pub(super) version: Option<&'static str>,
    pub(super) steps: Vec<Step>,
}

/// One request and how far its answer is read.
#[derive(Clone)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) request: Request,
    pub(super) until: Until,
    /// What is sent after each message that comes in and is not the answer.
    pub(super) then: Vec<Then>,
}

#[derive(Clone, Copy)]
pub(super) enum Until {
    End,
    Head,
    Messages(usize),
}

#[derive(Clone)]
pub(super) enum Then {
    Send(Request),
    /// The client's answer to a request of the server's, in this revision.
    Answer(&'static str, Value),
}

/// One HTTP request, apart from `Host` and `Content-Length`.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) verb: &'static str,
    /// In `{{session}}`, `{{task}}` and `{{state}}` the values of earlier answers go in, here and
    /// in the body.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Script {
    pub(super) fn new(name: &str, steps: Vec<Step>) -> Self {
        Self {
            name: name.to_owned(),
            version: None,
            steps,
        }
    }

    /// A script of a single step.
    pub(super) fn one(step: Step) -> Self {
        Self {
            name: step.name.clone(),
            version: None,
            steps: vec![step],
        }
    }

    /// A session of an older revision: the handshake, then `steps`.
    pub(super) fn session(version: &'static str, name: &str, steps: Vec<Step>) -> Self {
        let hello = Step::new("initialize", Request::initialize(version));
        let notification = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let ready = Request::legacy(version).body(&notification.to_string());
        let mut all = vec![hello, Step::new("initialized", ready)];
        all.extend(steps);
        Self {
            name: format!("{version} {name}"),
            version: Some(version),
            steps: all,
        }
    }
}

impl Step {
    pub(super) fn new(name: &str, request: Request) -> Self {
        Self {
            name: name.to_owned(),
            request,
            until: Until::End,
            then: Vec::new(),
        }
    }

    /// A request of revision 2026-07-28.
    pub(super) fn modern(method: &str, params: Value) -> Self {
        Self::new(&label(method, &params), Request::modern(method, params))
    }

    /// A request of an older revision, in the session of the script.
    pub(super) fn legacy(version: &'static str, id: u64, method: &str, params: &Value) -> Self {
        let name = label(method, params);
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        Self::new(&name, Request::legacy(version).body(&message.to_string()))
    }

    pub(super) fn until(mut self, until: Until) -> Self {
        self.until = until;
        self
    }

    pub(super) fn then(mut self, then: Then) -> Self {
        self.then.push(then);
        self
    }
}

fn label(method: &str, params: &Value) -> String {
    let name = ["name", "uri"]
        .iter()
        .find_map(|key| params[key].as_str())
        .unwrap_or_default();
    format!("{method} {name}").trim_end().to_owned()
}

impl Request {
    /// A POST with the headers that every client sends, and no body yet.
    pub(super) fn post() -> Self {
        Self {
            verb: "POST",
            headers: Vec::new(),
            body: Vec::new(),
        }
        .header("Content-Type", "application/json")
        .header("Accept", "application/json, text/event-stream")
    }

    /// A request without body.
    pub(super) fn bare(verb: &'static str) -> Self {
        Self {
            verb,
            headers: Vec::new(),
            body: Vec::new(),
        }
        .header("Accept", "text/event-stream")
    }

    pub(super) fn initialize(version: &str) -> Self {
        let message = json!({
            "jsonrpc": "2.0",
            "id": 0,
            "method": "initialize",
            "params": {
                "protocolVersion": version,
                "capabilities": { "elicitation": {}, "sampling": {}, "roots": {} },
                "clientInfo": { "name": "replay", "version": "1" },
            },
        });
        Self::post().body(&message.to_string())
    }

    /// A POST in the session of the script.
    pub(super) fn legacy(version: &str) -> Self {
        Self::post()
            .header("Mcp-Session-Id", "{{session}}")
            .header("MCP-Protocol-Version", version)
    }

    /// A request of revision 2026-07-28 with everything it needs; `_meta` in `params` is added to.
    pub(super) fn modern(method: &str, mut params: Value) -> Self {
        let name = match method {
            "tools/call" | "prompts/get" => Some("name"),
            "resources/read" => Some("uri"),
            "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
            _ => None,
        };
        let name = name.and_then(|key| params[key].as_str()).map(str::to_owned);
        let mut meta = json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": { "name": "replay", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {
                "elicitation": {},
                "sampling": {},
                "roots": {},
            },
        });
        if let (Some(meta), Some(given)) = (meta.as_object_mut(), params["_meta"].as_object()) {
            meta.extend(given.clone());
        }
        params["_meta"] = meta;
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let request = Self::post()
            .header("MCP-Protocol-Version", MODERN)
            .header("Mcp-Method", method)
            .body(&message.to_string());
        match name {
            Some(name) => request.header("Mcp-Name", &name),
            None => request,
        }
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without the header of this name, or with another value of it.
    pub(super) fn reheader(mut self, name: &str, value: Option<&str>) -> Self {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    pub(super) fn body(mut self, body: &str) -> Self {
        self.body = body.as_bytes().to_vec();
        self
    }

    /// The body as JSON, `Null` when it is not.
    pub(super) fn message(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The first value of a header.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn to_bytes(
        &self,
        host: &str,
        session: &str,
        captured: &HashMap<&'static str, String>,
    ) -> Vec<u8> {
        let fill = |text: &str| {
            let mut text = text.replace("{{session}}", session);
            for (name, value) in captured {
                text = text.replace(&format!("{{{{{name}}}}}"), value);
            }
            text
        };
        // A body that is not UTF-8 has nothing to fill in.
        let body = std::str::from_utf8(&self.body)
            .map_or_else(|_| self.body.clone(), |text| fill(text).into_bytes());
        let mut lines = vec![
            format!("{} /mcp HTTP/1.1", self.verb),
            "Connection: close".to_owned(),
        ];
        if self.value("host").is_none() {
            lines.push(format!("Host: {host}"));
        }
        let given = self.headers.iter();
        lines.extend(given.map(|(name, value)| format!("{name}: {}", fill(value))));
        if self.verb == "POST" {
            lines.push(format!("Content-Length: {}", body.len()));
        }
        [lines.join("\r\n").as_bytes(), b"\r\n\r\n", &body].concat()
    }
}
