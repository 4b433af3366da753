//! The settings: one table, one reader of the environment, all mistakes at once.
//!
//! A setting is a row of [`SETTINGS`] and a field of [`Config`]; its documentation is generated
//! from the row.

mod backup;
mod names;
mod oauth;
mod rates;
mod reach;
mod read;
mod redis;
mod report;
mod secret;
mod ssl;
mod supervision;
mod table;
mod value;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::PathBuf,
    time::Duration,
};

use mcp_serve::{
    client::TrustedProxies,
    config::{AllowedHosts, AllowedOrigins},
};
use notes::store::MongoOptions;

use crate::{audit::Destination, rules::Rules};

pub use backup::{BackupSettings, Schedule};
pub use oauth::{OAuthSettings, PublicUrl};
pub use rates::Rates;
pub use read::{ConfigError, Loaded, Mistake, Origin, Vars};
pub use redis::{RedisSettings, RedisUrl};
pub use report::{json, markdown, text};
pub use secret::Secret;
pub use ssl::{ClientAuth, Ssl};
pub use supervision::Supervision;
pub use table::{Group, SETTINGS, Setting};

/// Every setting of the server, parsed and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own, and no state of another"
)]
pub struct Config {
    /// What kind of place this is; production asks for more and logs for machines.
    pub profile: Profile,
    /// The address to listen on.
    pub host: IpAddr,
    /// The port to listen on; 0 takes a free one.
    pub port: u16,
    /// Whether and how the server speaks TLS.
    pub ssl: Ssl,
    /// The name under which clients reach the server.
    pub server_hostname: Option<String>,
    /// The URL under which clients reach the server.
    pub public_url: Option<PublicUrl>,
    /// Hosts that a request may name.
    pub allowed_hosts: AllowedHosts,
    /// Origins whose pages may call; `None` leaves it to the profile.
    pub allowed_origins: Option<Origins>,
    /// How callers prove who they are.
    pub auth_mode: AuthMode,
    /// Whether callers that nobody asks who they are may come through a proxy.
    pub allow_anonymous: bool,
    /// The file that lists the tokens; `None` when they are kept beside the notes.
    pub tokens_file: Option<PathBuf>,
    /// The proxies that are believed when they say for whom they ask.
    pub trusted_proxies: TrustedProxies,
    /// Whether their connections begin with a header that names the client.
    pub proxy_protocol: bool,
    /// How long browsers shall use HTTPS alone; zero does not tell them.
    pub hsts: Duration,
    /// Whether credentials are taken over plain HTTP from other machines.
    pub allow_plain_http: bool,
    /// Whose access tokens are taken.
    pub oauth: OAuthSettings,
    /// The path of the health report.
    pub health_check_path: String,
    /// The path of the metrics.
    pub metrics_path: String,
    /// Where the metrics are told, if not where everything else is.
    pub metrics_addr: Option<SocketAddr>,
    /// What a reader of the metrics must present.
    pub metrics_token: Option<Secret>,
    /// Where the notes are.
    pub notes_store: StoreUrl,
    /// How they are reached there, if that is MongoDB.
    pub mongodb: MongoOptions,
    /// How they are kept safe.
    pub backup: BackupSettings,
    /// Longest title, in Unicode scalar values.
    pub title_chars_max: NonZeroUsize,
    /// Longest content, in Unicode scalar values.
    pub content_chars_max: NonZeroUsize,
    /// Whose notes a caller reaches, and what can be done with them.
    pub rules: Rules,
    /// How long a REST client may show a note or a list without asking again.
    pub notes_cache: Duration,
    /// A session ends when it is not used for so long.
    pub session_ttl: Duration,
    /// A session ends so long after it began, used or not.
    pub session_lifetime: Duration,
    /// How many sessions may be open.
    pub sessions_max: NonZeroUsize,
    /// How many sessions one caller may have open.
    pub sessions_per_principal_max: NonZeroUsize,
    /// Where Redis is, and how it is used.
    pub redis: RedisSettings,
    /// Largest body of a request, in bytes.
    pub body_bytes_max: NonZeroUsize,
    /// How many connections may be open.
    pub connections_max: NonZeroUsize,
    /// How much each caller may ask.
    pub rates: Rates,
    /// How many requests of one caller may be worked on at the same time.
    pub calls_per_caller_max: NonZeroUsize,
    /// The time a request has to be complete up to its body.
    pub header_timeout: Duration,
    /// A connection without a request is closed after this time.
    pub idle_timeout: Duration,
    /// The time a request has to be answered.
    pub request_timeout: Duration,
    /// The time a request has whose answer streams.
    pub stream_timeout: Duration,
    /// Silence on a stream after which a comment is sent.
    pub keep_alive: Duration,
    /// The time that running calls have to end when the server stops.
    pub drain: Duration,
    /// The least severe level that is logged.
    pub log_level: LogLevel,
    /// How log lines look; `None` leaves it to the profile.
    pub log_format: Option<LogFormat>,
    /// Where the audit log goes; `None` leaves it to the authentication.
    pub audit_log: Option<Destination>,
    /// Whether reading that succeeds leaves a line in the audit log.
    pub audit_reads: bool,
    /// Who started the server and wants to hear from it.
    pub supervision: Supervision,
}

/// What kind of place the server runs in (`APP_ENV`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// One person's machine.
    Development,
    /// Anything that others rely on.
    Production,
}

