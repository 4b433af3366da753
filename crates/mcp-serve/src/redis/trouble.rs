//! What an error of the driver means: for the command, and for the connection.

use redis::{ErrorKind, ServerErrorKind};

use super::RedisError;

/// The reason that is none: nothing was said.
pub(super) const SILENT: &str = "no answer in time";

/// What became of a command that has no answer.
#[derive(Debug)]
pub(super) enum Lost {
    /// Redis said no, and would again.
    Refused(String),
    /// Redis did nothing, and may do it soon.
    NotDone {
        /// Whether somebody else is the primary now.
        demoted: bool,
    },
    /// The slot is elsewhere now, or for this command.
    Elsewhere(redis::RedisError),
    /// The connection ended: it may have been done.
    Unknown,
    /// Nothing came in time: it may have been done.
    Late,
    /// There was no connection to send it over.
    Away,
}

impl Lost {
    /// How it failed, in a word for metrics. That a script is sent whole the first time is no
    /// failure.
    pub(super) fn kind(&self) -> Option<&'static str> {
        Some(match self {
            Self::Refused(why) if why.starts_with("NOSCRIPT") => return None,
            Self::Refused(_) => "refused",
            Self::NotDone { .. } => "not_done",
            Self::Elsewhere(_) => "moved",
            Self::Unknown => "connection",
            Self::Late => "timeout",
            Self::Away => "away",
        })
    }
}

/// What is known of a command that ended with `error`.
pub(super) fn of_command(error: redis::RedisError) -> Lost {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask) => Lost::Elsewhere(error),
        ErrorKind::Server(ServerErrorKind::ReadOnly) => Lost::NotDone { demoted: true },
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::TryAgain,
        )
        | ErrorKind::ClusterConnectionNotFound => Lost::NotDone { demoted: false },
        ErrorKind::Extension if is_passing(error.code()) => Lost::NotDone { demoted: false },
        ErrorKind::Io | ErrorKind::Parse => Lost::Unknown,
        _ => Lost::Refused(shown(&error)),
    }
}

/// Codes that the driver does not know and that pass: a script that runs too long, too few replicas.
fn is_passing(code: Option<&str>) -> bool {
    matches!(code, Some("BUSY" | "NOREPLICAS" | "MISCONF"))
}

/// Why there is no connection, in words for an operator.
pub(super) fn of_connection(error: &redis::RedisError) -> String {
    let words = match error.kind() {
        ErrorKind::AuthenticationFailed => "it refuses the user or the password",
        ErrorKind::RESP3NotSupported => "it is older than Redis 6",
        ErrorKind::Server(ServerErrorKind::BusyLoading) => "it is loading its data",
        ErrorKind::Server(ServerErrorKind::MasterDown) => "it is a replica without its primary",
        ErrorKind::Server(ServerErrorKind::ClusterDown) => "the cluster is down",
        ErrorKind::ClusterConnectionNotFound => "no node of the cluster answers",
        ErrorKind::Server(_) | ErrorKind::Extension => return of_answer(error),
        _ if error.is_connection_refusal() => "nothing listens there (connection refused)",
        _ if error.is_timeout() => SILENT,
        ErrorKind::Io | ErrorKind::Client => return of_transport(error),
        _ => return shown(error),
    };
    words.to_owned()
}

fn of_answer(error: &redis::RedisError) -> String {
    match error.code() {
        Some("WRONGPASS") => "it refuses the user or the password".to_owned(),
        Some("NOAUTH") => "it wants a password".to_owned(),
        _ => format!("it says {}", shown(error)),
    }
}

/// The cause where the driver has one: a certificate that does not hold, a host that is not found.
fn of_transport(error: &redis::RedisError) -> String {
    let text = clean(&error.to_string());
    if text.to_ascii_lowercase().contains("certificate") {
        return format!("its certificate does not hold ({text})");
    }
    text
}

/// What Redis said, without what it repeats of the command: an old server that does not know `HELLO`
/// would say the password.
fn shown(error: &redis::RedisError) -> String {
    let code = error.code().unwrap_or_else(|| error.category());
    let detail = error.detail().unwrap_or_default();
    let detail = detail.split("with args").next().unwrap_or_default();
    clean(format!("{code} {detail}").trim_end_matches([' ', ',']))
}

/// One line of at most 200 characters.
fn clean(text: &str) -> String {
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(200).collect()
}

impl From<Lost> for RedisError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Refused(why) => Self::Refused(why),
            _ => Self::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests;
