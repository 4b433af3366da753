//! What a server is told: plain data, checked before the server takes its address.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use crate::{
    audit::Auditor,
    auth::{Anonymous, Authenticator},
    client::TrustedProxies,
    events::{Events, MemoryEvents},
    health::{Check, LIVE_PATHS, READY_PATHS},
    limit::{Budgets, Limiter, MemoryLimiter},
    metrics::{Metrics, Scrape},
    policy::{Policy, Unscoped},
    session::{MemorySessions, SessionStore},
    signals::{Alone, Signals},
    supervisor::Supervisor,
    tls::Tls,
    transport,
};

pub use crate::guard::{AllowedHosts, AllowedOrigins, HostError, OriginError};

/// How one server runs. The default is a server for this machine alone, on 127.0.0.1:3000.
#[derive(Clone)]
pub struct Config {
    /// The address to bind; port 0 takes a free one. Default 127.0.0.1:3000.
    pub listen: SocketAddr,
    /// The certificate to serve with; without one everything travels in the clear. Default: none.
    pub tls: Option<Arc<Tls>>,
    /// Whether connections of `trusted_proxies` begin with a header of the PROXY protocol, version 1
    /// or 2, that names the client. From them it is required then, and from others never taken.
    /// Default: no.
    pub proxy_protocol: bool,
    /// The paths on which MCP is served, each with and without a trailing slash. Default `/mcp` and
    /// `/api/v1/mcp`.
    pub mcp_paths: Vec<String>,
    /// The path of the health report. Default `/health`. `/livez` and `/readyz` stay where they are.
    pub health_path: String,
    /// The name of the server in its health report and its log. Default `mcp-serve`.
    pub name: String,
    /// The version of the server in its health report. Default: of this crate.
    pub version: String,
    /// The hosts that a request may name. Default: loopback, any port.
    pub allowed_hosts: AllowedHosts,
    /// The proxies whose word about a client counts. Default: none.
    pub trusted_proxies: TrustedProxies,
    /// Whether credentials are taken over plain HTTP from elsewhere than loopback, for networks
    /// that encrypt what they carry. Default: no.
    pub allow_plain_http: bool,
    /// How long browsers shall use nothing but HTTPS, told with every answer within TLS
    /// (`Strict-Transport-Security`, RFC 6797); whole seconds, 0 for not at all. Default: a year.
    pub hsts: Duration,
    /// The origins whose pages may call. Default: loopback, any port, without credentials.
    pub allowed_origins: AllowedOrigins,
    /// Bounds of connections and requests.
    pub limits: Limits,
    /// How the server ends.
    pub drain: Drain,
    /// How the MCP endpoint behaves.
    pub mcp: transport::Settings,
    /// Tells who is calling. Default: everybody is anonymous.
    pub authenticator: Arc<dyn Authenticator>,
    /// Whether callers whom nobody asked who they are may come from other machines, because what
    /// stands in front of the server has asked them. Default: no, from this one alone.
    pub anonymous_from_anywhere: bool,
    /// Says which scopes and which budget each operation takes. Default: no scopes.
    pub policy: Arc<dyn Policy>,
    /// How much each caller may ask. Default: as much as it likes.
    pub budgets: Budgets,
    /// Counts what callers ask. Default: in memory.
    pub limiter: Arc<dyn Limiter>,
    /// Takes down what is refused. Default: nobody does.
    pub auditor: Option<Arc<dyn Auditor>>,
    /// Where sessions of the older revisions are kept. Default: in memory.
    pub sessions: Arc<dyn SessionStore>,
    /// The channel of change notifications. Default: in memory.
    pub events: Arc<dyn Events>,
    /// The way to the other replicas of this server, which sessions of the older revisions need.
    /// Default: there are none.
    pub signals: Arc<dyn Signals>,
    /// What must work for the server to be ready. Default: nothing.
    pub checks: Vec<Arc<dyn Check>>,
    /// Who is told that the server is ready, lives and stops. Default: nobody.
    pub supervisor: Supervisor,
    /// What the server counts. What else is given here counts there too if it is made so: sessions by
    /// [`Metrics::session_observer`], Redis by [`Redis::measured`](crate::redis::Redis::measured).
    /// Default: new ones, with sessions.
    pub metrics: Metrics,
    /// Where and to whom that is told.
    pub scrape: Scrape,
}

impl Default for Config {
    fn default() -> Self {
        let metrics = Metrics::default();
        let limits = crate::session::Limits {
            observer: metrics.session_observer(),
            ..crate::session::Limits::default()
        };
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 3000)),
            tls: None,
            proxy_protocol: false,
            mcp_paths: vec!["/mcp".to_owned(), "/api/v1/mcp".to_owned()],
            health_path: "/health".to_owned(),
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            allowed_hosts: AllowedHosts::loopback(),
            trusted_proxies: TrustedProxies::none(),
            allow_plain_http: false,
            hsts: Duration::from_hours(365 * 24),
            allowed_origins: AllowedOrigins::loopback(),
            limits: Limits::default(),
            drain: Drain::default(),
            mcp: transport::Settings::default(),
            authenticator: Arc::new(Anonymous),
            anonymous_from_anywhere: false,
            policy: Arc::new(Unscoped),
            budgets: Budgets::default(),
            limiter: Arc::new(MemoryLimiter::default()),
            auditor: None,
            sessions: Arc::new(MemorySessions::new(limits)),
            events: Arc::new(MemoryEvents::default()),
            signals: Arc::new(Alone),
            checks: Vec::new(),
            supervisor: Supervisor::default(),
            metrics,
            scrape: Scrape::default(),
        }
    }
}

