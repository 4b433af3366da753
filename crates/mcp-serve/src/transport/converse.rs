//! The handler's own messages while it works on a request: progress, log lines and, to clients of
//! the older revisions, requests. An rmcp [`Peer`] over a transport of ours.

use std::{
    collections::HashMap,
    future::{Ready, ready},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::request::Parts;
use rmcp::{
    RoleServer, ServerHandler, Service,
    model::{
        ClientJsonRpcMessage, ClientNotification, ClientRequest, ClientResult, ErrorData,
        GetExtensions, InitializeRequestParams, JsonRpcMessage, LoggingLevel, ProgressToken,
        RequestId, ServerConfig, ServerJsonRpcMessage, ServerNotification, ServerRequest,
        ServerResult,
    },
    service::{NotificationContext, Peer, RequestContext, RunningService, serve_directly_with_ct},
    transport::Transport,
};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::stream::{Frame, Kind, Log};
use crate::{session::SessionDigest, signals::Token};

/// What a client takes besides the answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Wants {
    /// Progress under this token.
    pub(super) progress: Option<ProgressToken>,
    /// Log lines from this level on.
    pub(super) log: Option<LoggingLevel>,
    /// Requests: the session in which it answers them, and what it said that it can.
    pub(super) requests: Option<(SessionDigest, Arc<InitializeRequestParams>)>,
}

impl Wants {
    /// Whether there is anything that the handler could send.
    pub(super) fn anything(&self) -> bool {
        self.progress.is_some() || self.log.is_some() || self.requests.is_some()
    }
}

/// A [`Peer`] for one request, live until this is dropped.
pub(super) struct Conversation {
    peer: Peer<RoleServer>,
    _running: RunningService<RoleServer, Silent>,
}

impl Conversation {
    /// Messages go to `log`; requests are entered in `asked`.
    pub(super) fn open(
        log: Arc<Log>,
        wants: Wants,
        client: Option<&InitializeRequestParams>,
        asked: &Arc<Asked>,
        ct: CancellationToken,
    ) -> Self {
        let (answers_in, answers) = mpsc::unbounded_channel();
        let asked = Arc::downgrade(asked);
        let outlet = Outlet {
            log: Some(log),
            wants,
            asked,
            open: Vec::new(),
            answers_in,
            answers,
        };
        Self::over(outlet, client.cloned(), ct)
    }

    /// A peer whose messages go nowhere, for requests whose client takes none.
    pub(super) fn silent(ct: CancellationToken) -> Self {
        let (answers_in, answers) = mpsc::unbounded_channel();
        let outlet = Outlet {
            log: None,
            wants: Wants::default(),
            asked: Weak::new(),
            open: Vec::new(),
            answers_in,
            answers,
        };
        Self::over(outlet, None, ct)
    }

    fn over(
        outlet: Outlet,
        client: Option<InitializeRequestParams>,
        ct: CancellationToken,
    ) -> Self {
        let running = serve_directly_with_ct(Silent, outlet, client, ct);
        Self {
            peer: running.peer().clone(),
            _running: running,
        }
    }

    pub(super) fn peer(&self) -> Peer<RoleServer> {
        self.peer.clone()
    }
}

/// Tells the handler of a notification and waits until it is done with it.
///
/// rmcp makes the context of a notification in its service loop only, so a loop is run for it.
pub(super) async fn tell<H: ServerHandler>(
    handler: H,
    mut notification: ClientNotification,
    parts: Parts,
    ct: CancellationToken,
) {
    notification.extensions_mut().insert(parts);
    let done = CancellationToken::new();
    let told = Told {
        handler,
        done: done.clone(),
    };
    let inlet = Inlet {
        message: Some(JsonRpcMessage::notification(notification)),
        done,
    };
    let running = serve_directly_with_ct(told, inlet, None, ct);
    if running.waiting().await.is_err() {
        tracing::error!("telling a handler of a notification failed");
    }
}

