//! Runs a request on its handler: immediately where nothing but the answer will be sent, in a task
//! of its own where it may stream.

use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::body::Body;
use futures_util::FutureExt as _;
use http::{Response, StatusCode, request::Parts};
use rmcp::{
    Peer, RoleServer, ServerHandler, Service,
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
    calls::Entered,
    converse::{Conversation, Wants},
    meter,
    schema::Schemas,
    stream::{self, Frame, Kind, Log, Reader, Sse, Step},
};
use crate::{
    auth::Principal,
    metrics::{Outcome, Up},
    session::SessionId,
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
        let deadline = self.settings.request_deadline;
        let result = self
            .result(work, self.silent.peer(), ct, None, deadline)
            .await;
        let result = result.unwrap_or_else(|| Err(cut_off()));
        answer::frame(&id, result, &version, &self.side)
    }

    /// What the handler answers, within the deadline; `None` when the client cancelled the request
    /// and wants no answer any more.
    pub(super) async fn result(
        &self,
        work: Work<H>,
        peer: Peer<RoleServer>,
        ct: CancellationToken,
        log: Option<Arc<Log>>,
        deadline: Duration,
    ) -> Option<Result<ServerResult, ErrorData>> {
        let (job, context) = work.split(peer, ct.clone(), log);
        let schemas = self.settings.enforce_schemas.then_some(&self.schemas);
        // A handler's bug is one request's error, whichever task it happens in.
        let run = AssertUnwindSafe(run(job, context, schemas)).catch_unwind();
        tokio::select! {
            result = tokio::time::timeout(deadline, run) => Some(match result {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => {
                    tracing::error!("the handler panicked");
                    Err(answer::internal())
                }
                Err(_) => Err(too_slow(deadline.as_secs())),
            }),
            () = ct.cancelled() => self.lifecycle.hard.is_cancelled().then(|| Err(cut_off())),
        }
    }

    /// Works on the request in a task, whose messages and whose answer go to `log`. The task keeps
    /// the session of `held` in use, and ends when the session does.
    pub(super) fn spawn(
        self: &Arc<Self>,
        work: Work<H>,
        wants: Wants,
        log: Arc<Log>,
        ct: CancellationToken,
        held: Option<Held>,
    ) {
        let inner = self.clone();
        let running = meter::running(&work.parts).cloned();
        let unfinished = Unfinished {
            log: log.clone(),
            id: work.id.clone(),
        };
        self.lifecycle.tasks.spawn(async move {
            let (id, version) = (work.id.clone(), work.version.clone());
            let client = work.client.clone();
            let conversation = wants.anything().then(|| {
                Conversation::open(
                    log.clone(),
                    wants,
                    client.as_deref(),
                    &inner.asked,
                    ct.child_token(),
                )
            });
            let peer = conversation.as_ref().unwrap_or(&inner.silent).peer();
            let deadline = inner.settings.stream_deadline;
            let result = inner.result(work, peer, ct.clone(), Some(log.clone()), deadline);
            let result = match &held {
                None => result.await,
                Some(held) => tokio::select! {
                    result = result => result,
                    never = inner.hold(held, &ct) => match never {},
                },
            };
            // Who has the answer may use its id again.
            drop(held);
            let frame = result.map(|it| answer::frame(&id, it, &version, &inner.side));
            if let Some(running) = running {
                running.over(frame.as_ref().map_or(Outcome::Cancelled, meter::of_frame));
            }
            if let Some(frame) = frame {
                log.push(frame);
            }
            log.finish();
            drop(unfinished);
        });
    }

    /// Keeps a session from idling away under a call, and cancels the call when it ends otherwise.
    async fn hold(&self, held: &Held, ct: &CancellationToken) -> Infallible {
        loop {
            tokio::time::sleep(HOLD_EVERY).await;
            let touch = self.sessions.touch(&held.session, &held.principal);
            if let Ok(Ok(None)) = tokio::time::timeout(STORE_DEADLINE, touch).await {
                ct.cancel();
                return std::future::pending().await;
            }
        }
    }
}

