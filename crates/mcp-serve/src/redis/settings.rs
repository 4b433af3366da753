//! Where Redis is, who asks, and how long it may take.

use std::{fmt, str::FromStr, time::Duration};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::wire;
use crate::hex;

/// Where Redis is and how it is asked. `Debug` hides passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    pub(super) servers: Vec<Address>,
    pub(super) kind: Kind,
    pub(super) login: Login,
    pub(super) sentinel_login: Login,
    pub(super) tls: Option<Trust>,
    pub(super) database: u16,
    pub(super) prefix: String,
    pub(super) deadlines: Deadlines,
}

/// What stands at the addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// One server.
    Single,
    /// Sentinels that know the primary called so.
    Sentinel(String),
    /// Nodes of a cluster.
    Cluster,
}

/// A host and a port.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Address {
    /// A name or an IP address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

/// Who asks; nobody without a password.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

/// Whom the server's certificate must be from.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Trust {
    /// Those whom the machine trusts.
    Machine,
    /// Those whose certificates these are, as PEM.
    Only(Vec<u8>),
}

/// How long a command may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// One try. Default 500 ms.
    pub attempt: Duration,
    /// All tries and the pauses between them. Default 1500 ms.
    pub request: Duration,
    /// Until a connection stands, in the background. Default 1 s.
    pub connect: Duration,
}

/// What is wrong with a setting; completes "expected ...". It shows nothing of what was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(String);

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// Hosts that one URL may name.
const SERVERS_MAX: usize = 64;
const PREFIX_CHARS_MAX: usize = 64;

const FORMS: &str = "redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], \
    redis+sentinel://HOST[:PORT],.../NAME[/DATABASE] or redis+cluster://HOST[:PORT],..., and with \
    rediss in place of redis over TLS";

impl Settings {
    /// Reads a URL of one of these forms; `rediss` in place of `redis` is the same over TLS:
    ///
    /// - `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`
    /// - `redis+sentinel://[USER:PASSWORD@]HOST[:PORT],.../NAME[/DATABASE]`, where the hosts are
    ///   sentinels and NAME is what they call the primary
    /// - `redis+cluster://[USER:PASSWORD@]HOST[:PORT],...`
    ///
    /// Characters of user and password other than letters, digits and `-._~` are percent-encoded.
    pub fn parse(url: &str) -> Result<Self, SettingsError> {
        let wrong = || SettingsError(FORMS.to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let (tls, kind) = match scheme.split_once('+') {
            Some((tls, kind)) => (tls, Some(kind)),
            None => (scheme, None),
        };
        let tls = match tls {
            "redis" => None,
            "rediss" => Some(Trust::Machine),
            _ => return Err(wrong()),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Login::parse(login)?, hosts),
            None => (Login::default(), authority),
        };
        let (kind, database, port) = match kind {
            None => (Kind::Single, path, REDIS_PORT),
            Some("sentinel") => {
                let (name, database) = path.split_once('/').unwrap_or((path, ""));
                (Kind::Sentinel(primary(name)?), database, SENTINEL_PORT)
            }
            Some("cluster") if path.is_empty() => (Kind::Cluster, "", REDIS_PORT),
            Some("cluster") => {
                return Err(SettingsError(
                    "no database, because a cluster has none but 0".to_owned(),
                ));
            }
            Some(_) => return Err(wrong()),
        };
        let servers: Result<Vec<_>, _> = hosts
            .split(',')
            .map(|host| Address::parse(host, port))
            .collect();
        let servers = servers?;
        let most = if kind == Kind::Single { 1 } else { SERVERS_MAX };
        if servers.len() > most {
            return Err(SettingsError(format!(
                "at most {most} in this form ({FORMS})"
            )));
        }
        let mut settings = Self {
            servers,
            kind,
            login,
            sentinel_login: Login::default(),
            tls,
            database: 0,
            prefix: "mcp:".to_owned(),
            deadlines: Deadlines::default(),
        };
        if !database.is_empty() {
            let number = database.bytes().all(|b| b.is_ascii_digit());
            let number = number.then(|| database.parse().ok()).flatten();
            settings.database = number.ok_or_else(wrong)?;
        }
        Ok(settings)
    }

    /// One server at `host`, a name or an IP address.
    pub fn at(host: &str, port: u16) -> Result<Self, SettingsError> {
        let host = if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        // It has no port of its own, or this is no host.
        Self::parse(&format!("redis://{host}:{port}")).map_err(|_| {
            SettingsError("a host name or an IP address, without scheme or port".to_owned())
        })
    }

    /// With the database `number`; a cluster has only 0.
    pub fn with_database(mut self, number: u16) -> Result<Self, SettingsError> {
        if self.kind == Kind::Cluster && number != 0 {
            return Err(SettingsError("0, because a cluster has no other".into()));
        }
        self.database = number;
        Ok(self)
    }

    /// With the ACL user `name` in place of `default`.
    #[must_use]
    pub fn with_user(mut self, name: impl Into<String>) -> Self {
        self.login.user = Some(name.into());
        self
    }

