//! How the SQLite store fails: locked, full, read-only, foreign, newer and damaged files.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[tokio::test]
async fn a_lock_of_another_process_is_busy_and_passes() {
    let place = Place::new();
    let options = Options {
        busy_millis_max: 20,
        ..Options::default()
    };
    let store = place.open_with(options).await.unwrap();
    store.insert(note("one", "c")).await.unwrap();
    let other = place.other();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = store.insert(note("two", "c")).await;
    assert!(
        matches!(refused, Err(Error::Store(StoreError::Busy))),
        "{refused:?}"
    );
    let pinged = store.ping().await;
    assert!(matches!(pinged, Err(StoreError::Busy)), "{pinged:?}");
    other.execute_batch("ROLLBACK").unwrap();
    store.ping().await.unwrap();
    store.insert(note("two", "c")).await.unwrap();
    drop(store);

    let place = Place::new();
    let other = place.other();
    other
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE")
        .unwrap();
    assert!(matches!(
        place.open_with(options).await,
        Err(StoreError::Busy)
    ));
}

#[tokio::test]
async fn a_full_store_refuses_and_keeps_what_it_has() {
    let place = Place::new();
    let store = place
        .open_with(Options {
            pages_max: Some(60),
            ..Options::default()
        })
        .await
        .unwrap();
    let mut kept = 0;
    let refused = loop {
        match store
            .insert(note(&format!("n{kept}"), &"word ".repeat(2000)))
            .await
        {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 100);
    };
    assert!(
        matches!(refused, Error::Store(StoreError::Full)),
        "{refused:?}"
    );
    assert!(kept > 0);
    assert_eq!(listed(&store).await.len(), kept);
    // The writer works on, and room that is made is used.
    store.delete(&owner(), &id("n0"), None).await.unwrap();
    store.insert(note("small", "c")).await.unwrap();
    assert_eq!(listed(&store).await.len(), kept);
    store.close().await.unwrap();
    let verdict: String = place
        .other()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(verdict, "ok");
}

#[tokio::test]
async fn one_write_that_does_not_fit_fails_no_other() {
    let place = Place::new();
    let store = Arc::new(
        place
            .open_with(Options {
                pages_max: Some(100),
                ..Options::default()
            })
            .await
            .unwrap(),
    );
    let release = hold(&store);
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..10 {
        let store = store.clone();
        let content = "x ".repeat(if n == 4 { 1_000_000 } else { 1 });
        waiting.spawn(async move { store.insert(note(&format!("n{n}"), &content)).await });
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
        matches!(failed[..], [Error::Store(StoreError::Full)]),
        "{failed:?}"
    );
    assert_eq!(listed(&store).await.len(), 9);
}

#[tokio::test]
async fn a_read_only_file_is_refused() {
    let place = Place::new();
    let store = place.open().await.unwrap();
    store.insert(note("one", "c")).await.unwrap();
    store.close().await.unwrap();
    let before = std::fs::read(place.path()).unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o444)).unwrap();
    assert!(matches!(place.open().await, Err(StoreError::ReadOnly)));
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(std::fs::read(place.path()).unwrap() == before);
    assert_eq!(listed(&place.open().await.unwrap()).await.len(), 1);
}

#[tokio::test]
async fn a_store_that_can_only_be_read_is_not_ready() {
    let memory = SqliteStore::in_memory(Options::default()).await.unwrap();
    let place = Place::new();
    for store in [place.open().await.unwrap(), memory] {
        store.ping().await.unwrap();
        store.insert(note("one", "c")).await.unwrap();
        store
            .between_writes(|conn| conn.pragma_update(None, "query_only", true).unwrap())
            .await
            .unwrap();
        let refused = store.insert(note("two", "c")).await;
        assert!(
            matches!(refused, Err(Error::Store(StoreError::ReadOnly))),
            "{refused:?}"
        );
        let pinged = store.ping().await;
        assert!(matches!(pinged, Err(StoreError::ReadOnly)), "{pinged:?}");
    }
}

