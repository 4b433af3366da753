//! Who may reach the server from where: the host that a request names, the page it comes from
//! (Origin, CORS, Fetch Metadata), and the headers that keep browsers careful with the answer.

mod coding;
mod host;
mod origin;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Version,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY,
        STRICT_TRANSPORT_SECURITY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
    request::Parts,
};

pub(crate) use self::coding::check_codings;
use self::{host::HostRef, origin::Access};
pub use self::{
    host::{AllowedHosts, HostError},
    origin::{AllowedOrigins, OriginError},
};
use crate::client::{Client, ForwardedError};

/// What the guard saw of a request: what its answer must carry.
#[derive(Debug, Clone)]
pub(crate) struct Cors {
    /// The `Origin` to repeat, when its pages may read the answer.
    origin: Option<HeaderValue>,
    credentials: bool,
}

impl Cors {
    /// For a request that no page made, or one that may not read the answer.
    pub(crate) const NONE: Self = Self {
        origin: None,
        credentials: false,
    };
}

/// Why a request stops at the guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 400: no host, two of them, or two that disagree.
    BadHost,
    /// 403: a host that is not served here.
    ForeignHost,
    /// 400: more than one `Origin`.
    BadOrigin,
    /// 403: a page that may not call.
    ForeignOrigin,
    /// 400: nobody knows for whom the proxy asks.
    Forwarded(ForwardedError),
    /// 403: something that a page of another site embeds.
    CrossSite,
}

impl Refusal {
    /// What the caller is told.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::BadHost => "the request must name its host exactly once",
            Self::ForeignHost => "this host is not served here",
            Self::BadOrigin => "the request has more than one Origin",
            Self::ForeignOrigin => "this origin is not allowed",
            Self::Forwarded(error) => error.message(),
            Self::CrossSite => "pages of other sites may not embed this",
        }
    }

    /// Why, in a word for logs and metrics.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::BadHost | Self::ForeignHost => "host",
            Self::BadOrigin | Self::ForeignOrigin => "origin",
            Self::Forwarded(_) => "forwarded",
            Self::CrossSite => "cross_site",
        }
    }

    /// Whether the request is malformed (400) and not merely refused (403).
    pub(crate) fn is_malformed(self) -> bool {
        matches!(self, Self::BadHost | Self::BadOrigin | Self::Forwarded(_))
    }
}

/// Checks the host that a request names: `Host`, `:authority` and the target in absolute form, as
/// far as they are there, must name one host that is allowed. A host that a trusted proxy was asked
/// for must be allowed besides; not instead, as there are proxies that hand on what the client
/// wrote.
pub(crate) fn check_host(parts: &Parts, allowed: &AllowedHosts) -> Result<(), Refusal> {
    let mut fields = parts.headers.get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() || (field.is_none() && parts.version < Version::HTTP_2) {
        return Err(Refusal::BadHost);
    }
    let field = match field {
        Some(value) => Some(host_of(value)?),
        None => None,
    };
    let target = match parts.uri.authority() {
        Some(authority) => Some(HostRef::parse(authority.as_str()).ok_or(Refusal::BadHost)?),
        None => None,
    };
    let host = match (field, target) {
        (Some(field), Some(target)) if !field.same(&target) => return Err(Refusal::BadHost),
        (Some(host), _) | (None, Some(host)) => host,
        (None, None) => return Err(Refusal::BadHost),
    };
    let client = parts.extensions.get::<Client>();
    let forwarded = match client.and_then(|client| client.host.as_deref()) {
        Some(forwarded) => Some(HostRef::parse(forwarded).ok_or(Refusal::BadHost)?),
        None => None,
    };
    if allowed.contains(&host) && forwarded.is_none_or(|host| allowed.contains(&host)) {
        Ok(())
    } else {
        Err(Refusal::ForeignHost)
    }
}

fn host_of(value: &HeaderValue) -> Result<HostRef<'_>, Refusal> {
    value
        .to_str()
        .ok()
        .and_then(HostRef::parse)
        .ok_or(Refusal::BadHost)
}

