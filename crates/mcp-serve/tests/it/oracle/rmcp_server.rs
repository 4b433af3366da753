//! A server on rmcp's own Streamable HTTP transport, which ours is compared with.

use std::sync::Arc;

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::fixture::Fixture;

/// Serves `fixture` at the URL returned, on a free port, until the guard is dropped.
pub(crate) async fn start(fixture: Fixture) -> std::io::Result<(String, DropGuard)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://localhost:{}/mcp", listener.local_addr()?.port());
    let stop = CancellationToken::new();
    let config = StreamableHttpServerConfig::default().with_cancellation_token(stop.child_token());
    let sessions = Arc::new(LocalSessionManager::default());
    let service = StreamableHttpService::new(move || Ok(fixture.clone()), sessions, config);
    let stopped = stop.clone();
    tokio::spawn(async move { stopped.run_until_cancelled(accept(listener, service)).await });
    Ok((url, stop.drop_guard()))
}

async fn accept(
    listener: TcpListener,
    service: StreamableHttpService<Fixture, LocalSessionManager>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            // A connection that breaks is its client's business.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
