//! `mcp-notes healthcheck`: asks the server of this machine whether it is ready; for containers.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use mcp_serve::tls::Tls;
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

use super::{Failure, serve::named};
use crate::config::Config;

/// The whole check must be over by then.
const DEADLINE: Duration = Duration::from_secs(3);

/// More than the head of an answer that is ready, and a bound on one that is not ours.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// What a proxy sends that connects for itself: the command LOCAL of the PROXY protocol, version 2.
const FOR_ITSELF: &[u8; 16] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

pub(super) fn run() -> Result<(), Failure> {
    let config = Config::from_env()?.config;
    if config.port == 0 {
        return Err(Failure::Failed(
            "PORT is 0, so the port that the server took is not known here".into(),
        ));
    }
    let address = SocketAddr::new(reachable(config.host), config.port);
    let (scheme, tls) = match config.ssl.files() {
        None => ("http", None),
        Some(files) => {
            let client = Tls::client_of_itself(&files).map_err(|error| named(&error))?;
            ("https", Some(Arc::new(client)))
        }
    };
    let status = status_line(address, tls, &config).map_err(|error| {
        Failure::Failed(format!(
            "nothing healthy answers at {scheme}://{address}/readyz: {error}"
        ))
    })?;
    if status.split(' ').nth(1) == Some("200") {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "{scheme}://{address}/readyz answers {status:?}"
    )))
}

/// The address under which a server that listens on `host` can be reached from here.
fn reachable(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    }
}

/// The first line of the answer to `GET /readyz` (RFC 9112 section 4).
fn status_line(
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    config: &Config,
) -> io::Result<String> {
    let end = Instant::now() + DEADLINE;
    let stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    let is_proxy = config.trusted_proxies.contains(stream.local_addr()?.ip());
    let mut stream = Bounded { stream, end };
    if config.proxy_protocol && is_proxy {
        stream.write_all(FOR_ITSELF)?;
    }
    match tls {
        None => ask(stream, address),
        Some(config) => {
            let name = ServerName::IpAddress(address.ip().into());
            let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
            ask(StreamOwned::new(connection, stream), address)
        }
    }
}

fn ask(mut stream: impl Read + Write, address: SocketAddr) -> io::Result<String> {
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    while !answer.contains(&b'\n') && answer.len() < ANSWER_BYTES_MAX {
        match stream.read(&mut piece)? {
            0 => break,
            n => answer.extend_from_slice(&piece[..n]),
        }
    }
    let line = answer.split(|b| *b == b'\n').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(line).trim_end().to_owned())
}

/// A connection all of whose reads and writes together must be over at one time.
struct Bounded {
    stream: TcpStream,
    end: Instant,
}

impl Bounded {
    /// The time that is left, or the error that there is none.
    fn left(&self) -> io::Result<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
        }
        Ok(left)
    }
}

impl Read for Bounded {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buf)
    }
}

impl Write for Bounded {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
