//! Sessions of older revisions, and requests of the newer one, at whichever replica they arrive.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use mcp_serve::test_util::{Legacy, Next, RawClient, RedisServer, RpcAnswer};
use serde_json::json;
use tokio::{task::JoinSet, time::sleep};

use super::{HOST, Site, host, legacy, modern};
use crate::process::{PATIENCE, run, stdout};

const SESSIONS: usize = 200;
const CALLS: usize = 20;
const AT_ONCE: usize = 16;

/// What went wrong, in words.
fn failure(answer: io::Result<RpcAnswer>) -> Option<String> {
    match answer {
        Ok(answer) if answer.status() == 200 && answer.last()["result"].is_object() => None,
        Ok(answer) => Some(format!("{} {}", answer.status(), answer.last())),
        Err(error) => Some(error.to_string()),
    }
}

/// One client and all its calls.
async fn use_session(at: SocketAddr, is_modern: bool) -> Vec<String> {
    let mut failures = Vec::new();
    if is_modern {
        let mut client = modern(at);
        for _ in 0..CALLS {
            failures.extend(failure(client.call("prompts/list", json!({})).await));
        }
        return failures;
    }
    let opened = Legacy::initialize_with(at, "2025-11-25", json!({}), host()).await;
    let mut client = match opened {
        Ok(client) => client,
        Err(error) => return vec![error.to_string()],
    };
    for _ in 0..CALLS {
        failures.extend(failure(client.call("prompts/list", json!({})).await));
    }
    failures
}

#[tokio::test]
async fn two_hundred_sessions_and_as_many_modern_clients_are_served_by_all_replicas() {
    let site = Site::start(&[]).await;
    for is_modern in [false, true] {
        let before: Vec<_> = counts(&site);
        let (begun, front) = (Instant::now(), site.front());
        let (mut clients, mut failures) = (JoinSet::new(), Vec::new());
        for number in 0..SESSIONS + AT_ONCE {
            if number >= AT_ONCE {
                failures.extend(clients.join_next().await.unwrap().unwrap());
            }
            if number < SESSIONS {
                clients.spawn(use_session(front, is_modern));
            }
        }
        assert_eq!(failures, Vec::<String>::new());
        let after = counts(&site).into_iter().zip(before);
        let asked: Vec<_> = after.map(|(after, before)| after - before).collect();
        println!("modern={is_modern}: {asked:?} in {:?}", begun.elapsed());
        let wanted = SESSIONS * CALLS / 5;
        assert!(asked.iter().all(|it| *it > wanted), "{asked:?}");
    }
    site.fleet.stop().await;
}

/// How many requests each replica has answered.
fn counts(site: &Site) -> Vec<usize> {
    let replicas = site.fleet.replicas.iter();
    replicas.map(|it| it.served().requests()).collect()
}

/// The same session at another replica.
fn at(session: &Legacy, place: SocketAddr) -> Legacy {
    session.at(place)
}

/// The status of a call in the session.
async fn status(session: &mut Legacy) -> u16 {
    let answer = session.call("prompts/list", json!({})).await;
    answer.unwrap().status()
}

