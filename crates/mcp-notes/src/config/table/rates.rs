//! Settings that say how much each caller may ask.

use super::{Group, ROW, Setting, put};
use crate::config::value;

/// What all rows here have in common.
const RATE: Setting = Setting {
    group: Group::Rates,
    kind: "requests",
    ..ROW
};

pub(super) const RATES: &[Setting] = &[
    Setting {
        name: "RATE_LIMIT_WINDOW_SECONDS",
        kind: "seconds",
        about: "The time in which a budget that is used up is full again; it fills evenly. In all \
                counts below, 0 is no limit. Replicas on one Redis count together; while it is away \
                each counts alone, at its part of every budget.",
        set: |c, v| put(&mut c.rates.window, value::seconds(v, 1)),
        show: |c| c.rates.window.as_secs().to_string(),
        ..RATE
    },
    Setting {
        name: "RATE_LIMIT_ANONYMOUS",
        about: "Reads, writes and searches (each) of one address without authentication; of IPv6 \
                addresses a /64 counts as one.",
        set: |c, v| put(&mut c.rates.anonymous, value::rate(v)),
        show: |c| c.rates.anonymous.to_string(),
        ..RATE
    },
    Setting {
        name: "RATE_LIMIT_READS",
        about: "Reads of one caller who is known; cancelling and closing have a budget of the same size.",
        set: |c, v| put(&mut c.rates.reads, value::rate(v)),
        show: |c| c.rates.reads.to_string(),
        ..RATE
    },
    Setting {
        name: "RATE_LIMIT_WRITES",
        about: "Writes of one caller who is known.",
        set: |c, v| put(&mut c.rates.writes, value::rate(v)),
        show: |c| c.rates.writes.to_string(),
        ..RATE
    },
    Setting {
        name: "RATE_LIMIT_SEARCHES",
        about: "Searches, prompts and completions of one caller who is known.",
        set: |c, v| put(&mut c.rates.searches, value::rate(v)),
        show: |c| c.rates.searches.to_string(),
        ..RATE
    },
    Setting {
        name: "RATE_LIMIT_SESSIONS",
        about: "Sessions that one caller opens.",
        set: |c, v| put(&mut c.rates.sessions, value::rate(v)),
        show: |c| c.rates.sessions.to_string(),
        ..RATE
    },
    Setting {
        name: "RATE_LIMIT_AUTH_FAILURES",
        about: "Credentials from one address that are refused with 401; further ones get 429, and \
                nobody else is asked about those that are not known yet. Right ones still pass.",
        set: |c, v| put(&mut c.rates.auth_failures, value::rate(v)),
        show: |c| c.rates.auth_failures.to_string(),
        ..RATE
    },
    Setting {
        name: "CALLS_PER_CALLER_MAX",
        about: "Requests of one caller that are worked on at the same time; one more gets 429.",
        set: |c, v| put(&mut c.calls_per_caller_max, value::count(v, 100_000)),
        show: |c| c.calls_per_caller_max.to_string(),
        ..RATE
    },
];
