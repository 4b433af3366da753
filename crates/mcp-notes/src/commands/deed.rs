//! What a command does to the database, on its way into the audit log.

use mcp_serve::telemetry::Output;

use super::{Failure, open_audit};
use crate::{
    audit::{Audit, Entry, Face, Outcome},
    config::Config,
};

/// A change that leaves one line, whatever becomes of it.
pub(super) struct Deed {
    audit: Audit,
    action: &'static str,
    is_told: bool,
}

impl Deed {
    pub(super) fn begin(config: &Config, action: &'static str) -> Result<Self, Failure> {
        // Standard output carries what the command prints.
        let audit = open_audit(config, Output::Stderr, false)?;
        Ok(Self {
            audit,
            action,
            is_told: false,
        })
    }

    /// The database has changed, whatever becomes of the command; `token` is the id of the credential
    /// that it is about.
    pub(super) fn done(&mut self, token: Option<&str>) {
        self.is_told = true;
        self.audit.record(&Entry {
            token: token.map(str::to_owned),
            outcome: Outcome::Ok,
            reason: "",
            ..Entry::new(Face::Cli, self.action)
        });
    }

    pub(super) fn end(self) {
        if !self.is_told {
            self.audit.record(&Entry {
                outcome: Outcome::Failed,
                reason: "other",
                ..Entry::new(Face::Cli, self.action)
            });
        }
        self.audit.close();
    }
}