/// Checks the page that a request comes from, if a page made it.
///
/// Browsers leave `Origin` out of what a page merely embeds, such as images and scripts. The page
/// cannot read the answer, but can see whether and how fast it came, which is enough to find out
/// what a search finds. `Sec-Fetch-Site` tells (Fetch Metadata Request Headers, W3C).
pub(crate) fn check_origin(parts: &Parts, allowed: &AllowedOrigins) -> Result<Cors, Refusal> {
    let mut fields = parts.headers.get_all(ORIGIN).iter();
    let Some(origin) = fields.next() else {
        return if is_embedded(parts) {
            Err(Refusal::CrossSite)
        } else {
            Ok(Cors::NONE)
        };
    };
    if fields.next().is_some() {
        return Err(Refusal::BadOrigin);
    }
    match allowed.access(origin.to_str().unwrap_or_default()) {
        Access::Refused => Err(Refusal::ForeignOrigin),
        Access::Plain => Ok(Cors {
            origin: Some(origin.clone()),
            credentials: false,
        }),
        Access::WithCredentials => Ok(Cors {
            origin: Some(origin.clone()),
            credentials: true,
        }),
    }
}

/// Whether a page of another origin made the request and it is no click on a link. What is not a
/// browser sends no such field and is not meant.
fn is_embedded(parts: &Parts) -> bool {
    let field = |name| parts.headers.get(name).map(HeaderValue::as_bytes);
    let own = matches!(
        field("sec-fetch-site"),
        None | Some(b"same-origin" | b"none")
    );
    let is_visit = parts.method.is_safe()
        && field("sec-fetch-mode") == Some(b"navigate")
        && field("sec-fetch-dest") == Some(b"document");
    !own && !is_visit
}

/// Whether a browser asks before it sends the request itself.
pub(crate) fn is_preflight(parts: &Parts) -> bool {
    parts.method == Method::OPTIONS
        && parts.headers.contains_key(ORIGIN)
        && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

const ALLOW_HEADERS: &str = "content-type, authorization, mcp-session-id, mcp-protocol-version, \
     mcp-method, mcp-name, last-event-id, if-match, if-none-match, idempotency-key, x-request-id, \
     traceparent, tracestate";

/// What a preflight is told besides the headers of every answer. The names are the same for every
/// route; `Mcp-Param-*` (which tools may define) is allowed as it is asked for.
pub(crate) fn preflight_headers(request: &HeaderMap, answer: &mut HeaderMap) {
    let asked = request
        .get(ACCESS_CONTROL_REQUEST_HEADERS)
        .and_then(|value| value.to_str().ok());
    let mut allow = ALLOW_HEADERS.to_owned();
    for name in asked.unwrap_or_default().split(',').map(str::trim) {
        let is_param = name
            .get(..10)
            .is_some_and(|p| p.eq_ignore_ascii_case("mcp-param-"));
        if is_param && HeaderName::from_bytes(name.as_bytes()).is_ok() {
            allow.push_str(", ");
            allow.push_str(name);
        }
    }
    if let Ok(allow) = HeaderValue::from_str(&allow) {
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, allow);
    }
    answer.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
    );
    answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    answer.append(
        VARY,
        HeaderValue::from_static("access-control-request-headers"),
    );
}

/// The headers of every answer, errors included: what a page may read, and what a browser must not
/// do with it. What a route has set for itself stays, apart from CORS.
///
/// `Cross-Origin-Resource-Policy` keeps pages from embedding an answer; requests in CORS mode are
/// not subject to it (Fetch, section 3.6). `hsts` is what a client within TLS is told (RFC 6797
/// section 7.2 forbids it elsewhere).
pub(crate) fn seal(headers: &mut HeaderMap, cors: &Cors, hsts: Option<&HeaderValue>) {
    headers.reserve(12);
    headers.append(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = &cors.origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSE_HEADERS),
        );
        if cors.credentials {
            headers.insert(
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
    } else {
        headers.remove(ACCESS_CONTROL_ALLOW_ORIGIN);
    }
    if let Some(hsts) = hsts {
        headers.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    for (name, value) in SEALS {
        headers
            .entry(name)
            .or_insert_with(|| HeaderValue::from_static(value));
    }
}

const EXPOSE_HEADERS: &str = "Mcp-Session-Id, MCP-Protocol-Version, Retry-After, RateLimit, \
     RateLimit-Policy, ETag, Location, Link, WWW-Authenticate, X-Request-Id";

const SEALS: [(HeaderName, &str); 5] = [
    (REFERRER_POLICY, "no-referrer"),
    (X_FRAME_OPTIONS, "DENY"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
    (CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];
