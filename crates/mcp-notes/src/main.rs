//! The `mcp-notes` binary: parse the command line, run the command, leave with its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    mcp_notes::commands::main()
}
