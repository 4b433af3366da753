//! `mcp-notes stdio`: the same server for one local assistant, over standard input and output.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mcp_serve::{
    events::{Change, Event, Received, Subscription},
    telemetry::Output,
};
use rmcp::{
    ErrorData, Peer, RoleServer, Service, ServiceExt as _,
    model::{
        ClientNotification, ClientRequest, ProtocolVersion, ResourceUpdatedNotificationParam,
        ServerConfig, ServerResult,
    },
    service::{NotificationContext, RequestContext, ServerInitializeError},
    transport::io::stdio_pipes,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Failure, runtime, start_logs};
use crate::{
    app::App,
    config::{Config, Loaded},
    mcp::NotesHandler,
};

/// How many notes a client may subscribe to, as over HTTP.
const SUBSCRIPTIONS_MAX: usize = 256;

pub(super) fn run() -> Result<(), Failure> {
    let loaded = Config::from_env()?;
    // Standard output carries messages.
    start_logs(&loaded, Output::Stderr)?;
    let runtime = runtime()?;
    let done = runtime.block_on(serve(&loaded));
    // A read of standard input that is under way cannot be ended; the process does not wait for it.
    runtime.shutdown_background();
    done
}

async fn serve(loaded: &Loaded) -> Result<(), Failure> {
    let app = App::open(&loaded.config).await.map_err(Failure::failed)?;
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let signalled = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let done = tokio::select! {
        done = session(&app, stop.clone()) => done,
        () = signalled => Ok(()),
    };
    stop.cancel();
    app.close().await.map_err(Failure::failed)?;
    done
}

/// Serves the client until it closes its end.
async fn session(app: &App, stop: CancellationToken) -> Result<(), Failure> {
    let changes = app.events().subscribe();
    let local = Local {
        handler: app.handler().clone(),
        subscribed: Subscribed::default(),
    };
    let subscribed = local.subscribed.clone();
    let running = match local.serve_with_ct(stdio_pipes(), stop).await {
        Ok(running) => running,
        // The client left before it said anything, which is its right.
        Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => {
            return Ok(());
        }
        Err(error) => return Err(Failure::failed(error)),
    };
    let peer = running.peer().clone();
    let telling = async {
        // A client of 2026-07-28 asks for notices with subscriptions/listen, and has no session.
        if peer.peer_info().is_some() {
            tell(&peer, changes, &subscribed).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        ended = running.waiting() => ended.map(drop).map_err(Failure::failed),
        never = telling => never,
    }
}

/// Tells a client of the older revisions of changes, until it cannot be told any more.
async fn tell(
    peer: &Peer<RoleServer>,
    mut changes: Box<dyn Subscription>,
    subscribed: &Subscribed,
) {
    while let Some(received) = changes.next().await {
        let told = match received {
            Received::Event(Event {
                change: Change::Resources,
                ..
            })
            | Received::Missed => peer.notify_resource_list_changed().await,
            Received::Event(Event {
                change: Change::Resource(uri),
                ..
            }) if subscribed.uris().contains(&*uri) => {
                peer.notify_resource_updated(ResourceUpdatedNotificationParam::new(&*uri))
                    .await
            }
            Received::Event(_) => Ok(()),
        };
        if told.is_err() {
            return;
        }
    }
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

/// The handler of all transports, and beside it what the one client here has subscribed to.
struct Local {
    handler: NotesHandler,
    subscribed: Subscribed,
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
