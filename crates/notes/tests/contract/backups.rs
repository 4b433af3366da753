//! Laws of backups: everything of one moment is in one, and comes back as it was or not at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use notes::backup::{self, BackupError, Broken, Keys, Made, Options, Reader, Restored};
use notes::store::turns::{Claimed, Turn};
use notes::transfer::{Part, Phase, Progress, Tally};
use notes::{Caller, Note, NoteId, Owner, Store, Timestamp, open};

use crate::moving::{every_note, every_token, fill, sorted, tokens};
use crate::stage::{Stage, caller, new_note, patch};

pub(crate) fn now() -> Timestamp {
    "2026-11-22T03:00:00Z".parse().unwrap()
}

fn go_on(_: Progress) -> bool {
    true
}

pub(crate) async fn make(
    store: &dyn Store,
    folder: &Path,
    options: &Options,
    at: Timestamp,
) -> Result<Made, BackupError> {
    backup::make(store, folder, options, at, &mut go_on).await
}

pub(crate) async fn verify(path: &Path, keys: &Keys) -> Result<backup::Slip, BackupError> {
    backup::verify(path, keys, now(), &mut go_on).await
}

/// A backup of what the stage has, tried out.
pub(crate) async fn made(stage: &Stage, folder: &Path) -> Made {
    let options = Options {
        verify: true,
        ..Options::default()
    };
    make(stage.store.as_ref(), folder, &options, now())
        .await
        .unwrap()
}

pub(crate) async fn restored(
    path: &Path,
    address: &str,
    may_replace: bool,
) -> Result<Restored, BackupError> {
    let options = notes::store::Options::default();
    let to = (address, &options);
    backup::restore(path, &Keys::default(), to, may_replace, now(), &mut go_on).await
}

pub(crate) async fn all_of(store: &dyn Store) -> Tally {
    let mut tally = Tally::default();
    for note in every_note(store, 100).await {
        tally.note(&note);
    }
    for kept in every_token(store, 100).await {
        tally.token(&kept);
    }
    tally
}

/// What the store at `address` has.
pub(crate) async fn held(address: &str) -> Tally {
    let store = open(address).await.unwrap();
    let tally = all_of(store.as_ref()).await;
    store.close().await.unwrap();
    tally
}

/// The names in a folder, without those of locks.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let names = entries.map(|it| it.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|it| !it.contains(".lock")).collect();
    names.sort();
    names
}

pub(crate) async fn a_backup_holds_everything_and_comes_back(stage: &Stage) {
    let notes = sorted(fill(stage).await);
    stage.store.import_tokens(tokens()).await.unwrap();
    let folder = stage.spare.folder.path().join("deep/backups");
    let made = made(stage, &folder).await;
    let expected = all_of(stage.store.as_ref()).await;
    assert_eq!((made.slip.notes, made.slip.tokens), (5, 4));
    assert_eq!(made.slip.checksum, expected.checksum());
    assert_eq!(made.slip.verified_at, Some(now()));
    assert_eq!(made.path, folder.join("notes-20261122T030000Z.mcpnotes"));
    let left = [
        "notes-20261122T030000Z.mcpnotes",
        "notes-20261122T030000Z.mcpnotes.json",
    ];
    assert_eq!(names(&folder), left);
    let listed = backup::list(&folder).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].slip.as_ref(), Some(&made.slip));
    assert!(!listed[0].is_encrypted && !listed[0].is_broken());

    let verified = verify(&made.path, &Keys::default()).await;
    assert_eq!(verified.unwrap(), made.slip);
    let restored = restored(&made.path, &stage.spare.address, false).await;
    let restored = restored.unwrap();
    assert_eq!(restored.tally, expected);
    assert_eq!((restored.header.notes, restored.header.tokens), (5, 4));
    assert_eq!(restored.aside, None);
    let store = open(&stage.spare.address).await.unwrap();
    assert_eq!(sorted(every_note(store.as_ref(), 2).await), notes);
    let mut kept = every_token(store.as_ref(), 2).await;
    kept.sort_by_key(|kept| kept.hash);
    assert_eq!(kept, tokens());
    // It is a store like any other: a token is found, a note is changed, found and counted.
    let found = store.token_of_hash(tokens()[2].hash).await.unwrap();
    assert_eq!(found, Some(tokens()[2].token.clone()));
    let stage = Stage::of(store);
    let titles = stage.found(&caller("bob"), "titl", 10).await;
    assert_eq!(titles.len(), 2, "{titles:?}");
    stage.add(&caller("bob"), "one more", "x", &[]).await;
    stage.store.close().await.unwrap();
}

