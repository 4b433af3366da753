//! A server that offers everything the conformance suite asks of one, in both eras of MCP.
#![expect(
    deprecated,
    reason = "logging and sampling are deprecated, and the suite tests them"
)]

mod catalog;
mod content;
mod prompts;
mod resources;
mod rounds;
mod streams;
mod tasks;

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams,
        ClientCapabilities, CompleteRequestParams, CompleteResult, ContentBlock, ErrorCode,
        GetPromptRequestParams, GetPromptResponse, GetTaskParams, GetTaskResult, Implementation,
        ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
        PaginatedRequestParams, ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse,
        RequestStateCodec, ServerCapabilities, ServerConfig, SetLevelRequestParams,
        SubscribeRequestParams, SubscriptionFilter, Tool, UnsubscribeRequestParams,
        UpdateTaskParams,
    },
    service::{RequestContext, SubscriptionContext},
    task_manager::TaskManager,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::broadcast;

/// The revisions the fixture speaks: those that have Streamable HTTP.
const VERSIONS: &[ProtocolVersion] = &[
    ProtocolVersion::V_2025_03_26,
    ProtocolVersion::V_2025_06_18,
    ProtocolVersion::V_2025_11_25,
    ProtocolVersion::V_2026_07_28,
];

/// Signs `requestState`. Fixed, so that several instances read each other's states; it guards
/// nothing but test runs.
const STATE_KEY: &[u8] = b"conformance fixture, guards nothing";

/// Milliseconds for which lists that never change may be cached.
const LIST_TTL_MS: u64 = 300_000;

/// The handler. Clones are cheap and share everything but the receiver of a subscription that is
/// just being set up, which is why a transport takes one clone per request or session.
pub(crate) struct Fixture {
    shared: Arc<Shared>,
    hook: Option<Hook>,
    closer: Option<StreamCloser>,
    early: Mutex<Option<broadcast::Receiver<FixtureEvent>>>,
}

/// What the tools with "trigger" in their names make happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FixtureEvent {
    ToolsListChanged,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated(String),
}

/// Hears every event, for transports that have an event channel of their own.
pub(crate) type Hook = Arc<dyn Fn(FixtureEvent) + Send + Sync>;

/// Asks the transport to close the SSE stream of a running call, whose result is then collected
/// with GET and `Last-Event-ID` (SEP-1699).
pub(crate) type StreamCloser = Arc<dyn Fn(&RequestContext<RoleServer>) + Send + Sync>;

struct Shared {
    tools: Vec<Tool>,
    bus: broadcast::Sender<FixtureEvent>,
    tasks: TaskManager,
    states: RequestStateCodec,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                tools: catalog::tools(),
                bus: broadcast::Sender::new(64),
                tasks: TaskManager::new(),
                states: RequestStateCodec::new_unchecked(STATE_KEY),
            }),
            hook: None,
            closer: None,
            early: Mutex::new(None),
        }
    }

    pub(crate) fn with_hook(mut self, hook: Hook) -> Self {
        self.hook = Some(hook);
        self
    }

    pub(crate) fn with_stream_closer(mut self, closer: StreamCloser) -> Self {
        self.closer = Some(closer);
        self
    }

    fn publish(&self, event: FixtureEvent) {
        if let Some(hook) = &self.hook {
            hook(event.clone());
        }
        // Nobody listening is not an error.
        let _ = self.shared.bus.send(event);
    }
}

impl Clone for Fixture {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            hook: self.hook.clone(),
            closer: self.closer.clone(),
            early: Mutex::new(None),
        }
    }
}

/// One `tools/call`, as the modules see it.
struct Call<'a> {
    fixture: &'a Fixture,
    params: CallToolRequestParams,
    context: RequestContext<RoleServer>,
}

type Outcome = Result<CallToolResponse, ErrorData>;

impl Call<'_> {
    /// The arguments as `T`, or what the model is told about them.
    fn arguments<T: DeserializeOwned>(&self) -> Result<T, CallToolResult> {
        let arguments = self.params.arguments.clone().unwrap_or_default();
        serde_json::from_value(Value::Object(arguments))
            .map_err(|error| failed(format!("these arguments do not fit the tool: {error}")))
    }
}

