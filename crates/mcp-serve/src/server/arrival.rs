//! What a connection begins with before there is any HTTP: the header of a proxy, and TLS.

use std::{net::SocketAddr, sync::Arc};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    activity::{Activity, Protocol},
    connection::linger,
    proxy,
    stream::{Stream, Wire},
};
use crate::{
    client::{Peer, Scheme, TrustedProxies},
    config::Limits,
    tls::{Tls, is_current},
};

/// The first byte of a TLS connection: a record of the handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;

/// How connections of one server begin.
pub(super) struct Arrivals {
    pub(super) tls: Option<Arc<Tls>>,
    /// Who begins with a header that names the client.
    pub(super) proxies: TrustedProxies,
}

/// A connection on which HTTP can be spoken.
pub(super) struct Arrived {
    pub(super) stream: Stream,
    pub(super) peer: Peer,
    /// The HTTP that was agreed on, within TLS.
    pub(super) agreed: Option<Protocol>,
}

impl Arrivals {
    /// Reads what comes before HTTP, each part within its deadline; `None` when there is nothing to
    /// serve.
    pub(super) async fn receive(
        &self,
        mut stream: TcpStream,
        address: SocketAddr,
        activity: &Arc<Activity>,
        limits: &Limits,
    ) -> Option<Arrived> {
        let mut peer = Peer {
            address,
            scheme: Scheme::Http,
            certificate: None,
            is_hidden: false,
        };
        if self.proxies.contains(address.ip()) {
            let reading = timeout(limits.first_byte, proxy::read(&mut stream));
            let told = match Box::pin(reading).await.ok()? {
                Ok(told) => told,
                Err(error) => {
                    tracing::debug!(%address, %error, "no PROXY protocol where it is required");
                    return None;
                }
            };
            peer.address = told.source.unwrap_or(address);
            peer.is_hidden = told.source.is_none();
            peer.scheme = told.scheme.unwrap_or(peer.scheme);
        }
        let wire = |stream| Wire::new(stream, activity.clone());
        let Some(tls) = &self.tls else {
            return Some(Arrived {
                stream: Stream::Plain(wire(stream)),
                peer,
                agreed: None,
            });
        };
        // What TLS needs is not kept in the task of a connection that has none.
        let securing = async {
            if !begins_handshake(&mut stream, limits).await {
                refuse_plain(stream).await;
                return None;
            }
            let shaking = TlsAcceptor::from(tls.config()).accept(wire(stream));
            match timeout(limits.header_read, shaking).await.ok()? {
                Ok(stream) => Some(stream),
                Err(error) => {
                    tracing::debug!(address = %peer.address, %error, "no TLS with this client");
                    None
                }
            }
        };
        let stream = Box::pin(securing).await?;
        peer.scheme = Scheme::Https;
        peer.certificate = thumbprint(&stream)?;
        let agreed = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        Some(Arrived {
            stream: Stream::Tls(Box::new(stream)),
            peer,
            agreed: Some(agreed),
        })
    }
}

/// The thumbprint of the client's certificate, if it has one; `None` outside when the certificate no
/// longer holds. A session that is resumed brings a certificate that was verified when it began.
#[expect(
    clippy::option_option,
    reason = "no certificate is not a bad certificate"
)]
fn thumbprint(stream: &TlsStream<Wire>) -> Option<Option<[u8; 32]>> {
    let Some([leaf, ..]) = stream.get_ref().1.peer_certificates() else {
        return Some(None);
    };
    is_current(leaf, Timestamp::now()).then(|| Some(Sha256::digest(leaf).into()))
}

/// Waits for the first byte and looks whether it begins TLS; nothing is taken from the socket.
async fn begins_handshake(stream: &mut TcpStream, limits: &Limits) -> bool {
    let mut first = [0];
    let looked = timeout(limits.first_byte, stream.peek(&mut first)).await;
    matches!(looked, Ok(Ok(1))) && first[0] == HANDSHAKE
}

/// Tells a client that speaks HTTP in the clear what is expected here; whatever else it is, or says
/// nothing, is left without a word.
async fn refuse_plain(mut stream: TcpStream) {
    const BODY: &str = r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"this port speaks TLS: use https"}"#;
    let mut first = [0];
    let is_method = stream.try_read(&mut first).is_ok() && first[0].is_ascii_uppercase();
    if !is_method {
        return;
    }
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
         content-type: application/problem+json\r\ncontent-length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    if stream.write_all(answer.as_bytes()).await.is_ok() {
        linger(stream).await;
    }
}
