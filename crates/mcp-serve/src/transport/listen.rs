//! Change notifications: `subscriptions/listen` of 2026-07-28 and the GET stream of the older
//! revisions, both a tail of [`Events`](crate::events::Events).
//!
//! The subscription is taken before the client is told that it has one, so nothing is lost between
//! the two. A tail that missed events says "changed" of everything it was asked to watch.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{Response, StatusCode};
use rmcp::{
    ServerHandler,
    model::{ErrorData, ProtocolVersion, RequestId, SubscriptionFilter},
};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Accepts, Transport, answer,
    calls::{Listener, LiveStream},
    legacy::{URI_BYTES_MAX, uri_too_long},
    meter::Listening,
    method,
    stream::{chunk, stream_response},
    work::STORE_DEADLINE,
};
use crate::{
    auth::Principal,
    events::{Change, Received, Subscription},
    gate::{Gate, Revocations, StreamNote},
    metrics::{Running, StreamKind},
    session::{Session, SessionId, SessionStore},
};

const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

impl<H, F> Transport<F>
where
    H: ServerHandler,
    F: Fn() -> H + Send + Sync + 'static,
{
    fn listener(&self, principal: &Principal) -> Option<Listener> {
        self.listeners
            .enter(principal, self.settings.listens_per_principal_max)
    }

    fn authority(&self, principal: &Principal) -> Authority {
        Authority {
            gate: self.gate.clone(),
            principal: principal.clone(),
            revocations: self.gate.revocations(principal),
        }
    }

    /// When a stream of `principal` ends: with its credential, or at its longest.
    pub(super) fn ends(&self, principal: &Principal) -> Instant {
        let longest = self.settings.listen_max;
        let left = principal.left().map_or(longest, |left| left.min(longest));
        Instant::now() + left
    }

    fn check_watched(&self, requested: &SubscriptionFilter) -> Result<(), ErrorData> {
        let max = self.settings.listen_resources_max;
        let uris = requested.resource_subscriptions.as_deref();
        let uris = uris.unwrap_or_default();
        if uris.len() > max {
            let message = format!("Invalid params: at most {max} resourceSubscriptions");
            return Err(ErrorData::invalid_params(message, None));
        }
        if uris.iter().any(|uri| uri.len() > URI_BYTES_MAX) {
            return Err(uri_too_long());
        }
        Ok(())
    }

    /// Answers `subscriptions/listen`.
    pub(super) fn listen(
        &self,
        principal: &Principal,
        accepts: Accepts,
        id: &RequestId,
        requested: &SubscriptionFilter,
        (version, running): (&ProtocolVersion, Option<Running>),
    ) -> Response<Body> {
        let refuse = |error: ErrorData| {
            answer::json_response(answer::frame(id, Err(error), version, &self.side))
        };
        if !accepts.sse {
            let error = ErrorData::invalid_request("Accept must allow text/event-stream", None);
            return answer::refuse(StatusCode::NOT_ACCEPTABLE, Some(id), &error);
        }
        if let Err(error) = self.check_watched(requested) {
            return refuse(error);
        }
        let Some(listener) = self.listener(principal) else {
            return too_many_streams(Some(id));
        };
        let Some(candidate) = (self.factory)().accepted_subscription_filter(requested) else {
            return refuse(method::not_found("subscriptions/listen"));
        };
        let accepted = requested
            .intersection(&candidate)
            .supported_by(&self.capabilities);
        let subscription = self.events.subscribe();
        let watch = Watch {
            tools: accepted.tools_list_changed == Some(true),
            prompts: accepted.prompts_list_changed == Some(true),
            resources: accepted.resources_list_changed == Some(true),
            uris: Uris::Fixed(
                accepted
                    .resource_subscriptions
                    .iter()
                    .flatten()
                    .map(|uri| uri.as_str().into())
                    .collect(),
            ),
        };
        let meta = json!({SUBSCRIPTION_ID: id});
        let acknowledged = json!({
            "jsonrpc": "2.0",
            "method": "notifications/subscriptions/acknowledged",
            "params": {"_meta": meta, "notifications": accepted},
        });
        let tail = Tail {
            subscription,
            audience: (self.settings.audience)(principal),
            watch,
            meta: Some(meta),
            ready: VecDeque::from([event(&acknowledged)]),
            last_words: Some(event(&closed(id, &self.side.server))),
            keep_alive: self.settings.keep_alive,
            ends: self.ends(principal),
            authority: self.authority(principal),
            token: self.lifecycle.soft.child_token(),
            gap: false,
            owed: false,
            said: Instant::now(),
            _live: None,
            _listener: listener,
            _listening: Listening::new(running, self.opened(StreamKind::Listen)),
        };
        tail.respond()
    }

    /// The stream that a session's client opens with GET. `resumed` when it had one before.
    pub(super) fn standalone(
        &self,
        principal: &Principal,
        session: &SessionId,
        version: &ProtocolVersion,
        resumed: bool,
    ) -> Response<Body> {
        let has = &self.capabilities;
        let Some(listener) = self.listener(principal) else {
            return too_many_streams(None);
        };
        let subscription = self.events.subscribe();
        let (token, live) = self
            .replicas
            .open_stream(&session.digest(), &self.lifecycle.soft);
        let mut tail = Tail {
            subscription,
            audience: (self.settings.audience)(principal),
            watch: Watch {
                tools: has.tools.as_ref().and_then(|it| it.list_changed) == Some(true),
                prompts: has.prompts.as_ref().and_then(|it| it.list_changed) == Some(true),
                resources: has.resources.as_ref().and_then(|it| it.list_changed) == Some(true),
                uris: Uris::OfSession {
                    sessions: self.sessions.clone(),
                    session: session.clone(),
                    principal: principal.clone(),
                },
            },
            meta: None,
            ready: VecDeque::new(),
            last_words: None,
            keep_alive: self.settings.keep_alive,
            ends: self.ends(principal),
            authority: self.authority(principal),
            token,
            gap: false,
            owed: false,
            said: Instant::now(),
            _live: Some(live),
            _listener: listener,
            _listening: Listening::new(None, self.opened(StreamKind::Get)),
        };
        if *version >= ProtocolVersion::V_2025_11_25 {
            tail.ready
                .push_back(Bytes::from(format!("id: {STANDALONE}_\ndata: \n\n")));
        } else {
            // Headers alone do not reach a client that waits for the first byte of the body.
            tail.ready.push_back(Bytes::from_static(b": open\n\n"));
        }
        tail.gap = resumed;
        tail.respond()
    }
}

