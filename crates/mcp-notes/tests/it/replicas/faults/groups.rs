//! A Redis of several servers that loses one.

use std::time::Duration;

use mcp_serve::test_util::{RedisCluster, RedisSentinel};

use super::{
    page::Row,
    stage::{Bearable, EVER, REDIS, Stage},
};

/// Longer than another server takes to take over.
const TAKEN_OVER: Duration = Duration::from_secs(8);
const FROZEN: Duration = Duration::from_secs(10);

pub(super) async fn sentinel_killed() -> Row {
    let mut group = RedisSentinel::start().await;
    let mut stage = Stage::on_redis(&group.url()).await;
    group.servers[0].cli(&["WAIT", "2", "5000"]).await;
    stage.begins();
    group.servers[0].kill();
    stage.lasts(TAKEN_OVER).await;
    assert_ne!(group.primary().await, 0);
    stage.finish(REDIS).await
}

/// It comes back when another one is the primary.
pub(super) async fn sentinel_frozen() -> Row {
    let group = RedisSentinel::start().await;
    let mut stage = Stage::on_redis(&group.url()).await;
    group.servers[0].cli(&["WAIT", "2", "5000"]).await;
    stage.begins();
    group.servers[0].pause();
    stage.lasts(FROZEN).await;
    group.servers[0].resume();
    assert_ne!(group.primary().await, 0);
    stage.finish(REDIS).await
}

pub(super) async fn cluster_killed() -> Row {
    let mut cluster = RedisCluster::start().await;
    let mut stage = Stage::on_redis(&cluster.url()).await;
    cluster.nodes[0].cli(&["WAIT", "1", "5000"]).await;
    stage.begins();
    cluster.nodes[0].kill();
    stage.lasts(TAKEN_OVER).await;
    stage.finish(REDIS).await
}

pub(super) async fn cluster_frozen() -> Row {
    let cluster = RedisCluster::start().await;
    let mut stage = Stage::on_redis(&cluster.url()).await;
    cluster.nodes[1].cli(&["WAIT", "1", "5000"]).await;
    stage.begins();
    cluster.nodes[1].pause();
    stage.lasts(FROZEN).await;
    cluster.nodes[1].resume();
    // Other nodes answer all the while, so what lies there is asked for until another has it.
    let bearable = Bearable {
        delay: [EVER; 4],
        ..REDIS
    };
    stage.finish(bearable).await
}
