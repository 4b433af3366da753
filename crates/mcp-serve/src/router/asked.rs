//! What the auditor is told of a request by what stands in its response.

use std::{net::IpAddr, sync::Arc};

use axum::body::Body;
use http::{Method, Response, Uri};

use crate::{
    audit::{Auditor, Opened, Refused},
    gate::{RefusalNote, StreamNote},
    telemetry::RequestId,
};

/// What a request asked for, as far as its head says.
pub(super) struct Asked {
    pub(super) auditor: Arc<dyn Auditor>,
    pub(super) request_id: RequestId,
    pub(super) address: IpAddr,
    pub(super) method: Method,
    pub(super) uri: Uri,
}

impl Asked {
    /// Tells whether it was refused, or opened a stream.
    pub(super) fn tell(&self, response: &mut Response<Body>) {
        if let Some(StreamNote(principal)) = response.extensions_mut().remove() {
            self.auditor.opened(&Opened {
                request_id: &self.request_id,
                address: self.address,
                principal: &principal,
            });
        }
        if let Some(note) = response.extensions_mut().remove::<RefusalNote>() {
            let action = note
                .action
                .unwrap_or_else(|| format!("{} {}", self.method, self.uri.path()));
            self.auditor.refused(&Refused {
                request_id: &self.request_id,
                address: self.address,
                principal: note.principal.as_ref(),
                action: &action,
                status: response.status().as_u16(),
                reason: note.reason,
            });
        }
    }
}
