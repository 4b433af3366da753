//! From the text of a setting to a value that cannot be wrong, and back to text.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::PathBuf,
    time::Duration,
};

use mcp_serve::{
    client::TrustedProxies,
    config::{AllowedHosts, AllowedOrigins},
    redis,
};

use crate::{action::Action, rules::Isolation};

use super::{AuthMode, ClientAuth, LogFormat, LogLevel, Origins, Profile, Secret, StoreUrl};
use crate::audit::Destination;

/// What was expected instead of the text; completes "expected ...".
pub(super) type Expected = String;

/// One day; longer sessions and waits than thirty of them are mistakes.
const DAY_SECONDS: u64 = 24 * 3600;

/// Paths where the server answers its other probes, whatever the path of the health report.
const OTHER_PROBES: [&str; 4] = [
    "/health/live",
    "/health/liveness",
    "/health/ready",
    "/health/readiness",
];

/// A port number; 0 means any free one.
pub(super) fn port(text: &str) -> Result<u16, Expected> {
    digits(text)
        .and_then(|n| u16::try_from(n).ok())
        .ok_or_else(|| "a port, 0 to 65535 (0 takes a free one)".into())
}

/// An IP address, or `localhost`.
pub(super) fn address(text: &str) -> Result<IpAddr, Expected> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    text.parse()
        .map_err(|_| "an IP address such as 127.0.0.1 or ::1".into())
}

/// An IP address and a port; 0 means any free one.
pub(super) fn socket(text: &str) -> Result<SocketAddr, Expected> {
    text.parse()
        .map_err(|_| "an IP address and a port such as 127.0.0.1:9464 or [::1]:9464".into())
}

/// What can stand behind `Bearer` (RFC 6750 section 2.1), and is too long to be guessed.
pub(super) fn bearer(text: &str) -> Result<Secret, Expected> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if (16..=512).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(Secret::new(text));
    }
    Err("16 to 512 letters, digits and -._~+/=".into())
}

/// A whole number of seconds, from `min` to thirty days.
pub(super) fn seconds(text: &str, min: u64) -> Result<Duration, Expected> {
    let max = 30 * DAY_SECONDS;
    digits(text)
        .filter(|n| (min..=max).contains(n))
        .map(Duration::from_secs)
        .ok_or_else(|| format!("whole seconds, {min} to {max}, digits only (one hour is 3600)"))
}

/// A whole number of milliseconds, from ten to a minute.
pub(super) fn milliseconds(text: &str) -> Result<Duration, Expected> {
    digits(text)
        .filter(|n| (10..=60_000).contains(n))
        .map(Duration::from_millis)
        .ok_or_else(|| "whole milliseconds, 10 to 60000, digits only (one second is 1000)".into())
}

/// The port of another server.
pub(super) fn port_of_server(text: &str) -> Result<u16, Expected> {
    let port = digits(text).and_then(|n| u16::try_from(n).ok());
    port.filter(|port| *port != 0)
        .ok_or_else(|| "a port, 1 to 65535".into())
}

/// The host of a Redis.
pub(super) fn redis_host(text: &str) -> Result<String, Expected> {
    let found = redis::Settings::at(text, 1).map(|_| text.to_owned());
    found.map_err(|error| error.to_string())
}

/// The number of a database of Redis.
pub(super) fn database(text: &str) -> Result<u16, Expected> {
    digits(text)
        .and_then(|n| u16::try_from(n).ok())
        .ok_or_else(|| "the number of a database, 0 to 65535, digits only".into())
}

/// What the names of keys begin with.
pub(super) fn key_prefix(text: &str) -> Result<String, Expected> {
    let any = redis::Settings::at("localhost", 1).and_then(|any| any.with_prefix(text));
    any.map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}

/// A count from 1 to `max`.
pub(super) fn count(text: &str, max: usize) -> Result<NonZeroUsize, Expected> {
    digits(text)
        .and_then(|n| usize::try_from(n).ok())
        .filter(|n| *n <= max)
        .and_then(NonZeroUsize::new)
        .ok_or_else(|| format!("a whole number, 1 to {max}, digits only"))
}

/// A count of requests per window; 0 is no limit.
pub(super) fn rate(text: &str) -> Result<u32, Expected> {
    digits(text)
        .and_then(|n| u32::try_from(n).ok())
        .ok_or_else(|| "a whole number, 0 for no limit, digits only".into())
}

/// Hosts separated by commas.
pub(super) fn hosts(text: &str) -> Result<AllowedHosts, Expected> {
    AllowedHosts::parse(text).map_err(|error| format!("hosts separated by commas: {error}"))
}

/// Networks and addresses of proxies separated by commas.
pub(super) fn proxies(text: &str) -> Result<TrustedProxies, Expected> {
    TrustedProxies::parse(text)
        .map_err(|error| format!("networks or addresses separated by commas: {error}"))
}

/// Seconds for which HTTPS is promised: none, or up to ten years.
pub(super) fn hsts(text: &str) -> Result<Duration, Expected> {
    let max = 3650 * DAY_SECONDS;
    digits(text)
        .filter(|n| *n <= max)
        .map(Duration::from_secs)
        .ok_or_else(|| format!("whole seconds, 0 to {max}, digits only (one year is 31536000)"))
}

