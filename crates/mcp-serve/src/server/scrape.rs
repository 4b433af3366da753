//! The listener that tells the metrics and nothing else.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, Response, StatusCode, header::ORIGIN};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::ServeError;
use crate::{
    config::{AllowedHosts, Config},
    guard,
    metrics::{Metrics, Scrape, scrape},
};

/// Who reads metrics is few.
const CONNECTIONS_MAX: usize = 32;
/// A reader that is not done with one connection by then begins a new one.
const CONNECTION_LIFE: Duration = Duration::from_mins(10);
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// A listener for readers of metrics that does not serve yet.
pub(super) struct Readers {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    metrics: Metrics,
    scrape: Scrape,
    hosts: AllowedHosts,
}

impl Readers {
    /// Takes the address that `config` names for them, if it names one.
    pub(super) async fn bind(config: &Config) -> Result<Option<Self>, ServeError> {
        let Some(address) = config.scrape.listen else {
            return Ok(None);
        };
        let wrong = |source| ServeError::BindMetrics { address, source };
        let listener = TcpListener::bind(address).await.map_err(wrong)?;
        Ok(Some(Self {
            address: listener.local_addr().map_err(wrong)?,
            listener,
            shared: Arc::new(Shared {
                metrics: config.metrics.clone(),
                scrape: config.scrape.clone(),
                hosts: AllowedHosts::loopback(),
            }),
        }))
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves for as long as it is polled.
    pub(super) async fn serve(&self) -> Infallible {
        const BACKOFF: Duration = Duration::from_millis(50);
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                sleep(BACKOFF).await;
                continue;
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                continue;
            };
            let shared = self.shared.clone();
            tokio::spawn(async move {
                let _ = timeout(CONNECTION_LIFE, connection(stream, shared)).await;
                drop(place);
            });
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = shared.answer(request);
        async { Ok::<_, Infallible>(answer) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    // Whatever goes wrong is between this reader and us.
    let _ = pin!(builder.serve_connection(TokioIo::new(stream), service)).await;
}

impl Shared {
    fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, _) = request.into_parts();
        if let Some(token) = &self.scrape.token {
            if !token.is_in(&parts.headers) {
                return scrape::challenge();
            }
        } else if guard::check_host(&parts, &self.hosts).is_err()
            || parts.headers.contains_key(ORIGIN)
        {
            // A page whose name was bent to this machine has that name still.
            let line = "without a token, metrics are told to this machine alone\n";
            return scrape::plain(StatusCode::FORBIDDEN, line);
        }
        if parts.uri.path() != self.scrape.path {
            return scrape::plain(StatusCode::NOT_FOUND, "there is nothing at this path\n");
        }
        scrape::answer(&self.metrics, &parts.method, &parts.headers)
    }
}
