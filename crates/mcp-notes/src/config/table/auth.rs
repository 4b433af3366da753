//! Settings that say who may call.

use super::{Group, ROW, Setting, put};
use crate::config::value::{self, Word};

pub(super) const AUTH: &[Setting] = &[
    Setting {
        name: "AUTH_MODE",
        group: Group::Auth,
        kind: "none, token or oauth",
        about: "How callers prove who they are; with none the server listens on loopback only, and \
                refuses to start when the settings speak of a proxy or of a public name.",
        set: |c, v| put(&mut c.auth_mode, Word::parse(v)),
        show: |c| c.auth_mode.word().into(),
        ..ROW
    },
    Setting {
        name: "ALLOW_ANONYMOUS",
        group: Group::Auth,
        kind: "true or false",
        about: "With AUTH_MODE=none: whether it may be served to others through a proxy on this \
                machine, which must then check who calls; all of them are one caller with one set \
                of notes.",
        set: |c, v| put(&mut c.allow_anonymous, Word::parse(v)),
        show: |c| c.allow_anonymous.word().into(),
        ..ROW
    },
    Setting {
        name: "TOKENS_FILE",
        group: Group::Auth,
        kind: "path",
        about: "With AUTH_MODE=token: the file that lists the tokens, one per line, instead of the \
                database of the notes; it is read again when it changes.",
        set: |c, v| put(&mut c.tokens_file, value::file(v).map(Some)),
        show: |c| {
            let path = c.tokens_file.as_ref();
            path.map_or_else(String::new, |path| path.display().to_string())
        },
        ..ROW
    },
];