/// A handler that says when it is done.
struct Told<H> {
    handler: H,
    done: CancellationToken,
}

impl<H: ServerHandler> Service<RoleServer> for Told<H> {
    async fn handle_request(
        &self,
        request: ClientRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<ServerResult, ErrorData> {
        Err(super::method::not_found(request.method()))
    }

    async fn handle_notification(
        &self,
        notification: ClientNotification,
        context: NotificationContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let _done = self.done.clone().drop_guard();
        let work = AssertUnwindSafe(self.handler.handle_notification(notification, context));
        work.catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!("the handler panicked over a notification");
            Ok(())
        })
    }

    fn get_info(&self) -> ServerConfig {
        self.handler.get_info()
    }
}

/// A transport that brings one message, takes none, and closes when the message is done with.
struct Inlet {
    message: Option<ClientJsonRpcMessage>,
    done: CancellationToken,
}

impl Transport<RoleServer> for Inlet {
    type Error = NotAsked;

    fn send(
        &mut self,
        _message: ServerJsonRpcMessage,
    ) -> impl Future<Output = Result<(), NotAsked>> + Send + 'static {
        ready(Err(NotAsked))
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        if self.message.is_none() {
            self.done.cancelled().await;
        }
        self.message.take()
    }

    async fn close(&mut self) -> Result<(), NotAsked> {
        Ok(())
    }
}

/// Stands where rmcp wants a handler; requests never come in on this side.
#[derive(Debug, Clone, Copy)]
struct Silent;

impl ServerHandler for Silent {}

/// The requests of the server that wait for an answer, by the id they have on the wire.
#[derive(Debug, Default)]
pub(super) struct Asked {
    open: Mutex<HashMap<RequestId, Question>>,
}

#[derive(Debug)]
struct Question {
    session: SessionDigest,
    own_id: RequestId,
    answers: mpsc::UnboundedSender<ClientJsonRpcMessage>,
}

impl Asked {
    fn open(&self) -> MutexGuard<'_, HashMap<RequestId, Question>> {
        // Nothing that can panic runs under this lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a client's answer to the call that waits for it, or gives it back when none does in
    /// this session.
    pub(super) fn answer(
        &self,
        session: &SessionDigest,
        id: &RequestId,
        result: Result<Value, ErrorData>,
    ) -> Result<(), Result<Value, ErrorData>> {
        let question = {
            let mut open = self.open();
            match open.get(id) {
                Some(question) if question.session == *session => open.remove(id),
                _ => None,
            }
        };
        let Some(question) = question else {
            return Err(result);
        };
        let message = match result {
            Ok(result) => match serde_json::from_value::<ClientResult>(result) {
                Ok(result) => JsonRpcMessage::response(result, question.own_id),
                Err(_) => JsonRpcMessage::error(
                    ErrorData::invalid_params("the client's answer is malformed", None),
                    Some(question.own_id),
                ),
            },
            Err(error) => JsonRpcMessage::error(error, Some(question.own_id)),
        };
        // The call may have ended just now, which is no fault of the answer.
        let _ = question.answers.send(message);
        Ok(())
    }
}

/// Whether a request of a server like this one can have the id: an answer to anything else is of
/// interest to no replica.
pub(super) fn may_be_asked(id: &RequestId) -> bool {
    matches!(id, RequestId::String(id) if id.len() == 32 && Token::parse(id).is_some())
}

/// rmcp's view of one request's way to the client.
struct Outlet {
    log: Option<Arc<Log>>,
    wants: Wants,
    asked: Weak<Asked>,
    /// Wire ids of our requests, to be taken back when the call ends first.
    open: Vec<RequestId>,
    answers_in: mpsc::UnboundedSender<ClientJsonRpcMessage>,
    answers: mpsc::UnboundedReceiver<ClientJsonRpcMessage>,
}

/// The client cannot be asked.
#[derive(Debug, thiserror::Error)]
#[error("this client takes no requests from the server")]
pub(super) struct NotAsked;

