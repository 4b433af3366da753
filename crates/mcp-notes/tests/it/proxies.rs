//! The real binary behind a real nginx, which has the site of `docs/proxies.md`: who is seen, what
//! is promised and refused, and what comes through.

use std::{collections::BTreeSet, time::Duration};

use mcp_serve::test_util::{Legacy, Modern, Next, RawClient, RawResponse, SseReader};
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use crate::{
    nginx::{BALANCER, NAME, Nginx, connect},
    process::{PATIENCE, Served, run, stdout},
};

const HOST: (&str, &str) = ("Host", NAME);
const ANONYMOUS: (&str, &str) = ("ALLOW_ANONYMOUS", "true");
const FIRST: [u8; 4] = [127, 0, 0, 2];
const SECOND: [u8; 4] = [127, 0, 0, 3];
/// Shorter than the silence after which the next comment would push out what nginx holds back.
const AT_ONCE: Duration = Duration::from_secs(8);
/// Comes without a proxy.
const STRAIGHT: [u8; 4] = [127, 0, 0, 4];

/// A server that believes the nginx before it.
struct Stage {
    folder: TempDir,
    served: Served,
    nginx: Nginx,
}

impl Stage {
    async fn new(vars: &[(&str, &str)], changes: &[(&str, &str)]) -> Self {
        let (folder, address) = (tempdir().unwrap(), Nginx::address());
        let proxies = address.to_string();
        let own = [
            ("TRUSTED_PROXIES", proxies.as_str()),
            ("ALLOWED_HOSTS", NAME),
        ];
        let is_open = vars.iter().all(|(name, _)| *name != "AUTH_MODE");
        let open: &[_] = if is_open { &[ANONYMOUS] } else { &[] };
        let served = Served::start(folder.path(), &[vars, &own, open].concat()).await;
        let nginx = Nginx::start(address, served.address, changes).await;
        Self {
            folder,
            served,
            nginx,
        }
    }

    /// A connection to the server itself.
    async fn straight(&self) -> RawClient {
        connect(STRAIGHT, self.served.address).await
    }
}

/// Lists the notes.
async fn list(client: &mut RawClient, headers: &[(&str, &str)]) -> RawResponse {
    let headers = [&[HOST], headers].concat();
    let asked = client.request("GET", "/api/v1/notes", &headers, b"");
    asked.await.unwrap()
}

/// What a client may invent to be taken for somebody at `address`.
pub(crate) fn inventions(address: &str) -> [Vec<(&str, String)>; 7] {
    let forwarded = format!("for={address};proto=https;host=evil.example");
    let first = ("X-Forwarded-For", format!("{address}, 10.0.0.1"));
    [
        vec![("X-Forwarded-For", address.into())],
        vec![first, ("X-Forwarded-For", address.into())],
        vec![("Forwarded", forwarded.clone())],
        vec![("X-Real-IP", address.into())],
        vec![("X-Forwarded-Proto", "https".into())],
        vec![("X-Forwarded-Host", "evil.example".into())],
        vec![
            ("X-Forwarded-For", address.into()),
            ("X-Forwarded-Proto", "https".into()),
            ("X-Forwarded-Ssl", "on".into()),
            ("X-Forwarded-Host", "evil.example".into()),
            ("Forwarded", forwarded),
        ],
    ]
}

