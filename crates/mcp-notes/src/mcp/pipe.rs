//! MCP over a pipe: one client, which is served until it closes its end.

mod lines;

use std::{
    borrow::Cow,
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mcp_serve::{
    auth::Principal,
    events::{Change, Received, Subscription},
};
use rmcp::{
    ErrorData, Peer, RoleServer, Service, ServiceError, ServiceExt as _,
    model::{
        ClientNotification, ClientRequest, ProtocolVersion, ResourceUpdatedNotificationParam,
        ServerConfig, ServerResult, SubscriptionsListenResult,
    },
    service::{NotificationContext, RequestContext, ServerInitializeError},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use self::lines::Lines;
use super::NotesHandler;

/// How many notes a client may subscribe to, as over HTTP.
const SUBSCRIPTIONS_MAX: usize = 256;

/// Why a client could not be served to its end. Holds nothing of what the client sent.
#[derive(Debug, thiserror::Error)]
pub enum PipeError {
    /// The client began with a message that only makes sense later.
    #[error("the client sent another message before it introduced itself")]
    Introduction,
    /// An answer could not be written.
    #[error("the client cannot be reached")]
    Unreachable,
    /// A defect of the server.
    #[error("the conversation with the client failed")]
    Task(#[from] tokio::task::JoinError),
}

/// Serves one client, whose messages are lines of at most `line_bytes_max` bytes, until it closes
/// its end or `ended` is cancelled. Answers to calls that are in flight then are still written,
/// for at most five seconds.
pub async fn serve<R, W>(
    handler: NotesHandler,
    (reader, writer): (R, W),
    line_bytes_max: usize,
    ended: CancellationToken,
) -> Result<(), PipeError>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let changes = handler.inner.events.subscribe();
    let isolation = handler.inner.rules.isolation;
    let audience = isolation.audience(&Principal::anonymous());
    let local = Local {
        handler,
        subscribed: Subscribed::default(),
        ended: ended.clone(),
    };
    let subscribed = local.subscribed.clone();
    let running = match local
        .serve(Lines::new(reader, writer, line_bytes_max, ended))
        .await
    {
        Ok(running) => running,
        // The client left before it said anything, which is its right.
        Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => {
            return Ok(());
        }
        Err(ServerInitializeError::TransportError { .. }) => return Err(PipeError::Unreachable),
        Err(_) => return Err(PipeError::Introduction),
    };
    let peer = running.peer().clone();
    let telling = async {
        // A client of 2026-07-28 asks for notices with subscriptions/listen, and has no session.
        if peer.peer_info().is_some() {
            tell(&peer, changes, &audience, &subscribed).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        done = running.waiting() => Ok(done.map(drop)?),
        never = telling => never,
    }
}

/// Tells a client of the older revisions of changes, until it cannot be told any more.
async fn tell(
    peer: &Peer<RoleServer>,
    mut changes: Box<dyn Subscription>,
    audience: &str,
    subscribed: &Subscribed,
) {
    while let Some(received) = changes.next().await {
        let told = match received {
            Received::Missed => catch_up(peer, subscribed).await,
            // Over Redis those of other owners come too.
            Received::Event(event) if !event.is_for(audience) => Ok(()),
            Received::Event(event) => match event.change {
                Change::Resources => peer.notify_resource_list_changed().await,
                Change::Resource(uri) if subscribed.uris().contains(&*uri) => {
                    updated(peer, &uri).await
                }
                _ => Ok(()),
            },
        };
        if told.is_err() {
            return;
        }
    }
}

/// Says "changed" of everything that the client wants to hear of.
async fn catch_up(peer: &Peer<RoleServer>, subscribed: &Subscribed) -> Result<(), ServiceError> {
    peer.notify_resource_list_changed().await?;
    let uris = subscribed.uris().clone();
    for uri in uris {
        updated(peer, &uri).await?;
    }
    Ok(())
}

async fn updated(peer: &Peer<RoleServer>, uri: &str) -> Result<(), ServiceError> {
    peer.notify_resource_updated(ResourceUpdatedNotificationParam::new(uri))
        .await
}

/// The URIs that `resources/subscribe` named; over HTTP they are in the session's record.
#[derive(Clone, Default)]
struct Subscribed(Arc<Mutex<BTreeSet<String>>>);

impl Subscribed {
    fn uris(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // No code that can panic runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a `subscriptions/listen` brings with it: rmcp acknowledges it before the handler hears of
/// it, so the subscription is taken earlier, and nothing is lost between the two.
#[derive(Clone)]
pub(super) struct Listening(Arc<Mutex<Option<Box<dyn Subscription>>>>);

impl Listening {
    /// The subscription, once.
    pub(super) fn take(&self) -> Option<Box<dyn Subscription>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The handler of all transports, and beside it what the one client here has subscribed to.
struct Local {
    handler: NotesHandler,
    subscribed: Subscribed,
    ended: CancellationToken,
}

impl Local {
    /// Serves a `subscriptions/listen` until the client cancels it or nobody is left to hear it.
    async fn listen(
        &self,
        request: ClientRequest,
        mut context: RequestContext<RoleServer>,
    ) -> Result<ServerResult, ErrorData> {
        let id = context.id.clone();
        let subscription = self.handler.inner.events.subscribe();
        let listening = Listening(Arc::new(Mutex::new(Some(subscription))));
        context.extensions.insert(listening);
        let listen = self.handler.handle_request(request, context);
        // What rmcp had to write when the client left is never acknowledged to those that wait.
        if let Some(done) = self.ended.run_until_cancelled(listen).await {
            return done;
        }
        let mut result = SubscriptionsListenResult::complete(id);
        let server = Service::get_info(&self.handler).server_info;
        result.meta.set_server_info(server);
        Ok(ServerResult::SubscriptionsListenResult(result))
    }
}

impl Service<RoleServer> for Local {
    async fn handle_request(
        &self,
        request: ClientRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<ServerResult, ErrorData> {
        let (subscribe, unsubscribe) = match &request {
            ClientRequest::SubscribeRequest(request) => (Some(request.params.uri.clone()), None),
            ClientRequest::UnsubscribeRequest(request) => (None, Some(request.params.uri.clone())),
            ClientRequest::SubscriptionsListenRequest(_) => {
                return self.listen(request, context).await;
            }
            _ => (None, None),
        };
        if subscribe.is_some() && self.subscribed.uris().len() >= SUBSCRIPTIONS_MAX {
            let text = format!("a client may have at most {SUBSCRIPTIONS_MAX} subscriptions");
            return Err(ErrorData::invalid_request(text, None));
        }
        let result = self.handler.handle_request(request, context).await?;
        let mut uris = self.subscribed.uris();
        uris.extend(subscribe);
        if let Some(uri) = unsubscribe {
            uris.remove(&uri);
        }
        drop(uris);
        Ok(result)
    }

    async fn handle_notification(
        &self,
        notification: ClientNotification,
        context: NotificationContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.handler
            .handle_notification(notification, context)
            .await
    }

    fn get_info(&self) -> ServerConfig {
        Service::get_info(&self.handler)
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Service::supported_protocol_versions(&self.handler)
    }
}