impl Outlet {
    fn notify(&self, notification: &ServerNotification) {
        let Some(log) = &self.log else { return };
        let wanted = match notification {
            ServerNotification::ProgressNotification(it) => {
                self.wants.progress.as_ref() == Some(&it.params.progress_token)
            }
            ServerNotification::LoggingMessageNotification(it) => self
                .wants
                .log
                .is_some_and(|from| severity(it.params.level) >= severity(from)),
            ServerNotification::CustomNotification(_)
            | ServerNotification::TaskStatusNotification(_) => true,
            // Changes travel on the event channel, to whom they concern.
            _ => {
                tracing::debug!("a handler's notice of a change is dropped; `Events` takes it");
                false
            }
        };
        if wanted {
            push(
                log,
                &JsonRpcNotification {
                    jsonrpc: "2.0",
                    notification,
                },
                Kind::Notification,
            );
        }
    }

    fn ask(&mut self, own_id: RequestId, request: &ServerRequest) -> Option<()> {
        let log = self.log.as_ref()?;
        let (session, client) = self.wants.requests.clone()?;
        let can = &client.capabilities;
        let understood = match request {
            ServerRequest::CreateMessageRequest(_) => can.sampling.is_some(),
            ServerRequest::ElicitRequest(_) => can.elicitation.is_some(),
            ServerRequest::ListRootsRequest(_) => can.roots.is_some(),
            _ => true,
        };
        if !understood {
            return None;
        }
        let asked = self.asked.upgrade()?;
        // Random, so that no other call's and no other replica's question has the same id.
        let wire = RequestId::String(Token::random().ok()?.as_str().into());
        let question = Question {
            session,
            own_id,
            answers: self.answers_in.clone(),
        };
        asked.open().insert(wire.clone(), question);
        self.open.push(wire.clone());
        push(
            log,
            &JsonRpcRequest {
                jsonrpc: "2.0",
                id: &wire,
                request,
            },
            Kind::Request,
        );
        Some(())
    }
}

impl Transport<RoleServer> for Outlet {
    type Error = NotAsked;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = Result<(), NotAsked>> + Send + 'static {
        let sent: Ready<Result<(), NotAsked>> = ready(match message {
            JsonRpcMessage::Notification(it) => {
                self.notify(&it.notification);
                Ok(())
            }
            JsonRpcMessage::Request(it) => self.ask(it.id, &it.request).ok_or(NotAsked),
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => Ok(()),
        });
        sent
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        self.answers.recv().await
    }

    async fn close(&mut self) -> Result<(), NotAsked> {
        Ok(())
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        if let Some(asked) = self.asked.upgrade() {
            let mut open = asked.open();
            for id in &self.open {
                open.remove(id);
            }
        }
    }
}

#[derive(serde::Serialize)]
struct JsonRpcNotification<'a> {
    jsonrpc: &'static str,
    #[serde(flatten)]
    notification: &'a ServerNotification,
}

#[derive(serde::Serialize)]
struct JsonRpcRequest<'a> {
    jsonrpc: &'static str,
    id: &'a RequestId,
    #[serde(flatten)]
    request: &'a ServerRequest,
}

fn push(log: &Log, message: &impl serde::Serialize, kind: Kind) {
    match serde_json::to_vec(message) {
        Ok(json) => log.push(Frame {
            json: Bytes::from(json),
            kind,
        }),
        Err(error) => tracing::error!(%error, "a message of the handler cannot be written"),
    }
}

/// RFC 5424 order, which the enumeration has but does not promise.
fn severity(level: LoggingLevel) -> u8 {
    match level {
        LoggingLevel::Debug => 0,
        LoggingLevel::Info => 1,
        LoggingLevel::Notice => 2,
        LoggingLevel::Warning => 3,
        LoggingLevel::Error => 4,
        LoggingLevel::Critical => 5,
        LoggingLevel::Alert => 6,
        LoggingLevel::Emergency => 7,
    }
}
