//! Servers on a Redis are told of a revocation, and need not find out.

use mcp_serve::test_util::RedisServer;

use super::*;
#[cfg(feature = "mongodb")]
use crate::engine::Database;

/// Waits until the server says that all is well to who has this token.
async fn is_well(address: SocketAddr, token: &str) {
    let end = Instant::now() + SOON;
    loop {
        let report = health(address, token).await;
        if report["status"] == "ok" {
            return;
        }
        assert!(Instant::now() < end, "{report}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_revoked_token_is_refused_and_its_streams_end_at_once_where_there_is_a_redis() {
    let folder = tempdir().unwrap();
    let mut redis = RedisServer::start().await;
    let url = redis.url();
    let vars = [MODE, ("REDIS_URL", url.as_str())];
    let served = Served::start(folder.path(), &vars).await;
    let (token, _) = create(folder.path(), &["--name", "desk"]).await;
    let (other, _) = create(folder.path(), &["--name", "other"]).await;
    is_well(served.address, &other).await;

    let mut modern = Modern::new(served.address);
    modern.headers.push(bearer(&token));
    let wanted = json!({ "notifications": { "resourcesListChanged": true } });
    let mut listen = modern.open("subscriptions/listen", wanted).await.unwrap();
    assert!(matches!(listen.next_event(PATIENCE).await, Next::Event(_)));
    assert_eq!(ask(served.address, Some(&token)).await.status, 200);

    let revoked = run(folder.path(), &["token", "revoke", "desk"], &vars).await;
    let told = Instant::now();
    assert_eq!(revoked.status.code(), Some(0), "{}", stderr(&revoked));
    assert!(
        stderr(&revoked).contains("from now on"),
        "{}",
        stderr(&revoked)
    );
    listen.rest(SOON).await;
    let ended = told.elapsed();
    let status = ask(served.address, Some(&token)).await.status;
    println!(
        "the stream ended after {ended:?}, the next request after {:?}",
        told.elapsed()
    );
    // Without a word it would have held for two seconds, and a quiet stream for fifteen.
    assert_eq!(
        (status, told.elapsed() < Duration::from_secs(2)),
        (401, true)
    );
    assert_eq!(ask(served.address, Some(&other)).await.status, 200);

    // Who cannot be told finds out.
    redis.kill();
    let revoked = run(folder.path(), &["token", "revoke", "other"], &vars).await;
    assert_eq!(revoked.status.code(), Some(0), "{}", stderr(&revoked));
    assert!(
        stderr(&revoked).contains("within seconds"),
        "{}",
        stderr(&revoked)
    );
    ask_until(served.address, &other, 401).await;
}

/// A stream of changes that is open.
#[cfg(feature = "mongodb")]
async fn listening(address: SocketAddr, token: &str) -> mcp_serve::test_util::SseReader {
    let mut modern = Modern::new(address);
    modern.headers.push(bearer(token));
    let wanted = json!({ "notifications": { "resourcesListChanged": true } });
    let mut listen = modern.open("subscriptions/listen", wanted).await.unwrap();
    assert!(matches!(listen.next_event(PATIENCE).await, Next::Event(_)));
    listen
}

#[cfg(feature = "mongodb")]
#[tokio::test]
async fn all_servers_on_one_database_refuse_a_revoked_token_within_two_seconds_told_or_not() {
    /// What an answer of the database holds for.
    const REMEMBERED: Duration = Duration::from_secs(2);
    let redis = RedisServer::start().await;
    let database = tokio::task::spawn_blocking(Database::new).await.unwrap();
    let url = redis.url();
    let alone = [MODE, ("NOTES_STORE", database.url())];
    let joined = [alone[0], alone[1], ("REDIS_URL", url.as_str())];
    let folders = [tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap()];
    let make = ["token", "create", "--owner", "ann", "--name"];
    let make = async |name| run(folders[0].path(), &[&make[..], &[name]].concat(), &alone).await;
    let (token, other) = (make("desk").await, make("other").await);
    let [token, other] = [token, other].map(|made| stdout(&made).trim_end().to_owned());
    let mut servers = Vec::new();
    for (folder, vars) in folders.iter().zip([&joined[..], &joined, &alone]) {
        servers.push(Served::start(folder.path(), vars).await);
    }
    let (mut told, mut staying) = (Vec::new(), Vec::new());
    for served in &servers {
        is_well(served.address, &other).await;
        staying.push(listening(served.address, &other).await);
        told.push(listening(served.address, &token).await);
        assert_eq!(ask(served.address, Some(&token)).await.status, 200);
    }

    let revoked = run(folders[0].path(), &["token", "revoke", "desk"], &joined).await;
    let begun = Instant::now();
    assert!(
        stderr(&revoked).contains("from now on"),
        "{}",
        stderr(&revoked)
    );
    // A quiet stream would find out at its next sign of life, after fifteen seconds.
    for stream in &mut told[..2] {
        stream.rest(SOON).await;
    }
    let ended = begun.elapsed();
    let mut refused = Vec::new();
    for served in &servers {
        ask_until(served.address, &token, 401).await;
        refused.push(begun.elapsed());
    }
    println!("streams ended after {ended:?}, refused after {refused:?}");
    assert!(ended < REMEMBERED && refused[1] < REMEMBERED, "{refused:?}");
    // Of the last one, not told, with a margin for a busy machine.
    assert!(refused[2] < REMEMBERED * 2, "{refused:?}");
    for (served, stream) in servers.iter().zip(&mut staying) {
        assert_eq!(ask(served.address, Some(&other)).await.status, 200);
        let next = stream.next_event(Duration::from_millis(50)).await;
        assert_eq!(next, Next::Silence);
    }
}

#[tokio::test]
async fn a_connection_to_redis_that_takes_its_time_is_waited_for() {
    let folder = tempdir().unwrap();
    let redis = RedisServer::start().await;
    let url = redis.url();
    let vars = [MODE, ("REDIS_URL", url.as_str())];
    create(folder.path(), &["--name", "desk"]).await;
    redis.pause();
    let going_on = async {
        // Longer than a command may take.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        redis.resume();
    };
    let revoking = run(folder.path(), &["token", "revoke", "desk"], &vars);
    let (revoked, ()) = tokio::join!(revoking, going_on);
    assert!(
        stderr(&revoked).contains("from now on"),
        "{}",
        stderr(&revoked)
    );
}
