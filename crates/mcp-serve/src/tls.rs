//! TLS: the server's certificate from files, exchanged while the server runs.

mod itself;
mod material;
mod validity;
mod watch;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::{ClientConfig, ServerConfig};

use self::{material::Material, watch::Seen};
pub(crate) use self::{validity::is_current, watch::watch};

/// What a server presents in handshakes, and whom it asks to present something.
///
/// TLS 1.2 and 1.3, with HTTP/2 and HTTP/1.1 by ALPN. [`Server`](crate::Server) looks at the files
/// while it runs: what has changed, and stood still from one look to the next, holds for handshakes
/// from then on. Connections that are open go on. What cannot be used is logged once, and the version
/// before it stays.
pub struct Tls {
    files: Files,
    look_every: Duration,
    current: ArcSwap<Material>,
    seen: Mutex<Seen>,
}

/// Where the parts of TLS are, as PEM (RFC 7468), at most 1 MiB each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
    /// The certificate of the key, followed by those that lead to its root; sent in this order.
    pub chain: PathBuf,
    /// Whether clients are asked for a certificate too.
    pub clients: Option<Clients>,
}

/// How clients prove with a certificate who they are (mutual TLS).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    /// The certificates whose holders issue those of clients.
    pub authorities: PathBuf,
    /// Whether a client without a certificate is turned away. One with a certificate that does not
    /// hold always is.
    pub required: bool,
}

/// One of [`Files`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The private key.
    Key,
    /// The certificate and its chain.
    Chain,
    /// The authorities of clients.
    Authorities,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct TlsError {
    /// Which file.
    pub part: Part,
    /// Its path.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It could not be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// It is longer than a file of its kind can be.
    #[error("is larger than 1 MiB")]
    TooLarge,
    /// Everybody on this machine may write to it, and so choose the key.
    #[error("can be written by everybody on this machine; take that permission away (chmod o-w)")]
    Open,
    /// There is nothing of the wanted kind in it.
    #[error("has no {0} in PEM form")]
    Missing(&'static str),
    /// It is not PEM, or is cut off.
    #[error("is not well-formed PEM: {0}")]
    Pem(rustls::pki_types::pem::Error),
    /// Something in it is no certificate or key that can be used.
    #[error("cannot be used: {0}")]
    Unusable(String),
    /// The key is not the one of the first certificate.
    #[error("its first certificate does not belong to the key in {}", .0.display())]
    Mismatch(PathBuf),
    /// The certificate holds no longer.
    #[error("the certificate expired at {0}")]
    Expired(Timestamp),
    /// The certificate does not hold yet.
    #[error("the certificate holds from {0} only")]
    Early(Timestamp),
}

impl Tls {
    /// How often a running server looks at the files.
    pub const LOOK_EVERY: Duration = Duration::from_secs(5);

    /// Reads `files`. A key that everybody on this machine may read gives a warning in the log.
    pub fn load(files: Files) -> Result<Self, TlsError> {
        let seen = Seen::at_start(&files);
        let material = Material::read(&files, None, Timestamp::now())?;
        watch::warn_of_open_key(&files.key);
        Ok(Self {
            files,
            look_every: Self::LOOK_EVERY,
            current: ArcSwap::from_pointee(material),
            seen: Mutex::new(seen),
        })
    }

    /// The same, looked at every `pause`.
    #[must_use]
    pub fn look_every(self, pause: Duration) -> Self {
        Self {
            look_every: pause,
            ..self
        }
    }

    /// Reads the files again at once, whether they have changed or not; what cannot be used leaves
    /// everything as it is. It reads files, so call it where blocking is allowed.
    pub fn reload(&self) -> Result<(), TlsError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.take_in(&mut seen)
    }

    /// When the certificate that is presented now expires.
    pub fn not_after(&self) -> Timestamp {
        self.current.load().not_after
    }

    /// From when on that certificate holds.
    pub fn not_before(&self) -> Timestamp {
        self.current.load().not_before
    }

    /// How a client on this machine, with the same files, asks this server how it is.
    ///
    /// It takes any certificate whose key the server proves to have: nothing is told to the server
    /// that is secret, and after a renewal the files may be ahead of the server. Where clients need
    /// a certificate it presents the server's own, which the server knows.
    pub fn client_of_itself(files: &Files) -> Result<ClientConfig, TlsError> {
        itself::client(files)
    }

    /// What holds for a handshake that begins now.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.current.load().config.clone()
    }

    fn take_in(&self, seen: &mut Seen) -> Result<(), TlsError> {
        let found = Seen::at_start(&self.files);
        let previous = self.current.load_full();
        let material = Material::read(&self.files, Some(&previous), Timestamp::now())?;
        let not_after = material.not_after;
        self.current.store(Arc::new(material));
        *seen = found;
        watch::warn_of_open_key(&self.files.key);
        tracing::info!(%not_after, "the certificate was loaded anew");
        Ok(())
    }
}

impl Files {
    fn error(&self, part: Part, problem: Problem) -> TlsError {
        TlsError {
            part,
            path: self.path(part).to_owned(),
            problem,
        }
    }

    fn path(&self, part: Part) -> &Path {
        match (part, &self.clients) {
            (Part::Chain, _) => &self.chain,
            (Part::Authorities, Some(clients)) => &clients.authorities,
            (Part::Key | Part::Authorities, _) => &self.key,
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .field("not_after", &self.not_after())
            .finish_non_exhaustive()
    }
}
