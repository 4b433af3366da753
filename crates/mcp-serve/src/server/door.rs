//! How many connections are inside, and how those are turned away for whom there is no place.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{io::AsyncWriteExt as _, net::TcpStream, sync::Semaphore, time::timeout};

use super::connection::linger;
use crate::{client::Scheme, metrics::files_max};

/// Politeness is bounded too.
const REFUSALS_MAX: usize = 128;

/// Who is inside, and how many are being turned away.
pub(super) struct Door {
    pub(super) open: Arc<AtomicUsize>,
    pub(super) refusals: Arc<Semaphore>,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            open: Arc::default(),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        }
    }
}

/// One of the places for connections; free again when it is dropped, a panic included.
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    /// One that was counted.
    pub(super) fn taken(door: &Door) -> Self {
        Self(door.open.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Says politely that there is no place.
pub(super) async fn refuse(mut stream: TcpStream, scheme: Scheme) {
    const BODY: &str = r#"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"too many open connections"}"#;
    // A handshake is too dear a way to say no: the fatal alert `internal_error` (RFC 8446 section
    // 6.2) stands for causes that are neither the peer's nor the protocol's.
    const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];
    let answer = match scheme {
        Scheme::Https => ALERT.to_vec(),
        Scheme::Http => format!(
            "HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\n\
             content-type: application/problem+json\r\ncontent-length: {}\r\n\r\n{BODY}",
            BODY.len()
        )
        .into_bytes(),
    };
    let written = timeout(Duration::from_millis(200), stream.write_all(&answer)).await;
    if matches!(written, Ok(Ok(()))) {
        linger(stream).await;
    }
}

/// Whether the peer went before it was served, which is nobody else's matter.
pub(super) fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// The wanted number of connections, or fewer where the process may not open so many files: at the
/// limit of files even a polite refusal is impossible.
pub(super) fn affordable(wanted: usize) -> usize {
    const FILES_BESIDE: usize = 128;
    match files_max() {
        Some(files) => wanted.min(files.saturating_sub(FILES_BESIDE).max(1)),
        None => wanted,
    }
}
