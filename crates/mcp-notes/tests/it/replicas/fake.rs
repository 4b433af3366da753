//! A replica that answers nothing, or the same to everybody, and keeps what it was asked.

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

/// What it does with a request.
#[derive(Clone, Copy)]
pub(super) enum Manner {
    /// It says yes.
    Answers,
    /// It takes the request and breaks off.
    BreaksOff,
    /// It answers with a stream of one event that does not end, and whose end nothing would tell but
    /// that of the connection.
    Streams,
}

/// Gone when it is dropped.
pub(super) struct Fake {
    pub(super) address: SocketAddr,
    seen: Arc<Seen>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    /// The head of every request, as it came.
    heads: Mutex<Vec<String>>,
}

impl Fake {
    pub(super) async fn start(manner: Manner) -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 0).into(), manner).await
    }

    /// The same at this place.
    pub(super) async fn at(place: SocketAddr, manner: Manner) -> Self {
        let listener = TcpListener::bind(place).await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::<Seen>::default());
        let told = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                told.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, manner, Arc::clone(&told)));
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
        let line = format!("{request} HTTP/1.1\r\n");
        let heads = self.seen.heads.lock().unwrap();
        heads.iter().filter(|it| it.starts_with(&line)).count()
    }

    /// The fields of the last request, names in lower case and in order.
    pub(super) fn fields(&self) -> Vec<(String, String)> {
        let heads = self.seen.heads.lock().unwrap();
        let lines = heads.last().unwrap().lines().skip(1);
        let fields = lines.filter_map(|it| it.split_once(':'));
        let mut fields: Vec<_> = fields
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        fields.sort();
        fields
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Reads whole requests until one of the two ends the connection.
async fn serve(stream: TcpStream, manner: Manner, seen: Arc<Seen>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
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
            head += &line;
        }
        stream.read_exact(&mut vec![0; length]).await.ok()?;
        let is_last = head
            .to_ascii_lowercase()
            .contains("\r\nconnection: close\r\n");
        seen.heads.lock().unwrap().push(head);
        let answer = match manner {
            Manner::BreaksOff => return None,
            Manner::Answers => "Content-Length: 2\r\n\r\nok",
            Manner::Streams => "Content-Type: text/event-stream\r\n\r\ndata: {}\n\n",
        };
        let answer = format!("HTTP/1.1 200 OK\r\n{answer}");
        stream.write_all(answer.as_bytes()).await.ok()?;
        if is_last {
            return None;
        }
    }
}
