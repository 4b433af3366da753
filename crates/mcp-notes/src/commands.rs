//! The command line: one subcommand per file, and the exit codes they share.

mod audit;
mod backup;
mod backups;
mod bar;
mod config;
mod deed;
mod healthcheck;
mod metrics;
mod migrate;
mod place;
mod restore;
mod serve;
mod stdio;
mod token;
mod watch;

use std::{
    fmt::Display,
    io::{ErrorKind, Write as _, stderr, stdout},
    process::ExitCode,
    sync::Arc,
};

use clap::{Parser, Subcommand};
use mcp_serve::telemetry::{self, Format, Output, Telemetry};
use notes::SystemClock;
use tokio::runtime::Runtime;

use crate::{
    app::causes,
    audit::{Audit, Options},
    config::{Config, ConfigError, Loaded, LogFormat, Mistake},
};

/// A notes server for AI assistants and the people who work with them.
///
/// Settings are environment variables: `mcp-notes config` shows them.
#[derive(Debug, Parser)]
#[command(name = "mcp-notes", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server: MCP at /mcp, REST at /api/v1/notes. The default.
    Serve,
    /// Serves one local assistant over standard input and output.
    Stdio,
    /// Exits with 0 when the server at HOST and PORT is ready, otherwise with 1.
    Healthcheck,
    /// Shows every setting, its value and where it came from.
    Config(config::Args),
    /// Prints the documentation of the metrics, as Markdown.
    Metrics,
    /// Makes, lists and revokes the tokens with which callers prove who they are.
    Token(token::Args),
    /// Moves all notes and tokens from one store into another, and compares them afterwards.
    Migrate(migrate::Args),
    /// Writes everything into one archive, while the server goes on.
    Backup(backup::Args),
    /// Lists backups, or verifies one.
    Backups(backups::Args),
    /// Restores a backup into an empty store, or in the place of what is there.
    Restore(restore::Args),
    /// Shows the audit log: who did what to which note.
    Audit(audit::Args),
    /// Prints the version.
    Version,
}

/// Why a command did not do what it was asked; each has an exit code of its own.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The settings are wrong: 78, as `EX_CONFIG` in sysexits.h.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Anything else: 1. The text is for the person at the terminal.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    fn failed(error: impl std::error::Error) -> Self {
        Self::Failed(causes(&error))
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(78),
            Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

/// Parses the command line and runs what it asks for. Wrong usage leaves with 2.
pub fn main() -> ExitCode {
    let done = match Cli::parse().command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(),
        Command::Stdio => stdio::run(),
        Command::Healthcheck => healthcheck::run(),
        Command::Config(args) => config::run(&args),
        Command::Metrics => metrics::run(),
        Command::Token(args) => token::run(args),
        Command::Migrate(args) => migrate::run(&args),
        Command::Backup(args) => backup::run(&args),
        Command::Backups(args) => backups::run(args),
        Command::Restore(args) => restore::run(&args),
        Command::Audit(args) => audit::run(args),
        Command::Version => version(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure);
            failure.exit_code()
        }
    }
}

fn version() -> Result<(), Failure> {
    print(concat!("mcp-notes ", env!("CARGO_PKG_VERSION"), "\n"))
}

/// Sets up the logs as the settings ask, and tells what was odd about the settings.
fn start_logs(loaded: &Loaded, output: Output) -> Result<Telemetry, Failure> {
    let config = &loaded.config;
    let format = match config.log_format() {
        LogFormat::Pretty => Format::Pretty,
        LogFormat::Json => Format::Json,
    };
    let logs =
        telemetry::init(config.log_level.as_str(), format, output).map_err(Failure::failed)?;
    telemetry::log_panics();
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    Ok(logs)
}

/// Opens the audit log as the settings ask; one that cannot be written is a wrong setting.
fn open_audit(config: &Config, output: Output, is_server: bool) -> Result<Audit, Failure> {
    let options = Options {
        is_server,
        destination: if is_server {
            config.audit_log()
        } else {
            config.audit_log_of_commands()
        },
        reads: config.audit_reads,
        stdout_is_taken: output != Output::Stdout,
    };
    Audit::open(options, Arc::new(SystemClock)).map_err(|error| {
        let mistake = Mistake {
            setting: "AUDIT_LOG".into(),
            given: Some(error.path.display().to_string()),
            expected: format!("a file that can be written ({})", error.source),
        };
        let mistakes = vec![mistake];
        Failure::Config(ConfigError { mistakes })
    })
}

fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::failed)
}

/// Writes to standard output; a reader that has gone is no failure of ours.
fn print(text: &str) -> Result<(), Failure> {
    match stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Tells the person at the terminal something.
fn complain(what: impl Display) {
    // Nothing is left to tell it to when standard error is gone too.
    let _ = writeln!(stderr().lock(), "mcp-notes: {what}");
}
