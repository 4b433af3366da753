//! The URLs of OAuth: an issuer, a protected resource, and which of them may be fetched.

use std::{fmt, net::Ipv4Addr};

use url::{Host, Url};

/// The issuer identifier of an authorization server (RFC 8414 section 2), as it gives it itself:
/// it is compared letter by letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerUrl {
    text: String,
    url: Url,
}

/// The canonical URI of a protected resource (RFC 8707 section 2; MCP authorization, "Canonical
/// Server URI"): no query, no fragment, no slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceUrl {
    origin: String,
    path: String,
}

/// Why a text is no URL of an issuer or of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No absolute URL at all.
    #[error("it is no URL")]
    Malformed,
    /// In the clear over a network.
    #[error("it must begin with https:// (http:// is for this machine alone)")]
    Scheme,
    /// User, password, query or fragment.
    #[error("it must have no user, password, query or fragment")]
    Extra,
}

impl IssuerUrl {
    /// The issuer with this identifier.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        Ok(Self {
            url: parse(text)?,
            text: text.to_owned(),
        })
    }

    /// The identifier.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where its metadata may be, in the order in which MCP asks for them: RFC 8414 section 3.1,
    /// then `OpenID` Connect Discovery with the path inserted, then with it in front.
    pub(super) fn metadata_urls(&self) -> Vec<Url> {
        let path = self.url.path().trim_end_matches('/');
        let mut paths = vec![
            format!("/.well-known/oauth-authorization-server{path}"),
            format!("/.well-known/openid-configuration{path}"),
        ];
        if !path.is_empty() {
            paths.push(format!("{path}/.well-known/openid-configuration"));
        }
        let with = |path: String| {
            let mut url = self.url.clone();
            url.set_path(&path);
            url
        };
        paths.into_iter().map(with).collect()
    }

    /// The URL that a document of this issuer names, if it may be fetched: what travels over a
    /// network is encrypted, and only an issuer on this machine has others of this machine.
    pub(super) fn related(&self, text: &str) -> Option<Url> {
        let url = Url::parse(text).ok()?;
        let is_https = url.scheme() == "https";
        let both_here = is_loopback(&self.url) && is_loopback(&url);
        let is_plain = url.username().is_empty() && url.password().is_none();
        (is_plain && (both_here || (is_https && !may_be_here(&url)))).then_some(url)
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl ResourceUrl {
    /// The resource at this URL; a slash at its end is left out.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let url = parse(text)?;
        Ok(Self {
            origin: url.origin().ascii_serialization(),
            path: url.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Its path; empty for the whole server.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where its metadata are (RFC 9728 section 3.1).
    pub fn metadata_url(&self) -> String {
        let Self { origin, path } = self;
        format!("{origin}/.well-known/oauth-protected-resource{path}")
    }
}

impl fmt::Display for ResourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

fn parse(text: &str) -> Result<Url, AddressError> {
    let is_text = text.bytes().all(|byte| byte.is_ascii_graphic());
    let url = Url::parse(text).map_err(|_| AddressError::Malformed)?;
    if !is_text || url.host().is_none() {
        return Err(AddressError::Malformed);
    }
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        _ => return Err(AddressError::Scheme),
    }
    let has_user = !url.username().is_empty() || url.password().is_some();
    if has_user || url.query().is_some() || url.fragment().is_some() {
        return Err(AddressError::Extra);
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether it may lead to this machine or to what only this machine reaches, however it is written.
fn may_be_here(url: &Url) -> bool {
    let is_near = |address: Ipv4Addr| {
        address.is_loopback() || address.is_unspecified() || address.is_link_local()
    };
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => is_near(address),
        Some(Host::Ipv6(address)) => {
            let is_near_6 = address.is_loopback() || address.is_unspecified();
            is_near_6
                || address.is_unicast_link_local()
                || address.to_ipv4_mapped().is_some_and(is_near)
        }
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_a_url_that_nobody_on_the_network_can_speak_for() {
        for good in [
            "https://login.example.com",
            "https://login.example.com/",
            "https://login.example.com:8443/tenant/1",
            "http://127.0.0.1:9000",
            "http://localhost:9000/realm",
            "http://[::1]:9000",
        ] {
            assert_eq!(IssuerUrl::parse(good).unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("login.example.com", AddressError::Malformed),
            ("https://login.example.com/a b", AddressError::Malformed),
            ("", AddressError::Malformed),
            ("http://login.example.com", AddressError::Scheme),
            ("http://127.0.0.1.example.com", AddressError::Scheme),
            ("http://localhost.example.com", AddressError::Scheme),
            ("file:///etc/passwd", AddressError::Malformed),
            ("ftp://login.example.com", AddressError::Scheme),
            ("https://user:word@login.example.com", AddressError::Extra),
            ("https://login.example.com?a=b", AddressError::Extra),
            ("https://login.example.com#a", AddressError::Extra),
        ] {
            assert_eq!(IssuerUrl::parse(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn metadata_are_looked_for_where_mcp_says() {
        let at = |issuer| {
            let urls = IssuerUrl::parse(issuer).unwrap().metadata_urls();
            urls.into_iter().map(String::from).collect::<Vec<_>>()
        };
        assert_eq!(
            at("https://a.example.com/"),
            [
                "https://a.example.com/.well-known/oauth-authorization-server",
                "https://a.example.com/.well-known/openid-configuration",
            ]
        );
        assert_eq!(
            at("https://a.example.com/t/1/"),
            [
                "https://a.example.com/.well-known/oauth-authorization-server/t/1",
                "https://a.example.com/.well-known/openid-configuration/t/1",
                "https://a.example.com/t/1/.well-known/openid-configuration",
            ]
        );
    }

    #[test]
    fn a_document_of_an_issuer_cannot_send_us_anywhere() {
        let far = IssuerUrl::parse("https://a.example.com").unwrap();
        let near = IssuerUrl::parse("http://127.0.0.1:9000").unwrap();
        assert!(far.related("https://keys.example.net/jwks").is_some());
        for url in [
            "http://a.example.com/jwks",
            "http://127.0.0.1/jwks",
            "https://127.0.0.1/jwks",
            "https://localhost/jwks",
            "https://LOCALHOST./jwks",
            "https://keys.localhost/jwks",
            "https://0x7f.1/jwks",
            "https://0.0.0.0/jwks",
            "https://169.254.169.254/jwks",
            "https://[::1]/jwks",
            "https://[::]/jwks",
            "https://[::ffff:127.0.0.1]/jwks",
            "https://[fe80::1]/jwks",
            "http://[::1]/jwks",
            "file:///etc/passwd",
            "https://u:p@a.example.com/jwks",
            "jwks",
        ] {
            assert!(far.related(url).is_none(), "{url}");
        }
        assert!(near.related("http://127.0.0.1:9000/jwks").is_some());
        for url in ["http://a.example.com/jwks", "http://keys.localhost/jwks"] {
            assert!(near.related(url).is_none(), "{url}");
        }
    }

    #[test]
    fn a_resource_has_one_name() {
        for text in [
            "https://Notes.Example.com/mcp",
            "https://notes.example.com:443/mcp/",
        ] {
            let resource = ResourceUrl::parse(text).unwrap();
            assert_eq!(resource.to_string(), "https://notes.example.com/mcp");
            assert_eq!(resource.path(), "/mcp");
            assert_eq!(
                resource.metadata_url(),
                "https://notes.example.com/.well-known/oauth-protected-resource/mcp"
            );
        }
        let whole = ResourceUrl::parse("http://127.0.0.1:3000/").unwrap();
        assert_eq!(whole.to_string(), "http://127.0.0.1:3000");
        assert_eq!(whole.path(), "");
    }
}
