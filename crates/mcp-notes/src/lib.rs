//! Where notes meet the network: settings, wiring, commands and the faces of the notes server.

pub mod app;
pub mod commands;
pub mod config;
pub mod error_map;
pub mod mcp;
pub mod operations;
pub mod rest;
pub mod web;
pub mod wire;
