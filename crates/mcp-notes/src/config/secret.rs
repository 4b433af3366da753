//! What may hold a password: the type that keeps it, the file that gives it, the mask that hides it.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

use super::value::Expected;

/// What stands for a secret wherever it would be shown.
const MASK: &str = "***";

/// Largest file that a secret is read from, in bytes; certificates and long addresses fit.
const FILE_BYTES_MAX: usize = 64 << 10;

/// A value that nobody may see: `Debug` and `Display` print a mask.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A secret of one line: not empty, without control characters and without spaces around it,
    /// which nobody sees and every comparison does. The error completes "expected ...".
    pub fn parse(text: &str) -> Result<Self, String> {
        let fits =
            !text.is_empty() && text.trim() == text && !text.contains(|c: char| c.is_control());
        if fits {
            return Ok(Self::new(text));
        }
        Err("one line of text without spaces around it or control characters".into())
    }

    /// The text, for the one place that uses it. It must not go into a log, an error or a `Debug`.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// The text in the file at `path`, without the end of its last line, and a warning when the file is
/// not as private as it should be.
pub(super) fn read_file(path: &Path) -> Result<(String, Option<String>), Expected> {
    let unreadable = |error: io::Error| format!("a readable text file ({error})");
    let mut file = File::open(path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    if about.is_dir() {
        return Err("a file, and this is a directory".into());
    }
    let exposure = exposure(path, &about)?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX) + 1;
    file.by_ref()
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(format!("a file of at most {FILE_BYTES_MAX} bytes"));
    }
    // The error would show the bytes.
    let text = String::from_utf8(bytes).map_err(|_| "a file of UTF-8 text".to_owned())?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.trim().is_empty() {
        return Err("a file that is not empty".into());
    }
    Ok((text.to_owned(), exposure))
}

/// A warning when everybody on the machine can read the file, which an operator may have to live
/// with. What everybody can write is nobody's secret.
fn exposure(path: &Path, about: &fs::Metadata) -> Result<Option<String>, Expected> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = about.permissions().mode() & 0o777;
    if !about.is_file() || mode & 0o006 == 0 {
        return Ok(None);
    }
    if mode & 0o002 != 0 {
        return Err(format!(
            "a file that not everybody on this machine can write (mode {mode:o}); take that \
             permission away (chmod o-w), and replace what is in it"
        ));
    }
    let path = path.display();
    Ok(Some(format!(
        "{path} holds a secret and everybody on this machine can read it (mode {mode:o})"
    )))
}

/// `text` with what may be a password masked: that of a URL, and the values of its query that sound
/// like one. A URL whose parts cannot be told apart is masked as a whole.
pub(super) fn masked(text: &str) -> String {
    let (address, query) = match text.split_once('?') {
        Some((address, query)) if text.contains("://") && !query.contains('@') => {
            (address, Some(query))
        }
        _ => (text, None),
    };
    let mut shown = masked_user(address);
    if let Some(query) = query {
        shown.push('?');
        shown.push_str(&masked_query(query));
    }
    shown
}

/// `text` as [`masked`] has it where it is an address, and nothing where it may be a bare secret.
pub(super) fn shown_mistake(text: &str) -> Option<String> {
    const SCHEMES: [&str; 9] = [
        "sqlite:",
        "mongodb:",
        "mongodb+srv:",
        "redis:",
        "redis+",
        "rediss:",
        "rediss+",
        "http:",
        "https:",
    ];
    let text = text.trim();
    let is_address = SCHEMES.iter().any(|scheme| text.starts_with(scheme));
    is_address.then(|| masked(text))
}

fn masked_user(text: &str) -> String {
    let Some(at) = text.rfind('@') else {
        return text.to_owned();
    };
    let Some(scheme_end) = text.find("://").map(|i| i + 3).filter(|end| *end <= at) else {
        return MASK.to_owned();
    };
    match text[scheme_end..at].split_once(':') {
        Some((user, _)) => format!("{}{user}:{MASK}{}", &text[..scheme_end], &text[at..]),
        // It may be a password in the wrong place.
        None => format!("{}{MASK}{}", &text[..scheme_end], &text[at..]),
    }
}

fn masked_query(query: &str) -> String {
    const SPEAKING: [&str; 7] = [
        "pass",
        "pwd",
        "secret",
        "token",
        "key",
        "credential",
        "properties",
    ];
    let pair = |pair: &str| match pair.split_once('=') {
        Some((name, _)) => {
            // A name that is written in another way than plainly may be any name.
            let lower = name.to_ascii_lowercase();
            let speaks = lower.contains('%') || SPEAKING.iter().any(|word| lower.contains(word));
            if speaks {
                format!("{name}={MASK}")
            } else {
                pair.to_owned()
            }
        }
        None => pair.to_owned(),
    };
    query.split('&').map(pair).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nothing_of_itself() {
        let secret = Secret::parse("hunter2").unwrap();
        assert_eq!(
            format!("{secret:?} {:#?}", Some(&secret)),
            "*** Some(\n    ***,\n)"
        );
        assert_eq!(secret.to_string(), "***");
        assert_eq!(secret.expose(), "hunter2");
        for bad in ["", " x", "x ", "a\nb", "a\0"] {
            let expected = Secret::parse(bad).unwrap_err();
            assert!(expected.starts_with("one line"), "{expected}");
        }
    }

    #[test]
    fn passwords_in_addresses_are_masked() {
        for (given, shown) in [
            ("redis://:hunter2@h:6379/0", "redis://:***@h:6379/0"),
            (
                "mongodb://u:hunter2@a,b/n?replicaSet=r",
                "mongodb://u:***@a,b/n?replicaSet=r",
            ),
            (
                "mongodb://a/n?tlsCertificateKeyFilePassword=hunter2&x=1",
                "mongodb://a/n?tlsCertificateKeyFilePassword=***&x=1",
            ),
            (
                "mongodb://a/?authMechanismProperties=AWS_SESSION_TOKEN:hunter2",
                "mongodb://a/?authMechanismProperties=***",
            ),
            ("redis://h/?p%61ssword=hunter2", "redis://h/?p%61ssword=***"),
            ("mongodb://u:hunter?2@h/n", "mongodb://u:***@h/n"),
            (
                "mongodb://u:a?pass=hunter2@h/?x=1",
                "mongodb://u:***@h/?x=1",
            ),
            ("redis://hunter2@h", "redis://***@h"),
            (
                "redis+sentinel://u:hunter2@a,b/m",
                "redis+sentinel://u:***@a,b/m",
            ),
            ("sqlite:data/notes.db", "sqlite:data/notes.db"),
        ] {
            assert_eq!(masked(given), shown);
        }
        assert_eq!(shown_mistake("hunter2"), None);
        assert_eq!(shown_mistake("postgres://u:hunter2@h"), None);
    }
}
