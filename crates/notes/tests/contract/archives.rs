//! Archives and the folder they are in: no byte changes unseen, and nothing is removed but what is too
//! much.

use std::fs;
use std::io::Cursor;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use notes::backup::{self, BackupError, Broken, Keys, Options, Passphrase, Reader, Seal};
use notes::transfer::{KeptToken, Part, Tally};
use notes::{Note, Timestamp, open};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::backups::{all_of, held, made, make, names, now, restored, verify};
use crate::moving::{fill, tokens};
use crate::stage::{Stage, caller, new_note};

fn run(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(work);
}

async fn stage() -> Stage {
    Stage::of(open("sqlite::memory:").await.unwrap())
}

/// Everything in an archive, or why it cannot be read.
fn read(bytes: &[u8], keys: &Keys) -> Result<(Vec<Note>, Vec<KeptToken>, Tally), Broken> {
    let mut archive = Reader::unlock(Cursor::new(bytes.to_vec()), keys)?;
    let (mut notes, mut tokens) = (Vec::new(), Vec::new());
    while let Some(part) = archive.part()? {
        match part {
            Part::Notes(part) => notes.extend(part),
            Part::Tokens(part) => tokens.extend(part),
        }
    }
    Ok((notes, tokens, archive.tally()))
}

/// A small archive of a note and two tokens.
async fn small(seal: Option<Seal>, folder: &Path) -> Vec<u8> {
    let stage = stage().await;
    stage
        .add(&caller("ann"), "Title", "Some text.", &["tag"])
        .await;
    stage
        .store
        .import_tokens(tokens()[..2].to_vec())
        .await
        .unwrap();
    let is_sealed = seal.is_some();
    let options = Options {
        seal,
        verify: true,
        keep: None,
    };
    let made = make(stage.store.as_ref(), folder, &options, now());
    let made = made.await.unwrap();
    let ending = if is_sealed { "age" } else { "mcpnotes" };
    assert_eq!(made.path.extension().unwrap(), ending);
    fs::read(made.path).unwrap()
}

fn pair() -> (Seal, Keys) {
    let key = age::x25519::Identity::generate();
    let public = format!("# the office\n\n{}\n", key.to_public());
    let secret = age::secrecy::ExposeSecret::expose_secret(&key.to_string()).to_owned();
    (
        Seal::recipients(&public).unwrap(),
        Keys::identities(&secret).unwrap(),
    )
}

#[test]
fn no_byte_of_an_archive_changes_unseen() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let bytes = small(None, folder.path()).await;
        let none = Keys::default();
        assert_eq!(read(&bytes, &none).unwrap().2.notes, 1);
        let first_line = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << (place % 8);
            let told = read(&damaged, &none).err().unwrap();
            // Only the first line says whose it is before its checksum is reached.
            let is_exact = place <= first_line || matches!(told, Broken::Damaged(_));
            assert!(is_exact, "byte {place}: {told}");
        }
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length], &none).is_err(), "{length} bytes");
        }
        for more in [&b"\n"[..], b"x", &bytes] {
            assert!(read(&[&bytes, more].concat(), &none).is_err());
        }
    });
}

#[test]
fn no_byte_of_an_encrypted_archive_changes_unseen() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let (seal, keys) = pair();
        let bytes = small(Some(seal), folder.path()).await;
        assert_eq!(read(&bytes, &keys).unwrap().2.notes, 1);
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << (place % 8);
            assert!(read(&damaged, &keys).is_err(), "byte {place}");
        }
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length], &keys).is_err(), "{length} bytes");
        }
        assert!(read(&[&bytes, &b"\n"[..]].concat(), &keys).is_err());
    });
}

#[test]
fn only_the_right_key_opens_an_archive() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let (seal, keys) = pair();
        let bytes = small(Some(seal), folder.path()).await;
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with("age-encryption.org/v1\n"));
        assert!(!text.contains("mcp_notes_backup") && !text.contains("Title"));
        for wrong in [Keys::default(), pair().1] {
            assert!(matches!(read(&bytes, &wrong), Err(Broken::Locked(_))));
        }
        read(&bytes, &keys).unwrap();
        // The list needs no key.
        let listed = backup::list(folder.path()).unwrap();
        assert_eq!(listed[0].slip.as_ref().unwrap().notes, 1);
        assert!(listed[0].is_encrypted);
        // A key that is wrong does not make an archive broken.
        let path = &listed[0].path;
        let tried = verify(path, &Keys::default()).await;
        assert!(!tried.unwrap_err().is_damage());
        assert!(!backup::list(folder.path()).unwrap()[0].is_broken());
    });
}