    /// With the password of the user.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<String>) -> Self {
        self.login.password = Some(password.into());
        self
    }

    /// With a user and password for the sentinels, which have their own.
    #[must_use]
    pub fn with_sentinel_login(
        mut self,
        user: Option<String>,
        password: impl Into<String>,
    ) -> Self {
        let password = Some(password.into());
        self.sentinel_login = Login { user, password };
        self
    }

    /// With servers whose certificates are from those in `pem` and nobody else.
    pub fn with_authorities(mut self, pem: Vec<u8>) -> Result<Self, SettingsError> {
        if self.tls.is_none() {
            return Err(SettingsError("a URL that begins with rediss".to_owned()));
        }
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let readable = found.is_ok_and(|certificates| {
            let mut roots = rustls::RootCertStore::empty();
            !certificates.is_empty() && certificates.into_iter().all(|it| roots.add(it).is_ok())
        });
        if !readable {
            return Err(SettingsError("certificates as PEM".to_owned()));
        }
        self.tls = Some(Trust::Only(pem));
        Ok(self)
    }

    /// With keys that begin with `prefix`: up to 64 visible ASCII characters without `{` and `}`,
    /// which a cluster would take for a hash tag. Default `mcp:`.
    pub fn with_prefix(mut self, prefix: &str) -> Result<Self, SettingsError> {
        let plain = |b: u8| b.is_ascii_graphic() && b != b'{' && b != b'}';
        if prefix.len() > PREFIX_CHARS_MAX || !prefix.bytes().all(plain) {
            return Err(SettingsError(format!(
                "at most {PREFIX_CHARS_MAX} visible ASCII characters without {{ and }}"
            )));
        }
        prefix.clone_into(&mut self.prefix);
        Ok(self)
    }

    /// With these deadlines.
    #[must_use]
    pub fn with_deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether it is a cluster.
    pub fn is_cluster(&self) -> bool {
        self.kind == Kind::Cluster
    }

    /// Whether sentinels are asked where the primary is.
    pub fn is_sentinel(&self) -> bool {
        matches!(self.kind, Kind::Sentinel(_))
    }

    /// Whether it names a user.
    pub fn has_user(&self) -> bool {
        self.login.user.is_some()
    }

    /// Whether it has a password.
    pub fn has_password(&self) -> bool {
        self.login.password.is_some()
    }

    /// The number of the database.
    pub fn database(&self) -> u16 {
        self.database
    }

    /// Whether they fit together and the driver can use them.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        for login in [&self.login, &self.sentinel_login] {
            if login.user.is_some() && login.password.is_none() {
                return Err(SettingsError("a password beside the user".to_owned()));
            }
        }
        wire::check(self).map_err(|_| SettingsError(FORMS.to_owned()))
    }

    /// Every server once and its place among them, from the one at `first` on, of which only the
    /// remainder counts.
    pub(super) fn in_turn(&self, first: usize) -> impl Iterator<Item = (usize, &Address)> {
        let count = self.servers.len().max(1);
        let places = (0..count).map(move |at| (first % count + at) % count);
        places.filter_map(|at| Some((at, self.servers.get(at)?)))
    }

    /// Where Redis is, for the log.
    pub(super) fn places(&self) -> String {
        let places: Vec<_> = self.servers.iter().map(ToString::to_string).collect();
        places.join(",")
    }
}

impl FromStr for Settings {
    type Err = SettingsError;

    fn from_str(url: &str) -> Result<Self, SettingsError> {
        Self::parse(url)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("servers", &self.places())
            .field("kind", &self.kind)
            .field("login", &self.login)
            .field("sentinel_login", &self.sentinel_login)
            .field("tls", &self.tls.is_some())
            .field("database", &self.database)
            .field("prefix", &self.prefix)
            .field("deadlines", &self.deadlines)
            .finish()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .finish()
    }
}

impl Login {
    /// `USER`, `USER:PASSWORD` or `:PASSWORD`, percent-encoded.
    fn parse(text: &str) -> Result<Self, SettingsError> {
        let (user, password) = match text.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (text, None),
        };
        let wrong = || SettingsError("user and password percent-encoded".to_owned());
        let user = decoded(user).ok_or_else(wrong)?;
        let password = password.map(|password| decoded(password).ok_or_else(wrong));
        Ok(Self {
            user: Some(user).filter(|user| !user.is_empty()),
            password: password.transpose()?.filter(|text| !text.is_empty()),
        })
    }
}

impl Address {
    /// `HOST` or `HOST:PORT`; an IPv6 address is in brackets.
    pub(super) fn parse(text: &str, default_port: u16) -> Result<Self, SettingsError> {
        let wrong = || SettingsError(FORMS.to_owned());
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
                let is_address = host.parse::<std::net::Ipv6Addr>().is_ok();
                let port = (!port.is_empty()).then(|| port.strip_prefix(':').ok_or_else(wrong));
                (
                    is_address.then_some(host).ok_or_else(wrong)?,
                    port.transpose()?,
                )
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
        if host.is_empty() || host.len() > 253 || !host.bytes().all(plain) {
            return Err(wrong());
        }
        let port = match port {
            Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
                port.parse().ok().filter(|port| *port != 0)
            }
            Some(_) => None,
            None => Some(default_port),
        };
        Ok(Self {
            host: host.to_owned(),
            port: port.ok_or_else(wrong)?,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            attempt: Duration::from_millis(500),
            request: Duration::from_millis(1500),
            connect: Duration::from_secs(1),
        }
    }
}

/// The name that sentinels have for a primary: their own rule for it.
fn primary(name: &str) -> Result<String, SettingsError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if !name.is_empty() && name.len() <= 128 && name.bytes().all(plain) {
        return Ok(name.to_owned());
    }
    Err(SettingsError(
        "the name that the sentinels have for the primary after the hosts, such as \
         redis+sentinel://HOST,.../mymaster"
            .to_owned(),
    ))
}

/// `text` without percent-encoding; `None` when it is not well-formed.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            rest = after;
            bytes.extend(hex::read::<1>(str::from_utf8(digits).ok()?)?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