/// A setting that no server can run with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {problem}")]
pub struct ConfigError {
    /// The field, such as `limits.body_bytes_max`.
    pub setting: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Config {
    /// Whether a server can run with these settings; [`Server::bind`](crate::Server::bind) asks.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.proxy_protocol && self.trusted_proxies.is_empty() {
            let problem = "must be off where there are no trusted_proxies";
            return Err(ConfigError::new("proxy_protocol", problem));
        }
        self.validate_paths()?;
        self.validate_limits()
    }

    fn validate_paths(&self) -> Result<(), ConfigError> {
        let is_probe = |path: &str| LIVE_PATHS.contains(&path) || READY_PATHS.contains(&path);
        let health = self.health_path.as_str();
        let bare = |path: &str| path.strip_suffix('/').unwrap_or(path).to_owned();
        let mcp = |problem| Err(ConfigError::new("mcp_paths", problem));
        if self.mcp_paths.is_empty() {
            return mcp("must name at least one path");
        }
        if self.mcp_paths.iter().any(|path| !path.starts_with('/')) {
            return mcp("must hold paths that begin with a slash");
        }
        if self.mcp_paths.iter().any(|path| is_probe(&bare(path))) {
            return mcp("must not hold a path of a probe");
        }
        if !health.starts_with('/') {
            let problem = "must begin with a slash";
            return Err(ConfigError::new("health_path", problem));
        }
        if is_probe(health) {
            let problem = "must not be a path of a probe";
            return Err(ConfigError::new("health_path", problem));
        }
        if self.mcp_paths.iter().any(|path| bare(path) == bare(health)) {
            let problem = "must not be one of mcp_paths";
            return Err(ConfigError::new("health_path", problem));
        }
        self.validate_scrape()
    }

    fn validate_scrape(&self) -> Result<(), ConfigError> {
        let Scrape {
            path,
            listen,
            token,
        } = &self.scrape;
        let wrong = |problem| Err(ConfigError::new("scrape.path", problem));
        let probes = LIVE_PATHS.iter().chain(&READY_PATHS).copied();
        if !path.starts_with('/') || path.len() < 2 {
            return wrong("must begin with a slash, and have more than that");
        }
        if probes.chain([&*self.health_path]).any(|it| it == path) {
            return wrong("must not be a path of a probe");
        }
        if self.mcp_paths.contains(path) {
            return wrong("must not be one of mcp_paths");
        }
        if token.is_none() && listen.is_some_and(|address| !address.ip().is_loopback()) {
            let problem = "must be loopback where there is no token";
            return Err(ConfigError::new("scrape.listen", problem));
        }
        Ok(())
    }

    fn validate_limits(&self) -> Result<(), ConfigError> {
        let (limits, mcp) = (&self.limits, &self.mcp);
        let zero = Duration::ZERO;
        let zeros = [
            ("limits.connections_max", limits.connections_max == 0),
            ("limits.body_bytes_max", limits.body_bytes_max == 0),
            ("limits.headers_max", limits.headers_max == 0),
            ("limits.uri_bytes_max", limits.uri_bytes_max == 0),
            (
                "limits.calls_per_caller_max",
                limits.calls_per_caller_max == 0,
            ),
            ("limits.http2_streams_max", limits.http2_streams_max == 0),
            ("limits.first_byte", limits.first_byte == zero),
            ("limits.header_read", limits.header_read == zero),
            ("limits.keep_alive_idle", limits.keep_alive_idle == zero),
            ("limits.write_stall", limits.write_stall == zero),
            ("limits.request_deadline", limits.request_deadline == zero),
            ("mcp.request_deadline", mcp.request_deadline == zero),
            ("mcp.stream_deadline", mcp.stream_deadline == zero),
            ("mcp.keep_alive", mcp.keep_alive == zero),
            ("mcp.listen_max", mcp.listen_max == zero),
        ];
        if let Some((setting, _)) = zeros.into_iter().find(|(_, is_zero)| *is_zero) {
            return Err(ConfigError::new(setting, "must not be zero"));
        }
        // hyper's buffer for a head is never smaller.
        if limits.header_bytes_max < 8 << 10 {
            let problem = "must be at least 8192";
            return Err(ConfigError::new("limits.header_bytes_max", problem));
        }
        Ok(())
    }
}

impl ConfigError {
    const fn new(setting: &'static str, problem: &'static str) -> Self {
        Self { setting, problem }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("tls", &self.tls)
            .field("proxy_protocol", &self.proxy_protocol)
            .field("mcp_paths", &self.mcp_paths)
            .field("allowed_hosts", &self.allowed_hosts)
            .field("trusted_proxies", &self.trusted_proxies)
            .field("allowed_origins", &self.allowed_origins)
            .field("limits", &self.limits)
            .field("drain", &self.drain)
            .finish_non_exhaustive()
    }
}

