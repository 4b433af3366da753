//! What stands between replicas and a server spoils what passes.

use std::time::Duration;

use mcp_serve::test_util::RedisServer;
use tokio::time::sleep;

use super::{
    between::{Between, Mode},
    database::database,
    page::Row,
    stage::{Bearable, DATABASE, REDIS, Stage},
};

const SHORT: Duration = Duration::from_secs(4);
const LONG: Duration = Duration::from_secs(6);
const LONGER: Duration = Duration::from_secs(8);
const CUT_EVERY: Duration = Duration::from_millis(500);
/// Within the deadline of a command of Redis.
const SLOW: Duration = Duration::from_millis(300);

/// Nothing is refused.
const NOTHING: Bearable = Bearable {
    refusals: [&[]; 4],
    delay: [LONG; 4],
};

pub(super) async fn redis_cut() -> Row {
    let redis = RedisServer::start().await;
    let between = Between::start(redis.addr()).await;
    let mut stage = Stage::on_redis(&format!("redis://{}", between.address)).await;
    stage.begins();
    cut(&between).await;
    stage.is_over();
    stage.finish(REDIS).await
}

/// Redis is waited for, because it answers in time.
pub(super) async fn redis_slow() -> Row {
    redis(Mode::Late(SLOW), SHORT, NOTHING).await
}

/// Longer than all tries of a command together.
pub(super) async fn redis_too_slow() -> Row {
    redis(Mode::Late(Duration::from_secs(3)), LONG, REDIS).await
}

pub(super) async fn redis_half_closed() -> Row {
    redis(Mode::HalfClosed, SHORT, REDIS).await
}

pub(super) async fn redis_silent() -> Row {
    redis(Mode::Silent, LONG, REDIS).await
}

async fn redis(mode: Mode, time: Duration, bearable: Bearable) -> Row {
    let redis = RedisServer::start().await;
    let between = Between::start(redis.addr()).await;
    let mut stage = Stage::on_redis(&format!("redis://{}", between.address)).await;
    stage.begins();
    between.set(mode);
    stage.lasts(time).await;
    between.set(Mode::Pass);
    stage.is_over();
    stage.finish(bearable).await
}

pub(super) async fn database_cut() -> Row {
    on_database(DATABASE, async |between| cut(between).await).await
}

pub(super) async fn database_slow() -> Row {
    spoil_database(Mode::Late(SLOW), SHORT, NOTHING).await
}

/// Longer than the time an operation has.
pub(super) async fn database_too_slow() -> Row {
    spoil_database(Mode::Late(Duration::from_secs(6)), LONGER, DATABASE).await
}

pub(super) async fn database_half_closed() -> Row {
    spoil_database(Mode::HalfClosed, SHORT, DATABASE).await
}

pub(super) async fn database_silent() -> Row {
    spoil_database(Mode::Silent, LONGER, DATABASE).await
}

async fn spoil_database(mode: Mode, time: Duration, bearable: Bearable) -> Row {
    let spoil = async |between: &Between| {
        between.set(mode);
        sleep(time).await;
        between.set(Mode::Pass);
    };
    on_database(bearable, spoil).await
}

async fn on_database(bearable: Bearable, spoil: impl AsyncFnOnce(&Between)) -> Row {
    let (redis, database) = (RedisServer::start().await, database());
    let between = Between::start(database.address).await;
    let store = format!("mongodb://{}/notes", between.address);
    let mut stage = Stage::on_database(&redis.url(), &store, database.url("notes")).await;
    stage.begins();
    spoil(&between).await;
    stage.is_over();
    stage.finish(bearable).await
}

async fn cut(between: &Between) {
    for _ in 0..SHORT.as_millis() / CUT_EVERY.as_millis() {
        between.cut();
        sleep(CUT_EVERY).await;
    }
}
