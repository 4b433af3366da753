//! Tests of the notes server as a whole, one binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is wrong"
)]

mod attack;
mod audit;
mod clients;
mod commands;
mod config;
mod deploy;
mod desk;
#[cfg(feature = "mongodb")]
#[allow(dead_code, reason = "the tests of the store use more of it")]
#[path = "../../../notes/tests/contract/engine.rs"]
mod engine;
mod faces;
mod isolation;
mod metrics;
#[cfg(feature = "mongodb")]
mod mongodb;
mod nginx;
mod oauth;
mod page;
mod people;
mod process;
mod proxies;
#[cfg(feature = "mongodb")]
#[allow(dead_code, reason = "the tests of the store use more of it")]
#[path = "../../../notes/tests/contract/proxy.rs"]
mod proxy;
mod redis;
mod replicas;
mod resources;
mod rest;
mod rules;
mod schemathesis;
mod scopes;
mod secrets;
#[cfg(feature = "mongodb")]
#[allow(dead_code, reason = "the tests of the store use more of it")]
#[path = "../../../notes/tests/contract/server.rs"]
mod server;
mod stdio;
mod supervised;
mod tidy;
mod tls;
mod tokens;
mod tools;
mod xss;
