//! The form of an archive: a line that says what it is, everything compressed, and a line that says
//! that all of it is there.
//!
//! ```text
//! {"mcp_notes_backup":1,"created_at":"2026-11-22T03:00:00Z","version":"0.1.0",...}
//! one Zstandard frame (RFC 8878) of lines: {"note":{...}} and {"token":{...}}
//! {"notes":2,"tokens":1,"checksum":"...","sha256":"..."}
//! ```
//!
//! The last line has the counts, the checksum of [`Tally`], and the SHA-256 of every byte before it.
//! It is compared byte by byte with what must be there, and nothing may follow, so there is no byte
//! that can change without being seen.

use std::io::{self, BufRead, BufReader, Read, Write};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::record::{self, LineError, Record};
use super::seal::{Keys, unseal};
use crate::text::hex;
use crate::transfer::{BATCH_BYTES_MAX, BATCH_ITEMS_MAX, Counts, Part, Tally};

/// The form that this program writes, and the newest that it reads.
const FORM: u32 = 1;

/// How much a line of the frame may have: more than any note that a server accepts.
const LINE_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// How much the first line may have.
const HEADER_BYTES_MAX: u64 = 4096;

/// How far back the compressed text may point, as a power of two; what is written stays far below.
const WINDOW_LOG_MAX: u32 = 24;

/// How hard it is compressed: fast, and most of what can be gained.
const LEVEL: i32 = 3;

const WRONG_LINE: Broken = Broken::Damaged("a line of it is wrong");

/// What an archive says of itself before it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The form of the archive.
    #[serde(rename = "mcp_notes_backup")]
    pub form: u32,
    /// When the backup was begun.
    pub created_at: Timestamp,
    /// The version of the program that wrote it.
    pub version: String,
    /// The kind of store that it was taken from: `sqlite` or `mongodb`.
    pub store: String,
    /// Whether all of it is as it was at one moment.
    pub one_moment: bool,
    /// How many notes there were, as far as was known at the beginning.
    pub notes: u64,
    /// How many tokens there were.
    pub tokens: u64,
}

impl Header {
    /// A header of the newest form.
    pub(super) fn new(created_at: Timestamp, store: &str, one_moment: bool, held: Counts) -> Self {
        Self {
            form: FORM,
            created_at,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            store: store.to_owned(),
            one_moment,
            notes: held.notes,
            tokens: held.tokens,
        }
    }
}

/// What every form says of itself, whatever else it says.
#[derive(Deserialize)]
struct Form {
    mcp_notes_backup: u32,
    version: String,
}

/// Why an archive cannot be read. Nothing of what it holds is told.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// It is something else.
    #[error("it is not an archive of notes")]
    NotOurs,
    /// It was written by a later version, which put more into it.
    #[error(
        "it was written by mcp-notes {version} and holds {what}, which this version does not know"
    )]
    Newer {
        /// The version that wrote it.
        version: String,
        /// What is not known.
        what: String,
    },
    /// Something of it is not as it was written, or is missing.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// It is encrypted, and what was given does not open it.
    #[error("it is encrypted, and {0}")]
    Locked(&'static str),
    /// It could not be read at all.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
}

impl Broken {
    fn of(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        // A file that was opened fails with a number of the system; what else fails is the text.
        match (error.kind(), error.raw_os_error()) {
            (Kind::UnexpectedEof, _) => Self::Damaged("it ends too early"),
            (_, None) => Self::Damaged("its text is not what was written"),
            (_, Some(_)) => Self::Read(error),
        }
    }
}

/// Writes an archive.
pub(super) struct Writer<W: Write> {
    frame: zstd::Encoder<'static, Hashing<W>>,
    line: Vec<u8>,
    tally: Tally,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(out: W, header: &Header) -> io::Result<Self> {
        let mut out = Hashing::new(out);
        let mut line = serde_json::to_vec(header)?;
        line.push(b'\n');
        out.write_all(&line)?;
        Ok(Self {
            frame: zstd::Encoder::new(out, LEVEL)?,
            line,
            tally: Tally::default(),
        })
    }

