//! What the shipped file of nginx does with requests before and beside the replicas.

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use mcp_serve::test_util::Next;
use serde_json::json;
use tokio::{process::Command, time::sleep};

use super::{
    Fleet, HOST, ask,
    fake::{Fake, Manner},
    nobody,
};
use crate::{
    nginx::{Behind, NAME, Nginx, connect},
    process::PATIENCE,
    proxies::{borrowed, inventions},
};

const CLIENT: [u8; 4] = [127, 0, 0, 2];
/// Shorter than the silence after which the next comment would push out what nginx holds back.
const AT_ONCE: Duration = Duration::from_secs(8);
/// The server asks nginx not to buffer streams, which is not heard with this.
const UNASKED: (&str, &str) = (
    "proxy_buffering off;",
    "proxy_buffering off; proxy_ignore_headers X-Accel-Buffering;",
);

#[tokio::test]
async fn nginx_has_nothing_to_say_against_the_shipped_file() {
    assert_eq!(
        // As many as there is room for: an address of a replica that is gone is none too many.
        Nginx::verdict(&Behind::Places(&[nobody(); 500]), &[]),
        "nginx: the configuration file /nginx.conf syntax is ok\n\
         nginx: configuration file /nginx.conf test is successful\n"
    );
}

#[tokio::test]
async fn what_is_not_for_everybody_stays_inside_and_errors_are_json() {
    let fleet = Fleet::start(1, &[], &[]).await;
    let nginx = &fleet.nginx;
    let mut redirect = connect(CLIENT, nginx.redirect).await;
    let answer = ask(&mut redirect, "POST", "/mcp?a=b", b"{}").await;
    let place = format!("https://{NAME}/mcp?a=b");
    assert_eq!(
        (answer.status, answer.header("location")),
        (308, Some(&*place))
    );

    let mut client = nginx.https(CLIENT).await;
    for path in [
        "/metrics",
        "/metrics/",
        "/%6Detrics",
        "/x/../metrics",
        "/livez",
        "/readyz",
        "/health/live",
        "/health/ready",
        "/health/readiness",
    ] {
        let answer = ask(&mut client, "GET", path, b"").await;
        assert_eq!(answer.status, 404, "{path}");
        let form = answer.header("content-type");
        assert_eq!(form, Some("application/problem+json"), "{path}");
        assert_eq!(answer.json()["detail"], "the proxy refused the request");
        assert!(answer.header("strict-transport-security").is_some());
    }
    let health = ask(&mut client, "GET", "/health", b"").await;
    assert_eq!(
        (health.status, &health.json()["status"]),
        (200, &json!("ok"))
    );
    assert!(health.header("strict-transport-security").is_some());

    let evil = ("Host", "evil.example");
    let mut stranger = nginx.https(CLIENT).await;
    let sent = stranger.send_request("GET", "/health", &[evil], b"").await;
    sent.unwrap();
    assert!(stranger.is_closed_within(PATIENCE).await);
    let refused = nginx.https_to("evil.example", CLIENT).await;
    assert!(refused.is_err(), "a certificate for every name");

    // Exactly as much as the server takes itself passes nginx.
    let (fits, large) = (vec![b' '; 1 << 20], vec![b' '; (1 << 20) + 1]);
    for path in ["/mcp", "/api/v1/mcp", "/api/v1/notes"] {
        let answer = ask(&mut client, "POST", path, &fits).await;
        assert_eq!(answer.status, 400, "{path}");
        let answer = ask(&mut client, "POST", path, &large).await;
        assert_eq!(answer.status, 413, "{path}");
        let told = answer.json();
        let is_rpc = path.ends_with("mcp");
        let place = if is_rpc { "/error/message" } else { "/detail" };
        let detail = told.pointer(place).unwrap();
        assert_eq!(detail, "the body is larger than the proxy takes");
        let code = told.pointer("/error/code");
        assert_eq!(code, is_rpc.then(|| json!(-32600)).as_ref(), "{path}");
        client = nginx.https(CLIENT).await;
    }
    fleet.stop().await;
}

