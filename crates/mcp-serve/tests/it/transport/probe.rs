//! A handler whose tools can be watched while they work.

use std::{sync::Arc, time::Duration};

use mcp_serve::{
    Config,
    events::{Change, Event, Events, MemoryEvents},
    test_util::TestServer,
    transport::StreamHandle,
};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock,
        CustomNotification, ElicitRequestParams, ElicitationSchema, ListToolsResult,
        PaginatedRequestParams, ProgressNotificationParam, ReadResourceRequestParams,
        ReadResourceResponse, ServerCapabilities, ServerConfig, SubscribeRequestParams,
        SubscriptionFilter, Tool, UnsubscribeRequestParams,
    },
    service::{NotificationContext, RequestContext},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// What became of a call of the tool `slow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Begun,
    Done,
    Dropped,
}

/// The handler.
#[derive(Clone)]
pub(crate) struct Probe {
    tools: Arc<Vec<Tool>>,
    fates: mpsc::UnboundedSender<Fate>,
}

/// A running server with a [`Probe`], and what it tells.
pub(crate) struct Running {
    pub(crate) server: TestServer,
    pub(crate) fates: mpsc::UnboundedReceiver<Fate>,
    pub(crate) events: Arc<MemoryEvents>,
}

impl Running {
    /// The next fate; panics when none comes.
    pub(crate) async fn fate(&mut self) -> Fate {
        let next = tokio::time::timeout(super::SOON, self.fates.recv());
        next.await
            .expect("something became of the call")
            .expect("the server runs")
    }

    pub(crate) fn publish(&self, change: Change) {
        self.events.publish(Event {
            audience: None,
            change,
        });
    }
}

/// Starts a server with a short keep-alive.
pub(crate) async fn start() -> Running {
    start_with(|_| {}).await
}

/// Starts a server whose settings `adjust` changes.
pub(crate) async fn start_with(adjust: impl FnOnce(&mut Config)) -> Running {
    start_of(tools("https://schemas.example/text.json"), adjust).await
}

/// Starts a server whose tool `remote` has a schema that refers to `url`.
pub(crate) async fn start_with_remote(url: &str) -> Running {
    start_of(tools(url), |_| {}).await
}

/// A handler, and what it tells.
pub(crate) fn probe() -> (Probe, mpsc::UnboundedReceiver<Fate>) {
    probe_with(tools("https://schemas.example/text.json"))
}

fn probe_with(tools: Vec<Tool>) -> (Probe, mpsc::UnboundedReceiver<Fate>) {
    let (fates_in, fates) = mpsc::unbounded_channel();
    let tools = Arc::new(tools);
    let probe = Probe {
        tools,
        fates: fates_in,
    };
    (probe, fates)
}

async fn start_of(tools: Vec<Tool>, adjust: impl FnOnce(&mut Config)) -> Running {
    let (probe, fates) = probe_with(tools);
    let events = Arc::new(MemoryEvents::default());
    let mut config = Config {
        events: events.clone(),
        ..Config::default()
    };
    config.mcp.keep_alive = Duration::from_millis(200);
    adjust(&mut config);
    let server = TestServer::start(move || probe.clone(), axum::Router::new(), config).await;
    Running {
        server,
        fates,
        events,
    }
}

fn tools(remote: &str) -> Vec<Tool> {
    let tool = |name: &'static str, properties: Value| {
        let schema = json!({
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
        });
        let Value::Object(schema) = schema else {
            unreachable!("an object is written above")
        };
        Tool::new(name, "A tool of the tests", Arc::new(schema))
    };
    vec![
        tool("echo", json!({"text": {"type": "string", "maxLength": 10}})),
        tool("slow", json!({"millis": {"type": "integer"}})),
        tool(
            "count",
            json!({"to": {"type": "integer"}, "bytes": {"type": "integer"}}),
        ),
        tool("big", json!({"bytes": {"type": "integer"}})),
        tool("ask", json!({"question": {"type": "string"}})),
        tool("panic", json!({})),
        tool("fail", json!({})),
        tool("away", json!({})),
        tool("remote", json!({"text": {"$ref": remote}})),
        tool(
            "region",
            json!({"region": {"type": "string", "x-mcp-header": "Region"}}),
        ),
    ]
}

/// Tells that a call was dropped before it was done.
struct Witness {
    fates: mpsc::UnboundedSender<Fate>,
    done: bool,
}

impl Drop for Witness {
    fn drop(&mut self) {
        let fate = if self.done { Fate::Done } else { Fate::Dropped };
        let _ = self.fates.send(fate);
    }
}