    pub(super) fn part(&mut self, part: &Part) -> io::Result<()> {
        part.count_into(&mut self.tally);
        match part {
            Part::Notes(notes) => notes
                .iter()
                .try_for_each(|note| self.put(|line| record::put_note(line, note))),
            Part::Tokens(tokens) => tokens
                .iter()
                .try_for_each(|kept| self.put(|line| record::put_token(line, kept))),
        }
    }

    fn put(&mut self, put: impl Fn(&mut Vec<u8>) -> serde_json::Result<()>) -> io::Result<()> {
        self.line.clear();
        put(&mut self.line)?;
        self.frame.write_all(&self.line)
    }

    /// Writes the end; what everything was written to, and what it is.
    pub(super) fn finish(self) -> io::Result<(W, Tally)> {
        let (mut out, digest) = self.frame.finish()?.finish();
        out.write_all(trailer(&self.tally, &digest).as_bytes())?;
        Ok((out, self.tally))
    }
}

/// The last line.
fn trailer(tally: &Tally, digest: &[u8]) -> String {
    let Tally { notes, tokens, .. } = tally;
    let (checksum, sha256) = (tally.checksum(), hex(digest));
    format!(
        "{{\"notes\":{notes},\"tokens\":{tokens},\"checksum\":\"{checksum}\",\"sha256\":\"{sha256}\"}}\n"
    )
}

/// Reads an archive in parts, with little memory however much it holds.
pub struct Reader<R: BufRead> {
    header: Header,
    lines: Option<BufReader<zstd::Decoder<'static, Hashing<R>>>>,
    /// A line that belongs to the next part.
    ahead: Option<Record>,
    line: Vec<u8>,
    tally: Tally,
}

impl Reader<Box<dyn BufRead + Send>> {
    /// Reads the first line of an archive, which may be encrypted.
    pub fn unlock(source: impl Read + Send + 'static, keys: &Keys) -> Result<Self, Broken> {
        Self::open(unseal(source, keys)?)
    }
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line of an archive that is not encrypted.
    pub fn open(source: R) -> Result<Self, Broken> {
        let mut source = Hashing::new(source);
        let mut line = Vec::new();
        let mut first = (&mut source).take(HEADER_BYTES_MAX);
        first.read_until(b'\n', &mut line).map_err(Broken::of)?;
        let form: Form = serde_json::from_slice(&line).map_err(|_| Broken::NotOurs)?;
        if form.mcp_notes_backup != FORM {
            let what = format!("form {} of archives", form.mcp_notes_backup);
            let version = plain(&form.version);
            return Err(Broken::Newer { version, what });
        }
        let header = serde_json::from_slice(&line);
        let header = header.map_err(|_| Broken::Damaged("its first line is wrong"))?;
        let mut frame = zstd::Decoder::with_buffer(source).map_err(Broken::of)?;
        frame.window_log_max(WINDOW_LOG_MAX).map_err(Broken::of)?;
        Ok(Self {
            header,
            lines: Some(BufReader::new(frame.single_frame())),
            ahead: None,
            line: Vec::new(),
            tally: Tally::default(),
        })
    }

    /// What the archive says of itself. None of it is certain before the end is reached.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next part, or `None` when everything was read and is as it was written.
    pub fn part(&mut self) -> Result<Option<Part>, Broken> {
        let (mut notes, mut tokens, mut weight) = (Vec::new(), Vec::new(), 0);
        while notes.len() + tokens.len() < BATCH_ITEMS_MAX as usize && weight < BATCH_BYTES_MAX {
            let Some(record) = self.next()? else { break };
            weight += record::weight(&record);
            match record {
                Record::Note(note) if tokens.is_empty() => notes.push(note),
                Record::Token(kept) if notes.is_empty() => tokens.push(kept),
                other => {
                    self.ahead = Some(other);
                    break;
                }
            }
        }
        let part = match (notes.is_empty(), tokens.is_empty()) {
            (true, true) => return Ok(None),
            (false, _) => Part::Notes(notes),
            (true, false) => Part::Tokens(tokens),
        };
        Ok(Some(part))
    }