/// Bounds of connections and requests.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections; one more is answered with 503 and closed. Lowered at the start when the
    /// process may not open so many files. Default 10 000.
    pub connections_max: usize,
    /// Largest request body, in bytes; more is 413. Default 1 MiB.
    pub body_bytes_max: usize,
    /// Largest request head with its request line, in bytes, at least 8 KiB; more is 431. Default
    /// 16 KiB.
    pub header_bytes_max: usize,
    /// Most header fields of one request; more is 431. Default 100.
    pub headers_max: usize,
    /// Longest path with query, in bytes; more is 414. Default 8 KiB.
    pub uri_bytes_max: usize,
    /// A new connection that sends nothing for so long is closed. Default 10 s.
    pub first_byte: Duration,
    /// A request head must be complete so long after its first byte. Default 10 s.
    pub header_read: Duration,
    /// A connection without a request is closed after this time. Default 75 s.
    pub keep_alive_idle: Duration,
    /// A peer that takes none of the bytes of an answer for so long is cut off. Default 30 s.
    pub write_stall: Duration,
    /// A request outside the MCP paths must be answered within this time; later is 504. MCP has its
    /// own deadlines in [`transport::Settings`]. Default 30 s.
    pub request_deadline: Duration,
    /// Requests of one caller that may be worked on at the same time; one more gets 429. A caller is
    /// a principal, or a network where nobody is asked who they are. Default 64.
    pub calls_per_caller_max: usize,
    /// Concurrent requests of one HTTP/2 connection. Default 128.
    pub http2_streams_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            body_bytes_max: 1 << 20,
            header_bytes_max: 16 << 10,
            headers_max: 100,
            uri_bytes_max: 8 << 10,
            first_byte: Duration::from_secs(10),
            header_read: Duration::from_secs(10),
            keep_alive_idle: Duration::from_secs(75),
            write_stall: Duration::from_secs(30),
            request_deadline: Duration::from_secs(30),
            calls_per_caller_max: 64,
            http2_streams_max: 128,
        }
    }
}

/// How the server ends: not ready, then no new work, then no work at all.
#[derive(Debug, Clone)]
pub struct Drain {
    /// So long the server says that it is not ready but still serves, for balancers to notice.
    /// Default 0.
    pub notice: Duration,
    /// So long, when new connections are refused already, requests on open ones are served, each
    /// with the wish to close: a proxy that keeps connections may be sending one at this moment, and
    /// must not send it again. It is over when no connection is left. Default 0.
    pub farewell: Duration,
    /// So long running requests may take to finish. Default 25 s.
    pub limit: Duration,
    /// At the limit handlers of MCP are dropped, not asked; so long connections then have to write
    /// what there is to write, and every other request to end. It is also the time for a request
    /// whose head is half sent when the drain begins to arrive (and be refused). Default 1 s.
    pub grace: Duration,
}

impl Drain {
    /// All of it together, at most.
    pub(crate) fn longest(&self) -> Duration {
        let parts = [self.notice, self.farewell, self.limit, self.grace];
        parts
            .into_iter()
            .fold(Duration::ZERO, Duration::saturating_add)
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            notice: Duration::ZERO,
            farewell: Duration::ZERO,
            limit: Duration::from_secs(25),
            grace: Duration::from_secs(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Spoil = fn(&mut Config);

    #[test]
    fn a_setting_that_no_server_can_run_with_is_named() {
        assert_eq!(Config::default().validate(), Ok(()));
        let cases: [(&str, Spoil); 12] = [
            ("proxy_protocol", |it| it.proxy_protocol = true),
            ("mcp_paths", |it| it.mcp_paths.clear()),
            ("mcp_paths", |it| it.mcp_paths = vec!["mcp".into()]),
            ("mcp_paths", |it| it.mcp_paths = vec!["/livez/".into()]),
            ("health_path", |it| it.health_path = "health".into()),
            ("health_path", |it| it.health_path = String::new()),
            ("health_path", |it| it.health_path = "/mcp/".into()),
            ("health_path", |it| it.health_path = "/readyz".into()),
            ("mcp.keep_alive", |it| it.mcp.keep_alive = Duration::ZERO),
            ("limits.body_bytes_max", |it| it.limits.body_bytes_max = 0),
            ("limits.http2_streams_max", |it| {
                it.limits.http2_streams_max = 0;
            }),
            ("limits.header_bytes_max", |it| {
                it.limits.header_bytes_max = 8191;
            }),
        ];
        for (setting, spoil) in cases {
            let mut config = Config::default();
            spoil(&mut config);
            let error = config.validate().unwrap_err();
            assert_eq!(error.setting, setting, "{error}");
            assert!(error.to_string().starts_with(setting), "{error}");
        }
        let config = Config {
            mcp_paths: vec!["/".to_owned(), "/health/".to_owned()],
            health_path: "/fine".to_owned(),
            ..Config::default()
        };
        assert_eq!(config.validate(), Ok(()));
    }
}
