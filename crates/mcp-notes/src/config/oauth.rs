//! The settings of `AUTH_MODE=oauth`, and what they ask of each other.

use std::{fmt, path::PathBuf, time::Duration};

use mcp_serve::auth::oauth::{Algorithm, EndpointUrl, IssuerUrl, ResourceUrl};

use super::{AuthMode, Config, Mistake, Origin, Secret, read::Origins, value::Expected};

/// Whose access tokens are taken, and which of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthSettings {
    /// The authorization servers.
    pub issuers: Vec<IssuerUrl>,
    /// What the audience of a token may be; nothing stands for the public URLs of MCP.
    pub audiences: Vec<String>,
    /// How tokens may be signed.
    pub algorithms: Vec<Algorithm>,
    /// Whether a token must say that it is an access token.
    pub typed: bool,
    /// The keys of issuers are read again after this time.
    pub keys_refresh: Duration,
    /// Keys that cannot be read again count for so long.
    pub keys_stale: Duration,
    /// The certificates of those who may vouch for issuers beside those whom the machine trusts.
    pub ca_path: Option<PathBuf>,
    /// The client that asks the first issuer about opaque tokens.
    pub client_id: Option<String>,
    /// The password of that client.
    pub client_secret: Option<Secret>,
    /// Where it asks; otherwise the issuer says it.
    pub introspection_url: Option<EndpointUrl>,
}

impl Default for OAuthSettings {
    fn default() -> Self {
        Self {
            issuers: Vec::new(),
            audiences: Vec::new(),
            algorithms: Algorithm::all(),
            typed: false,
            keys_refresh: Duration::from_mins(10),
            keys_stale: Duration::from_hours(24),
            ca_path: None,
            client_id: None,
            client_secret: None,
            introspection_url: None,
        }
    }
}

/// The scheme, host and port under which clients reach the server (`PUBLIC_URL`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(ResourceUrl);

impl PublicUrl {
    /// The resource at `path`.
    pub fn resource(&self, path: &str) -> Option<ResourceUrl> {
        ResourceUrl::parse(&format!("{}{path}", self.0)).ok()
    }

    /// The host, an IPv6 address in brackets.
    pub(super) fn host(&self) -> Option<String> {
        let uri: http::Uri = self.0.to_string().parse().ok()?;
        uri.host().map(ToOwned::to_owned)
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A URL of a scheme and a host, with a port if need be.
pub(super) fn public_url(text: &str) -> Result<PublicUrl, Expected> {
    const WHAT: &str = "a URL without a path such as https://notes.example.com";
    match ResourceUrl::parse(text) {
        Ok(url) if url.path().is_empty() => Ok(PublicUrl(url)),
        Ok(_) => Err(WHAT.into()),
        Err(error) => Err(format!("{WHAT}: {error}")),
    }
}

/// Issuers separated by commas.
pub(super) fn issuers(text: &str) -> Result<Vec<IssuerUrl>, Expected> {
    let issuers: Result<Vec<_>, _> = words(text).map(IssuerUrl::parse).collect();
    match issuers {
        Ok(issuers) if !issuers.is_empty() => Ok(issuers),
        Ok(_) => Err("issuers separated by commas".into()),
        Err(error) => Err(format!(
            "URLs separated by commas such as https://login.example.com: {error}"
        )),
    }
}

/// Audiences separated by commas. What every issuer might call any service is none: tokens for
/// other services would be let in.
pub(super) fn audiences(text: &str) -> Result<Vec<String>, Expected> {
    const GENERIC: [&str; 5] = ["*", "account", "api", "default", "mcp"];
    let audiences: Vec<String> = words(text).map(ToOwned::to_owned).collect();
    let is_generic = |audience: &String| GENERIC.contains(&&*audience.to_ascii_lowercase());
    if audiences.is_empty() || audiences.iter().any(is_generic) {
        return Err(
            "names of this server alone, separated by commas; a generic one lets in tokens for \
             other services"
                .into(),
        );
    }
    Ok(audiences)
}

/// Signature algorithms separated by commas.
pub(super) fn algorithms(text: &str) -> Result<Vec<Algorithm>, Expected> {
    let algorithms: Result<Vec<_>, _> = words(text).map(str::parse).collect();
    algorithms
        .ok()
        .filter(|list: &Vec<Algorithm>| !list.is_empty())
        .ok_or_else(|| {
            let known = joined(&Algorithm::all());
            format!("signature algorithms separated by commas, each one of {known}")
        })
}

/// The URL of an endpoint.
pub(super) fn endpoint(text: &str) -> Result<EndpointUrl, Expected> {
    let what = "a URL such as https://login.example.com/introspect";
    EndpointUrl::parse(text).map_err(|error| format!("{what}: {error}"))
}

/// As it stands in a setting.
pub(super) fn joined(list: &[impl ToString]) -> String {
    let words: Vec<_> = list.iter().map(ToString::to_string).collect();
    words.join(",")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
}

/// What `AUTH_MODE=oauth` needs, and what only it reads.
pub(super) fn mistakes(config: &Config, origins: &Origins) -> Vec<Mistake> {
    let oauth = &config.oauth;
    let mistake = |setting: &str, expected: String| Mistake {
        setting: setting.into(),
        given: None,
        expected,
    };
    if config.auth_mode != AuthMode::OAuth {
        let mode = config.auth_mode.as_str();
        let set = origins
            .iter()
            .filter(|(_, origin)| **origin != Origin::Default);
        return set
            .filter(|(name, _)| name.starts_with("OAUTH_"))
            .map(|(name, _)| {
                let why = format!(
                    "AUTH_MODE=oauth, because with AUTH_MODE={mode} no token of an issuer is taken"
                );
                mistake(name, why)
            })
            .collect();
    }
    let mut mistakes = Vec::new();
    if oauth.issuers.is_empty() {
        let what = "the URL of at least one authorization server, because AUTH_MODE is oauth";
        mistakes.push(mistake("OAUTH_ISSUERS", what.into()));
    }
    if config.public_url.is_none() {
        let what = "the URL under which clients reach this server, because AUTH_MODE is oauth";
        mistakes.push(mistake("PUBLIC_URL", what.into()));
    }
    let (id, secret) = (oauth.client_id.is_some(), oauth.client_secret.is_some());
    if id != secret {
        let (missing, given) = if id {
            ("SECRET", "ID")
        } else {
            ("ID", "SECRET")
        };
        mistakes.push(mistake(
            &format!("OAUTH_INTROSPECTION_CLIENT_{missing}"),
            format!("a value, because OAUTH_INTROSPECTION_CLIENT_{given} has one"),
        ));
    } else if oauth.introspection_url.is_some() && !id {
        mistakes.push(mistake(
            "OAUTH_INTROSPECTION_CLIENT_ID",
            "a value, because OAUTH_INTROSPECTION_URL has one".into(),
        ));
    }
    mistakes
}
