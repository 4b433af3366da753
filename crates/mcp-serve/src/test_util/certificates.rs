//! Certificates for tests, and clients that trust them.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::tls::Files;

/// Somebody who issues certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    chain: String,
    /// Its own certificate, as PEM.
    pub pem: String,
}

/// A certificate with its key.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The key, as PEM (PKCS#8).
    pub key: String,
    /// The certificate, and those of the authorities between it and the root, as PEM.
    pub chain: String,
    /// The certificate alone.
    pub certificate: CertificateDer<'static>,
}

impl Authority {
    /// A root called `name`.
    pub fn root(name: &str) -> Self {
        let (params, key) = (authority(name), new_key());
        let made = params.self_signed(&key).expect("a root");
        Self {
            issuer: Issuer::new(params, key),
            certificate: made.der().clone(),
            chain: String::new(),
            pem: made.pem(),
        }
    }

    /// Another authority, which this one vouches for.
    #[must_use]
    pub fn intermediate(&self, name: &str) -> Self {
        let (params, key) = (authority(name), new_key());
        let made = params.signed_by(&key, &self.issuer).expect("an authority");
        Self {
            issuer: Issuer::new(params, key),
            certificate: made.der().clone(),
            chain: made.pem() + &self.chain,
            pem: made.pem(),
        }
    }

    /// A certificate for `localhost` and 127.0.0.1.
    pub fn issue(&self) -> Issued {
        self.issue_as(|_| ())
    }

    /// The same with whatever `change` changes about it.
    pub fn issue_as(&self, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        self.sign(&params)
    }

    /// A certificate for a client.
    pub fn issue_to_client(&self, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        self.sign(&params)
    }

    /// Its own certificate.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    fn sign(&self, params: &CertificateParams) -> Issued {
        let key = new_key();
        let made = params.signed_by(&key, &self.issuer).expect("a certificate");
        Issued {
            key: key.serialize_pem(),
            chain: made.pem() + &self.chain,
            certificate: made.der().clone(),
        }
    }
}

/// Puts a key and a chain into `folder`, as a tool that renews certificates does, one after the
/// other.
pub fn install(folder: &Path, issued: &Issued) -> Files {
    let files = Files {
        key: folder.join("key.pem"),
        chain: folder.join("chain.pem"),
        clients: None,
    };
    fs::write(&files.key, &issued.key).expect("a writable folder");
    fs::write(&files.chain, &issued.chain).expect("a writable folder");
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(&files.key, private).expect("permissions");
    files
}

/// A client that trusts `root`, offers `protocols`, and presents `own` when it is asked.
pub fn trusting(root: &Authority, own: Option<&Issued>, protocols: &[&str]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(root.certificate()).expect("a root");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = CertificateDer::pem_slice_iter(own.chain.as_bytes());
            let chain = chain.collect::<Result<_, _>>().expect("a chain");
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("a key");
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
    };
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    config
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("a key")
}
