//! A store of each kind as a law sees it: two replicas' views of it, and time that can be made to pass.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use mcp_serve::{
    auth::Principal,
    redis::{Deadlines, Redis, Settings},
    session::{
        EndReason, Limits, MemorySessions, RedisSessions, Session, SessionEnd, SessionStore,
    },
    test_util::RedisServer,
};
use redis::aio::MultiplexedConnection;
use rmcp::model::{ClientCapabilities, Implementation, InitializeRequestParams, ProtocolVersion};

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory,
    Redis,
    /// One server that is a whole cluster, and refuses whatever crosses slots.
    Cluster,
}

/// What prefixes every key of a world.
pub(crate) const PREFIX: &str = "law:";

/// How long sessions go on without Redis, unless a test says otherwise.
pub(crate) const GRACE: Duration = Duration::from_mins(1);

/// What a busy machine needs, where a test is not about time.
const PATIENT: Deadlines = Deadlines {
    attempt: Duration::from_secs(20),
    request: Duration::from_secs(40),
    connect: Duration::from_secs(20),
};

pub(crate) struct World {
    /// The store as two replicas have it.
    pub(crate) one: Arc<dyn SessionStore>,
    pub(crate) other: Arc<dyn SessionStore>,
    ends: Arc<Mutex<Vec<SessionEnd>>>,
    server: Option<RedisServer>,
}

impl World {
    pub(crate) async fn open(kind: Kind, limits: Limits) -> Self {
        match kind {
            Kind::Memory => {
                let (limits, ends) = watched(&limits);
                let one = Arc::new(MemorySessions::new(limits));
                Self {
                    one: one.clone(),
                    other: one,
                    ends,
                    server: None,
                }
            }
            Kind::Redis => {
                let server = RedisServer::start().await;
                Self::replicas(server, "redis", limits, GRACE, PATIENT).await
            }
            Kind::Cluster => {
                let server = RedisServer::with(&["cluster-enabled yes"]).await;
                server
                    .cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"])
                    .await;
                // It takes a moment to see that every slot is served.
                for _ in 0..500 {
                    let info = server.cli(&["CLUSTER", "INFO"]).await;
                    if info.contains("cluster_state:ok") {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Self::replicas(server, "redis+cluster", limits, GRACE, PATIENT).await
            }
        }
    }

    /// Two replicas on this server, which wait for it as long as they do in production.
    pub(crate) async fn on(server: RedisServer, limits: Limits, grace: Duration) -> Self {
        Self::replicas(server, "redis", limits, grace, Deadlines::default()).await
    }

    async fn replicas(
        server: RedisServer,
        scheme: &str,
        limits: Limits,
        grace: Duration,
        deadlines: Deadlines,
    ) -> Self {
        let (limits, ends) = watched(&limits);
        let replica = async || {
            let url = format!("{scheme}://{}", server.addr());
            let settings = Settings::parse(&url).unwrap().with_prefix(PREFIX).unwrap();
            let redis = Redis::new(settings.with_deadlines(deadlines)).unwrap();
            redis.watch().wait_for(|up| *up).await.unwrap();
            Arc::new(RedisSessions::new(redis, limits.clone(), grace))
        };
        Self {
            one: replica().await,
            other: replica().await,
            ends,
            server: Some(server),
        }
    }

    /// The server behind it.
    pub(crate) fn server(&mut self) -> &mut RedisServer {
        self.server.as_mut().unwrap()
    }

    /// A connection of the test's own to it.
    pub(crate) async fn redis(&self) -> MultiplexedConnection {
        let server = self.server.as_ref().unwrap();
        let client = redis::Client::open(format!("redis://{}", server.addr())).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Lets so much time pass for the store, without waiting for it.
    pub(crate) async fn pass(&self, time: Duration) {
        if self.server.is_none() {
            return tokio::time::advance(time).await;
        }
        let mut redis = self.redis().await;
        let millis = u64::try_from(time.as_millis()).unwrap();
        let script = redis::Script::new(OLDER);
        let _: () = script.arg(millis).invoke_async(&mut redis).await.unwrap();
    }

    /// What the observers of all replicas were told, in order.
    pub(crate) fn ends(&self) -> Vec<EndReason> {
        self.ends
            .lock()
            .unwrap()
            .iter()
            .map(|end| end.reason)
            .collect()
    }

    /// The age of each session that ended, in whole seconds.
    pub(crate) fn ages(&self) -> Vec<u64> {
        self.ends
            .lock()
            .unwrap()
            .iter()
            .map(|end| end.age.as_secs())
            .collect()
    }
}

/// Makes all that is in Redis older: keys that end, and the times that are written in them. A key that
/// would never end is an error.
const OLDER: &str = "
    for _, key in ipairs(redis.call('KEYS', '*')) do
      local kind, left = redis.call('TYPE', key).ok, redis.call('PTTL', key)
      if left == -1 then return redis.error_reply('this key never ends: ' .. key) end
      if left <= tonumber(ARGV[1]) then
        redis.call('DEL', key)
      else
        redis.call('PEXPIRE', key, left - ARGV[1])
        if kind == 'hash' then
          redis.call('HINCRBY', key, 'created', -ARGV[1])
          redis.call('HINCRBY', key, 'ends', -ARGV[1])
        elseif kind == 'zset' then
          for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
            redis.call('ZINCRBY', key, -ARGV[1], member)
          end
        end
      end
    end
    return 'OK'";

fn watched(limits: &Limits) -> (Limits, Arc<Mutex<Vec<SessionEnd>>>) {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let seen = ends.clone();
    let observer = Arc::new(move |end: SessionEnd| seen.lock().unwrap().push(end));
    let limits = Limits {
        observer,
        ..limits.clone()
    };
    (limits, ends)
}

/// A session of `who`, as it is right after `initialize`.
pub(crate) fn session(who: &str) -> Session {
    let info = Implementation::new("test", "1");
    let client = InitializeRequestParams::new(ClientCapabilities::default(), info);
    Session::new(Principal::new(who), ProtocolVersion::V_2025_11_25, client)
}
