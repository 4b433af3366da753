//! The table of settings: one row each.

mod audit;
mod auth;
mod backup;
mod metrics;
mod mongodb;
mod oauth;
mod proxies;
mod rates;
mod redis;
mod rules;
mod tls;

use super::{
    Config, Profile,
    value::{self, Expected, Word},
};

/// One setting.
pub struct Setting {
    /// The name of its environment variable.
    pub name: &'static str,
    /// Names that mean the same.
    pub aliases: &'static [&'static str],
    /// Under which heading the documentation has it.
    pub group: Group,
    /// What kind of value it takes, in a few words.
    pub kind: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// The value may hold a password: it is masked wherever it is shown, and may be given in a
    /// file whose path is in the variable `NAME_FILE`.
    pub secret: bool,
    /// The default in words, where it depends on other settings.
    pub(super) default_words: Option<&'static str>,
    pub(super) set: fn(&mut Config, &str) -> Result<(), Expected>,
    pub(super) show: fn(&Config) -> String,
}

/// A heading of the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Where the server listens and whom it serves.
    Server,
    /// Who may call.
    Auth,
    /// What stands between clients and the server.
    Proxies,
    /// The certificate of the server, and those of its clients.
    Tls,
    /// Where notes are and how long they may be.
    Notes,
    /// How a MongoDB database is used.
    Mongodb,
    /// Copies of everything, for when it is lost.
    Backup,
    /// Sessions of the protocol revisions before 2026-07-28.
    Sessions,
    /// What replicas share.
    Redis,
    /// Bounds on requests and connections.
    Limits,
    /// How much each caller may ask.
    Rates,
    /// What the server counts.
    Metrics,
    /// Log lines.
    Logs,
    /// The audit log.
    Audit,
}

impl Group {
    /// Every group, in the order of the documentation.
    pub const ALL: &[Self] = &[
        Self::Server,
        Self::Auth,
        Self::Tls,
        Self::Proxies,
        Self::Notes,
        Self::Mongodb,
        Self::Backup,
        Self::Sessions,
        Self::Redis,
        Self::Limits,
        Self::Rates,
        Self::Metrics,
        Self::Logs,
        Self::Audit,
    ];

    /// The heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Server => "Server",
            Self::Auth => "Callers",
            Self::Proxies => "Proxies and HTTPS",
            Self::Tls => "TLS",
            Self::Notes => "Notes",
            Self::Mongodb => "MongoDB",
            Self::Backup => "Backups",
            Self::Sessions => "Sessions",
            Self::Redis => "Redis",
            Self::Limits => "Limits",
            Self::Rates => "Rate limits",
            Self::Metrics => "Metrics",
            Self::Logs => "Logs",
            Self::Audit => "Audit log",
        }
    }
}

impl Setting {
    /// The value that `config` has, masked when it may hold a password; empty when there is none.
    pub fn shown(&self, config: &Config) -> String {
        let value = (self.show)(config);
        if self.secret {
            super::secret::masked(&value)
        } else {
            value
        }
    }

    /// The default, as the documentation has it; empty when there is none.
    pub fn default_text(&self) -> String {
        self.default_words
            .map_or_else(|| (self.show)(&Config::default()), Into::into)
    }
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Setting").field(&self.name).finish()
    }
}

/// Writes a parsed value into its field.
fn put<T>(field: &mut T, parsed: Result<T, Expected>) -> Result<(), Expected> {
    *field = parsed?;
    Ok(())
}

/// What most rows have in common.
const ROW: Setting = Setting {
    name: "",
    aliases: &[],
    group: Group::Server,
    kind: "",
    about: "",
    secret: false,
    default_words: None,
    set: |_, _| Ok(()),
    show: |_| String::new(),
};

