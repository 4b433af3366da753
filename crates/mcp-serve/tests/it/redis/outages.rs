//! Redis goes, freezes, fills up and comes back.

use std::time::{Duration, Instant};

use mcp_serve::{
    redis::{Again, Deadlines, RedisError},
    test_util::RedisServer,
};
use redis::cmd;

use super::{connect, wait};
use crate::log::log;

/// The default deadline of a request and a margin for a machine with much to do.
const BOUND: Duration = Duration::from_millis(2500);

#[tokio::test]
async fn after_a_restart_requests_succeed_within_two_seconds() {
    let mut server = RedisServer::start().await;
    let redis = connect(&server.url());
    let ping = cmd("PING");
    redis.command::<String>(&ping, Again::Safe).await.unwrap();
    server.kill();
    wait(&redis, false).await;
    server.revive().await;
    let back = Instant::now();
    wait(&redis, true).await;
    redis.command::<String>(&ping, Again::Safe).await.unwrap();
    assert!(
        back.elapsed() < Duration::from_secs(2),
        "{:?}",
        back.elapsed()
    );
}

#[tokio::test]
async fn a_short_interruption_is_waited_out_by_what_may_be_sent_again() {
    let server = RedisServer::start().await;
    let redis = connect(&server.url());
    let ping = cmd("PING");
    redis.command::<String>(&ping, Again::Safe).await.unwrap();
    for _ in 0..5 {
        server.cli(&["CLIENT", "KILL", "TYPE", "normal"]).await;
        redis.command::<String>(&ping, Again::Safe).await.unwrap();
        assert!(redis.is_up());
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_as_soon_as_it_stands_is_not_made_again_at_once() {
    let server = RedisServer::start().await;
    let redis = connect(&server.url());
    wait(&redis, true).await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut killer = client.get_multiplexed_async_connection().await.unwrap();
    let begun = Instant::now();
    let mut cuts: u32 = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        let mut kill = cmd("CLIENT");
        kill.arg("KILL").arg("TYPE").arg("normal");
        cuts += kill.query_async::<u32>(&mut killer).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The first at once, and then no sooner than the pause allows.
    assert!((1..=22).contains(&cuts), "{cuts} in two seconds");
    wait(&redis, true).await;
    redis
        .command::<String>(&cmd("PING"), Again::Safe)
        .await
        .unwrap();
}

#[tokio::test]
async fn redis_is_away_before_the_last_of_many_silent_sentinels_was_asked() {
    // It takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let redis = connect(&format!(
        "redis+sentinel://{}/main",
        [silent.as_str(); 60].join(",")
    ));
    super::reason(&redis, "no answer in time").await;
    let begun = Instant::now();
    let answer = redis.command::<String>(&cmd("PING"), Again::Safe).await;
    assert_eq!(answer, Err(RedisError::Unavailable));
    assert!(
        begun.elapsed() < Duration::from_millis(200),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_script_that_is_sent_whole_has_no_more_time_than_any() {
    let server = RedisServer::start().await;
    let second = Duration::from_secs(1);
    let deadlines = Deadlines {
        attempt: second,
        request: second,
        connect: second,
    };
    let settings = super::settings(&server.url()).with_deadlines(deadlines);
    let redis = mcp_serve::redis::Redis::new(settings).unwrap();
    wait(&redis, true).await;
    // That it is not known is said late, and it takes long.
    let slow = mcp_serve::redis::Script::new(
        "local start = redis.call('TIME') repeat local now = redis.call('TIME') \
         until (now[1] - start[1]) * 1000 + (now[2] - start[2]) / 1000 > 900 return 1",
    );
    server.cli(&["CLIENT", "PAUSE", "700", "ALL"]).await;
    let begun = Instant::now();
    let answer = redis.eval::<u32>(&slow.call(), Again::Safe).await;
    assert_eq!(answer, Err(RedisError::Unavailable));
    assert!(
        begun.elapsed() < second + second / 2,
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn while_redis_is_away_nothing_waits_and_the_log_has_one_line() {
    let (lines, _guard) = log();
    let mut server = RedisServer::start().await;
    let redis = connect(&server.url());
    wait(&redis, true).await;
    server.kill();
    wait(&redis, false).await;
    let asked = Instant::now();
    for _ in 0..1000 {
        let answer = redis.command::<()>(&cmd("PING"), Again::Safe).await;
        assert_eq!(answer, Err(RedisError::Unavailable));
    }
    assert!(
        asked.elapsed() < Duration::from_secs(1),
        "{:?}",
        asked.elapsed()
    );
    // Some more tries to connect, all with the same outcome.
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.revive().await;
    wait(&redis, true).await;
    let text = lines.text();
    assert_eq!(text.matches("Redis is away").count(), 1, "{text}");
    assert_eq!(text.matches("Redis is back").count(), 1, "{text}");
}

#[tokio::test]
async fn a_frozen_server_holds_nobody_up_and_is_found_when_it_goes_on() {
    let server = RedisServer::start().await;
    let redis = connect(&server.url());
    wait(&redis, true).await;
    server.pause();
    let asked = Instant::now();
    let calls = (0..20).map(|n| {
        let redis = redis.clone();
        let again = if n % 2 == 0 {
            Again::Safe
        } else {
            Again::Never
        };
        async move {
            let begun = Instant::now();
            let answer = redis.command::<String>(&cmd("PING"), again).await;
            assert_eq!(answer, Err(RedisError::Unavailable));
            begun.elapsed()
        }
    });
    let slowest = futures_util::future::join_all(calls)
        .await
        .into_iter()
        .max();
    assert!(slowest < Some(BOUND), "{slowest:?}");
    wait(&redis, false).await;
    assert!(
        asked.elapsed() < BOUND + Duration::from_secs(1),
        "{:?}",
        asked.elapsed()
    );
    assert!(
        redis.trouble().unwrap().contains("in time"),
        "{:?}",
        redis.trouble()
    );
    let begun = Instant::now();
    let answer = redis.command::<String>(&cmd("PING"), Again::Safe).await;
    assert_eq!(answer, Err(RedisError::Unavailable));
    assert!(
        begun.elapsed() < Duration::from_millis(200),
        "{:?}",
        begun.elapsed()
    );
    server.resume();
    let resumed = Instant::now();
    wait(&redis, true).await;
    redis
        .command::<String>(&cmd("PING"), Again::Safe)
        .await
        .unwrap();
    assert!(resumed.elapsed() < BOUND, "{:?}", resumed.elapsed());
}

#[tokio::test]
async fn what_may_not_be_sent_again_is_sent_once() {
    let server = RedisServer::start().await;
    let deadlines = Deadlines {
        attempt: Duration::from_millis(200),
        request: Duration::from_secs(1),
        ..Deadlines::default()
    };
    let settings = super::settings(&server.url()).with_deadlines(deadlines);
    let redis = mcp_serve::redis::Redis::new(settings).unwrap();
    wait(&redis, true).await;
    // It runs on in the server after the answer is given up.
    let slow = mcp_serve::redis::Script::new(
        "local start = redis.call('TIME') local n = redis.call('INCR', KEYS[1]) repeat local now = \
         redis.call('TIME') until (now[1] - start[1]) * 1000 + (now[2] - start[2]) / 1000 > 300 \
         return n",
    );
    for (key, again, times) in [("once", Again::Never, 1), ("again", Again::Safe, 2)] {
        // The script is known.
        let call = slow.call().key(redis.key("known"));
        let _ = redis.eval::<u32>(&call, Again::Never).await;
        wait(&redis, true).await;
        server.cli(&["PING"]).await;
        let call = slow.call().key(redis.key(key));
        let answer = redis.eval::<u32>(&call, again).await;
        assert_eq!(answer, Err(RedisError::Unavailable));
        server.cli(&["PING"]).await;
        let count: u32 = server.cli(&["GET", &redis.key(key)]).await.parse().unwrap();
        assert!(count == times || count > 1 && times > 1, "{key}: {count}");
    }
}

#[tokio::test]
async fn five_failures_in_a_row_mean_that_redis_is_away_and_five_in_all_do_not() {
    let server = RedisServer::start().await;
    let redis = connect(&server.url());
    let mut watch = redis.watch();
    watch.wait_for(|up| *up).await.unwrap();
    // Whether it is there is answered, and no write is taken.
    let wanted = ["CONFIG", "SET", "min-replicas-to-write"];
    server.cli(&[&wanted[..], &["1"]].concat()).await;
    let set = cmd("SET").arg(redis.key("x")).arg(1).clone();
    for in_a_row in [false, true] {
        // Each is three failures.
        for _ in 0..3 {
            assert!(in_a_row || !watch.has_changed().unwrap());
            let answer = redis.command::<()>(&set, Again::Never).await;
            assert_eq!(answer, Err(RedisError::Unavailable));
            let ping = cmd("PING");
            if !in_a_row {
                redis.command::<String>(&ping, Again::Safe).await.unwrap();
            }
        }
    }
    assert!(watch.has_changed().unwrap());
    server.cli(&[&wanted[..], &["0"]].concat()).await;
    wait(&redis, true).await;
    redis.command::<()>(&set, Again::Safe).await.unwrap();
}

#[tokio::test]
async fn a_full_server_refuses_writes_and_is_not_away() {
    let server = RedisServer::with(&["maxmemory 1mb", "maxmemory-policy noeviction"]).await;
    let redis = connect(&server.url());
    let set = cmd("SET")
        .arg(redis.key("x"))
        .arg("x".repeat(100_000))
        .clone();
    let mut refused = None;
    for _ in 0..20 {
        let answer = redis.command::<()>(&set, Again::Safe).await;
        refused = refused.or(answer.err());
    }
    assert!(
        matches!(&refused, Some(RedisError::Refused(why)) if why.starts_with("OOM")),
        "{refused:?}"
    );
    assert!(redis.is_up());
}
