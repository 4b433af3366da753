//! A replica that answers nothing, or the same to everybody, and keeps count.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Gone when it is dropped.
pub(super) struct Fake {
    pub(super) address: SocketAddr,
    seen: Arc<Seen>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    /// Method and target of every request.
    requests: Mutex<Vec<String>>,
}

impl Fake {
    /// It says yes to every request, or takes it and breaks off.
    pub(super) async fn start(answers: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::<Seen>::default());
        let told = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                told.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, answers, Arc::clone(&told)));
            }
        });
        Self {
            address,
            seen,
            accepting,
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// How often it was asked this.
    pub(super) fn asked(&self, request: &str) -> usize {
        let requests = self.seen.requests.lock().unwrap();
        requests.iter().filter(|it| *it == request).count()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Reads whole requests until one of the two ends the connection.
async fn serve(stream: TcpStream, answers: bool, seen: Arc<Seen>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut request, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            stream
                .read_line(&mut line)
                .await
                .ok()
                .filter(|it| *it > 0)?;
            let lower = line.to_ascii_lowercase();
            if let Some(bytes) = lower.strip_prefix("content-length:") {
                length = bytes.trim().parse().ok()?;
            }
            if line.trim().is_empty() {
                break;
            }
            if request.is_empty() {
                request = line.rsplit_once(' ')?.0.to_owned();
            }
        }
        stream.read_exact(&mut vec![0; length]).await.ok()?;
        seen.requests.lock().unwrap().push(request);
        if !answers {
            return None;
        }
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        stream.write_all(answer).await.ok()?;
    }
}
