//! Budgets that several replicas count together, and what each does while they cannot.

use std::{sync::Arc, time::Duration, time::Instant};

use futures_util::future::join_all;
use mcp_serve::{
    Config,
    health::Check as _,
    limit::{Budget, Budgets, ByClass, Caller, Class, Limiter as _, RedisLimiter},
    redis::{Again, Redis, Settings},
    test_util::RedisServer,
};
use serde_json::{Value, json};

use super::{PATIENCE, connected, connected_to, until};
use crate::transport::probe;

/// A budget that does not fill while a test runs.
pub(super) fn budget(burst: u32) -> Budget {
    Budget::new(burst, Duration::from_hours(1)).unwrap()
}

fn ann() -> Caller {
    Caller::Principal("https://issuer.example ann".into())
}

async fn replicas(server: &RedisServer, count: usize) -> Vec<Arc<RedisLimiter>> {
    replicas_at(&server.url(), count).await
}

pub(super) async fn replicas_at(url: &str, count: usize) -> Vec<Arc<RedisLimiter>> {
    let mut limiters = Vec::new();
    for _ in 0..count {
        limiters.push(Arc::new(RedisLimiter::new(connected_to(url).await)));
    }
    limiters
}

/// How many of `count` requests, spread over `limiters`, pass.
pub(super) async fn passes(limiters: &[Arc<RedisLimiter>], caller: &Caller, count: usize) -> usize {
    let mut passed = 0;
    for limiter in limiters.iter().cycle().take(count) {
        let decision = limiter.take(caller, Class::Read, budget(100), 1).await;
        passed += usize::from(decision.is_allowed());
    }
    passed
}

async fn ask<T: redis::FromRedisValue>(redis: &Redis, words: &[&str]) -> T {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    redis.command(&command, Again::Safe).await.unwrap()
}

#[tokio::test]
async fn of_a_hundred_over_three_replicas_the_next_is_refused_on_each() {
    let server = RedisServer::start().await;
    let limiters = replicas(&server, 3).await;
    for number in 0..100 {
        let limiter = &limiters[number % 3];
        let decision = limiter.take(&ann(), Class::Read, budget(100), 1).await;
        let left = decision.remaining.map(|left| left as usize);
        assert_eq!(left, Some(99 - number));
    }
    for limiter in &limiters {
        let refused = limiter.take(&ann(), Class::Read, budget(100), 1).await;
        assert!(!refused.is_allowed());
        assert!(refused.after > Duration::ZERO && refused.after <= Duration::from_secs(36));
        assert_eq!(limiter.local_decisions(), 0);
    }

    // All at once.
    let bo = Caller::at([192, 0, 2, 1].into());
    let asked = (0..300).map(|number| {
        let (limiter, bo) = (limiters[number % 3].clone(), bo.clone());
        tokio::spawn(async move { limiter.take(&bo, Class::Read, budget(100), 1).await })
    });
    let passed = join_all(asked).await.into_iter();
    assert_eq!(
        passed
            .filter(|it| it.as_ref().unwrap().is_allowed())
            .count(),
        100
    );
    assert!(limiters.iter().all(|it| it.local_decisions() == 0));
}

#[tokio::test]
async fn a_key_names_nobody_and_lives_as_long_as_something_is_owed() {
    let server = RedisServer::start().await;
    let limiters = replicas(&server, 1).await;
    let redis = connected(&server).await;
    let limiter = &limiters[0];
    let quick = Budget::new(2, Duration::from_secs(2)).unwrap();
    for caller in [ann(), Caller::at([192, 0, 2, 7].into())] {
        // What is not taken leaves nothing behind.
        limiter.take(&caller, Class::Write, quick, 0).await;
        assert!(
            !limiter
                .take(&caller, Class::Write, quick, 3)
                .await
                .is_allowed()
        );
    }
    let keys: Vec<String> = ask(&redis, &["KEYS", "*mcp_rate_limit*"]).await;
    assert_eq!(keys, Vec::<String>::new());

    assert!(
        limiter
            .take(&ann(), Class::Write, quick, 2)
            .await
            .is_allowed()
    );
    let keys: Vec<String> = ask(&redis, &["KEYS", "*mcp_rate_limit*"]).await;
    let [key] = &keys[..] else { panic!("{keys:?}") };
    assert!(
        key.starts_with("mcp:mcp_rate_limit:{") && key.ends_with("}:write"),
        "{key}"
    );
    assert!(!key.contains("ann"), "{key}");
    let (value, ttl): (String, i64) = (
        ask(&redis, &["GET", key]).await,
        ask(&redis, &["PTTL", key]).await,
    );
    assert!((1..=2000).contains(&ttl), "{ttl}");
    for _ in 0..50 {
        assert!(
            !limiter
                .take(&ann(), Class::Write, quick, 2)
                .await
                .is_allowed()
        );
    }
    assert_eq!(ask::<String>(&redis, &["GET", key]).await, value);
    until("the key is gone", async || {
        ask::<i64>(&redis, &["EXISTS", key]).await == 0
    })
    .await;
    assert!(
        limiter
            .take(&ann(), Class::Write, quick, 2)
            .await
            .is_allowed()
    );
    // Nor does anything else stay for ever.
    for key in ask::<Vec<String>>(&redis, &["KEYS", "*"]).await {
        assert!(ask::<i64>(&redis, &["PTTL", &key]).await > 0, "{key}");
    }
}

