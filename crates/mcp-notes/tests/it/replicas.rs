//! Replicas of the real binary behind a real nginx with the file that is shipped.

#[cfg(feature = "mongodb")]
mod changes;
mod edge;
#[cfg(feature = "mongodb")]
mod failures;
mod fake;
#[cfg(feature = "mongodb")]
mod faults;
mod front;
#[cfg(feature = "mongodb")]
mod limits;
#[cfg(feature = "mongodb")]
mod load;
mod names;
#[cfg(feature = "mongodb")]
mod sessions;
#[cfg(feature = "mongodb")]
mod supervised;

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use mcp_serve::test_util::{Legacy, Modern, RawClient, RawResponse, RedisServer};
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};
use tokio::time::sleep;

use crate::{
    engine::Database,
    nginx::{NAME, Nginx},
    process::{PATIENCE, Served},
};

const HOST: (&str, &str) = ("Host", NAME);

/// Replicas, each at a place that it has again after a restart.
struct Fleet {
    replicas: Vec<Replica>,
    nginx: Nginx,
}

/// One of them.
struct Replica {
    folder: TempDir,
    place: SocketAddr,
    vars: Vec<(String, String)>,
    served: Option<Served>,
}

impl Replica {
    /// A replica that believes nginx and has these settings beside.
    async fn start(vars: &[(&str, &str)]) -> Self {
        let host = Nginx::address();
        let own = [
            ("ALLOW_ANONYMOUS", "true"),
            ("TRUSTED_PROXIES", "127.0.0.1"),
            ("ALLOWED_HOSTS", NAME),
            ("HOST", &host.to_string()),
        ];
        let own = own.iter().chain(vars);
        let mut replica = Self {
            folder: tempdir().unwrap(),
            place: (host, 0).into(),
            vars: own.map(|(n, v)| ((*n).into(), (*v).into())).collect(),
            served: None,
        };
        replica.begin().await;
        replica
    }

    /// Starts it where it was before.
    async fn begin(&mut self) {
        let vars: Vec<_> = self.vars.iter().map(|(n, v)| (&**n, &**v)).collect();
        let port = self.place.port();
        let served = Served::start_at(port, self.folder.path(), &vars).await;
        self.place = served.address;
        self.served = Some(served);
    }

    fn served(&self) -> &Served {
        self.served.as_ref().unwrap()
    }

    /// Waits until it has answered somebody.
    async fn answers(&self) {
        let end = Instant::now() + PATIENCE;
        while self.served().requests() == 0 {
            assert!(Instant::now() < end, "nobody asks {}", self.place);
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Fleet {
    /// So many replicas with these settings, and nginx before them with `changes` of its file.
    async fn start(count: usize, vars: &[(&str, &str)], changes: &[(&str, &str)]) -> Self {
        let mut replicas = Vec::new();
        for _ in 0..count {
            replicas.push(Replica::start(vars).await);
        }
        let places: Vec<_> = replicas.iter().map(|it| it.place).collect();
        let nginx = Nginx::shipped(&places, changes).await;
        Self { replicas, nginx }
    }

    /// Stops all of them; the lines of their logs.
    async fn stop(self) -> Vec<Vec<Value>> {
        let mut logs = Vec::new();
        for replica in self.replicas {
            let Some(served) = replica.served else {
                continue;
            };
            let (status, log) = served.stop().await;
            assert!(status.success());
            logs.push(log);
        }
        logs
    }

    /// A client of revision 2026-07-28.
    fn modern(&self) -> Modern {
        modern(self.nginx.clear)
    }

    /// A session of an older revision.
    async fn legacy(&self) -> Legacy {
        legacy(self.nginx.clear).await
    }
}

/// Replicas that share a Redis and a database.
struct Site {
    fleet: Fleet,
    redis: RedisServer,
    database: Database,
}

impl Site {
    /// Three replicas with these settings.
    async fn start(vars: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start().await;
        let url = redis.url();
        Self::on(redis, &url, vars).await
    }

    /// The same on this Redis, which has this address for them.
    async fn on(redis: RedisServer, url: &str, vars: &[(&str, &str)]) -> Self {
        let database = tokio::task::spawn_blocking(Database::new).await.unwrap();
        let own = [("REDIS_URL", url), ("NOTES_STORE", database.url())];
        let fleet = Fleet::start(3, &[&own, vars].concat(), &[]).await;
        Self {
            fleet,
            redis,
            database,
        }
    }

    /// Where the replica with this number is.
    fn place(&self, number: usize) -> SocketAddr {
        self.fleet.replicas[number].place
    }

    /// Where nginx is.
    fn front(&self) -> SocketAddr {
        self.fleet.nginx.clear
    }
}

fn host() -> Vec<(String, String)> {
    vec![("Host".to_owned(), NAME.to_owned())]
}

fn modern(at: SocketAddr) -> Modern {
    let mut modern = Modern::new(at);
    modern.headers = host();
    modern
}

async fn legacy(at: SocketAddr) -> Legacy {
    let opened = Legacy::initialize_with(at, "2025-11-25", json!({}), host()).await;
    opened.unwrap()
}

async fn ask(client: &mut RawClient, method: &str, path: &str, body: &[u8]) -> RawResponse {
    let headers = [HOST, ("Content-Type", "application/json")];
    client.request(method, path, &headers, body).await.unwrap()
}

/// A place where nobody listens.
fn nobody() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 1).into()
}
