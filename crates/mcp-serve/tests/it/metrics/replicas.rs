//! What is counted of what others do: Redis, other replicas, and the files of a certificate.

use std::{sync::Arc, time::Duration};

use axum::Router;
use mcp_serve::{
    Config,
    events::{Change, Event, Events as _, RedisEvents},
    limit::{Budget, Caller, Class, Limiter as _, RedisLimiter},
    metrics::Metrics,
    redis::{Again, Redis, Settings},
    session::{self, RedisSessions},
    test_util::{RedisServer, Samples, TestServer},
};

use crate::edge::start;

/// A server that counts in the metrics of its connection to `server`.
async fn replica(server: &RedisServer) -> (TestServer, Redis, Arc<RedisEvents>) {
    let metrics = Metrics::default();
    let settings = Settings::parse(&server.url()).unwrap();
    let redis = Redis::measured(settings, &metrics).unwrap();
    redis.watch().wait_for(|up| *up).await.unwrap();
    let events = Arc::new(RedisEvents::new(redis.clone()));
    events.hears().wait_for(|hears| *hears).await.unwrap();
    let limits = session::Limits {
        observer: metrics.session_observer(),
        ..session::Limits::default()
    };
    let config = Config {
        metrics,
        events: events.clone(),
        sessions: Arc::new(RedisSessions::new(redis.clone(), limits, Duration::ZERO)),
        checks: vec![Arc::new(redis.check(false)), events.clone()],
        ..Config::default()
    };
    (start(Router::new(), config).await, redis, events)
}

#[tokio::test]
async fn redis_is_up_or_down_and_its_failures_have_a_kind() {
    let mut server = RedisServer::start().await;
    let (one, redis, _) = replica(&server).await;
    let up = "mcp_dependency_up{dependency=\"redis\"}";
    let calls = "mcp_dependency_duration_seconds_count{dependency=\"redis\"}";
    let is_up = |now: &Samples| now.get(up) > 0.5 && now.get(calls) > 0.5;
    let now = Samples::until(one.addr(), "Redis is up", is_up).await;
    assert!(
        !now.text.contains("mcp_dependency_errors_total"),
        "{}",
        now.text
    );

    let mut wrong = redis::cmd("NO-SUCH-COMMAND");
    wrong.arg("of a note");
    redis.command::<()>(&wrong, Again::Safe).await.unwrap_err();
    let refused = "mcp_dependency_errors_total{dependency=\"redis\",kind=\"refused\"}";
    let now = Samples::of(one.addr()).await;
    assert!((now.get(refused) - 1.0).abs() < 0.1, "{}", now.text);

    server.kill();
    let is_down = |now: &Samples| now.text.contains(&format!("\n{up} 0\n"));
    Samples::until(one.addr(), "Redis is down", is_down).await;
    let away = "mcp_dependency_errors_total{dependency=\"redis\",kind=\"away\"}";
    // The sessions are counted every second, so somebody asks.
    Samples::until(one.addr(), "calls fail", |now| now.get(away) > 0.5).await;
    server.revive().await;
    Samples::until(one.addr(), "Redis is back", |now| now.get(up) > 0.5).await;
}

#[tokio::test]
async fn what_another_replica_says_is_heard_after_some_time_or_missed() {
    let mut server = RedisServer::start().await;
    let (one, _, ears) = replica(&server).await;
    let (other, _, mouth) = replica(&server).await;
    let (heard, missed) = ("mcp_event_delay_seconds_count", "mcp_events_missed_total");
    let before = Samples::of(one.addr()).await;
    assert!(before.get(heard) < 0.5 && before.get(missed) < 0.5);
    mouth.publish(Event {
        audience: None,
        change: Change::Tools,
    });
    let now = Samples::until(one.addr(), "it is heard", |now| now.get(heard) > 0.5).await;
    assert!(now.get("mcp_event_delay_seconds_sum") < 10.0);
    let own = Samples::of(other.addr()).await;
    assert!(
        own.get(heard) < 0.5,
        "what a replica says itself has no way to go"
    );

    server.kill();
    ears.hears().wait_for(|hears| !*hears).await.unwrap();
    server.revive().await;
    Samples::until(one.addr(), "it may have missed something", |now| {
        now.get(missed) > 0.5
    })
    .await;
}

#[tokio::test]
async fn replicas_count_the_same_sessions_and_each_the_ends_that_it_saw() {
    let server = RedisServer::start().await;
    let (one, _, _) = replica(&server).await;
    let (other, _, _) = replica(&server).await;
    let open = "mcp_active_sessions{store=\"redis\"}";
    let legacy = one.legacy("2025-11-25").await;
    for replica in [&one, &other] {
        Samples::until(replica.addr(), "it is open", |now| now.get(open) > 0.5).await;
    }
    assert_eq!(legacy.at(other.addr()).delete().await.unwrap(), 204);
    for replica in [&one, &other] {
        Samples::until(replica.addr(), "it ended", |now| now.get(open) < 0.5).await;
    }
    let ends = "mcp_session_duration_seconds_count";
    let seen = Samples::of(other.addr()).await.get(ends);
    assert!((seen - 1.0).abs() < 0.1);
    assert!(Samples::of(one.addr()).await.get(ends) < 0.5);
}

#[tokio::test]
async fn a_limiter_that_decides_alone_says_so() {
    let mut server = RedisServer::start().await;
    let settings = Settings::parse(&server.url()).unwrap();
    let redis = Redis::new(settings).unwrap();
    redis.watch().wait_for(|up| *up).await.unwrap();
    let limiter = RedisLimiter::new(redis);
    let caller = Caller::at([192, 0, 2, 1].into());
    let budget = Budget::new(1, Duration::from_hours(1)).unwrap();
    assert!(!limiter.take(&caller, Class::Read, budget, 1).await.is_alone);
    server.kill();
    assert!(limiter.take(&caller, Class::Read, budget, 1).await.is_alone);
}
