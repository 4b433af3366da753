//! The PROXY protocol: proxies that say for whom they connect, and everybody else.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Extension, Router, routing};
use mcp_serve::{
    Config,
    client::{Client, TrustedProxies},
    test_util::{Authority, RawClient, TestServer, install, trusting},
    tls::Tls,
};
use ppp::v2;

use super::edge::start;

const SOON: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(20);
const SSL: u8 = 0x20;

async fn server(trusted: &str, set: impl FnOnce(&mut Config)) -> TestServer {
    let who = |Extension(client): Extension<Client>| async move {
        format!("{} {}", client.scheme.as_str(), client.address)
    };
    let mut config = Config {
        proxy_protocol: true,
        anonymous_from_anywhere: true,
        trusted_proxies: TrustedProxies::parse(trusted).unwrap(),
        ..Config::default()
    };
    set(&mut config);
    let private = |Extension(client): Extension<Client>| async move {
        format!("{} {}", client.address, client.is_private())
    };
    let routes = Router::new().route("/who", routing::get(who));
    start(routes.route("/private", routing::get(private)), config).await
}

async fn trusting_server() -> TestServer {
    server("127.0.0.0/8", |_| ()).await
}

/// What `/who` answers behind `header`; `None` when there is no answer.
async fn who(server: &TestServer, header: &[u8]) -> Option<String> {
    let mut client = server.connect().await;
    client.send(header).await.unwrap();
    let answer = client.get("/who").await.ok()?;
    (answer.status == 200).then(|| answer.text())
}

/// A header of version 2, made by another implementation.
fn version_2(command: v2::Command, addresses: impl Into<v2::Addresses>) -> v2::Builder {
    let addresses = addresses.into();

    v2::Builder::with_addresses(v2::Version::Two | command, v2::Protocol::Stream, addresses)
}

fn pair(source: &str, destination: &str) -> (SocketAddr, SocketAddr) {
    (source.parse().unwrap(), destination.parse().unwrap())
}

#[tokio::test]
async fn the_client_is_the_one_that_a_trusted_proxy_names() {
    let server = trusting_server().await;
    let four = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";
    assert_eq!(who(&server, four).await.unwrap(), "http 192.0.2.7");
    let six = b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n";
    assert_eq!(who(&server, six).await.unwrap(), "http 2001:db8::7");
    for unknown in [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN ffff::1 x\r\n"] {
        assert_eq!(who(&server, unknown).await.unwrap(), "http 127.0.0.1");
    }

    let proxied = |addresses| {
        let built = version_2(v2::Command::Proxy, addresses).build();
        built.unwrap()
    };
    let four = proxied(pair("192.0.2.7:56324", "198.51.100.1:443"));
    assert_eq!(who(&server, &four).await.unwrap(), "http 192.0.2.7");
    let six = proxied(pair("[2001:db8::7]:56324", "[2001:db8::1]:443"));
    assert_eq!(who(&server, &six).await.unwrap(), "http 2001:db8::7");
    let mapped = proxied(pair("[::ffff:192.0.2.7]:56324", "[::1]:443"));
    assert_eq!(who(&server, &mapped).await.unwrap(), "http 192.0.2.7");
    // A proxy that looks whether the server is well speaks for itself.
    let local = version_2(v2::Command::Local, pair("192.0.2.7:1", "192.0.2.8:2"));
    let local = local.build().unwrap();
    assert_eq!(who(&server, &local).await.unwrap(), "http 127.0.0.1");
}

/// What `/private` answers behind `header` to who writes the headers of a proxy itself.
async fn private(server: &TestServer, header: &[u8]) -> String {
    let forged = [
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-Proto", "https"),
    ];
    let mut client = server.connect().await;
    client.send(header).await.unwrap();
    let answer = client.request("GET", "/private", &forged, b"").await;
    answer.unwrap().text()
}

#[tokio::test]
async fn where_the_proxy_names_nobody_the_client_cannot_name_itself() {
    let server = trusting_server().await;
    let local = version_2(v2::Command::Local, pair("192.0.2.7:1", "192.0.2.8:2"));
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0".to_vec(),
        local.build().unwrap(),
    ] {
        assert_eq!(private(&server, &header).await, "127.0.0.1 false");
    }
    // Of whom the proxy names, the headers count only if that is a proxy too.
    let named = b"PROXY TCP4 198.51.100.7 198.51.100.1 56324 443\r\n";
    assert_eq!(private(&server, named).await, "198.51.100.7 false");
    let proxy = b"PROXY TCP4 127.0.0.9 198.51.100.1 56324 443\r\n";
    assert_eq!(private(&server, proxy).await, "192.0.2.1 true");
}