fn note(who: &Caller, id: &str, title: &str) -> Note {
    let new = new_note(title, &"some text ".repeat(20), &["chain"]);
    Note {
        id: NoteId::parse(id).unwrap(),
        owner: who.owner.clone(),
        title: new.title,
        content: new.content,
        tags: new.tags,
        version: 1,
        created_at: now(),
        updated_at: now(),
        created_by: who.author.clone(),
        updated_by: who.author.clone(),
    }
}

/// Writes in a chain: the note of step n is there before the counter says n, and the next after it.
async fn chain(
    store: Arc<dyn Store>,
    who: String,
    stop: Arc<AtomicBool>,
    writes: Arc<AtomicU64>,
    acknowledged: Arc<AtomicU64>,
) {
    let who = caller(&who);
    let note = |id: &str, title: &str| note(&who, id, title);
    store.insert(note("counter", "0")).await.unwrap();
    let counter = NoteId::parse("counter").unwrap();
    for step in 1_u64.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let title = step.to_string();
        store
            .insert(note(&format!("step-{step}"), &title))
            .await
            .unwrap();
        let stamp = notes::store::Stamp {
            at: now(),
            by: who.author.clone(),
        };
        let change = patch(Some(&title), None, None);
        store
            .update(&who.owner, &counter, change, None, stamp)
            .await
            .unwrap();
        acknowledged.store(step, Ordering::SeqCst);
        writes.fetch_add(2, Ordering::SeqCst);
    }
}

/// What an archive has of each owner: what its counter says, and its steps.
fn chains(path: &Path) -> (bool, std::collections::BTreeMap<Owner, (u64, Vec<u64>)>) {
    let file = std::fs::File::open(path).unwrap();
    let mut archive = Reader::unlock(file, &Keys::default()).unwrap();
    let mut chains = std::collections::BTreeMap::new();
    while let Some(part) = archive.part().unwrap() {
        let Part::Notes(notes) = part else { continue };
        for note in notes {
            let chain: &mut (u64, Vec<u64>) = chains.entry(note.owner.clone()).or_default();
            let number = note.title.as_str().parse().unwrap_or(0);
            match note.id.as_str() {
                "counter" => chain.0 = number,
                id if id.starts_with("step-") => chain.1.push(number),
                _ => {}
            }
        }
    }
    (archive.header().one_moment, chains)
}

