//! The settings of TLS, and what they make.

use std::path::PathBuf;

use mcp_serve::tls::{Clients, Files, Part};

/// Whether and how the server speaks TLS (`SSL_...`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ssl {
    /// Whether it does.
    pub enabled: bool,
    /// The private key.
    pub key_path: Option<PathBuf>,
    /// The certificate and its chain.
    pub cert_path: Option<PathBuf>,
    /// The authorities that issue certificates of clients.
    pub client_ca_path: Option<PathBuf>,
    /// Whether clients are asked for a certificate.
    pub client_auth: ClientAuth,
}

/// Whether clients are asked for a certificate (`SSL_CLIENT_AUTH`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// No.
    #[default]
    None,
    /// Yes, and they may have none.
    Optional,
    /// Yes, and without one they are turned away.
    Required,
}

impl Ssl {
    /// The files to serve TLS with; `None` when it is off.
    pub fn files(&self) -> Option<Files> {
        let clients = match self.client_auth {
            ClientAuth::None => None,
            asked => Some(Clients {
                authorities: self.client_ca_path.clone()?,
                required: asked == ClientAuth::Required,
            }),
        };
        let files = Files {
            key: self.key_path.clone()?,
            chain: self.cert_path.clone()?,
            clients,
        };
        self.enabled.then_some(files)
    }

    /// The setting that names a file.
    pub fn setting(part: Part) -> &'static str {
        match part {
            Part::Key => "SSL_KEY_PATH",
            Part::Chain => "SSL_CERT_PATH",
            Part::Authorities => "SSL_CLIENT_CA_PATH",
        }
    }
}
