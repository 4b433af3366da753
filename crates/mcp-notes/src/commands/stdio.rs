//! `mcp-notes stdio`: the same server for one local assistant, over standard input and output.

use mcp_serve::{metrics::Metrics, telemetry::Output};
use rmcp::transport::io::stdio_pipes;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Failure, open_audit, runtime, start_logs};
use crate::{
    app::{App, connect_redis},
    config::{Config, Loaded},
    mcp::pipe,
};

pub(super) fn run() -> Result<(), Failure> {
    let loaded = Config::from_env()?;
    // Standard output carries messages.
    start_logs(&loaded, Output::Stderr)?;
    let runtime = runtime()?;
    let done = runtime.block_on(serve(&loaded));
    // A read of standard input that is under way cannot be ended; the process does not wait for it.
    runtime.shutdown_background();
    done
}

async fn serve(loaded: &Loaded) -> Result<(), Failure> {
    let config = &loaded.config;
    let audit = open_audit(config, Output::Stderr, true)?;
    let metrics = Metrics::default();
    let redis = connect_redis(config, &metrics)?;
    let app = App::open(config, audit.clone(), redis, metrics)
        .await
        .map_err(Failure::failed)?;
    let ended = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(Failure::failed)?;
    let signalled = async {
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                // A client that has gone closes the pipe.
                _ = hangup.recv() => audit.reopen(),
            }
        }
    };
    let session = pipe::serve(
        app.handler().clone(),
        stdio_pipes(),
        config.body_bytes_max.get(),
        ended.clone(),
    );
    tokio::pin!(session);
    let done = tokio::select! {
        done = &mut session => done,
        () = signalled => {
            tracing::info!("stopping");
            ended.cancel();
            // Calls in flight are still answered.
            timeout(config.drain, session).await.unwrap_or(Ok(()))
        }
    };
    app.close().await.map_err(Failure::failed)?;
    done.map_err(Failure::failed)
}
