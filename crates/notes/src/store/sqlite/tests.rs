//! Tests of what only the SQLite store does: grouping, the file, its migrations, and how it fails.

mod failures;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use super::*;
use crate::error::Error;
use crate::note::{Author, Content, Limits, Title};
use crate::query::Preview;
use crate::tag::Tags;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("notes.db")
    }

    async fn open(&self) -> Result<SqliteStore, StoreError> {
        self.open_with(Options::default()).await
    }

    async fn open_with(&self, options: Options) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(&self.path(), options).await
    }

    /// A connection as another program would have one.
    fn other(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }
}

fn owner() -> Owner {
    Owner::parse("ann").unwrap()
}

fn id(text: &str) -> NoteId {
    NoteId::parse(text).unwrap()
}

fn note(name: &str, content: &str) -> Note {
    let limits = Limits {
        content_chars_max: usize::MAX,
        ..Limits::default()
    };
    let at = "2026-01-01T00:00:00Z".parse().unwrap();
    let author = Author::parse("ann").unwrap();
    Note {
        id: id(name),
        owner: owner(),
        title: Title::parse(name, &limits).unwrap(),
        content: Content::parse(content, &limits).unwrap(),
        tags: Tags::parse(&["tag".to_owned()], &limits).unwrap(),
        version: 1,
        created_at: at,
        updated_at: at,
        created_by: author.clone(),
        updated_by: author,
    }
}

async fn listed(store: &SqliteStore) -> Vec<Preview> {
    store
        .list(
            &owner(),
            &ListQuery {
                limit: 100,
                ..ListQuery::default()
            },
            None,
        )
        .await
        .unwrap()
        .items
}

/// Holds the writer until the returned sender is used or dropped.
fn hold(store: &SqliteStore) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let wait: writer::Task = Box::new(move |_| held.recv().unwrap_or(()));
    store.writer.submit(Job::Between(wait)).unwrap();
    release
}

/// How many transactions the log holds: after a header of 32 bytes, each page has a header of 24
/// bytes, in which the last page of a transaction has the size of the database.
fn commits(place: &Place) -> usize {
    let log = std::fs::read(place.folder.path().join("notes.db-wal")).unwrap();
    log[32..]
        .chunks(24 + 4096)
        .filter(|frame| frame[4..8] != [0; 4])
        .count()
}

#[tokio::test]
async fn what_was_answered_is_there_after_reopening() {
    let place = Place::new();
    let store = place.open().await.unwrap();
    let first = store.insert(note("first", "a\r\nb")).await.unwrap();
    let log = place.folder.path().join("notes.db-wal");
    assert!(std::fs::metadata(&log).unwrap().len() > 0);
    // Without closing, as after a crash, another process already sees it.
    let second = place.open().await.unwrap();
    assert_eq!(second.get(&owner(), &first.id).await.unwrap(), first);
    second.close().await.unwrap();
    store.close().await.unwrap();
    assert!(!log.exists(), "closing leaves one file");
    let third = place.open().await.unwrap();
    assert_eq!(third.get(&owner(), &first.id).await.unwrap(), first);
    assert_eq!(listed(&third).await.len(), 1);
}

#[tokio::test]
async fn writes_are_synced_and_logged_ahead() {
    let place = Place::new();
    let store = place.open().await.unwrap();
    let settings = store
        .between_writes(|conn| {
            [
                "journal_mode",
                "synchronous",
                "foreign_keys",
                "trusted_schema",
                "query_only",
            ]
            .map(|name| {
                conn.pragma_query_value(None, name, |row| {
                    row.get::<_, rusqlite::types::Value>(0)
                        .map(|value| format!("{value:?}"))
                })
                .unwrap()
            })
        })
        .await
        .unwrap();
    let expected = [
        "Text(\"wal\")",
        "Integer(2)",
        "Integer(1)",
        "Integer(0)",
        "Integer(0)",
    ];
    assert_eq!(settings, expected);
    let refused = store
        .read(|conn| {
            conn.execute("DELETE FROM notes", [])
                .map_err(schema::store_error)
        })
        .await
        .unwrap();
    assert!(matches!(refused, Err(StoreError::ReadOnly)));
}

#[tokio::test]
async fn queued_writes_share_a_transaction() {
    let place = Place::new();
    let store = Arc::new(place.open().await.unwrap());
    let before = commits(&place);
    let release = hold(&store);
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..100 {
        let store = store.clone();
        // One in ten is refused, which must not undo the others.
        let name = if n % 10 == 9 {
            "n0".to_owned()
        } else {
            format!("n{n}")
        };
        waiting.spawn(async move { store.insert(note(&name, "c")).await });
    }
    // All are queued when each task has run up to its wait.
    while store.writer.queued() < 100 {
        tokio::task::yield_now().await;
    }
    drop(release);
    let results = waiting.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 90);
    assert!(results.iter().flatten().all(|note| note.version == 1));
    assert_eq!(commits(&place) - before, 1);
    assert_eq!(listed(&store).await.len(), 90);
}

#[tokio::test]
async fn a_full_queue_is_busy_and_closing_writes_what_was_accepted() {
    let place = Place::new();
    let options = Options {
        queue_max: 3,
        batch_max: 2,
        ..Options::default()
    };
    let store = Arc::new(place.open_with(options).await.unwrap());
    let release = hold(&store);
    // The writer takes the task that holds it out of the queue.
    while store.writer.queued() > 0 {
        tokio::task::yield_now().await;
    }
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..3 {
        let store = store.clone();
        waiting.spawn(async move { store.insert(note(&format!("n{n}"), "c")).await });
    }
    while store.writer.queued() < 3 {
        tokio::task::yield_now().await;
    }
    let refused = store.insert(note("late", "c")).await;
    assert!(matches!(refused, Err(Error::Store(StoreError::Busy))));
    let closing = tokio::spawn({
        let store = store.clone();
        async move { store.close().await }
    });
    drop(release);
    closing.await.unwrap().unwrap();
    assert!(waiting.join_all().await.iter().all(Result::is_ok));
    assert_eq!(listed(&place.open().await.unwrap()).await.len(), 3);
}

