//! Who may read the metrics, and where.

use std::net::SocketAddr;

use axum::Router;
use mcp_serve::{
    Config, Server,
    client::TrustedProxies,
    metrics::ScrapeToken,
    test_util::{RawClient, TestServer},
};

use crate::edge::{guarded_config, start};

/// The status of `GET path` with these headers.
async fn status(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> u16 {
    let mut client = RawClient::connect(address).await.unwrap();
    let answer = client.request("GET", path, headers, b"").await.unwrap();
    let is_told = answer.text().contains("# TYPE");
    assert_eq!(is_told, answer.status == 200, "{}", answer.text());
    answer.status
}

const TOKEN: (&str, &str) = ("Authorization", "Bearer the-token-of-readers");

#[tokio::test]
async fn this_machine_reads_them_and_nobody_who_comes_through_a_proxy() {
    let config = Config {
        trusted_proxies: TrustedProxies::parse("127.0.0.1").unwrap(),
        anonymous_from_anywhere: true,
        ..Config::default()
    };
    let server = start(Router::new(), config).await;
    let from = [
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-Proto", "https"),
    ];
    assert_eq!(status(server.addr(), "/metrics", &from).await, 403);
    for headers in [
        &[("Host", "evil.example")][..],
        &[("Origin", "https://evil.example")],
        &[("Sec-Fetch-Site", "cross-site")],
    ] {
        assert_eq!(
            status(server.addr(), "/metrics", headers).await,
            403,
            "{headers:?}"
        );
    }
    let server = start(Router::new(), Config::default()).await;
    assert_eq!(status(server.addr(), "/metrics", &[]).await, 200);
}

#[tokio::test]
async fn where_callers_are_known_readers_are() {
    let server = start(Router::new(), guarded_config()).await;
    assert_eq!(status(server.addr(), "/metrics", &[]).await, 401);
    let sesame = [("Authorization", "Bearer sesame")];
    assert_eq!(status(server.addr(), "/metrics", &sesame).await, 200);
}

#[tokio::test]
async fn with_a_token_nothing_else_opens() {
    let mut config = guarded_config();
    config.scrape.token = Some(ScrapeToken::new("the-token-of-readers"));
    let server = start(Router::new(), config).await;
    let sesame = ("Authorization", "Bearer sesame");
    assert_eq!(status(server.addr(), "/metrics", &[]).await, 401);
    assert_eq!(status(server.addr(), "/metrics", &[sesame]).await, 401);
    assert_eq!(status(server.addr(), "/metrics", &[TOKEN]).await, 200);
    // And it opens nothing else.
    let mut client = server.connect().await;
    let answer = client
        .request("POST", "/mcp", &[TOKEN], b"{}")
        .await
        .unwrap();
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn a_token_that_others_could_read_on_the_way_is_not_taken() {
    let mut config = Config {
        trusted_proxies: TrustedProxies::parse("127.0.0.1").unwrap(),
        ..Config::default()
    };
    config.scrape.token = Some(ScrapeToken::new("the-token-of-readers"));
    let server = start(Router::new(), config).await;
    let from = ("X-Forwarded-For", "192.0.2.7");
    let (open, closed) = (
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Proto", "https"),
    );
    assert_eq!(
        status(server.addr(), "/metrics", &[TOKEN, from, open]).await,
        403
    );
    assert_eq!(
        status(server.addr(), "/metrics", &[TOKEN, from, closed]).await,
        200
    );
}

#[tokio::test]
async fn the_path_can_be_moved() {
    let mut config = Config::default();
    config.scrape.path = "/internal/numbers".to_owned();
    let server = start(Router::new(), config).await;
    assert_eq!(status(server.addr(), "/internal/numbers", &[]).await, 200);
    assert_eq!(status(server.addr(), "/metrics", &[]).await, 404);
}

#[tokio::test]
async fn a_listener_of_their_own_tells_them_and_nothing_else() {
    let mut config = Config::default();
    config.scrape.listen = Some("127.0.0.1:0".parse().unwrap());
    let server = start(Router::new(), config).await;
    let readers = server.metrics_addr().unwrap();
    assert_eq!(status(server.addr(), "/metrics", &[]).await, 404);
    assert_eq!(status(readers, "/metrics", &[]).await, 200);
    for path in ["/", "/health", "/mcp", "/livez"] {
        assert_eq!(status(readers, path, &[]).await, 404, "{path}");
    }
    for headers in [
        &[("Host", "evil.example")][..],
        &[("Origin", "http://localhost:3000")],
    ] {
        assert_eq!(
            status(readers, "/metrics", headers).await,
            403,
            "{headers:?}"
        );
    }
    let mut client = RawClient::connect(readers).await.unwrap();
    for _ in 0..3 {
        let answer = client.get("/metrics").await.unwrap();
        assert_eq!(answer.status, 200, "connections are kept");
    }
    let answer = client.request("POST", "/metrics", &[], b"x").await.unwrap();
    assert_eq!(answer.status, 405);
}

#[tokio::test]
async fn a_listener_of_their_own_asks_for_the_token_and_then_for_no_name() {
    let mut config = Config::default();
    config.scrape.listen = Some("127.0.0.1:0".parse().unwrap());
    config.scrape.token = Some(ScrapeToken::new("the-token-of-readers"));
    let server = start(Router::new(), config).await;
    let readers = server.metrics_addr().unwrap();
    let name = ("Host", "replica-1:9464");
    assert_eq!(status(readers, "/metrics", &[name]).await, 401);
    assert_eq!(status(readers, "/anything", &[]).await, 401);
    assert_eq!(status(readers, "/metrics", &[name, TOKEN]).await, 200);
}

#[tokio::test]
async fn an_address_for_everybody_needs_a_token() {
    let mut config = Config::default();
    config.scrape.listen = Some("0.0.0.0:0".parse().unwrap());
    let bound = Server::bind(|| crate::edge::Nothing, Router::new(), config.clone()).await;
    let error = bound.unwrap_err().to_string();
    assert!(error.contains("scrape.listen"), "{error}");
    config.scrape.token = Some(ScrapeToken::new("the-token-of-readers"));
    config.listen = "127.0.0.1:0".parse().unwrap();
    assert!(
        Server::bind(|| crate::edge::Nothing, Router::new(), config)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn they_are_told_while_the_server_drains() {
    let mut config = Config::default();
    config.scrape.listen = Some("127.0.0.1:0".parse().unwrap());
    config.drain.notice = std::time::Duration::from_secs(20);
    let mut server: TestServer = start(Router::new(), config).await;
    let readers = server.metrics_addr().unwrap();
    let mut client = RawClient::connect(readers).await.unwrap();
    let text = client.get("/metrics").await.unwrap().text();
    assert!(text.contains("\nmcp_draining 0\n"), "{text}");
    server.begin_stop();
    let begun = std::time::Instant::now();
    while !client
        .get("/metrics")
        .await
        .unwrap()
        .text()
        .contains("\nmcp_draining 1\n")
    {
        assert!(begun.elapsed().as_secs() < 10, "the drain is told");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
