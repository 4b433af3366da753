//! What a supervisor such as systemd puts into the environment of a service that it starts.

use std::{ffi::OsString, time::Duration};

use mcp_serve::supervisor::Supervisor;

use super::{Mistake, Vars};

/// Who started the server and wants to hear from it, as `NOTIFY_SOCKET`, `WATCHDOG_USEC` and
/// `WATCHDOG_PID` say (`sd_notify(3)`, `sd_watchdog_enabled(3)`). Nobody sets these by hand, so they are
/// no rows of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Supervision {
    address: Option<OsString>,
    watchdog: Option<Duration>,
}

impl Supervision {
    /// What `vars` say to the process `own`.
    pub(super) fn read(vars: &Vars, own: u32) -> Result<Self, Mistake> {
        let value = |name: &str| vars.get(name).filter(|value| !value.is_empty());
        let mistake = |setting: &str, given: &OsString, expected: String| Mistake {
            setting: setting.to_owned(),
            given: Some(given.to_string_lossy().into_owned()),
            expected,
        };
        let Some(address) = value("NOTIFY_SOCKET") else {
            return Ok(Self::default());
        };
        if let Err(error) = Supervisor::at(address) {
            let expected = format!("the absolute path of a socket, or @ and a name ({error})");
            return Err(mistake("NOTIFY_SOCKET", address, expected));
        }
        let number = |name: &str| match value(name) {
            None => Ok(None),
            Some(text) => match text.to_str().and_then(|text| text.parse::<u64>().ok()) {
                Some(number) => Ok(Some(number)),
                None => Err(mistake(name, text, "a number".to_owned())),
            },
        };
        let is_for_us = number("WATCHDOG_PID")?.is_none_or(|pid| pid == u64::from(own));
        let watchdog = number("WATCHDOG_USEC")?.filter(|_| is_for_us);
        Ok(Self {
            address: Some(address.clone()),
            watchdog: watchdog.map(Duration::from_micros),
        })
    }

    /// The supervisor to tell.
    pub fn supervisor(&self) -> Supervisor {
        let Some(Ok(supervisor)) = self.address.as_deref().map(Supervisor::at) else {
            return Supervisor::default();
        };
        match self.watchdog {
            Some(limit) => supervisor.with_watchdog(limit),
            None => supervisor,
        }
    }
}
