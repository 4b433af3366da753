//! The same to MongoDB and from it.

use mongodb::{
    Client,
    bson::{DateTime, Document, doc},
};

use super::*;
use crate::engine::Database;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_moves_to_mongodb_and_back_although_it_is_cut_off() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let database = Database::new();
    let tally = filled(at, "a.db", 1_700).await;
    let there = ["migrate", "--from", "sqlite:a.db", "--to", database.url()];
    let mut child = command(at, &there, &[]).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while let Some(line) = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap() {
        if line.contains("copying") {
            child.start_kill().unwrap();
        }
    }
    assert!(!child.wait().await.unwrap().success());
    let store = notes::open(database.url()).await.unwrap();
    let begun = store.counts().await.unwrap().notes;
    assert!((1..1_700).contains(&begun), "{begun}");
    store.close().await.unwrap();

    let back = ["migrate", "--from", database.url(), "--to", "sqlite:b.db"];
    let expected = format!("moved and the same on both sides: {tally}\n");
    for arguments in [there, back] {
        let output = run(at, &arguments, &[]).await;
        assert_eq!(stdout(&output), expected, "{}", stderr(&output));
    }
    let same = ["migrate", "--from", database.url(), "--to", database.url()];
    let output = run(at, &same, &[]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("this is what --from names"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notes_of_the_demo_are_not_left_behind() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let database = Database::new();
    let client = Client::with_uri_str(database.url()).await.unwrap();
    let notes = client.default_database().unwrap();
    let notes = notes.collection::<Document>("mcp_notes");
    let time = DateTime::from_millis(1_700_000_000_000);
    let demo = doc! {
        "noteId": "note_1_abc", "title": "Demo", "content": "Left behind?",
        "createdAt": time, "updatedAt": time,
    };
    notes.insert_one(demo).await.unwrap();
    let arguments = ["migrate", "--from", database.url(), "--to", "sqlite:b.db"];
    let output = run(at, &arguments, &[]).await;
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("1 documents of its collection"), "{said}");
    assert!(said.contains("a server that is started on it"), "{said}");

    let served = Served::start(at, &[("NOTES_STORE", database.url())]).await;
    assert!(served.stop().await.0.success());
    let output = run(at, &arguments, &[]).await;
    let moved = stdout(&output);
    assert!(moved.contains("notes 1, tokens 0,"), "{}", stderr(&output));
}