/// Origins separated by commas.
pub(super) fn origins(text: &str) -> Result<Origins, Expected> {
    let allowed = AllowedOrigins::parse(text)
        .map_err(|error| format!("origins separated by commas: {error}"))?;
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    Ok(Origins {
        allowed,
        text: parts.collect::<Vec<_>>().join(","),
    })
}

/// An absolute path of the server that clashes with none of its own.
pub(super) fn path(text: &str) -> Result<String, Expected> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-_.".contains(&b);
    let below_own = ["/mcp", "/api", "/livez", "/readyz"]
        .iter()
        .any(|own| text == *own || text.starts_with(&format!("{own}/")));
    let taken = below_own || OTHER_PROBES.contains(&text);
    let fits = text.len() > 1
        && text.starts_with('/')
        && !text.ends_with('/')
        && !text.contains("//")
        && text.bytes().all(plain);
    if fits && !taken {
        return Ok(text.to_owned());
    }
    Err(format!(
        "a path such as /health: letters, digits and -_./, not below /mcp, /api, /livez or \
         /readyz, and none of {}",
        OTHER_PROBES.join(", ")
    ))
}

/// A host name without scheme, port or path.
pub(super) fn host_name(text: &str) -> Result<String, Expected> {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if text.len() <= 253 && text.split('.').all(label) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("a host name such as notes.example.com, without scheme, port or path".into())
}

/// The path of a file.
pub(super) fn file(text: &str) -> Result<PathBuf, Expected> {
    if text.ends_with('/') {
        return Err("the path of a file, not of a folder".into());
    }
    Ok(text.into())
}

/// The path of a folder.
pub(super) fn folder(text: &str) -> Result<PathBuf, Expected> {
    if text.trim() != text {
        return Err("the path of a folder without spaces around it".into());
    }
    Ok(text.into())
}

/// `off`, `stdout` or the path of a file.
pub(super) fn audit_log(text: &str) -> Result<Destination, Expected> {
    match text {
        "off" => Ok(Destination::Off),
        "stdout" => Ok(Destination::Stdout),
        path => file(path)
            .map(Destination::File)
            .map_err(|expected| format!("off, stdout or {expected}")),
    }
}

/// `on` or `off`.
pub(super) fn on_or_off(text: &str) -> Result<bool, Expected> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("on or off".into()),
    }
}

/// `sqlite:PATH` or the address of a MongoDB database.
pub(super) fn store(text: &str) -> Result<StoreUrl, Expected> {
    let is_mongodb = is_mongodb(text);
    let fits = match text.strip_prefix("sqlite:") {
        Some(path) => !path.is_empty() && !path.ends_with('/') && path.trim() == path,
        None => is_mongodb,
    };
    if !fits {
        return Err(
            "sqlite:PATH, for example sqlite:data/notes.db, or mongodb://HOST/DATABASE".into(),
        );
    }
    match notes::store::check_address(text) {
        Ok(()) => Ok(StoreUrl(text.to_owned())),
        Err(error) => Err(format!("another address: {error}")),
    }
}

/// Whether `text` has the scheme of a MongoDB address.
pub(super) fn is_mongodb(text: &str) -> bool {
    text.starts_with("mongodb://") || text.starts_with("mongodb+srv://")
}

/// The name of a MongoDB database.
pub(super) fn database_name(text: &str) -> Result<String, Expected> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if !text.is_empty() && text.len() <= 63 && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err("the name of a database: 1 to 63 letters, digits, _ and -".into())
}

/// Actions, by the names of their tools, separated by commas.
pub(super) fn actions(text: &str) -> Result<BTreeSet<Action>, Expected> {
    let names = text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    let actions: Option<_> = names.map(Action::of_tool).collect();
    actions.ok_or_else(|| {
        let known = Action::ALL.map(Action::tool).join(", ");
        format!("tools separated by commas, each one of {known}")
    })
}

/// One of a few words.
pub(super) trait Word: Sized + Copy + PartialEq + 'static {
    /// Every word with what it means.
    const WORDS: &'static [(&'static str, Self)];

    /// The value that `text` names.
    fn parse(text: &str) -> Result<Self, Expected> {
        Self::WORDS
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| *value)
            .ok_or_else(|| {
                let words: Vec<_> = Self::WORDS.iter().map(|(word, _)| *word).collect();
                match words.as_slice() {
                    [only] => (*only).to_owned(),
                    _ => format!("one of {}", words.join(", ")),
                }
            })
    }

    /// The word that names the value.
    fn word(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(_, value)| *value == self)
            .map_or("", |(word, _)| word)
    }
}

impl Word for Profile {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("development", Self::Development),
        ("production", Self::Production),
    ];
}

impl Word for AuthMode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("token", Self::Token),
        ("oauth", Self::OAuth),
    ];
}

impl Word for Isolation {
    const WORDS: &'static [(&'static str, Self)] =
        &[("owner", Self::Owner), ("shared", Self::Shared)];
}

impl Word for bool {
    const WORDS: &'static [(&'static str, Self)] = &[("true", true), ("false", false)];
}

impl Word for ClientAuth {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("optional", Self::Optional),
        ("required", Self::Required),
    ];
}

impl Word for LogLevel {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("fatal", Self::Fatal),
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

impl Word for LogFormat {
    const WORDS: &'static [(&'static str, Self)] =
        &[("pretty", Self::Pretty), ("json", Self::Json)];
}

/// A number written in digits and nothing else: no sign, no space, no unit.
fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}
