//! What the signals of the operating system do to a server.

use std::{process::Command, time::Duration};

use axum::{Router, routing};
use mcp_serve::{Config, Server, test_util::RawClient};

use super::edge::Nothing;

const PATIENCE: Duration = Duration::from_secs(10);

fn send(signal: &str) {
    let process = std::process::id().to_string();
    let status = Command::new("kill").args([signal, &process]).status();
    assert!(status.unwrap().success());
}

/// One test, because a signal reaches every server of the process.
#[tokio::test]
async fn the_first_signal_drains_and_the_second_ends_at_once() {
    for signal in ["-TERM", "-INT"] {
        let mut config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            ..Config::default()
        };
        config.drain.limit = Duration::from_mins(10);
        config.drain.grace = Duration::from_millis(50);
        let routes = Router::new()
            .route("/hello", routing::get(|| async { "hello" }))
            .route("/never", routing::get(std::future::pending::<()>));
        let server = Server::bind(|| Nothing, routes, config).await.unwrap();
        let address = server.local_addr();
        let lifecycle = server.lifecycle().clone();
        let run = tokio::spawn(server.run_until_signal());
        let mut client = RawClient::connect(address).await.unwrap();
        let answer = client.get("/hello").await.unwrap();
        assert_eq!(answer.status, 200);
        client
            .send_request("GET", "/never", &[], b"")
            .await
            .unwrap();
        let mut other = RawClient::connect(address).await.unwrap();
        let answer = other.get("/hello").await.unwrap();
        assert_eq!(answer.status, 200);

        send(signal);
        tokio::time::timeout(PATIENCE, lifecycle.soft.cancelled())
            .await
            .unwrap();
        assert!(!lifecycle.hard.is_cancelled());
        assert!(!run.is_finished());
        send(signal);
        let drained = tokio::time::timeout(PATIENCE, run)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(drained.requests_cut, 1);
    }
}
