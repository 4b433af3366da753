//! Sessions in Redis: what is there, what is not, and what becomes of what does not belong there.

use std::{
    fs,
    time::{Duration, Instant},
};

use mcp_serve::{
    auth::{Identity, Principal},
    session::{EndReason, Limits, Session, SessionChange, SessionError, SessionId},
    test_util::RedisServer,
};
use redis::{AsyncCommands as _, aio::MultiplexedConnection};
use rmcp::model::{LoggingLevel, ProtocolVersion};
use serde_json::Value;

use super::{
    Kind, World,
    world::{GRACE, PREFIX, session},
};
use crate::log::log;

/// The key of a session's record.
fn key(id: &SessionId) -> String {
    let digest = id.digest().to_string();
    format!("{PREFIX}session:{{{}}}{digest}", &digest[..1])
}

async fn keys(redis: &mut MultiplexedConnection) -> Vec<String> {
    redis.keys("*").await.unwrap()
}

#[tokio::test]
async fn the_record_has_the_documents_key_and_lives_for_the_idle_time() {
    let world = World::open(Kind::Redis, Limits::default()).await;
    let me = Principal::new("me");
    let id = world.one.create(session("me")).await.unwrap();
    let mut redis = world.redis().await;
    let lives =
        async |redis: &mut MultiplexedConnection| -> i64 { redis.ttl(key(&id)).await.unwrap() };
    assert!((3599..=3600).contains(&lives(&mut redis).await));
    world.pass(Duration::from_mins(30)).await;
    assert!((1799..=1800).contains(&lives(&mut redis).await));
    assert!(world.other.touch(&id, &me).await.unwrap().is_some());
    assert!((3599..=3600).contains(&lives(&mut redis).await));
    // Near its absolute end it does not live for the idle time any more.
    for _ in 0..28 {
        world.pass(Duration::from_mins(50)).await;
        assert!(world.other.touch(&id, &me).await.unwrap().is_some());
    }
    let left = 86_400 - 1800 - 28 * 3000;
    assert!((left - 5..=left).contains(&lives(&mut redis).await));
    let field = async |redis: &mut MultiplexedConnection, name| -> String {
        redis.hget(key(&id), name).await.unwrap()
    };
    assert_eq!(field(&mut redis, "principal").await, "me");
    assert_eq!(field(&mut redis, "version").await, "2025-11-25");
    let client: Value = serde_json::from_str(&field(&mut redis, "client").await).unwrap();
    assert_eq!(client["clientInfo"]["name"], "test");
    let created: i64 = field(&mut redis, "created").await.parse().unwrap();
    let ends: i64 = field(&mut redis, "ends").await.parse().unwrap();
    assert_eq!(ends - created, 86_400_000);
    for key in keys(&mut redis).await {
        let left: i64 = redis.pttl(&key).await.unwrap();
        assert!(left > 0 && key.starts_with(PREFIX), "{key} {left}");
    }
}

