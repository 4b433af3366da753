//! One SQLite file has one server, however the file is named and however the server ends.

use std::{fs, os::unix::fs::symlink};

use tempfile::tempdir;

use crate::process::{Served, run, stderr};

/// Starts a second server, which must not come up; what it says.
async fn refused(folder: &std::path::Path, store: &str) -> String {
    let vars = [("PORT", "0"), ("NOTES_STORE", store)];
    let output = run(folder, &["serve"], &vars).await;
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    stderr(&output)
}

#[tokio::test]
async fn a_second_server_on_a_file_is_refused_by_every_name_of_it() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let served = Served::start(at, &[("NOTES_STORE", "sqlite:notes.db")]).await;
    let database = at.canonicalize().unwrap().join("notes.db");
    symlink("notes.db", at.join("linked.db")).unwrap();
    symlink(".", at.join("again")).unwrap();
    let whole = format!("sqlite:{}", database.display());
    for store in [
        "sqlite:notes.db",
        "sqlite:./again/notes.db",
        "sqlite:linked.db",
        &whole,
    ] {
        let said = refused(at, store).await;
        for words in [
            format!("NOTES_STORE {store}: {} is served by", database.display()),
            format!("by process {} already", served.child.id().unwrap()),
            "one SQLite file has one server".to_owned(),
            "keep the notes in MongoDB".to_owned(),
        ] {
            assert!(said.contains(&words), "{words}: {said}");
        }
    }
    // By a second name SQLite would keep a second log, whoever opens it.
    fs::hard_link(&database, at.join("hard.db")).unwrap();
    let said = refused(at, "sqlite:hard.db").await;
    assert!(said.contains("several names (hard links)"), "{said}");
    fs::remove_file(at.join("hard.db")).unwrap();

    // What is no server works beside it, and so does a server with another file.
    let output = run(
        at,
        &["token", "list"],
        &[("NOTES_STORE", "sqlite:notes.db")],
    )
    .await;
    assert!(output.status.success(), "{}", stderr(&output));
    let other = Served::start(at, &[("NOTES_STORE", "sqlite:other.db")]).await;
    assert!(other.stop().await.0.success());
    assert!(served.stop().await.0.success());
    let served = Served::start(at, &[("NOTES_STORE", "sqlite:linked.db")]).await;
    assert!(served.stop().await.0.success());
}

#[tokio::test]
async fn a_server_with_a_port_is_named_by_its_address() {
    let folder = tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let mut command = crate::process::command(folder.path(), &["serve"], &[("PORT", &port)]);
    command.env("LOG_FORMAT", "json");
    let served = Served::spawn(command).await;
    let said = refused(folder.path(), "sqlite:data/notes.db").await;
    let who = format!(
        "process {} at {}",
        served.child.id().unwrap(),
        served.address
    );
    assert!(said.contains(&who), "{said}");
}

#[tokio::test]
async fn the_file_is_free_after_kill_9() {
    let folder = tempdir().unwrap();
    // Whoever had it last had a longer name.
    let before = format!("process {}", "9".repeat(100));
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data/notes.db.lock"), before).unwrap();
    for _ in 0..3 {
        let served = Served::start(folder.path(), &[]).await;
        let said = refused(folder.path(), "sqlite:data/notes.db").await;
        let words = format!("by process {} already", served.child.id().unwrap());
        assert!(said.contains(&words), "{words}: {said}");
        assert!(said.contains("one SQLite file has one server"), "{said}");
        served.kill().await;
    }
}

#[tokio::test]
async fn of_many_that_start_at_once_one_serves() {
    let folder = tempdir().unwrap();
    let starts = (0..6).map(|_| refused_or_killed(folder.path().to_owned()));
    let mut servers: Vec<_> = starts.map(tokio::spawn).collect();
    let mut up = Vec::new();
    for start in &mut servers {
        up.extend(start.await.unwrap());
    }
    assert_eq!(up.len(), 1, "{} servers", up.len());
}

/// A server that came up, or nothing if it was refused as it should be.
async fn refused_or_killed(folder: std::path::PathBuf) -> Option<tokio::process::Child> {
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
    let vars = [("PORT", "0"), ("LOG_FORMAT", "json")];
    let mut server = crate::process::command(&folder, &["serve"], &vars)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(crate::process::PATIENCE, lines.next_line());
    if let Some(line) = line.await.unwrap().unwrap() {
        assert!(line.contains("listening"), "{line}");
        return Some(server);
    }
    let mut said = String::new();
    let mut errors = server.stderr.take().unwrap();
    errors.read_to_string(&mut said).await.unwrap();
    assert!(said.contains("one SQLite file has one server"), "{said}");
    None
}

#[tokio::test]
async fn a_lock_that_cannot_be_made_is_said_and_nothing_starts() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    fs::create_dir(at.join("notes.db.lock")).unwrap();
    let said = refused(at, "sqlite:notes.db").await;
    let words = "/notes.db.lock cannot be taken (is a directory)";
    assert!(said.contains(words), "{said}");
    fs::remove_dir(at.join("notes.db.lock")).unwrap();

    // A folder in which nobody can make a file, not even the superuser.
    let said = refused(at, "sqlite:/sys/notes.db").await;
    let words = "/sys/notes.db.lock cannot be taken (";
    assert!(said.contains(words), "{said}");
}
