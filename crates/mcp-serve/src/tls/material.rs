//! What one version of the files makes: a configuration for handshakes.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, LazyLock},
};

use jiff::Timestamp;
use rustls::{
    Error, InconsistentKeys, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{NoClientAuth, ProducesTickets, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};

use super::{Clients, Files, Part, Problem, TlsError, itself::OrItself, validity::Validity};

/// One provider for the whole process; no global default is set or needed.
static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

pub(super) fn provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}

/// A configuration for handshakes and what is known of it.
pub(super) struct Material {
    pub(super) config: Arc<ServerConfig>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    authorities: Option<Vec<u8>>,
    tickets: Arc<dyn ProducesTickets>,
}

impl Material {
    /// Reads the files as they are. Tickets of sessions that `previous` gave out stay good, unless
    /// the authorities of clients have changed: who resumes a session is not verified again.
    pub(super) fn read(
        files: &Files,
        previous: Option<&Self>,
        now: Timestamp,
    ) -> Result<Self, TlsError> {
        let own = certified_key(files)?;
        let leaf = &own.cert[0];
        let validity = check_dates(leaf, now).map_err(|it| files.error(Part::Chain, it))?;
        let (verifier, authorities) = match &files.clients {
            None => (Arc::new(NoClientAuth) as _, None),
            Some(clients) => {
                let (verifier, text) = verifier(clients, leaf)
                    .map_err(|problem| files.error(Part::Authorities, problem))?;
                (verifier, Some(text))
            }
        };
        let unusable = |error: Error| {
            let problem = Problem::Unusable(error.to_string());
            files.error(Part::Key, problem)
        };
        let tickets = match previous {
            Some(previous) if previous.authorities == authorities => previous.tickets.clone(),
            _ => aws_lc_rs::Ticketer::new().map_err(unusable)?,
        };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(unusable)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = tickets.clone();
        Ok(Self {
            config: Arc::new(config),
            not_before: validity.not_before,
            not_after: validity.not_after,
            authorities,
            tickets,
        })
    }
}

/// The key and the chain, which belong together.
pub(super) fn certified_key(files: &Files) -> Result<CertifiedKey, TlsError> {
    let key = key(&files.key).map_err(|it| files.error(Part::Key, it))?;
    let key = provider().key_provider.load_private_key(key);
    let key = key.map_err(|error| {
        let problem = Problem::Unusable(error.to_string());
        files.error(Part::Key, problem)
    })?;
    let of_chain = |problem| files.error(Part::Chain, problem);
    let chain = read(&files.chain)
        .and_then(|text| certificates(&text))
        .map_err(of_chain)?;
    let own = CertifiedKey::new(chain, key);
    match own.keys_match() {
        // The key does not tell which one it is; then the first handshake does.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(own),
        Err(Error::InconsistentKeys(_)) => Err(of_chain(Problem::Mismatch(files.key.clone()))),
        Err(error) => Err(of_chain(Problem::Unusable(error.to_string()))),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Problem> {
    const OTHERS_WRITE: u32 = 0o002;
    let text = read(path)?;
    let about = fs::metadata(path).map_err(Problem::Unreadable)?;
    if about.is_file() && about.mode() & OTHERS_WRITE != 0 {
        return Err(Problem::Open);
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound if contains(&text, b"BEGIN ENCRYPTED PRIVATE KEY") => {
            Problem::Unusable("the key is encrypted, and nobody is asked for a password".into())
        }
        pem::Error::NoItemsFound => Problem::Missing("private key"),
        error => Problem::Pem(error),
    })
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(none) if none.is_empty() => Err(Problem::Missing("certificate")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(Problem::Pem(error)),
    }
}

/// Who is asked for a certificate and which ones hold; with the text of the authorities.
fn verifier(
    clients: &Clients,
    own: &CertificateDer<'static>,
) -> Result<(Arc<dyn ClientCertVerifier>, Vec<u8>), Problem> {
    let unusable = |error: &dyn std::error::Error| Problem::Unusable(error.to_string());
    let text = read(&clients.authorities)?;
    let mut roots = RootCertStore::empty();
    for authority in certificates(&text)? {
        roots.add(authority).map_err(|error| unusable(&error))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let builder = if clients.required {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    let verifier = builder.build().map_err(|error| unusable(&error))?;
    Ok((Arc::new(OrItself::new(verifier, own.clone())), text))
}

/// From when until when the certificate holds, unless it does not hold at `now`.
fn check_dates(leaf: &CertificateDer<'_>, now: Timestamp) -> Result<Validity, Problem> {
    let validity = Validity::of(leaf).map_err(Problem::Unusable)?;
    if now < validity.not_before {
        return Err(Problem::Early(validity.not_before));
    }
    if validity.not_after < now {
        return Err(Problem::Expired(validity.not_after));
    }
    Ok(validity)
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    const BYTES_MAX: u64 = 1 << 20;
    let mut text = Vec::new();
    let file = File::open(path).map_err(Problem::Unreadable)?;
    file.take(BYTES_MAX + 1)
        .read_to_end(&mut text)
        .map_err(Problem::Unreadable)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(Problem::TooLarge);
    }
    Ok(text)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
