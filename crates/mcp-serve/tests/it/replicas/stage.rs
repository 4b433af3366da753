//! Three servers of one process that know of each other what replicas do.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use mcp_serve::{
    Config,
    events::{Events, MemoryEvents, RedisEvents},
    redis::{Redis, Settings},
    session::{Limits, MemorySessions, RedisSessions, SessionStore},
    signals::{MemoryBus, Signals, memory::Member},
    test_util::{Legacy, Next, RedisServer, SseEvent, SseReader, TestServer},
};
use rmcp::ServerHandler;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::timeout};

use crate::{
    fixture::Fixture,
    mounted::announcing,
    transport::probe::{self, Fate},
};

/// Long enough for anything that is going to happen.
pub(super) const SOON: Duration = Duration::from_secs(15);

/// The servers, and what they share.
pub(super) struct Stage {
    pub(super) servers: Vec<TestServer>,
    /// Each server on the bus, where there is one.
    pub(super) members: Vec<Arc<Member>>,
    /// The channel of the first server.
    pub(super) events: Arc<dyn Events>,
    pub(super) bus: MemoryBus,
    /// Where they keep it, unless that is memory.
    pub(super) redis: Option<RedisServer>,
}

/// What one server has of what all share.
struct Part {
    sessions: Arc<dyn SessionStore>,
    events: Arc<dyn Events>,
    signals: Arc<dyn Signals>,
}

/// Where the servers keep what they share.
#[derive(Clone, Copy)]
pub(super) enum Over {
    Memory,
    Redis,
}

impl Stage {
    async fn start<H, F>(
        over: Over,
        factory: impl Fn(&Part) -> F,
        adjust: impl Fn(&mut Config),
    ) -> Self
    where
        H: ServerHandler,
        F: Fn() -> H + Send + Sync + 'static,
    {
        let bus = MemoryBus::default();
        let mut members = Vec::new();
        let (parts, redis): (Vec<Part>, _) = match over {
            Over::Memory => {
                let sessions = Arc::new(MemorySessions::default());
                let events = Arc::new(MemoryEvents::default());
                members = (0..3).map(|_| bus.join()).collect();
                let part = |member: &Arc<Member>| Part {
                    sessions: sessions.clone(),
                    events: events.clone(),
                    signals: member.clone(),
                };
                (members.iter().map(part).collect(), None)
            }
            Over::Redis => {
                let server = RedisServer::start().await;
                let mut parts = Vec::new();
                for _ in 0..3 {
                    parts.push(on_redis(&server).await);
                }
                (parts, Some(server))
            }
        };
        let mut servers = Vec::new();
        for part in &parts {
            let mut config = Config {
                events: part.events.clone(),
                sessions: part.sessions.clone(),
                signals: part.signals.clone(),
                ..Config::default()
            };
            adjust(&mut config);
            servers.push(TestServer::start(factory(part), axum::Router::new(), config).await);
        }
        Self {
            servers,
            members,
            events: parts[0].events.clone(),
            bus,
            redis,
        }
    }

    /// With the fixture of the conformance suite.
    pub(super) async fn fixture(over: Over) -> Self {
        let fixture = Fixture::new();
        let factory = |part: &Part| {
            let fixture = announcing(fixture.clone(), part.events.clone());
            move || fixture.clone()
        };
        Self::start(over, factory, |_| {}).await
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

/// One server's part of a Redis, with connections of its own.
async fn on_redis(server: &RedisServer) -> Part {
    let redis = Redis::new(Settings::parse(&server.url()).unwrap()).unwrap();
    let events = Arc::new(RedisEvents::new(redis.clone()));
    let (mut up, mut hears) = (redis.watch(), events.hears());
    let standing = async {
        up.wait_for(|up| *up).await.unwrap();
        hears.wait_for(|hears| *hears).await.unwrap();
    };
    timeout(SOON, standing).await.expect("Redis is there");
    Part {
        sessions: Arc::new(RedisSessions::new(redis, Limits::default(), SOON)),
        events: events.clone(),
        signals: events,
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
        Self::start_over(Over::Memory, adjust).await
    }

    pub(super) async fn start_over(over: Over, adjust: impl Fn(&mut Config)) -> Self {
        let (probe, fates) = probe::probe();
        let adjust = |config: &mut Config| {
            config.mcp.keep_alive = Duration::from_millis(200);
            adjust(config);
        };
        let factory = |_: &Part| {
            let probe = probe.clone();
            move || probe.clone()
        };
        let stage = Stage::start(over, factory, adjust).await;
        Self { stage, fates }
    }

    /// The next fate of a call; panics when there is none.
    pub(super) async fn fate(&mut self) -> Fate {
        let next = timeout(SOON, self.fates.recv()).await;
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
