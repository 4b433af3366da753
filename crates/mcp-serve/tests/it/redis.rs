//! The connection to Redis, with real servers: who asks, what is lost when they go, and that nothing
//! hangs.

mod groups;
mod outages;

use std::time::Duration;

use futures_util::StreamExt as _;
use mcp_serve::{
    health::Check as _,
    redis::{Again, Redis, RedisError, Script, Settings},
    test_util::RedisServer,
};
use redis::cmd;
use tokio::{io::AsyncWriteExt as _, time::timeout};

use super::log::log;

/// How long what should take a moment may take on a machine with much to do.
const PATIENCE: Duration = Duration::from_secs(20);

fn settings(url: &str) -> Settings {
    Settings::parse(url).unwrap()
}

fn connect(url: &str) -> Redis {
    Redis::new(settings(url)).unwrap()
}

/// Waits until Redis is up, or away.
async fn wait(redis: &Redis, up: bool) {
    let mut watch = redis.watch();
    let settled = timeout(PATIENCE, watch.wait_for(|now| *now == up)).await;
    settled
        .unwrap_or_else(|_| panic!("up: {up}; {:?}", redis.trouble()))
        .unwrap();
}

/// Waits until there is a reason for trouble that contains `words`.
async fn reason(redis: &Redis, words: &str) -> String {
    let found = timeout(PATIENCE, async {
        loop {
            match redis.trouble() {
                Some(why) if why.contains(words) => return why,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    });
    found
        .await
        .unwrap_or_else(|_| panic!("{words}: {:?}", redis.trouble()))
}

async fn info_of_client(redis: &Redis) -> String {
    let info = cmd("CLIENT").arg("INFO").clone();
    redis.command(&info, Again::Safe).await.unwrap()
}

#[tokio::test]
async fn user_password_database_and_prefix_reach_the_server() {
    let server = RedisServer::with(&["user mcp on >hunter2 ~mcp:* &mcp:* +@all"]).await;
    let url = server.url().replace("://", "://mcp:hunter2@");
    let redis = connect(&format!("{url}/3"));
    let info = info_of_client(&redis).await;
    for part in [" user=mcp ", " db=3 ", " resp=3"] {
        assert!(info.contains(part), "{part}: {info}");
    }
    let own = redis.key("a");
    assert_eq!(own, "mcp:a");
    let set = cmd("SET").arg(&own).arg(1).arg("PX").arg(60_000).clone();
    redis.command::<()>(&set, Again::Safe).await.unwrap();
    let foreign = cmd("GET").arg("other").clone();
    let refused = redis.command::<Option<String>>(&foreign, Again::Safe).await;
    assert!(
        matches!(&refused, Err(RedisError::Refused(why)) if why.starts_with("NOPERM")),
        "{refused:?}"
    );
    assert!(redis.subscribe(&[redis.key("events")]).await.is_ok());
    let refused = redis.subscribe(&["events".to_owned()]).await.unwrap_err();
    assert!(
        matches!(&refused, RedisError::Refused(why) if why.starts_with("NOPERM")),
        "{refused:?}"
    );
    let by_default = connect(&server.url());
    assert!(info_of_client(&by_default).await.contains(" user=default "));
    assert!(redis.check(true).check().await.is_ok());
}

#[tokio::test]
async fn a_wrong_password_is_a_reason_and_never_shown() {
    let (lines, guard) = log();
    let server = RedisServer::with(&["requirepass hunter2"]).await;
    let url = server.url();
    let without = connect(&url);
    reason(&without, "it wants a password").await;
    let wrong = connect(&url.replace("://", "://:hunter3@"));
    reason(&wrong, "it refuses the user or the password").await;
    let check = wrong.check(true);
    assert_eq!(check.name(), "redis");
    assert!(check.is_vital() && !wrong.check(false).is_vital());
    assert!(check.check().await.unwrap_err().contains("password"));
    let asked = wrong.command::<()>(&cmd("PING"), Again::Safe).await;
    assert_eq!(asked, Err(RedisError::Unavailable));
    let right = connect(&url.replace("://", "://:hunter2@"));
    right
        .command::<String>(&cmd("PING"), Again::Safe)
        .await
        .unwrap();
    assert!(right.is_up() && right.trouble().is_none());
    drop(guard);
    let shown = format!("{wrong:?} {right:#?} {}", lines.text());
    assert!(shown.contains("Redis is away") && shown.contains("Redis is connected"));
    assert!(!shown.contains("hunter"), "{shown}");
}

#[tokio::test]
async fn over_tls_the_certificate_must_be_from_the_authority() {
    let server = RedisServer::with_tls(&[]).await;
    let url = server.url();
    let trusting = settings(&url).with_authorities(server.authority().pem.clone().into());
    let redis = Redis::new(trusting.unwrap()).unwrap();
    wait(&redis, true).await;
    assert!(info_of_client(&redis).await.contains(" db=0 "));
    let other = mcp_serve::test_util::Authority::root("other");
    let distrusting = settings(&url).with_authorities(other.pem.into()).unwrap();
    reason(
        &Redis::new(distrusting).unwrap(),
        "certificate does not hold",
    )
    .await;
    let machine = connect(&url);
    reason(&machine, "certificate does not hold").await;
    let clear = connect(&url.replace("rediss", "redis"));
    wait(&clear, false).await;
    let asked = clear.command::<()>(&cmd("PING"), Again::Safe).await;
    assert_eq!(asked, Err(RedisError::Unavailable));
}

#[tokio::test]
async fn scripts_are_sent_once_and_again_when_they_are_forgotten() {
    let server = RedisServer::start().await;
    let redis = connect(&server.url());
    let script =
        Script::new("redis.call('INCR', KEYS[1]) return {ARGV[1], redis.call('GET', KEYS[1])}");
    for (round, forget) in [(1, false), (2, true), (3, false)] {
        if forget {
            server.cli(&["SCRIPT", "FLUSH"]).await;
        }
        let call = script.call().key(redis.key("n")).arg("a");
        let answer: (String, u32) = redis.eval(&call, Again::Never).await.unwrap();
        assert_eq!(answer, ("a".to_owned(), round));
    }
    let stats = server.cli(&["INFO", "commandstats"]).await;
    let calls = |name: &str| {
        let line = stats
            .lines()
            .find(|line| line.starts_with(&format!("cmdstat_{name}:")));
        line.map(|line| line.split(['=', ',']).nth(1).unwrap().to_owned())
    };
    assert_eq!(
        (calls("evalsha").as_deref(), calls("eval").as_deref()),
        (Some("3"), Some("2"))
    );
}

#[tokio::test]
async fn what_is_published_is_heard_until_something_may_be_missed() {
    let mut server = RedisServer::start().await;
    let redis = connect(&server.url());
    let channel = redis.key("events");
    let mut heard = redis
        .subscribe(std::slice::from_ref(&channel))
        .await
        .unwrap();
    let publish = cmd("PUBLISH").arg(&channel).arg("one").clone();
    let heard_by: u32 = redis.command(&publish, Again::Never).await.unwrap();
    assert_eq!(heard_by, 1);
    let message = timeout(PATIENCE, heard.next()).await.unwrap().unwrap();
    assert_eq!(
        (message.channel, message.payload),
        (channel.clone(), b"one".to_vec())
    );
    server.kill();
    assert_eq!(timeout(PATIENCE, heard.next()).await.unwrap(), None);
    server.revive().await;
    wait(&redis, true).await;
    let mut anew = redis.subscribe(&[channel]).await.unwrap();
    redis.command::<()>(&publish, Again::Safe).await.unwrap();
    assert_eq!(
        timeout(PATIENCE, anew.next())
            .await
            .unwrap()
            .unwrap()
            .payload,
        b"one"
    );
    server.pause();
    assert_eq!(timeout(PATIENCE, anew.next()).await.unwrap(), None);
    server.resume();
}

#[tokio::test]
async fn what_cannot_work_is_said() {
    let server = RedisServer::start().await;
    let replica = RedisServer::with(&[&format!(
        "replicaof {} {}",
        server.addr().ip(),
        server.addr().port()
    )])
    .await;
    reason(&connect(&replica.url()), "it is a replica").await;
    let port = RedisServer::start().await.addr().port();
    let nobody = connect(&format!("redis://127.0.0.1:{port}"));
    reason(&nobody, "connection refused").await;
    let no_cluster = connect(&server.url().replace("redis:", "redis+cluster:"));
    let why = reason(&no_cluster, "cluster").await;
    assert!(why.contains("disabled"), "{why}");
    let page = spawn_page().await;
    reason(&connect(&format!("redis://{page}")), "Parse").await;
    let lonely = connect("redis://no-such-host.invalid");
    wait(&lonely, false).await;
    let asked = lonely.command::<()>(&cmd("PING"), Again::Safe).await;
    assert_eq!(asked, Err(RedisError::Unavailable));
}

/// A server that speaks something else.
async fn spawn_page() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    address
}
