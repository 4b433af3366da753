//! Bind, run, drain: the accept loop and the end of a server.

mod activity;
mod arrival;
mod connection;
mod door;
mod exchange;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod inbound;
mod proxy;
mod scrape;
mod socket;
mod stream;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rmcp::ServerHandler;
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

pub(crate) use self::exchange::{Chunk, Exchange};
use self::{
    arrival::Arrivals,
    connection::{End, Shared},
    door::{Door, Place, affordable, is_of_one_connection, refuse},
    scrape::Readers,
};
use crate::{
    client::{Scheme, TrustedProxies},
    config::{Config, ConfigError, Drain},
    health::Health,
    lifecycle::Lifecycle,
    router::Router,
    supervisor::Supervisor,
    tls::{self, Tls},
};

/// Why a server could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address could not be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A setting that no server can run with.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address for readers of metrics could not be bound.
    #[error("cannot tell metrics on {address}")]
    BindMetrics {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The signals that stop the server could not be subscribed to.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
}

/// Runs a server until SIGTERM or SIGINT, then drains it. A second signal ends it at once.
///
/// `factory` makes the handler of each request and must be cheap: clone something shared.
/// `routes` are served beside MCP, behind the same layers.
pub async fn serve<H, F>(
    factory: F,
    routes: axum::Router,
    config: Config,
) -> Result<Drained, ServeError>
where
    H: ServerHandler,
    F: Fn() -> H + Send + Sync + 'static,
{
    Server::bind(factory, routes, config)
        .await?
        .run_until_signal()
        .await
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// Reads the certificate again at every SIGHUP.
async fn reload_at(hangups: Option<(Signal, Arc<Tls>)>) -> Infallible {
    let Some((mut hangup, tls)) = hangups else {
        return std::future::pending().await;
    };
    while hangup.recv().await.is_some() {
        let tls = tls.clone();
        let _ = tokio::task::spawn_blocking(move || tls.reload_on_request()).await;
    }
    std::future::pending().await
}

/// A server that holds its address and does not serve yet.
pub struct Server<F> {
    listener: TcpListener,
    address: SocketAddr,
    name: String,
    version: String,
    connections_max: usize,
    health: Arc<Health>,
    supervisor: Supervisor,
    readers: Option<Readers>,
    shared: Arc<Shared<F>>,
}

impl<F> std::fmt::Debug for Server<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// From the wish to stop to the end.
    pub took: Duration,
    /// Requests that were under way when the time was over, and that got no full answer.
    pub requests_cut: usize,
    /// Tasks that did not even end when they were ordered to.
    pub tasks_left: usize,
}

impl Drained {
    /// Whether everything under way was finished.
    pub fn is_clean(&self) -> bool {
        self.requests_cut == 0 && self.tasks_left == 0
    }
}

