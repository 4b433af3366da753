//! Too many connections, and peers that never read, against the real binary.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use mcp_serve::test_util::RawClient;
use serde_json::json;
use tempfile::tempdir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::process::{PATIENCE, Served};

/// How many connections come.
const CONNECTIONS: usize = 20_000;

/// How many of them are being opened at a time: fewer than the server turns away politely at once.
const WORKERS: usize = 64;

/// How many files a process may open.
fn files_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.unwrap().split_whitespace().next().unwrap();
    soft.parse().unwrap()
}

/// The memory of a process that is in use, in KiB.
fn resident_kib(served: &Served) -> usize {
    let id = served.child.id().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().split_whitespace().next().unwrap();
    number.parse().unwrap()
}

/// A connection from one of several addresses of this machine, as one has too few ports.
async fn connect(to: SocketAddr, number: usize) -> TcpStream {
    let address = 2 + u8::try_from(number / 4000).unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, address), 0));
    socket.bind(from).unwrap();
    timeout(PATIENCE, socket.connect(to))
        .await
        .unwrap()
        .unwrap()
}

/// Asks on a connection and gives the answer; nothing when it was just closed.
async fn ask(stream: &mut TcpStream) -> String {
    let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // One that is refused may be closed before it has asked.
    let _ = stream.write_all(request).await;
    let mut answer = vec![0; 4096];
    let mut read = 0;
    while !answer[..read].ends_with(b"}") {
        let more = timeout(PATIENCE, stream.read(&mut answer[read..]));
        match more.await.expect("an answer or an end") {
            Ok(0) => break,
            Ok(more) => read += more,
            // The answer of one that is refused is lost when its question comes too late.
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                break;
            }
        }
    }
    answer.truncate(read);
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_idle_connections_are_borne_or_refused_politely() {
    // The test holds as many as the server lets in; its neighbours in this process need files too.
    let cap = match files_max() {
        few @ ..4096 => few / 2,
        many => (many / 4 * 3).min(15_000),
    };
    let folder = tempdir().unwrap();
    let cap_text = cap.to_string();
    let vars = [
        ("CONNECTIONS_MAX", cap_text.as_str()),
        ("IDLE_TIMEOUT_SECONDS", "600"),
    ];
    let served = Served::start(folder.path(), &vars).await;
    let before = resident_kib(&served);
    let begun = Instant::now();
    let next = Arc::new(AtomicUsize::new(0));
    let workers = (0..WORKERS).map(|_| {
        let (next, address) = (next.clone(), served.address);
        tokio::spawn(async move {
            let (mut kept, mut polite, mut bare) = (Vec::new(), 0, 0);
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= CONNECTIONS {
                    return (kept, polite, bare);
                }
                let mut stream = connect(address, number).await;
                let answer = ask(&mut stream).await;
                if answer.starts_with("HTTP/1.1 200 ") {
                    kept.push(stream);
                } else if answer.is_empty() {
                    bare += 1;
                } else {
                    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer:?}");
                    assert!(answer.contains("retry-after: "), "{answer}");
                    assert!(answer.contains("too many open connections"), "{answer}");
                    polite += 1;
                }
            }
        })
    });
    let (mut kept, mut polite, mut bare) = (Vec::new(), 0, 0);
    for worker in workers.collect::<Vec<_>>() {
        let (more_kept, more_polite, more_bare) = worker.await.unwrap();
        kept.extend(more_kept);
        polite += more_polite;
        bare += more_bare;
    }
    let took = begun.elapsed();
    let refused = polite + bare;
    assert_eq!((kept.len(), refused), (cap, CONNECTIONS - cap));
    assert!(
        polite * 100 >= refused * 95,
        "{bare} of {refused} are told nothing"
    );
    let each = (resident_kib(&served) - before) / cap;
    println!(
        "{cap} connections open, {refused} refused, {bare} of them without a word, in {took:?}; {each} KiB for each"
    );
    // Without optimisation; what counts is that there is no buffer of a megabyte among it.
    assert!(each < 160, "{each} KiB for an idle connection");

    // Those inside are served on, and one more is still told so.
    for stream in kept.iter_mut().step_by(cap / 100) {
        assert!(ask(stream).await.starts_with("HTTP/1.1 200 "));
    }
    let mut one_more = connect(served.address, 0).await;
    assert!(ask(&mut one_more).await.starts_with("HTTP/1.1 503 "));

    // When they go, a new client is served.
    drop(kept);
    let begun = Instant::now();
    loop {
        let mut client = RawClient::connect(served.address).await.unwrap();
        let answer = client.get("/api/v1/notes").await;
        if answer.is_ok_and(|answer| answer.status == 200) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "the places stay taken");
    }
    let (status, _) = served.stop().await;
    assert!(status.success());
}

#[tokio::test]
async fn peers_that_ask_and_never_read_cost_bounded_memory() {
    const PEERS: usize = 10;
    const REQUESTS: usize = 2000;
    let folder = tempdir().unwrap();
    let served = Served::start(folder.path(), &[]).await;
    let mut client = RawClient::connect(served.address).await.unwrap();
    let note = json!({"title": "long", "content": "x".repeat(10_000)}).to_string();
    let json = [("Content-Type", "application/json")];
    let made = client
        .request("POST", "/api/v1/notes", &json, note.as_bytes())
        .await
        .unwrap();
    let path = made.header("location").unwrap().to_owned();
    let before = resident_kib(&served);
    // 200 MB of answers, if they were all made.
    let host = served.address;
    let one = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let all = one.repeat(REQUESTS);
    let mut peers = Vec::new();
    for _ in 0..PEERS {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(served.address).await.unwrap();
        let sending = timeout(Duration::from_millis(200), stream.write_all(all.as_bytes()));
        let _ = sending.await;
        peers.push(stream);
    }
    // And 50 that subscribe and read nothing either, while things change.
    let mut deaf = Vec::new();
    for _ in 0..50 {
        let mut modern = mcp_serve::test_util::Modern::new(served.address);
        let filter = json!({"notifications": {"resourcesListChanged": true}});
        deaf.push(modern.open("subscriptions/listen", filter).await.unwrap());
    }
    for _ in 0..50 {
        let made = client
            .request("POST", "/api/v1/notes", &json, note.as_bytes())
            .await;
        assert_eq!(made.unwrap().status, 201);
    }
    let grown = resident_kib(&served).saturating_sub(before);
    println!("{PEERS} peers that do not read cost {grown} KiB");
    assert!(grown < 64 << 10, "{grown} KiB");
    let answer = client.get(&path).await.unwrap();
    assert_eq!(answer.status, 200);
    drop((peers, deaf));
    let (status, _) = served.stop().await;
    assert!(status.success());
}
