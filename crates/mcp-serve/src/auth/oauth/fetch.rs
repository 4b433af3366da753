//! Fetches documents of authorization servers: no redirects, no proxy, bounded in time and bytes.

use std::time::Duration;

use http::{StatusCode, header::CACHE_CONTROL};
use reqwest::{Certificate, Client, RequestBuilder, Response, redirect::Policy};
use serde::de::DeserializeOwned;
use url::Url;

/// What went wrong with a document; for the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("no answer: {}", root_cause(.0))]
    NoAnswer(reqwest::Error),
    #[error("status {}", .0.as_u16())]
    Status(StatusCode),
    #[error("more than {0} bytes")]
    TooLarge(usize),
    #[error("no document of this kind")]
    Malformed,
    #[error("it speaks for another issuer")]
    OtherIssuer,
    #[error("it names no {0} that may be fetched")]
    NoAddress(&'static str),
    #[error("it has no key that can be used, or too many keys")]
    NoKeys,
}

/// The innermost error says what happened, the outer ones only where.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Certificates of authorities.
#[derive(Debug, Clone, Default)]
pub struct Authorities(Vec<Certificate>);

/// There is no certificate in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no certificate in it, or one that cannot be read")]
pub struct NoAuthority;

impl Authorities {
    /// The certificates in a text of PEM; at least one.
    pub fn from_pem(text: &[u8]) -> Result<Self, NoAuthority> {
        match Certificate::from_pem_bundle(text) {
            Ok(certificates) if !certificates.is_empty() => Ok(Self(certificates)),
            _ => Err(NoAuthority),
        }
    }

    pub(super) fn into_certificates(self) -> Vec<Certificate> {
        self.0
    }
}

/// A document and how long its server says that it holds.
pub(super) struct Fetched<T> {
    pub(super) document: T,
    pub(super) max_age: Option<Duration>,
}

/// A client for the documents of authorization servers; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Fetcher {
    client: Client,
    deadline: Duration,
}

impl Fetcher {
    /// Each answer must be complete within `deadline`. Servers may have a certificate of one of
    /// `authorities` beside those that this machine trusts.
    pub(super) fn new(
        deadline: Duration,
        authorities: Vec<Certificate>,
    ) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .tls_certs_merge(authorities)
            // Were they on, a few bytes could become many.
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .redirect(Policy::none())
            .referer(false)
            .no_proxy()
            .timeout(deadline)
            .connect_timeout(deadline)
            .user_agent(concat!("mcp-serve/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, deadline })
    }

    /// The time that an answer has.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        url: &Url,
        bytes_max: usize,
    ) -> Result<Fetched<T>, Trouble> {
        read(self.client.get(url.clone()), bytes_max).await
    }

    pub(super) fn post(&self, url: &Url) -> RequestBuilder {
        self.client.post(url.clone())
    }
}

/// Sends a request and reads its answer, which must be a JSON document with status 200.
pub(super) async fn read<T: DeserializeOwned>(
    request: RequestBuilder,
    bytes_max: usize,
) -> Result<Fetched<T>, Trouble> {
    let request = request.header(http::header::ACCEPT, "application/json");
    let answer = request.send().await.map_err(Trouble::NoAnswer)?;
    if answer.status() != StatusCode::OK {
        return Err(Trouble::Status(answer.status()));
    }
    let max_age = max_age(&answer);
    let body = body(answer, bytes_max).await?;
    let document = serde_json::from_slice(&body).map_err(|_| Trouble::Malformed)?;
    Ok(Fetched { document, max_age })
}

async fn body(mut answer: Response, bytes_max: usize) -> Result<Vec<u8>, Trouble> {
    let announced = answer.content_length().unwrap_or(0);
    if announced > bytes_max as u64 {
        return Err(Trouble::TooLarge(bytes_max));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(Trouble::NoAnswer)? {
        if body.len() + chunk.len() > bytes_max {
            return Err(Trouble::TooLarge(bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn max_age(answer: &Response) -> Option<Duration> {
    let control = answer.headers().get(CACHE_CONTROL)?.to_str().ok()?;
    let mut directives = control.split(',').map(str::trim);
    let seconds = directives.find_map(|directive| directive.strip_prefix("max-age="))?;
    seconds.parse().ok().map(Duration::from_secs)
}
