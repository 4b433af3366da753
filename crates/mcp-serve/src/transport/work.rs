//! Runs a request on its handler: immediately where nothing but the answer will be sent, in a task
//! of its own where it may stream.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::body::Body;
use futures_util::FutureExt as _;
use http::{Response, request::Parts};
use rmcp::{
    ServerHandler, Service,
    model::{
        CallToolResult, ClientRequest, ContentBlock, ErrorData, InitializeRequestParams,
        ProtocolVersion, RequestId, RequestMetaObject, ServerResult, Tool,
    },
    service::RequestContext,
};
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Accepts, StreamHandle, Transport, answer,
    converse::{Conversation, Wants},
    schema::Schemas,
    stream::{self, Frame, Kind, Log, Reader, Sse, Step},
};

/// A request that passed every check and waits for its handler.
pub(super) struct Work<H> {
    pub(super) handler: H,
    pub(super) id: RequestId,
    pub(super) request: ClientRequest,
    pub(super) meta: RequestMetaObject,
    pub(super) parts: Parts,
    /// The revision whose form the answer takes.
    pub(super) version: ProtocolVersion,
    /// What the client of a session said of itself.
    pub(super) client: Option<Arc<InitializeRequestParams>>,
    pub(super) tool: Option<Tool>,
}

/// How a client is to be answered.
pub(super) struct Delivery {
    pub(super) accepts: Accepts,
    /// Cancels the work when the client goes; only where that is what going means.
    pub(super) guard: Option<DropGuard>,
    pub(super) prime: bool,
}

impl<H, F> Transport<F>
where
    H: ServerHandler,
    F: Fn() -> H + Send + Sync + 'static,
{
    /// Works on the request here and now; the answer is one JSON body.
    pub(super) async fn immediately(&self, work: Work<H>, ct: CancellationToken) -> Frame {
        let (id, version) = (work.id.clone(), work.version.clone());
        let peer = self.silent.peer();
        let context = work.context(peer, ct.clone(), None);
        let deadline = self.settings.request_deadline;
        let result = tokio::select! {
            result = tokio::time::timeout(deadline, run(work, context, self.schemas())) => result,
            () = ct.cancelled() => Ok(Err(cut_off())),
        };
        let result = result.unwrap_or_else(|_| Err(too_slow(deadline.as_secs())));
        answer::frame(&id, result, &version, &self.server)
    }

    fn schemas(&self) -> Option<&Schemas> {
        self.settings.enforce_schemas.then_some(&self.schemas)
    }

    /// Works on the request in a task, whose messages and whose answer go to `log`.
    pub(super) fn in_task(
        self: &Arc<Self>,
        work: Work<H>,
        wants: Wants,
        log: Arc<Log>,
        ct: CancellationToken,
    ) -> impl Future<Output = Option<Frame>> + Send + use<H, F> {
        let inner = self.clone();
        async move {
            let (id, version) = (work.id.clone(), work.version.clone());
            let client = work.client.clone();
            let conversation = wants.anything().then(|| {
                let client = client.as_deref();
                Conversation::open(log.clone(), wants, client, &inner.asked, ct.child_token())
            });
            let peer = conversation.as_ref().unwrap_or(&inner.silent).peer();
            let context = work.context(peer, ct.clone(), Some(log));
            let deadline = inner.settings.stream_deadline;
            let result = tokio::select! {
                result = tokio::time::timeout(deadline, run(work, context, inner.schemas())) => {
                    result.unwrap_or_else(|_| Err(too_slow(deadline.as_secs())))
                }
                () = ct.cancelled() => {
                    if !inner.lifecycle.hard.is_cancelled() {
                        // Cancelled by the client, who wants no answer any more.
                        return None;
                    }
                    Err(cut_off())
                }
            };
            Some(answer::frame(&id, result, &version, &inner.server))
        }
    }
}

impl<H> Work<H> {
    /// What the handler is told besides the request.
    pub(super) fn context(
        &self,
        peer: rmcp::Peer<rmcp::RoleServer>,
        ct: CancellationToken,
        log: Option<Arc<Log>>,
    ) -> RequestContext<rmcp::RoleServer> {
        let mut context = RequestContext::new(self.id.clone(), peer);
        context.ct = ct;
        context.meta = self.meta.clone();
        if let Some(client) = &self.client {
            // A session's client said this once; a handler finds it where a modern one says it.
            context.meta.set_protocol_version(self.version.clone());
            context
                .meta
                .set_client_capabilities(client.capabilities.clone());
            context.meta.set_client_info(client.client_info.clone());
        }
        context.extensions.insert(self.parts.clone());
        // Clients of other revisions do not come back for the rest of an answer.
        if let Some(log) = log.filter(|_| self.version == ProtocolVersion::V_2025_11_25) {
            context.extensions.insert(StreamHandle { log });
        }
        context
    }
}

/// Holds tool arguments to their schema, then asks the handler.
async fn run<H: ServerHandler>(
    work: Work<H>,
    context: RequestContext<rmcp::RoleServer>,
    schemas: Option<&Schemas>,
) -> Result<ServerResult, ErrorData> {
    let Work {
        handler,
        mut request,
        tool,
        ..
    } = work;
    if let (ClientRequest::CallToolRequest(call), Some(tool), Some(schemas)) =
        (&mut request, &tool, schemas)
    {
        let arguments = Value::Object(call.params.arguments.take().unwrap_or_default());
        if let Err(problems) = schemas.check(tool, &arguments) {
            let error = CallToolResult::error(vec![ContentBlock::text(problems)]);
            let mut result = ServerResult::CallToolResult(error);
            if context
                .protocol_version()
                .is_none_or(|version| version.has_initialize())
            {
                result.strip_result_type_for_legacy_peer();
            }
            return Ok(result);
        }
        if let Value::Object(arguments) = arguments {
            call.params.arguments = Some(arguments);
        }
    }
    // A handler's bug is one request's error, whichever task it happens in.
    let work = AssertUnwindSafe(handler.handle_request(request, context)).catch_unwind();
    work.await.unwrap_or_else(|_| {
        tracing::error!("the handler panicked");
        Err(answer::internal())
    })
}

fn too_slow(seconds: u64) -> ErrorData {
    ErrorData::internal_error(format!("the request was not done within {seconds} s"), None)
}

fn cut_off() -> ErrorData {
    ErrorData::internal_error("the server is shutting down", None)
}

/// Sends what a task puts into a log: one JSON body if the answer comes first and soon, a stream
/// otherwise.
pub(super) async fn deliver(
    mut reader: Reader,
    delivery: Delivery,
    keep_alive: std::time::Duration,
    on_stream: impl FnOnce(),
) -> Response<Body> {
    let Delivery {
        accepts,
        guard,
        prime,
    } = delivery;
    let soon = if accepts.sse {
        keep_alive
    } else {
        std::time::Duration::MAX
    };
    let first = tokio::time::timeout(soon, reader.next()).await;
    let first = match first {
        Ok(Step::Frame(number, frame)) => {
            let answer = matches!(frame.kind, Kind::Response(_));
            if answer && accepts.json {
                return answer::json_response(frame);
            }
            Some((number, frame))
        }
        Ok(Step::End | Step::SentAway) | Err(_) => None,
    };
    on_stream();
    stream::respond(
        reader,
        Sse {
            keep_alive,
            prime,
            _guard: guard,
            first,
        },
    )
}
