//! The connection to Redis, as the settings have it.

use std::{fs, path::Path};

use mcp_serve::{
    metrics::Metrics,
    redis::{Redis, Settings},
};

use super::causes;
use crate::config::{Config, ConfigError, Mistake, Profile};

/// Begins to connect to the Redis that `config` names, if it names one; what goes over it is counted in
/// `metrics`. Must be called where the runtime runs.
pub(crate) fn connect(config: &Config, metrics: &Metrics) -> Result<Option<Redis>, ConfigError> {
    let Some(settings) = config.redis.settings() else {
        if config.profile == Profile::Production {
            tracing::warn!(
                "without REDIS_URL, sessions and rate limits are kept in the memory of this process"
            );
        }
        return Ok(None);
    };
    let name = match config.redis.url {
        Some(_) => "REDIS_URL",
        None => "REDIS_HOST",
    };
    let mut settings = settings.map_err(|error| mistake(name, None, error.to_string()))?;
    if let Some(path) = &config.redis.ca_path {
        settings = with_authorities(settings, path)?;
    }
    let redis = Redis::measured(settings, metrics);
    let redis = redis.map_err(|error| mistake(name, None, error.to_string()))?;
    Ok(Some(redis))
}

fn with_authorities(settings: Settings, path: &Path) -> Result<Settings, ConfigError> {
    let unread = |why: &dyn std::error::Error| {
        let expected = format!("a file of certificates, as PEM ({})", causes(why));
        mistake("REDIS_CA_PATH", Some(path.display().to_string()), expected)
    };
    let pem = fs::read(path).map_err(|error| unread(&error))?;
    settings
        .with_authorities(pem)
        .map_err(|error| unread(&error))
}

fn mistake(setting: &str, given: Option<String>, expected: String) -> ConfigError {
    let setting = setting.to_owned();
    ConfigError {
        mistakes: vec![Mistake {
            setting,
            given,
            expected,
        }],
    }
}
