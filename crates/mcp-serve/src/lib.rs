//! Runs any [`rmcp::ServerHandler`] in production: both eras of MCP over Streamable HTTP, with the
//! layers a server on a network needs around it.
//!
//! [`serve`] is the one entry. It takes a factory of handlers, further routes and a [`Config`], and
//! returns when the server has drained.

pub mod audit;
pub mod auth;
pub mod client;
pub mod config;
pub mod events;
pub mod health;
pub mod lifecycle;
pub mod limit;
pub mod metrics;
pub mod policy;
pub mod redis;
pub mod session;
pub mod signals;
pub mod supervisor;
pub mod telemetry;
pub mod tls;
pub mod transport;

mod gate;
mod guard;
mod hex;
mod router;
mod server;

#[cfg(feature = "test-util")]
pub mod test_util;

pub use config::Config;
pub use server::{Drained, ServeError, Server, serve};

#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub use server::fuzz;
