//! Where a request comes from: the peer of its connection, or the client that a trusted proxy names.

mod proxies;

use std::net::{IpAddr, SocketAddr};

pub use self::proxies::{ProxyError, TrustedProxies};

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its address and port.
    pub address: SocketAddr,
    /// How the connection is protected.
    pub scheme: Scheme,
    /// The SHA-256 thumbprint of the certificate that it proved to hold.
    pub certificate: Option<[u8; 32]>,
}

/// How bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Within TLS.
    Https,
}

impl Scheme {
    /// As it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The client of one request. Every request carries it in its extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its address, an IPv4 one never in the clothes of an IPv6 one.
    pub address: IpAddr,
    /// How its request travelled up to the first proxy that is trusted.
    pub scheme: Scheme,
    /// The SHA-256 thumbprint of the certificate that it proved to hold, on a connection of its own.
    pub certificate: Option<[u8; 32]>,
}

impl Client {
    /// The client of a request that came straight from `peer`.
    pub(crate) fn direct(peer: &Peer) -> Self {
        Self {
            address: peer.address.ip().to_canonical(),
            scheme: peer.scheme,
            certificate: peer.certificate,
        }
    }

    /// Whether nothing of the request was readable on a network.
    pub fn is_private(&self) -> bool {
        self.scheme == Scheme::Https || self.address.is_loopback()
    }
}