#[test]
fn a_passphrase_opens_what_it_closed() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        assert!(Passphrase::parse("too short").is_err());
        let passphrase = Passphrase::parse("correct horse battery").unwrap();
        let bytes = small(Some(Seal::Passphrase(passphrase.clone())), folder.path()).await;
        assert_eq!(format!("{passphrase:?}"), "***");
        let right = Keys::default().with_passphrase(Some(passphrase));
        assert_eq!(read(&bytes, &right).unwrap().2.notes, 1);
        let wrong = Passphrase::parse("correct horse barrel").unwrap();
        let wrong = Keys::default().with_passphrase(Some(wrong));
        assert!(matches!(
            read(&bytes, &wrong),
            Err(Broken::Locked(_) | Broken::Damaged(_))
        ));
    });
}

#[test]
fn an_archive_of_a_later_version_is_refused_with_its_version() {
    // An archive whose one line is of a kind that there is not, or has a field too many.
    let archive = |header: &str, line: &str| {
        let frame = zstd::encode_all(line.as_bytes(), 3).unwrap();
        let bytes = [format!("{header}\n").as_bytes(), &frame].concat();
        let sum = Sha256::digest(&bytes);
        let sum = (sum.iter()).fold(String::new(), |sum, byte| sum + &format!("{byte:02x}"));
        let end = format!("{{\"revisions\":1,\"sha256\":\"{sum}\"}}\n");
        [&bytes, end.as_bytes()].concat()
    };
    let header = |form: u32| {
        format!(
            r#"{{"mcp_notes_backup":{form},"created_at":"2026-11-22T03:00:00Z","version":"9.8.7","store":"sqlite","one_moment":true,"notes":1,"tokens":0}}"#
        )
    };
    for (header, line, words) in [
        (
            header(1),
            "{\"revision\":{\"of\":\"x\"}}\n",
            "records of the kind revision",
        ),
        (
            header(1),
            "{\"token\":{\"id\":\"x\",\"colour\":\"red\"}}\n",
            "kind token",
        ),
        (header(2), "{\"note\":{}}\n", "form 2"),
    ] {
        let refused = read(&archive(&header, line), &Keys::default()).unwrap_err();
        let said = refused.to_string();
        assert!(matches!(refused, Broken::Newer { .. }), "{said}");
        assert!(said.contains("9.8.7") && said.contains(words), "{said}");
    }
}

#[test]
fn any_notes_come_back_from_an_archive() {
    let names = "[a-zA-Z0-9 |:/@.üß語]{1,12}";
    let text = proptest::collection::vec(any::<char>(), 1..200)
        .prop_map(|it| it.into_iter().collect::<String>());
    let note = (
        names,
        "[A-Za-z0-9._~-]{1,20}",
        "[^\\p{C}\\s]{1,30}",
        text,
        -1_000_000_000_i64..i64::pow(10, 15),
    );
    let all = proptest::collection::vec(note, 0..20);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(24));
    let tried = runner.run(&all, |all| {
        run(async {
            let folder = tempfile::tempdir().unwrap();
            let stage = stage().await;
            let limits = notes::Limits::default();
            for (owner, id, title, content, micros) in all {
                let who = caller(&owner);
                let Ok(content) = notes::Content::parse(&content, &limits) else {
                    continue;
                };
                let Ok(title) = notes::Title::parse(&title, &limits) else {
                    continue;
                };
                let Ok(id) = notes::NoteId::parse(&id) else {
                    continue;
                };
                let at = Timestamp::from_microsecond(micros).unwrap();
                let note = Note {
                    id,
                    owner: who.owner,
                    title,
                    content,
                    tags: new_note("x", "x", &["b", "a"]).tags,
                    version: 7,
                    created_at: at,
                    updated_at: at,
                    created_by: who.author.clone(),
                    updated_by: who.author,
                };
                // Two of one id are one too many for a store.
                let _ = stage.store.insert(note).await;
            }
            let made = made(&stage, folder.path()).await;
            let bytes = fs::read(&made.path).unwrap();
            let (_, _, tally) = read(&bytes, &Keys::default()).unwrap();
            assert_eq!(tally, all_of(stage.store.as_ref()).await);
        });
        Ok(())
    });
    tried.unwrap();
}

