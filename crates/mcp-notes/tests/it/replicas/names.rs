//! More and fewer replicas behind nginx while it runs: by their places, and by the name that they
//! have in common.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use mcp_serve::test_util::NginxServer;
use tokio::{net::UdpSocket, task::JoinHandle, time::sleep};

use super::{
    ask,
    fake::{Fake, Manner},
};
use crate::{
    nginx::{Behind, Nginx, REPLICAS},
    process::PATIENCE,
};

const CLIENT: [u8; 4] = [127, 0, 0, 2];

/// Three replicas at one port of three addresses.
async fn three() -> ([Ipv4Addr; 3], u16, [Fake; 3]) {
    let addresses = [0; 3].map(|_| Nginx::address());
    let first = Fake::at((addresses[0], 0).into(), Manner::Answers).await;
    let port = first.address.port();
    let [second, third] = [1, 2].map(|number| (addresses[number], port).into());
    let others = (
        Fake::at(second, Manner::Answers).await,
        Fake::at(third, Manner::Answers).await,
    );
    (addresses, port, [first, others.0, others.1])
}

async fn post(nginx: &Nginx) -> u16 {
    let mut client = nginx.http(CLIENT).await;
    ask(&mut client, "POST", "/mcp", b"{}").await.status
}

/// Asks until for a while the first `count` replicas were asked and no other; every answer is good.
async fn serve_alone(nginx: &Nginx, replicas: &[Fake; 3], count: usize) {
    // The workers before a reload may serve on for a while.
    let (end, mut steady) = (Instant::now() + PATIENCE, 0);
    let asked = || replicas.each_ref().map(|it| it.asked("POST /mcp"));
    while steady < 30 {
        assert!(
            Instant::now() < end,
            "{count} replicas are never asked alone"
        );
        let before = asked();
        for _ in 0..6 {
            assert_eq!(post(nginx).await, 200);
        }
        let after = asked();
        let are_asked = [0, 1, 2].map(|it| after[it] > before[it]);
        let expected = [0, 1, 2].map(|it| it < count);
        steady = if are_asked == expected { steady + 6 } else { 0 };
    }
}

#[tokio::test]
async fn replicas_come_and_go_with_a_reload_and_no_call_is_lost() {
    let (_, _, replicas) = three().await;
    let places = replicas.each_ref().map(|it| it.address);
    let mut nginx = Nginx::shipped(&places[..1], &[]).await;
    for count in [1, 3, 1, 2] {
        nginx.point_to(&places[..count]);
        serve_alone(&nginx, &replicas, count).await;
    }
}

#[tokio::test]
async fn all_addresses_of_the_name_are_replicas_and_a_reload_looks_again() {
    let (addresses, port, replicas) = three().await;
    let mut nginx = Nginx::before(Behind::Name(port, &addresses), &[]).await;
    serve_alone(&nginx, &replicas, 3).await;
    for count in [1, 3, 2] {
        nginx.rename(&addresses[..count]);
        serve_alone(&nginx, &replicas, count).await;
    }
    // With a name that nobody knows it stays with what it has.
    nginx.rename(&[]);
    let end = Instant::now() + PATIENCE;
    while !nginx.errors().contains("host not found in upstream") {
        assert!(Instant::now() < end, "{}", nginx.errors());
        sleep(Duration::from_millis(20)).await;
    }
    serve_alone(&nginx, &replicas, 2).await;
}

#[test]
fn a_name_that_nobody_knows_stops_the_start() {
    let said = Nginx::verdict(&Behind::Name(3000, &[]), &[]);
    let reason = "host not found in upstream \"mcp-notes:3000\"";
    assert!(said.contains(reason), "{said}");
    assert!(said.ends_with("test failed\n"), "{said}");
}

/// The first version that has what the next test wants.
const FOLLOWING: [u32; 3] = [1, 27, 3];

#[tokio::test]
async fn a_newer_nginx_follows_the_name_by_itself() {
    let version = NginxServer::version();
    if version < FOLLOWING.to_vec() {
        println!("not tried: nginx {version:?} is older than {FOLLOWING:?}");
        return;
    }
    let (addresses, port, replicas) = three().await;
    let names = Names::start(&addresses[..1]).await;
    let lines = following(port, names.place);
    let nginx = Nginx::before(Behind::Itself, &[(REPLICAS, &lines)]).await;
    // It looks when it has begun, and asks nobody before.
    let end = Instant::now() + PATIENCE;
    while post(&nginx).await != 200 {
        assert!(Instant::now() < end, "the name is not found");
    }
    for count in [1, 3, 2] {
        *names.addresses.lock().unwrap() = addresses[..count].to_vec();
        serve_alone(&nginx, &replicas, count).await;
    }
    assert_eq!(nginx.errors().matches("[emerg]").count(), 0);
}

/// The lines for it in the document, with another port and another resolver that is asked each second.
fn following(port: u16, resolver: SocketAddr) -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/nginx/README.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("```nginx\n").expect("the lines");
    let (lines, _) = rest.split_once("```").expect("their end");
    assert!(lines.contains("mcp-notes:3000 resolve") && lines.contains("127.0.0.11 valid=5s"));
    lines
        .replace("mcp-notes:3000", &format!("mcp-notes:{port}"))
        .replace("127.0.0.11 valid=5s", &format!("{resolver} valid=1s"))
}

/// Says which addresses the name of the replicas has, to whoever asks. Gone when it is dropped.
struct Names {
    place: SocketAddr,
    addresses: Arc<Mutex<Vec<Ipv4Addr>>>,
    task: JoinHandle<()>,
}

impl Drop for Names {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Names {
    async fn start(addresses: &[Ipv4Addr]) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let place = socket.local_addr().unwrap();
        let addresses = Arc::new(Mutex::new(addresses.to_vec()));
        let known = Arc::clone(&addresses);
        let task = tokio::spawn(async move {
            let mut query = [0; 512];
            loop {
                let (length, asker) = socket.recv_from(&mut query).await.unwrap();
                let answer = answer(&query[..length], &known.lock().unwrap());
                socket.send_to(&answer.unwrap(), asker).await.unwrap();
            }
        });
        Self {
            place,
            addresses,
            task,
        }
    }
}

/// The answer to a question (RFC 1035, section 4): IPv4 addresses where it is for them, or none.
fn answer(query: &[u8], addresses: &[Ipv4Addr]) -> Option<Vec<u8>> {
    let name = query.get(12..)?.iter().position(|byte| *byte == 0)?;
    let question = query.get(12..12 + name + 5)?;
    let is_for_addresses = question.ends_with(&[0, 1, 0, 1]);
    let addresses = if is_for_addresses { addresses } else { &[] };
    let count = u8::try_from(addresses.len()).ok()?;
    let mut answer = query.get(..2)?.to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0]);
    answer.extend(question);
    for address in addresses {
        // The name in the question, an address, for one second.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
