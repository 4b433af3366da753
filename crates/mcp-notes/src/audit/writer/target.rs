//! Where the lines go: a file under its name, or a stream of the process.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Takes bytes to the end of the audit log.
pub(in crate::audit) struct Target(Kind);

enum Kind {
    Stdout,
    Stderr,
    File { path: PathBuf, file: File },
}

impl Target {
    pub(in crate::audit) fn stdout() -> Self {
        Self(Kind::Stdout)
    }

    pub(in crate::audit) fn stderr() -> Self {
        Self(Kind::Stderr)
    }

    /// The file at `path`; it and its folder are made when they do not exist, the file for its
    /// owner alone.
    pub(in crate::audit) fn open(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        let path = path.to_owned();
        Ok(Self(Kind::File { path, file }))
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
            Kind::File { file, .. } => match file.write(bytes) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                done => done,
            },
        }
    }

    /// Opens the file again when another one, or none, has its name; when it is asked to, in any
    /// case. Says whether it did.
    pub(super) fn reopen(&mut self, is_asked: bool) -> io::Result<bool> {
        let Kind::File { path, file } = &mut self.0 else {
            return Ok(false);
        };
        let open_now = file.metadata()?;
        let is_same = fs::metadata(&*path)
            .is_ok_and(|named| named.dev() == open_now.dev() && named.ino() == open_now.ino());
        if is_same && !is_asked {
            return Ok(false);
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
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    let about = file.metadata()?;
    if about.is_file() && about.len() > 0 {
        end_cut_line(&mut file)?;
    }
    Ok(file)
}

/// A line that a crash cut off ends here, so that it does not spoil the next one.
fn end_cut_line(file: &mut File) -> io::Result<()> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    if last != *b"\n" {
        file.write_all(b"\n")?;
    }
    Ok(())
}
