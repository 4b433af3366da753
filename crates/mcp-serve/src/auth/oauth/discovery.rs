//! The metadata of an authorization server (RFC 8414, `OpenID` Connect Discovery).

use serde::Deserialize;
use url::Url;

use super::{
    address::IssuerUrl,
    fetch::{Fetcher, Trouble},
};

/// Metadata are a few kilobytes.
const METADATA_BYTES_MAX: usize = 128 << 10;

/// What is asked of an authorization server.
#[derive(Debug)]
pub(super) struct Endpoints {
    /// Where its public keys are.
    pub(super) keys: Option<Url>,
    /// Where it tells what a token is good for.
    pub(super) introspection: Option<Url>,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: Option<String>,
    introspection_endpoint: Option<String>,
}

/// Asks `issuer` where its things are. A document counts only if it speaks for exactly this issuer
/// (RFC 8414 section 3.3).
pub(super) async fn discover(fetcher: &Fetcher, issuer: &IssuerUrl) -> Result<Endpoints, Trouble> {
    let mut first_trouble = None;
    for url in issuer.metadata_urls() {
        match read(fetcher, issuer, &url).await {
            Ok(endpoints) => return Ok(endpoints),
            // Most servers have only one of the documents.
            Err(Trouble::Status(status)) if status.is_client_error() => {}
            Err(trouble) => first_trouble = first_trouble.or(Some(trouble)),
        }
    }
    Err(first_trouble.unwrap_or(Trouble::Status(http::StatusCode::NOT_FOUND)))
}

async fn read(fetcher: &Fetcher, issuer: &IssuerUrl, url: &Url) -> Result<Endpoints, Trouble> {
    let answer = fetcher.get::<Metadata>(url, METADATA_BYTES_MAX).await?;
    let metadata = answer.document;
    if metadata.issuer != issuer.as_str() {
        return Err(Trouble::OtherIssuer);
    }
    let related = |text: Option<String>| text.and_then(|text| issuer.related(&text));
    Ok(Endpoints {
        keys: related(metadata.jwks_uri),
        introspection: related(metadata.introspection_endpoint),
    })
}
