//! Where notes meet the network: settings, wiring, commands and the faces of the notes server.

pub mod action;
pub mod app;
pub mod audit;
pub mod backups;
pub mod commands;
pub mod config;
pub mod error_map;
pub mod mcp;
pub mod metrics;
pub mod operations;
pub mod policy;
pub mod rest;
pub mod rules;
pub mod span;
pub mod web;
pub mod wire;
