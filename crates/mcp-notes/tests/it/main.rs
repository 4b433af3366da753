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
mod desk;
mod faces;
mod isolation;
mod nginx;
mod oauth;
mod page;
mod people;
mod process;
mod proxies;
mod redis;
mod replicas;
mod resources;
mod rest;
mod rules;
mod schemathesis;
mod scopes;
mod secrets;
mod stdio;
mod tidy;
mod tls;
mod tokens;
mod tools;
mod xss;
