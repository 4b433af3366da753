//! `mcp-notes config`: every setting, its value and where it came from.

use super::{Failure, complain, print};
use crate::config::{self, Config};

/// What to show.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    /// Prints the documentation of the settings instead, as Markdown.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if args.markdown {
        return print(&config::markdown());
    }
    let loaded = Config::from_env()?;
    for warning in &loaded.warnings {
        complain(format_args!("warning: {warning}"));
    }
    if args.json {
        return print(&format!("{:#}\n", config::json(&loaded)));
    }
    print(&config::text(&loaded))
}
