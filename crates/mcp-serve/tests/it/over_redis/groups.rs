//! Limits and changes while the servers of Redis change places.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mcp_serve::{
    events::{Events as _, Received, Subscription},
    limit::{Caller, Class, Limiter as _, RedisLimiter},
    test_util::{RedisCluster, RedisSentinel},
};

use super::{
    events::{self, hear_each_other_again},
    limits::{self, all_count_together, budget, know_each_other, passes},
};

/// Longer than a failover may take.
const FAILOVER: Duration = Duration::from_secs(30);

fn named(name: &str) -> Caller {
    Caller::Principal(name.into())
}

/// All of `tails` are told that something was missed.
async fn all_missed(tails: &mut [Box<dyn Subscription>]) {
    for tail in tails {
        while events::next(tail).await != Received::Missed {}
    }
}

/// While servers change places: nobody waits long, and nobody is kept out or gets much more than
/// before. Ends when `limiter` counts with the others again.
async fn are_bounded_until_all_is_well(limiters: &[Arc<RedisLimiter>], caller: &Caller) {
    let (begun, mut passed) = (Instant::now(), 0);
    loop {
        let before: u64 = limiters.iter().map(|it| it.local_decisions()).sum();
        for limiter in limiters {
            let asked = Instant::now();
            let decision = limiter.take(caller, Class::Read, budget(100), 1).await;
            assert!(
                asked.elapsed() < Duration::from_secs(1),
                "{:?}",
                asked.elapsed()
            );
            passed += usize::from(decision.is_allowed());
        }
        // The first ones pass, whoever counts.
        assert!(passed > 0);
        let after: u64 = limiters.iter().map(|it| it.local_decisions()).sum();
        if after == before && before > 0 {
            break;
        }
        assert!(begun.elapsed() < FAILOVER, "it does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!((1..=202).contains(&passed), "{passed}");
}

#[tokio::test]
async fn when_sentinels_name_another_primary_limits_hold_and_the_loss_is_made_good() {
    let mut group = RedisSentinel::start().await;
    let limiters = limits::replicas_at(&group.url(), 3).await;
    let replicas = events::replicas_at(&group.url(), 3).await;
    let mut tails: Vec<_> = replicas.iter().map(|it| it.subscribe()).collect();
    know_each_other(&limiters).await;
    assert_eq!(passes(&limiters, &named("ann"), 120).await, 100);
    group.servers[0].cli(&["WAIT", "2", "5000"]).await;
    group.servers[0].kill();
    replicas[0].publish(events::event(3));
    are_bounded_until_all_is_well(&limiters, &named("bo")).await;
    assert_ne!(group.primary().await, 0);
    // What was owed is owed to the new one too.
    assert_eq!(passes(&limiters, &named("ann"), 9).await, 0);
    all_count_together(&limiters, &named("cy")).await;
    all_missed(&mut tails).await;
    hear_each_other_again(&replicas, &mut tails).await;
}

/// The primary that counts for `caller`, who asks for the first time.
async fn counts(cluster: &RedisCluster, limiter: &RedisLimiter, caller: &Caller) -> usize {
    let keys = async |node: usize| cluster.nodes[node].cli(&["KEYS", "*mcp_rate_limit*"]).await;
    let before = [keys(0).await, keys(1).await, keys(2).await];
    limiter.take(caller, Class::Read, budget(100), 1).await;
    for (node, before) in before.iter().enumerate() {
        if keys(node).await != *before {
            return node;
        }
    }
    panic!("nobody counts")
}

#[tokio::test]
async fn when_a_cluster_loses_a_primary_limits_hold_and_the_loss_is_made_good() {
    let mut cluster = RedisCluster::start().await;
    let limiters = limits::replicas_at(&cluster.url(), 3).await;
    let replicas = events::replicas_at(&cluster.url(), 3).await;
    let mut tails: Vec<_> = replicas.iter().map(|it| it.subscribe()).collect();
    know_each_other(&limiters).await;
    // Two whom the first node counts, where changes are heard too.
    let mut there = Vec::new();
    for number in 0..100 {
        let caller = named(&number.to_string());
        if counts(&cluster, &limiters[0], &caller).await == 0 {
            there.push(caller);
        }
        if there.len() == 2 {
            break;
        }
    }
    assert_eq!(passes(&limiters, &there[0], 120).await, 99);
    cluster.nodes[0].cli(&["WAIT", "1", "5000"]).await;
    cluster.nodes[0].kill();
    replicas[0].publish(events::event(3));
    are_bounded_until_all_is_well(&limiters, &there[1]).await;
    assert_eq!(passes(&limiters, &there[0], 9).await, 0);
    all_count_together(&limiters, &named("cy")).await;
    all_missed(&mut tails).await;
    hear_each_other_again(&replicas, &mut tails).await;
}
