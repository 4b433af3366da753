//! What proves who is calling, as `AUTH_MODE` says.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use mcp_serve::{
    auth::{
        Anonymous, Authenticator, Scopes,
        oauth::{Authorities, Introspection, NoAuthority, OAuth, OAuthError, Settings},
        token::{
            SourceError, TokenHash, TokenRecord, TokenSource, Tokens, TokensFile, TokensFileError,
        },
    },
    health::Check,
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
    /// The file of tokens is not there or not right.
    #[error("TOKENS_FILE {path:?}")]
    TokensFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TokensFileError,
    },
    /// The file of certificates cannot be read.
    #[error("OAUTH_CA_PATH {path:?}")]
    AuthoritiesFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file of certificates has none.
    #[error("OAUTH_CA_PATH {path:?}")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: NoAuthority,
    },
    /// No token of an issuer could be checked.
    #[error("AUTH_MODE=oauth")]
    OAuth(#[from] OAuthError),
}

impl From<AuthSetupError> for ConfigError {
    /// All of them are mistakes in the settings, or in what the settings name.
    fn from(error: AuthSetupError) -> Self {
        let unread = |path: &PathBuf, why: &dyn std::error::Error| Mistake {
            setting: "OAUTH_CA_PATH".into(),
            given: Some(path.display().to_string()),
            expected: format!("a file of certificates, as PEM ({})", causes(why)),
        };
        let mistake = match &error {
            AuthSetupError::AuthoritiesFile { path, source } => unread(path, source),
            AuthSetupError::Authorities { path, source } => unread(path, source),
            AuthSetupError::OAuth(why) => Mistake {
                setting: "AUTH_MODE".into(),
                given: Some(AuthMode::OAuth.as_str().into()),
                expected: format!(
                    "settings with which a token can be checked ({})",
                    causes(why)
                ),
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
pub(super) struct Auth {
    pub(super) authenticator: Arc<dyn Authenticator>,
    /// Whether it can.
    pub(super) check: Option<Arc<dyn Check>>,
}

impl Auth {
    fn unchecked(authenticator: impl Authenticator) -> Self {
        Self {
            authenticator: Arc::new(authenticator),
            check: None,
        }
    }
}

/// What `AUTH_MODE` says.
pub(super) async fn auth(
    config: &Config,
    policy: &NotesPolicy,
    store: &Arc<dyn AccessStore>,
) -> Result<Auth, AuthSetupError> {
    match config.auth_mode {
        AuthMode::None => Ok(Auth::unchecked(Anonymous)),
        AuthMode::Token => {
            let (source, check) = token_source(config, store).await?;
            let realm = env!("CARGO_PKG_NAME");
            let basic_scopes = policy.basic_scopes();
            Ok(Auth {
                authenticator: Arc::new(Tokens::new(source, realm, basic_scopes)),
                check,
            })
        }
        AuthMode::OAuth => {
            let oauth = Arc::new(oauth(config, policy)?);
            Ok(Auth {
                authenticator: oauth.clone(),
                check: Some(oauth),
            })
        }
    }
}

async fn token_source(
    config: &Config,
    store: &Arc<dyn AccessStore>,
) -> Result<(Arc<dyn TokenSource>, Option<Arc<dyn Check>>), AuthSetupError> {
    let Some(path) = &config.tokens_file else {
        return Ok((Arc::new(StoredTokens(store.clone())), None));
    };
    let file = TokensFile::open(path, SCOPES.into_iter().collect()).await;
    let file = file.map_err(|source| AuthSetupError::TokensFile {
        path: path.clone(),
        source,
    })?;
    let file = Arc::new(file);
    Ok((file.clone(), Some(file)))
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

fn oauth(config: &Config, policy: &NotesPolicy) -> Result<OAuth, AuthSetupError> {
    let asked = &config.oauth;
    let at = |path: String| config.public_url.as_ref()?.resource(&path);
    let paths = mcp_serve::Config::default().mcp_paths;
    let resources = paths.into_iter().filter_map(at).collect();
    let mut settings = Settings::new(asked.issuers.clone(), resources);
    settings.audiences.clone_from(&asked.audiences);
    settings.algorithms.clone_from(&asked.algorithms);
    settings.typed = asked.typed;
    settings.keys.refresh = asked.keys_refresh;
    settings.keys.stale_max = asked.keys_stale;
    settings.basic_scopes = policy.basic_scopes();
    if let Some(path) = &asked.ca_path {
        settings.authorities = authorities(path)?;
    }
    if let (Some(issuer), Some(id), Some(secret)) = (
        asked.issuers.first(),
        &asked.client_id,
        &asked.client_secret,
    ) {
        let secret = secret.expose().to_owned();
        settings.introspection = Some(Introspection {
            endpoint: asked.introspection_url.clone(),
            ..Introspection::new(issuer.clone(), id.clone(), secret)
        });
    }
    let oauth = OAuth::new(settings)?;
    oauth.warm_up();
    Ok(oauth)
}

fn authorities(path: &Path) -> Result<Authorities, AuthSetupError> {
    let text = fs::read(path).map_err(|source| AuthSetupError::AuthoritiesFile {
        path: path.to_owned(),
        source,
    })?;
    Authorities::from_pem(&text).map_err(|source| AuthSetupError::Authorities {
        path: path.to_owned(),
        source,
    })
}
