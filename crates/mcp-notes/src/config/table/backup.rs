//! Settings of backups.

use super::{Group, ROW, Setting, put};
use crate::config::{backup::Schedule, secret::Secret, value};

pub(super) const BACKUP: &[Setting] = &[
    Setting {
        name: "BACKUP_DIR",
        group: Group::Backup,
        kind: "path of a folder",
        about: "Where backups go; better not on the disk of the notes.",
        set: |c, v| put(&mut c.backup.folder, value::folder(v)),
        show: |c| c.backup.folder.display().to_string(),
        ..ROW
    },
    Setting {
        name: "BACKUP_SCHEDULE",
        group: Group::Backup,
        kind: "off, hourly, every Nh, daily HH:MM or weekly DAY HH:MM",
        about: "When the server makes a backup by itself, in UTC. One that was missed is made at the \
                next start; of several replicas one makes it.",
        set: |c, v| put(&mut c.backup.schedule, Schedule::parse(v)),
        show: |c| c.backup.schedule.to_string(),
        ..ROW
    },
    Setting {
        name: "BACKUP_KEEP",
        group: Group::Backup,
        kind: "archives, or all",
        about: "How many backups stay in the folder; older ones are removed when a new one is whole.",
        set: |c, v| {
            put(
                &mut c.backup.keep,
                match v {
                    "all" => Ok(None),
                    count => value::count(count, 100_000)
                        .map(Some)
                        .map_err(|expected| format!("all, or {expected}")),
                },
            )
        },
        show: |c| {
            c.backup
                .keep
                .map_or_else(|| "all".into(), |keep| keep.to_string())
        },
        ..ROW
    },
    Setting {
        name: "BACKUP_VERIFY",
        group: Group::Backup,
        kind: "true or false",
        about: "Whether a backup of the schedule is restored for a trial before it counts.",
        set: |c, v| {
            put(
                &mut c.backup.verify,
                v.parse().map_err(|_| "true or false".into()),
            )
        },
        show: |c| c.backup.verify.to_string(),
        ..ROW
    },
    Setting {
        name: "BACKUP_ENCRYPT_TO",
        group: Group::Backup,
        kind: "path",
        about: "A file with public keys of age (age1...), one on each line: backups are encrypted to \
                the holders of their secret keys, and this server cannot read them.",
        default_words: Some("none: backups are not encrypted"),
        set: |c, v| put(&mut c.backup.encrypt_to, value::file(v).map(Some)),
        show: |c| path(c.backup.encrypt_to.as_ref()),
        ..ROW
    },
    Setting {
        name: "BACKUP_PASSPHRASE",
        group: Group::Backup,
        kind: "at least 12 characters",
        about: "Encrypts backups with a passphrase, and opens such.",
        secret: true,
        set: |c, v| {
            put(
                &mut c.backup.passphrase,
                notes::backup::Passphrase::parse(v)
                    .and_then(|_| Secret::parse(v))
                    .map(Some),
            )
        },
        show: |c| {
            c.backup
                .passphrase
                .as_ref()
                .map_or_else(String::new, ToString::to_string)
        },
        ..ROW
    },
    Setting {
        name: "BACKUP_IDENTITIES",
        group: Group::Backup,
        kind: "path",
        about: "A file with secret keys of age (AGE-SECRET-KEY-1...), which open encrypted backups \
                where one is verified or restored; not for the machine that makes them.",
        set: |c, v| put(&mut c.backup.identities, value::file(v).map(Some)),
        show: |c| path(c.backup.identities.as_ref()),
        ..ROW
    },
];

fn path(path: Option<&std::path::PathBuf>) -> String {
    path.map_or_else(String::new, |path| path.display().to_string())
}
