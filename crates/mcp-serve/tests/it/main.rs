//! The server as its clients see it: over real sockets, with a handler that knows no notes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is wrong"
)]

mod attack;
mod conformance;
mod drain;
mod edge;
mod fixture;
mod guard;
mod http2;
mod limits;
mod log;
mod metrics;
mod mounted;
mod oauth;
mod oracle;
mod over_redis;
mod probes;
mod proxies;
mod proxy;
mod redis;
mod replicas;
mod sessions;
mod signals;
mod supervisor;
mod tls;
mod transport;
