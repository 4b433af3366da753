//! Three servers of one process that know of each other what replicas do.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use mcp_serve::{
    Config,
    events::MemoryEvents,
    session::MemorySessions,
    signals::{MemoryBus, memory::Member},
    test_util::{Legacy, Next, SseEvent, SseReader, TestServer},
};
use rmcp::ServerHandler;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    mounted,
    transport::probe::{self, Fate},
};

/// Long enough for anything that is going to happen.
pub(super) const SOON: Duration = Duration::from_secs(15);

/// The servers, and what they share.
pub(super) struct Stage {
    pub(super) servers: Vec<TestServer>,
    pub(super) members: Vec<Arc<Member>>,
    pub(super) events: Arc<MemoryEvents>,
    pub(super) bus: MemoryBus,
}

impl Stage {
    pub(super) async fn start<H, F>(
        factory: F,
        events: Arc<MemoryEvents>,
        adjust: impl Fn(&mut Config),
    ) -> Self
    where
        H: ServerHandler,
        F: Fn() -> H + Clone + Send + Sync + 'static,
    {
        let bus = MemoryBus::default();
        let sessions = Arc::new(MemorySessions::default());
        let (mut servers, mut members) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let member = bus.join();
            let mut config = Config {
                events: events.clone(),
                sessions: sessions.clone(),
                signals: member.clone(),
                ..Config::default()
            };
            adjust(&mut config);
            members.push(member);
            servers.push(TestServer::start(factory.clone(), axum::Router::new(), config).await);
        }
        Self {
            servers,
            members,
            events,
            bus,
        }
    }

    /// With the fixture of the conformance suite.
    pub(super) async fn fixture() -> Self {
        let events = Arc::new(MemoryEvents::default());
        let fixture = mounted::fixture(events.clone());
        Self::start(move || fixture.clone(), events, |_| {}).await
    }

    pub(super) fn at(&self, index: usize) -> SocketAddr {
        self.servers[index].addr()
    }

    /// A session that takes every kind of question, opened at the first server.
    pub(super) async fn open(&self, who: &str) -> Legacy {
        let capabilities = json!({"elicitation": {}, "sampling": {}});
        let headers = vec![("Authorization".to_owned(), who.to_owned())];
        Legacy::initialize_with(self.at(0), "2025-11-25", capabilities, headers)
            .await
            .unwrap()
    }
}

/// Replicas whose calls tell what becomes of them.
pub(super) struct Probed {
    pub(super) stage: Stage,
    pub(super) fates: mpsc::UnboundedReceiver<Fate>,
}

impl Probed {
    pub(super) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(super) async fn start_with(adjust: impl Fn(&mut Config)) -> Self {
        let (probe, fates) = probe::probe();
        let adjust = |config: &mut Config| {
            config.mcp.keep_alive = Duration::from_millis(200);
            adjust(config);
        };
        let events = Arc::new(MemoryEvents::default());
        let stage = Stage::start(move || probe.clone(), events, adjust).await;
        Self { stage, fates }
    }

    /// The next fate of a call; panics when there is none.
    pub(super) async fn fate(&mut self) -> Fate {
        let next = tokio::time::timeout(SOON, self.fates.recv()).await;
        next.expect("something became of the call").unwrap()
    }

    /// Begins a call at the first server that streams and does not end; gives its id and the id of
    /// the event that opened its stream.
    pub(super) async fn begin(&mut self, session: &mut Legacy) -> (Value, SseReader, String) {
        let body = session.body("tools/call", slow(60_000));
        let mut stream = session.open_body(&body).await.unwrap();
        let opening = stream.next_event(SOON).await.event();
        assert_eq!(self.fate().await, Fate::Begun);
        (body["id"].clone(), stream, opening.id.unwrap())
    }
}

pub(super) fn slow(millis: u64) -> Value {
    let arguments = json!({"millis": millis});
    json!({"name": "slow", "arguments": arguments, "_meta": {"progressToken": "p"}})
}

/// A call with `to` messages of progress, each of so many bytes.
pub(super) fn count(to: u64, bytes: usize) -> Value {
    let arguments = json!({"to": to, "bytes": bytes});
    json!({"name": "count", "arguments": arguments, "_meta": {"progressToken": "p"}})
}

/// The next event that has data.
pub(super) async fn next(stream: &mut SseReader) -> SseEvent {
    loop {
        match stream.next_event(SOON).await {
            Next::Event(event) if event.data.trim().is_empty() && event.retry.is_none() => {}
            Next::Event(event) => return event,
            other => panic!("no event but {other:?}"),
        }
    }
}