#[tokio::test]
async fn a_session_that_is_ended_at_one_replica_is_ended_at_all() {
    let site = Site::start(&[]).await;
    let opened = legacy(site.place(0)).await;
    let mut elsewhere = [1, 2].map(|number| at(&opened, site.place(number)));
    for session in &mut elsewhere {
        assert_eq!(status(session).await, 200);
    }
    let mut stream = elsewhere[1].open_get().await.unwrap();
    assert!(matches!(stream.next_event(PATIENCE).await, Next::Event(_)));

    let begun = Instant::now();
    assert_eq!(elsewhere[0].delete().await.unwrap(), 204);
    let mut all = [
        at(&opened, site.place(0)),
        elsewhere[0].clone(),
        elsewhere[1].clone(),
    ];
    for session in &mut all {
        assert_eq!(status(session).await, 404);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    stream.rest(Duration::from_secs(5)).await;
    site.fleet.stop().await;
}

#[tokio::test]
async fn a_session_of_somebody_else_exists_at_no_replica() {
    let mode = ("AUTH_MODE", "token");
    let site = Site::start(&[mode, ("ALLOW_ANONYMOUS", "")]).await;
    let folder = site.fleet.replicas[0].folder.path();
    let vars = [mode, ("NOTES_STORE", site.database.url())];
    let mut tokens = Vec::new();
    for owner in ["ann", "bob"] {
        let create = ["token", "create", "--name", owner, "--owner", owner];
        let token = stdout(&run(folder, &create, &vars).await);
        tokens.push((
            "Authorization".to_owned(),
            format!("Bearer {}", token.trim_end()),
        ));
    }
    let own = [host(), vec![tokens[0].clone()]].concat();
    let opened = Legacy::initialize_with(site.place(0), "2025-11-25", json!({}), own).await;
    let opened = opened.unwrap();
    for number in 0..3 {
        let mut thief = at(&opened, site.place(number));
        thief.headers = [host(), vec![tokens[1].clone()]].concat();
        assert_eq!(status(&mut thief).await, 404);
        assert!(thief.open_get().await.is_err());
        assert_eq!(thief.delete().await.unwrap(), 404);
        let mut nobody = at(&opened, site.place(number));
        nobody.headers = host();
        assert_eq!(status(&mut nobody).await, 401);
        assert_eq!(status(&mut at(&opened, site.place(number))).await, 200);
    }
    site.fleet.stop().await;
}

#[tokio::test]
async fn sessions_slide_at_every_replica_and_end_when_their_time_is_over() {
    let site = Site::start(&[("SESSION_TTL", "3"), ("SESSION_LIFETIME", "7")]).await;
    let (begun, used) = (Instant::now(), legacy(site.place(0)).await);
    let mut idle = legacy(site.place(1)).await;
    let mut lived = Duration::ZERO;
    for number in (0..3).cycle().take(40) {
        let status = status(&mut at(&used, site.place(number))).await;
        if status == 404 {
            break;
        }
        assert_eq!(status, 200);
        lived = begun.elapsed();
        sleep(Duration::from_millis(500)).await;
    }
    // It outlived the time that an unused one has, and not the one that every session has.
    assert!(lived > Duration::from_secs(4), "{lived:?}");
    let ended = begun.elapsed();
    assert!(ended < Duration::from_secs(10), "{ended:?}");
    assert_eq!(status(&mut idle).await, 404);
    site.fleet.stop().await;
}

#[tokio::test]
async fn redis_knows_no_id_and_every_key_of_it_ends() {
    let site = Site::start(&[]).await;
    let opened = legacy(site.front()).await;
    let id = opened.session.unwrap();
    let mut client = RawClient::connect(site.front()).await.unwrap();
    let asked = client.request("GET", "/api/v1/notes", &[HOST], b"").await;
    assert_eq!(asked.unwrap().status, 200);
    let keys = site.redis.cli(&["--scan"]).await;
    assert!(keys.contains("session:"), "{keys}");
    for key in keys.lines() {
        assert!(!key.contains(&id), "{key}");
        assert!(key.starts_with("mcp:"), "{key}");
        // -2 is a key that has ended meanwhile.
        let left = site.redis.cli(&["pttl", key]).await;
        assert!(left == "-2" || !left.starts_with('-'), "{key} {left}");
        if site.redis.cli(&["type", key]).await == "hash" {
            let value = site.redis.cli(&["hgetall", key]).await;
            assert!(!value.contains(&id), "{key} {value}");
        }
    }
    site.fleet.stop().await;
}

#[tokio::test]
async fn the_user_of_redis_in_the_document_may_do_all_that_is_done() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/replicas.md");
    let page = std::fs::read_to_string(page).unwrap();
    let user = page.lines().find(|it| it.starts_with("user mcp-notes "));
    let redis = RedisServer::with(&[user.unwrap()]).await;
    let url = format!("redis://mcp-notes:PASSWORD@{}", redis.addr());
    let limit = ("RATE_LIMIT_ANONYMOUS", "1000");
    let site = Site::on(redis, &url, &[limit]).await;
    let mut session = legacy(site.place(0)).await;
    let mut elsewhere = at(&session, site.place(1));
    let mut stream = elsewhere.open_get().await.unwrap();
    assert!(matches!(stream.next_event(PATIENCE).await, Next::Event(_)));
    let made = json!({ "name": "create_note", "arguments": { "title": "t", "content": "c" } });
    let made = session.call("tools/call", made).await.unwrap();
    assert_eq!(made.result()["isError"], false);
    let event = stream.next_event(PATIENCE).await.event().json();
    assert_eq!(event["method"], "notifications/resources/list_changed");
    for number in 0..3 {
        let mut client = RawClient::connect(site.place(number)).await.unwrap();
        let ready = client.get("/readyz").await.unwrap().json();
        assert_eq!(ready["status"], "ok", "{ready}");
    }
    assert_eq!(session.delete().await.unwrap(), 204);
    assert_eq!(status(&mut elsewhere).await, 404);
    // Whatever Redis refused to somebody stands here.
    assert_eq!(site.redis.cli(&["acl", "log"]).await, "");
    site.fleet.stop().await;
}