impl ServerHandler for Fixture {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_completions()
            .enable_logging()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_list_changed()
            .enable_resources_subscribe()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_tasks()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("conformance-fixture", "1.0.0"))
            .with_instructions("Made for test runs. Nothing here is kept.")
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(VERSIONS)
    }

    async fn set_level(
        &self,
        _: SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if is_modern(&context) {
            return Err(ErrorData::new(
                ErrorCode::METHOD_NOT_FOUND,
                "logging/setLevel",
                None,
            ));
        }
        Ok(())
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        resources::complete(&request)
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        refuse_cursor(request.as_ref())?;
        let mut list = ListToolsResult::with_all_items(self.shared.tools.clone());
        (list.ttl_ms, list.cache_scope) = hints(&context, LIST_TTL_MS, CacheScope::Public);
        Ok(list)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.shared
            .tools
            .iter()
            .find(|tool| tool.name == name)
            .cloned()
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let call = Call {
            fixture: self,
            params,
            context,
        };
        match catalog::kind(&call.params.name) {
            Some(catalog::Kind::Content) => content::call(&call),
            Some(catalog::Kind::Stream) => streams::call(&call).await,
            Some(catalog::Kind::Rounds) => rounds::call(&call),
            Some(catalog::Kind::Task) => tasks::call(&call).await,
            None => Err(ErrorData::invalid_params(
                format!("unknown tool: {}", call.params.name),
                None,
            )),
        }
    }

    async fn list_prompts(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        refuse_cursor(request.as_ref())?;
        let mut list = ListPromptsResult::with_all_items(prompts::list());
        (list.ttl_ms, list.cache_scope) = hints(&context, LIST_TTL_MS, CacheScope::Public);
        Ok(list)
    }

    async fn get_prompt(
        &self,
        params: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        prompts::get(&params, &context)
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        refuse_cursor(request.as_ref())?;
        let mut list = ListResourcesResult::with_all_items(resources::list());
        (list.ttl_ms, list.cache_scope) = hints(&context, 0, CacheScope::Private);
        Ok(list)
    }

    async fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        refuse_cursor(request.as_ref())?;
        let mut list = ListResourceTemplatesResult::with_all_items(resources::templates());
        (list.ttl_ms, list.cache_scope) = hints(&context, LIST_TTL_MS, CacheScope::Public);
        Ok(list)
    }

    async fn read_resource(
        &self,
        params: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let mut result = resources::read(&params.uri)?;
        (result.ttl_ms, result.cache_scope) = hints(&context, 0, CacheScope::Private);
        Ok(result.into())
    }

    async fn subscribe(
        &self,
        _: SubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(
        &self,
        _: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        // Here and not in `listen`, which runs after the acknowledgement is on its way: what is
        // published in between must not be lost.
        let receiver = self.shared.bus.subscribe();
        *self.early.lock().unwrap_or_else(PoisonError::into_inner) = Some(receiver);
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let early = self
            .early
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let events = early.unwrap_or_else(|| self.shared.bus.subscribe());
        streams::listen(events, &context).await;
        Ok(())
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        self.shared
            .tasks
            .get_task(&request.task_id)
            .map(GetTaskResult::new)
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.shared
            .tasks
            .update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.shared.tasks.cancel_task(&request.task_id)
    }
}

fn is_modern(context: &RequestContext<RoleServer>) -> bool {
    context
        .protocol_version()
        .is_some_and(|version| version.as_str() >= ProtocolVersion::V_2026_07_28.as_str())
}

fn declared(context: &RequestContext<RoleServer>) -> ClientCapabilities {
    context.client_capabilities().unwrap_or_default()
}

/// Cache hints, which only revision 2026-07-28 knows.
fn hints(
    context: &RequestContext<RoleServer>,
    ttl_ms: u64,
    scope: CacheScope,
) -> (Option<u64>, Option<CacheScope>) {
    if is_modern(context) {
        (Some(ttl_ms), Some(scope))
    } else {
        (None, None)
    }
}

/// The suite reads each list without following a cursor, so every list is one page and no cursor
/// was ever given out.
fn refuse_cursor(request: Option<&PaginatedRequestParams>) -> Result<(), ErrorData> {
    match request.and_then(|request| request.cursor.as_ref()) {
        Some(_) => Err(ErrorData::invalid_params("unknown cursor", None)),
        None => Ok(()),
    }
}

fn text(text: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

/// A failure that the model reads.
fn failed(text: impl Into<String>) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}
