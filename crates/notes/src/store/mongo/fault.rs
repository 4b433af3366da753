//! What goes wrong between here and the server, and what is known of a write then.
//!
//! The words of the server are not repeated, because they can hold what was asked; its codes are.

use std::io;

use mongodb::error::{CommandError, Error, ErrorKind, InsertManyError, WriteFailure};

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
        unsure(self.error, self.maybe_done)
    }

    /// Not begun, because the connections there may be were in use until it was too late.
    pub(super) fn crowded() -> Self {
        Self::lasting(StoreError::Busy)
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
            code if is_duplicate(code) => Self {
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
            64 | 79 | 100 => Self::too_few(code, name),
            // LockTimeout, LockBusy, MaxTimeMSExpired, WriteConflict; CursorNotFound, QueryPlanKilled,
            // CursorKilled.
            24 | 46 | 50 | 112 | 43 | 175 | 237 => Self::lasting(StoreError::Busy).passing(),
            // ExceededTimeLimit, which a router says of a write that it has passed on.
            262 => Self::lasting(StoreError::Busy).passing().perhaps_done(),
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
                Self::too_few(failed.code, &failed.code_name)
            }
            ErrorKind::InsertMany(failed) => Self::of_several(failed),
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
    /// What was not kept by most servers, which time may heal but no further try at once.
    fn too_few(code: i32, name: &str) -> Self {
        Self::unavailable(format!(
            "too few servers confirm what is written ({code} {name})"
        ))
        .passing_later()
        .perhaps_done()
    }

    /// Several documents of which some were not inserted.
    fn of_several(failed: &InsertManyError) -> Self {
        let errors = failed.write_errors.as_deref().unwrap_or_default();
        // What is there already is the least of it.
        let worst = errors.iter().max_by_key(|error| !is_duplicate(error.code));
        match (&failed.write_concern_error, worst) {
            (Some(failed), _) => Self::too_few(failed.code, &failed.code_name),
            (None, Some(error)) => {
                Self::of_code(error.code, error.code_name.as_deref().unwrap_or_default())
            }
            (None, None) => Self::lasting(other(0, "")),
        }
    }

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

/// What a write ends with that failed with `error`, if it or an earlier try of the same may have been
/// done.
pub(super) fn unsure(error: StoreError, maybe_done: bool) -> StoreError {
    match error {
        error if !maybe_done => error,
        StoreError::Unavailable(reason) => StoreError::Unconfirmed(reason),
        error => StoreError::Unconfirmed(error.to_string()),
    }
}

/// Whether a code says that a document with the same key is there.
pub(super) fn is_duplicate(code: i32) -> bool {
    matches!(code, 11000 | 11001 | 12582)
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

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn a_write_that_may_be_done_is_never_said_to_have_failed() {
        // The answer of the first try was lost, and the next failed: 112 WriteConflict, 14031 OutOfDiskSpace,
        // 10107 NotWritablePrimary, 8 UnknownError.
        for code in [112, 14031, 10107, 8] {
            let fault = Fault {
                maybe_done: true,
                ..Fault::of_code(code, "")
            };
            let told = fault.of_write();
            assert_eq!(told.kind(), "unconfirmed", "{code}: {told}");
            let told = Fault::of_code(code, "").of_write();
            assert_ne!(told.kind(), "unconfirmed", "{code}: {told}");
        }
        // What may be done by itself.
        for code in [64, 91, 262] {
            let told = Fault::of_code(code, "").of_write();
            assert_eq!(told.kind(), "unconfirmed", "{code}: {told}");
        }
    }

    #[test]
    fn of_several_documents_the_worst_is_told_and_none_of_their_words() {
        let error = |code: i32| {
            doc! { "index": 0, "code": code, "codeName": "Name", "errmsg": "dup key: { x: hunter2 }" }
        };
        let concern = doc! { "code": 64, "codeName": "Name", "errmsg": "hunter2" };
        for (failed, kind, is_duplicate) in [
            (doc! { "writeErrors": [error(11000)] }, "other", true),
            (
                doc! { "writeErrors": [error(11000), error(14031)] },
                "full",
                false,
            ),
            (
                doc! { "writeErrors": [error(14031), error(11000)] },
                "full",
                false,
            ),
            (doc! { "writeErrors": [error(10107)] }, "unavailable", false),
            (
                doc! { "writeErrors": [error(11000)], "writeConcernError": concern },
                "unconfirmed",
                false,
            ),
        ] {
            let failed: InsertManyError = bson::deserialize_from_document(failed).unwrap();
            let fault = Fault::from(Error::from(ErrorKind::InsertMany(failed)));
            assert_eq!(fault.duplicate, is_duplicate);
            let told = fault.of_write();
            assert_eq!(told.kind(), kind);
            assert!(!format!("{told:?}").contains("hunter2"), "{told:?}");
        }
    }

    #[test]
    fn time_heals_what_is_not_confirmed_by_most_servers() {
        // A start waits for it, and no write is sent again at once.
        let fault = Fault::of_code(64, "WriteConcernFailed");
        assert!(fault.passes() && !fault.again());
    }
}