fn text(text: impl Into<String>) -> CallToolResponse {
    CallToolResult::success(vec![ContentBlock::text(text.into())]).into()
}

impl Probe {
    async fn slow(&self, millis: u64) -> Result<CallToolResponse, ErrorData> {
        let _ = self.fates.send(Fate::Begun);
        let mut witness = Witness {
            fates: self.fates.clone(),
            done: false,
        };
        tokio::time::sleep(Duration::from_millis(millis)).await;
        witness.done = true;
        Ok(text("done"))
    }

    async fn count(
        &self,
        to: u64,
        bytes: usize,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let _ = self.fates.send(Fate::Begun);
        if let Some(token) = context.meta.get_progress_token() {
            for step in 1..=to {
                #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                let progress = ProgressNotificationParam::new(token.clone(), step as f64)
                    .with_message("x".repeat(bytes));
                let _ = context.peer.notify_progress(progress).await;
            }
        }
        let _ = self.fates.send(Fate::Done);
        Ok(text(format!("counted to {to}")))
    }

    /// One message of progress, and a result of so many bytes.
    async fn big(
        &self,
        bytes: usize,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if let Some(token) = context.meta.get_progress_token() {
            let progress = ProgressNotificationParam::new(token, 1.0);
            let _ = context.peer.notify_progress(progress).await;
        }
        let numbers = (0_u32..).flat_map(|number| format!("{number} ").into_bytes());
        let text_bytes = numbers.take(bytes).collect();
        Ok(text(String::from_utf8(text_bytes).unwrap_or_default()))
    }

    async fn ask(
        &self,
        question: String,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let form = ElicitationSchema::builder()
            .required_string("name")
            .build()
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        let params = ElicitRequestParams::FormElicitationParams {
            meta: None,
            message: question,
            requested_schema: form,
        };
        match context.peer.create_elicitation(params).await {
            Ok(result) => Ok(text(
                serde_json::to_string(&result.content).unwrap_or_default(),
            )),
            Err(error) => {
                Ok(CallToolResult::error(vec![ContentBlock::text(error.to_string())]).into())
            }
        }
    }
}

impl ServerHandler for Probe {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(
            ServerCapabilities::builder()
                .enable_tools()
                .enable_tool_list_changed()
                .enable_resources()
                .enable_resources_subscribe()
                .enable_resources_list_changed()
                .build(),
        )
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut result = ListToolsResult::with_all_items(self.tools.to_vec());
        result.ttl_ms = Some(1000);
        result.cache_scope = Some(CacheScope::Public);
        Ok(result)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tools.iter().find(|tool| tool.name == name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let number = |name: &str| arguments[name].as_u64().unwrap_or_default();
        let word = |name: &str| arguments[name].as_str().unwrap_or_default().to_owned();
        match request.name.as_ref() {
            "echo" => Ok(text(word("text"))),
            "region" => Ok(text(word("region"))),
            "slow" => self.slow(number("millis")).await,
            "count" => {
                let bytes = usize::try_from(number("bytes")).unwrap_or_default();
                self.count(number("to"), bytes, &context).await
            }
            "big" => {
                let bytes = usize::try_from(number("bytes")).unwrap_or_default();
                self.big(bytes, &context).await
            }
            "ask" => self.ask(word("question"), &context).await,
            "away" => match context.extensions.get::<StreamHandle>() {
                Some(stream) => {
                    stream.close_connection();
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    Ok(text("gone"))
                }
                None => Ok(text("stayed")),
            },
            "panic" => panic!("as asked"),
            "fail" => Err(ErrorData::internal_error("as asked", None)),
            _ => Err(ErrorData::invalid_params("Unknown tool", None)),
        }
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let data = json!({"uri": request.uri});
        Err(ErrorData::resource_not_found(
            "Resource not found",
            Some(data),
        ))
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        assert_ne!(request.uri, "test:panic", "as asked");
        if request.uri.starts_with("test:") {
            return Ok(());
        }
        Err(ErrorData::resource_not_found("Resource not found", None))
    }

    async fn unsubscribe(
        &self,
        _request: UnsubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn on_custom_notification(
        &self,
        notification: CustomNotification,
        _context: NotificationContext<RoleServer>,
    ) {
        let _ = self.fates.send(Fate::Begun);
        assert_ne!(notification.method, "notifications/panic", "as asked");
        let _ = self.fates.send(Fate::Done);
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }
}
