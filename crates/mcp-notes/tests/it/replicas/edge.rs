//! What nginx with the shipped file answers itself, and what it tells replicas of a request.

use std::{collections::BTreeSet, time::Instant};

use mcp_serve::test_util::RawResponse;
use serde_json::json;
use tokio::time::sleep;

use super::{
    Fleet, HOST, ask,
    fake::{Fake, Manner},
    nobody,
};
use crate::{
    nginx::{NAME, Nginx, connect},
    process::{PATIENCE, run, stdout},
    proxies::{borrowed, inventions},
};

const CLIENT: [u8; 4] = [127, 0, 0, 2];
const OTHER: [u8; 4] = [127, 0, 0, 3];
const METHODS: [&str; 5] = ["GET", "POST", "PATCH", "PUT", "DELETE"];
const CHUNKED: (&str, &str) = ("Transfer-Encoding", "chunked");

/// A request whose head has these lines beside what is necessary.
fn request(line: &str, head: &str) -> String {
    format!("{line}\r\nHost: {NAME}\r\nConnection: close\r\n{head}\r\n")
}

/// A body in chunks of 8 KiB.
fn chunked(bytes: usize) -> String {
    let chunk = format!("2000\r\n{}\r\n", "a".repeat(0x2000));
    let rest = bytes % 0x2000;
    let last = match rest {
        0 => String::new(),
        _ => format!("{rest:x}\r\n{}\r\n", "a".repeat(rest)),
    };
    format!("{}{last}0\r\n\r\n", chunk.repeat(bytes / 0x2000))
}

/// Holds an answer of nginx itself to the forms that the product has.
fn is_in_form(answer: &RawResponse, is_rpc: bool, what: &str) {
    let form = answer.header("content-type");
    let told = answer.json();
    if is_rpc {
        assert_eq!(form, Some("application/json"), "{what}");
        let code = if answer.status < 500 { -32600 } else { -32603 };
        assert_eq!(told["error"]["code"], code, "{what}");
        assert!(told["error"]["message"].is_string(), "{what}");
    } else {
        assert_eq!(form, Some("application/problem+json"), "{what}");
        assert_eq!(told["status"], answer.status, "{what}");
        assert_ne!(told["title"], "Error", "{what}");
    }
    let promised = answer.header("strict-transport-security");
    assert_eq!(promised, Some("max-age=31536000"), "{what}");
    assert!(answer.header("x-request-id").is_some(), "{what}");
}

#[tokio::test]
async fn whatever_nginx_refuses_it_refuses_in_the_forms_of_the_product() {
    let good = Fake::start(Manner::Answers).await;
    let nginx = Nginx::shipped(&[good.address], &[]).await;
    let long = "a".repeat(20_000);
    let both = format!("Content-Length: 3\r\n{}: {}\r\n", CHUNKED.0, CHUNKED.1);
    let chunks = format!("{}: {}\r\n", CHUNKED.0, CHUNKED.1);
    let large = format!("100001\r\n{}\r\n0\r\n\r\n", "a".repeat((1 << 20) + 1));
    for (bytes, status, is_rpc) in [
        ("NONSENSE\r\n\r\n".to_owned(), 400, false),
        (request("GET /%zz HTTP/1.1", ""), 400, false),
        (request("GET /../mcp HTTP/1.1", ""), 400, false),
        (request(&format!("GET /{long} HTTP/1.1"), ""), 414, false),
        (request("GET /mcp HTTP/3.0", ""), 505, false),
        (request("TRACE /mcp HTTP/1.1", ""), 405, true),
        (
            request("GET /x HTTP/1.1", &format!("X-Long: {long}\r\n")),
            400,
            false,
        ),
        (
            request("POST /mcp HTTP/1.1", "Transfer-Encoding: gzip\r\n"),
            501,
            true,
        ),
        // A proxy and a server that do not agree where a request ends are two doors.
        (
            request("POST /mcp HTTP/1.1", &both) + "3\r\nabc\r\n0\r\n\r\n",
            400,
            true,
        ),
        (request("POST /mcp HTTP/1.1", &chunks) + "zz\r\n", 400, true),
        (
            request("PUT /api/v1/notes/1 HTTP/1.1", &chunks) + "zz\r\n",
            400,
            false,
        ),
        (request("POST /mcp HTTP/1.1", &chunks) + &large, 413, true),
        (
            request("PUT /api/v1/notes/1 HTTP/1.1", &chunks) + &large,
            413,
            false,
        ),
        (request("DELETE /mcp HTTP/1.1", &chunks) + &large, 413, true),
    ] {
        let mut client = nginx.https(CLIENT).await;
        client.send(bytes.as_bytes()).await.unwrap();
        let answer = client.read_response(false).await.unwrap();
        let line = &bytes[..bytes.len().min(60)];
        assert_eq!(answer.status, status, "{line}");
        is_in_form(&answer, is_rpc, line);
    }
    // Within TLS was meant, and the clear was spoken.
    let mut clear = connect(CLIENT, nginx.https).await;
    let answer = ask(&mut clear, "GET", "/mcp", b"").await;
    assert_eq!(answer.status, 400);
    is_in_form(&answer, true, "in the clear");

    assert_eq!(good.connections(), 0);
    let errors = nginx.errors();
    assert!(!errors.contains("named location"), "{errors}");
}

