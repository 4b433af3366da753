//! The metadata of the protected resources (RFC 9728).

use axum::body::Body;
use http::{HeaderValue, Method, Response, StatusCode, header::ALLOW, request::Parts};
use rmcp::ServerHandler;

use super::{
    Router,
    answer::{Failure, json_response},
};

/// Where the metadata of the protected resource is whose path follows (RFC 9728 section 3.1).
pub(super) const METADATA_PATH: &str = "/.well-known/oauth-protected-resource";

/// The path of the resource whose metadata are at `path`.
pub(super) fn resource_path(path: &str) -> Option<&str> {
    let resource = path.strip_prefix(METADATA_PATH)?;
    let resource = resource.strip_suffix('/').unwrap_or(resource);
    (resource.is_empty() || resource.starts_with('/')).then_some(resource)
}

impl<H, F> Router<F>
where
    H: ServerHandler,
    F: Fn() -> H + Send + Sync + 'static,
{
    pub(super) fn metadata(&self, parts: &Parts) -> Result<Response<Body>, Failure> {
        let path = resource_path(parts.uri.path());
        let Some(metadata) = path.and_then(|path| self.gate.metadata(path)) else {
            let message = "there is nothing at this path";
            return Err(Failure::new(StatusCode::NOT_FOUND, message));
        };
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return Err(Failure::new(status, "metadata are read with GET")
                .with(ALLOW, HeaderValue::from_static("GET, HEAD")));
        }
        Ok(json_response(StatusCode::OK, "application/json", &metadata))
    }
}
