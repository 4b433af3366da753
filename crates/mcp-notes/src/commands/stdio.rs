//! `mcp-notes stdio`: the same server for one local assistant, over standard input and output.

use mcp_serve::telemetry::Output;
use rmcp::{ServiceExt as _, service::ServerInitializeError, transport::io::stdio_pipes};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Failure, runtime, start_logs};
use crate::{
    app::App,
    config::{Config, Loaded},
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
    let app = App::open(&loaded.config).await.map_err(Failure::failed)?;
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let session = async {
        match app
            .handler()
            .clone()
            .serve_with_ct(stdio_pipes(), stop.clone())
            .await
        {
            Ok(running) => running.waiting().await.map(drop).map_err(Failure::failed),
            // The client left before it said anything, which is its right.
            Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => {
                Ok(())
            }
            Err(error) => Err(Failure::failed(error)),
        }
    };
    let signalled = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
        std::future::pending::<()>().await;
    };
    let done = tokio::select! {
        done = session => done,
        () = signalled => Ok(()),
    };
    app.close().await.map_err(Failure::failed)?;
    done
}
