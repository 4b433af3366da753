//! MongoDB that is killed, hangs, is not there, or loses answers: how long anybody waits, and what is
//! known of writes then.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::Client;
use mongodb::bson::{Document, doc};
use notes::store::{MongoOptions, Options};
use notes::{
    AccessToken, Author, Content, Error, Limits, ListQuery, Note, NoteId, NotePatch, Owner, Store,
    StoreError, Tags, Timestamp, Title, TokenName, open_with,
};

use crate::databases::on_runtime;
use crate::engine::{Engine, PATIENCE};
use crate::proxy::Proxy;
use crate::server::Server;

/// The time an operation has here.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What a machine that is busy with other tests adds.
const BUSY: Duration = Duration::from_secs(3);

fn url(address: SocketAddr) -> String {
    format!("mongodb://{address}/outages")
}

async fn opened(url: &str) -> Arc<dyn Store> {
    let options = Options {
        mongodb: MongoOptions {
            timeout: Some(TIMEOUT),
            pool_size_max: Some(3),
            ..MongoOptions::default()
        },
        ..Options::default()
    };
    open_with(url, &options).await.unwrap()
}

fn ann() -> Owner {
    Owner::parse("ann").unwrap()
}

fn id(name: &str) -> NoteId {
    NoteId::parse(name).unwrap()
}

fn note(name: &str) -> Note {
    let limits = Limits::default();
    let author = Author::parse("ann").unwrap();
    let at = Timestamp::from_microsecond(1_700_000_000_000_001).unwrap();
    Note {
        id: id(name),
        owner: ann(),
        title: Title::parse(name, &limits).unwrap(),
        content: Content::parse("content", &limits).unwrap(),
        tags: Tags::default(),
        version: 1,
        created_at: at,
        updated_at: at,
        created_by: author.clone(),
        updated_by: author,
    }
}

fn patch(title: &str) -> NotePatch {
    NotePatch::parse(Some(title), None, None, &Limits::default()).unwrap()
}

fn stamp() -> notes::store::Stamp {
    notes::store::Stamp {
        at: Timestamp::from_microsecond(1_700_000_001_000_002).unwrap(),
        by: Author::parse("ann").unwrap(),
    }
}

/// What became of writes.
#[derive(Default)]
struct Writes {
    kept: BTreeSet<String>,
    refused: BTreeSet<String>,
    slowest: Duration,
}