/// Names the stream of change notifications in event ids.
pub(super) const STANDALONE: &str = "changes";

/// What a client wants to hear of.
struct Watch {
    tools: bool,
    prompts: bool,
    resources: bool,
    uris: Uris,
}

enum Uris {
    /// Those that `subscriptions/listen` named.
    Fixed(BTreeSet<Arc<str>>),
    /// Those that are in the session's record at the moment.
    OfSession {
        sessions: Arc<dyn SessionStore>,
        session: SessionId,
        principal: Principal,
    },
}

/// The URIs that a stream watches at the moment.
enum Watched<'a> {
    Fixed(&'a BTreeSet<Arc<str>>),
    OfSession(Arc<Session>),
    /// The store does not say.
    Unknown,
}

impl Watched<'_> {
    fn uris(&self) -> Option<&BTreeSet<Arc<str>>> {
        match self {
            Self::Fixed(uris) => Some(uris),
            Self::OfSession(session) => Some(&session.subscriptions),
            Self::Unknown => None,
        }
    }
}

impl Uris {
    /// What is watched now; `None` when the session has ended.
    async fn now(&self) -> Option<Watched<'_>> {
        match self {
            Self::Fixed(uris) => Some(Watched::Fixed(uris)),
            Self::OfSession {
                sessions,
                session,
                principal,
            } => {
                let touch = sessions.touch(session, principal);
                match tokio::time::timeout(STORE_DEADLINE, touch).await {
                    Ok(Ok(record)) => record.map(Watched::OfSession),
                    Ok(Err(_)) | Err(_) => Some(Watched::Unknown),
                }
            }
        }
    }
}

/// By whose leave a stream is open.
struct Authority {
    gate: Arc<Gate>,
    principal: Principal,
    revocations: Revocations,
}

impl Authority {
    async fn holds(&self) -> bool {
        self.gate.is_current(&self.principal).await
    }
}

struct Tail {
    subscription: Box<dyn Subscription>,
    authority: Authority,
    audience: Arc<str>,
    watch: Watch,
    /// `_meta` of every notification.
    meta: Option<Value>,
    ready: VecDeque<Bytes>,
    /// Sent when the server ends the stream.
    last_words: Option<Bytes>,
    keep_alive: Duration,
    ends: Instant,
    token: CancellationToken,
    /// Whether the client may have missed events before this stream.
    gap: bool,
    /// Whether changes came while the store did not say what is watched.
    owed: bool,
    /// When something was last sent.
    said: Instant,
    _live: Option<LiveStream>,
    _listener: Listener,
    _listening: Listening,
}