#[tokio::test]
async fn a_site_without_a_replica_says_so_in_the_forms_of_the_product() {
    let nginx = Nginx::shipped(&[nobody(); 3], &[]).await;
    let mut client = nginx.https(CLIENT).await;
    for method in METHODS {
        for (path, is_rpc) in [
            ("/mcp", true),
            ("/mcp/", true),
            ("/api/v1/mcp", true),
            ("/api/v1/mcp/notes", false),
            ("/mcp2", false),
            ("/health", false),
        ] {
            let (answer, what) = (
                ask(&mut client, method, path, b"").await,
                format!("{method} {path}"),
            );
            assert_eq!(answer.status, 502, "{what}");
            is_in_form(&answer, is_rpc, &what);
            assert_eq!(answer.header("retry-after"), Some("1"), "{what}");
        }
    }
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let good = Fake::start(Manner::Answers).await;
    let limit = ("limit_conn addresses 256;", "limit_conn addresses 1;");
    let patient = ("client_body_timeout 10s;", "client_body_timeout 60s;");
    let nginx = Nginx::shipped(&[good.address], &[limit, patient]).await;
    let mut slow = nginx.https(CLIENT).await;
    let promised = [HOST, ("Content-Length", "10")];
    let sent = slow.send_request("POST", "/mcp", &promised, b"").await;
    sent.unwrap();

    let mut client = nginx.https(CLIENT).await;
    let end = Instant::now() + PATIENCE;
    while ask(&mut client, "GET", "/mcp", b"").await.status != 429 {
        assert!(Instant::now() < end, "nobody is refused");
    }
    for method in METHODS {
        for (path, is_rpc) in [("/mcp", true), ("/api/v1/notes", false)] {
            let (answer, what) = (
                ask(&mut client, method, path, b"").await,
                format!("{method} {path}"),
            );
            assert_eq!(answer.status, 429, "{what}");
            is_in_form(&answer, is_rpc, &what);
            assert_eq!(answer.header("retry-after"), Some("1"), "{what}");
        }
    }
    let mut other = nginx.https(OTHER).await;
    assert_eq!(ask(&mut other, "GET", "/mcp", b"").await.status, 200);
    slow.send(b"0123456789").await.unwrap();
    assert_eq!(slow.read_response(false).await.unwrap().status, 200);
}

#[tokio::test]
async fn bodies_stay_in_memory() {
    let good = Fake::start(Manner::Answers).await;
    let nginx = Nginx::shipped(&[good.address], &[]).await;
    let mut client = nginx.https(CLIENT).await;
    for method in ["POST", "PUT"] {
        for (headers, body) in [
            ([HOST, CHUNKED], chunked(1 << 20)),
            ([HOST, ("Accept", "*/*")], "a".repeat(1 << 20)),
        ] {
            let asked = client.request(method, "/mcp", &headers, body.as_bytes());
            assert_eq!(asked.await.unwrap().status, 200, "{method} {headers:?}");
        }
    }
    let errors = nginx.errors();
    assert!(!errors.contains("temporary file"), "{errors}");
}