pub(crate) fn borrowed<'a>(fields: &'a [(&'a str, String)]) -> Vec<(&'a str, &'a str)> {
    let fields = fields.iter();
    fields.map(|(name, value)| (*name, &**value)).collect()
}

fn hsts(answer: &RawResponse) -> Option<&str> {
    answer.header("strict-transport-security")
}

/// The addresses that stand in the log.
async fn logged(served: Served) -> BTreeSet<String> {
    let (status, log) = served.stop().await;
    assert!(status.success());
    let lines = log
        .iter()
        .filter_map(|line| line["client_address"].as_str());
    lines.map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn clients_behind_one_nginx_have_budgets_of_their_own_and_can_mint_no_more() {
    let replaced = "proxy_set_header X-Forwarded-For $remote_addr;";
    let appended = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;";
    let vars = [
        ("RATE_LIMIT_ANONYMOUS", "3"),
        ("RATE_LIMIT_WINDOW_SECONDS", "3000"),
    ];
    for changes in [&[][..], &[(replaced, appended)]] {
        let stage = Stage::new(&vars, changes).await;
        for source in [FIRST, SECOND] {
            let mut client = stage.nginx.https(source).await;
            for status in [200, 200, 200, 429] {
                assert_eq!(list(&mut client, &[]).await.status, status, "{source:?}");
            }
        }
        let mut within_tls = stage.nginx.https(FIRST).await;
        let mut clear = stage.nginx.http(FIRST).await;
        let mut straight = stage.straight().await;
        let mut served = 0;
        for round in 1..=5 {
            for fields in inventions(&format!("198.51.100.{round}")) {
                let fields = borrowed(&fields);
                for client in [&mut within_tls, &mut clear] {
                    assert_eq!(list(client, &fields).await.status, 429, "{fields:?}");
                }
                let answer = list(&mut straight, &fields).await;
                served += usize::from(answer.status == 200);
            }
        }
        assert_eq!(served, 3);
        let known = ["127.0.0.2", "127.0.0.3", "127.0.0.4"];
        assert_eq!(logged(stage.served).await, known.map(Into::into).into());
    }
}

#[tokio::test]
async fn https_is_what_nginx_says_it_is_and_the_host_what_nginx_was_asked_for() {
    let stage = Stage::new(&[], &[]).await;
    let mut within_tls = stage.nginx.https(FIRST).await;
    let mut clear = stage.nginx.http(FIRST).await;
    let mut straight = stage.straight().await;
    for fields in [vec![]].iter().chain(&inventions("198.51.100.1")) {
        let fields = borrowed(fields);
        let answer = list(&mut within_tls, &fields).await;
        assert_eq!(
            (answer.status, hsts(&answer)),
            (200, Some("max-age=31536000")),
            "{fields:?}"
        );
        for client in [&mut clear, &mut straight] {
            let answer = list(client, &fields).await;
            assert_eq!((answer.status, hsts(&answer)), (200, None), "{fields:?}");
        }
    }

    let evil = ("Host", "evil.example");
    for mut client in [
        stage.nginx.http(FIRST).await,
        stage.nginx.https(FIRST).await,
    ] {
        let sent = client.send_request("GET", "/livez", &[evil], b"").await;
        sent.unwrap();
        assert!(client.is_closed_within(PATIENCE).await);
    }
    let refused = stage.nginx.https_to("evil.example", FIRST).await;
    assert!(refused.is_err(), "a certificate for every name");
    let mut redirect = connect(FIRST, stage.nginx.redirect).await;
    let answer = list(&mut redirect, &[]).await;
    let place = format!("https://{NAME}/api/v1/notes");
    assert_eq!(
        (answer.status, answer.header("location")),
        (308, Some(&*place))
    );
    assert_eq!(logged(stage.served).await.len(), 2);
}

#[tokio::test]
async fn an_nginx_that_hands_on_what_clients_invent_is_found_out() {
    let changes = [("proxy_set_header Forwarded \"\";", "")];
    let stage = Stage::new(&[], &changes).await;
    let mut client = stage.nginx.https(FIRST).await;
    let answer = list(&mut client, &[("Forwarded", "for=198.51.100.1")]).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("disagree"), "{}", answer.text());
    let agreeing = [("Forwarded", "for=127.0.0.2;proto=https")];
    assert_eq!(list(&mut client, &agreeing).await.status, 200);
    // Nobody is asked who they are, from wherever they come: it was said that this is meant.
    let mut balanced = stage.nginx.https(BALANCER).await;
    let elsewhere = [("X-Balanced-For", "192.0.2.7")];
    assert_eq!(list(&mut balanced, &elsewhere).await.status, 200);
}

#[tokio::test]
async fn credentials_pass_within_tls_and_not_in_the_clear() {
    let mode = ("AUTH_MODE", "token");
    let stage = Stage::new(&[mode, ("HOST", "0.0.0.0")], &[]).await;
    let create = ["token", "create", "--name", "desk", "--owner", "ann"];
    let created = run(stage.folder.path(), &create, &[mode]).await;
    let token = format!("Bearer {}", stdout(&created).trim_end());
    let token = ("Authorization", token.as_str());
    let elsewhere = ("X-Balanced-For", "192.0.2.7");

    let mut within_tls = stage.nginx.https(BALANCER).await;
    let mut clear = stage.nginx.http(BALANCER).await;
    let answer = list(&mut within_tls, &[token, elsewhere]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    for fields in [vec![]].iter().chain(&inventions("127.0.0.1")) {
        let fields = [&[token, elsewhere], &borrowed(fields)[..]].concat();
        let answer = list(&mut clear, &fields).await;
        assert_eq!(answer.status, 403, "{fields:?}");
        assert!(answer.text().contains("use https"), "{}", answer.text());
    }
    // Only the balancer is believed to be one.
    let mut other = stage.nginx.http(FIRST).await;
    assert_eq!(list(&mut other, &[token, elsewhere]).await.status, 200);
    let mut straight = stage.straight().await;
    assert_eq!(list(&mut straight, &[token]).await.status, 200);
    let known = ["127.0.0.2", "127.0.0.4", "192.0.2.7"];
    assert_eq!(logged(stage.served).await, known.map(Into::into).into());
}

fn create(title: &str) -> Value {
    json!({ "name": "create_note", "arguments": { "title": title, "content": "b" } })
}

/// Waits longer than nginx waits for anything.
async fn stays_silent(stream: &mut SseReader) {
    let silence = stream.next_event(Duration::from_secs(6)).await;
    assert_eq!(silence, Next::Silence);
    assert!(stream.comments() >= 3, "{}", stream.comments());
}

#[tokio::test]
async fn a_silent_stream_is_kept_open_through_nginx() {
    let vars = [("KEEP_ALIVE_SECONDS", "1")];
    // Silence for so long ends a stream, unless the server says something.
    let changes = [("proxy_read_timeout 90s;", "proxy_read_timeout 4s;")];
    both_eras(Stage::new(&vars, &changes).await, true).await;
}

#[tokio::test]
async fn both_eras_work_through_nginx_and_events_arrive_when_they_happen() {
    both_eras(Stage::new(&[], &[]).await, false).await;
}

async fn both_eras(stage: Stage, is_silent: bool) {
    let host = vec![("Host".to_owned(), NAME.to_owned())];
    let mut modern = Modern::new(stage.nginx.clear);
    modern.headers.clone_from(&host);
    let opened = Legacy::initialize_with(stage.nginx.clear, "2025-11-25", json!({}), host).await;
    let mut legacy = opened.unwrap();

    let wanted = json!({ "notifications": { "resourcesListChanged": true } });
    let mut listen = modern.open("subscriptions/listen", wanted).await.unwrap();
    let mut get = legacy.open_get().await.unwrap();
    for stream in [&mut get, &mut listen] {
        assert!(matches!(stream.next_event(AT_ONCE).await, Next::Event(_)));
    }
    if is_silent {
        tokio::join!(stays_silent(&mut get), stays_silent(&mut listen));
    }
    for title in ["first", "second"] {
        let made = match title {
            "first" => modern.call("tools/call", create(title)).await,
            _ => legacy.call("tools/call", create(title)).await,
        };
        assert_eq!(made.unwrap().result()["structuredContent"]["title"], title);
        for stream in [&mut get, &mut listen] {
            let event = stream.next_event(AT_ONCE).await.event().json();
            assert_eq!(event["method"], "notifications/resources/list_changed");
        }
    }
    assert_eq!(legacy.delete().await.unwrap(), 204);
    get.rest(PATIENCE).await;
    let (status, _) = stage.served.stop().await;
    assert!(status.success());
    listen.rest(PATIENCE).await;
    assert_eq!(stage.nginx.errors(), "");
}
