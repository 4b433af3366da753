//! Redis with sentinels and as a cluster, while its servers change places.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use mcp_serve::{
    redis::{Again, Redis, Script},
    test_util::{RedisCluster, RedisSentinel, RedisServer},
};
use redis::cmd;
use tokio::time::{sleep, timeout};

use super::{connect, wait};

/// Longer than a failover may take.
const FAILOVER: Duration = Duration::from_secs(30);

async fn set(redis: &Redis, key: &str, value: u32) -> bool {
    let set = cmd("SET").arg(key).arg(value).arg("EX").arg(600).clone();
    let asked = Instant::now();
    let done = redis.command::<()>(&set, Again::Safe).await.is_ok();
    assert!(
        asked.elapsed() < Duration::from_secs(3),
        "{:?}",
        asked.elapsed()
    );
    done
}

async fn get(redis: &Redis, key: &str) -> Option<u32> {
    let get = cmd("GET").arg(key).clone();
    redis.command(&get, Again::Safe).await.unwrap()
}

/// Sets `key` until that succeeds; the time that it took.
async fn set_at_last(redis: &Redis, key: &str, value: u32) -> Duration {
    let begun = Instant::now();
    while !set(redis, key, value).await {
        assert!(begun.elapsed() < FAILOVER, "{:?}", redis.trouble());
        sleep(Duration::from_millis(50)).await;
    }
    begun.elapsed()
}

#[tokio::test]
async fn sentinels_are_asked_again_when_the_primary_is_lost_or_changed() {
    let mut group = RedisSentinel::start().await;
    let redis = connect(&group.url());
    let key = redis.key("x");
    wait(&redis, true).await;
    assert!(set(&redis, &key, 1).await);
    group.servers[0].cli(&["WAIT", "2", "5000"]).await;
    let mut heard = redis.subscribe(&["mcp:events".to_owned()]).await.unwrap();
    group.servers[0].kill();
    set_at_last(&redis, &key, 2).await;
    let primary = group.primary().await;
    assert_ne!(primary, 0);
    assert_eq!(group.servers[primary].cli(&["GET", &key]).await, "2");
    assert_eq!(timeout(FAILOVER, heard.next()).await.unwrap(), None);
    let unknown = connect(&group.url().replace("/main", "/other"));
    super::reason(&unknown, "know no primary called other").await;
    silent_sentinels_are_passed_over(&group, &key).await;
}

/// However many they are; and the one that answered is asked first from then on.
async fn silent_sentinels_are_passed_over(group: &RedisSentinel, key: &str) {
    let silent: Vec<_> = (0..8)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let silent_at = silent.iter().map(|it| it.local_addr().unwrap().to_string());
    let silent_at: Vec<_> = silent_at.collect();
    let all = format!("://{},", silent_at.join(","));
    let url = group.url().replacen("://", &all, 1);
    let redis = connect(&url);
    wait(&redis, true).await;
    let primary = group.primary().await;
    for _ in 0..3 {
        let kill = ["CLIENT", "KILL", "TYPE", "normal"];
        group.servers[primary].cli(&kill).await;
        let found = set_at_last(&redis, key, 3).await;
        assert!(found < Duration::from_secs(3), "{found:?}");
    }
    // Where they name another one, it is used, although the old one still takes writes.
    let other = RedisServer::start().await;
    let (host, port) = (other.addr().ip().to_string(), other.addr().port());
    for sentinel in &group.sentinels {
        sentinel.cli(&["SENTINEL", "REMOVE", "main"]).await;
        let monitor = ["SENTINEL", "MONITOR", "main", &host, &port.to_string(), "2"];
        sentinel.cli(&monitor).await;
    }
    let begun = Instant::now();
    while other.cli(&["GET", key]).await != "4" {
        set(&redis, key, 4).await;
        assert!(begun.elapsed() < FAILOVER, "{:?}", redis.trouble());
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_cluster_is_used_across_slots_through_moves_and_the_loss_of_a_primary() {
    let mut cluster = RedisCluster::start().await;
    let redis = connect(&cluster.url());
    wait(&redis, true).await;
    let script = Script::new(
        "redis.call('SET', KEYS[1], ARGV[1], 'EX', 600) return redis.call('GET', KEYS[2])",
    );
    for n in 0..50_u32 {
        let tag = redis.key(&format!("{{{n}}}"));
        let call = script
            .call()
            .key(format!("{tag}:a"))
            .key(format!("{tag}:a"))
            .arg(n);
        assert_eq!(redis.eval::<u32>(&call, Again::Never).await, Ok(n));
    }
    let heard = redis.subscribe(&["mcp:events".to_owned()]).await;
    let mut heard = heard.unwrap();
    let publish = cmd("PUBLISH").arg("mcp:events").arg("one").clone();
    redis.command::<u32>(&publish, Again::Never).await.unwrap();
    let message = timeout(FAILOVER, heard.next()).await.unwrap().unwrap();
    assert_eq!(message.payload, b"one");
    // Each at another node: of one that the cluster has lost, nothing would be heard.
    let beside = redis.subscribe(&["mcp:events".to_owned()]).await.unwrap();
    let mut nodes_heard_at = 0;
    for node in &cluster.nodes {
        let heard_by = node.cli(&["PUBSUB", "NUMSUB", "mcp:events"]).await;
        nodes_heard_at += u32::from(heard_by.ends_with('1'));
    }
    assert_eq!(nodes_heard_at, 2);
    drop(beside);
    a_slot_moves(&cluster, &redis).await;
    let key = redis.key("{lost}");
    assert!(set(&redis, &key, 1).await);
    let owner = cluster.owner(&key, 0).await;
    cluster.nodes[owner].cli(&["WAIT", "1", "5000"]).await;
    cluster.nodes[owner].kill();
    set_at_last(&redis, &key, 2).await;
    assert_eq!(get(&redis, &key).await, Some(2));
    for n in 0..50_u32 {
        let key = redis.key(&format!("{{{n}}}:a"));
        set_at_last(&redis, &key, n).await;
        assert_eq!(get(&redis, &key).await, Some(n));
    }
}

/// Calls follow a slot while it moves (ASK) and after it has (MOVED).
async fn a_slot_moves(cluster: &RedisCluster, redis: &Redis) {
    let key = redis.key("{moved}");
    assert!(set(redis, &key, 7).await);
    let from = cluster.owner(&key, 0).await;
    let to = (from + 1) % 3;
    let slot = cluster.nodes[0].cli(&["CLUSTER", "KEYSLOT", &key]).await;
    let (source, target) = (cluster.id(from).await, cluster.id(to).await);
    let setslot = |node: usize, what: &'static str, id: String| {
        let slot = slot.clone();
        async move {
            cluster.nodes[node]
                .cli(&["CLUSTER", "SETSLOT", &slot, what, &id])
                .await
        }
    };
    setslot(to, "IMPORTING", source).await;
    setslot(from, "MIGRATING", target.clone()).await;
    let address = cluster.nodes[to].addr();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let migrate = ["MIGRATE", &host, &port, &key, "0", "5000"];
    cluster.nodes[from].cli(&migrate).await;
    assert_eq!(get(redis, &key).await, Some(7));
    for node in [to, from, 3 - from - to] {
        setslot(node, "NODE", target.clone()).await;
    }
    assert_eq!(get(redis, &key).await, Some(7));
    assert!(set(redis, &key, 8).await);
    assert_eq!(cluster.nodes[to].cli(&["GET", &key]).await, "8");
}
