//! The writer where it cannot write: a full disk, a pipe that nobody empties, a link in its way.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Command,
    sync::atomic::AtomicI64,
};

use notes::{Clock, Timestamp};
use tempfile::tempdir;

use super::*;

const PATIENCE: Duration = Duration::from_mins(1);

/// A clock that stands where it is put, in milliseconds.
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.load(Ordering::Relaxed)).unwrap()
    }
}

fn shared() -> (Arc<Hand>, Arc<Shared>) {
    let clock = Arc::new(Hand(AtomicI64::new(1_000_000)));
    let shared = Shared {
        clock: clock.clone(),
        repeats: Mutex::default(),
    };
    (clock, Arc::new(shared))
}

fn writer(path: &Path, lines_max: usize) -> Writer {
    Writer::with_queue(lines_max, Target::open(path).unwrap(), shared().1)
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_full_disk_holds_nobody_up_and_every_line_is_counted() {
    let writer = writer(Path::new("/dev/full"), 100);
    let began = Instant::now();
    writer.write(b"{\"n\":0}\n".into());
    wait_until("it is told", || writer.trouble().is_some());
    let trouble = writer.trouble().unwrap();
    assert!(trouble.contains("No space left"), "{trouble}");
    for _ in 1..100_000 {
        writer.write(b"{\"n\":1}\n".into());
    }
    writer.close();
    assert_eq!(writer.state.lost.load(Ordering::Relaxed), 100_000);
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    let mut full = Target::open(Path::new("/dev/full")).unwrap();
    full.begin(b"{}\n").unwrap_err();
}

#[test]
fn what_waits_for_a_full_disk_has_a_bound() {
    let state = Arc::new(State::new(shared().1));
    let (sender, receiver) = mpsc::sync_channel(10_000);
    let mut thread = Thread {
        receiver,
        target: Target::open(Path::new("/dev/full")).unwrap(),
        pending: Pending::default(),
        state: state.clone(),
    };
    for _ in 0..10_000 {
        sender
            .try_send(Message::Line(vec![b'\n'; 1000]))
            .ok()
            .unwrap();
    }
    for _ in 0..3 {
        thread.gather();
        assert!(!thread.flush());
        assert!(thread.pending.bytes.len() < BATCH_BYTES_MAX + 1000);
    }
}

/// A writer into a pipe at `path` that has taken more than the pipe holds, and how many lines it was
/// given. A pipe holds 64 KiB, less than 65 of them.
fn fill(path: &Path) -> (Writer, u64) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
    let writer = writer(path, 4);
    let line = format!("{{\"own\":\"{}\"}}\n", "x".repeat(1000));
    let (mut taken, mut written) = (0, 0);
    wait_until("the pipe and the queue are full", || {
        let before = writer.state.lost.load(Ordering::Relaxed);
        writer.write(line.clone().into());
        written += 1;
        taken += u64::from(writer.state.lost.load(Ordering::Relaxed) <= before);
        taken > 65 && writer.trouble().as_deref() == Some("its queue is full")
    });
    (writer, written)
}

#[test]
fn a_full_queue_loses_lines_and_says_how_many_when_it_is_empty_again() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("pipe");
    let (writer, written) = fill(&path);
    let (sender, lines) = mpsc::channel();
    let pipe = File::open(&path).unwrap();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            if sender.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    let (mut own, mut lost) = (0, 0);
    while own + lost < written {
        let line = lines.recv_timeout(PATIENCE).unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        if line["own"].is_string() {
            own += 1;
        } else {
            assert_eq!(line["action"], "audit.lost");
            assert_eq!(line["outcome"], "failed");
            lost += line["count"].as_u64().unwrap();
        }
    }
    assert_eq!(own + lost, written);
    assert!(own >= 64 && lost >= 1, "{own} {lost}");
    wait_until("it works again", || writer.trouble().is_none());
    writer.close();
}

#[test]
fn a_pipe_that_nobody_empties_does_not_hold_up_the_end() {
    let folder = tempdir().unwrap();
    let (writer, _) = fill(&folder.path().join("pipe"));
    let began = Instant::now();
    writer.close();
    assert!(began.elapsed() < CLOSE_MAX * 4, "{:?}", began.elapsed());
}

#[test]
fn the_operator_is_told_once_a_minute_and_again_when_the_clock_went_back() {
    let (clock, shared) = shared();
    let state = State::new(shared);
    let at = |ms| {
        clock.0.store(ms, Ordering::Relaxed);
        state.is_complaint_due()
    };
    assert!(at(1_000_000));
    assert!(!at(1_000_000));
    assert!(!at(1_059_999));
    assert!(at(1_060_000));
    assert!(!at(1_060_001));
    assert!(at(500_000));
    assert!(!at(559_999));
}

#[test]
fn a_link_is_not_followed() {
    let folder = tempdir().unwrap();
    let victim = folder.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    let link = folder.path().join("audit.jsonl");
    symlink(&victim, &link).unwrap();
    let refused = Target::open(&link).err().unwrap();
    assert!(refused.to_string().contains("link"), "{refused}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    fs::remove_file(&victim).unwrap();
    assert!(Target::open(&link).is_err());
    assert!(!victim.exists());

    // Nor when it comes later: what is open takes the lines.
    fs::remove_file(&link).unwrap();
    let writer = writer(&link, 10);
    let moved = folder.path().join("moved");
    fs::rename(&link, &moved).unwrap();
    symlink(&victim, &link).unwrap();
    writer.write(b"{}\n".into());
    writer.close();
    assert_eq!(fs::read_to_string(&moved).unwrap(), "{}\n");
    assert!(!victim.exists());
}

#[test]
fn a_file_that_everybody_can_reach_is_told_from_others() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let mode = |mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(&path, mode).unwrap();
        target::exposed(&fs::metadata(&path).unwrap())
    };
    drop(Target::open(&path).unwrap());
    assert_eq!(target::exposed(&fs::metadata(&path).unwrap()), None);
    assert_eq!(mode(0o640), None);
    assert_eq!(mode(0o644).as_deref(), Some("644"));
    assert_eq!(mode(0o602).as_deref(), Some("602"));
}
