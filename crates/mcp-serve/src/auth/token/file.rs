//! Tokens in a text file, for servers whose operator cannot write to their database.
//!
//! One token on each line, its fields apart by spaces or tabs; empty lines and what follows a `#` at
//! the beginning of a word are left out:
//!
//! ```text
//! # hash (SHA-256)   name  owner   scopes                  end
//! sha256:5e88489...  ci    shared  notes:read,notes:write  2027-02-20T00:00:00Z
//! sha256:9f86d08...  desk  alice   notes:read              never
//! ```
//!
//! A token is revoked by removing its line. A file that is not right any more changes nothing, and
//! the health report says so.

use std::{
    collections::{HashMap, HashSet},
    fmt, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::Instant;

use super::{SourceError, TokenHash, TokenRecord, TokenSource};
use crate::{auth::Scopes, health::Check};

/// Largest file, in bytes; it has room for several thousand tokens.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How often the file is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Longest name and longest owner of a token, in bytes.
const WORD_BYTES_MAX: usize = 200;

/// The tokens of a file, which is read again when it changes.
pub struct TokensFile {
    path: PathBuf,
    /// The scopes that there are.
    scopes: Scopes,
    state: Mutex<State>,
}

struct State {
    tokens: Arc<Tokens>,
    /// What the file looked like when it was read last, well or not.
    stamp: Option<Stamp>,
    looked: Instant,
    /// What is wrong with the file since the tokens were read.
    flaw: Option<String>,
}

#[derive(Default)]
struct Tokens {
    by_hash: HashMap<TokenHash, TokenRecord>,
    hashes: HashMap<String, TokenHash>,
}

/// What changes when a file does.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// One thing that is wrong with a file of tokens. It never repeats what stands there, which may be a
/// token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// Why a file of tokens is not used.
#[derive(Debug, thiserror::Error)]
pub enum TokensFileError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Unreadable(#[from] io::Error),
    /// It is larger than 1 MiB.
    #[error("it is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    /// Everybody may write to it, and so give themselves a token.
    #[error("everybody may write to it; take that permission away (chmod o-w)")]
    Open,
    /// Lines of it are wrong: all of them.
    #[error("{}", Flaws(.0))]
    Wrong(Vec<Flaw>),
}

struct Flaws<'a>(&'a [Flaw]);

impl fmt::Display for Flaws<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, flaw) in self.0.iter().enumerate() {
            let separator = if at > 0 { "; " } else { "" };
            write!(f, "{separator}line {}: {}", flaw.line, flaw.what)?;
        }
        Ok(())
    }
}

/// The line for a token in a file of tokens. None of the words may contain white space.
pub fn line(
    hash: &TokenHash,
    name: &str,
    owner: &str,
    scopes: &Scopes,
    expires_at: Option<Timestamp>,
) -> String {
    let scopes: Vec<_> = scopes.iter().collect();
    let scopes = scopes.join(",");
    let end = expires_at.map_or_else(|| "never".to_owned(), |end| end.to_string());
    format!("sha256:{hash} {name} {owner} {scopes} {end}")
}

impl TokensFile {
    /// Reads the file at `path`. A token can have the given scopes and no others.
    pub async fn open(path: &Path, scopes: Scopes) -> Result<Self, TokensFileError> {
        let looked = Instant::now();
        let (stamp, read) = look(path.to_owned(), scopes.clone(), None).await?;
        let tokens = read.unwrap_or_else(|| Ok(Tokens::default()))?;
        Ok(Self {
            path: path.to_owned(),
            scopes,
            state: Mutex::new(State {
                tokens: Arc::new(tokens),
                stamp: Some(stamp),
                looked,
                flaw: None,
            }),
        })
    }

    /// The tokens of the file as it is now, or as it was when it was last right.
    async fn tokens(&self) -> Arc<Tokens> {
        let stamp = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.looked.elapsed() < LOOK_EVERY {
                return state.tokens.clone();
            }
            state.looked = Instant::now();
            state.stamp
        };
        let seen = look(self.path.clone(), self.scopes.clone(), stamp).await;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match seen {
            Ok((_, None)) => {}
            Ok((stamp, Some(read))) => {
                state.stamp = Some(stamp);
                match read {
                    Ok(tokens) => {
                        tracing::info!(
                            tokens = tokens.by_hash.len(),
                            "the tokens file is read again"
                        );
                        state.tokens = Arc::new(tokens);
                        state.flaw = None;
                    }
                    Err(error) => state.stays(&error),
                }
            }
            // Told once, until the file can be looked at again.
            Err(error) => {
                if state.stamp.take().is_some() {
                    state.stays(&TokensFileError::Unreadable(error));
                }
            }
        }
        state.tokens.clone()
    }
}

impl State {
    fn stays(&mut self, error: &TokensFileError) {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "the tokens file is not right any more; the tokens that it had stay"
        );
        self.flaw = Some(error.to_string());
    }
}

type Read = Result<Tokens, TokensFileError>;

