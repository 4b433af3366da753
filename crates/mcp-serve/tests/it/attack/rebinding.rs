//! DNS rebinding: a page whose own name suddenly points to this machine. See also `guard.rs`.

use mcp_serve::{Config, config::AllowedHosts};

use super::{
    Target,
    frames::{Field, Raw},
};

/// What an attacker's page can make a browser, or a sloppy client, name as the host.
const HOSTS: [(&str, u16); 44] = [
    // Not served here, however near it looks.
    ("evil.example", 403),
    ("evil.example:80", 403),
    ("localhost.evil.example", 403),
    ("evil-localhost", 403),
    ("localhost_evil.example", 403),
    ("127.0.0.1.evil.example", 403),
    ("xn--lcalhost-r4a", 403),
    ("localhost.localdomain", 403),
    // Other ways to write or to reach this machine.
    ("127.1", 403),
    ("127.0.0.2", 403),
    ("127.000.000.001", 403),
    ("0177.0.0.1", 403),
    ("0x7f.0.0.1", 403),
    ("0x7f000001", 403),
    ("2130706433", 403),
    ("0.0.0.0", 403),
    ("0", 403),
    ("[::]", 403),
    ("[::ffff:127.0.0.1]", 403),
    ("[::ffff:7f00:1]", 403),
    ("[::127.0.0.1]", 403),
    ("[64:ff9b::7f00:1]", 403),
    ("[fe80::1]", 403),
    // No hosts.
    ("[::1%25lo]", 400),
    ("[::1%lo]", 400),
    ("[::1", 400),
    ("::1", 400),
    ("[localhost]", 400),
    ("user@localhost", 400),
    ("localhost@evil.example", 400),
    ("localhost:80@evil.example", 400),
    ("localhost:0x50", 400),
    ("localhost:65536", 400),
    ("localhost:-1", 400),
    ("localhost:", 400),
    ("localhost:80:80", 400),
    ("localhost..", 400),
    (".localhost", 400),
    ("l%6fcalhost", 400),
    ("localhost%00.evil.example", 400),
    ("localhost\\.evil.example", 400),
    ("localhost#.evil.example", 400),
    ("localhost,evil.example", 400),
    ("localhost evil.example", 400),
];

#[tokio::test]
async fn rebinding_by_every_spelling_of_a_host() {
    let target = Target::start(Config::default()).await;
    for (host, status) in HOSTS {
        for (method, path) in [("GET", "/notes"), ("POST", "/mcp"), ("DELETE", "/notes/1")] {
            let answer = target.ask(method, path, &[("Host", host)], b"").await;
            assert_eq!(answer.status, status, "{host} {path} {answer:?}");
        }
    }
    assert_eq!(target.reached(), 0);
    for host in [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "127.0.0.1:1",
        "[0:0::0:1]",
    ] {
        let answer = target.ask("GET", "/notes", &[("Host", host)], b"").await;
        assert_eq!(answer.status, 200, "{host}");
    }
}

#[tokio::test]
async fn rebinding_by_letters_that_only_look_like_a_host() {
    let target = Target::start(Config::default()).await;
    // A full-width letter, a soft hyphen, a byte that is no UTF-8.
    for host in [
        &b"\xef\xbd\x8cocalhost"[..],
        b"local\xc2\xadhost",
        b"localhost\xff",
    ] {
        let head = [b"GET /notes HTTP/1.1\r\nHost: ", host, b"\r\n\r\n"].concat();
        assert_eq!(target.send(&head).await.status, 400, "{host:?}");
    }
    assert_eq!(target.reached(), 0);
}

#[tokio::test]
async fn rebinding_behind_the_target_of_the_request_line() {
    let target = Target::start(Config::default()).await;
    for (line, status) in [
        ("http://evil.example/notes", 400),
        ("https://evil.example/notes", 400),
        ("http://localhost@evil.example/notes", 400),
        ("http://evil.example@localhost/notes", 400),
        ("http://localhost:80@evil.example/notes", 400),
        ("http://localhost:99999/notes", 400),
        ("http://[::1]/notes", 400),
        ("HTTP://EVIL.EXAMPLE/notes", 400),
        // In origin form this is a path and names no host.
        ("//evil.example/notes", 404),
    ] {
        let answer = target.ask("GET", line, &[("Host", "localhost")], b"").await;
        assert_eq!(answer.status, status, "{line} {answer:?}");
    }
    assert_eq!(target.reached(), 0);
}

#[tokio::test]
async fn rebinding_with_the_good_name_in_a_header_nobody_vouches_for() {
    let target = Target::start(Config::default()).await;
    for name in [
        "X-Forwarded-Host",
        "X-Host",
        "X-Original-Host",
        "X-Forwarded-Server",
        "X-HTTP-Host-Override",
    ] {
        let headers = [("Host", "evil.example"), (name, "localhost")];
        assert_eq!(
            target.ask("GET", "/notes", &headers, b"").await.status,
            403,
            "{name}"
        );
    }
    let headers = [("Host", "evil.example"), ("Forwarded", "host=localhost")];
    assert_eq!(target.ask("GET", "/notes", &headers, b"").await.status, 403);
    // And the path is the one of the request line.
    for name in ["X-Original-URL", "X-Rewrite-URL"] {
        let answer = target
            .ask("GET", "/nowhere", &[(name, "/notes")], b"")
            .await;
        assert_eq!(answer.status, 404, "{name}");
    }
    assert_eq!(target.reached(), 0);
}

#[tokio::test]
async fn rebinding_over_http2() {
    let config = Config {
        allowed_hosts: AllowedHosts::parse("notes.example.com").unwrap(),
        ..Config::default()
    };
    let target = Target::start(config).await;
    let good = "notes.example.com";
    let cases: [(&[Field<'_>], Option<u16>); 12] = [
        (&[(":authority", good)], Some(200)),
        (&[(":authority", good), ("host", good)], Some(200)),
        (&[("host", good)], Some(200)),
        (&[], Some(400)),
        (&[(":authority", "evil.example")], Some(403)),
        (&[("host", "evil.example")], Some(403)),
        (&[(":authority", good), ("host", "evil.example")], Some(400)),
        (&[(":authority", "evil.example"), ("host", good)], Some(400)),
        (&[("host", good), ("host", "evil.example")], Some(400)),
        // What is malformed within HTTP/2 is reset before anything looks at it.
        (
            &[(":authority", good), (":authority", "evil.example")],
            None,
        ),
        (&[(":authority", "user@notes.example.com")], Some(400)),
        (&[(":authority", "notes.example.com:0x50")], Some(400)),
    ];
    for (fields, status) in cases {
        let mut client = Raw::connect(target.server.addr()).await;
        client.get(1, "/notes", fields).await;
        assert_eq!(client.status(1).await, status, "{fields:?}");
    }
    assert_eq!(target.reached(), 3);
}