const SERVER: &[Setting] = &[
    Setting {
        name: "APP_ENV",
        aliases: &["NODE_ENV"],
        kind: "development or production",
        about: "What kind of place this is; production logs JSON and refuses to start without \
                ALLOWED_HOSTS.",
        set: |c, v| put(&mut c.profile, Word::parse(v)),
        show: |c| c.profile.word().into(),
        ..ROW
    },
    Setting {
        name: "HOST",
        kind: "IP address",
        about: "The address to listen on.",
        set: |c, v| put(&mut c.host, value::address(v)),
        show: |c| c.host.to_string(),
        ..ROW
    },
    Setting {
        name: "PORT",
        kind: "port",
        about: "The port to listen on; 0 takes a free one and the first log line names it.",
        set: |c, v| put(&mut c.port, value::port(v)),
        show: |c| c.port.to_string(),
        ..ROW
    },
    Setting {
        name: "SERVER_HOSTNAME",
        kind: "host name",
        about: "The name under which clients reach the server; it is added to ALLOWED_HOSTS.",
        set: |c, v| put(&mut c.server_hostname, value::host_name(v).map(Some)),
        show: |c| c.server_hostname.clone().unwrap_or_default(),
        ..ROW
    },
    Setting {
        name: "PUBLIC_URL",
        kind: "URL",
        about: "The URL under which clients reach the server, such as https://notes.example.com; its \
                host is added to ALLOWED_HOSTS.",
        set: |c, v| put(&mut c.public_url, super::oauth::public_url(v).map(Some)),
        show: |c| {
            c.public_url
                .as_ref()
                .map_or_else(String::new, ToString::to_string)
        },
        ..ROW
    },
    Setting {
        name: "ALLOWED_HOSTS",
        aliases: &["MCP_ALLOWED_HOSTS"],
        kind: "comma-separated hosts, each with or without a port",
        about: "Values of the Host header that are served, any other gets 403; HOST is one of them \
                by default.",
        set: |c, v| put(&mut c.allowed_hosts, value::hosts(v)),
        show: |c| c.allowed_hosts.to_string(),
        ..ROW
    },
    Setting {
        name: "ALLOWED_ORIGINS",
        aliases: &["MCP_ALLOWED_ORIGINS"],
        kind: "comma-separated origins such as https://app.example.com",
        about: "Web pages that may call the server from a browser.",
        default_words: Some("pages of this machine, in production none"),
        set: |c, v| put(&mut c.allowed_origins, value::origins(v).map(Some)),
        show: |c| match (&c.allowed_origins, c.profile) {
            (Some(set), _) => set.text.clone(),
            (None, Profile::Development) => "pages of this machine".into(),
            (None, Profile::Production) => "none".into(),
        },
        ..ROW
    },
    Setting {
        name: "HEALTH_CHECK_PATH",
        kind: "path",
        about: "The path of the health report.",
        set: |c, v| put(&mut c.health_check_path, value::path(v)),
        show: |c| c.health_check_path.clone(),
        ..ROW
    },
];

const NOTES: &[Setting] = &[
    Setting {
        name: "NOTES_STORE",
        aliases: &["MONGODB_URI", "MONGO_URI"],
        group: Group::Notes,
        kind: "sqlite:PATH, mongodb://... or mongodb+srv://...",
        about: "Where the notes are; a file and its folder are made when they do not exist. The other \
                names are for addresses of MongoDB alone.",
        secret: true,
        set: |c, v| put(&mut c.notes_store, value::store(v)),
        show: |c| c.notes_store.as_str().into(),
        ..ROW
    },
    Setting {
        name: "TITLE_CHARS_MAX",
        group: Group::Notes,
        kind: "characters",
        about: "Longest title, in Unicode characters.",
        set: |c, v| put(&mut c.title_chars_max, value::count(v, 10_000)),
        show: |c| c.title_chars_max.to_string(),
        ..ROW
    },
    Setting {
        name: "CONTENT_CHARS_MAX",
        group: Group::Notes,
        kind: "characters",
        about: "Longest content, in Unicode characters; not more than BODY_BYTES_MAX.",
        set: |c, v| put(&mut c.content_chars_max, value::count(v, 10_000_000)),
        show: |c| c.content_chars_max.to_string(),
        ..ROW
    },
    Setting {
        name: "NOTES_CACHE_SECONDS",
        group: Group::Notes,
        kind: "seconds",
        about: "How long a REST client may reuse an answer without asking again; with 0 it \
                always asks, and gets 304 when nothing changed.",
        set: |c, v| put(&mut c.notes_cache, value::seconds(v, 0)),
        show: |c| c.notes_cache.as_secs().to_string(),
        ..ROW
    },
];

const SESSIONS: &[Setting] = &[
    Setting {
        name: "SESSION_TTL",
        group: Group::Sessions,
        kind: "seconds",
        about: "A session ends when it is not used for this long.",
        set: |c, v| put(&mut c.session_ttl, value::seconds(v, 1)),
        show: |c| c.session_ttl.as_secs().to_string(),
        ..ROW
    },
    Setting {
        name: "SESSION_LIFETIME",
        group: Group::Sessions,
        kind: "seconds",
        about: "A session ends this long after it began, used or not; at least SESSION_TTL.",
        set: |c, v| put(&mut c.session_lifetime, value::seconds(v, 1)),
        show: |c| c.session_lifetime.as_secs().to_string(),
        ..ROW
    },
    Setting {
        name: "SESSIONS_MAX",
        group: Group::Sessions,
        kind: "sessions",
        about: "How many sessions may be open; one more ends the one unused for longest, or gets \
                503 when none was unused for a minute.",
        set: |c, v| put(&mut c.sessions_max, value::count(v, 10_000_000)),
        show: |c| c.sessions_max.to_string(),
        ..ROW
    },
    Setting {
        name: "SESSIONS_PER_PRINCIPAL_MAX",
        group: Group::Sessions,
        kind: "sessions",
        about: "How many sessions one caller may have open; without authentication all callers \
                are one.",
        set: |c, v| {
            put(
                &mut c.sessions_per_principal_max,
                value::count(v, 10_000_000),
            )
        },
        show: |c| c.sessions_per_principal_max.to_string(),
        ..ROW
    },
];

