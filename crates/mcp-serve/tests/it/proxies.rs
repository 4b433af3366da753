//! Proxies in front: who is believed about the client, its scheme and its host, and what follows
//! from that.

use std::time::Duration;

use axum::{Extension, Router, routing};
use mcp_serve::{
    Config,
    client::{Client, TrustedProxies},
    config::AllowedHosts,
    limit::{Budget, Budgets, ByClass},
    test_util::{RawResponse, TestServer},
};

use super::{
    edge::{assert_rpc_error, guarded_config, start},
    log::log,
};

const YEAR: &str = "max-age=31536000";

/// What the server sees of its client.
fn routes() -> Router {
    let seen = |Extension(client): Extension<Client>| async move {
        let host = client.host.as_deref().unwrap_or("-");
        format!("{} {} {host}", client.address, client.scheme.as_str())
    };
    Router::new().route("/seen", routing::get(seen))
}

/// A server that believes the proxies at `list`. This process calls it from 127.0.0.1.
fn believing(list: &str) -> Config {
    Config {
        trusted_proxies: TrustedProxies::parse(list).unwrap(),
        anonymous_from_anywhere: true,
        allowed_hosts: AllowedHosts::parse("localhost,127.0.0.1,notes.example.com").unwrap(),
        ..Config::default()
    }
}

async fn get(server: &TestServer, path: &str, headers: &[(&str, &str)]) -> RawResponse {
    let mut client = server.connect().await;
    client.request("GET", path, headers, b"").await.unwrap()
}

async fn seen(server: &TestServer, headers: &[(&str, &str)]) -> String {
    let answer = get(server, "/seen", headers).await;
    assert_eq!(answer.status, 200, "{headers:?}: {}", answer.text());
    answer.text()
}

