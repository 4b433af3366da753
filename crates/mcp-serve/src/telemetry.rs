//! Logs: their level, their form, and the names under which a request is found in them.

mod access;
mod json;
mod panics;
mod trace;

use std::{
    fmt,
    io::{self, IsTerminal as _},
    str::FromStr,
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer, Registry, filter::Targets, fmt as lines, layer::SubscriberExt, reload,
    util::SubscriberInitExt,
};

pub use self::{
    access::AccessNote,
    panics::log_panics,
    trace::{RequestId, TraceParent},
};
pub(crate) use self::{
    access::{AccessLine, RouteName},
    trace::{RequestIds, X_REQUEST_ID},
};

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One JSON object a line: `ts`, `level`, `target`, `msg`, and the fields of the event and of the
    /// request it belongs to.
    #[default]
    Json,
    /// For people.
    Pretty,
}

/// Where log lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Output {
    /// Standard output, where containers expect them.
    #[default]
    Stdout,
    /// Standard error, for a server whose standard output carries messages.
    Stderr,
}

impl Output {
    /// Whether a person sees the lines, in colours.
    fn is_terminal(self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stderr => io::stderr().is_terminal(),
        }
    }
}

/// A level that logs can have: `off`, `fatal`, `error`, `warn`, `info`, `debug` or `trace`, where
/// `fatal` is `error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(LevelFilter);

impl FromStr for Level {
    type Err = TelemetryError;

    fn from_str(text: &str) -> Result<Self, TelemetryError> {
        let filter = match text.to_ascii_lowercase().as_str() {
            "off" => LevelFilter::OFF,
            "fatal" | "error" => LevelFilter::ERROR,
            "warn" => LevelFilter::WARN,
            "info" => LevelFilter::INFO,
            "debug" => LevelFilter::DEBUG,
            "trace" => LevelFilter::TRACE,
            _ => return Err(TelemetryError::Level(text.to_owned())),
        };
        Ok(Self(filter))
    }
}

/// Why logs could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// Not a level.
    #[error("\"{0}\" is not a log level; write off, error, warn, info, debug or trace")]
    Level(String),
    /// The process has logs already.
    #[error("logs were set up before")]
    AlreadySet,
    /// The logs that this handle belongs to are gone.
    #[error("the level of the logs cannot be changed any more")]
    Gone,
}

/// Changes the level of the logs of this process while it runs.
#[derive(Clone)]
pub struct Telemetry {
    filter: reload::Handle<Targets, Registry>,
}

impl Telemetry {
    /// From now on lines of `level` and graver are written.
    pub fn set_level(&self, level: &str) -> Result<(), TelemetryError> {
        let level = level.parse::<Level>()?;
        self.filter
            .reload(filter(level))
            .map_err(|_| TelemetryError::Gone)
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

/// Sets up the logs of this process, once.
pub fn init(level: &str, format: Format, output: Output) -> Result<Telemetry, TelemetryError> {
    let (filter, handle) = reload::Layer::new(filter(level.parse()?));
    let out = lines::writer::BoxMakeWriter::new(move || -> Box<dyn io::Write> {
        match output {
            Output::Stdout => Box::new(io::stdout()),
            Output::Stderr => Box::new(io::stderr()),
        }
    });
    let layer = lines::layer().with_writer(out);
    let layer = match format {
        Format::Json => layer
            .fmt_fields(json::JsonFields)
            .event_format(json::JsonLine)
            .boxed(),
        Format::Pretty => layer.with_ansi(output.is_terminal()).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .try_init()
        .map_err(|_| TelemetryError::AlreadySet)?;
    Ok(Telemetry { filter: handle })
}

/// What is written at a level, for those who set up a subscriber of their own.
///
/// rmcp's lines below errors print the bodies of notifications, requests and answers, and those of
/// the HTTP stack below warnings print headers: they are never written, whatever the level.
pub fn filter(level: Level) -> Targets {
    let quiet = level.0.min(LevelFilter::WARN);
    Targets::new().with_default(level.0).with_targets([
        ("rmcp", level.0.min(LevelFilter::ERROR)),
        ("hyper", quiet),
        ("h2", quiet),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_rmcp_stay_at_errors() {
        for level in ["trace", "debug", "info", "warn"] {
            let filter = filter(level.parse().unwrap());
            assert!(
                !filter.would_enable("rmcp::service", &tracing::Level::WARN),
                "{level}"
            );
            assert!(
                filter.would_enable("rmcp::service", &tracing::Level::ERROR),
                "{level}"
            );
        }
        let filter = filter("off".parse().unwrap());
        assert!(!filter.would_enable("rmcp", &tracing::Level::ERROR));
        assert!(!filter.would_enable("mcp_serve", &tracing::Level::ERROR));
    }

    #[test]
    fn a_level_is_a_known_word() {
        assert!("verbose".parse::<Level>().is_err());
        assert!("".parse::<Level>().is_err());
        assert_eq!("fatal".parse::<Level>().unwrap().0, LevelFilter::ERROR);
    }
}
