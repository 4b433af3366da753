//! `mcp-notes healthcheck`: asks the server of this machine whether it is ready; for containers.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use super::Failure;
use crate::config::Config;

/// The whole check must be over by then.
const DEADLINE: Duration = Duration::from_secs(3);

/// More than the head of an answer that is ready, and a bound on one that is not ours.
const ANSWER_BYTES_MAX: usize = 16 << 10;

pub(super) fn run() -> Result<(), Failure> {
    let config = Config::from_env()?.config;
    if config.port == 0 {
        return Err(Failure::Failed(
            "PORT is 0, so the port that the server took is not known here".into(),
        ));
    }
    let address = SocketAddr::new(reachable(config.host), config.port);
    let status = status_line(address).map_err(|error| {
        Failure::Failed(format!(
            "nothing healthy answers at http://{address}/readyz: {error}"
        ))
    })?;
    if status.split(' ').nth(1) == Some("200") {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "http://{address}/readyz answers {status:?}"
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
fn status_line(address: SocketAddr) -> io::Result<String> {
    let end = Instant::now() + DEADLINE;
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_write_timeout(Some(left(end)?))?;
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    while !answer.contains(&b'\n') && answer.len() < ANSWER_BYTES_MAX {
        stream.set_read_timeout(Some(left(end)?))?;
        match stream.read(&mut piece)? {
            0 => break,
            n => answer.extend_from_slice(&piece[..n]),
        }
    }
    let line = answer.split(|b| *b == b'\n').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(line).trim_end().to_owned())
}

/// The time that is left until `end`, or the error that there is none.
fn left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
    }
    Ok(left)
}
