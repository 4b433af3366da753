//! Settings of whose the notes are and what can be done with them.

use super::{Group, ROW, Setting, put};
use crate::config::value::{self, Word};

pub(super) const RULES: &[Setting] = &[
    Setting {
        name: "NOTES_ISOLATION",
        group: Group::Notes,
        kind: "owner or shared",
        about: "Whose notes a caller reaches: owner is its own alone, shared is one set for \
                everybody; with AUTH_MODE=none all callers are one owner either way.",
        set: |c, v| put(&mut c.rules.isolation, Word::parse(v)),
        show: |c| c.rules.isolation.word().into(),
        ..ROW
    },
    Setting {
        name: "NOTES_READ_ONLY",
        group: Group::Notes,
        kind: "true or false",
        about: "Whether notes can only be read; what changes them is then not listed, and refused.",
        set: |c, v| put(&mut c.rules.read_only, Word::parse(v)),
        show: |c| c.rules.read_only.word().into(),
        ..ROW
    },
    Setting {
        name: "NOTES_TOOLS_DISABLED",
        group: Group::Notes,
        kind: "comma-separated tools such as delete_note",
        about: "Tools that are not listed, and refused; the REST operations that do the same are \
                refused with them, while resources and prompts stay.",
        set: |c, v| put(&mut c.rules.disabled, value::actions(v)),
        show: |c| {
            let names: Vec<_> = c.rules.disabled.iter().map(|it| it.tool()).collect();
            names.join(",")
        },
        ..ROW
    },
];
