//! Where a request comes from: the peer of its connection, or the client that a trusted proxy names.

mod forwarded;
mod proxies;

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use self::forwarded::Told;
pub use self::{
    forwarded::ForwardedError,
    proxies::{ProxyError, TrustedProxies},
};

/// The client of one request. Every request carries it in its extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its address, an IPv4 one never in the clothes of an IPv6 one. Where a trusted proxy does not
    /// say whom it asks for, the address of that proxy.
    pub address: IpAddr,
    /// How its request travelled up to the first proxy that is trusted.
    pub scheme: Scheme,
    /// The host that it named, where a trusted proxy says so. Not checked here, and not `Host`.
    pub host: Option<Box<str>>,
    /// The SHA-256 thumbprint of the certificate that it proved to hold, on a connection of its own.
    pub certificate: Option<[u8; 32]>,
    /// `address` is that of a proxy that does not say whom it asks for.
    is_hidden: bool,
}

impl Client {
    /// The client of a request that came straight from `peer`.
    pub fn direct(peer: &Peer) -> Self {
        Self {
            address: peer.address.ip().to_canonical(),
            scheme: peer.scheme,
            host: None,
            certificate: peer.certificate,
            is_hidden: peer.is_hidden,
        }
    }

    /// The client of a request with `headers` that came from `peer`.
    ///
    /// Only when `peer` is one of the `trusted` proxies, and not hidden, do its headers count:
    /// `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host`, and `Forwarded` (RFC 7239). The
    /// address is the first
    /// one, from the right, that is no trusted proxy's; an entry that names no address ends the
    /// search at the proxy that wrote it. Where both kinds of headers say something, they must say
    /// the same.
    pub fn of(
        peer: &Peer,
        headers: &HeaderMap,
        trusted: &TrustedProxies,
    ) -> Result<Self, ForwardedError> {
        if peer.is_hidden {
            return Ok(Self::behind(peer));
        }
        let direct = Self::direct(peer);
        if !trusted.contains(direct.address) {
            return Ok(direct);
        }
        let told = Told::by(headers, direct.address, trusted)?;
        // A proxy that does not say how it was asked was asked in the clear.
        let unsaid = told.hop.map_or(direct.scheme, |_| Scheme::Http);
        let names_nobody = told.scheme.is_some() || told.host.is_some();
        Ok(Self {
            address: told.hop.map_or(direct.address, |hop| hop.address),
            scheme: told.scheme.unwrap_or(unsaid),
            host: told.host.map(|host| host.as_ref().into()),
            certificate: None,
            is_hidden: told.hop.map_or(names_nobody, |hop| hop.hides_client),
        })
    }

    /// A client of which nothing is known but that the proxy `peer` asks for it.
    pub(crate) fn behind(peer: &Peer) -> Self {
        Self {
            certificate: None,
            is_hidden: true,
            ..Self::direct(peer)
        }
    }

    /// Whether nothing of the request was readable on a network.
    pub fn is_private(&self) -> bool {
        self.scheme == Scheme::Https || self.is_local()
    }

    /// Whether it is this machine itself.
    pub fn is_local(&self) -> bool {
        self.address.is_loopback() && !self.is_hidden
    }
}

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its address and port.
    pub address: SocketAddr,
    /// How the connection is protected.
    pub scheme: Scheme,
    /// The SHA-256 thumbprint of the certificate that it proved to hold.
    pub certificate: Option<[u8; 32]>,
    /// `address` is that of a proxy whose connection carries somebody else's requests and that does
    /// not say whose: no header of theirs is its word.
    pub is_hidden: bool,
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
