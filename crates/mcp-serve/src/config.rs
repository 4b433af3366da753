//! What a server is told: plain data, in types that cannot hold a bad value.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use crate::{
    auth::{Anonymous, Authenticator},
    events::{Events, MemoryEvents},
    health::Check,
    session::{MemorySessions, SessionStore},
    transport,
};

pub use crate::guard::{AllowedHosts, AllowedOrigins, HostError, OriginError};

/// How one server runs. The default is a server for this machine alone, on 127.0.0.1:3000.
#[derive(Clone)]
pub struct Config {
    /// The address to bind; port 0 takes a free one. Default 127.0.0.1:3000.
    pub listen: SocketAddr,
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
    /// The origins whose pages may call. Default: loopback, any port, without credentials.
    pub allowed_origins: AllowedOrigins,
    /// Bounds of connections and requests.
    pub limits: Limits,
    /// How the server ends.
    pub drain: Drain,
    /// How the MCP endpoint behaves. Its `body_bytes_max` is overruled by the one in `limits`.
    pub mcp: transport::Settings,
    /// Tells who is calling. Default: everybody is anonymous.
    pub authenticator: Arc<dyn Authenticator>,
    /// Where sessions of the older revisions are kept. Default: in memory.
    pub sessions: Arc<dyn SessionStore>,
    /// The channel of change notifications. Default: in memory.
    pub events: Arc<dyn Events>,
    /// What must work for the server to be ready. Default: nothing.
    pub checks: Vec<Arc<dyn Check>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 3000)),
            mcp_paths: vec!["/mcp".to_owned(), "/api/v1/mcp".to_owned()],
            health_path: "/health".to_owned(),
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            allowed_hosts: AllowedHosts::loopback(),
            allowed_origins: AllowedOrigins::loopback(),
            limits: Limits::default(),
            drain: Drain::default(),
            mcp: transport::Settings::default(),
            authenticator: Arc::new(Anonymous),
            sessions: Arc::new(MemorySessions::new(crate::session::Limits::default())),
            events: Arc::new(MemoryEvents::default()),
            checks: Vec::new(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("mcp_paths", &self.mcp_paths)
            .field("allowed_hosts", &self.allowed_hosts)
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
    /// So long running requests may take to finish. Default 25 s.
    pub limit: Duration,
    /// So long requests that were cancelled at the limit may take to say so, and so long a request
    /// whose head is half sent may take to arrive (and be refused). Default 1 s.
    pub grace: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            notice: Duration::ZERO,
            limit: Duration::from_secs(25),
            grace: Duration::from_secs(1),
        }
    }
}
