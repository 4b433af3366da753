//! What proves who is calling, as `AUTH_MODE` says.

use std::sync::Arc;

use mcp_serve::auth::{Anonymous, Authenticator};

use crate::config::{AuthMode, Config};

/// Why callers cannot be told apart. Names the setting.
#[derive(Debug, thiserror::Error)]
pub enum AuthSetupError {
    /// The mode is not part of this program.
    #[error("AUTH_MODE={} is not built into this program", .0.as_str())]
    NotBuilt(AuthMode),
}

/// What tells the callers of the server apart.
#[expect(clippy::unused_async, reason = "the modes that are to come read files")]
pub(super) async fn authenticator(
    config: &Config,
) -> Result<Arc<dyn Authenticator>, AuthSetupError> {
    match config.auth_mode {
        AuthMode::None => Ok(Arc::new(Anonymous)),
        mode @ (AuthMode::Token | AuthMode::OAuth) => Err(AuthSetupError::NotBuilt(mode)),
    }
}
