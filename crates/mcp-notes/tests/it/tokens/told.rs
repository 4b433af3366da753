//! Servers on a Redis are told of a revocation, and need not find out.

use mcp_serve::test_util::RedisServer;

use super::*;

#[tokio::test]
async fn a_revoked_token_is_refused_and_its_streams_end_at_once_where_there_is_a_redis() {
    let folder = tempdir().unwrap();
    let mut redis = RedisServer::start().await;
    let url = redis.url();
    let vars = [MODE, ("REDIS_URL", url.as_str())];
    let served = Served::start(folder.path(), &vars).await;
    let (token, _) = create(folder.path(), &["--name", "desk"]).await;
    let (other, _) = create(folder.path(), &["--name", "other"]).await;
    let end = Instant::now() + SOON;
    while health(served.address, &other).await["status"] != "ok" {
        assert!(
            Instant::now() < end,
            "{}",
            health(served.address, &other).await
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

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