/// The session that a task works for.
pub(super) struct Held {
    pub(super) session: SessionId,
    pub(super) principal: Principal,
    pub(super) _entered: Entered,
}

/// How often a call tells the store that its session is in use.
const HOLD_EVERY: Duration = Duration::from_secs(20);

/// The longest wait for the store of sessions.
pub(super) const STORE_DEADLINE: Duration = Duration::from_secs(5);

/// Sees to it that a log ends with its task, however that ends.
struct Unfinished {
    log: Arc<Log>,
    id: RequestId,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.log.is_finished() {
            let error = answer::internal();
            self.log
                .push(answer::failure(Some(&self.id), &error, StatusCode::OK));
            self.log.finish();
        }
    }
}

/// What is asked of the handler, apart from what it is told besides.
struct Job<H> {
    handler: H,
    request: ClientRequest,
    tool: Option<Tool>,
}

impl<H> Work<H> {
    /// The request, and what the handler is told besides.
    fn split(
        self,
        peer: Peer<RoleServer>,
        ct: CancellationToken,
        log: Option<Arc<Log>>,
    ) -> (Job<H>, RequestContext<RoleServer>) {
        let mut context = RequestContext::new(self.id, peer);
        context.ct = ct;
        context.meta = self.meta;
        context.extensions.insert(self.parts);
        // Clients of other revisions do not come back for the rest of an answer.
        if let Some(log) = log.filter(|_| self.version == ProtocolVersion::V_2025_11_25) {
            context.extensions.insert(StreamHandle { log });
        }
        if let Some(client) = self.client {
            // A session's client said this once; a handler finds it where a modern one says it.
            let meta = &mut context.meta;
            meta.set_protocol_version(self.version);
            meta.set_client_capabilities(client.capabilities.clone());
            meta.set_client_info(client.client_info.clone());
        }
        let job = Job {
            handler: self.handler,
            request: self.request,
            tool: self.tool,
        };
        (job, context)
    }
}

/// Holds tool arguments to their schema, then asks the handler.
async fn run<H: ServerHandler>(
    job: Job<H>,
    context: RequestContext<RoleServer>,
    schemas: Option<&Schemas>,
) -> Result<ServerResult, ErrorData> {
    let Job {
        handler,
        mut request,
        tool,
    } = job;
    if let (ClientRequest::CallToolRequest(call), Some(tool), Some(schemas)) =
        (&mut request, &tool, schemas)
    {
        let arguments = Value::Object(call.params.arguments.take().unwrap_or_default());
        if let Err(problems) = schemas.check(tool, &arguments)? {
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
    handler.handle_request(request, context).await
}

fn too_slow(seconds: u64) -> ErrorData {
    ErrorData::internal_error(format!("the request was not done within {seconds} s"), None)
}

fn cut_off() -> ErrorData {
    ErrorData::internal_error("the server is shutting down", None)
}

/// Sends what a task puts into a log: one JSON body if the answer comes first and soon, a stream
/// otherwise. `on_stream` says that it is a stream.
pub(super) async fn deliver(
    mut reader: Reader,
    delivery: Delivery,
    keep_alive: Duration,
    on_stream: impl FnOnce() -> Up,
) -> Response<Body> {
    let Delivery {
        accepts,
        guard,
        prime,
    } = delivery;
    let soon = if accepts.sse {
        keep_alive
    } else {
        Duration::MAX
    };
    let first = tokio::time::timeout(soon, reader.next()).await;
    let first = match first {
        Ok(Step::Frame(number, frame)) => {
            let answer = matches!(frame.kind, Kind::Response(..));
            if answer && accepts.json {
                return answer::json_response(frame);
            }
            Some((number, frame))
        }
        // Cancelled by the client, who is not waiting for anything.
        Ok(Step::End) if !accepts.sse => return answer::empty(StatusCode::ACCEPTED),
        Ok(Step::End | Step::SentAway) | Err(_) => None,
    };
    let open = on_stream();
    stream::respond(
        reader,
        Sse {
            keep_alive,
            prime,
            ends: None,
            _guard: guard,
            first,
            _open: open,
        },
    )
}
