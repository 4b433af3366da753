//! The transport over real sockets: both eras, sessions, streams, and what goes wrong with them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends there"
)]

mod dispatch;
pub(crate) mod gate;
mod modern;
pub(crate) mod probe;
pub(crate) mod sessions;
mod streams;
mod subscriptions;

use std::time::Duration;

/// Long enough for anything that is going to happen.
const SOON: Duration = Duration::from_secs(10);