impl Tail {
    fn respond(self) -> Response<Body> {
        let note = StreamNote(self.authority.principal.clone());
        let body = stream::unfold(Some(self), |tail| async {
            let mut tail = tail?;
            loop {
                if let Some(next) = tail.ready.pop_front() {
                    tail.said = Instant::now();
                    return Some((chunk(next), Some(tail)));
                }
                if std::mem::take(&mut tail.gap) {
                    tail.make_good().await?;
                    continue;
                }
                let silence = tail.said + tail.keep_alive;
                tokio::select! {
                    biased;
                    () = tail.token.cancelled() => return tail.end(),
                    () = tokio::time::sleep_until(tail.ends) => return tail.end(),
                    () = tail.authority.revocations.next() => {
                        if !tail.authority.holds().await {
                            return tail.end();
                        }
                    }
                    received = tail.subscription.next() => match received {
                        Some(received) if !tail.concerns(&received) => {}
                        Some(received) if tail.authority.holds().await => {
                            tail.hear(received).await?;
                        }
                        _ => return tail.end(),
                    },
                    () = tokio::time::sleep_until(silence) => {
                        if !tail.authority.holds().await {
                            return tail.end();
                        }
                        // Keeps the session from idling away, and ends with it.
                        tail.uris().await?;
                        tail.ready.push_back(Bytes::from_static(b": keep-alive\n\n"));
                    }
                }
            }
        });
        let mut response = stream_response(Body::from_stream(body));
        response.extensions_mut().insert(note);
        response
    }

    fn end<T>(self) -> Option<(Result<Bytes, std::convert::Infallible>, Option<T>)> {
        self.last_words.map(|words| (chunk(words), None))
    }

    /// Asks for the URIs that are watched, and makes good what could not be told while nobody knew
    /// them; `None` when the session has ended.
    async fn uris(&mut self) -> Option<()> {
        let known = self.watch.uris.now().await?.uris().is_some();
        if known && self.owed {
            self.make_good().await?;
        }
        Some(())
    }

    /// Whether the caller may hear of it. Asked before its credential is looked at again, which is
    /// too dear for what happens to others.
    fn concerns(&self, received: &Received) -> bool {
        match received {
            Received::Missed => true,
            Received::Event(event) => event.is_for(&self.audience),
        }
    }

    /// Takes in what came; `None` when the session has ended.
    async fn hear(&mut self, received: Received) -> Option<()> {
        let event = match received {
            Received::Missed => return self.make_good().await,
            Received::Event(event) => event,
        };
        let wanted = match &event.change {
            Change::Tools => self.watch.tools,
            Change::Prompts => self.watch.prompts,
            Change::Resources => self.watch.resources,
            Change::Resource(uri) => {
                let watched = self.watch.uris.now().await?;
                // What nobody can tell now is made good when the store is back.
                self.owed |= watched.uris().is_none();
                watched.uris().is_some_and(|uris| uris.contains(uri))
            }
        };
        if wanted {
            self.say(&event.change);
        }
        Some(())
    }

    /// Says "changed" of everything that is watched.
    async fn make_good(&mut self) -> Option<()> {
        for (watched, change) in [
            (self.watch.tools, Change::Tools),
            (self.watch.prompts, Change::Prompts),
            (self.watch.resources, Change::Resources),
        ] {
            if watched {
                self.say(&change);
            }
        }
        let watched = self.watch.uris.now().await?;
        let uris: Vec<_> = watched.uris().into_iter().flatten().cloned().collect();
        self.owed = watched.uris().is_none();
        for uri in uris {
            self.say(&Change::Resource(uri));
        }
        Some(())
    }

    fn say(&mut self, change: &Change) {
        let (method, uri) = match change {
            Change::Tools => ("notifications/tools/list_changed", None),
            Change::Prompts => ("notifications/prompts/list_changed", None),
            Change::Resources => ("notifications/resources/list_changed", None),
            Change::Resource(uri) => ("notifications/resources/updated", Some(uri)),
        };
        let mut message = json!({"jsonrpc": "2.0", "method": method});
        let mut params = serde_json::Map::new();
        if let Some(meta) = &self.meta {
            params.insert("_meta".into(), meta.clone());
        }
        if let Some(uri) = uri {
            params.insert("uri".into(), Value::from(&**uri));
        }
        if !params.is_empty() {
            message["params"] = Value::Object(params);
        }
        self.ready.push_back(event(&message));
    }
}

fn too_many_streams(id: Option<&RequestId>) -> Response<Body> {
    let error = ErrorData::internal_error("too many streams are open; close one first", None);
    answer::refuse_for_now(StatusCode::TOO_MANY_REQUESTS, id, &error)
}

fn event(message: &Value) -> Bytes {
    Bytes::from(format!("event: message\ndata: {message}\n\n"))
}

/// The result that ends a subscription from the server's side.
fn closed(id: &RequestId, server: &Value) -> Value {
    json!({
        "jsonrpc": "2.0",
        "id": id,
        "result": {
            "resultType": "complete",
            "_meta": {SUBSCRIPTION_ID: id, "io.modelcontextprotocol/serverInfo": server},
        },
    })
}