    /// What was read so far; after the last part, what the archive holds.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    fn next(&mut self) -> Result<Option<Record>, Broken> {
        if let Some(record) = self.ahead.take() {
            return Ok(Some(record));
        }
        let Some(lines) = &mut self.lines else {
            return Ok(None);
        };
        self.line.clear();
        let read = lines
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut self.line)
            .map_err(Broken::of)?;
        if read == 0 {
            self.check_end()?;
            return Ok(None);
        }
        let Some((b'\n', line)) = self.line.split_last() else {
            return Err(Broken::Damaged("a line of it has no end"));
        };
        let record = match record::take(line) {
            Ok(record) => record,
            Err(LineError::Damaged) => return Err(WRONG_LINE),
            Err(LineError::Unknown(kind)) => return Err(self.unknown(&kind)),
        };
        match &record {
            Record::Note(note) => self.tally.note(note),
            Record::Token(kept) => self.tally.token(kept),
        }
        Ok(Some(record))
    }

    /// What an archive with such records is: that of a later version if its checksum is right, and
    /// otherwise damaged where a name stands.
    fn unknown(&mut self, kind: &str) -> Broken {
        let Some(mut lines) = self.lines.take() else {
            return WRONG_LINE;
        };
        if let Err(error) = io::copy(&mut lines, &mut io::sink()) {
            return Broken::of(error);
        }
        let (source, digest) = lines.into_inner().finish().finish();
        let mut end = Vec::new();
        if let Err(error) = source.take(HEADER_BYTES_MAX).read_to_end(&mut end) {
            return Broken::of(error);
        }
        let expected = format!("\"sha256\":\"{}\"}}\n", hex(&digest));
        if !end.ends_with(expected.as_bytes()) {
            return WRONG_LINE;
        }
        Broken::Newer {
            version: plain(&self.header.version),
            what: format!("records of the kind {kind}"),
        }
    }

    /// Compares what follows the frame with what must follow it.
    fn check_end(&mut self) -> Result<(), Broken> {
        let Some(lines) = self.lines.take() else {
            return Ok(());
        };
        let (source, digest) = lines.into_inner().finish().finish();
        let expected = trailer(&self.tally, &digest);
        let mut found = Vec::new();
        let most = expected.len() as u64 + 1;
        source
            .take(most)
            .read_to_end(&mut found)
            .map_err(Broken::of)?;
        if found == expected.as_bytes() {
            return Ok(());
        }
        Err(Broken::Damaged(if found.len() < expected.len() {
            "it ends too early"
        } else {
            "its checksum is another"
        }))
    }
}

/// Text of a file that may be anybody's, so that it can be shown.
fn plain(text: &str) -> String {
    const CHARS_MAX: usize = 40;
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
    text.chars().filter(fits).take(CHARS_MAX).collect()
}

/// Takes the SHA-256 of all bytes that pass.
struct Hashing<T> {
    inner: T,
    digest: Sha256,
}

impl<T> Hashing<T> {
    fn new(inner: T) -> Self {
        let digest = Sha256::new();
        Self { inner, digest }
    }

    fn finish(self) -> (T, [u8; 32]) {
        (self.inner, self.digest.finalize().into())
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: BufRead> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Hashing<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        // What is consumed was filled before, so nothing is read here and nothing fails.
        if let Ok(filled) = self.inner.fill_buf() {
            self.digest.update(filled.get(..count).unwrap_or_default());
        }
        self.inner.consume(count);
    }
}