#[tokio::test]
async fn a_check_leaves_the_wait_for_locks_as_it_was() {
    let place = Place::new();
    let store = place.open().await.unwrap();
    store.ping().await.unwrap();
    let wait: i64 = store
        .between_writes(|conn| {
            conn.pragma_query_value(None, "busy_timeout", |row| row.get(0))
                .unwrap()
        })
        .await
        .unwrap();
    assert_eq!(wait, i64::from(Options::default().busy_millis_max));
}

#[tokio::test]
async fn what_is_not_ours_is_left_untouched() {
    let text = Place::new();
    std::fs::write(text.path(), "my diary\n".repeat(1000)).unwrap();
    let foreign = Place::new();
    foreign
        .other()
        .execute_batch("CREATE TABLE diary (day TEXT)")
        .unwrap();
    let marked = Place::new();
    marked
        .other()
        .execute_batch("PRAGMA application_id = 42")
        .unwrap();
    let newer = Place::new();
    newer.open().await.unwrap().close().await.unwrap();
    newer
        .other()
        .execute_batch("PRAGMA user_version = 99")
        .unwrap();
    for (place, expected) in [
        (text, "not_ours"),
        (foreign, "not_ours"),
        (marked, "not_ours"),
        (newer, "newer_schema"),
    ] {
        let before = std::fs::read(place.path()).unwrap();
        let refused = place.open().await.map(|_| ()).unwrap_err();
        assert_eq!(refused.kind(), expected, "{refused:?}");
        assert!(std::fs::read(place.path()).unwrap() == before, "{expected}");
        if expected == "newer_schema" {
            assert!(refused.to_string().contains("99"), "{refused}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let refused = SqliteStore::open(folder.path(), Options::default())
        .await
        .map(|_| ());
    assert!(matches!(refused, Err(StoreError::NotOurs)));
}

#[tokio::test]
async fn a_damaged_file_is_told() {
    let place = Place::new();
    let store = place.open().await.unwrap();
    for n in 0..50 {
        store
            .insert(note(&format!("n{n}"), &"word ".repeat(500)))
            .await
            .unwrap();
    }
    store.close().await.unwrap();
    let mut bytes = std::fs::read(place.path()).unwrap();
    bytes[4096..].fill(0x5a);
    std::fs::write(place.path(), bytes).unwrap();
    let told = match place.open().await {
        Err(error) => error,
        Ok(store) => match store.insert(note("late", "c")).await {
            Err(Error::Store(error)) => error,
            other => panic!("{other:?}"),
        },
    };
    assert!(matches!(told, StoreError::Corrupt), "{told:?}");
}

#[tokio::test]
async fn a_path_that_cannot_be_is_told() {
    let place = Place::new();
    std::fs::write(place.path(), "").unwrap();
    let below_a_file = place.path().join("notes.db");
    let refused = SqliteStore::open(&below_a_file, Options::default())
        .await
        .map(|_| ());
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "{refused:?}"
    );
    for address in [
        "sqlite:",
        "postgres://user:secret@host/db",
        "notes.db",
        "",
        "mongodb://u:secret@h/?w=0",
    ] {
        let refused = crate::open(address).await.map(|_| ()).unwrap_err();
        assert!(matches!(refused, StoreError::Address(_)), "{address}");
        assert!(!refused.to_string().contains("secret"));
    }
}

#[tokio::test]
async fn a_writer_that_stands_still_takes_no_turn() {
    let place = Place::new();
    let options = Options {
        queue_max: 1,
        ..Options::default()
    };
    let store = place.open_with(options).await.unwrap();
    store.turn().await.unwrap();
    let release = hold(&store);
    // Whether the queue has room or is full.
    for _ in 0..2 {
        let limit = std::time::Duration::from_millis(100);
        let turn = tokio::time::timeout(limit, store.turn()).await;
        assert!(turn.is_err(), "{turn:?}");
    }
    drop(release);
    store.turn().await.unwrap();
    store.close().await.unwrap();
    assert!(store.turn().await.is_err());
}