#[tokio::test]
async fn both_versions_of_tls_and_of_http_are_spoken_and_no_older_ones() {
    let fleet = Fleet::start(1, &[], &[]).await;
    let nginx = &fleet.nginx;
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("root.pem");
    fs::write(&authority, nginx.authority()).unwrap();
    let (ip, port) = (nginx.https.ip(), nginx.https.port());
    for (tls, http, expected) in [
        ("1.2", "--http1.1", "1.1 200"),
        ("1.2", "--http2", "2 200"),
        ("1.3", "--http1.1", "1.1 200"),
        ("1.3", "--http2", "2 200"),
        ("1.1", "--http1.1", "0 000"),
    ] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "20", "--output", "/dev/null"])
            .args(["--write-out", "%{http_version} %{http_code}", http])
            .arg("--cacert")
            .arg(&authority)
            .args(["--resolve", &format!("{NAME}:{port}:{ip}")])
            .args([&format!("--tlsv{tls}"), "--tls-max", tls])
            .arg(format!("https://{NAME}:{port}/health"));
        let said = curl.output().await.unwrap().stdout;
        let said = String::from_utf8(said).unwrap();
        assert_eq!(said, expected, "{tls} {http}");
    }
    fleet.stop().await;
}

#[tokio::test]
async fn nobody_can_be_somebody_else_by_what_it_writes() {
    let fleet = Fleet::start(3, &[], &[]).await;
    for mut client in [
        fleet.nginx.https(CLIENT).await,
        fleet.nginx.http(CLIENT).await,
    ] {
        for fields in inventions("198.51.100.1") {
            let headers = [&[HOST], &borrowed(&fields)[..]].concat();
            let asked = client.request("GET", "/api/v1/notes", &headers, b"");
            assert_eq!(asked.await.unwrap().status, 200, "{fields:?}");
        }
    }
    let logs = fleet.stop().await;
    let lines = logs.iter().flatten();
    let seen = lines.filter_map(|line| line["client_address"].as_str());
    assert_eq!(seen.collect::<BTreeSet<_>>(), ["127.0.0.2"].into());
}

#[tokio::test]
async fn events_pass_when_they_happen() {
    let fleet = Fleet::start(1, &[], &[UNASKED]).await;
    let (mut modern, mut legacy) = (fleet.modern(), fleet.legacy().await);
    let wanted = json!({ "notifications": { "resourcesListChanged": true } });
    let mut listen = modern.open("subscriptions/listen", wanted).await.unwrap();
    let mut get = legacy.open_get().await.unwrap();
    for stream in [&mut get, &mut listen] {
        assert!(matches!(stream.next_event(AT_ONCE).await, Next::Event(_)));
    }
    for title in ["first", "second"] {
        let arguments = json!({ "title": title, "content": "text" });
        let params = json!({ "name": "create_note", "arguments": arguments });
        let made = match title {
            "first" => modern.call("tools/call", params).await,
            _ => legacy.call("tools/call", params).await,
        };
        assert_eq!(made.unwrap().result()["isError"], false);
        for stream in [&mut get, &mut listen] {
            let event = stream.next_event(AT_ONCE).await.event().json();
            assert_eq!(event["method"], "notifications/resources/list_changed");
        }
    }
    fleet.stop().await;
}

