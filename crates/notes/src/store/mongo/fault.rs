//! What goes wrong between here and the server, and what is known of a write then.
//!
//! The words of the server are not repeated, because they can hold what was asked; its codes are.

use std::io;

use mongodb::error::{CommandError, Error, ErrorKind, WriteFailure};

use crate::error::StoreError;

/// A failure of the driver or the server.
#[derive(Debug)]
pub(super) struct Fault {
    /// What it is to others.
    pub(super) error: StoreError,
    /// Whether the server may have done what it was asked.
    pub(super) maybe_done: bool,
    /// Whether time may heal it.
    pub(super) passes: Passes,
    /// Whether a document with the same key is there.
    pub(super) duplicate: bool,
}

/// Whether time heals a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passes {
    Never,
    /// It may, and finding a server has taken all the time there was.
    Later,
    /// The same may go well at once.
    AtOnce,
}

impl Fault {
    /// What time does not heal.
    pub(super) fn lasting(error: StoreError) -> Self {
        Self {
            error,
            maybe_done: false,
            passes: Passes::Never,
            duplicate: false,
        }
    }

    /// Whether time may heal it.
    pub(super) fn passes(&self) -> bool {
        self.passes != Passes::Never
    }

    /// Whether the same may go well at once.
    pub(super) fn again(&self) -> bool {
        self.passes == Passes::AtOnce
    }

    /// No answer within the time there was.
    pub(super) fn late() -> Self {
        Self::unavailable("it does not answer in time")
            .passing()
            .perhaps_done()
    }

    /// What a write ends with whose outcome is `self`.
    pub(super) fn of_write(self) -> StoreError {
        match self.error {
            StoreError::Unavailable(reason) if self.maybe_done => StoreError::Unconfirmed(reason),
            error => error,
        }
    }

    fn unavailable(reason: impl Into<String>) -> Self {
        Self::lasting(StoreError::Unavailable(reason.into()))
    }

    fn passing(self) -> Self {
        Self {
            passes: Passes::AtOnce,
            ..self
        }
    }

    fn passing_later(self) -> Self {
        Self {
            passes: Passes::Later,
            ..self
        }
    }

    fn perhaps_done(self) -> Self {
        Self {
            maybe_done: true,
            ..self
        }
    }

    /// What the server says with a code.
    fn of_code(code: i32, name: &str) -> Self {
        match code {
            11000 | 11001 | 12582 => Self {
                duplicate: true,
                ..Self::lasting(other(code, name))
            },
            // Unauthorized, AuthenticationFailed.
            13 | 18 => Self::unavailable(refused(&format!("{code} {name}"))),
            // NotWritablePrimary and its kin: the server did not begin.
            10107 | 13435 | 10058 | 13436 => {
                Self::unavailable(format!("the server takes no writes now ({code} {name})"))
                    .passing()
            }
            // Stopped while it worked: ShutdownInProgress, InterruptedAtShutdown, PrimarySteppedDown,
            // InterruptedDueToReplStateChange; HostUnreachable, HostNotFound, NetworkTimeout,
            // SocketException of a router.
            91 | 11600 | 189 | 11602 | 6 | 7 | 89 | 9001 => {
                Self::unavailable(format!("the server stopped at it ({code} {name})"))
                    .passing()
                    .perhaps_done()
            }
            // WriteConcernFailed and the other ways not to be kept by most servers.
            64 | 79 | 100 => Self::unavailable(format!(
                "too few servers confirm what is written ({code} {name})"
            ))
            .perhaps_done(),
            // LockTimeout, LockBusy, MaxTimeMSExpired, WriteConflict, ExceededTimeLimit.
            24 | 46 | 50 | 112 | 262 => Self::lasting(StoreError::Busy).passing(),
            // QuotaExceeded, OutOfDiskSpace.
            12501 | 14031 => Self::lasting(StoreError::Full),
            _ => Self::lasting(other(code, name)),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error.kind.as_ref() {
            ErrorKind::Command(CommandError {
                code, code_name, ..
            }) => Self::of_code(*code, code_name),
            ErrorKind::Write(WriteFailure::WriteError(failed)) => {
                Self::of_code(failed.code, failed.code_name.as_deref().unwrap_or_default())
            }
            ErrorKind::Write(WriteFailure::WriteConcernError(failed)) => {
                let (code, name) = (failed.code, &failed.code_name);
                Self::unavailable(format!(
                    "too few servers confirm what is written ({code} {name})"
                ))
                .perhaps_done()
            }
            ErrorKind::Authentication { .. } => Self::unavailable(refused("authentication failed")),
            ErrorKind::ServerSelection { message, .. } => {
                Self::unavailable(short(message)).passing_later()
            }
            ErrorKind::DnsResolve { .. } => {
                Self::unavailable("its name cannot be looked up in DNS").passing_later()
            }
            ErrorKind::Io(source) => Self::of_io(source),
            // The connection may have been in use.
            ErrorKind::ConnectionPoolCleared { .. } => {
                Self::unavailable("the connection to it was lost")
                    .passing()
                    .perhaps_done()
            }
            ErrorKind::Shutdown => Self::unavailable("it is closed"),
            ErrorKind::InvalidTlsConfig { .. } => {
                Self::unavailable("the TLS options of its address cannot be used")
            }
            ErrorKind::IncompatibleServer { .. } => {
                Self::unavailable("the server is too old for this program")
            }
            _ => Self::lasting(StoreError::Other(Box::new(error))),
        }
    }
}

impl Fault {
    fn of_io(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        let fault = Self::unavailable(format!("the connection to it failed ({error})")).passing();
        match error.kind() {
            // A connection that never was has carried nothing.
            Kind::ConnectionRefused
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::AddrNotAvailable
            | Kind::NotFound => fault,
            _ => fault.perhaps_done(),
        }
    }
}

fn other(code: i32, name: &str) -> StoreError {
    StoreError::Other(format!("the server answers with error {code} {name}").into())
}

fn refused(why: &str) -> String {
    format!("the server refuses the user of its address ({why})")
}

/// The driver tells all it knows of every server; the beginning is enough.
fn short(message: &str) -> String {
    const CHARS_MAX: usize = 400;
    message.chars().take(CHARS_MAX).collect()
}
