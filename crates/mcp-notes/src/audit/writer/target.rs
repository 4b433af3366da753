//! Where the lines go: a file under its name, or a stream of the process.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Takes bytes to the end of the audit log.
pub(in crate::audit) struct Target(Kind);

enum Kind {
    Stdout,
    Stderr,
    File {
        path: PathBuf,
        file: File,
        /// How long it was when it could not be written, which may be in the middle of a line.
        stuck_at: Option<u64>,
    },
}

impl Target {
    pub(in crate::audit) fn stdout() -> Self {
        Self(Kind::Stdout)
    }

    pub(in crate::audit) fn stderr() -> Self {
        Self(Kind::Stderr)
    }

    /// The file at `path`; it and its folder are made when they do not exist, the file for its
    /// owner alone. A symbolic link is refused.
    pub(in crate::audit) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Kind::File {
            file: open(path)?,
            path: path.to_owned(),
            stuck_at: None,
        }))
    }

    /// Writes the first line into a file and says whether that can be done. Standard output has no
    /// first line, and a pipe that nobody empties would block.
    pub(in crate::audit) fn begin(&mut self, line: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Kind::File { file, .. } if !file.metadata()?.file_type().is_fifo() => {
                file.write_all(line)
            }
            _ => Ok(()),
        }
    }

    /// Writes some of `bytes`, and says how many.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            // Whole, so that no line of the log stands within one of these.
            Kind::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()?;
                Ok(bytes.len())
            }
            Kind::Stderr => {
                io::stderr().lock().write_all(bytes)?;
                Ok(bytes.len())
            }
            Kind::File { file, stuck_at, .. } => match file.write(bytes) {
                Ok(0) => Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
                Err(error) => {
                    *stuck_at = file.metadata().ok().map(|about| about.len());
                    Err(error)
                }
                done => done,
            },
        }
    }

    /// Opens the file again when another one, or none, has its name; when it is asked to, in any
    /// case. Says whether a line that is written in part is to be begun anew, because its beginning
    /// is in another file, was cut off, or has something else behind it.
    pub(super) fn reopen(&mut self, is_asked: bool) -> io::Result<bool> {
        let Kind::File {
            path,
            file,
            stuck_at,
        } = &mut self.0
        else {
            return Ok(false);
        };
        let stuck_at = stuck_at.take();
        let open_now = file.metadata()?;
        let is_same = fs::metadata(&*path).is_ok_and(|named| is_one_file(&named, &open_now));
        if is_same && !is_asked {
            let is_changed = stuck_at.is_some_and(|bytes| bytes != open_now.len());
            if is_changed {
                end_cut_line(file)?;
            }
            return Ok(is_changed);
        }
        *file = open(path)?;
        Ok(!is_same)
    }

    /// Waits until the file is on its disk, as far as that can be.
    pub(super) fn sync(&self) {
        if let Kind::File { file, .. } = &self.0 {
            // The lines are written; a file that cannot be synced, a pipe say, is no loss.
            let _ = file.sync_data();
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true);
    let mut making = options.clone();
    // A link that leads nowhere is not followed.
    making.create_new(true).mode(0o600);
    let opened = match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => making.open(path),
        opened => opened,
    };
    let mut file = match opened {
        // Another process made it just now.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => options.open(path)?,
        opened => opened?,
    };
    let about = file.metadata()?;
    if !is_one_file(&fs::symlink_metadata(path)?, &about) {
        let why = "a symbolic link could lead the lines into any file";
        return Err(io::Error::new(ErrorKind::InvalidInput, why));
    }
    if about.is_file() {
        end_cut_line(&mut file)?;
    }
    if let Some(mode) = exposed(&about) {
        let path = path.display();
        tracing::warn!(%path, mode, "everybody on this machine can reach the audit log");
    }
    Ok(file)
}

fn is_one_file(a: &Metadata, b: &Metadata) -> bool {
    a.dev() == b.dev() && a.ino() == b.ino()
}

/// The permissions of a file that everybody can read or write.
pub(super) fn exposed(about: &Metadata) -> Option<String> {
    let mode = about.mode() & 0o777;
    (about.is_file() && mode & 0o006 != 0).then(|| format!("{mode:o}"))
}

/// A line that was cut off ends here, so that it does not spoil the next one.
fn end_cut_line(file: &mut File) -> io::Result<()> {
    if file.metadata()?.len() == 0 {
        return Ok(());
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    if last != *b"\n" {
        file.write_all(b"\n")?;
    }
    Ok(())
}
