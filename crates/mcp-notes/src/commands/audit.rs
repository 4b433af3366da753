//! `mcp-notes audit`: shows the audit log, for people or for programs.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, Write as _, stdout},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
};

use super::{Failure, complain, runtime};
use crate::{
    audit::{
        Destination,
        read::{Filter, LINE_BYTES_MAX, Record, heading, time},
    },
    config::Config,
};

/// How often a log that is followed is looked at.
const POLL: Duration = Duration::from_millis(200);

/// What to show.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file to read; without it, the one of `AUDIT_LOG`. Rotated files are read when they
    /// are named here.
    #[arg(long)]
    file: Vec<PathBuf>,
    /// Only what happened since then: a time, or how long ago, such as 30m, 12h or 7d.
    #[arg(long)]
    since: Option<String>,
    /// Only what happened before then.
    #[arg(long)]
    until: Option<String>,
    /// Only what this subject, actor, client or credential did.
    #[arg(long)]
    principal: Option<String>,
    /// Only what was done with this note.
    #[arg(long)]
    note: Option<String>,
    /// Only this action, such as `delete_note`.
    #[arg(long)]
    action: Option<String>,
    /// Only this outcome.
    #[arg(long, value_parser = ["ok", "refused", "failed"])]
    outcome: Option<String>,
    /// Prints the lines as they are in the file.
    #[arg(long)]
    json: bool,
    /// Goes on with what is written from now on, until SIGINT, SIGTERM or SIGHUP.
    #[arg(long)]
    follow: bool,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let now = Timestamp::now();
    let moment = |option: &str, text: Option<&String>| {
        let read = text.map(|text| time(text, now)).transpose();
        read.map_err(|expected| Failure::Failed(format!("--{option}: {expected}")))
    };
    let filter = Filter {
        since: moment("since", args.since.as_ref())?,
        until: moment("until", args.until.as_ref())?,
        principal: args.principal,
        note: args.note,
        action: args.action,
        outcome: args.outcome,
    };
    let mut files = args.file;
    if files.is_empty() {
        files.push(configured()?);
    }
    let show = Show {
        filter,
        json: args.json,
        unreadable: 0,
    };
    if !args.follow {
        return shown(show, &files, false);
    }
    let runtime = runtime()?;
    let done = runtime.block_on(until_signalled(move || shown(show, &files, true)));
    // What reads the file goes with the process.
    runtime.shutdown_background();
    done
}

/// Follows the log until a signal says that it is enough.
async fn until_signalled(
    follow: impl FnOnce() -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    let mut hangup = signal(SignalKind::hangup()).map_err(Failure::failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
    tokio::select! {
        done = spawn_blocking(follow) => done.map_err(Failure::failed)?,
        _ = hangup.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

fn shown(mut show: Show, files: &[PathBuf], follow: bool) -> Result<(), Failure> {
    let done = show.all(files, follow);
    if show.unreadable > 0 {
        complain(format_args!(
            "{} lines are no lines of an audit log",
            show.unreadable
        ));
    }
    match done {
        // A reader that has gone is no failure of ours.
        Err(Stop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(Stop::Output(error)) => Err(Failure::Failed(format!("standard output: {error}"))),
        Err(Stop::Input(path, error)) => {
            Err(Failure::Failed(format!("{}: {error}", path.display())))
        }
        Ok(()) => Ok(()),
    }
}

/// The file that the settings name.
fn configured() -> Result<PathBuf, Failure> {
    match Config::from_env()?.config.audit_log_of_commands() {
        Destination::File(path) => Ok(path),
        Destination::Off | Destination::Stdout => Err(Failure::Failed(
            "AUDIT_LOG names no file here; name one with --file".into(),
        )),
    }
}

enum Stop {
    Input(PathBuf, io::Error),
    Output(io::Error),
}

struct Show {
    filter: Filter,
    json: bool,
    unreadable: u64,
}

impl Show {
    fn all(&mut self, files: &[PathBuf], follow: bool) -> Result<(), Stop> {
        if !self.json {
            Self::print(heading().as_bytes())?;
        }
        for (at, path) in files.iter().enumerate() {
            let is_last = at + 1 == files.len();
            self.file(path, follow && is_last)?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, follow: bool) -> Result<(), Stop> {
        let failed = |error| Stop::Input(path.to_owned(), error);
        let mut reader = BufReader::new(File::open(path).map_err(failed)?);
        let mut line = Vec::new();
        let mut next = None;
        loop {
            let room = (LINE_BYTES_MAX + 1).saturating_sub(line.len()) as u64;
            let mut piece = reader.by_ref().take(room);
            let bytes = piece.read_until(b'\n', &mut line).map_err(failed)?;
            if line.ends_with(b"\n") {
                self.line(&line)?;
                line.clear();
            } else if line.len() > LINE_BYTES_MAX {
                self.unreadable += 1;
                reader.skip_until(b'\n').map_err(failed)?;
                line.clear();
            } else if bytes == 0 && !follow {
                // The last line may just be being written.
                return Ok(());
            } else if bytes == 0
                && let Some(file) = next.take()
            {
                reader = BufReader::new(file);
                line.clear();
            } else if bytes == 0 {
                thread::sleep(POLL);
                // What came into this one before it was renamed is read first.
                next = renamed(path, reader.get_ref());
                if next.is_none() && is_cut(&mut reader).map_err(failed)? {
                    reader.rewind().map_err(failed)?;
                    line.clear();
                }
            }
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Stop> {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            return Ok(());
        }
        let Some(record) = Record::parse(line) else {
            self.unreadable += 1;
            return Ok(());
        };
        if !self.filter.takes(&record) {
            return Ok(());
        }
        if self.json {
            Self::print(line)
        } else {
            Self::print(record.row().as_bytes())
        }
    }

    fn print(line: &[u8]) -> Result<(), Stop> {
        let mut out = stdout().lock();
        out.write_all(line)
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush())
            .map_err(Stop::Output)
    }
}

/// The file that has the name `path` now, when it is another one than `open`.
fn renamed(path: &Path, open: &File) -> Option<File> {
    let (named, open) = (fs::metadata(path).ok()?, open.metadata().ok()?);
    let is_same = named.dev() == open.dev() && named.ino() == open.ino();
    if is_same { None } else { File::open(path).ok() }
}

/// Whether the file is shorter than what was read of it.
fn is_cut(reader: &mut BufReader<File>) -> io::Result<bool> {
    let about = reader.get_ref().metadata()?;
    Ok(about.is_file() && about.len() < reader.stream_position()?)
}
