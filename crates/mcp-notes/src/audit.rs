//! The audit log: who did what to which note and what became of it, as a log of its own.
//!
//! Every operation on notes makes one line, whichever face it came through, and so does every
//! request that the edge refuses. No line holds anything of what is written in notes, and nothing
//! that proves who somebody is: `docs/audit.md` has the fields.

mod line;
pub mod read;
mod repeats;
mod trail;
mod writer;

use std::{
    fmt, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use mcp_serve::{
    audit::{Auditor, Opened, Refused},
    health::Check,
};
use notes::Clock;

use self::{
    line::action_of_request,
    repeats::Repeats,
    writer::{Target, Writer},
};
pub use self::{
    line::{Entry, Face, Outcome, REASONS, UNKNOWN_TOOL},
    trail::Trail,
};

/// Where the audit log goes (`AUDIT_LOG`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Nowhere.
    Off,
    /// Where the log lines of the process go too.
    Stdout,
    /// To the end of this file, which is made when it does not exist.
    File(PathBuf),
}

/// How the audit log is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it goes.
    pub destination: Destination,
    /// Whether reading leaves a line when it succeeds. What is refused or fails always does.
    pub reads: bool,
    /// Whether standard output carries something else, so that [`Destination::Stdout`] is standard
    /// error.
    pub stdout_is_taken: bool,
    /// Whether a server begins, which leaves a line in a file. When that cannot be written, there is
    /// no log.
    pub is_server: bool,
}

/// Why there can be no audit log.
#[derive(Debug, thiserror::Error)]
#[error("the audit log {} cannot be written", path.display())]
pub struct OpenError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// A handle to the audit log of the process; cheap to clone.
#[derive(Clone, Default)]
pub struct Audit {
    inner: Option<Arc<Inner>>,
}

struct Inner {
    writer: Writer,
    shared: Arc<Shared>,
    reads: bool,
}

/// What those who record share with the thread that writes.
struct Shared {
    clock: Arc<dyn Clock>,
    repeats: Mutex<Repeats>,
}

impl Shared {
    fn repeats(&self) -> MutexGuard<'_, Repeats> {
        // No code that can panic runs under this lock.
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audit {
    /// An audit log that takes nothing down.
    pub fn off() -> Self {
        Self::default()
    }

    /// Opens the audit log; times are those of `clock`.
    pub fn open(options: Options, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let mut start = Entry::new(Face::Server, "server.start");
        start.outcome = Outcome::Ok;
        start.reason = "";
        let start = start.to_line(clock.now());
        let target = match options.destination {
            Destination::Off => return Ok(Self::off()),
            Destination::Stdout if options.stdout_is_taken => Target::stderr(),
            Destination::Stdout => Target::stdout(),
            Destination::File(path) => {
                let opened = Target::open(&path).and_then(|mut target| {
                    if options.is_server {
                        target.begin(&start)?;
                    }
                    Ok(target)
                });
                opened.map_err(|source| OpenError { path, source })?
            }
        };
        let shared = Arc::new(Shared {
            clock,
            repeats: Mutex::default(),
        });
        Ok(Self {
            inner: Some(Arc::new(Inner {
                writer: Writer::start(target, shared.clone()),
                shared,
                reads: options.reads,
            })),
        })
    }

    /// Takes one entry down. It never waits: what the queue cannot hold is counted, and the count
    /// becomes a line.
    pub fn record(&self, entry: &Entry) {
        let Some(inner) = &self.inner else { return };
        if entry.is_read && entry.outcome == Outcome::Ok && !inner.reads {
            return;
        }
        inner.writer.write(entry.to_line(inner.shared.clock.now()));
    }

    /// Opens the file again under its name, after it was renamed.
    pub fn reopen(&self) {
        if let Some(inner) = &self.inner {
            inner.writer.reopen();
        }
    }

    /// Writes what waits and ends the log, within a few seconds. Blocks.
    pub fn close(&self) {
        if let Some(inner) = &self.inner {
            inner.writer.close();
        }
    }

    /// Why the lines of this moment are not written; `None` while they are.
    pub fn trouble(&self) -> Option<String> {
        self.inner.as_ref()?.writer.trouble()
    }

    /// Whether it takes nothing down.
    pub fn is_off(&self) -> bool {
        self.inner.is_none()
    }
}

impl Auditor for Audit {
    fn refused(&self, refused: &Refused<'_>) {
        let Some(inner) = &self.inner else { return };
        let (face, action) = action_of_request(refused.action);
        let entry = Entry {
            request_id: Some(refused.request_id.clone()),
            client: Some(refused.address),
            principal: refused.principal.cloned(),
            status: Some(refused.status),
            outcome: Outcome::Refused,
            reason: refused.reason,
            ..Entry::new(face, action)
        };
        let now = inner.shared.clock.now();
        let mut repeats = inner.shared.repeats();
        let told = repeats.sweep(now);
        let is_new = repeats.admit(&entry, now);
        drop(repeats);
        for summary in told {
            inner.writer.write(summary.to_line(now));
        }
        if is_new {
            inner.writer.write(entry.to_line(now));
        }
    }

    fn opened(&self, opened: &Opened<'_>) {
        self.record(&Entry {
            request_id: Some(opened.request_id.clone()),
            client: Some(opened.address),
            principal: Some(opened.principal.clone()),
            is_read: true,
            outcome: Outcome::Ok,
            reason: "",
            ..Entry::new(Face::Mcp, "listen")
        });
    }
}

/// Requests are answered while the audit log cannot be written; the report says so.
#[async_trait]
impl Check for Audit {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn is_vital(&self) -> bool {
        false
    }

    async fn check(&self) -> Result<(), String> {
        self.trouble().map_or(Ok(()), Err)
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").finish_non_exhaustive()
    }
}