#[tokio::test]
async fn replicas_hear_of_the_way_from_nginx_alone() {
    let good = Fake::start(Manner::Answers).await;
    let nginx = Nginx::shipped(&[good.address], &[]).await;
    for (mut client, scheme) in [
        (nginx.https(CLIENT).await, "https"),
        (nginx.http(CLIENT).await, "http"),
    ] {
        for (method, invented) in METHODS.iter().cycle().zip(inventions("198.51.100.1")) {
            let upgrade = [
                ("Connection", "Upgrade, HTTP2-Settings"),
                ("Upgrade", "h2c"),
            ];
            let headers = [&[HOST], &upgrade[..], &borrowed(&invented)].concat();
            let asked = client.request(method, "/api/v1/notes", &headers, b"");
            assert_eq!(asked.await.unwrap().status, 200, "{invented:?}");
            let told = good.fields();
            let of_way = ["connection", "forwarded", "host"];
            let of_way = |name: &str| of_way.contains(&name) || name.starts_with("x-forwarded-");
            let told: Vec<_> = told
                .iter()
                .map(|(name, value)| (&**name, &**value))
                // Nothing that anybody reads.
                .filter(|(name, _)| of_way(name) && *name != "x-forwarded-ssl")
                .collect();
            let expected = [
                ("host", NAME),
                ("x-forwarded-for", "127.0.0.2"),
                ("x-forwarded-host", NAME),
                ("x-forwarded-proto", scheme),
            ];
            assert_eq!(told, expected, "{method} {invented:?}");
        }
    }
}

#[tokio::test]
async fn a_request_has_one_name_and_leaves_no_secret_in_the_log() {
    let good = Fake::start(Manner::Answers).await;
    let nginx = Nginx::shipped(&[good.address], &[]).await;
    let mut client = nginx.https(CLIENT).await;
    let mut names = BTreeSet::new();
    for (sent, is_kept) in [
        ("a-name.of_1", true),
        ("with a space", false),
        ("\"quoted\"", false),
        ("", false),
    ] {
        let headers = [
            HOST,
            ("X-Request-Id", sent),
            ("Authorization", "Bearer hidden"),
            ("Mcp-Session-Id", "hidden"),
            ("Cookie", "hidden"),
            ("Referer", "https://hidden/"),
        ];
        let asked = client.request("GET", "/api/v1/notes?text=hidden", &headers, b"");
        assert_eq!(asked.await.unwrap().status, 200);
        let fields = good.fields();
        let (_, name) = fields.iter().find(|(it, _)| it == "x-request-id").unwrap();
        assert_eq!(name == sent, is_kept, "{sent}");
        names.insert(name.clone());
    }
    // A line is written when its answer has left.
    let end = Instant::now() + PATIENCE;
    while nginx.accesses().len() < 4 {
        assert!(Instant::now() < end, "{:?}", nginx.accesses());
        sleep(std::time::Duration::from_millis(20)).await;
    }
    let lines = nginx.accesses();
    let logged = lines.iter().map(|it| it["request_id"].as_str().unwrap());
    assert_eq!(
        logged.map(ToOwned::to_owned).collect::<BTreeSet<_>>(),
        names
    );
    for line in lines {
        assert_eq!(line["path"], "/api/v1/notes");
        assert!(!line.to_string().contains("hidden"), "{line}");
    }
}

#[tokio::test]
async fn strangers_are_told_how_the_site_fares_in_one_word() {
    let vars = [("AUTH_MODE", "token"), ("ALLOW_ANONYMOUS", "")];
    let fleet = Fleet::start(1, &vars, &[]).await;
    let folder = fleet.replicas[0].folder.path();
    let create = ["token", "create", "--name", "desk", "--owner", "ann"];
    let token = stdout(&run(folder, &create, &vars[..1]).await);
    let token = format!("Bearer {}", token.trim_end());
    let mut client = fleet.nginx.https(CLIENT).await;
    for (credential, is_told) in [("Bearer wrong", false), (&token, true)] {
        let headers = [HOST, ("Authorization", credential)];
        let asked = client.request("GET", "/health", &headers, b"");
        let answer = asked.await.unwrap();
        assert_eq!(
            (answer.status, &answer.json()["status"]),
            (200, &json!("ok"))
        );
        assert_eq!(answer.json()["checks"].is_object(), is_told, "{credential}");
    }
    let told = ask(&mut client, "GET", "/health", b"").await.json();
    let names: Vec<_> = told.as_object().unwrap().keys().collect();
    assert_eq!(names, ["status", "timestamp"]);
    fleet.stop().await;
}