/// What the file looks like, and its tokens if that is not what was `known` of it.
async fn look(
    path: PathBuf,
    scopes: Scopes,
    known: Option<Stamp>,
) -> io::Result<(Stamp, Option<Read>)> {
    let look = move || {
        // What is read after this may be newer, and then it is read once more.
        let metadata = fs::metadata(&path)?;
        let stamp = Stamp {
            file: (metadata.dev(), metadata.ino()),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
        let read = (known != Some(stamp)).then(|| read(&path, &metadata, &scopes));
        Ok((stamp, read))
    };
    tokio::task::spawn_blocking(look).await?
}

fn read(path: &Path, metadata: &fs::Metadata, scopes: &Scopes) -> Read {
    const OTHERS_WRITE: u32 = 0o002;
    if metadata.mode() & OTHERS_WRITE != 0 {
        return Err(TokensFileError::Open);
    }
    if metadata.size() > FILE_BYTES_MAX {
        return Err(TokensFileError::TooLarge);
    }
    parse(&fs::read_to_string(path)?, scopes).map_err(TokensFileError::Wrong)
}

/// The tokens in `text`, or everything that is wrong with it.
fn parse(text: &str, scopes: &Scopes) -> Result<Tokens, Vec<Flaw>> {
    let mut tokens = Tokens::default();
    let mut names = HashSet::new();
    let mut flaws = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let words = line.split_whitespace();
        let fields: Vec<_> = words.take_while(|word| !word.starts_with('#')).collect();
        if fields.is_empty() {
            continue;
        }
        let entry = entry(&fields, scopes).and_then(|(hash, record)| {
            if tokens.by_hash.contains_key(&hash) {
                return Err("the hash stands on another line too".into());
            }
            if !names.insert(fields[1]) {
                return Err("the name stands on another line too".into());
            }
            Ok((hash, record))
        });
        match entry {
            Ok((hash, record)) => {
                tokens.hashes.insert(record.id.clone(), hash);
                tokens.by_hash.insert(hash, record);
            }
            Err(what) => flaws.push(Flaw { line: at + 1, what }),
        }
    }
    if flaws.is_empty() {
        Ok(tokens)
    } else {
        Err(flaws)
    }
}

fn entry(fields: &[&str], known: &Scopes) -> Result<(TokenHash, TokenRecord), String> {
    let [hash, name, owner, scopes, end] = fields else {
        return Err(format!(
            "{} fields instead of five: hash, name, owner, scopes and end",
            fields.len()
        ));
    };
    let hash = hash.strip_prefix("sha256:").and_then(TokenHash::parse);
    let hash = hash.ok_or("the hash is not sha256: and 64 hexadecimal digits")?;
    for (what, word) in [("name", name), ("owner", owner)] {
        if word.len() > WORD_BYTES_MAX || word.chars().any(char::is_control) {
            return Err(format!(
                "the {what} is longer than {WORD_BYTES_MAX} bytes or has a control character"
            ));
        }
    }
    if *owner == "anonymous" {
        return Err("the owner cannot be anonymous, which means nobody in particular".into());
    }
    let scopes: Vec<_> = scopes.split(',').collect();
    if !scopes.iter().all(|scope| known.contains(scope)) {
        let known: Vec<_> = known.iter().collect();
        return Err(format!(
            "the scopes are not some of {} with commas between them",
            known.join(",")
        ));
    }
    let expires_at = match *end {
        "never" => None,
        end => Some(
            end.parse::<Timestamp>()
                .map_err(|_| "the end is neither never nor a time such as 2027-02-20T00:00:00Z")?,
        ),
    };
    let digits = hash.to_string();
    let record = TokenRecord {
        // Another token of the same name is another one.
        id: format!("{name}#{}", &digits[..8]),
        owner: (*owner).to_owned(),
        scopes: scopes.into_iter().collect(),
        expires_at,
        last_used: None,
        revoked_at: None,
    };
    Ok((hash, record))
}

#[async_trait]
impl TokenSource for TokensFile {
    async fn find(&self, hash: &TokenHash) -> Result<Option<TokenRecord>, SourceError> {
        Ok(self.tokens().await.by_hash.get(hash).cloned())
    }

    async fn get(&self, id: &str) -> Result<Option<TokenRecord>, SourceError> {
        let tokens = self.tokens().await;
        let hash = tokens.hashes.get(id);
        Ok(hash.and_then(|hash| tokens.by_hash.get(hash).cloned()))
    }

    /// A file that is read does not say when.
    async fn used(&self, _id: &str, _at: Timestamp) -> Result<(), SourceError> {
        Ok(())
    }
}

/// While the file is not right nobody can be kept out by changing it. The tokens that it had still let
/// their holders in, so the server is ready, and degraded.
#[async_trait]
impl Check for TokensFile {
    fn name(&self) -> &'static str {
        "tokens"
    }

    fn is_vital(&self) -> bool {
        false
    }

    async fn check(&self) -> Result<(), String> {
        self.tokens().await;
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &state.flaw {
            None => Ok(()),
            Some(flaw) => Err(format!(
                "the tokens file is not right any more, so nothing that is revoked in it ends: {flaw}"
            )),
        }
    }
}

impl fmt::Debug for TokensFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokensFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
