//! A server on a free port and small clients of both eras, for tests.
//!
//! Everything here waits with a deadline and panics with what it saw: it is made for tests alone.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test ends where something is wrong"
)]

mod certificates;
mod mcp;
mod nginx;
mod raw;
mod redis;
mod samples;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use rmcp::ServerHandler;
use tokio::{sync::oneshot, task::JoinHandle};

pub use self::{
    certificates::{Authority, Issued, install, trusting},
    mcp::{Legacy, Modern, RpcAnswer, post},
    nginx::NginxServer,
    raw::{Next, RawClient, RawHead, RawResponse, SseEvent, SseReader},
    redis::{RedisCluster, RedisSentinel, RedisServer},
    samples::Samples,
};
use crate::{Config, Drained, ServeError, Server, lifecycle::Lifecycle};

/// A server on a free port of 127.0.0.1. Dropping it cuts everything off.
#[derive(Debug)]
pub struct TestServer {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    mcp_path: String,
    lifecycle: Lifecycle,
    stop: Option<oneshot::Sender<()>>,
    run: JoinHandle<Result<Drained, ServeError>>,
}

impl TestServer {
    /// Starts a server; `config.listen` is replaced by a free port.
    pub async fn start<H, F>(factory: F, routes: axum::Router, mut config: Config) -> Self
    where
        H: ServerHandler,
        F: Fn() -> H + Send + Sync + 'static,
    {
        config.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mcp_path = config.mcp_paths.first().cloned().unwrap_or_default();
        let server = Server::bind(factory, routes, config)
            .await
            .expect("a server on a free port");
        let address = server.local_addr();
        let metrics_address = server.metrics_addr();
        let lifecycle = server.lifecycle().clone();
        let (stop, stopped) = oneshot::channel();
        let run = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Self {
            address,
            metrics_address,
            mcp_path,
            lifecycle,
            stop: Some(stop),
            run,
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Where it tells its metrics, if not there.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The URL of the first MCP path.
    pub fn mcp_url(&self) -> String {
        format!("http://{}{}", self.address, self.mcp_path)
    }

    /// The tokens and tasks of the server.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// A connection to it.
    pub async fn connect(&self) -> RawClient {
        RawClient::connect(self.address)
            .await
            .expect("a connection")
    }

    /// A client of revision 2026-07-28.
    pub fn modern(&self) -> Modern {
        Modern::new(self.address)
    }

    /// A session of an older revision.
    pub async fn legacy(&self, version: &str) -> Legacy {
        Legacy::initialize(self.address, version)
            .await
            .expect("a session")
    }

    /// Asks the server to stop, as SIGTERM does, and does not wait.
    pub fn begin_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Asks the server to stop and waits until it has drained.
    pub async fn stop(mut self) -> Drained {
        self.begin_stop();
        let run = std::mem::replace(&mut self.run, tokio::spawn(std::future::pending()));
        run.await
            .expect("the server did not panic")
            .expect("the server drained")
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.lifecycle.soft.cancel();
        self.lifecycle.hard.cancel();
        self.run.abort();
    }
}

/// A command that `scripts/install-test-tools.sh` installs into `.tools`, or into the folder that
/// `TEST_TOOLS` names. Panics with what to do when it is missing.
pub fn tool(name: &str) -> PathBuf {
    let tools = std::env::var_os("TEST_TOOLS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools"),
        PathBuf::from,
    );
    let tool = tools.join("bin").join(name);
    assert!(
        tool.exists(),
        "{name} is missing; install it with scripts/install-test-tools.sh"
    );
    tool
}
