//! What proves who is calling, as `AUTH_MODE` says.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use mcp_serve::{
    auth::{
        Anonymous, Authenticator, Scopes,
        token::{
            SourceError, TokenHash, TokenRecord, TokenSource, Tokens, TokensFile, TokensFileError,
        },
    },
    policy::Policy as _,
};
use notes::{AccessStore, AccessToken, Timestamp};

use crate::{
    action,
    app::causes,
    config::{AuthMode, Config, ConfigError, Mistake},
    policy::NotesPolicy,
};

/// Every scope that a token can have.
pub(crate) const SCOPES: [&str; 4] = [action::READ, action::WRITE, action::DELETE, action::ADMIN];

/// Why callers cannot be told apart. Names the setting; its source says the rest.
#[derive(Debug, thiserror::Error)]
pub enum AuthSetupError {
    /// The mode is not part of this program.
    #[error("AUTH_MODE={} is not built into this program", .0.as_str())]
    NotBuilt(AuthMode),
    /// The file of tokens is not there or not right.
    #[error("TOKENS_FILE {path:?}")]
    TokensFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TokensFileError,
    },
}

impl From<AuthSetupError> for ConfigError {
    /// All of them are mistakes in the settings, or in what the settings name.
    fn from(error: AuthSetupError) -> Self {
        let mistake = match &error {
            AuthSetupError::NotBuilt(mode) => Mistake {
                setting: "AUTH_MODE".into(),
                given: Some(mode.as_str().into()),
                expected: "a mode that is built into this program".into(),
            },
            AuthSetupError::TokensFile { path, source } => Mistake {
                setting: "TOKENS_FILE".into(),
                given: Some(path.display().to_string()),
                expected: format!("a file of tokens ({})", causes(source)),
            },
        };
        Self {
            mistakes: vec![mistake],
        }
    }
}

/// What tells the callers of the server apart.
pub(super) async fn authenticator(
    config: &Config,
    policy: &NotesPolicy,
    store: &Arc<dyn AccessStore>,
) -> Result<Arc<dyn Authenticator>, AuthSetupError> {
    match config.auth_mode {
        AuthMode::None => Ok(Arc::new(Anonymous)),
        AuthMode::Token => {
            let source = token_source(config, store).await?;
            let realm = env!("CARGO_PKG_NAME");
            let basic_scopes = policy.basic_scopes();
            Ok(Arc::new(Tokens::new(source, realm, basic_scopes)))
        }
        mode @ AuthMode::OAuth => Err(AuthSetupError::NotBuilt(mode)),
    }
}

async fn token_source(
    config: &Config,
    store: &Arc<dyn AccessStore>,
) -> Result<Arc<dyn TokenSource>, AuthSetupError> {
    let Some(path) = &config.tokens_file else {
        return Ok(Arc::new(StoredTokens(store.clone())));
    };
    let file = TokensFile::open(path, SCOPES.into_iter().collect()).await;
    let file = file.map_err(|source| AuthSetupError::TokensFile {
        path: path.clone(),
        source,
    })?;
    Ok(Arc::new(file))
}

/// The tokens that are kept beside the notes.
struct StoredTokens(Arc<dyn AccessStore>);

#[async_trait]
impl TokenSource for StoredTokens {
    async fn find(&self, hash: &TokenHash) -> Result<Option<TokenRecord>, SourceError> {
        let found = self.0.token_of_hash(*hash.as_bytes()).await;
        found
            .map(|token| token.map(record))
            .map_err(SourceError::new)
    }

    async fn get(&self, id: &str) -> Result<Option<TokenRecord>, SourceError> {
        let found = self.0.token(id).await;
        found
            .map(|token| token.map(record))
            .map_err(SourceError::new)
    }

    async fn used(&self, id: &str, at: Timestamp) -> Result<(), SourceError> {
        self.0.token_used(id, at).await.map_err(SourceError::new)
    }
}

fn record(token: AccessToken) -> TokenRecord {
    TokenRecord {
        id: token.id,
        owner: token.owner.as_str().to_owned(),
        scopes: token.scopes.iter().map(String::as_str).collect::<Scopes>(),
        expires_at: token.expires_at,
        last_used: token.last_used,
        revoked_at: token.revoked_at,
    }
}
