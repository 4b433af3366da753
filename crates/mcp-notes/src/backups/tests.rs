//! Backups by the clock: each round one, by one server, and again when it failed.

use std::{num::NonZeroUsize, path::Path};

use notes::{Author, Caller, Limits, NewNote, Notes, Owner, clock::ManualClock};
use tempfile::tempdir;

use super::*;
use crate::config::{Config, Vars};

fn settings(folder: &Path) -> BackupSettings {
    let vars: Vars = [("BACKUP_SCHEDULE".to_owned(), "daily 03:00".into())].into();
    BackupSettings {
        folder: folder.to_owned(),
        keep: NonZeroUsize::new(3),
        ..Config::from_vars(&vars).unwrap().config.backup
    }
}

struct Scene {
    keeper: Keeper,
    clock: Arc<ManualClock>,
    memory: Memory,
    stop: CancellationToken,
}

impl Scene {
    async fn new(folder: &Path, start: &str) -> Self {
        let store = notes::open("sqlite::memory:").await.unwrap();
        let notes = Notes::new(store.clone(), Limits::default());
        let ann = Caller {
            owner: Owner::parse("ann").unwrap(),
            author: Author::parse("ann").unwrap(),
        };
        let new = NewNote::parse("Title", "Text", &[], &Limits::default()).unwrap();
        notes.create(&ann, new).await.unwrap();
        let clock = Arc::new(ManualClock::new(start.parse().unwrap()));
        let keeper = Keeper {
            store,
            settings: settings(folder),
            seal: None,
            clock: clock.clone(),
            who: "a".into(),
            audit: Audit::off(),
            backups: Backups::default(),
        };
        Self {
            keeper,
            clock,
            memory: Memory::default(),
            stop: CancellationToken::new(),
        }
    }

    async fn after(&mut self, minutes: i64) -> Looked {
        self.clock.advance(notes_duration(minutes));
        self.keeper.look(&mut self.memory, &self.stop).await
    }
}

fn notes_duration(minutes: i64) -> jiff::SignedDuration {
    jiff::SignedDuration::from_mins(minutes)
}

fn names(folder: &Path) -> Vec<String> {
    let found = backup::list(folder).unwrap();
    let name = |entry: &backup::Entry| entry.path.file_name().unwrap().to_str().unwrap().to_owned();
    found.iter().map(name).collect()
}

#[tokio::test]
async fn each_round_has_one_backup() {
    let place = tempdir().unwrap();
    let folder = place.path().join("backups");
    let mut scene = Scene::new(&folder, "2026-11-22T01:00:00Z").await;
    // There is none yet, so that of yesterday was missed.
    assert_eq!(scene.after(0).await, Looked::Made);
    assert_eq!(scene.after(119).await, Looked::Nothing);
    assert_eq!(scene.after(1).await, Looked::Made);
    assert_eq!(scene.after(1).await, Looked::Nothing);
    let numbers = scene.keeper.backups.numbers();
    let at = "2026-11-22T03:00:00Z".parse().ok();
    assert_eq!((numbers.last_success, numbers.last_verified), (at, at));
    // A server that starts again knows it from the folder; days that it was off are one round.
    let mut scene = Scene::new(&folder, "2026-11-22T10:00:00Z").await;
    assert_eq!(scene.after(0).await, Looked::Nothing);
    assert_eq!(scene.keeper.backups.numbers().last_success, at);
    assert_eq!(scene.after(3 * 24 * 60).await, Looked::Made);
    assert_eq!(scene.after(10).await, Looked::Nothing);
    // A clock that is set back makes none twice.
    assert_eq!(scene.after(-600).await, Looked::Nothing);
    assert_eq!(scene.after(24 * 60 + 600).await, Looked::Made);
    assert_eq!(names(&folder).len(), 3);
}

#[tokio::test]
async fn what_failed_is_tried_again_later() {
    let place = tempdir().unwrap();
    let folder = place.path().join("backups");
    std::fs::write(&folder, "a file where the folder should be").unwrap();
    let mut scene = Scene::new(&folder, "2026-11-22T03:00:00Z").await;
    assert_eq!(scene.after(0).await, Looked::Failed);
    assert_eq!(scene.after(14).await, Looked::Nothing);
    assert_eq!(scene.after(1).await, Looked::Failed);
    assert_eq!(scene.keeper.backups.numbers().failures, 2);
    assert_eq!(scene.keeper.backups.numbers().last_success, None);
    std::fs::remove_file(&folder).unwrap();
    assert_eq!(scene.after(15).await, Looked::Made);
    assert_eq!(names(&folder), ["notes-20261122T033000Z.mcpnotes"]);
}

#[tokio::test]
async fn a_keeper_that_is_ended_gives_up() {
    let place = tempdir().unwrap();
    let mut scene = Scene::new(place.path(), "2026-11-22T03:00:00Z").await;
    scene.stop.cancel();
    assert_eq!(scene.after(0).await, Looked::Nothing);
    assert_eq!(names(place.path()), Vec::<String>::new());
    let keeping = scene.keeper.start();
    keeping.end().await;
}
