//! Host names as requests and settings write them, and the list of those that are served.

use std::{fmt, net::Ipv6Addr};

/// The hosts that a request may name (`Host`, `:authority`, absolute target): the defence against
/// DNS rebinding. Never empty; the default is loopback.
///
/// An entry without a port stands for every port. An entry with one stands for that port, and with
/// 80 or 443 also for a request that names none, as browsers leave those out.
#[derive(Clone, PartialEq, Eq)]
pub struct AllowedHosts(Vec<Host>);

impl AllowedHosts {
    /// `localhost`, `127.0.0.1` and `[::1]`, each with any port.
    pub fn loopback() -> Self {
        Self(vec![
            Host {
                name: Name::Dns("localhost".into()),
                port: None,
            },
            Host {
                name: Name::Dns("127.0.0.1".into()),
                port: None,
            },
            Host {
                name: Name::V6(Ipv6Addr::LOCALHOST),
                port: None,
            },
        ])
    }

    /// Hosts separated by commas; spaces around them and empty places do not count.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        Self::from_entries(text.split(','))
    }

    /// The given hosts; spaces around them and empty entries do not count.
    pub fn from_entries<I>(entries: I) -> Result<Self, HostError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut hosts = Vec::new();
        for entry in entries {
            let entry = entry.as_ref().trim();
            if !entry.is_empty() {
                hosts.push(parse_entry(entry)?);
            }
        }
        if hosts.is_empty() {
            Err(HostError::Empty)
        } else {
            Ok(Self(hosts))
        }
    }

    /// This list and one more host.
    pub fn with(mut self, entry: &str) -> Result<Self, HostError> {
        self.0.push(parse_entry(entry.trim())?);
        Ok(self)
    }

    /// Whether the list has `host`.
    pub(crate) fn contains(&self, host: &HostRef<'_>) -> bool {
        self.0.iter().any(|entry| {
            entry.name.is(&host.name)
                && match entry.port {
                    None => true,
                    Some(port) => {
                        host.port == Some(port) || (host.port.is_none() && matches!(port, 80 | 443))
                    }
                }
        })
    }
}

impl Default for AllowedHosts {
    fn default() -> Self {
        Self::loopback()
    }
}

impl fmt::Display for AllowedHosts {
    /// The form that [`AllowedHosts::parse`] takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, host) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match &host.name {
                Name::Dns(name) => f.write_str(name)?,
                Name::V6(address) => write!(f, "[{address}]")?,
            }
            if let Some(port) = host.port {
                write!(f, ":{port}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for AllowedHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AllowedHosts({self})")
    }
}

/// Why a list of hosts was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// No entry at all.
    #[error("the list of allowed hosts is empty; name at least one host")]
    Empty,
    /// `*`, which would switch the check off.
    #[error("\"{0}\" would allow every host; name the hosts that clients use")]
    Wildcard(String),
    /// A range of addresses.
    #[error(
        "\"{0}\" is a range of addresses, not a host that a client names; ranges of proxies belong \
         in TRUSTED_PROXIES"
    )]
    Range(String),
    /// Not a host with an optional port.
    #[error(
        "\"{0}\" is not a host; write a name, an IPv4 address or an IPv6 address in brackets, \
             without scheme and path, with a port if only that port is meant"
    )]
    Malformed(String),
}

#[derive(Clone, PartialEq, Eq)]
struct Host {
    name: Name,
    port: Option<u16>,
}

#[derive(Clone, PartialEq, Eq)]
enum Name {
    Dns(Box<str>),
    V6(Ipv6Addr),
}

impl Name {
    fn is(&self, other: &NameRef<'_>) -> bool {
        match (self, other) {
            (Self::Dns(own), NameRef::Dns(theirs)) => own.eq_ignore_ascii_case(theirs),
            (Self::V6(own), NameRef::V6(theirs)) => own == theirs,
            _ => false,
        }
    }
}

/// A host with an optional port, as a request names it.
#[derive(Clone, Copy)]
pub(crate) struct HostRef<'a> {
    pub(super) name: NameRef<'a>,
    pub(super) port: Option<u16>,
}

/// The name in a [`HostRef`]: an IPv4 address is one like any other.
#[derive(Clone, Copy)]
pub(crate) enum NameRef<'a> {
    Dns(&'a str),
    V6(Ipv6Addr),
}

