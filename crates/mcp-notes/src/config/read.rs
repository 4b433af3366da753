//! From the environment to a [`Config`], with every mistake on the way.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use super::{
    AuthMode, ClientAuth, Config, Profile, PublicUrl, Rates, Supervision, backup, names, oauth,
    reach, redis, secret,
    table::{Setting, rows},
    value::{self, Word as _},
};

/// The variables a configuration is read from.
pub type Vars = BTreeMap<String, OsString>;

/// Where the value of each setting came from, by its name.
pub(super) type Origins = BTreeMap<&'static str, Origin>;

/// A configuration and how it came about.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Where the value of each setting came from, by its name.
    pub origins: Origins,
    /// What is odd but no mistake.
    pub warnings: Vec<String>,
}

/// Where the value of a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nothing was set.
    Default,
    /// The variable of this name.
    Variable(String),
    /// The file that the variable of this name points to.
    File(String, PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Variable(name) => write!(f, "{name}"),
            Self::File(name, path) => write!(f, "{name} ({})", path.display()),
        }
    }
}

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The setting, as it was named.
    pub setting: String,
    /// What was given; `None` when nothing was, or when it may hold a password.
    pub given: Option<String>,
    /// What would have been right, or what to do.
    pub expected: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.setting)?;
        if let Some(given) = &self.given {
            write!(f, "got {given:?}; ")?;
        }
        write!(f, "expected {}", self.expected)
    }
}

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// At least one.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.mistakes.len();
        write!(
            f,
            "{n} setting{} wrong:",
            if n == 1 { " is" } else { "s are" }
        )?;
        self.mistakes
            .iter()
            .try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl Config {
    /// The settings of this process.
    pub fn from_env() -> Result<Loaded, ConfigError> {
        let vars = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect();
        Self::from_vars(&vars)
    }

    /// The settings that `vars` make. A variable that is empty counts as not set.
    pub fn from_vars(vars: &Vars) -> Result<Loaded, ConfigError> {
        let mut reader = Reader {
            vars,
            mistakes: Vec::new(),
            warnings: Vec::new(),
        };
        names::check(vars, &mut reader.mistakes, &mut reader.warnings);
        let mut config = Self::default();
        let mut origins = BTreeMap::new();
        for row in rows() {
            let origin = reader.apply(row, &mut config);
            origins.insert(row.name, origin);
        }
        reader.check_together(&mut config, &origins);
        match Supervision::read(vars, std::process::id()) {
            Ok(supervision) => config.supervision = supervision,
            Err(mistake) => reader.mistakes.push(mistake),
        }
        if !reader.mistakes.is_empty() {
            return Err(ConfigError {
                mistakes: reader.mistakes,
            });
        }
        Ok(Loaded {
            config,
            origins,
            warnings: reader.warnings,
        })
    }
}

struct Reader<'a> {
    vars: &'a Vars,
    mistakes: Vec<Mistake>,
    warnings: Vec<String>,
}

