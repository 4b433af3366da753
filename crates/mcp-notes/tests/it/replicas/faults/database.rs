//! A database that fails.

use std::time::Duration;

use mcp_serve::test_util::RedisServer;
use tokio::{task::block_in_place, time::sleep};

use super::{
    page::Row,
    stage::{DATABASE, Stage},
};
use crate::server::Server;

const AWAY: Duration = Duration::from_secs(4);
const FROZEN: Duration = Duration::from_secs(10);

/// One that runs.
pub(super) fn database() -> Server {
    let mut database = Server::new();
    block_in_place(|| database.start());
    database
}

pub(super) async fn killed() -> Row {
    let (redis, mut database) = (RedisServer::start().await, database());
    let url = database.url("notes");
    let mut stage = Stage::on_database(&redis.url(), &url, url.clone()).await;
    stage.begins();
    block_in_place(|| database.kill());
    sleep(AWAY).await;
    block_in_place(|| database.start());
    stage.is_over();
    stage.finish(DATABASE).await
}

pub(super) async fn frozen() -> Row {
    let (redis, database) = (RedisServer::start().await, database());
    let url = database.url("notes");
    let mut stage = Stage::on_database(&redis.url(), &url, url.clone()).await;
    stage.begins();
    database.signal("STOP");
    sleep(FROZEN).await;
    database.signal("CONT");
    stage.is_over();
    stage.finish(DATABASE).await
}
