//! Web origins as browsers send them, and the list of those whose pages may call.

use std::fmt;

use super::host::HostRef;

/// The origins (RFC 6454) whose pages may call the server. A request that has no `Origin` does not
/// come from a page and passes.
///
/// Pages of a listed origin may send credentials; those of loopback, allowed by default without
/// being listed, may not. `*` and `null` cannot be allowed.
#[derive(Clone, PartialEq, Eq)]
pub struct AllowedOrigins {
    listed: Vec<Origin>,
    loopback: bool,
}

impl AllowedOrigins {
    /// Pages of `localhost`, `127.0.0.1` and `[::1]` over http or https, any port, without
    /// credentials.
    pub fn loopback() -> Self {
        Self {
            listed: Vec::new(),
            loopback: true,
        }
    }

    /// No page at all.
    pub fn none() -> Self {
        Self {
            listed: Vec::new(),
            loopback: false,
        }
    }

    /// Origins separated by commas; spaces around them and empty places do not count. No origin is
    /// [`AllowedOrigins::none`].
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        Self::from_entries(text.split(','))
    }

    /// The given origins; spaces around them and empty entries do not count.
    pub fn from_entries<I>(entries: I) -> Result<Self, OriginError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut listed = Vec::new();
        for entry in entries {
            let entry = entry.as_ref().trim();
            if !entry.is_empty() {
                listed.push(parse_entry(entry)?);
            }
        }
        Ok(Self {
            listed,
            loopback: false,
        })
    }

    /// This list and one more origin.
    pub fn with(mut self, entry: &str) -> Result<Self, OriginError> {
        self.listed.push(parse_entry(entry.trim())?);
        Ok(self)
    }

    /// What a page with the `Origin` header `text` may do.
    pub(crate) fn access(&self, text: &str) -> Access {
        let Some(origin) = OriginRef::parse(text) else {
            return Access::Refused;
        };
        let listed = self
            .listed
            .iter()
            .any(|entry| OriginRef::parse(&entry.0).is_some_and(|entry| entry.same(&origin)));
        if listed {
            return Access::WithCredentials;
        }
        let web = origin.scheme.eq_ignore_ascii_case("http")
            || origin.scheme.eq_ignore_ascii_case("https");
        if self.loopback && web && origin.host.is_loopback() {
            return Access::Plain;
        }
        Access::Refused
    }
}

impl Default for AllowedOrigins {
    fn default() -> Self {
        Self::loopback()
    }
}

impl fmt::Debug for AllowedOrigins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = self.listed.iter().map(|origin| &*origin.0);
        f.write_str("AllowedOrigins")?;
        f.debug_list()
            .entries(listed.chain(self.loopback.then_some("loopback")))
            .finish()
    }
}

/// What the pages of an origin may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing.
    Refused,
    /// Call, without cookies and the like.
    Plain,
    /// Call with credentials.
    WithCredentials,
}

/// Why a list of origins was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// `*`, which would let every page in.
    #[error("\"{0}\" would let every web page in; name the origins")]
    Wildcard(String),
    /// Not `scheme://host` or `scheme://host:port`.
    #[error("\"{0}\" is not an origin; write scheme://host or scheme://host:port, without a path")]
    Malformed(String),
}

/// An origin that [`OriginRef::parse`] takes.
#[derive(Clone, PartialEq, Eq)]
struct Origin(Box<str>);

struct OriginRef<'a> {
    scheme: &'a str,
    host: HostRef<'a>,
}

impl<'a> OriginRef<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, host) = text.split_once("://")?;
        let known = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        Some(Self {
            scheme: known.then_some(scheme)?,
            host: HostRef::parse(host)?,
        })
    }

    fn same(&self, other: &OriginRef<'_>) -> bool {
        self.scheme.eq_ignore_ascii_case(other.scheme)
            && self.host.same_name(&other.host)
            && self.port() == other.port()
    }

    fn port(&self) -> Option<u16> {
        self.host.port.or_else(|| match self.scheme {
            scheme if scheme.eq_ignore_ascii_case("http") => Some(80),
            scheme if scheme.eq_ignore_ascii_case("https") => Some(443),
            _ => None,
        })
    }
}

fn parse_entry(entry: &str) -> Result<Origin, OriginError> {
    if entry.contains('*') {
        return Err(OriginError::Wildcard(entry.to_owned()));
    }
    match OriginRef::parse(entry) {
        Some(_) => Ok(Origin(entry.into())),
        None => Err(OriginError::Malformed(entry.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_origin_is_its_scheme_host_and_port() {
        let list =
            AllowedOrigins::parse("https://app.example.com, http://dev.example:5173").unwrap();
        for origin in [
            "https://app.example.com",
            "HTTPS://App.Example.Com",
            "https://app.example.com:443",
            "http://dev.example:5173",
        ] {
            assert_eq!(list.access(origin), Access::WithCredentials, "{origin}");
        }
        for origin in [
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://example.com",
            "https://app.example.com.evil.example",
            "https://evil.example/https://app.example.com",
            "https://app.example.com/",
            "https://app.example.com@evil.example",
            "null",
            "",
            "*",
            "http://dev.example",
            "http://localhost",
            "https://app.example.com https://evil.example",
        ] {
            assert_eq!(list.access(origin), Access::Refused, "{origin}");
        }
    }

    #[test]
    fn loopback_pages_may_call_without_credentials() {
        let list = AllowedOrigins::loopback();
        for origin in [
            "http://localhost:5173",
            "https://127.0.0.1",
            "http://[::1]:8080",
        ] {
            assert_eq!(list.access(origin), Access::Plain, "{origin}");
        }
        for origin in [
            "null",
            "http://localhost.evil.example",
            "file://localhost",
            "http://127.0.0.2",
        ] {
            assert_eq!(list.access(origin), Access::Refused, "{origin}");
        }
    }

    #[test]
    fn a_list_takes_no_wildcard_null_or_path() {
        assert!(matches!(
            AllowedOrigins::parse("*"),
            Err(OriginError::Wildcard(_))
        ));
        assert!(matches!(
            AllowedOrigins::parse("https://*.a.example"),
            Err(OriginError::Wildcard(_))
        ));
        for text in [
            "null",
            "example.com",
            "https://a.example/",
            "https://",
            "https://u@a.example",
        ] {
            assert!(
                matches!(AllowedOrigins::parse(text), Err(OriginError::Malformed(_))),
                "{text}"
            );
        }
        assert_eq!(AllowedOrigins::parse(" , "), Ok(AllowedOrigins::none()));
    }
}
