//! Everything moves from one store into another, or it is said why not, and nothing is lost when the
//! move is cut off.

#[cfg(feature = "mongodb")]
mod to_mongodb;

use std::{path::Path, process::Stdio, sync::Arc};

use notes::{
    AccessToken, Author, Limits, NewNote, Note, NoteId, Owner, Store, Timestamp, TokenName,
    transfer::{Counts, KeptToken, Tally},
};
use tempfile::tempdir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    time::timeout,
};

use crate::process::{PATIENCE, Served, command, run, signal, stderr, stdout};

fn at(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(1_700_000_000_000_001 + micros).unwrap()
}

fn note(number: u32) -> Note {
    let tags = ["to-do".to_owned(), format!("n{}", number % 7)];
    let text = format!("Text {number}\r\n\u{1F469}\u{200D}\u{1F4BB} größe $x.y");
    let title = format!("Title {number}");
    let new = NewNote::parse(&title, &text, &tags, &Limits::default()).unwrap();
    Note {
        id: NoteId::parse(&format!("note_{number}")).unwrap(),
        owner: Owner::parse(["ann", "bob", "ann|x y"][number as usize % 3]).unwrap(),
        title: new.title,
        content: new.content,
        tags: new.tags,
        version: u64::from(number) + 1,
        created_at: at(number.into()),
        updated_at: at(i64::from(number) * 1_001),
        created_by: Author::parse("ann").unwrap(),
        updated_by: Author::parse("eve").unwrap(),
    }
}

fn token(number: u8) -> KeptToken {
    let token = AccessToken {
        id: format!("t{number}"),
        name: TokenName::parse(&format!("name-{number}")).unwrap(),
        owner: Owner::parse("ann").unwrap(),
        scopes: vec!["notes:read".into()],
        created_at: at(number.into()),
        expires_at: (number > 1).then(|| at(5)),
        last_used: None,
        revoked_at: (number > 2).then(|| at(7)),
    };
    let hash = [number; 32];
    KeptToken { token, hash }
}

async fn open(folder: &Path, file: &str) -> Arc<dyn Store> {
    let path = folder.join(file);
    notes::open(&format!("sqlite:{}", path.display()))
        .await
        .unwrap()
}

/// A store with so many notes and four tokens, closed again; what it has.
async fn filled(folder: &Path, file: &str, notes: u32) -> Tally {
    let store = open(folder, file).await;
    let all: Vec<_> = (0..notes).map(note).collect();
    let tokens: Vec<_> = (0..4).map(token).collect();
    let mut tally = Tally::default();
    for note in &all {
        tally.note(note);
    }
    for kept in &tokens {
        tally.token(kept);
    }
    for part in all.chunks(1000) {
        store.import_notes(part.to_vec()).await.unwrap();
    }
    store.import_tokens(tokens).await.unwrap();
    store.close().await.unwrap();
    tally
}

async fn counts(folder: &Path, file: &str) -> Counts {
    let store = open(folder, file).await;
    let counts = store.counts().await.unwrap();
    store.close().await.unwrap();
    counts
}

const MOVE: [&str; 5] = ["migrate", "--from", "sqlite:a.db", "--to", "sqlite:b.db"];

#[tokio::test]
async fn everything_moves_and_is_compared() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let tally = filled(at, "a.db", 1300).await;
    let expected = format!("moved and the same on both sides: {tally}\n");
    assert!(expected.contains("notes 1300, tokens 4, checksum "));
    // Once more finds everything there, and back is the same.
    let back = ["migrate", "--from", "sqlite:b.db", "--to", "sqlite:c/d.db"];
    for arguments in [MOVE, MOVE, back] {
        let output = run(at, &arguments, &[]).await;
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(stdout(&output), expected);
        // No bar where nobody looks.
        let said = stderr(&output);
        assert!(said.contains("copying 500 of 1304 (38 %)"), "{said}");
        assert!(said.contains("comparing 2608 of 2608 (100 %)"), "{said}");
        assert!(!said.contains('\r'), "{said}");
    }
    // The server goes on where the notes are now.
    let served = Served::start(at, &[("NOTES_STORE", "sqlite:c/d.db")]).await;
    assert!(served.stop().await.0.success());
    let store = open(at, "c/d.db").await;
    for number in [0, 500, 1299] {
        let note = note(number);
        assert_eq!(store.get(&note.owner, &note.id).await.unwrap(), note);
    }
}

