//! Files that change below a running server: renewed by a tool, moved behind a link, or half written.

use std::{
    convert::Infallible,
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, PoisonError},
};

use tokio::time::sleep;

use super::{Files, Tls, TlsError};

/// What is known of the files.
#[derive(Debug)]
pub(super) struct Seen {
    /// At the last look.
    last: Prints,
    /// When they were last read with success.
    loaded: Prints,
    /// What was last complained of.
    complained: Option<(Prints, String)>,
}

/// What tells one version of the files from another, without reading them. Links are followed.
type Prints = Vec<Option<Print>>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Print {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Seen {
    /// The files as they are, about to be read.
    pub(super) fn at_start(files: &Files) -> Self {
        let prints = prints(files);
        Self {
            last: prints.clone(),
            loaded: prints,
            complained: None,
        }
    }
}

/// Looks at the files of `tls` for ever.
pub(crate) async fn watch(tls: Arc<Tls>) -> Infallible {
    loop {
        sleep(tls.look_every).await;
        let tls = tls.clone();
        let _ = tokio::task::spawn_blocking(move || tls.look()).await;
    }
}

impl Tls {
    /// Takes in what has changed and stood still since the last look. A version that cannot be used
    /// is tried again, because what is wrong may be a permission or the date.
    fn look(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = prints(&self.files);
        let stands_still = seen.last == now;
        seen.last.clone_from(&now);
        if now == seen.loaded || !stands_still {
            return;
        }
        if let Err(error) = self.take_in(&mut seen) {
            let complaint = Some((now, error.to_string()));
            if seen.complained != complaint {
                complain(&error);
                seen.complained = complaint;
            }
        }
    }

    /// Reads the files again because somebody asked for it, and complains when they cannot be used.
    pub(crate) fn reload_on_request(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.take_in(&mut seen) {
            complain(&error);
            seen.complained = Some((prints(&self.files), error.to_string()));
        }
    }
}

fn complain(error: &TlsError) {
    tracing::error!(
        %error,
        "the new certificate cannot be used; the one before it stays"
    );
}

/// Warns when every user of the machine may read or write the key.
pub(super) fn warn_of_open_key(key: &Path) {
    const OTHERS_READ: u32 = 0o004;
    if fs::metadata(key).is_ok_and(|file| file.mode() & OTHERS_READ != 0) {
        tracing::warn!(
            path = %key.display(),
            "every user of this machine can read the private key; take the permission away"
        );
    }
}

fn prints(files: &Files) -> Prints {
    let authorities = files.clients.as_ref().map(|clients| &clients.authorities);
    [&files.key, &files.chain]
        .into_iter()
        .chain(authorities)
        .map(|path| fs::metadata(path).ok().map(Print::from))
        .collect()
}

impl From<fs::Metadata> for Print {
    fn from(file: fs::Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            bytes: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}
