//! Sessions while Redis is away: those that a replica knows go on for a time, and nothing hangs.

use std::time::{Duration, Instant};

use mcp_serve::{
    auth::Principal,
    session::{Limits, SessionChange, SessionError, SessionId, SessionStore},
    test_util::RedisServer,
};
use rmcp::model::LoggingLevel;

use super::{
    World,
    world::{GRACE, session},
};

/// The longest that any answer may take: what a request to Redis may, and some time for a busy machine.
pub(super) const BOUND: Duration = Duration::from_secs(3);

async fn within<T>(asked: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let said = asked.await;
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    said
}

pub(super) async fn durable() -> RedisServer {
    RedisServer::with(&["appendonly yes", "appendfsync always"]).await
}

/// Waits until a session is known again, as a client would: by asking.
async fn until_open(store: &dyn SessionStore, id: &SessionId, who: &Principal) {
    let begun = Instant::now();
    loop {
        match store.touch(id, who).await {
            Ok(Some(_)) => return,
            Ok(None) => panic!("the session is lost"),
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(15), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What goes on and what does not, while Redis is away: `known` was used on the one replica, and
/// `unknown` on neither.
async fn is_away(world: &World, known: &SessionId, unknown: &SessionId) {
    let (me, thief) = (Principal::new("me"), Principal::new("thief"));
    let away = SessionError::Unavailable;
    let (one, other) = (&world.one, &world.other);
    assert!(within(one.touch(known, &me)).await.unwrap().is_some());
    assert!(within(one.touch(known, &thief)).await.unwrap().is_none());
    assert_eq!(within(other.touch(known, &me)).await.unwrap_err(), away);
    assert_eq!(within(one.touch(unknown, &me)).await.unwrap_err(), away);
    assert_eq!(within(one.create(session("me"))).await.unwrap_err(), away);
    let level = SessionChange::LogLevel(LoggingLevel::Error);
    assert_eq!(
        within(one.change(known, &me, level)).await.unwrap_err(),
        away
    );
    assert_eq!(within(one.delete(known, &me)).await.unwrap_err(), away);
    assert_eq!(within(one.count()).await.unwrap_err(), away);
    within(one.sweep()).await;
    assert!(within(one.touch(known, &me)).await.unwrap().is_some());
    // Another replica says that it has ended.
    one.forget(&known.digest());
    assert_eq!(within(one.touch(known, &me)).await.unwrap_err(), away);
}

#[tokio::test]
async fn sessions_outlive_a_restart_of_redis_and_known_ones_go_on_meanwhile() {
    let mut world = World::on(durable().await, Limits::default(), GRACE).await;
    let me = Principal::new("me");
    let known = world.one.create(session("me")).await.unwrap();
    let unknown = world.one.create(session("me")).await.unwrap();
    assert!(world.one.touch(&known, &me).await.unwrap().is_some());
    world.server().kill();
    is_away(&world, &known, &unknown).await;
    world.server().revive().await;
    for replica in [&world.one, &world.other] {
        for id in [&known, &unknown] {
            until_open(replica.as_ref(), id, &me).await;
        }
    }
    assert!(world.one.create(session("me")).await.is_ok());
    assert_eq!(world.other.count().await.unwrap(), 3);
    assert!(world.ends().is_empty());
}

#[tokio::test]
async fn a_redis_that_stands_still_holds_nobody_up() {
    let mut world = World::on(durable().await, Limits::default(), GRACE).await;
    let me = Principal::new("me");
    let known = world.one.create(session("me")).await.unwrap();
    let unknown = world.one.create(session("me")).await.unwrap();
    assert!(world.one.touch(&known, &me).await.unwrap().is_some());
    world.server().pause();
    is_away(&world, &known, &unknown).await;
    world.server().resume();
    for id in [&known, &unknown] {
        until_open(world.one.as_ref(), id, &me).await;
    }
}

#[tokio::test]
async fn a_connection_that_was_cut_costs_no_request() {
    let mut world = World::on(durable().await, Limits::default(), GRACE).await;
    let me = Principal::new("me");
    let id = world.one.create(session("me")).await.unwrap();
    for round in 0..20 {
        let change = SessionChange::Subscribe(format!("note:///{round}").into());
        let kill = ["CLIENT", "KILL", "TYPE", "normal"];
        let server = world.server().cli(&kill);
        server.await;
        assert!(world.one.change(&id, &me, change).await.unwrap());
    }
}

#[tokio::test]
async fn a_session_that_ends_elsewhere_while_redis_is_asked_does_not_go_on() {
    let mut world = World::on(durable().await, Limits::default(), GRACE).await;
    let me = Principal::new("me");
    let id = world.one.create(session("me")).await.unwrap();
    assert!(world.one.touch(&id, &me).await.unwrap().is_some());
    world.server().pause();
    let told = async {
        // Redis has not answered, and nobody has given up.
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.one.forget(&id.digest());
    };
    let (touched, ()) = tokio::join!(within(world.one.touch(&id, &me)), told);
    assert_eq!(touched.unwrap_err(), SessionError::Unavailable);
    world.server().resume();
}

#[tokio::test]
async fn a_known_session_goes_on_for_the_time_of_grace_alone() {
    let grace = Duration::from_secs(2);
    let mut world = World::on(durable().await, Limits::default(), grace).await;
    let me = Principal::new("me");
    let id = world.one.create(session("me")).await.unwrap();
    let begun = Instant::now();
    let mut asked = begun;
    while begun.elapsed() < grace + grace / 4 {
        asked = Instant::now();
        assert!(world.one.touch(&id, &me).await.unwrap().is_some());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.server().kill();
    let mut lasted = Duration::ZERO;
    while asked.elapsed() < Duration::from_secs(20) {
        let said = within(world.one.touch(&id, &me)).await;
        match said {
            Ok(Some(_)) => lasted = asked.elapsed(),
            Ok(None) => panic!("the session is lost"),
            Err(error) => {
                assert_eq!(error, SessionError::Unavailable);
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Questions lengthened it, and use does not.
    assert!(
        lasted > Duration::ZERO && lasted < grace + BOUND,
        "{lasted:?}"
    );
    assert!(asked.elapsed() >= grace);
    world.server().revive().await;
    until_open(world.one.as_ref(), &id, &me).await;
}