const SPOOFED: [(&str, &str); 6] = [
    ("X-Forwarded-For", "6.6.6.6"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Real-IP", "6.6.6.6"),
    ("X-Forwarded-Port", "443"),
    ("Forwarded", "for=7.7.7.7;proto=https;host=other.example"),
];

#[tokio::test]
async fn spoofed_headers_from_who_is_no_proxy_change_nothing() {
    for list in ["", "10.0.0.0/8,127.0.0.2"] {
        let (lines, _guard) = log();
        let server = start(routes(), believing(list)).await;
        assert_eq!(seen(&server, &SPOOFED).await, "127.0.0.1 http -");
        let answer = get(&server, "/seen", &SPOOFED).await;
        assert_eq!(answer.header("strict-transport-security"), None);
        assert!(server.stop().await.is_clean());
        for line in lines.access() {
            assert_eq!(line["client_address"], "127.0.0.1");
        }
    }
}

#[tokio::test]
async fn a_proxy_names_the_client_and_what_the_client_wrote_before_does_not_count() {
    let (lines, _guard) = log();
    let server = start(routes(), believing("127.0.0.1,10.0.0.0/8")).await;
    let huge = format!("{}192.0.2.9", "6.6.6.6, ".repeat(1000));
    for (headers, expected) in [
        (vec![], "127.0.0.1 http -"),
        (vec![("X-Forwarded-For", "192.0.2.1")], "192.0.2.1 http -"),
        (
            vec![
                ("X-Forwarded-For", "6.6.6.6"),
                ("X-Forwarded-For", "192.0.2.2, 10.1.1.1"),
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Host", "notes.example.com"),
                ("X-Real-IP", "6.6.6.6"),
            ],
            "192.0.2.2 https notes.example.com",
        ),
        (
            vec![(
                "Forwarded",
                "for=6.6.6.6, for=\"[2001:db8::1]:9\";proto=https;host=localhost, for=10.2.2.2",
            )],
            "2001:db8::1 https localhost",
        ),
        (
            vec![
                ("X-Forwarded-For", "6.6.6.6, 192.0.2.3"),
                (
                    "Forwarded",
                    "for=6.6.6.6;proto=http, for=192.0.2.3;proto=https",
                ),
            ],
            "192.0.2.3 https -",
        ),
        (vec![("X-Forwarded-For", huge.as_str())], "192.0.2.9 http -"),
        (
            vec![("X-Forwarded-For", "192.0.2.4, unknown")],
            "127.0.0.1 http -",
        ),
    ] {
        assert_eq!(seen(&server, &headers).await, expected);
    }
    assert!(server.stop().await.is_clean());
    let logged: Vec<_> = lines
        .access()
        .iter()
        .map(|line| line["client_address"].clone())
        .collect();
    let expected = [
        "127.0.0.1",
        "192.0.2.1",
        "192.0.2.2",
        "2001:db8::1",
        "192.0.2.3",
        "192.0.2.9",
        "127.0.0.1",
    ];
    assert_eq!(logged, expected);
}

#[tokio::test]
async fn proxies_that_contradict_themselves_are_refused_and_probes_still_answer() {
    let (lines, _guard) = log();
    let server = start(routes(), believing("127.0.0.1")).await;
    let contradictory = [
        vec![
            ("X-Forwarded-For", "192.0.2.1"),
            ("Forwarded", "for=6.6.6.6"),
        ],
        vec![
            ("X-Forwarded-Proto", "http"),
            ("Forwarded", "for=6.6.6.6;proto=https"),
        ],
        vec![
            ("X-Forwarded-Host", "localhost"),
            ("Forwarded", "host=notes.example.com"),
        ],
        vec![("Forwarded", "for=\", for=192.0.2.1")],
    ];
    for headers in &contradictory {
        let answer = get(&server, "/seen", headers).await;
        assert_eq!(answer.status, 400, "{headers:?}");
        assert!(answer.text().contains("Forwarded"), "{}", answer.text());
        assert_eq!(answer.header("strict-transport-security"), None);
        assert_rpc_error(&get(&server, "/mcp", headers).await, 400, -32600);
        for probe in ["/livez", "/readyz", "/health"] {
            let answer = get(&server, probe, headers).await;
            assert_eq!(answer.status, 200, "{probe} {headers:?}");
            let details = answer.json().get("version").is_some();
            assert!(!details, "{probe} {headers:?} {}", answer.text());
        }
    }
    assert!(
        get(&server, "/health", &[])
            .await
            .json()
            .get("version")
            .is_some()
    );
    assert!(server.stop().await.is_clean());
    for line in lines.access() {
        assert_eq!(line["client_address"], "127.0.0.1");
    }
}

#[tokio::test]
async fn a_forwarded_host_must_be_allowed_and_does_not_excuse_the_host() {
    let server = start(routes(), believing("127.0.0.1")).await;
    let foreign_host = [
        ("Host", "evil.example"),
        ("X-Forwarded-Host", "notes.example.com"),
    ];
    assert_eq!(get(&server, "/seen", &foreign_host).await.status, 403);
    for (field, value, status) in [
        ("X-Forwarded-Host", "evil.example", 403),
        ("X-Forwarded-Host", "notes.example.com, evil.example", 403),
        ("X-Forwarded-Host", "user@notes.example.com", 400),
        ("Forwarded", "for=192.0.2.1;host=evil.example", 403),
        (
            "X-Forwarded-Host",
            "evil.example, NOTES.example.com:443",
            200,
        ),
    ] {
        let answer = get(&server, "/seen", &[(field, value)]).await;
        assert_eq!(answer.status, status, "{field}: {value}");
    }
}

#[tokio::test]
async fn https_is_promised_where_it_is_used_and_nowhere_else() {
    let secure = [
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-Proto", "https"),
    ];
    let clear = [
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-Proto", "https, http"),
    ];
    let hsts = |answer: &RawResponse| {
        answer
            .header("strict-transport-security")
            .map(ToOwned::to_owned)
    };
    let server = start(routes(), believing("127.0.0.1")).await;
    for path in ["/seen", "/nowhere", "/livez", "/health", "/mcp"] {
        assert_eq!(
            hsts(&get(&server, path, &secure).await).as_deref(),
            Some(YEAR),
            "{path}"
        );
        assert_eq!(hsts(&get(&server, path, &clear).await), None, "{path}");
        assert_eq!(hsts(&get(&server, path, &[]).await), None, "{path}");
    }
    let refused = get(
        &server,
        "/seen",
        &[("Host", "evil.example"), secure[0], secure[1]],
    )
    .await;
    assert_eq!(
        (refused.status, hsts(&refused).as_deref()),
        (403, Some(YEAR))
    );
    let off = Config {
        hsts: Duration::ZERO,
        ..believing("127.0.0.1")
    };
    let server = start(routes(), off).await;
    assert_eq!(hsts(&get(&server, "/seen", &secure).await), None);
}

#[tokio::test]
async fn a_credential_that_others_could_read_is_not_taken() {
    let token = ("Authorization", "Bearer sesame");
    let from = ("X-Forwarded-For", "192.0.2.1");
    let config = Config {
        allowed_hosts: AllowedHosts::loopback(),
        ..believing("127.0.0.1")
    };
    let guarded = |config: Config| Config {
        authenticator: guarded_config().authenticator,
        ..config
    };
    let server = start(routes(), guarded(config.clone())).await;
    for open in [
        vec![token, from],
        vec![token, from, ("X-Forwarded-Proto", "http")],
        vec![token, from, ("X-Forwarded-Proto", "https, http")],
        vec![token, ("Forwarded", "for=192.0.2.1")],
        vec![token, ("Forwarded", "for=unknown")],
        vec![token, ("X-Forwarded-For", "unknown")],
        vec![("Authorization", "Basic eDp5"), from],
    ] {
        let answer = get(&server, "/seen", &open).await;
        assert_eq!(answer.status, 403, "{open:?}");
        assert!(answer.text().contains("use https"), "{}", answer.text());
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        assert_rpc_error(&get(&server, "/mcp", &open).await, 403, -32600);
        let health = get(&server, "/health", &open).await;
        assert_eq!(health.status, 200);
        assert!(health.json().get("version").is_none(), "{}", health.text());
    }
    for private in [
        vec![token],
        vec![token, ("X-Forwarded-For", "127.0.0.1")],
        vec![
            token,
            ("X-Forwarded-For", "::1"),
            ("X-Forwarded-Proto", "http"),
        ],
        vec![token, from, ("X-Forwarded-Proto", "https")],
        vec![token, ("Forwarded", "for=_hidden;proto=https")],
    ] {
        assert_eq!(
            get(&server, "/seen", &private).await.status,
            200,
            "{private:?}"
        );
    }
    assert_eq!(get(&server, "/seen", &[from]).await.status, 401);

    let meshed = Config {
        allow_plain_http: true,
        ..config
    };
    let server = start(routes(), guarded(meshed)).await;
    assert_eq!(get(&server, "/seen", &[token, from]).await.status, 200);
}

/// Budgets of two requests each that do not fill again while a test runs.
fn two_each() -> Budgets {
    let two = Budget::new(2, Duration::from_hours(1));
    let all = ByClass {
        read: two,
        write: two,
        search: two,
        session: two,
        control: two,
    };
    Budgets {
        anonymous: all.clone(),
        principal: all,
        auth_failure: two,
    }
}

/// The statuses of requests with these headers, one after the other.
async fn statuses<'a>(
    server: &TestServer,
    requests: impl IntoIterator<Item = Vec<(&'a str, &'a str)>>,
) -> Vec<u16> {
    let mut statuses = Vec::new();
    for headers in requests {
        statuses.push(get(server, "/seen", &headers).await.status);
    }
    statuses
}

