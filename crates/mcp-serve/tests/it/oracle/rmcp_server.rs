//! A server on rmcp's own Streamable HTTP transport, which ours is compared with.

use std::{net::SocketAddr, sync::Arc};

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

/// Serves `fixture` at the address returned until the guard is dropped.
pub(super) async fn start(fixture: Fixture) -> std::io::Result<(SocketAddr, DropGuard)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let stop = CancellationToken::new();
    let config = StreamableHttpServerConfig::default()
        .with_json_response(true)
        .with_cancellation_token(stop.child_token());
    let sessions = Arc::new(LocalSessionManager::default());
    let service = StreamableHttpService::new(move || Ok(fixture.clone()), sessions, config);
    let stopped = stop.clone();
    tokio::spawn(async move { stopped.run_until_cancelled(accept(listener, service)).await });
    Ok((address, stop.drop_guard()))
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