impl Reader<'_> {
    /// Sets the field of `row` from the one place that gives it a value.
    fn apply(&mut self, row: &'static Setting, config: &mut Config) -> Origin {
        let mut given = self.given(row);
        let Some((origin, text)) = given.pop() else {
            return Origin::Default;
        };
        if let Some((other, _)) = given.iter().find(|(_, value)| *value != text) {
            self.mistake(
                row.name,
                None,
                format!("one value, but {other} and {origin} give different ones"),
            );
            return origin;
        }
        // What stands in a file is kept to the last space; only the end of its line is not meant.
        let value = match origin {
            Origin::File(..) => text.as_str(),
            _ => text.trim(),
        };
        if let Err(expected) = (row.set)(config, value) {
            let name = match &origin {
                Origin::Variable(name) | Origin::File(name, _) => name.clone(),
                Origin::Default => row.name.to_owned(),
            };
            let given = if row.secret {
                secret::shown_mistake(&text)
            } else {
                Some(text)
            };
            self.mistake(&name, given, expected);
        }
        origin
    }

    /// Every value that is given for `row`.
    fn given(&mut self, row: &'static Setting) -> Vec<(Origin, String)> {
        let mut found = Vec::new();
        for name in row.aliases.iter().chain([&row.name]) {
            if let Some(value) = self.value(name) {
                match value.to_str() {
                    Some(text) => found.push((Origin::Variable((*name).into()), text.to_owned())),
                    None => self.mistake(name, None, "UTF-8 text".into()),
                }
            }
            let file_name = format!("{name}_FILE");
            if row.secret
                && let Some(path) = self.value(&file_name).map(PathBuf::from)
            {
                match secret::read_file(&path) {
                    Ok((text, warning)) => {
                        self.warnings
                            .extend(warning.map(|warning| format!("{file_name}: {warning}")));
                        found.push((Origin::File(file_name, path), text));
                    }
                    Err(expected) => {
                        let given = Some(path.display().to_string());
                        self.mistake(&file_name, given, expected);
                    }
                }
            }
        }
        found
    }

    /// The value of a variable that is set and not empty, and that nobody made to say where a
    /// service called like a setting is: of one called `redis`, `REDIS_PORT` is an address.
    fn value(&self, name: &str) -> Option<&OsStr> {
        self.vars
            .get(name)
            .map(OsString::as_os_str)
            .filter(|value| !value.is_empty() && !names::is_of_a_service(name, value))
    }

    /// What one setting asks of another.
    fn check_together(&mut self, config: &mut Config, origins: &Origins) {
        self.mistakes.extend(reach::mistakes(config));
        self.check_plain_http(config);
        self.check_mongodb(config, origins);
        self.check_metrics(config);
        if config.auth_mode != AuthMode::Token && config.tokens_file.is_some() {
            self.mistake(
                "TOKENS_FILE",
                None,
                format!(
                    "AUTH_MODE=token, because with AUTH_MODE={} nobody reads the file",
                    config.auth_mode.as_str()
                ),
            );
        }
        let most = config.rates.most();
        for (name, count) in config.rates.counts() {
            if u64::from(count) > most {
                let expected = format!(
                    "at most {most}, {} for each second of RATE_LIMIT_WINDOW_SECONDS",
                    Rates::PER_SECOND_MAX
                );
                self.mistake(name, Some(count.to_string()), expected);
            }
        }
        self.mistakes.extend(backup::mistakes(&config.backup));
        self.check_tls(config);
        let hosts_set = ["ALLOWED_HOSTS", "MCP_ALLOWED_HOSTS"]
            .iter()
            .any(|name| self.value(name).is_some());
        if config.profile == Profile::Production && !hosts_set {
            self.mistake(
                "ALLOWED_HOSTS",
                None,
                "at least one host name, because APP_ENV is production".into(),
            );
        }
        if !hosts_set {
            allow_own_address(config);
        }
        if let Some(name) = &config.server_hostname
            && let Ok(hosts) = config.allowed_hosts.clone().with(name)
        {
            config.allowed_hosts = hosts;
        }
        if let Some(name) = config.public_url.as_ref().and_then(PublicUrl::host)
            && let Ok(hosts) = config.allowed_hosts.clone().with(&name)
        {
            config.allowed_hosts = hosts;
        }
        self.mistakes.extend(oauth::mistakes(config, origins));
        self.mistakes
            .extend(redis::mistakes(&config.redis, origins));
        if config.session_lifetime < config.session_ttl {
            self.mistake(
                "SESSION_LIFETIME",
                Some(config.session_lifetime.as_secs().to_string()),
                format!(
                    "at least SESSION_TTL, which is {}",
                    config.session_ttl.as_secs()
                ),
            );
        }
        if config.content_chars_max > config.body_bytes_max {
            self.mistake(
                "CONTENT_CHARS_MAX",
                Some(config.content_chars_max.to_string()),
                format!("at most BODY_BYTES_MAX, which is {}", config.body_bytes_max),
            );
        }
    }

    /// What is said of MongoDB is about an address of MongoDB, and agrees with it.
    fn check_mongodb(&mut self, config: &Config, origins: &Origins) {
        let store = &config.notes_store;
        if let Some(Origin::Variable(name) | Origin::File(name, _)) = origins.get("NOTES_STORE")
            && name.starts_with("MONGO")
            && !value::is_mongodb(store.as_str())
        {
            self.mistake(name, None, "mongodb://HOST/DATABASE".into());
        }
        let given = config.mongodb.database.as_deref();
        if let (Some(given), Some(named)) = (given, store.database())
            && given != named
        {
            let expected = format!("{named}, as the address of the notes store has it");
            self.mistake("MONGO_DATABASE", Some(given.to_owned()), expected);
        }
        let (least, most) = (config.mongodb.pool_size_min, config.mongodb.pool_size_max);
        if let (Some(least), Some(most)) = (least, most)
            && least > most
        {
            let expected = format!("at most MONGODB_MAX_POOL_SIZE, which is {most}");
            self.mistake("MONGODB_MIN_POOL_SIZE", Some(least.to_string()), expected);
        }
        if value::is_mongodb(store.as_str()) {
            let most = MONGODB_CONTENT_CHARS_MAX;
            if config.content_chars_max.get() > most {
                let expected = format!("at most {most}, because a document of MongoDB ends there");
                let given = Some(config.content_chars_max.to_string());
                self.mistake("CONTENT_CHARS_MAX", given, expected);
            }
        } else if given.is_some() {
            let warning = "MONGO_DATABASE does nothing, because NOTES_STORE is not MongoDB";
            self.warnings.push(warning.into());
        }
    }

    /// Metrics are read by who is meant to, and have a path of their own.
    fn check_metrics(&mut self, config: &Config) {
        if let Some(address) = config.metrics_addr
            && !address.ip().is_loopback()
            && config.metrics_token.is_none()
        {
            let expected = "a loopback address such as 127.0.0.1:9464, or METRICS_TOKEN beside it, \
                            because this address can be reached from other machines";
            self.mistake("METRICS_ADDR", Some(address.to_string()), expected.into());
        }
        if config.metrics_addr == Some(SocketAddr::new(config.host, config.port))
            && config.port != 0
        {
            let expected = "another address than HOST and PORT";
            let given = config.metrics_addr.map(|it| it.to_string());
            self.mistake("METRICS_ADDR", given, expected.into());
        }
        if config.metrics_path == config.health_check_path {
            let given = Some(config.metrics_path.clone());
            let expected = "another path than HEALTH_CHECK_PATH";
            self.mistake("METRICS_PATH", given, expected.into());
        }
    }

    /// Other machines must be able to send their credentials in TLS.
    fn check_plain_http(&mut self, config: &Config) {
        let is_open = config.auth_mode != AuthMode::None
            && !config.host.is_loopback()
            && !config.ssl.enabled
            && config.trusted_proxies.is_empty()
            && !config.allow_plain_http;
        if is_open {
            self.mistake(
                "HOST",
                Some(config.host.to_string()),
                format!(
                    "a way for credentials to travel encrypted, because AUTH_MODE={} takes them \
                     and this address can be reached from other machines: set SSL_ENABLED=true \
                     with a certificate, or TRUSTED_PROXIES to the proxy that ends TLS in front, \
                     or keep HOST=127.0.0.1; where the network itself encrypts, \
                     ALLOW_PLAIN_HTTP=true",
                    config.auth_mode.as_str()
                ),
            );
        }
    }

    /// Nothing that was meant to be encrypted travels in the clear, and no proxy is taken at its word
    /// by accident.
    fn check_tls(&mut self, config: &Config) {
        let ssl = &config.ssl;
        if config.proxy_protocol && config.trusted_proxies.is_empty() {
            let expected = "the networks of the proxies, because PROXY_PROTOCOL=on";
            self.mistake("TRUSTED_PROXIES", None, expected.into());
        }
        let of_clients = match ssl.client_auth {
            ClientAuth::None => None,
            asked => Some(format!("SSL_CLIENT_AUTH={}", asked.word())),
        };
        let enabled = || Some("SSL_ENABLED=true".to_owned());
        let paths = [
            ("SSL_KEY_PATH", &ssl.key_path, enabled()),
            ("SSL_CERT_PATH", &ssl.cert_path, enabled()),
            ("SSL_CLIENT_CA_PATH", &ssl.client_ca_path, of_clients),
        ];
        if !ssl.enabled {
            let auth = (ssl.client_auth != ClientAuth::None).then_some("SSL_CLIENT_AUTH");
            let set = paths.iter().filter(|(_, path, _)| path.is_some());
            for name in set.map(|(name, ..)| *name).chain(auth) {
                let expected = "SSL_ENABLED=true beside it, because without that the server \
                                speaks plain HTTP";
                self.mistake(name, None, expected.into());
            }
            return;
        }
        for (name, path, asked) in paths {
            match (path, asked) {
                (None, Some(asked)) => {
                    self.mistake(name, None, format!("the path of a file, because {asked}"));
                }
                (Some(_), None) => {
                    let expected = "SSL_CLIENT_AUTH=optional or required beside it, because \
                                    otherwise no client is asked for a certificate";
                    self.mistake(name, None, expected.into());
                }
                _ => {}
            }
        }
    }

    fn mistake(&mut self, setting: &str, given: Option<String>, expected: String) {
        self.mistakes.push(Mistake {
            setting: setting.into(),
            given,
            expected,
        });
    }
}

/// Whoever reaches the server under the address that it listens on is served. Other addresses of
/// the loopback network are not in the default list.
fn allow_own_address(config: &mut Config) {
    let address = match config.host {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let listed = config.allowed_hosts.to_string();
    if !listed.split(',').any(|host| host == address)
        && let Ok(hosts) = config.allowed_hosts.clone().with(&address)
    {
        config.allowed_hosts = hosts;
    }
}

/// The longest content that fits into a document of MongoDB, which has 16 MiB, with all that finds it.
const MONGODB_CONTENT_CHARS_MAX: usize = 500_000;