#[tokio::test]
async fn a_value_that_is_none_or_of_the_future_keeps_nobody_out() {
    let server = RedisServer::start().await;
    let limiters = replicas(&server, 1).await;
    let redis = connected(&server).await;
    let minute = Budget::new(10, Duration::from_mins(1)).unwrap();
    let caller = ann();
    let take = || limiters[0].take(&caller, Class::Read, minute, 1);
    take().await;
    let keys: Vec<String> = ask(&redis, &["KEYS", "*mcp_rate_limit*"]).await;
    ask::<()>(&redis, &["SET", &keys[0], "what", "PX", "60000"]).await;
    assert_eq!(take().await.remaining, Some(9));
    // As after a clock that was an hour ahead.
    ask::<()>(
        &redis,
        &["SET", &keys[0], "9999999999999999", "PX", "60000"],
    )
    .await;
    let refused = take().await;
    assert!(!refused.is_allowed() && refused.after <= Duration::from_secs(6));
    assert_eq!(limiters[0].local_decisions(), 0);
}

/// Each of three replicas gives its share, at once, and says that it does.
async fn each_gives_its_share(limiters: &[Arc<RedisLimiter>], caller: &Caller) {
    for limiter in limiters {
        let mut passed = 0;
        for _ in 0..100 {
            let asked = Instant::now();
            let decision = limiter.take(caller, Class::Read, budget(100), 1).await;
            passed += usize::from(decision.is_allowed());
            assert!(
                asked.elapsed() < Duration::from_secs(1),
                "{:?}",
                asked.elapsed()
            );
        }
        assert_eq!(passed, 34);
        assert!(limiter.is_local() && limiter.local_decisions() >= 100);
        let reason = limiter.check().await.unwrap_err();
        assert!(reason.starts_with("local"), "{reason}");
    }
}

/// All three count together again.
pub(super) async fn all_count_together(limiters: &[Arc<RedisLimiter>], caller: &Caller) {
    until("limits are shared again", async || {
        for limiter in limiters {
            let before = limiter.local_decisions();
            limiter
                .take(caller, Class::Search, budget(1_000_000), 1)
                .await;
            if limiter.local_decisions() > before || limiter.check().await.is_err() {
                return false;
            }
        }
        true
    })
    .await;
    assert_eq!(passes(limiters, caller, 120).await, 100);
}

pub(super) async fn know_each_other(limiters: &[Arc<RedisLimiter>]) {
    until("replicas know each other", async || {
        limiters
            .iter()
            .all(|it| it.replicas() as usize == limiters.len())
    })
    .await;
}

#[tokio::test]
async fn while_redis_is_gone_each_replica_gives_its_share_and_then_they_count_together() {
    let mut server = RedisServer::start().await;
    let limiters = replicas(&server, 3).await;
    know_each_other(&limiters).await;
    assert_eq!(passes(&limiters, &ann(), 120).await, 100);
    server.kill();
    // Whoever had nothing left has nothing now.
    assert_eq!(passes(&limiters, &ann(), 30).await, 0);
    let bo = Caller::Principal("bo".into());
    each_gives_its_share(&limiters, &bo).await;
    // A batch that the whole budget allows is not made impossible.
    let cy = Caller::Principal("cy".into());
    assert!(
        limiters[0]
            .take(&cy, Class::Read, budget(100), 80)
            .await
            .is_allowed()
    );
    assert!(
        !limiters[0]
            .take(&cy, Class::Read, budget(100), 101)
            .await
            .is_allowed()
    );
    server.revive().await;
    all_count_together(&limiters, &Caller::Principal("di".into())).await;
}

#[tokio::test]
async fn while_redis_stands_still_nobody_waits_long_or_is_kept_out() {
    let server = RedisServer::start().await;
    let limiters = replicas(&server, 3).await;
    know_each_other(&limiters).await;
    server.pause();
    each_gives_its_share(&limiters, &ann()).await;
    server.resume();
    all_count_together(&limiters, &Caller::Principal("bo".into())).await;
}

#[tokio::test]
async fn a_redis_that_is_full_keeps_nobody_out() {
    let server = RedisServer::start().await;
    let limiters = replicas(&server, 3).await;
    know_each_other(&limiters).await;
    let redis = connected(&server).await;
    ask::<()>(&redis, &["CONFIG", "SET", "maxmemory", "1"]).await;
    each_gives_its_share(&limiters, &ann()).await;
    ask::<()>(&redis, &["CONFIG", "SET", "maxmemory", "0"]).await;
    all_count_together(&limiters, &Caller::Principal("bo".into())).await;
}

