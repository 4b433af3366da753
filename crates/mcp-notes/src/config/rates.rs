//! How much each caller may ask, as the settings have it.

use std::time::Duration;

use mcp_serve::limit::{Budget, Budgets, ByClass};

/// Requests that each caller has per [`window`](Rates::window); 0 is no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rates {
    /// The time in which a budget that is used up is full again.
    pub window: Duration,
    /// Reads, writes and searches, each, of one network without authentication.
    pub anonymous: u32,
    /// Reads of one principal.
    pub reads: u32,
    /// Writes of one principal.
    pub writes: u32,
    /// Searches of one principal.
    pub searches: u32,
    /// Sessions that one caller opens.
    pub sessions: u32,
    /// Credentials from one network that are refused.
    pub auth_failures: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            window: Duration::from_mins(1),
            anonymous: 100,
            reads: 1000,
            writes: 500,
            searches: 300,
            sessions: 60,
            auth_failures: 20,
        }
    }
}

impl Rates {
    /// Most requests per second that a budget can hold apart.
    pub(super) const PER_SECOND_MAX: u64 = 1000;

    /// Each count and the name of its setting.
    pub(super) fn counts(&self) -> [(&'static str, u32); 6] {
        [
            ("RATE_LIMIT_ANONYMOUS", self.anonymous),
            ("RATE_LIMIT_READS", self.reads),
            ("RATE_LIMIT_WRITES", self.writes),
            ("RATE_LIMIT_SEARCHES", self.searches),
            ("RATE_LIMIT_SESSIONS", self.sessions),
            ("RATE_LIMIT_AUTH_FAILURES", self.auth_failures),
        ]
    }

    /// Most that a count can be within the window.
    pub(super) fn most(&self) -> u64 {
        self.window.as_secs().saturating_mul(Self::PER_SECOND_MAX)
    }

    /// The budgets that the server enforces.
    pub fn budgets(&self) -> Budgets {
        let budget = |count| Budget::new(count, self.window);
        let by_class = |read, write, search| ByClass {
            read: budget(read),
            write: budget(write),
            search: budget(search),
            session: budget(self.sessions),
            control: budget(read),
        };
        Budgets {
            anonymous: by_class(self.anonymous, self.anonymous, self.anonymous),
            principal: by_class(self.reads, self.writes, self.searches),
            auth_failure: budget(self.auth_failures),
        }
    }
}
