//! A complete production server: one tool, both eras of MCP, every layer, on 127.0.0.1:3000.

use std::sync::Arc;

use mcp_serve::{Config, serve, telemetry};
use rmcp::{
    ServerHandler, handler::server::router::tool::ToolRouter, handler::server::wrapper::Parameters,
    schemars, tool, tool_handler, tool_router,
};

#[derive(Clone)]
struct Echo {
    tools: Arc<ToolRouter<Self>>,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Words {
    /// What to say.
    words: String,
}

#[tool_router]
impl Echo {
    /// Says what it is told.
    #[tool]
    fn echo(Parameters(Words { words }): Parameters<Words>) -> String {
        words
    }
}

#[tool_handler(router = self.tools)]
impl ServerHandler for Echo {}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    telemetry::init("info", telemetry::Format::Pretty, telemetry::Output::Stderr)?;
    let echo = Echo {
        tools: Arc::new(Echo::tool_router()),
    };
    let drained = serve(move || echo.clone(), axum::Router::new(), Config::default()).await?;
    if drained.is_clean() {
        Ok(())
    } else {
        Err("the server ended before every request was answered".into())
    }
}
