//! Several servers that are one Redis: with sentinels, or as a cluster.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{PATIENCE, RedisServer, own_host};

/// The first of the ports of a group; its host is its own. They are not among those that the system
/// hands out.
const PORT: u16 = 17_000;
/// What the sentinels call the primary.
const NAME: &str = "main";
/// A server that is silent for so long is down.
const DOWN_AFTER_MS: u16 = 1000;

/// A primary, two replicas and three sentinels.
#[derive(Debug)]
pub struct RedisSentinel {
    /// The servers; the first one is the primary at first.
    pub servers: Vec<RedisServer>,
    /// Who watches them.
    pub sentinels: Vec<RedisServer>,
}

/// A cluster of three primaries with a replica each.
#[derive(Debug)]
pub struct RedisCluster {
    /// The nodes; the first three are the primaries at first.
    pub nodes: Vec<RedisServer>,
}

impl RedisSentinel {
    /// Starts all, and waits until the sentinels know each other and the replicas.
    pub async fn start() -> Self {
        let host = own_host();
        let primary = format!("replicaof {host} {PORT}");
        // Others would see the address from which it connects.
        let announced = format!("replica-announce-ip {host}");
        let mut servers = Vec::new();
        for n in 0..3 {
            let lines = [announced.as_str(), primary.as_str()];
            let lines = if n == 0 { &lines[..1] } else { &lines };
            servers.push(member(SocketAddr::from((host, PORT + n)), lines, &[]).await);
        }
        let watched = [
            format!("sentinel announce-ip {host}"),
            format!("sentinel monitor {NAME} {host} {PORT} 2"),
            format!("sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}"),
            format!("sentinel failover-timeout {NAME} 5000"),
        ];
        let watched: Vec<_> = watched.iter().map(String::as_str).collect();
        let mut sentinels = Vec::new();
        for n in 0..3 {
            let address = SocketAddr::from((host, PORT + 100 + n));
            sentinels.push(member(address, &watched, &["--sentinel"]).await);
        }
        let group = Self { servers, sentinels };
        group.wait(2).await;
        group
    }

    /// `redis+sentinel://HOST:PORT,HOST:PORT,HOST:PORT/main`.
    pub fn url(&self) -> String {
        format!("redis+sentinel://{}/{NAME}", addresses(&self.sentinels))
    }

    /// The server that the sentinels call the primary.
    pub async fn primary(&self) -> usize {
        let asked = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME];
        let found = self.sentinels[0].cli(&asked).await.replace('\n', ":");
        let mut servers = self.servers.iter();
        let found = servers.position(|it| it.addr().to_string() == found);
        found.expect("a server of the group")
    }

    /// Waits until each sentinel knows the two others and `replicas` replicas that work.
    async fn wait(&self, replicas: usize) {
        let wanted = format!("slaves={replicas},sentinels=3");
        for sentinel in &self.sentinels {
            until(&wanted, || async {
                sentinel.cli(&["INFO", "sentinel"]).await
            })
            .await;
        }
        for server in &self.servers[1..] {
            until("master_link_status:up", || async {
                server.cli(&["INFO", "replication"]).await
            })
            .await;
        }
    }
}

impl RedisCluster {
    /// Starts all, and waits until each serves.
    pub async fn start() -> Self {
        let host = own_host();
        let mut nodes = Vec::new();
        for n in 0..6 {
            let announced = format!("cluster-announce-ip {host}");
            let lines = [
                announced.as_str(),
                "cluster-enabled yes",
                "cluster-node-timeout 2000",
                "cluster-require-full-coverage no",
                "cluster-replica-validity-factor 0",
            ];
            nodes.push(member(SocketAddr::from((host, PORT + n)), &lines, &[]).await);
        }
        let cluster = Self { nodes };
        let addresses = addresses(&cluster.nodes);
        let mut arguments = vec!["--cluster", "create"];
        arguments.extend(addresses.split(','));
        arguments.extend(["--cluster-replicas", "1", "--cluster-yes"]);
        cluster.nodes[0].cli(&arguments).await;
        for node in &cluster.nodes {
            until("cluster_state:ok", || async {
                node.cli(&["CLUSTER", "INFO"]).await
            })
            .await;
        }
        for node in &cluster.nodes[3..] {
            until("master_link_status:up", || async {
                node.cli(&["INFO", "replication"]).await
            })
            .await;
        }
        cluster
    }

    /// `redis+cluster://HOST:PORT,...` with all nodes.
    pub fn url(&self) -> String {
        format!("redis+cluster://{}", addresses(&self.nodes))
    }

    /// The primary that has the slot of `key`, as the node `asked` sees it.
    pub async fn owner(&self, key: &str, asked: usize) -> usize {
        let slot = self.nodes[asked].cli(&["CLUSTER", "KEYSLOT", key]).await;
        let slot: u16 = slot.parse().expect("a slot");
        let known = self.nodes[asked].cli(&["CLUSTER", "NODES"]).await;
        let owner = known.lines().find(|line| {
            let mut words = line.split(' ').skip(8);
            line.contains("master") && !line.contains("fail") && words.any(|slots| has(slots, slot))
        });
        let owner = owner.expect("an owner");
        let mut nodes = self.nodes.iter();
        let found = nodes.position(|node| owner.contains(&format!(" {}@", node.addr())));
        found.expect("a node of the cluster")
    }

    /// The name of a node within the cluster.
    pub async fn id(&self, node: usize) -> String {
        self.nodes[node].cli(&["CLUSTER", "MYID"]).await
    }
}

/// Whether `slots`, such as `0-5460` or `7`, contains `slot`.
fn has(slots: &str, slot: u16) -> bool {
    let (from, to) = slots.split_once('-').unwrap_or((slots, slots));
    let (from, to) = (from.parse::<u16>(), to.parse::<u16>());
    matches!((from, to), (Ok(from), Ok(to)) if (from..=to).contains(&slot))
}

async fn member(
    address: SocketAddr,
    lines: &[&str],
    arguments: &'static [&'static str],
) -> RedisServer {
    let port = format!("port {}", address.port());
    let lines = [&[port.as_str()], lines].concat();
    RedisServer::launch(address, None, &lines, arguments).await
}

fn addresses(servers: &[RedisServer]) -> String {
    let addresses: Vec<_> = servers.iter().map(|it| it.addr().to_string()).collect();
    addresses.join(",")
}

/// Asks until the answer contains `wanted`.
async fn until<F: Future<Output = String>>(wanted: &str, ask: impl Fn() -> F) {
    let end = Instant::now() + PATIENCE * 2;
    loop {
        let answer = ask().await;
        if answer.contains(wanted) {
            return;
        }
        assert!(Instant::now() < end, "{wanted}: {answer}");
        sleep(Duration::from_millis(50)).await;
    }
}