#[tokio::test]
async fn events_pass_whatever_frames_them() {
    let replica = Fake::start(Manner::Streams).await;
    let nginx = Nginx::shipped(&[replica.address], &[]).await;
    for path in ["/mcp", "/api/v1/mcp", "/api/v1/notes"] {
        let mut client = nginx.https(CLIENT).await;
        let sent = client.send_request("GET", path, &[HOST], b"").await;
        sent.unwrap();
        let head = client.read_head().await.unwrap();
        let mut events = client.into_events(head);
        let event = events.next_event(AT_ONCE).await;
        assert!(matches!(event, Next::Event(_)), "{path} {event:?}");
    }
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_streams_go_on() {
    let mut fleet = Fleet::start(1, &[], &[UNASKED]).await;
    let mut modern = fleet.modern();
    let wanted = json!({ "notifications": { "resourcesListChanged": true } });
    let mut listen = modern.open("subscriptions/listen", wanted).await.unwrap();
    assert!(matches!(listen.next_event(AT_ONCE).await, Next::Event(_)));

    fleet.nginx.renew();
    let end = Instant::now() + PATIENCE;
    // The workers before may take one more connection after the first of the new ones.
    let mut client = loop {
        if let Ok(client) = fleet.nginx.https_to(NAME, CLIENT).await {
            break client;
        }
        assert!(Instant::now() < end, "the certificate is still the old one");
        sleep(Duration::from_millis(20)).await;
    };
    let note = json!({ "title": "after", "content": "text" }).to_string();
    let made = ask(&mut client, "POST", "/api/v1/notes", note.as_bytes()).await;
    assert_eq!(made.status, 201);
    let event = listen.next_event(AT_ONCE).await.event().json();
    assert_eq!(event["method"], "notifications/resources/list_changed");
    fleet.stop().await;
}

const CHANGING: [&str; 4] = ["POST", "PATCH", "PUT", "DELETE"];

#[tokio::test]
async fn what_may_have_had_an_effect_is_never_sent_again() {
    let good = Fake::start(Manner::Answers).await;
    for method in CHANGING.iter().chain(&["GET"]) {
        let dying = [
            Fake::start(Manner::BreaksOff).await,
            Fake::start(Manner::BreaksOff).await,
        ];
        let places = [dying[0].address, dying[1].address, good.address];
        let nginx = Nginx::shipped(&places, &[]).await;
        let mut lost = 0;
        for path in ["/api/v1/notes", "/mcp"] {
            for round in 0..3 {
                let mut client = nginx.http(CLIENT).await;
                let target = format!("{path}?{round}");
                let target = if path == "/mcp" { path } else { &target };
                let body = if *method == "DELETE" { "" } else { "{}" };
                let before = asked_of([&good, &dying[0], &dying[1]], method, target);
                let answer = ask(&mut client, method, target, body.as_bytes()).await;
                let times = asked_of([&good, &dying[0], &dying[1]], method, target) - before;
                if *method == "GET" {
                    assert_eq!(answer.status, 200, "{target}");
                    continue;
                }
                assert_eq!(times, 1, "{method} {target}");
                if answer.status != 200 {
                    lost += 1;
                    assert_eq!(answer.status, 502, "{method} {target}");
                    assert!(answer.text().contains("is not known"), "{}", answer.text());
                    assert_eq!(answer.header("retry-after"), None);
                }
            }
        }
        assert_eq!(lost > 0, *method != "GET", "{method}");
    }
}

fn asked_of(replicas: [&Fake; 3], method: &str, target: &str) -> usize {
    let request = format!("{method} {target}");
    replicas.iter().map(|it| it.asked(&request)).sum()
}

#[tokio::test]
async fn what_reached_nobody_goes_to_the_next_replica() {
    let good = Fake::start(Manner::Answers).await;
    for method in CHANGING.iter().chain(&["GET"]) {
        let places = [nobody(), (CLIENT, 1).into(), good.address];
        let nginx = Nginx::shipped(&places, &[]).await;
        let mut client = nginx.http(CLIENT).await;
        for path in ["/api/v1/notes", "/mcp", "/mcp/", "/api/v1/mcp"] {
            let answer = ask(&mut client, method, path, b"").await;
            assert_eq!(answer.status, 200, "{method} {path}");
        }
    }
    let nginx = Nginx::shipped(&[nobody(); 3], &[]).await;
    let mut client = nginx.http(CLIENT).await;
    for method in CHANGING.iter().chain(&["GET"]) {
        for path in ["/api/v1/notes", "/mcp"] {
            let answer = ask(&mut client, method, path, b"").await;
            assert_eq!(answer.status, 502, "{method} {path}");
            assert!(
                answer.text().contains("nothing was done"),
                "{}",
                answer.text()
            );
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
    }
}

#[tokio::test]
async fn connections_to_replicas_are_kept() {
    let replicas = [
        Fake::start(Manner::Answers).await,
        Fake::start(Manner::Answers).await,
        Fake::start(Manner::Answers).await,
    ];
    let nginx = Nginx::shipped(&replicas.each_ref().map(|it| it.address), &[]).await;
    let mut client = nginx.https(CLIENT).await;
    for _ in 0..60 {
        assert_eq!(ask(&mut client, "POST", "/mcp", b"{}").await.status, 200);
    }
    let connections = replicas.each_ref().map(Fake::connections);
    assert_eq!(connections, [1, 1, 1]);
    let asked = replicas.each_ref().map(|it| it.asked("POST /mcp"));
    assert_eq!(asked, [20, 20, 20]);
}
