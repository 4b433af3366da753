//! `mcp-notes metrics`: the documentation of what the server counts.

use super::{Failure, print};
use crate::metrics;

pub(super) fn run() -> Result<(), Failure> {
    print(&metrics::markdown())
}