/// How callers prove who they are (`AUTH_MODE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// Not at all, so only loopback may reach the server.
    None,
    /// With a token that `mcp-notes token create` made.
    Token,
    /// With an access token of an OAuth authorization server.
    OAuth,
}

impl AuthMode {
    /// The word for it in the setting.
    pub fn as_str(self) -> &'static str {
        value::Word::word(self)
    }
}

/// The least severe level that is logged (`LOG_LEVEL`), the most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What ends the process. There is no finer level in the log, so errors are shown with it.
    Fatal,
    /// What failed and needs somebody.
    Error,
    /// What may need somebody soon.
    Warn,
    /// What an operator wants to see of a healthy server.
    Info,
    /// What helps to find a fault.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The word for it in the setting.
    pub fn as_str(self) -> &'static str {
        value::Word::word(self)
    }
}

/// How log lines look (`LOG_FORMAT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object per line.
    Json,
}

/// Where the notes are (`NOTES_STORE`), in the form that [`notes::open_with`] takes.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl(String);

impl StoreUrl {
    /// Takes the address of a store, or says what would be one.
    pub fn parse(text: &str) -> Result<Self, String> {
        value::store(text).map_err(|expected| format!("expected {expected}"))
    }

    /// The address, with its password if it has one.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The database that an address of MongoDB names.
    fn database(&self) -> Option<&str> {
        let (_, rest) = self
            .0
            .split_once("://")
            .filter(|_| value::is_mongodb(&self.0))?;
        let place = rest.split_once('?').map_or(rest, |(place, _)| place);
        let (_, name) = place.split_once('/')?;
        Some(name).filter(|name| !name.is_empty())
    }
}

impl fmt::Debug for StoreUrl {
    /// A password in the address is not printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&secret::masked(&self.0))
    }
}

/// The web pages that may call (`ALLOWED_ORIGINS`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins {
    /// The list that is enforced.
    pub allowed: AllowedOrigins,
    text: String,
}

impl Default for Config {
    /// What holds when nothing is set: one person, one machine.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        let count = |n: usize| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
        Self {
            profile: Profile::Development,
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 3000,
            ssl: Ssl::default(),
            server_hostname: None,
            public_url: None,
            allowed_hosts: AllowedHosts::loopback(),
            allowed_origins: None,
            auth_mode: AuthMode::None,
            allow_anonymous: false,
            tokens_file: None,
            trusted_proxies: TrustedProxies::none(),
            proxy_protocol: false,
            hsts: seconds(365 * 24 * 3600),
            allow_plain_http: false,
            oauth: OAuthSettings::default(),
            health_check_path: "/health".into(),
            metrics_path: "/metrics".into(),
            metrics_addr: None,
            metrics_token: None,
            notes_store: StoreUrl("sqlite:data/notes.db".into()),
            mongodb: MongoOptions::default(),
            backup: BackupSettings::default(),
            title_chars_max: count(255),
            content_chars_max: count(10_000),
            rules: Rules::default(),
            notes_cache: Duration::ZERO,
            session_ttl: seconds(3600),
            session_lifetime: seconds(24 * 3600),
            sessions_max: count(10_000),
            sessions_per_principal_max: count(1_000),
            redis: RedisSettings::default(),
            body_bytes_max: count(1 << 20),
            connections_max: count(10_000),
            rates: Rates::default(),
            calls_per_caller_max: count(64),
            header_timeout: seconds(10),
            idle_timeout: seconds(75),
            request_timeout: seconds(60),
            stream_timeout: seconds(300),
            keep_alive: seconds(15),
            drain: seconds(25),
            log_level: LogLevel::Info,
            log_format: None,
            audit_log: None,
            audit_reads: true,
            supervision: Supervision::default(),
        }
    }
}

/// The audit log where none is named.
const AUDIT_FILE: &str = "data/audit.jsonl";

impl Config {
    /// How log lines look: as set, otherwise what the profile asks for.
    pub fn log_format(&self) -> LogFormat {
        self.log_format.unwrap_or(match self.profile {
            Profile::Development => LogFormat::Pretty,
            Profile::Production => LogFormat::Json,
        })
    }

    /// Where the audit log goes: as set, otherwise into the folder `data` where the server runs, and
    /// nowhere when nobody is asked who they are.
    pub fn audit_log(&self) -> Destination {
        self.audit_log
            .clone()
            .unwrap_or_else(|| match self.auth_mode {
                AuthMode::None => Destination::Off,
                _ => Destination::File(AUDIT_FILE.into()),
            })
    }

    /// Where commands that change who has access say so: as set, otherwise beside the notes. Unlike
    /// requests they need no authentication to be somebody's deed.
    pub fn audit_log_of_commands(&self) -> Destination {
        let set = self.audit_log.clone();
        set.unwrap_or_else(|| Destination::File(AUDIT_FILE.into()))
    }

    /// The web pages that may call: as set, otherwise those of this machine, and none in
    /// production.
    pub fn allowed_origins(&self) -> AllowedOrigins {
        match (&self.allowed_origins, self.profile) {
            (Some(set), _) => set.allowed.clone(),
            (None, Profile::Development) => AllowedOrigins::loopback(),
            (None, Profile::Production) => AllowedOrigins::none(),
        }
    }
}