pub(crate) async fn a_backup_is_of_one_moment_while_others_write(stage: &Stage) {
    const WRITERS: usize = 6;
    // So much that reading takes a while.
    let much: Vec<_> = (0..stage.cases(4000))
        .map(|n| note(&caller("zoe"), &format!("much-{n}"), "much"))
        .collect();
    for part in much.chunks(500) {
        stage.store.import_notes(part.to_vec()).await.unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writes = Arc::new(AtomicU64::new(0));
    let acknowledged: Vec<_> = (0..WRITERS).map(|_| Arc::new(AtomicU64::new(0))).collect();
    let tasks: Vec<_> = (0..WRITERS)
        .map(|n| {
            let (stop, writes) = (stop.clone(), writes.clone());
            let store = stage.store.clone();
            tokio::spawn(chain(
                store,
                format!("writer {n}"),
                stop,
                writes,
                acknowledged[n].clone(),
            ))
        })
        .collect();
    while acknowledged.iter().any(|it| it.load(Ordering::SeqCst) < 3) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let folder = stage.spare.folder.path().join("backups");
    let mut last = None;
    for round in 0..3_i64 {
        let before: Vec<_> = acknowledged
            .iter()
            .map(|it| it.load(Ordering::SeqCst))
            .collect();
        let (written, begun) = (writes.load(Ordering::SeqCst), std::time::Instant::now());
        let at = now() + jiff::SignedDuration::from_secs(round);
        let options = Options::default();
        let made = make(stage.store.as_ref(), &folder, &options, at).await;
        let made = made.unwrap();
        let meanwhile = writes.load(Ordering::SeqCst) - written;
        println!(
            "{meanwhile} writes in {:?}, while a backup was made",
            begun.elapsed()
        );
        assert!(meanwhile > 0, "nothing was written meanwhile");
        let (one_moment, chains) = chains(&made.path);
        let must = one_moment || is_ferretdb();
        for (n, before) in before.into_iter().enumerate() {
            let (counter, mut steps) = chains[&caller(&format!("writer {n}")).owner].clone();
            steps.sort_unstable();
            assert!(counter >= before, "{counter} instead of at least {before}");
            let whole: Vec<u64> = (1..=steps.len() as u64).collect();
            assert!(
                !must || steps == whole,
                "a step is missing before a later one"
            );
            let last = steps.len() as u64;
            assert!(
                !must || last == counter || last == counter + 1,
                "{last} steps at {counter}"
            );
        }
        last = Some(made);
    }
    stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    let last = last.unwrap();
    let restored = restored(&last.path, &stage.spare.address, false).await;
    let restored = restored.unwrap();
    assert_eq!(restored.tally.checksum(), last.slip.checksum);
    assert_eq!(held(&stage.spare.address).await, restored.tally);
}

#[cfg(feature = "mongodb")]
fn is_ferretdb() -> bool {
    crate::engine::is_ferretdb()
}

#[cfg(not(feature = "mongodb"))]
fn is_ferretdb() -> bool {
    false
}

pub(crate) async fn what_is_there_is_overwritten_only_when_that_is_said(stage: &Stage) {
    let address = &stage.spare.address;
    fill(stage).await;
    let first = made(stage, stage.spare.folder.path()).await;
    restored(&first.path, address, false).await.unwrap();
    let before = held(address).await;
    stage.add(&caller("ann"), "later", "x", &[]).await;
    stage.store.import_tokens(tokens()).await.unwrap();
    let second = made(stage, stage.spare.folder.path()).await;
    assert_ne!(first.path, second.path);

    let refused = restored(&second.path, address, false).await;
    let taken = matches!(refused, Err(BackupError::Taken(held)) if held.notes == 5);
    assert!(taken, "{refused:?}");
    assert_eq!(held(address).await, before);
    let done = restored(&second.path, address, true).await.unwrap();
    assert_eq!(held(address).await, done.tally);
    assert_eq!((done.tally.notes, done.tally.tokens), (6, 4));
    let aside = done.aside.unwrap();
    if let Some(path) = address.strip_prefix("sqlite:") {
        // What was there is a database as before.
        assert_eq!(aside, format!("{path}.before-20261122T030000Z"));
        assert_eq!(held(&format!("sqlite:{aside}")).await, before);
    } else {
        let words =
            "mcp_notes_before_20261122T030000Z and mcp_notes_tokens_before_20261122T030000Z";
        assert!(aside.contains(words), "{aside}");
    }
    // An empty store is no loss.
    let store = open(address).await.unwrap();
    for note in every_note(store.as_ref(), 100).await {
        store.delete(&note.owner, &note.id, None).await.unwrap();
    }
    store.close().await.unwrap();
    let left = held(address).await;
    assert_eq!((left.notes, left.tokens), (0, 4));
    let refused = restored(&first.path, address, false).await;
    assert!(matches!(refused, Err(BackupError::Taken(_))), "{refused:?}");
}

pub(crate) async fn what_is_broken_or_cut_off_changes_nothing(stage: &Stage) {
    let (address, folder) = (&stage.spare.address, stage.spare.folder.path());
    fill(stage).await;
    let first = made(stage, folder).await;
    restored(&first.path, address, false).await.unwrap();
    let before = held(address).await;
    stage.add(&caller("ann"), "later", "x", &[]).await;
    let second = made(stage, folder).await;
    let bytes = std::fs::read(&second.path).unwrap();
    let broken: PathBuf = folder.join("broken");
    for (place, flip) in [(bytes.len() / 2, 0x10), (bytes.len() - 3, 1), (3, 0x40)] {
        let mut damaged = bytes.clone();
        damaged[place] ^= flip;
        std::fs::write(&broken, damaged).unwrap();
        let refused = restored(&broken, address, true).await.unwrap_err();
        assert!(refused.is_damage(), "{refused:?}");
        assert_eq!(held(address).await, before);
    }
    let tried = verify(&broken, &Keys::default()).await;
    assert!(matches!(
        tried,
        Err(BackupError::Archive {
            source: Broken::NotOurs | Broken::Damaged(_),
            ..
        })
    ));
    // Asked to stop, at each of its phases.
    for stop_at in [Phase::Check, Phase::Copy, Phase::Compare] {
        let options = notes::store::Options::default();
        let mut watch = |progress: Progress| progress.phase != stop_at;
        let to = (address.as_str(), &options);
        let keys = Keys::default();
        let stopped = backup::restore(&second.path, &keys, to, true, now(), &mut watch).await;
        assert!(matches!(stopped, Err(BackupError::Stopped)), "{stopped:?}");
        assert_eq!(held(address).await, before);
    }
    // A backup that is stopped leaves nothing.
    let mut seen = names(folder);
    let mut watch = |progress: Progress| progress.done == 0;
    let options = Options::default();
    let stopped = backup::make(stage.store.as_ref(), folder, &options, now(), &mut watch).await;
    assert!(matches!(stopped, Err(BackupError::Stopped)), "{stopped:?}");
    assert_eq!(names(folder), std::mem::take(&mut seen));
    let done = restored(&second.path, address, true).await.unwrap();
    assert_eq!(held(address).await, done.tally);
}

pub(crate) async fn one_server_has_the_turn(stage: &Stage) {
    let store = stage.store.as_ref();
    let (minute, hour) = (Duration::from_mins(1), jiff::SignedDuration::from_hours(1));
    let turn = move |who, round: Timestamp, now: Timestamp| Claimed {
        task: "backup",
        who,
        round,
        now,
        hold: minute,
    };
    let first = turn("a", now(), now());
    assert_eq!(store.take_turn(&first).await.unwrap(), Turn::Mine);
    assert_eq!(store.take_turn(&first).await.unwrap(), Turn::Mine);
    let is_shared = stage.spare.address.starts_with("mongodb");
    if !is_shared {
        return;
    }
    let other = turn("b", now(), now());
    assert_eq!(store.take_turn(&other).await.unwrap(), Turn::Taken);
    // Who is not heard of any more loses it.
    let later = now() + jiff::SignedDuration::from_secs(61);
    assert_eq!(
        store.take_turn(&turn("b", now(), later)).await.unwrap(),
        Turn::Mine
    );
    store.end_turn(&first, true).await.unwrap();
    assert_eq!(
        store.take_turn(&turn("c", now(), later)).await.unwrap(),
        Turn::Taken
    );
    // What failed is to wait, and then anybody may try it.
    store
        .end_turn(&turn("b", now(), later), false)
        .await
        .unwrap();
    assert_eq!(
        store.take_turn(&turn("a", now(), later)).await.unwrap(),
        Turn::Taken
    );
    let again = later + jiff::SignedDuration::from_secs(61);
    assert_eq!(
        store.take_turn(&turn("c", now(), again)).await.unwrap(),
        Turn::Mine
    );
    store
        .end_turn(&turn("c", now(), again), true)
        .await
        .unwrap();
    assert_eq!(
        store.take_turn(&turn("a", now(), again)).await.unwrap(),
        Turn::Done(again)
    );
    // The next round is everybody's.
    let (next, then) = (now() + hour, now() + hour);
    let racing = ["a", "b", "c", "d"].map(|who| {
        let store = stage.store.clone();
        tokio::spawn(async move { store.take_turn(&turn(who, next, then)).await.unwrap() })
    });
    let mut won = 0;
    for racer in racing {
        won += usize::from(racer.await.unwrap() == Turn::Mine);
    }
    assert_eq!(won, 1);
}
