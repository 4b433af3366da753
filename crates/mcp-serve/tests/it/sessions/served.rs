//! Two servers whose sessions are in one Redis, as their clients see them.

use std::time::{Duration, Instant};

use mcp_serve::{
    Config,
    session::Limits,
    test_util::{Legacy, TestServer},
};
use redis::AsyncCommands as _;
use serde_json::json;

use super::{
    Kind, World,
    outages::{BOUND, durable},
    world::GRACE,
};
use crate::transport::{
    probe,
    sessions::{get_status, named},
};

/// Long enough for Redis to be found again.
const SOON: Duration = Duration::from_secs(15);

struct Pair {
    one: TestServer,
    other: TestServer,
    world: World,
}

impl Pair {
    async fn of(world: World) -> Self {
        let serve = async |sessions| {
            let (probe, _) = probe::probe();
            let mut config = Config {
                sessions,
                ..Config::default()
            };
            named(&mut config);
            TestServer::start(move || probe.clone(), axum::Router::new(), config).await
        };
        Self {
            one: serve(world.one.clone()).await,
            other: serve(world.other.clone()).await,
            world,
        }
    }

    /// A session that was opened at the one server.
    async fn open(&self) -> Legacy {
        self.open_at(&self.one).await.unwrap()
    }

    async fn open_at(&self, server: &TestServer) -> Result<Legacy, String> {
        let headers = vec![("Authorization".to_owned(), "me".to_owned())];
        let opened = Legacy::initialize_with(server.addr(), "2025-11-25", json!({}), headers).await;
        opened.map_err(|error| error.to_string())
    }
}

/// The status of a request in the session, and its `Retry-After`.
async fn ask(session: &mut Legacy) -> (u16, Option<String>) {
    let begun = Instant::now();
    let answer = session.call("tools/list", json!({})).await.unwrap();
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    let after = answer.head.header("retry-after").map(ToOwned::to_owned);
    (answer.status(), after)
}

#[tokio::test]
async fn a_session_outlives_the_server_that_opened_it() {
    let pair = Pair::of(World::open(Kind::Redis, Limits::default()).await).await;
    let session = pair.open().await;
    let mut at_other = session.at(pair.other.addr());
    assert_eq!(ask(&mut at_other).await, (200, None));
    drop(pair.one);
    assert_eq!(ask(&mut at_other).await, (200, None));
}

#[tokio::test]
async fn a_stolen_session_is_of_no_use_at_any_server() {
    let pair = Pair::of(World::open(Kind::Redis, Limits::default()).await).await;
    let mut session = pair.open().await;
    for server in [&pair.other, &pair.one] {
        let mut thief = session.at(server.addr());
        thief.headers = vec![("Authorization".to_owned(), "thief".to_owned())];
        assert_eq!(ask(&mut thief).await, (404, None));
        assert_eq!(get_status(&thief, server.addr()).await, 404);
        assert_eq!(thief.delete().await.unwrap(), 404);
    }
    assert_eq!(ask(&mut session).await, (200, None));
    assert_eq!(session.at(pair.other.addr()).delete().await.unwrap(), 204);
    assert_eq!(ask(&mut session).await, (404, None));
    assert_eq!(session.delete().await.unwrap(), 404);
}

#[tokio::test]
async fn a_corrupt_record_is_404_and_no_failure() {
    let pair = Pair::of(World::open(Kind::Redis, Limits::default()).await).await;
    let session = pair.open().await;
    let mut redis = pair.world.redis().await;
    let records: Vec<String> = redis.keys("*session:*").await.unwrap();
    let _: () = redis.hset(&records[0], "client", "{").await.unwrap();
    let mut at_other = session.at(pair.other.addr());
    let answer = at_other.call("tools/list", json!({})).await.unwrap();
    assert_eq!((answer.status(), answer.error_code()), (404, -32001));
    assert!(!redis.exists::<_, bool>(&records[0]).await.unwrap());
}

#[tokio::test]
async fn without_redis_known_sessions_go_on_and_others_are_told_to_come_again() {
    let mut pair = Pair::of(World::on(durable().await, Limits::default(), GRACE).await).await;
    let mut known = pair.open().await;
    assert_eq!(ask(&mut known).await.0, 200);
    pair.world.server().kill();
    let (later, mut at_other) = ((503, Some("1".to_owned())), known.at(pair.other.addr()));
    for _ in 0..3 {
        assert_eq!(ask(&mut known).await, (200, None));
        assert_eq!(ask(&mut at_other).await, later);
    }
    let begun = Instant::now();
    let refused = pair.open_at(&pair.one).await.err();
    assert!(refused.is_some_and(|why| why.contains("503") && why.contains("retry-after")));
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    let mut modern = pair.one.modern();
    modern.headers = vec![("Authorization".to_owned(), "me".to_owned())];
    let answer = modern.call("tools/list", json!({})).await.unwrap();
    assert_eq!(answer.status(), 200);
    pair.world.server().revive().await;
    let begun = Instant::now();
    while ask(&mut at_other).await.0 != 200 {
        assert!(begun.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(pair.open_at(&pair.other).await.is_ok());
}
