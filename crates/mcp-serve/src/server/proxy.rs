//! The header with which a proxy says for whom it connects: the PROXY protocol, versions 1 and 2
//! (haproxy.org, `proxy-protocol.txt`).
//!
//! It is read to the byte, because what follows is TLS or HTTP.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str,
};

use tokio::{io::AsyncReadExt as _, net::TcpStream};

use crate::client::Scheme;

/// What every header of version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line of version 1, with its end.
const LINE_BYTES_MAX: usize = 107;

/// The most that may follow the fixed part of version 2: addresses and what is told beside them.
const REST_BYTES_MAX: usize = 2048;

/// What a proxy says of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    /// The client; `None` when the proxy connects for itself or does not know.
    pub(super) source: Option<SocketAddr>,
    /// How the client reached the proxy, if the proxy says so.
    pub(super) scheme: Option<Scheme>,
}

impl Told {
    const NOTHING: Self = Self {
        source: None,
        scheme: None,
    };
}

/// Reads one header and nothing beyond it.
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Told> {
    let mut header = [0; LINE_BYTES_MAX];
    // Shorter than any header of either version.
    let mut length = SIGNATURE.len();
    stream.read_exact(&mut header[..length]).await?;
    if header.starts_with(SIGNATURE) {
        let mut fixed = [0; 4];
        stream.read_exact(&mut fixed).await?;
        let [command, family, high, low] = fixed;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > REST_BYTES_MAX {
            return Err(malformed("the header is too long"));
        }
        let mut rest = vec![0; length];
        stream.read_exact(&mut rest).await?;
        return version_2(command, family, &rest).map_err(malformed);
    }
    if !header.starts_with(b"PROXY ") {
        return Err(malformed("there is no header"));
    }
    while !header[..length].ends_with(b"\n") {
        let rest = &mut header[length..];
        let there = stream.peek(rest).await?;
        if there == 0 {
            return Err(malformed("the line is too long or has no end"));
        }
        let end = rest[..there].iter().position(|byte| *byte == b'\n');
        let more = end.map_or(there, |at| at + 1);
        length += stream.read_exact(&mut rest[..more]).await?;
    }
    version_1(&header[..length]).map_err(malformed)
}

/// What a whole header says; nothing may follow it.
#[cfg(feature = "fuzz")]
pub(super) fn parse(header: &[u8]) -> Result<Told, &'static str> {
    match header.strip_prefix(SIGNATURE) {
        Some([command, family, _, _, rest @ ..]) => version_2(*command, *family, rest),
        Some(_) => Err("the header is too short"),
        None => version_1(header),
    }
}

/// A line such as `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443`.
fn version_1(line: &[u8]) -> Result<Told, &'static str> {
    const MALFORMED: &str = "the line is malformed";
    let line = line.strip_suffix(b"\r\n").ok_or(MALFORMED)?;
    let line = str::from_utf8(line).map_err(|_| MALFORMED)?;
    let fields: Vec<&str> = line.split(' ').collect();
    let (family, rest) = match fields.as_slice() {
        ["PROXY", "UNKNOWN", ..] => return Ok(Told::NOTHING),
        ["PROXY", family, rest @ ..] => (*family, rest),
        _ => return Err(MALFORMED),
    };
    let [source, destination, source_port, destination_port] = rest else {
        return Err(MALFORMED);
    };
    let address = |text: &str| match family {
        "TCP4" => text.parse().ok().map(IpAddr::V4),
        "TCP6" => text.parse().ok().map(IpAddr::V6),
        _ => None,
    };
    let port = |text: &str| {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| text.parse::<u16>().ok()).flatten()
    };
    let source = address(source)
        .zip(port(source_port))
        .ok_or(MALFORMED)?
        .into();
    address(destination)
        .zip(port(destination_port))
        .ok_or(MALFORMED)?;
    Ok(Told {
        source: Some(source),
        scheme: None,
    })
}