impl<H, F> Server<F>
where
    H: ServerHandler,
    F: Fn() -> H + Send + Sync + 'static,
{
    /// Takes the address of `config`, so that clients may connect; they are served by
    /// [`Server::run`].
    pub async fn bind(
        factory: F,
        routes: axum::Router,
        config: Config,
    ) -> Result<Self, ServeError> {
        config.validate()?;
        let bind_error = |source| ServeError::Bind {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        let readers = Readers::bind(&config).await?;
        let health = Arc::new(Health::new(&config));
        let lifecycle = Lifecycle::default();
        Ok(Self {
            listener,
            address,
            name: config.name.clone(),
            version: config.version.clone(),
            connections_max: affordable(config.limits.connections_max),
            health: health.clone(),
            supervisor: config.supervisor.clone(),
            readers,
            shared: Arc::new(Shared {
                cut: Arc::new(AtomicUsize::new(0)),
                limits: config.limits.clone(),
                drain: config.drain.clone(),
                lifecycle: lifecycle.clone(),
                arrivals: Arrivals {
                    tls: config.tls.clone(),
                    proxies: if config.proxy_protocol {
                        config.trusted_proxies.clone()
                    } else {
                        TrustedProxies::none()
                    },
                },
                router: Arc::new(Router::new(factory, routes, config, health, lifecycle)),
            }),
        })
    }

    /// The address taken, with its real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The address at which metrics are told, where they have one of their own.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.readers.as_ref().map(Readers::local_addr)
    }

    /// The tokens and tasks of this server.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.shared.lifecycle
    }

    /// Serves until SIGTERM or SIGINT, then drains. A second signal ends the server at once. With TLS
    /// SIGHUP reads the certificate again; without, it is left to what the process does with it.
    pub async fn run_until_signal(self) -> Result<Drained, ServeError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
        let hangups = match self.tls() {
            Some(tls) => {
                let hangup = signal(SignalKind::hangup()).map_err(ServeError::Signals)?;
                Some((hangup, tls.clone()))
            }
            None => None,
        };
        let hard = self.lifecycle().hard.clone();
        let (stop, stopped) = oneshot::channel();
        let watch = async move {
            let name = either(&mut terminate, &mut interrupt).await;
            tracing::info!(signal = name, "stopping");
            let _ = stop.send(());
            let name = either(&mut terminate, &mut interrupt).await;
            tracing::warn!(signal = name, "stopping at once");
            hard.cancel();
            std::future::pending().await
        };
        let run = self.run(async {
            let _ = stopped.await;
        });
        tokio::select! {
            drained = run => drained,
            drained = watch => drained,
            never = reload_at(hangups) => match never {},
        }
    }

    /// Serves until `stop` is over (or the lifecycle's soft token is cancelled), then drains:
    /// not ready, notice, farewell, no new work, and after the limit no work at all.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<Drained, ServeError> {
        self.announce();
        let readers = self.readers.take();
        let reading = async {
            match &readers {
                Some(readers) => readers.serve().await,
                None => std::future::pending().await,
            }
        };
        let supervisor = self.supervisor.clone();
        // To the end of the drain metrics are told, and the supervisor hears that the server lives.
        tokio::select! {
            drained = self.run_beside(stop) => drained,
            never = reading => match never {},
            never = supervisor.beat() => match never {},
        }
    }

    async fn run_beside(self, stop: impl Future<Output = ()>) -> Result<Drained, ServeError> {
        let lifecycle = self.shared.lifecycle.clone();
        let drain = self.shared.drain.clone();
        let door = Door::default();

        let stop_or_soft = async {
            tokio::select! {
                () = stop => {}
                () = lifecycle.soft.cancelled() => {}
                () = lifecycle.hard.cancelled() => {}
            }
            self.health.begin_drain();
            let begun = Instant::now();
            self.supervisor.stopping(drain.longest()).await;
            tokio::select! {
                () = sleep(drain.notice) => {}
                () = lifecycle.soft.cancelled() => {}
                () = lifecycle.hard.cancelled() => {}
            }
            begun
        };
        let begun = tokio::select! {
            begun = stop_or_soft => begun,
            never = self.accept(&door) => match never {},
            never = self.watch_files() => match never {},
            never = self.supervisor.follow(&self.health) => match never {},
            never = self.health.watch() => match never {},
        };

        self.shared.router.begin_farewell();
        if !drain.farewell.is_zero() {
            self.take_last(&door).await;
        }
        drop(self.listener);
        bid_farewell(&lifecycle, &door, drain.farewell).await;
        self.shared.router.begin_drain();
        lifecycle.soft.cancel();
        let open = door.open.load(Ordering::Relaxed);
        tracing::info!(connections = open, "draining");
        Ok(finish(&lifecycle, &drain, &self.shared.cut, begun).await)
    }

    fn tls(&self) -> Option<&Arc<Tls>> {
        self.shared.arrivals.tls.as_ref()
    }

    /// Looks for a new certificate for ever.
    async fn watch_files(&self) -> Infallible {
        match self.tls() {
            Some(tls) => tls::watch(tls.clone()).await,
            None => std::future::pending().await,
        }
    }

    fn scheme(&self) -> Scheme {
        match self.tls() {
            Some(_) => Scheme::Https,
            None => Scheme::Http,
        }
    }

    fn announce(&self) {
        tracing::info!(
            address = %self.address,
            scheme = self.scheme().as_str(),
            name = self.name,
            version = self.version,
            "listening"
        );
        if let Some(address) = self.metrics_addr() {
            tracing::info!(metrics = %address, "telling metrics");
        }
        if self.connections_max < self.shared.limits.connections_max {
            tracing::warn!(
                connections_max = self.shared.limits.connections_max,
                effective = self.connections_max,
                "the limit of open files allows fewer connections than configured"
            );
        }
    }

    /// Accepts connections for ever.
    async fn accept(&self, door: &Door) -> Infallible {
        const BACKOFF: Duration = Duration::from_millis(50);
        const REPEAT: Duration = Duration::from_secs(5);
        let mut reported: Option<Instant> = None;
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => self.admit(stream, door),
                // The peer went before it was served.
                Err(error) if is_of_one_connection(&error) => {}
                // Out of files or memory: it passes when connections end, not by trying again.
                Err(error) => {
                    if reported.is_none_or(|at| at.elapsed() > REPEAT) {
                        tracing::error!(%error, "cannot accept connections");
                        reported = Some(Instant::now());
                    }
                    sleep(BACKOFF).await;
                }
            }
        }
    }

    /// Takes the connections that are being made at this moment: closing the listener resets what it
    /// has not given away.
    async fn take_last(&self, door: &Door) {
        const QUIET: Duration = Duration::from_millis(2);
        const CONNECTIONS_MAX: usize = 1000;
        for _ in 0..CONNECTIONS_MAX {
            let Ok(Ok((stream, _))) = timeout(QUIET, self.listener.accept()).await else {
                return;
            };
            self.admit(stream, door);
        }
    }

    fn admit(&self, stream: TcpStream, door: &Door) {
        if door.open.fetch_add(1, Ordering::Relaxed) >= self.connections_max {
            door.open.fetch_sub(1, Ordering::Relaxed);
            // Politeness is bounded too: beyond it the connection is dropped here.
            if let Ok(permit) = door.refusals.clone().try_acquire_owned() {
                let scheme = self.scheme();
                self.shared.lifecycle.tasks.spawn(async move {
                    refuse(stream, scheme).await;
                    drop(permit);
                });
            }
            return;
        }
        let place = Place::taken(door);
        let shared = self.shared.clone();
        self.shared.lifecycle.tasks.spawn(async move {
            if let End::Cut(requests) = connection::serve(stream, &shared).await {
                shared.cut.fetch_add(requests as usize, Ordering::Relaxed);
            }
            drop(place);
        });
    }
}

