//! What replicas share over Redis: limits, changes and revocations.

mod events;
mod groups;
mod limits;
mod revocation;

use std::time::{Duration, Instant};

use mcp_serve::{
    redis::{Redis, Settings},
    test_util::RedisServer,
};

/// Generous for a busy machine; what is tested ends far earlier.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to `server` that stands.
async fn connected(server: &RedisServer) -> Redis {
    connected_to(&server.url()).await
}

/// The same to what is at `url`.
async fn connected_to(url: &str) -> Redis {
    let redis = Redis::new(Settings::parse(url).unwrap()).unwrap();
    let mut up = redis.watch();
    let standing = tokio::time::timeout(PATIENCE, up.wait_for(|up| *up)).await;
    standing.expect("Redis is up").unwrap();
    redis
}

/// Waits until `is_so`, and fails with `what` when that takes too long.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