#[tokio::test]
async fn a_dump_is_no_list_of_usable_ids_and_holds_no_credential() {
    let server = RedisServer::with(&["rdbcompression no"]).await;
    let mut world = World::on(server, Limits::default(), GRACE).await;
    let caller = Principal::of(Identity {
        subject: "me".into(),
        client_id: Some("client-7c1".into()),
        credential: Some("credential-9b2".into()),
        ..Identity::default()
    });
    let mut client = (*session("me").client).clone();
    client.meta = serde_json::from_value(serde_json::json!({"x": "meta-5d3"})).unwrap();
    let opened = Session::new(caller.clone(), ProtocolVersion::V_2025_11_25, client);
    let id = world.one.create(opened).await.unwrap();
    let change = SessionChange::Subscribe("note:///1".into());
    assert!(world.one.change(&id, &caller, change).await.unwrap());
    world.server().cli(&["SAVE"]).await;
    let dump = fs::read(world.server().folder().join("dump.rdb")).unwrap();
    let holds = |what: &str| dump.windows(what.len()).any(|part| part == what.as_bytes());
    assert!(holds(&key(&id)) && holds("note:///1"));
    for secret in [id.as_str(), "credential-9b2", "client-7c1", "meta-5d3"] {
        assert!(!holds(secret), "{secret}");
    }
    // What is in it opens nothing.
    let as_id = SessionId::parse(&id.digest().to_string()).unwrap();
    assert!(world.one.touch(&as_id, &caller).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_no_record_is_no_session_and_is_removed() {
    let spoilt: [&[&str]; 10] = [
        &["SET", "KEY", "{}", "EX", "100"],
        &["HDEL", "KEY", "principal"],
        &["HSET", "KEY", "ends", "never"],
        &["HDEL", "KEY", "generation"],
        &["HSET", "KEY", "client", "{not json"],
        &["HSET", "KEY", "client", "[]"],
        &["HDEL", "KEY", "client"],
        &["HDEL", "KEY", "version"],
        &["HSET", "KEY", "level", "loud"],
        &["HSET", "KEY", "uri:\u{fffd}", ""],
    ];
    let world = World::open(Kind::Redis, Limits::default()).await;
    let me = Principal::new("me");
    let mut redis = world.redis().await;
    for words in spoilt {
        let (lines, _guard) = log();
        let id = world.one.create(session("me")).await.unwrap();
        assert!(world.one.touch(&id, &me).await.unwrap().is_some());
        let mut command = redis::cmd(words[0]);
        for argument in &words[1..] {
            match *argument {
                "KEY" => command.arg(key(&id)),
                "uri:\u{fffd}" => command.arg(b"uri:\xff"),
                other => command.arg(other),
            };
        }
        let _: redis::Value = command.query_async(&mut redis).await.unwrap();
        // The other replica does not remember the record.
        assert!(
            world.other.touch(&id, &me).await.unwrap().is_none(),
            "{words:?}"
        );
        let left: bool = redis.exists(key(&id)).await.unwrap();
        assert!(!left, "{words:?}");
        let text = lines.text();
        assert!(
            text.contains("corrupt") && text.contains("ERROR"),
            "{words:?}: {text}"
        );
        assert!(!text.contains(id.as_str()));
        for replica in [&world.one, &world.other] {
            assert!(replica.touch(&id, &me).await.unwrap().is_none());
            assert!(!replica.delete(&id, &me).await.unwrap());
            assert_eq!(replica.count().await.unwrap(), 0);
        }
    }
}

#[tokio::test]
async fn what_redis_lost_is_no_session_although_a_replica_remembers_it() {
    let server = RedisServer::start().await;
    let mut world = World::on(server, Limits::default(), GRACE).await;
    let me = Principal::new("me");
    let id = world.one.create(session("me")).await.unwrap();
    for replica in [&world.one, &world.other] {
        assert!(replica.touch(&id, &me).await.unwrap().is_some());
    }
    world.server().cli(&["FLUSHALL"]).await;
    for replica in [&world.one, &world.other] {
        assert!(replica.touch(&id, &me).await.unwrap().is_none());
        assert_eq!(replica.count().await.unwrap(), 0);
    }
    // Nor does it come back while nobody can be asked.
    world.server().kill();
    let away = world.one.touch(&id, &me).await.unwrap_err();
    assert_eq!(away, SessionError::Unavailable);
}

#[tokio::test]
async fn of_sessions_that_ended_nothing_is_left() {
    let world = World::open(Kind::Redis, Limits::default()).await;
    let me = Principal::new("me");
    let deleted = world.one.create(session("me")).await.unwrap();
    assert!(world.other.delete(&deleted, &me).await.unwrap());
    let mut redis = world.redis().await;
    assert_eq!(keys(&mut redis).await, [""; 0]);
    world.one.create(session("me")).await.unwrap();
    world.pass(Duration::from_mins(61)).await;
    world.one.sweep().await;
    let left = keys(&mut redis).await;
    assert_eq!(
        left.len(),
        1,
        "the place, for as long as a session lasts: {left:?}"
    );
    assert!(left[0].contains("places"), "{left:?}");
}

#[tokio::test]
async fn a_session_that_was_used_meanwhile_does_not_give_way() {
    let world = World::open(Kind::Redis, Limits::default()).await;
    let id = world.one.create(session("me")).await.unwrap();
    let mut redis = world.redis().await;
    let digest = id.digest().to_string();
    let [used, ends] =
        ["used", "ends"].map(|by| format!("{PREFIX}sessions:{{{}}}:{by}", &digest[..1]));
    let last: u64 = redis.zscore(&used, &digest).await.unwrap();
    let evict = redis::Script::new(include_str!("../../../src/session/redis/evict.lua"));
    for (before, said) in [(last - 1, "used"), (last, "ended"), (last, "used")] {
        let mut call = evict.key(key(&id));
        call.key(&used).key(&ends).arg(&digest).arg(before);
        let told: Vec<redis::Value> = call.invoke_async(&mut redis).await.unwrap();
        let outcome: String = redis::from_redis_value(told[0].clone()).unwrap();
        assert_eq!(outcome, said);
    }
    let found = world.one.touch(&id, &Principal::new("me")).await.unwrap();
    assert!(found.is_none());
}

#[tokio::test]
async fn a_place_is_free_at_once_when_the_server_was_full_or_the_record_is_lost() {
    let limits = Limits {
        sessions_max: 1,
        per_principal_max: 1,
        ..Limits::default()
    };
    let world = World::open(Kind::Redis, limits).await;
    let first = world.one.create(session("other")).await.unwrap();
    let full = world.one.create(session("me")).await.unwrap_err();
    assert!(matches!(full, SessionError::Full { .. }), "{full:?}");
    let other = Principal::new("other");
    assert!(world.one.delete(&first, &other).await.unwrap());
    assert!(world.one.create(session("me")).await.is_ok());

    let limits = Limits {
        per_principal_max: 1,
        ..Limits::default()
    };
    let world = World::open(Kind::Redis, limits).await;
    let lost = world.one.create(session("me")).await.unwrap();
    world.pass(Duration::from_secs(30)).await;
    let _: () = world.redis().await.del(key(&lost)).await.unwrap();
    assert!(world.one.create(session("me")).await.is_ok());
}

#[tokio::test]
async fn a_lost_index_is_made_good_by_use() {
    let world = World::open(Kind::Redis, Limits::default()).await;
    let me = Principal::new("me");
    let id = world.one.create(session("me")).await.unwrap();
    let mut redis = world.redis().await;
    for key in keys(&mut redis).await {
        if !key.contains("session:") {
            let _: () = redis.del(key).await.unwrap();
        }
    }
    assert_eq!(world.one.count().await.unwrap(), 0);
    assert!(world.one.touch(&id, &me).await.unwrap().is_some());
    assert_eq!(world.other.count().await.unwrap(), 1);
    let keys = keys(&mut redis).await;
    assert_eq!(keys.len(), 3, "the record and both orders: {keys:?}");
    for key in keys {
        let left: i64 = redis.pttl(&key).await.unwrap();
        assert!(left > 0, "{key}");
    }
    world.pass(Duration::from_hours(2)).await;
    world.other.sweep().await;
    assert_eq!(world.ends(), [EndReason::Idle]);
}

/// Redis's own clock ends sessions, and nothing else in this test does.
#[tokio::test]
async fn short_times_end_sessions_by_redis_itself() {
    let limits = Limits {
        idle: Duration::from_secs(3),
        lifetime: Duration::from_secs(7),
        ..Limits::default()
    };
    let world = World::open(Kind::Redis, limits).await;
    let me = Principal::new("me");
    let begun = Instant::now();
    let used = world.one.create(session("me")).await.unwrap();
    let idle = world.one.create(session("me")).await.unwrap();
    let mut lasted = Duration::ZERO;
    while begun.elapsed() < Duration::from_secs(20) {
        if world.other.touch(&used, &me).await.unwrap().is_none() {
            break;
        }
        lasted = begun.elapsed();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Longer than the idle time, and no longer than its lifetime.
    assert!(
        (Duration::from_secs(4)..Duration::from_secs(8)).contains(&lasted),
        "{lasted:?}"
    );
    assert_eq!(world.one.count().await.unwrap(), 0);
    assert!(world.one.touch(&idle, &me).await.unwrap().is_none());
    world.one.sweep().await;
    let mut ends = world.ends();
    ends.sort_by_key(|end| format!("{end:?}"));
    assert_eq!(ends, [EndReason::Idle, EndReason::Lifetime]);
    let mut redis = world.redis().await;
    let left = keys(&mut redis).await;
    assert!(left.iter().all(|key| !key.contains("session:")), "{left:?}");
}

#[tokio::test]
async fn a_full_memory_refuses_what_is_new_and_keeps_what_is_open() {
    let server = RedisServer::with(&["maxmemory-policy noeviction"]).await;
    let mut world = World::on(server, Limits::default(), GRACE).await;
    let me = Principal::new("me");
    let id = world.one.create(session("me")).await.unwrap();
    let other = world.one.create(session("me")).await.unwrap();
    assert!(world.one.touch(&id, &me).await.unwrap().is_some());
    world.pass(Duration::from_mins(30)).await;
    world
        .server()
        .cli(&["CONFIG", "SET", "maxmemory", "1"])
        .await;
    let (lines, guard) = log();
    let begun = Instant::now();
    let refused = world.one.create(session("me")).await.unwrap_err();
    assert_eq!(refused, SessionError::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(lines.text().contains("OOM"), "{}", lines.text());
    drop(guard);
    // One that is open goes on, and slides, on a replica that does not remember it too.
    for replica in [&world.one, &world.other] {
        assert!(replica.touch(&id, &me).await.unwrap().is_some());
    }
    let mut redis = world.redis().await;
    let left: i64 = redis.ttl(key(&id)).await.unwrap();
    assert!((3599..=3600).contains(&left), "{left}");
    let grow = SessionChange::Subscribe("note:///1".into());
    let refused = world.one.change(&id, &me, grow.clone()).await.unwrap_err();
    assert_eq!(refused, SessionError::Unavailable);
    assert_eq!(world.one.count().await.unwrap(), 2);
    assert!(world.one.delete(&other, &me).await.unwrap());
    world
        .server()
        .cli(&["CONFIG", "SET", "maxmemory", "0"])
        .await;
    assert!(world.one.create(session("me")).await.is_ok());
    assert!(world.one.change(&id, &me, grow).await.unwrap());
}

#[tokio::test]
async fn a_request_is_one_round_trip() {
    let mut world = World::open(Kind::Redis, Limits::default()).await;
    let me = Principal::new("me");
    let id = world.one.create(session("me")).await.unwrap();
    let level = SessionChange::LogLevel(LoggingLevel::Error);
    // Redis learns the scripts.
    assert!(world.one.touch(&id, &me).await.unwrap().is_some());
    assert!(world.one.change(&id, &me, level.clone()).await.unwrap());
    let before = evaluations(world.server()).await;
    let read = world.server().cli(&["INFO", "commandstats"]).await;
    for _ in 0..10 {
        assert!(world.one.touch(&id, &me).await.unwrap().is_some());
    }
    // The record is not sent to whoever has it.
    let of = |stats: &str| {
        let line = stats
            .lines()
            .find(|line| line.starts_with("cmdstat_hgetall"));
        line.map(|line| line.split(',').next().unwrap().to_owned())
    };
    let stats = world.server().cli(&["INFO", "commandstats"]).await;
    assert_eq!(of(&read), of(&stats));
    assert!(world.one.change(&id, &me, level).await.unwrap());
    assert_eq!(evaluations(world.server()).await - before, 11);
}

/// How many commands scripts were asked for with.
async fn evaluations(server: &RedisServer) -> u64 {
    let stats = server.cli(&["INFO", "commandstats"]).await;
    let calls = |line: &str| -> Option<u64> {
        let rest = line.strip_prefix("cmdstat_eval")?;
        rest.split_once("calls=")?.1.split(',').next()?.parse().ok()
    };
    stats.lines().filter_map(calls).sum()
}
