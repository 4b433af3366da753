//! Backups from the command line and by the schedule: whole, of one moment, and back again, or said why
//! not.

mod trouble;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use age::secrecy::ExposeSecret as _;
use mcp_serve::test_util::Modern;
use notes::backup::{Keys, Reader};
use notes::transfer::Part;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::process::{PATIENCE, Served, run, stderr, stdout};

async fn tool(client: &mut Modern, name: &str, arguments: Value) -> Value {
    let call = json!({ "name": name, "arguments": arguments });
    let answer = client.call("tools/call", call).await.unwrap();
    answer.last()["result"]["structuredContent"].clone()
}

/// The archives in a folder, the newest first.
fn archives(folder: &Path) -> Vec<PathBuf> {
    let found = notes::backup::list(folder).unwrap();
    found.into_iter().map(|entry| entry.path).collect()
}

/// Writes in a chain until it is told to stop: a note of a step, then the counter, then the next.
async fn chain(
    served: std::net::SocketAddr,
    who: usize,
    stop: Arc<AtomicBool>,
    last: Arc<AtomicU64>,
) {
    let mut client = Modern::new(served);
    let title = format!("counter {who}");
    let made = tool(
        &mut client,
        "create_note",
        json!({ "title": title, "content": "0" }),
    )
    .await;
    let id = made["id"].clone();
    for step in 1_u64.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let (title, content) = (format!("step {who}"), step.to_string());
        let new = json!({ "title": title, "content": &content });
        tool(&mut client, "create_note", new).await;
        let change = json!({ "id": id, "content": &content });
        let changed = tool(&mut client, "update_note", change).await;
        assert_eq!(changed["version"], step + 1, "{changed}");
        last.store(step, Ordering::SeqCst);
    }
}