#[tokio::test]
async fn what_the_proxy_says_of_tls_is_the_scheme() {
    let server = trusting_server().await;
    for (client, expected) in [(0b111, "https 192.0.2.7"), (0, "http 192.0.2.7")] {
        let header = version_2(v2::Command::Proxy, pair("192.0.2.7:1", "192.0.2.8:2"))
            .write_tlv(0x05, b"a unique id")
            .unwrap()
            .write_tlv(SSL, &[client, 0, 0, 0, 0])
            .unwrap()
            .build()
            .unwrap();
        assert_eq!(who(&server, &header).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn headers_come_before_tls() {
    let root = Authority::root("root");
    let folder = tempfile::tempdir().unwrap();
    let tls = Tls::load(install(folder.path(), &root.issue())).unwrap();
    let server = server("127.0.0.1", |config| config.tls = Some(Arc::new(tls))).await;
    let config = Arc::new(trusting(&root, None, &["http/1.1"]));
    let mut client = server.connect().await;
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";
    client.send(header).await.unwrap();
    let mut client = client.secure(config).await.unwrap();
    assert_eq!(client.get("/who").await.unwrap().text(), "https 192.0.2.7");
}

#[tokio::test]
async fn from_a_proxy_a_header_is_required_and_whole() {
    let server = trusting_server().await;
    assert_eq!(who(&server, b"").await, None, "none");
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107));
    let far_too_long = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x08\x01"[..], &[0; 2049]].concat();
    for malformed in [
        &b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n"[..],
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 1\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 +56324 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
        b"PROXY TCP4 192.0.2.7  198.51.100.1 56324 443\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 56324 443\r\n",
        b"PROXY TCP6 192.0.2.7 198.51.100.1 56324 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\n",
        b"PROXY UDP4 192.0.2.7 198.51.100.1 56324 443\r\n",
        b"proxy TCP4 192.0.2.7 198.51.100.1 56324 443\r\n",
        b"PROXY \xff\xff\xff\xff\xff\xff\xff\xff\r\n",
        long.as_bytes(),
        b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\r\n\r\n\0\r\nQUIT\n\x22\x11\0\x0c\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0b\0\0\0\0\0\0\0\0\0\0\0",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0e\0\0\0\0\0\0\0\0\0\0\0\0\x20\0",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\0\0\0\0\0\0\0\0\0\0\0\0\x20\0\x01",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\0\0\0\0\0\0\0\0\0\0\0\0\x20\0\0",
        &far_too_long,
    ] {
        let shown = String::from_utf8_lossy(malformed);
        assert_eq!(who(&server, malformed).await, None, "{shown:?}");
    }
    // Whatever comes in pieces comes.
    let mut client = server.connect().await;
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";
    for byte in header {
        client.send(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(client.get("/who").await.unwrap().text(), "http 192.0.2.7");
}

#[tokio::test]
async fn a_header_that_does_not_end_is_not_waited_for() {
    let short = |config: &mut Config| config.limits.first_byte = 2 * SOON;
    let server = server("127.0.0.1", short).await;
    for begun in [
        &b""[..],
        b"PROXY TCP4 192",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c",
    ] {
        let mut client = server.connect().await;
        client.send(begun).await.unwrap();
        assert!(client.is_closed_within(PATIENCE).await);
    }
    assert!(server.stop().await.is_clean());
}

#[tokio::test]
async fn from_others_a_header_is_never_taken() {
    let server = server("192.0.2.0/24", |_| ()).await;
    assert_eq!(who(&server, b"").await.unwrap(), "http 127.0.0.1");
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";
    assert_eq!(who(&server, header).await, None);
    let off = server_without().await;
    assert_eq!(who(&off, header).await, None);
    assert_eq!(who(&off, b"").await.unwrap(), "http 127.0.0.1");
}

async fn server_without() -> TestServer {
    server("127.0.0.1", |config| config.proxy_protocol = false).await
}

#[tokio::test]
async fn a_connection_refused_for_its_header_gives_its_place_back() {
    let one = |config: &mut Config| config.limits.connections_max = 1;
    let server = server("127.0.0.1", one).await;
    for _ in 0..5 {
        let mut client = RawClient::connect(server.addr()).await.unwrap();
        client.send(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(client.is_closed_within(PATIENCE).await);
    }
}
