//! Settings that say who may call.

use super::{Group, ROW, Setting, put};
use crate::config::value::{self, Word};

pub(super) const AUTH: &[Setting] = &[
    Setting {
        name: "AUTH_MODE",
        group: Group::Auth,
        kind: "none, token or oauth",
        about: "How callers prove who they are; with none the server listens on loopback only.",
        set: |c, v| put(&mut c.auth_mode, Word::parse(v)),
        show: |c| c.auth_mode.word().into(),
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