/// What an archive has of each chain: its counter and its steps.
fn chains(path: &Path) -> BTreeMap<String, (u64, Vec<u64>)> {
    let file = fs::File::open(path).unwrap();
    let mut archive = Reader::unlock(file, &Keys::default()).unwrap();
    let mut chains: BTreeMap<String, (u64, Vec<u64>)> = BTreeMap::new();
    while let Some(part) = archive.part().unwrap() {
        let Part::Notes(notes) = part else { continue };
        for note in notes {
            let (kind, who) = note.title.as_str().split_once(' ').unwrap();
            let number = note.content.as_str().parse().unwrap();
            let chain = chains.entry(who.to_owned()).or_default();
            match kind {
                "counter" => chain.0 = number,
                _ => chain.1.push(number),
            }
        }
    }
    chains
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_while_the_server_writes_is_of_one_moment() {
    const WRITERS: usize = 8;
    let folder = tempdir().unwrap();
    let at = folder.path();
    let served = Served::start(at, &[]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let last: Vec<_> = (0..WRITERS).map(|_| Arc::new(AtomicU64::new(0))).collect();
    let tasks: Vec<_> = (0..WRITERS)
        .map(|who| tokio::spawn(chain(served.address, who, stop.clone(), last[who].clone())))
        .collect();
    let steps = || {
        last.iter()
            .map(|it| it.load(Ordering::SeqCst))
            .collect::<Vec<_>>()
    };
    while steps().iter().any(|step| *step < 5) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..3 {
        let (before, begun) = (steps(), Instant::now());
        let output = run(at, &["backup", "--verify", "--to", "kept"], &[]).await;
        assert!(output.status.success(), "{}", stderr(&output));
        let said = stdout(&output);
        assert!(said.contains("restored for a trial and the same"), "{said}");
        let written: u64 = steps().iter().sum::<u64>() - before.iter().sum::<u64>();
        println!("{} writes in {:?}", 2 * written, begun.elapsed());
        assert!(written > 0);
        let chains = chains(&archives(&at.join("kept"))[0]);
        for (who, before) in before.into_iter().enumerate() {
            let (counter, mut steps) = chains[&who.to_string()].clone();
            steps.sort_unstable();
            let count = steps.len() as u64;
            assert!(counter >= before, "{counter} instead of at least {before}");
            assert_eq!(steps, (1..=count).collect::<Vec<_>>());
            assert!(
                count == counter || count == counter + 1,
                "{count} steps at {counter}"
            );
        }
    }
    // No restore while the server has the store.
    let newest = archives(&at.join("kept"))[0].clone();
    let name = newest.to_str().unwrap();
    let output = run(at, &["restore", name, "--replace"], &[]).await;
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("is served by process"), "{said}");
    stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    assert!(served.stop().await.0.success());

    // Everything is lost, and comes back.
    fs::remove_dir_all(at.join("data")).unwrap();
    let output = run(at, &["restore", name], &[]).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let checksum = |text: &str| text.split("checksum ").nth(1).unwrap()[..64].to_owned();
    let again = run(at, &["backup", "--to", "again"], &[]).await;
    assert_eq!(checksum(&stdout(&again)), checksum(&stdout(&output)));
    let chains = chains(&archives(&at.join("again"))[0]);
    assert_eq!(chains.len(), WRITERS);
    let served = Served::start(at, &[]).await;
    let mut client = Modern::new(served.address);
    let found = tool(&mut client, "search_notes", json!({ "query": "counter 3" })).await;
    assert_eq!(found["total"], 1, "{found}");
    assert!(served.stop().await.0.success());
}

/// A store with one note and one token, closed again.
async fn filled(at: &Path) {
    let args = ["token", "create", "--name", "ci", "--owner", "ann"];
    let made = run(at, &args, &[]).await;
    assert!(made.status.success(), "{}", stderr(&made));
    let served = Served::start(at, &[]).await;
    let mut client = Modern::new(served.address);
    let new = json!({ "title": "Milk", "content": "Two litres." });
    tool(&mut client, "create_note", new).await;
    assert!(served.stop().await.0.success());
}

#[tokio::test]
async fn an_encrypted_backup_is_opened_by_its_key_alone() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    filled(at).await;
    let key = age::x25519::Identity::generate();
    let secret = key.to_string().expose_secret().to_owned();
    fs::write(
        at.join("backup.pub"),
        format!("# the safe\n{}\n", key.to_public()),
    )
    .unwrap();
    fs::write(at.join("backup.key"), &secret).unwrap();
    let sealed = [("BACKUP_ENCRYPT_TO", "backup.pub")];
    let output = run(at, &["backup", "--verify"], &sealed).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(said.contains("notes 1, tokens 1"), "{said}");
    let archive = archives(&at.join("data/backups"))[0].clone();
    let name = archive.file_name().unwrap().to_str().unwrap();
    assert!(name.ends_with(".mcpnotes.age"), "{name}");
    let bytes = fs::read(&archive).unwrap();
    assert!(!bytes.windows(4).any(|it| it == b"Milk" || it == b"note"));

    let listed = stdout(&run(at, &["backups"], &[]).await);
    assert!(
        listed.contains(name) && listed.contains("verified"),
        "{listed}"
    );
    let listed = stdout(&run(at, &["backups", "--json"], &[]).await);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["backups"][0]["encrypted"], true);
    assert_eq!(listed["backups"][0]["notes"], 1);

    let locked = run(at, &["backups", "verify", name], &sealed).await;
    let said = stderr(&locked);
    assert_eq!(locked.status.code(), Some(1), "{said}");
    assert!(
        said.contains("none of the keys that were given opens it"),
        "{said}"
    );
    let restore = ["restore", name, "--to", "sqlite:new.db"];
    let locked = run(at, &restore, &sealed).await;
    assert_eq!(locked.status.code(), Some(1), "{}", stderr(&locked));
    assert!(!at.join("new.db").exists());
    let open = [("BACKUP_IDENTITIES", "backup.key")];
    let verified = run(at, &["backups", "verify", name], &open).await;
    assert!(verified.status.success(), "{}", stderr(&verified));
    let restored = run(
        at,
        &[&restore[..], &["--identities", "backup.key"]].concat(),
        &[],
    )
    .await;
    assert!(restored.status.success(), "{}", stderr(&restored));
    assert!(stdout(&restored).contains("notes 1, tokens 1"));

    // A file of keys that has none stops the start, and shows nothing of what it has.
    fs::write(at.join("backup.pub"), &secret).unwrap();
    for command in [&["backup"][..], &["serve"]] {
        let wrong = run(at, command, &sealed).await;
        let said = stderr(&wrong);
        assert_eq!(wrong.status.code(), Some(78), "{said}");
        assert!(
            said.contains("line 1 is none") && !said.contains(&secret),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_passphrase_closes_and_opens() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    filled(at).await;
    let secret = [("BACKUP_PASSPHRASE", "correct horse battery")];
    let output = run(at, &["backup"], &secret).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let archive = archives(&at.join("data/backups"))[0].clone();
    let restore = [
        "restore",
        archive.to_str().unwrap(),
        "--to",
        "sqlite:new.db",
    ];
    let locked = run(at, &restore, &[]).await;
    assert_eq!(locked.status.code(), Some(1), "{}", stderr(&locked));
    let restored = run(at, &restore, &secret).await;
    assert!(restored.status.success(), "{}", stderr(&restored));
    let short = run(at, &["backup"], &[("BACKUP_PASSPHRASE", "hunter2")]).await;
    assert_eq!(short.status.code(), Some(78));
    assert!(!stderr(&short).contains("hunter2"), "{}", stderr(&short));
}

#[tokio::test]
async fn the_server_makes_backups_by_its_schedule() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let vars = [
        ("BACKUP_SCHEDULE", "hourly"),
        ("BACKUP_DIR", "kept"),
        ("AUDIT_LOG", "audit.jsonl"),
    ];
    let served = Served::start(at, &vars).await;
    served.says("a backup was made").await;
    assert_eq!(archives(&at.join("kept")).len(), 1);
    assert!(served.stop().await.0.success());
    let lines = fs::read_to_string(at.join("audit.jsonl")).unwrap();
    let line = lines
        .lines()
        .find(|line| line.contains(r#""action":"backup""#));
    assert!(line.unwrap().contains(r#""outcome":"ok""#), "{lines}");
    // It is not made again in the same hour.
    let listed = stdout(&run(at, &["backups", "--json", "--dir", "kept"], &[]).await);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert!(listed["backups"][0]["verified_at"].is_string(), "{listed}");
}

#[cfg(feature = "mongodb")]
#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_one_makes_the_backup() {
    let (folder, database) = (tempdir().unwrap(), crate::engine::Database::new());
    let at = folder.path();
    // Far from the next round, so that none begins meanwhile.
    let vars = [
        ("BACKUP_SCHEDULE", "weekly thu 00:00"),
        ("BACKUP_DIR", "kept"),
        ("NOTES_STORE", database.url()),
    ];
    let servers = [
        Served::start(at, &vars).await,
        Served::start(at, &vars).await,
    ];
    let begun = Instant::now();
    while !servers.iter().any(|it| it.has_said("a backup was made")) {
        assert!(begun.elapsed() < PATIENCE, "no backup");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut made = 0;
    for served in servers {
        let (status, log) = served.stop().await;
        assert!(status.success());
        let is_made = |line: &&Value| line["msg"] == "a backup was made";
        made += log.iter().filter(is_made).count();
        let failed = log
            .iter()
            .find(|line| line["msg"].to_string().contains("failed"));
        assert_eq!(failed, None);
    }
    assert_eq!((made, archives(&at.join("kept")).len()), (1, 1));
    // What was taken from MongoDB goes into a file.
    let archive = archives(&at.join("kept"))[0].clone();
    let restore = [
        "restore",
        archive.to_str().unwrap(),
        "--to",
        "sqlite:new.db",
    ];
    let restored = run(at, &restore, &[]).await;
    assert!(restored.status.success(), "{}", stderr(&restored));
}