#[tokio::test]
async fn an_address_can_come_from_a_file() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    filled(at, "a.db", 3).await;
    std::fs::write(at.join("from"), "sqlite:a.db\n").unwrap();
    let output = run(
        at,
        &["migrate", "--from", "@from", "--to", "sqlite:b.db"],
        &[],
    )
    .await;
    assert!(
        stdout(&output).contains("notes 3, tokens 4"),
        "{}",
        stderr(&output)
    );
    let output = run(
        at,
        &["migrate", "--from", "@none", "--to", "sqlite:b.db"],
        &[],
    )
    .await;
    assert!(stderr(&output).contains("--from: none: No such file"));
}

#[tokio::test]
async fn what_was_cut_off_goes_on() {
    const NOTES: u32 = 6_000;
    let folder = tempdir().unwrap();
    let at = folder.path();
    let tally = filled(at, "a.db", NOTES).await;
    for name in ["KILL", "INT"] {
        let mut child = command(at, &MOVE, &[])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        while let Some(line) = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap() {
            if line.contains("copying") && said.iter().all(|it: &String| !it.contains("copying")) {
                signal(&child, name).await;
            }
            said.push(line);
        }
        let status = timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
        assert!(!status.success(), "{name}: {said:?}");
        if name != "KILL" {
            assert_eq!(status.code(), Some(1), "{name}: {said:?}");
            let last = "mcp-notes: stopped before everything was moved; the same command goes on \
                        from here";
            assert_eq!(said.last().map(String::as_str), Some(last));
        }
        let there = counts(at, "b.db").await;
        assert!((1..u64::from(NOTES)).contains(&there.notes), "{there:?}");
        assert_eq!(counts(at, "a.db").await.notes, u64::from(NOTES));
    }
    let output = run(at, &MOVE, &[]).await;
    let expected = format!("moved and the same on both sides: {tally}\n");
    assert_eq!(stdout(&output), expected, "{}", stderr(&output));
}

#[tokio::test]
async fn what_could_lose_a_note_is_refused() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    filled(at, "a.db", 5).await;
    let refused = async |from: &str, to: &str, words: &str| {
        let output = run(at, &["migrate", "--from", from, "--to", to], &[]).await;
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(words), "{words}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    };
    refused(
        "sqlite:none.db",
        "sqlite:b.db",
        "--from sqlite:none.db: there is no such file",
    )
    .await;
    assert!(!at.join("none.db").exists() && !at.join("b.db").exists());
    std::os::unix::fs::symlink("a.db", at.join("same.db")).unwrap();
    for same in ["sqlite:a.db", "sqlite:./a.db", "sqlite:same.db"] {
        refused("sqlite:a.db", same, "this is what --from names").await;
    }
    refused("sqlite:a.db", "redis://u:hunter2@h", "--to: expected").await;

    // Servers may not write meanwhile, and none begins while notes are moved.
    let served = Served::start(at, &[("NOTES_STORE", "sqlite:a.db")]).await;
    refused(
        "sqlite:a.db",
        "sqlite:b.db",
        "one SQLite file has one server",
    )
    .await;
    assert!(served.stop().await.0.success());
    let served = Served::start(at, &[("NOTES_STORE", "sqlite:b.db")]).await;
    refused(
        "sqlite:a.db",
        "sqlite:b.db",
        "one SQLite file has one server",
    )
    .await;
    assert!(served.stop().await.0.success());

    let store = open(at, "b.db").await;
    let mut other = note(1);
    other.version += 1;
    store.import_notes(vec![other]).await.unwrap();
    store.close().await.unwrap();
    let words = "the target holds the note note_1 of \"bob\", which the source does not have";
    refused("sqlite:a.db", "sqlite:b.db", words).await;
    assert_eq!(counts(at, "b.db").await.notes, 1);
}
