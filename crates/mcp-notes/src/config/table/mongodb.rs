//! Settings for notes in MongoDB.

use std::time::Duration;

use super::{Group, ROW, Setting, put};
use crate::config::value;

pub(super) const MONGODB: &[Setting] = &[
    Setting {
        name: "MONGO_DATABASE",
        group: Group::Mongodb,
        kind: "name of a database",
        about: "The database, where the address of NOTES_STORE names none.",
        default_words: Some("mcp-notes, unless the address names one"),
        set: |c, v| put(&mut c.mongodb.database, value::database_name(v).map(Some)),
        show: |c| c.mongodb.database.clone().unwrap_or_default(),
        ..ROW
    },
    Setting {
        name: "MONGODB_MAX_POOL_SIZE",
        group: Group::Mongodb,
        kind: "connections",
        about: "How many connections each replica may have to each server.",
        default_words: Some("10, or maxPoolSize of the address"),
        set: |c, v| put(&mut c.mongodb.pool_size_max, connections(v, 1)),
        show: |c| shown(c.mongodb.pool_size_max),
        ..ROW
    },
    Setting {
        name: "MONGODB_MIN_POOL_SIZE",
        group: Group::Mongodb,
        kind: "connections",
        about: "How many of them stay open while nothing is asked; at most MONGODB_MAX_POOL_SIZE.",
        default_words: Some("0, or minPoolSize of the address"),
        set: |c, v| put(&mut c.mongodb.pool_size_min, connections(v, 0)),
        show: |c| shown(c.mongodb.pool_size_min),
        ..ROW
    },
    Setting {
        name: "MONGODB_TIMEOUT_SECONDS",
        group: Group::Mongodb,
        kind: "seconds",
        about: "The time the database has for each operation, all waiting included; what takes longer \
                gets 503.",
        default_words: Some("5, or socketTimeoutMS of the address"),
        set: |c, v| put(&mut c.mongodb.timeout, value::seconds(v, 1).map(Some)),
        show: |c| shown_seconds(c.mongodb.timeout),
        ..ROW
    },
    Setting {
        name: "MONGODB_SELECTION_TIMEOUT_SECONDS",
        group: Group::Mongodb,
        kind: "seconds",
        about: "The part of that time in which a server that takes writes must be found.",
        default_words: Some("5, or serverSelectionTimeoutMS of the address"),
        set: |c, v| {
            put(
                &mut c.mongodb.selection_timeout,
                value::seconds(v, 1).map(Some),
            )
        },
        show: |c| shown_seconds(c.mongodb.selection_timeout),
        ..ROW
    },
    Setting {
        name: "MONGODB_CONNECT_TIMEOUT_SECONDS",
        group: Group::Mongodb,
        kind: "seconds",
        about: "The part of that time in which a connection must be made.",
        default_words: Some("3, or connectTimeoutMS of the address"),
        set: |c, v| {
            put(
                &mut c.mongodb.connect_timeout,
                value::seconds(v, 1).map(Some),
            )
        },
        show: |c| shown_seconds(c.mongodb.connect_timeout),
        ..ROW
    },
];

/// A count of connections from `min` to a thousand.
fn connections(text: &str, min: u32) -> Result<Option<u32>, value::Expected> {
    value::rate(text)
        .ok()
        .filter(|count| (min..=1000).contains(count))
        .map(Some)
        .ok_or_else(|| format!("a whole number, {min} to 1000, digits only"))
}

fn shown(count: Option<u32>) -> String {
    count.map_or_else(String::new, |count| count.to_string())
}

fn shown_seconds(time: Option<Duration>) -> String {
    time.map_or_else(String::new, |time| time.as_secs().to_string())
}