/// What follows the signature: version and command, family and transport, and `rest`.
fn version_2(command: u8, family: u8, rest: &[u8]) -> Result<Told, &'static str> {
    const SHORT: &str = "the header is shorter than its addresses";
    match command {
        0x20 => return Ok(Told::NOTHING),
        0x21 => {}
        _ => return Err("the version or the command is unknown"),
    }
    let (source, told) = match family {
        // Unspecified.
        0x00 => (None, rest),
        // TCP over IPv4, then over IPv6; each with the address and the port of both ends.
        0x11 => {
            let ([a, b, c, d, _, _, _, _, high, low, _, _], told) =
                rest.split_first_chunk().ok_or(SHORT)?;
            let port = u16::from_be_bytes([*high, *low]);
            (Some((Ipv4Addr::new(*a, *b, *c, *d).into(), port)), told)
        }
        0x21 => {
            let (address, ports) = rest.split_first_chunk::<16>().ok_or(SHORT)?;
            let (_, ports) = ports.split_first_chunk::<16>().ok_or(SHORT)?;
            let ([high, low, _, _], told) = ports.split_first_chunk().ok_or(SHORT)?;
            let port = u16::from_be_bytes([*high, *low]);
            (Some((IpAddr::V6(Ipv6Addr::from(*address)), port)), told)
        }
        // A socket of the proxy's own machine; two paths.
        0x31 => (None, rest.get(216..).ok_or(SHORT)?),
        _ => return Err("the addresses are not those of a TCP connection"),
    };
    Ok(Told {
        source: source.map(SocketAddr::from),
        scheme: scheme(told)?,
    })
}

/// Reads the vector of type, length and value for what it says of TLS between client and proxy.
fn scheme(mut vector: &[u8]) -> Result<Option<Scheme>, &'static str> {
    const SSL: u8 = 0x20;
    const CLIENT_SSL: u8 = 0x01;
    const CUT_OFF: &str = "the header ends within a value";
    let mut scheme = None;
    while let Some(([kind, high, low], rest)) = vector.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, rest) = rest.split_at_checked(length).ok_or(CUT_OFF)?;
        if *kind == SSL {
            let client = value.first().ok_or(CUT_OFF)?;
            scheme = Some(if client & CLIENT_SSL == 0 {
                Scheme::Http
            } else {
                Scheme::Https
            });
        }
        vector = rest;
    }
    if vector.is_empty() {
        Ok(scheme)
    } else {
        Err(CUT_OFF)
    }
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_as_another_implementation_reads_it_or_refused(
            command in 0x20_u8..0x23,
            family in prop::sample::select(vec![0x00, 0x11, 0x12, 0x21, 0x31, 0x41, 0xff]),
            rest in prop::collection::vec(any::<u8>(), 0..260),
        ) {
            let Ok(Told { source: Some(source), .. }) = version_2(command, family, &rest) else {
                return Ok(());
            };
            let bytes = header(command, family, &rest);
            let other = ppp::v2::Header::try_from(&bytes[..]);
            let other = match other.unwrap().addresses {
                ppp::v2::Addresses::IPv4(pair) => {
                    SocketAddr::from((pair.source_address, pair.source_port))
                }
                ppp::v2::Addresses::IPv6(pair) => {
                    SocketAddr::from((pair.source_address, pair.source_port))
                }
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(source, other);
        }

        #[test]
        fn a_line_is_read_as_another_implementation_reads_it_or_refused(
            line in "PROXY (TCP4|TCP6|UNKNOWN|UDP4)( [0-9.:a-f]{1,9}){0,3}( [0-9]{1,6}){0,3}\r?\n",
        ) {
            if version_1(line.as_bytes()).is_ok_and(|told| told.source.is_some()) {
                prop_assert!(ppp::v1::Header::try_from(line.as_str()).is_ok(), "{line:?}");
            }
        }

        #[test]
        fn nothing_that_is_sent_does_harm(line in prop::collection::vec(any::<u8>(), 0..108)) {
            let _ = version_1(&line);
        }

        #[test]
        fn addresses_of_both_families_are_read(
            source: SocketAddr,
            destination in any::<[u8; 4]>(),
            port: u16,
        ) {
            let (family, to) = match source {
                SocketAddr::V4(_) => ("TCP4", IpAddr::from(destination)),
                SocketAddr::V6(_) => ("TCP6", IpAddr::from(Ipv4Addr::from(destination).to_ipv6_mapped())),
            };
            let (from, from_port) = (source.ip(), source.port());
            let line = format!("PROXY {family} {from} {to} {from_port} {port}\r\n");
            let told = version_1(line.as_bytes()).unwrap();
            let expected = SocketAddr::new(from, from_port);
            prop_assert_eq!(told.source, Some(expected));
        }
    }
}