const LIMITS: &[Setting] = &[
    Setting {
        name: "BODY_BYTES_MAX",
        group: Group::Limits,
        kind: "bytes",
        about: "Largest body of a request; a larger one gets 413.",
        set: |c, v| put(&mut c.body_bytes_max, value::count(v, 1 << 30)),
        show: |c| c.body_bytes_max.to_string(),
        ..ROW
    },
    Setting {
        name: "CONNECTIONS_MAX",
        group: Group::Limits,
        kind: "connections",
        about: "How many connections may be open at once; one more gets 503.",
        set: |c, v| put(&mut c.connections_max, value::count(v, 1_000_000)),
        show: |c| c.connections_max.to_string(),
        ..ROW
    },
    Setting {
        name: "HEADER_TIMEOUT_SECONDS",
        group: Group::Limits,
        kind: "seconds",
        about: "The time a client has to send the head of a request.",
        set: |c, v| put(&mut c.header_timeout, value::seconds(v, 1)),
        show: |c| c.header_timeout.as_secs().to_string(),
        ..ROW
    },
    Setting {
        name: "IDLE_TIMEOUT_SECONDS",
        group: Group::Limits,
        kind: "seconds",
        about: "A connection without a request is closed after this time.",
        set: |c, v| put(&mut c.idle_timeout, value::seconds(v, 1)),
        show: |c| c.idle_timeout.as_secs().to_string(),
        ..ROW
    },
    Setting {
        name: "REQUEST_TIMEOUT_SECONDS",
        group: Group::Limits,
        kind: "seconds",
        about: "The time a request has to be answered.",
        set: |c, v| put(&mut c.request_timeout, value::seconds(v, 1)),
        show: |c| c.request_timeout.as_secs().to_string(),
        ..ROW
    },
    Setting {
        name: "STREAM_TIMEOUT_SECONDS",
        group: Group::Limits,
        kind: "seconds",
        about: "The time a call has whose answer streams.",
        set: |c, v| put(&mut c.stream_timeout, value::seconds(v, 1)),
        show: |c| c.stream_timeout.as_secs().to_string(),
        ..ROW
    },
    Setting {
        name: "KEEP_ALIVE_SECONDS",
        group: Group::Limits,
        kind: "seconds",
        about: "Silence on a stream after which a comment keeps proxies from closing it.",
        set: |c, v| put(&mut c.keep_alive, value::seconds(v, 1)),
        show: |c| c.keep_alive.as_secs().to_string(),
        ..ROW
    },
    Setting {
        name: "DRAIN_SECONDS",
        group: Group::Limits,
        kind: "seconds",
        about: "The time that running calls have to end when the server is told to stop.",
        set: |c, v| put(&mut c.drain, value::seconds(v, 1)),
        show: |c| c.drain.as_secs().to_string(),
        ..ROW
    },
];

const LOGS: &[Setting] = &[
    Setting {
        name: "LOG_LEVEL",
        group: Group::Logs,
        kind: "fatal, error, warn, info, debug or trace",
        about: "The least severe level that is logged.",
        set: |c, v| put(&mut c.log_level, Word::parse(v)),
        show: |c| c.log_level.word().into(),
        ..ROW
    },
    Setting {
        name: "LOG_FORMAT",
        group: Group::Logs,
        kind: "pretty or json",
        about: "How log lines look.",
        default_words: Some("pretty, in production json"),
        set: |c, v| put(&mut c.log_format, Word::parse(v).map(Some)),
        show: |c| c.log_format().word().into(),
        ..ROW
    },
];

/// Every setting there is, in the order of the documentation.
pub const SETTINGS: &[&[Setting]] = &[
    SERVER,
    auth::AUTH,
    tls::TLS,
    proxies::PROXIES,
    oauth::OAUTH,
    NOTES,
    mongodb::MONGODB,
    backup::BACKUP,
    rules::RULES,
    SESSIONS,
    redis::REDIS,
    LIMITS,
    rates::RATES,
    metrics::METRICS,
    LOGS,
    audit::AUDIT,
];

/// The rows one after another.
pub(super) fn rows() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().copied().flatten()
}