#[tokio::test]
async fn what_was_taken_elsewhere_is_gone_here_too_when_redis_goes() {
    let mut server = RedisServer::start().await;
    let limiters = replicas(&server, 2).await;
    know_each_other(&limiters).await;
    for _ in 0..50 {
        limiters[0].take(&ann(), Class::Read, budget(100), 1).await;
    }
    // What it asks for tells the other, allowed or not.
    let refused = limiters[1].take(&ann(), Class::Read, budget(100), 60).await;
    assert!(!refused.is_allowed());
    server.kill();
    assert_eq!(passes(&limiters[1..], &ann(), 60).await, 25);
}

#[tokio::test]
async fn a_replica_that_has_heard_of_nobody_gives_the_whole_and_says_so() {
    let mut server = RedisServer::start().await;
    server.kill();
    let redis = Redis::new(Settings::parse(&server.url()).unwrap()).unwrap();
    let limiters = [Arc::new(RedisLimiter::new(redis))];
    assert_eq!(passes(&limiters, &ann(), 120).await, 100);
    let reason = limiters[0].check().await.unwrap_err();
    assert!(reason.contains("heard of no other"), "{reason}");
}

#[tokio::test]
async fn a_replica_that_is_gone_is_not_counted_for_long() {
    let server = RedisServer::start().await;
    let mut limiters = replicas(&server, 3).await;
    know_each_other(&limiters).await;
    limiters.truncate(2);
    know_each_other(&limiters).await;
}

/// So much of everything for everybody.
fn budgets(each: u32) -> Budgets {
    let each = Some(budget(each));
    let all = ByClass {
        read: each,
        write: each,
        search: each,
        session: each,
        control: each,
    };
    Budgets {
        anonymous: all.clone(),
        principal: all,
        auth_failure: each,
    }
}

#[tokio::test]
async fn a_batch_of_several_kinds_passes_at_the_share_when_the_whole_allows_it() {
    let mut server = RedisServer::start().await;
    let limiters = replicas(&server, 2).await;
    know_each_other(&limiters).await;
    let running = probe::start_with(|config| {
        config.limiter = limiters[0].clone();
        config.budgets = budgets(4);
    })
    .await;
    let older = running.server.legacy("2025-03-26").await;
    server.kill();
    let echo = json!({"name": "echo", "arguments": {}});
    let write =
        |id: u32| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": echo});
    let read = json!({"jsonrpc": "2.0", "id": 9, "method": "tools/list"});
    let batch = json!([read, write(1), write(2), write(3)]);
    assert_eq!(older.post(&batch).await.unwrap().status(), 200);
    let again = json!([read, write(4)]);
    assert_eq!(older.post(&again).await.unwrap().status(), 429);
}

#[tokio::test]
async fn two_servers_refuse_what_one_would_and_neither_refuses_all_without_redis() {
    let mut redis = RedisServer::start().await;
    let mut servers = Vec::new();
    for limiter in replicas(&redis, 2).await {
        let with = |config: &mut Config| {
            config.checks.push(limiter.clone());
            config.limiter = limiter;
            config.budgets = budgets(4);
        };
        servers.push(probe::start_with(with).await);
    }
    let write = ("tools/call", json!({"name": "echo", "arguments": {}}));
    let read = ("tools/list", json!({}));
    let statuses = async |(method, params): &(&str, Value), times: usize| {
        let mut statuses = Vec::new();
        for running in servers.iter().cycle().take(times) {
            let mut client = running.server.modern();
            let answer = client.call(method, params.clone()).await.unwrap();
            if answer.status() == 429 {
                assert_eq!(answer.error_code(), -32000);
                assert!(answer.head.header("retry-after").is_some());
                assert!(answer.head.header("ratelimit").is_some());
            }
            statuses.push(answer.status());
        }
        statuses
    };
    assert_eq!(statuses(&write, 6).await, [200, 200, 200, 200, 429, 429]);
    for running in &servers {
        // Probes cost nothing and are never refused.
        for path in ["/health", "/readyz", "/livez"] {
            let mut client = running.server.connect().await;
            assert_eq!(client.get(path).await.unwrap().status, 200);
        }
    }
    redis.kill();
    assert_eq!(statuses(&write, 2).await, [429, 429]);
    let local = statuses(&read, 6).await;
    let passed = local.iter().filter(|it| **it == 200).count();
    assert!((4..=6).contains(&passed), "{local:?}");
    until("the report says so", async || {
        let mut client = servers[0].server.connect().await;
        let report = client.get("/health").await.unwrap().json();
        let reason = report["checks"]["rate_limits"]["reason"].as_str();
        report["status"] == "degraded" && reason.is_some_and(|it| it.starts_with("local"))
    })
    .await;
    redis.revive().await;
    let end = Instant::now() + PATIENCE;
    while statuses(&write, 2).await != [429, 429] {
        // A killed Redis forgets what was owed, so the budget is full again first.
        assert!(Instant::now() < end);
    }
}