#[test]
fn what_is_too_much_is_removed_and_nothing_else() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path();
        let stage = stage().await;
        fill(&stage).await;
        let options = Options {
            keep: NonZeroUsize::new(2),
            ..Options::default()
        };
        let on = async |day: u32| {
            let at: Timestamp = format!("2026-11-{day:02}T03:00:00Z").parse().unwrap();
            let made = make(stage.store.as_ref(), folder, &options, at);
            made.await.unwrap()
        };
        let foreign = [
            "notes-20261101T030000Z.mcpnotes.txt",
            "notes-20261101T030000.mcpnotes",
            "notes-20261301T030000Z.mcpnotes",
            "other.mcpnotes",
            "notes.db",
        ];
        for name in foreign {
            fs::write(folder.join(name), "mine").unwrap();
        }
        fs::create_dir(folder.join("notes-20261102T030000Z.mcpnotes")).unwrap();
        std::os::unix::fs::symlink(
            "other.mcpnotes",
            folder.join("notes-20261103T030000Z.mcpnotes"),
        )
        .unwrap();
        on(5).await;
        on(6).await;
        let third = on(7).await;
        assert_eq!(
            third.removed,
            [folder.join("notes-20261105T030000Z.mcpnotes")]
        );
        // Two that are broken count for nothing, so the good one of day 6 stays.
        let eighth = on(8).await;
        assert_eq!(
            eighth.removed,
            [folder.join("notes-20261106T030000Z.mcpnotes")]
        );
        for made in [&third, &eighth] {
            fs::write(&made.path, "short").unwrap();
        }
        let ninth = on(9).await;
        assert_eq!(ninth.removed, Vec::<std::path::PathBuf>::new());
        on(10).await;
        let listed = backup::list(folder).unwrap();
        let days: Vec<_> = listed
            .iter()
            .map(|it| it.time.strftime("%d").to_string())
            .collect();
        assert_eq!(days, ["10", "09"]);
        // Names from a clock that was wrong do not push out what was made just now.
        fs::copy(&ninth.path, folder.join("notes-20991231T000000Z.mcpnotes")).unwrap();
        fs::copy(&ninth.path, folder.join("notes-20991230T000000Z.mcpnotes")).unwrap();
        let newest = on(11).await;
        assert!(newest.path.exists());
        for name in foreign {
            assert!(folder.join(name).exists(), "{name}");
        }
        assert!(folder.join("notes-20261102T030000Z.mcpnotes").is_dir());
        assert!(folder.join("notes-20261103T030000Z.mcpnotes").is_symlink());
    });
}

#[test]
fn one_backup_is_made_in_a_folder_and_leavings_are_removed() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path();
        let stage = stage().await;
        fill(&stage).await;
        for left in [
            ".mcp-notes-backup.part",
            ".mcp-notes-snapshot",
            ".mcp-notes-scratch",
        ] {
            fs::write(folder.join(left), "left by a crash").unwrap();
        }
        let lock = fs::File::create(folder.join(".mcp-notes-backup.lock")).unwrap();
        lock.lock().unwrap();
        let options = Options::default();
        let refused = make(stage.store.as_ref(), folder, &options, now());
        assert!(matches!(refused.await, Err(BackupError::Busy(_))));
        drop(lock);
        let made = made(&stage, folder).await;
        let slip = format!("{}.json", made.path.file_name().unwrap().to_str().unwrap());
        assert_eq!(names(folder), [slip.trim_end_matches(".json"), &slip]);
        for file in [made.path.clone(), folder.join(slip)] {
            assert_eq!(
                fs::metadata(file).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
    });
}

#[test]
fn a_database_that_cannot_be_read_is_put_aside_when_that_is_said() {
    run(async {
        let stage = stage().await;
        fill(&stage).await;
        let folder = stage.spare.folder.path();
        let made = made(&stage, folder).await;
        let path = folder.join("notes.db");
        let address = format!("sqlite:{}", path.display());
        fs::write(&path, "no database at all, whatever was here before").unwrap();
        let refused = restored(&made.path, &address, false).await;
        assert!(
            matches!(refused, Err(BackupError::Unreadable(_))),
            "{refused:?}"
        );
        let done = restored(&made.path, &address, true).await.unwrap();
        let aside = done.aside.unwrap();
        assert_eq!(fs::read_to_string(&aside).unwrap()[..11], *"no database");
        assert_eq!(held(&address).await, done.tally);
    });
}

#[test]
fn a_swap_that_was_cut_off_is_done_again() {
    run(async {
        let stage = stage().await;
        fill(&stage).await;
        let folder = stage.spare.folder.path();
        let made = made(&stage, folder).await;
        let path = folder.join("notes.db");
        let address = format!("sqlite:{}", path.display());
        restored(&made.path, &address, false).await.unwrap();
        let before = held(&address).await;
        // As it is between the two steps: the old file with two names, the new one beside it.
        fs::hard_link(&path, folder.join("notes.db.before-20200101T000000Z")).unwrap();
        fs::write(folder.join("notes.db.restoring"), "half").unwrap();
        assert!(open(&address).await.is_err());
        let done = restored(&made.path, &address, true).await.unwrap();
        assert_eq!(done.tally, before);
        assert_eq!(held(&address).await, before);
        assert!(!folder.join("notes.db.before-20200101T000000Z").exists());
        // Whoever has the old file open would write into the new one's log.
        let other = open(&address).await.unwrap();
        let refused = restored(&made.path, &address, true).await.unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("another process has its file open"),
            "{refused}"
        );
        assert_eq!(all_of(other.as_ref()).await, before);
        other.close().await.unwrap();
    });
}
