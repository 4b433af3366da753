//! The three things a server's end is made of: a soft token, a hard token, and the tasks to wait for.

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Shared by everything that runs in a server.
///
/// `soft` asks: no new work, streams end with their final message. `hard` orders: running calls
/// are cancelled. `tasks` is what the drain waits for; every task of the server is spawned on it.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    /// Cancelled when the drain begins.
    pub soft: CancellationToken,
    /// Cancelled when the time for the drain is over, or at a second signal.
    pub hard: CancellationToken,
    /// Every task that the server started and that must have ended before it returns.
    pub tasks: TaskTracker,
}