#[tokio::test]
async fn rate_limit_evasion_by_addresses_of_one_network_fails() {
    let limited = || Config {
        budgets: two_each(),
        ..believing("127.0.0.1,fd00::/8")
    };
    let one_network = [
        "2001:db8:0:1::1",
        "2001:db8:0:1::2",
        "2001:db8:0:1:ffff:ffff:ffff:ffff",
        "[2001:db8:0:1::4]:443",
        "2001:db8:0:1::5, fd00::1",
        "2001:db8:0:2::1",
        "2001:db8:0:1::6",
        "2001:db8:0:2::2",
        "2001:db8:0:2::3",
        "192.0.2.1",
        "192.0.2.2",
        "::ffff:192.0.2.1",
        "192.0.2.1:4711",
        "192.0.2.2",
        "192.0.2.2",
    ];
    let expected = [
        200, 200, 429, 429, 429, 200, 429, 200, 429, 200, 200, 200, 429, 200, 429,
    ];
    let server = start(routes(), limited()).await;
    let lists = one_network.map(|list| vec![("X-Forwarded-For", list)]);
    assert_eq!(statuses(&server, lists).await, expected);

    let server = start(routes(), limited()).await;
    let nodes = one_network.map(|list| match list.split_once(", ") {
        Some((client, proxy)) => format!("for=\"[{client}]\", for=\"[{proxy}]\""),
        None if list.starts_with('[') || !list.contains("::") => format!("for=\"{list}\""),
        None => format!("for=\"[{list}]\""),
    });
    let lists = nodes.iter().map(|list| vec![("Forwarded", list.as_str())]);
    assert_eq!(statuses(&server, lists).await, expected);
}

#[tokio::test]
async fn rate_limit_evasion_by_inventing_clients_fails() {
    let token = ("Authorization", "Bearer wrong");
    let invented: Vec<_> = (1..=9).map(|it| format!("198.51.100.{it}")).collect();
    let before: Vec<_> = invented
        .iter()
        .map(|it| format!("{it}, 192.0.2.1"))
        .collect();
    let nodes: Vec<_> = invented.iter().map(|it| format!("for={it}")).collect();
    let rotating = || {
        let mut requests = Vec::new();
        for (address, node) in invented.iter().zip(&nodes) {
            requests.push(vec![("X-Forwarded-For", address.as_str())]);
            requests.push(vec![("X-Real-IP", address), ("Forwarded", node)]);
        }
        requests
    };
    let appended = || {
        before
            .iter()
            .map(|list| vec![("X-Forwarded-For", list.as_str())])
    };
    let secure = [token, ("X-Forwarded-Proto", "https")];
    for is_guarded in [false, true] {
        let limited = |list| {
            let mut config = believing(list);
            config.budgets = two_each();
            if is_guarded {
                config.authenticator = guarded_config().authenticator;
            }
            config
        };
        // Refused credentials are counted by address, whoever they claim to be of.
        let (usual, with) = if is_guarded {
            (401, &secure[..])
        } else {
            (200, &[][..])
        };
        let count = |statuses: Vec<u16>| {
            let of = |status| statuses.iter().filter(|it| **it == status).count();
            (of(usual), of(429))
        };
        // Straight from a stranger, and behind a proxy that appends.
        let server = start(routes(), limited("10.0.0.0/8")).await;
        let asked = rotating().into_iter().map(|it| [&it, with].concat());
        assert_eq!(count(statuses(&server, asked).await), (2, 16));
        let server = start(routes(), limited("127.0.0.1")).await;
        let asked = appended().map(|it| [&it, with].concat());
        assert_eq!(count(statuses(&server, asked).await), (2, 7));
    }
}
