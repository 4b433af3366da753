//! The settings of Redis, and what they make.

use std::{fmt, path::PathBuf, time::Duration};

use mcp_serve::redis::{Deadlines, Settings, SettingsError};

use super::{
    Mistake, Secret,
    read::{Origin, Origins},
    secret,
};

/// Where Redis is and how it is used (`REDIS_...`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// Where it is, as a URL.
    pub url: Option<RedisUrl>,
    /// Where it is, as a host.
    pub host: Option<String>,
    /// The port at the host.
    pub port: u16,
    /// The ACL user.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// The ACL user of the sentinels.
    pub sentinel_username: Option<String>,
    /// That user's password.
    pub sentinel_password: Option<Secret>,
    /// The database; `None` leaves it to the URL.
    pub database: Option<u16>,
    /// What every key begins with.
    pub key_prefix: String,
    /// The certificates of those who vouch for the server.
    pub ca_path: Option<PathBuf>,
    /// How long commands and connections may take.
    pub deadlines: Deadlines,
    /// Whether the server is not ready without it.
    pub required: bool,
    /// How long sessions that are known go on without it.
    pub session_grace: Duration,
}

/// A URL of Redis (`REDIS_URL`).
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    settings: Settings,
    text: String,
}

impl RedisUrl {
    /// The URL that `text` is. The error completes "expected ...".
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let settings = Settings::parse(text).map_err(|error| error.to_string())?;
        Ok(Self {
            settings,
            text: text.to_owned(),
        })
    }

    /// The URL, with its password if it has one.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&secret::masked(&self.text))
    }
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            url: None,
            host: None,
            port: 6379,
            username: None,
            password: None,
            sentinel_username: None,
            sentinel_password: None,
            database: None,
            key_prefix: "mcp:".into(),
            ca_path: None,
            deadlines: Deadlines::default(),
            required: false,
            session_grace: Duration::from_mins(1),
        }
    }
}

impl RedisSettings {
    /// Whether there is one.
    pub fn is_set(&self) -> bool {
        self.url.is_some() || self.host.is_some()
    }

    /// How to connect, but for the certificates in [`ca_path`](Self::ca_path); `None` when there is
    /// no Redis.
    pub fn settings(&self) -> Option<Result<Settings, SettingsError>> {
        let place = match (&self.url, &self.host) {
            (Some(url), _) => Ok(url.settings.clone()),
            (None, Some(host)) => Settings::at(host, self.port),
            (None, None) => return None,
        };
        Some(place.and_then(|place| self.completed(place)))
    }

    fn completed(&self, mut settings: Settings) -> Result<Settings, SettingsError> {
        if let Some(name) = &self.username {
            settings = settings.with_user(name);
        }
        if let Some(password) = &self.password {
            settings = settings.with_password(password.expose());
        }
        if let Some(password) = &self.sentinel_password {
            let user = self.sentinel_username.clone();
            settings = settings.with_sentinel_login(user, password.expose());
        }
        if let Some(number) = self.database {
            settings = settings.with_database(number)?;
        }
        let settings = settings.with_prefix(&self.key_prefix)?;
        Ok(settings.with_deadlines(self.deadlines))
    }
}

/// What of the settings does not go together.
pub(super) fn mistakes(redis: &RedisSettings, origins: &Origins) -> Vec<Mistake> {
    let mut found = Vec::new();
    let mut mistake = |setting: &str, expected: &str| {
        found.push(Mistake {
            setting: setting.into(),
            given: None,
            expected: expected.into(),
        });
    };
    let is_set = |name: &str| origins.get(name).is_some_and(|it| *it != Origin::Default);
    if !is_set("REDIS_URL") && !is_set("REDIS_HOST") {
        let set = origins.keys().filter(|name| is_set(name));
        for name in set.filter(|name| name.starts_with("REDIS_")) {
            let expected =
                "REDIS_URL or REDIS_HOST beside it, because without them there is no Redis";
            mistake(name, expected);
        }
    }
    if !redis.is_set() {
        return found;
    }
    if let Some(url) = &redis.url {
        let url = &url.settings;
        if redis.host.is_some() {
            mistake("REDIS_HOST", "REDIS_URL alone, which says where Redis is");
        }
        if is_set("REDIS_PORT") {
            mistake("REDIS_PORT", "the port in REDIS_URL");
        }
        let twice = "it in REDIS_URL or here, and not in both";
        if redis.username.is_some() && url.has_user() {
            mistake("REDIS_USERNAME", twice);
        }
        if redis.password.is_some() && url.has_password() {
            mistake("REDIS_PASSWORD", twice);
        }
        if redis.database.is_some() && url.database() != 0 {
            mistake("REDIS_DB", twice);
        }
        if redis.database.is_some_and(|number| number != 0) && url.is_cluster() {
            mistake("REDIS_DB", "0, because a cluster has no other database");
        }
    }
    let url = redis.url.as_ref().map(|url| &url.settings);
    if redis.ca_path.is_some() && !url.is_some_and(Settings::is_encrypted) {
        mistake(
            "REDIS_CA_PATH",
            "REDIS_URL with a URL that begins with rediss, because only TLS has certificates",
        );
    }
    let user = redis.username.is_some() || url.is_some_and(Settings::has_user);
    let password = redis.password.is_some() || url.is_some_and(Settings::has_password);
    if user && !password {
        mistake("REDIS_PASSWORD", "the password of the user");
    }
    if redis.sentinel_username.is_some() && redis.sentinel_password.is_none() {
        mistake("REDIS_SENTINEL_PASSWORD", "the password of the user");
    }
    if redis.sentinel_password.is_some() && !url.is_some_and(Settings::is_sentinel) {
        mistake(
            "REDIS_SENTINEL_PASSWORD",
            "REDIS_URL with sentinels, because nobody else is asked for it",
        );
    }
    let deadlines = &redis.deadlines;
    if deadlines.request < deadlines.attempt {
        mistake(
            "REDIS_REQUEST_TIMEOUT_MILLISECONDS",
            "at least REDIS_TIMEOUT_MILLISECONDS",
        );
    }
    found
}
