//! The record of a session as Redis holds it: a hash whose fields scripts can change one by one.
//!
//! It has the principal's key and what `initialize` agreed on; no credential and no text of a note.

use std::{collections::BTreeSet, sync::Arc};

use rmcp::model::{InitializeRequestParams, LoggingLevel, ProtocolVersion};

use crate::{auth::Principal, session::Session};

/// What comes before the URI in the name of a subscription's field.
const SUBSCRIPTION: &str = "uri:";

/// A record that was read.
pub(super) struct Kept {
    pub(super) session: Session,
    /// Another one after every change.
    pub(super) generation: String,
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("field {field:?} of a session's record cannot be read")]
pub(super) struct Unreadable {
    field: &'static str,
}

/// The session that these fields are, opened by `principal`.
pub(super) fn read(
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    principal: &Principal,
) -> Result<Kept, Unreadable> {
    let (mut version, mut client, mut generation) = (None, None, None);
    let (mut log_level, mut subscriptions) = (None, BTreeSet::new());
    for (name, value) in fields {
        match name.as_slice() {
            b"version" => version = Some(value),
            b"client" => client = Some(value),
            b"generation" => generation = String::from_utf8(value).ok(),
            b"level" => log_level = Some(level(&value).ok_or(Unreadable { field: "level" })?),
            name => {
                if let Some(uri) = name.strip_prefix(SUBSCRIPTION.as_bytes()) {
                    let uri = str::from_utf8(uri).map_err(|_| Unreadable { field: "uri" })?;
                    subscriptions.insert(Arc::from(uri));
                }
            }
        }
    }
    let version = version.and_then(|text| String::from_utf8(text).ok());
    let version = version.and_then(|text| serde_json::from_value(text.into()).ok());
    let version: ProtocolVersion = version.ok_or(Unreadable { field: "version" })?;
    let client = client.and_then(|json| serde_json::from_slice(&json).ok());
    let client: InitializeRequestParams = client.ok_or(Unreadable { field: "client" })?;
    let generation = generation.ok_or(Unreadable {
        field: "generation",
    })?;
    let session = Session {
        log_level,
        subscriptions,
        ..Session::new(principal.bare(), version, client)
    };
    Ok(Kept {
        session,
        generation,
    })
}

/// What the client said of itself, as it is kept.
pub(super) fn client(session: &Session) -> Option<Vec<u8>> {
    serde_json::to_vec(&*session.client).ok()
}

/// A level as it is kept.
pub(super) fn level_text(level: LoggingLevel) -> Option<String> {
    match serde_json::to_value(level) {
        Ok(serde_json::Value::String(text)) => Some(text),
        _ => None,
    }
}

fn level(text: &[u8]) -> Option<LoggingLevel> {
    let text = str::from_utf8(text).ok()?;
    serde_json::from_value(text.into()).ok()
}
