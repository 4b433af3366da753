//! `mcp-notes serve`: the server, until it is told to stop.

use std::sync::Arc;

use mcp_serve::{
    ServeError,
    metrics::Metrics,
    telemetry::{Output, Telemetry},
    tls::{Tls, TlsError},
};
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, backup::wrong, open_audit, runtime, start_logs};
use crate::{
    app::{App, causes, claim_store, connect_redis},
    config::{Config, ConfigError, LogLevel, Ssl},
};

pub(super) fn run() -> Result<(), Failure> {
    let loaded = Config::from_env()?;
    let logs = start_logs(&loaded, Output::Stdout)?;
    runtime()?.block_on(serve(&loaded.config, &logs))
}

async fn serve(config: &Config, logs: &Telemetry) -> Result<(), Failure> {
    // The first line of a start without surprises is the one that names the address.
    if config.log_level > LogLevel::Warn {
        logs.set_level(LogLevel::Warn.as_str())
            .map_err(Failure::failed)?;
    }
    let tls = tls(config)?;
    let audit = open_audit(config, Output::Stdout, true)?;
    let claim = claim_store(config).map_err(Failure::failed)?;
    let metrics = Metrics::default();
    let (version, revision) = (env!("CARGO_PKG_VERSION"), env!("BUILD_REVISION"));
    metrics.built(version, revision, env!("BUILD_RUSTC"));
    let redis = connect_redis(config, &metrics)?;
    let supervisor = config.supervision.supervisor();
    let app = supervisor
        .starting(App::open(config, audit.clone(), redis, metrics))
        .await
        .map_err(Failure::failed)?;
    logs.set_level(config.log_level.as_str())
        .map_err(Failure::failed)?;
    let handler = app.handler().clone();
    let factory = move || handler.clone();
    let mut serve_config = app.serve_config(config).await.map_err(ConfigError::from)?;
    serve_config.tls = tls;
    serve_config.supervisor = app.supervised(supervisor);
    let keeping = app.keep_backups(config).map_err(wrong)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(Failure::failed)?;
    let reopening = async {
        while hangup.recv().await.is_some() {
            audit.reopen();
        }
        std::future::pending().await
    };
    let served = tokio::select! {
        served = mcp_serve::serve(factory, app.routes(), serve_config) => served,
        never = reopening => never,
    };
    keeping.end().await;
    let closed = app.close().await;
    drop(claim);
    served.map_err(|error| match &error {
        ServeError::Bind { .. } => Failure::Failed(format!("HOST and PORT: {}", causes(&error))),
        ServeError::BindMetrics { .. } => {
            Failure::Failed(format!("METRICS_ADDR: {}", causes(&error)))
        }
        _ => Failure::failed(error),
    })?;
    closed.map_err(Failure::failed)
}

/// The certificate to serve with, if there is to be one.
fn tls(config: &Config) -> Result<Option<Arc<Tls>>, Failure> {
    let Some(files) = config.ssl.files() else {
        return Ok(None);
    };
    Ok(Some(Arc::new(
        Tls::load(files).map_err(|error| named(&error))?,
    )))
}

/// What is wrong with a file, and which setting names it.
pub(super) fn named(error: &TlsError) -> Failure {
    Failure::Failed(format!("{}: {error}", Ssl::setting(error.part)))
}
