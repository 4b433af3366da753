//! Settings of the audit log.

use super::{Group, ROW, Setting, put};
use crate::config::value;

pub(super) const AUDIT: &[Setting] = &[
    Setting {
        name: "AUDIT_LOG",
        group: Group::Audit,
        kind: "off, stdout or path",
        about: "Where it is written down who did what to which note, one JSON object per line.",
        default_words: Some(
            "data/audit.jsonl; with AUTH_MODE=none off but for commands that change the database",
        ),
        set: |c, v| put(&mut c.audit_log, value::audit_log(v).map(Some)),
        show: |c| match c.audit_log() {
            crate::audit::Destination::Off => "off".into(),
            crate::audit::Destination::Stdout => "stdout".into(),
            crate::audit::Destination::File(path) => path.display().to_string(),
        },
        ..ROW
    },
    Setting {
        name: "AUDIT_READS",
        group: Group::Audit,
        kind: "true or false",
        about: "Whether the audit log has a line for reading that succeeds; what is refused or \
                fails always has one.",
        set: |c, v| {
            put(
                &mut c.audit_reads,
                v.parse().map_err(|_| "true or false".into()),
            )
        },
        show: |c| c.audit_reads.to_string(),
        ..ROW
    },
];