impl<'a> HostRef<'a> {
    /// `name`, `name:port`, `[v6]` or `[v6]:port` (RFC 9110 section 7.2); `None` for anything else,
    /// userinfo included. One trailing dot of the name does not count.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (name, port) = if let Some(rest) = text.strip_prefix('[') {
            let (address, after) = rest.split_once(']')?;
            let port = match after.strip_prefix(':') {
                Some(port) => Some(port),
                None if after.is_empty() => None,
                None => return None,
            };
            (NameRef::V6(address.parse().ok()?), port)
        } else {
            let (name, port) = match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            };
            (NameRef::Dns(dns_name(name)?), port)
        };
        let port = match port {
            None => None,
            Some(digits) => Some(parse_port(digits)?),
        };
        Some(Self { name, port })
    }

    /// Whether both name the same host and port.
    pub(crate) fn same(&self, other: &HostRef<'_>) -> bool {
        self.port == other.port && self.same_name(other)
    }

    pub(super) fn same_name(&self, other: &HostRef<'_>) -> bool {
        match (&self.name, &other.name) {
            (NameRef::Dns(own), NameRef::Dns(theirs)) => own.eq_ignore_ascii_case(theirs),
            (NameRef::V6(own), NameRef::V6(theirs)) => own == theirs,
            _ => false,
        }
    }

    /// Whether this is `localhost`, `127.0.0.1` or `[::1]`.
    pub(super) fn is_loopback(&self) -> bool {
        match self.name {
            NameRef::Dns(name) => name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1",
            NameRef::V6(address) => address == Ipv6Addr::LOCALHOST,
        }
    }
}

fn dns_name(text: &str) -> Option<&str> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let fits = !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        });
    fits.then_some(name)
}

fn parse_port(digits: &str) -> Option<u16> {
    // `u16::from_str` takes a sign.
    digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse().ok())
        .flatten()
}

fn parse_entry(entry: &str) -> Result<Host, HostError> {
    if entry.contains('*') {
        return Err(HostError::Wildcard(entry.to_owned()));
    }
    if let Some((address, bits)) = entry.split_once('/')
        && address.parse::<std::net::IpAddr>().is_ok()
        && bits.parse::<u8>().is_ok()
    {
        return Err(HostError::Range(entry.to_owned()));
    }
    let host = HostRef::parse(entry).ok_or_else(|| HostError::Malformed(entry.to_owned()))?;
    let name = match host.name {
        NameRef::Dns(name) => Name::Dns(name.to_ascii_lowercase().into()),
        NameRef::V6(address) => Name::V6(address),
    };
    Ok(Host {
        name,
        port: host.port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(list: &str, host: &str) -> bool {
        let list = AllowedHosts::parse(list).unwrap();
        HostRef::parse(host).is_some_and(|host| list.contains(&host))
    }

    #[test]
    fn an_entry_without_a_port_takes_every_port_and_any_case() {
        for host in [
            "api.example.com",
            "API.Example.com",
            "api.example.com:443",
            "api.example.com.",
        ] {
            assert!(allows("api.example.com", host), "{host}");
        }
        for host in [
            "example.com",
            "x.api.example.com",
            "api.example.com.evil",
            "api.example.comm",
        ] {
            assert!(!allows("api.example.com", host), "{host}");
        }
    }

    #[test]
    fn an_entry_with_a_port_takes_that_port_alone() {
        assert!(allows("example.com:3000", "example.com:3000"));
        assert!(!allows("example.com:3000", "example.com:3001"));
        assert!(!allows("example.com:3000", "example.com"));
        assert!(allows("example.com:443", "example.com"));
    }

    #[test]
    fn loopback_is_three_names_and_no_trick_with_numbers() {
        let list = AllowedHosts::loopback();
        let allows = |host| HostRef::parse(host).is_some_and(|host| list.contains(&host));
        for host in [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1:65535",
            "[::1]",
            "[0:0:0:0:0:0:0:1]:80",
        ] {
            assert!(allows(host), "{host}");
        }
        for host in [
            "127.1",
            "0x7f.0.0.1",
            "2130706433",
            "127.0.0.2",
            "[::]",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
            "localhost.evil.example",
            "evil.example",
            "[::1",
            "[::1]x",
            "[::1%25lo]",
        ] {
            assert!(!allows(host), "{host}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            ".",
            "a..b",
            "user@localhost",
            "localhost:",
            "localhost:x",
            "localhost:+80",
            "localhost:65536",
            "localhost:80:80",
            "local host",
            "localhost/",
            "::1",
            "höst",
            "http://localhost",
            "localhost\\",
        ] {
            assert!(HostRef::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_list_cannot_be_empty_open_or_a_range() {
        assert_eq!(AllowedHosts::parse(""), Err(HostError::Empty));
        assert_eq!(AllowedHosts::parse(" , ,"), Err(HostError::Empty));
        assert!(matches!(
            AllowedHosts::parse("a,*"),
            Err(HostError::Wildcard(_))
        ));
        assert!(matches!(
            AllowedHosts::parse("*.example.com"),
            Err(HostError::Wildcard(_))
        ));
        for range in ["10.0.0.0/8", "fd00::/8"] {
            let error = AllowedHosts::parse(range).unwrap_err();
            assert!(error.to_string().contains("TRUSTED_PROXIES"), "{error}");
        }
        assert!(matches!(
            AllowedHosts::parse("https://example.com"),
            Err(HostError::Malformed(_))
        ));
    }

    #[test]
    fn a_list_prints_as_it_is_parsed() {
        let list = AllowedHosts::parse(" Example.com:8080 ,, [::1]:80, 10.0.0.5 ").unwrap();
        assert_eq!(list.to_string(), "example.com:8080,[::1]:80,10.0.0.5");
        assert_eq!(AllowedHosts::parse(&list.to_string()), Ok(list));
    }
}