/// Lets connections end with their next answer, for so long at most.
async fn bid_farewell(lifecycle: &Lifecycle, door: &Door, limit: Duration) {
    const STEP: Duration = Duration::from_millis(10);
    // Not even a moment lies between the listener's end and the drain, or requests pass in it.
    if limit.is_zero() {
        return;
    }
    let emptied = async {
        while door.open.load(Ordering::Relaxed) > 0 {
            sleep(STEP).await;
        }
    };
    tokio::select! {
        () = emptied => {}
        () = sleep(limit) => {}
        () = lifecycle.soft.cancelled() => {}
        () = lifecycle.hard.cancelled() => {}
    }
}

/// Waits for what is under way, and after the limit ends it.
async fn finish(
    lifecycle: &Lifecycle,
    drain: &Drain,
    cut: &AtomicUsize,
    begun: Instant,
) -> Drained {
    lifecycle.tasks.close();
    tokio::select! {
        () = lifecycle.tasks.wait() => {}
        () = sleep(drain.limit) => {}
        () = lifecycle.hard.cancelled() => {}
    }
    let finished = lifecycle.tasks.is_empty();
    lifecycle.hard.cancel();
    if !finished {
        // Connections cut themselves at the end of the grace; this waits a little longer.
        let patience = drain.grace + Duration::from_millis(500);
        let _ = timeout(patience, lifecycle.tasks.wait()).await;
    }
    let drained = Drained {
        took: begun.elapsed(),
        requests_cut: cut.load(Ordering::Relaxed),
        tasks_left: lifecycle.tasks.len(),
    };
    let took_ms = u64::try_from(drained.took.as_millis()).unwrap_or(u64::MAX);
    if drained.is_clean() {
        tracing::info!(took_ms, "drained");
    } else {
        let (cut, left) = (drained.requests_cut, drained.tasks_left);
        tracing::warn!(
            took_ms,
            requests_cut = cut,
            tasks_left = left,
            "drained by force"
        );
    }
    drained
}
