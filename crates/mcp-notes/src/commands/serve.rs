//! `mcp-notes serve`: the server, until it is told to stop.

use mcp_serve::{ServeError, telemetry::Output};

use super::{Failure, runtime, start_logs};
use crate::{
    app::{App, causes},
    config::{Config, Loaded},
};

pub(super) fn run() -> Result<(), Failure> {
    let loaded = Config::from_env()?;
    start_logs(&loaded, Output::Stdout)?;
    runtime()?.block_on(serve(&loaded))
}

async fn serve(loaded: &Loaded) -> Result<(), Failure> {
    let config = &loaded.config;
    let app = App::open(config).await.map_err(Failure::failed)?;
    let handler = app.handler().clone();
    let factory = move || handler.clone();
    let served = mcp_serve::serve(factory, app.routes(), app.serve_config(config)).await;
    let closed = app.close().await;
    served.map_err(|error| match &error {
        ServeError::Bind { .. } => Failure::Failed(format!("HOST and PORT: {}", causes(&error))),
        _ => Failure::failed(error),
    })?;
    closed.map_err(Failure::failed)
}