#[tokio::test]
async fn a_panic_fails_one_write_and_no_other() {
    let place = Place::new();
    let store = Arc::new(place.open().await.unwrap());
    store.on_change(Arc::new(|change| {
        assert!(change.id.as_str() != "n3", "a bad listener");
    }));
    let release = hold(&store);
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..10 {
        let store = store.clone();
        waiting.spawn(async move {
            let insert = Write::Insert(Box::new(note(&format!("n{n}"), "c")));
            store
                .writer
                .write(if n == 5 { Write::Panic } else { insert })
                .await
                .map(|_| n)
        });
    }
    while store.writer.queued() < 10 {
        tokio::task::yield_now().await;
    }
    drop(release);
    let results = waiting.join_all().await;
    let failed: Vec<_> = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .collect();
    assert!(
        matches!(failed[..], [Error::Store(StoreError::Other(_))]),
        "{failed:?}"
    );
    assert_eq!(listed(&store).await.len(), 9);
    store.insert(note("after", "c")).await.unwrap();
    // A read that panics takes no reader with it.
    for _ in 0..20 {
        assert!(
            store
                .read(|_| panic!("asked to"))
                .await
                .map(|(): ()| ())
                .is_err()
        );
    }
    assert_eq!(listed(&store).await.len(), 10);
}

#[tokio::test]
async fn reads_do_not_wait_for_writes() {
    let place = Place::new();
    let store = place.open().await.unwrap();
    store.insert(note("one", "c")).await.unwrap();
    let other = place.other();
    other
        .execute_batch("BEGIN IMMEDIATE; DELETE FROM notes")
        .unwrap();
    let release = hold(&store);
    assert_eq!(store.get(&owner(), &id("one")).await.unwrap().version, 1);
    assert_eq!(listed(&store).await.len(), 1);
    drop(release);
    other.execute_batch("ROLLBACK").unwrap();
}

#[tokio::test]
async fn files_are_for_their_user_only() {
    let place = Place::new();
    let folder = place.folder.path().join("a/b");
    let path = folder.join("notes.db");
    let store = SqliteStore::open(&path, Options::default()).await.unwrap();
    store.insert(note("one", "c")).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for file in ["notes.db", "notes.db-wal", "notes.db-shm"] {
        assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
    }
}

#[tokio::test]
async fn two_that_start_at_once_migrate_once() {
    // The writers open the database in threads of their own, so the two do run at once.
    for _ in 0..10 {
        let place = Place::new();
        let (one, two) = tokio::join!(place.open(), place.open());
        let (one, two) = (one.unwrap(), two.unwrap());
        one.insert(note("one", "c")).await.unwrap();
        two.insert(note("two", "c")).await.unwrap();
        assert_eq!(listed(&one).await.len(), 2);
    }
}

#[tokio::test]
async fn lists_and_searches_use_the_indexes() {
    let store = SqliteStore::in_memory(Options::default()).await.unwrap();
    let limits = Limits::default();
    let plan = |sql: String, values: usize| {
        store.between_writes(move |conn| {
            let mut explain = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let nulls = vec![rusqlite::types::Null; values.min(explain.parameter_count())];
            let rows = explain
                .query_map(rusqlite::params_from_iter(nulls), |row| row.get(3))
                .unwrap();
            rows.collect::<rusqlite::Result<Vec<String>>>()
                .unwrap()
                .join("\n")
        })
    };
    let position = ListPosition {
        updated_at: jiff::Timestamp::UNIX_EPOCH,
        id: id("a"),
    };
    let (sql, values) = list::page_sql(&owner(), &ListQuery::default(), Some(&position));
    let list = plan(sql, values.len()).await.unwrap();
    // The notes of a page are sorted once more; finding them takes no sorting.
    let (finding, _) = list.split_once("SCAN page").unwrap();
    let index = "SEARCH o USING COVERING INDEX notes_by_change (owner=? AND (updated_at,id)<(?,?))";
    assert!(
        finding.contains(index) && !finding.contains("TEMP B-TREE"),
        "{list}"
    );

    let tag = crate::tag::Tag::parse("x", &limits).unwrap();
    let query = ListQuery {
        tags: vec![tag],
        ..ListQuery::default()
    };
    let (sql, values) = list::page_sql(&owner(), &query, Some(&position));
    let tagged = plan(sql, values.len()).await.unwrap();
    let (finding, _) = tagged.split_once("SCAN page").unwrap();
    let index = "SEARCH o USING PRIMARY KEY (owner=? AND tag=? AND (updated_at,id)<(?,?))";
    assert!(
        finding.contains(index) && !finding.contains("TEMP B-TREE"),
        "{tagged}"
    );

    let search = plan(find::MATCHES.to_owned(), 2).await.unwrap();
    let (first, second) = search
        .split_once("SEARCH n USING INTEGER PRIMARY KEY")
        .unwrap();
    assert!(
        first.contains("SCAN notes_fts VIRTUAL TABLE INDEX"),
        "{search}"
    );
    assert!(!second.contains("SCAN n "), "{search}");
}
