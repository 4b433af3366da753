//! One Redis that fails.

use std::time::Duration;

use mcp_serve::test_util::RedisServer;
use tokio::time::sleep;

use super::{
    page::Row,
    stage::{Bearable, REDIS, Stage},
};

const AWAY: Duration = Duration::from_secs(4);
const FROZEN: Duration = Duration::from_secs(10);
const FULL: Duration = Duration::from_secs(6);

pub(super) async fn killed() -> Row {
    let log = ["appendonly yes", "appendfsync everysec"];
    killed_with(RedisServer::with(&log).await, REDIS).await
}

/// Sessions are lost with it, and their clients open new ones: which a replica does not know that
/// finds Redis later than the other.
pub(super) async fn emptied() -> Row {
    let bearable = Bearable {
        refusals: [&[], &[], &["404", "503"], &["503"]],
        ..REDIS
    };
    let row = killed_with(RedisServer::start().await, bearable).await;
    assert!(row.kinds[2].refused.contains_key("404"), "{row:?}");
    row
}

async fn killed_with(mut redis: RedisServer, bearable: Bearable) -> Row {
    let mut stage = Stage::on_redis(&redis.url()).await;
    stage.begins();
    redis.kill();
    stage.lasts(AWAY).await;
    redis.revive().await;
    stage.is_over();
    let row = stage.finish(bearable).await;
    assert!(row.kinds[3].refused.contains_key("503"), "{row:?}");
    row
}

pub(super) async fn frozen() -> Row {
    let redis = RedisServer::start().await;
    let mut stage = Stage::on_redis(&redis.url()).await;
    stage.begins();
    redis.pause();
    stage.lasts(FROZEN).await;
    redis.resume();
    stage.is_over();
    let row = stage.finish(REDIS).await;
    assert!(row.kinds[3].refused.contains_key("503"), "{row:?}");
    row
}

/// It takes nothing more, and what it has it keeps.
pub(super) async fn full() -> Row {
    let redis = RedisServer::with(&["maxmemory-policy noeviction"]).await;
    let mut stage = Stage::on_redis(&redis.url()).await;
    stage.begins();
    // Less than it has already.
    redis.cli(&["CONFIG", "SET", "maxmemory", "1mb"]).await;
    stage.lasts(FULL).await;
    let refused = redis.cli(&["INFO", "errorstats"]).await;
    assert!(refused.contains("errorstat_OOM"), "{refused}");
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
    stage.is_over();
    sleep(Duration::from_millis(100)).await;
    stage.finish(REDIS).await
}