/// Writes notes one after another until `until`.
async fn write(store: Arc<dyn Store>, name: String, until: Instant) -> Writes {
    let mut writes = Writes::default();
    for number in 0.. {
        if Instant::now() > until {
            break;
        }
        let name = format!("{name}-{number}");
        let begun = Instant::now();
        let done = store.insert(note(&name)).await;
        writes.slowest = writes.slowest.max(begun.elapsed());
        match done {
            Ok(_) => {
                writes.kept.insert(name);
                // What is there must be listed quickly enough.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            // It may be there or not.
            Err(Error::Store(StoreError::Unconfirmed(_))) => {}
            Err(Error::Store(StoreError::Unavailable(_) | StoreError::Busy)) => {
                writes.refused.insert(name);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    writes
}

/// Writes from several sides while `outage` goes on, and looks at what is there afterwards.
async fn survives(server: &mut Server, outage: impl AsyncFnOnce(&mut Server)) -> usize {
    server.start();
    let store = opened(&server.url("outages")).await;
    let until = Instant::now() + Duration::from_secs(12);
    let writers: Vec<_> = (0..4)
        .map(|n| tokio::spawn(write(store.clone(), format!("w{n}"), until)))
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    outage(server).await;
    let back = Instant::now();
    while store.ping().await.is_err() {
        assert!(back.elapsed() < Duration::from_secs(10), "it never returns");
    }
    let again = back.elapsed();
    let mut slowest = Duration::ZERO;
    let (mut kept, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for writer in writers {
        let done = writer.await.unwrap();
        kept.extend(done.kept);
        refused.extend(done.refused);
        slowest = slowest.max(done.slowest);
    }
    let there = names(&server.url("outages")).await;
    let lost: Vec<_> = kept.difference(&there).collect();
    assert!(lost.is_empty(), "acknowledged and not there: {lost:?}");
    let late: Vec<_> = refused.intersection(&there).collect();
    assert!(late.is_empty(), "refused and there: {late:?}");
    println!(
        "{} kept, {} refused, the slowest took {slowest:?}, well again after {again:?}",
        kept.len(),
        refused.len()
    );
    assert!(!kept.is_empty());
    assert!(slowest < TIMEOUT + BUSY, "{slowest:?}");
    refused.len()
}

/// The ids of all notes, as the server has them.
async fn names(url: &str) -> BTreeSet<String> {
    let client = Client::with_uri_str(url).await.unwrap();
    let notes = client.default_database().unwrap();
    let notes = notes.collection::<Document>("mcp_notes");
    let mut found = notes.find(doc! {}).await.unwrap();
    let mut names = BTreeSet::new();
    while found.advance().await.unwrap() {
        let name = found.current().get_str("noteId").unwrap();
        names.insert(name.to_owned());
    }
    names
}

#[test]
fn no_acknowledged_write_is_lost_when_the_server_is_killed() {
    on_runtime(async {
        let mut server = Server::new();
        let refused = survives(&mut server, async |server| {
            server.kill();
            tokio::time::sleep(Duration::from_secs(5)).await;
            server.start();
        });
        assert!(refused.await > 0);
    });
}

#[test]
fn a_server_that_hangs_holds_nobody_up_and_nothing_is_kept_for_later() {
    on_runtime(async {
        survives(&mut Server::new(), async |server| {
            server.signal("STOP");
            tokio::time::sleep(Duration::from_secs(5)).await;
            server.signal("CONT");
        })
        .await;
    });
}

#[test]
fn a_server_that_is_not_there_is_waited_for() {
    on_runtime(async {
        let mut server = Server::new();
        let begun = Instant::now();
        let store = opened(&server.url("outages")).await;
        assert!(begun.elapsed() < TIMEOUT + BUSY);
        let begun = Instant::now();
        let refused = [
            store.get(&ann(), &id("a")).await.map(drop),
            store.insert(note("a")).await.map(drop),
            store.ping().await.map_err(Error::from),
        ];
        for refused in refused {
            let is_it = matches!(refused, Err(Error::Store(StoreError::Unavailable(_))));
            assert!(is_it, "{refused:?}");
        }
        assert!(begun.elapsed() < TIMEOUT);
        server.start();
        let begun = Instant::now();
        while store.ping().await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it never comes");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        store.insert(note("a")).await.unwrap();
        store.close().await.unwrap();
    });
}

async fn behind_a_proxy() -> (Engine, Proxy, Arc<dyn Store>) {
    let engine = Engine::start();
    let address = engine.url.trim_start_matches("mongodb://");
    let server: SocketAddr = address.trim_end_matches('/').parse().unwrap();
    let proxy = Proxy::start(server).await;
    let store = opened(&format!("{}?retryWrites=false", url(proxy.address))).await;
    (engine, proxy, store)
}

#[test]
fn a_write_whose_answer_is_lost_is_done_once_or_said_to_be_unconfirmed() {
    on_runtime(async {
        let (_engine, proxy, store) = behind_a_proxy().await;
        // It has a name of its own, so it is sent again and known.
        proxy.lose("insert", 1);
        store.insert(note("a")).await.unwrap();
        assert_eq!(proxy.lost(), 1);
        let again = store.insert(note("a")).await;
        assert!(matches!(again, Err(Error::Exists { .. })), "{again:?}");

        // A version is changed once.
        proxy.lose("findAndModify", 1);
        let (ann, a) = (&ann(), &id("a"));
        let update = store.update(ann, a, patch("b"), Some(1), stamp());
        let changed = update.await.unwrap();
        assert_eq!((proxy.lost(), changed.version), (2, 2));
        assert_eq!(store.get(ann, a).await.unwrap(), changed);

        // Nobody can tell one change without a version from two.
        proxy.lose("findAndModify", 1);
        let update = store.update(ann, a, patch("c"), None, stamp());
        let unknown = update.await.unwrap_err();
        let is_told = matches!(unknown, Error::Store(StoreError::Unconfirmed(_)));
        assert!(is_told, "{unknown:?}");
        assert_eq!(store.get(ann, a).await.unwrap().version, 3);

        // Nor who deleted what is gone.
        proxy.lose("findAndModify", 1);
        let unknown = store.delete(ann, a, Some(3)).await.unwrap_err();
        let is_told = matches!(unknown, Error::Store(StoreError::Unconfirmed(_)));
        assert!(is_told, "{unknown:?}");
        assert!(store.get(ann, a).await.is_err());
        assert_eq!(proxy.lost(), 4);

        // When no answer comes at all, it is said in time.
        proxy.lose("insert", usize::MAX);
        let begun = Instant::now();
        let unknown = store.insert(note("b")).await.unwrap_err();
        let is_told = matches!(unknown, Error::Store(StoreError::Unconfirmed(_)));
        assert!(is_told, "{unknown:?}");
        assert!(begun.elapsed() < TIMEOUT + BUSY);
    });
}

#[test]
fn a_write_whose_fate_cannot_be_looked_up_is_said_to_be_unconfirmed() {
    on_runtime(async {
        let (_engine, proxy, store) = behind_a_proxy().await;
        store.insert(note("a")).await.unwrap();
        let unknown = |error: Error| {
            let is_told = matches!(error, Error::Store(StoreError::Unconfirmed(_)));
            assert!(is_told, "{error:?}");
        };
        // Each is done, and sent again; what there is then cannot be read.
        proxy.lose("insert", 1);
        proxy.lose("find", usize::MAX);
        unknown(store.insert(note("b")).await.unwrap_err());
        proxy.lose("findAndModify", 1);
        let (ann, a) = (&ann(), &id("a"));
        let update = store.update(ann, a, patch("b"), Some(1), stamp());
        unknown(update.await.unwrap_err());
        proxy.lose("insert", 1);
        let unknown_token = store.add_token(token(), [1; 32]).await.unwrap_err();
        unknown(unknown_token.into());
        assert!(proxy.lost() > 3);

        proxy.lose("find", 0);
        assert_eq!(store.get(ann, a).await.unwrap().version, 2);
        assert!(store.get(ann, &id("b")).await.is_ok());
        assert!(store.token("t1").await.unwrap().is_some());
    });
}

fn token() -> AccessToken {
    AccessToken {
        id: "t1".into(),
        name: TokenName::parse("ci").unwrap(),
        owner: ann(),
        scopes: vec!["notes:read".into()],
        created_at: stamp().at,
        expires_at: None,
        last_used: None,
        revoked_at: None,
    }
}

#[test]
fn a_change_that_another_has_overtaken_is_said_to_be_unconfirmed() {
    on_runtime(async {
        let (engine, proxy, store) = behind_a_proxy().await;
        let there = opened(&format!("{}outages", engine.url)).await;
        let (ann, a) = (ann(), id("a"));
        for overtakes in ["update", "delete"] {
            store.insert(note("a")).await.unwrap();
            proxy.lose_and_hold("findAndModify");
            let before = proxy.lost();
            let (ours, owner, name) = (store.clone(), ann.clone(), a.clone());
            let update = tokio::spawn(async move {
                let patch = patch("ours");
                ours.update(&owner, &name, patch, Some(1), stamp()).await
            });
            let begun = Instant::now();
            while proxy.lost() == before {
                assert!(begun.elapsed() < BUSY, "no answer is lost");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // It was done, and is sent once more after somebody else has seen it.
            let done = if overtakes == "update" {
                let theirs = there.update(&ann, &a, patch("theirs"), Some(2), stamp());
                theirs.await.map(drop)
            } else {
                there.delete(&ann, &a, Some(2)).await.map(drop)
            };
            done.unwrap();
            proxy.release();
            let unknown = update.await.unwrap().unwrap_err();
            let is_told = matches!(unknown, Error::Store(StoreError::Unconfirmed(_)));
            assert!(is_told, "{overtakes}: {unknown:?}");
            let _ = there.delete(&ann, &a, None).await;
        }
    });
}

/// Waits until `proxy` holds something up.
async fn held(proxy: &Proxy) {
    let begun = Instant::now();
    while !proxy.is_held() {
        assert!(begun.elapsed() < Duration::from_mins(1), "nothing is sent");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_store_ends_after_the_writes_that_it_has_taken() {
    on_runtime(async {
        let (_engine, proxy, store) = behind_a_proxy().await;
        proxy.hold_at("insert");
        let ours = store.clone();
        let insert = tokio::spawn(async move { ours.insert(note("a")).await });
        held(&proxy).await;
        let ours = store.clone();
        let close = tokio::spawn(async move { ours.close().await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!close.is_finished() && !insert.is_finished());
        proxy.release();
        insert.await.unwrap().unwrap();
        close.await.unwrap().unwrap();
    });
}

#[test]
fn a_server_that_starts_leaves_what_another_has_changed_meanwhile() {
    on_runtime(async {
        let (engine, proxy, store) = behind_a_proxy().await;
        let client = Client::with_uri_str(url(proxy.address)).await.unwrap();
        let notes = client.default_database().unwrap();
        let notes = notes.collection::<Document>("mcp_notes");
        let demo = doc! { "noteId": "a", "title": "t", "content": "c" };
        notes.insert_one(demo).await.unwrap();
        drop(store);
        let options = |timeout| Options {
            mongodb: MongoOptions {
                owner_of_found: Some(ann()),
                timeout: Some(timeout),
                ..MongoOptions::default()
            },
            ..Options::default()
        };
        proxy.hold_at("update");
        let place = url(proxy.address);
        let late = options(PATIENCE);
        let late = tokio::spawn(async move { open_with(&place, &late).await });
        held(&proxy).await;
        let place = format!("{}outages", engine.url);
        let there = open_with(&place, &options(PATIENCE)).await.unwrap();
        let (ann, a) = (ann(), id("a"));
        let update = there.update(&ann, &a, patch("new"), Some(1), stamp());
        let changed = update.await.unwrap();
        proxy.release();
        let late = late.await.unwrap().unwrap();
        assert_eq!(late.get(&ann, &a).await.unwrap(), changed);
    });
}

#[test]
fn most_servers_are_to_confirm_every_write() {
    on_runtime(async {
        let (_engine, proxy, store) = behind_a_proxy().await;
        store.insert(note("a")).await.unwrap();
        let (ann, a) = (&ann(), &id("a"));
        let update = store.update(ann, a, patch("b"), None, stamp());
        update.await.unwrap();
        store.delete(ann, a, Some(2)).await.unwrap();
        store.import_notes(vec![note("c")]).await.unwrap();
        assert!(store.add_token(token(), [1; 32]).await.unwrap());
        store.token_used("t1", stamp().at).await.unwrap();
        store.revoke_token("ci", stamp().at).await.unwrap().unwrap();
        store.ping().await.unwrap();
        let kinds = [
            "createIndexes",
            "delete",
            "findAndModify",
            "insert",
            "update",
        ];
        let expected = kinds.map(|kind| (kind, true)).into_iter().collect();
        assert_eq!(proxy.writes(), expected);
    });
}

#[test]
fn what_waits_for_a_connection_is_not_begun() {
    on_runtime(async {
        let mut server = Server::new();
        server.start();
        let store = opened(&server.url("outages")).await;
        server.signal("STOP");
        let tasks: Vec<_> = (0..12)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move { store.insert(note(&format!("n{n}"))).await })
            })
            .collect();
        let (mut busy, mut sent) = (BTreeSet::new(), 0);
        for (n, task) in tasks.into_iter().enumerate() {
            match task.await.unwrap() {
                Err(Error::Store(StoreError::Busy)) => {
                    busy.insert(format!("n{n}"));
                }
                Err(Error::Store(StoreError::Unconfirmed(_) | StoreError::Unavailable(_))) => {
                    sent += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        server.signal("CONT");
        // The pool has three; a busy machine may let some more begin before it is too late.
        assert!(sent >= 3 && busy.len() >= 6, "{sent} {busy:?}");
        let there = names(&server.url("outages")).await;
        assert!(there.is_disjoint(&busy), "{there:?}");
    });
}

#[test]
fn reads_go_on_when_a_connection_breaks() {
    on_runtime(async {
        let (_engine, proxy, store) = behind_a_proxy().await;
        store.insert(note("a")).await.unwrap();
        for command in ["find", "aggregate"] {
            // The driver itself asks twice.
            proxy.lose(command, 2);
            let before = proxy.lost();
            let page = store.list(&ann(), &ListQuery::default(), None).await;
            assert_eq!(page.unwrap().total, Some(1));
            assert_eq!(proxy.lost(), before + 2);
        }
    });
}

#[test]
fn there_are_never_more_connections_than_the_pool_may_have() {
    on_runtime(async {
        let (_engine, proxy, store) = behind_a_proxy().await;
        let tasks: Vec<_> = (0..60)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move { store.insert(note(&format!("n{n}"))).await })
            })
            .collect();
        for task in tasks {
            let done = task.await.unwrap();
            let late = matches!(done, Err(Error::Store(StoreError::Busy)));
            assert!(done.is_ok() || late, "{done:?}");
        }
        // Two more watch the server.
        assert!((2..=5).contains(&proxy.most()), "{}", proxy.most());
    });
}
