//! Encryption of archives with age (age-encryption.org/v1): to public keys, or with a passphrase.
//!
//! The whole archive is inside, so `age --decrypt` makes the plain one of it.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::str::FromStr;

use age::secrecy::{ExposeSecret as _, SecretString};
use age::x25519::{Identity, Recipient};
use age::{DecryptError, Decryptor, Encryptor};

use super::archive::Broken;

/// What every file of age begins with.
const MAGIC: &[u8] = b"age-encryption.org/v1\n";

/// What trying a passphrase costs, as a power of two: 64 MiB of memory, a fifth of a second. A server
/// has little memory; who wants more safety takes keys or a longer passphrase.
const WORK_LOG: u8 = 16;

/// What is spent at most to open an archive that somebody else encrypted: a gigabyte.
const WORK_LOG_MAX: u8 = 20;

/// The shortest passphrase, in characters.
const PASSPHRASE_CHARS_MIN: usize = 12;

/// How archives are encrypted.
#[derive(Clone, PartialEq, Eq)]
pub enum Seal {
    /// To the holders of the keys of these: the server that writes them cannot read them.
    Recipients(Vec<Recipient>),
    /// With a passphrase.
    Passphrase(Passphrase),
}

/// A passphrase, which nothing shows.
#[derive(Clone)]
pub struct Passphrase(SecretString);

impl Passphrase {
    /// Takes at least 12 characters. The error completes "expected ...".
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.chars().count() < PASSPHRASE_CHARS_MIN {
            return Err(format!(
                "at least {PASSPHRASE_CHARS_MIN} characters, because archives can be tried at leisure"
            ));
        }
        Ok(Self(SecretString::from(text.to_owned())))
    }
}

impl PartialEq for Passphrase {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Eq for Passphrase {}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recipients(_) => "Recipients",
            Self::Passphrase(_) => "Passphrase",
        })
    }
}

impl Seal {
    /// Public keys of age (`age1...`), one on each line; `#` begins a comment. The error names the
    /// line.
    pub fn recipients(text: &str) -> Result<Self, String> {
        let keys = keys(text, "a public key of age (age1...)")?;
        Ok(Self::Recipients(keys))
    }
}

/// What opens archives that are encrypted.
#[derive(Clone, Default)]
pub struct Keys {
    identities: Vec<Identity>,
    passphrase: Option<Passphrase>,
}

impl Keys {
    /// Secret keys of age (`AGE-SECRET-KEY-1...`), one on each line; `#` begins a comment. The error
    /// names the line and shows nothing of it.
    pub fn identities(text: &str) -> Result<Self, String> {
        Ok(Self {
            identities: keys(text, "a secret key of age (AGE-SECRET-KEY-1...)")?,
            passphrase: None,
        })
    }

    /// These and a passphrase.
    #[must_use]
    pub fn with_passphrase(self, passphrase: Option<Passphrase>) -> Self {
        Self { passphrase, ..self }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("identities", &self.identities.len())
            .field("passphrase", &self.passphrase)
            .finish()
    }
}

fn keys<K: FromStr>(text: &str, what: &str) -> Result<Vec<K>, String> {
    let lines = (1..).zip(text.lines().map(str::trim));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let keys = lines
        .map(|(number, line)| {
            let key = line.parse();
            key.map_err(|_| format!("{what} on each line, and line {number} is none"))
        })
        .collect::<Result<Vec<K>, _>>()?;
    if keys.is_empty() {
        return Err(format!("at least one line with {what}"));
    }
    Ok(keys)
}

/// Where an archive is written to.
pub(super) enum Sealed<W: Write> {
    Plain(W),
    // It carries a buffer of 64 KiB.
    Age(Box<age::stream::StreamWriter<W>>),
}

impl<W: Write> Sealed<W> {
    /// Begins to encrypt as `seal` says. What was written can be read with the keys that come back,
    /// which are kept nowhere else.
    pub(super) fn begin(out: W, seal: Option<&Seal>) -> io::Result<(Self, Keys)> {
        let Some(seal) = seal else {
            return Ok((Self::Plain(out), Keys::default()));
        };
        let (encryptor, keys) = match seal {
            Seal::Passphrase(passphrase) => {
                let mut recipient = age::scrypt::Recipient::new(passphrase.0.clone());
                recipient.set_work_factor(WORK_LOG);
                let keys = Keys::default().with_passphrase(Some(passphrase.clone()));
                (
                    Encryptor::with_recipients([&recipient as _].into_iter()),
                    keys,
                )
            }
            Seal::Recipients(recipients) => {
                // One more, whose key is forgotten when this backup is done: who writes it can check
                // it, and nobody on this machine can read it later.
                let passing = Identity::generate();
                let own = passing.to_public();
                let all = recipients.iter().chain([&own]).map(|to| to as _);
                let keys = Keys {
                    identities: vec![passing],
                    passphrase: None,
                };
                (Encryptor::with_recipients(all), keys)
            }
        };
        let encryptor = encryptor.map_err(io::Error::other)?;
        let sealed = encryptor.wrap_output(out)?;
        Ok((Self::Age(Box::new(sealed)), keys))
    }

    /// Writes the end.
    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Age(out) => out.finish(),
        }
    }
}

impl<W: Write> Write for Sealed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Age(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Age(out) => out.flush(),
        }
    }
}

/// The plain bytes of an archive, whether it is encrypted or not.
pub(super) fn unseal<R: Read + Send + 'static>(
    source: R,
    keys: &Keys,
) -> Result<Box<dyn BufRead + Send>, Broken> {
    let mut source = BufReader::with_capacity(64 * 1024, source);
    let beginning = source.fill_buf().map_err(Broken::Read)?;
    if !beginning.starts_with(MAGIC) {
        return Ok(Box::new(source));
    }
    let sealed = Decryptor::new_buffered(source).map_err(|error| locked(&error))?;
    let mut passphrase = keys.passphrase.as_ref().map(|Passphrase(text)| {
        let mut identity = age::scrypt::Identity::new(text.clone());
        identity.set_max_work_factor(WORK_LOG_MAX);
        identity
    });
    let identities = keys.identities.iter().map(|key| key as &dyn age::Identity);
    let passphrase = passphrase.iter_mut().map(|key| &*key as &dyn age::Identity);
    let opened = sealed.decrypt(identities.chain(passphrase));
    let opened = opened.map_err(|error| locked(&error))?;
    Ok(Box::new(BufReader::with_capacity(64 * 1024, opened)))
}

fn locked(error: &DecryptError) -> Broken {
    match error {
        DecryptError::NoMatchingKeys | DecryptError::KeyDecryptionFailed => {
            Broken::Locked("none of the keys that were given opens it")
        }
        DecryptError::DecryptionFailed => Broken::Locked("the passphrase is another"),
        DecryptError::ExcessiveWork { .. } => {
            Broken::Locked("opening it takes more memory than is given to it")
        }
        DecryptError::InvalidHeader | DecryptError::InvalidMac => {
            Broken::Damaged("its encryption is not what was written")
        }
        DecryptError::UnknownFormat => Broken::Locked("its form of encryption is not known"),
        DecryptError::Io(error) if error.raw_os_error().is_some() => {
            Broken::Damaged("it cannot be read")
        }
        DecryptError::Io(_) => Broken::Damaged("its encryption ends too early"),
    }
}
