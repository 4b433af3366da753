//! The answers to probes: they cost nothing, and say more to whom is trusted.

use axum::body::Body;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, AUTHORIZATION, WWW_AUTHENTICATE},
    request::Parts,
};
use rmcp::ServerHandler;

use super::{
    Route, Router,
    answer::{Failure, json_response},
    preflight,
};
use crate::{
    client::Client,
    gate::Refusal,
    guard::{self, Cors},
    health::{Answer, Health},
    metrics::scrape,
};

impl<H, F> Router<F>
where
    H: ServerHandler,
    F: Fn() -> H + Send + Sync + 'static,
{
    pub(super) async fn probe(
        &self,
        route: &Route,
        parts: &mut Parts,
        is_client_known: bool,
        cors: &mut Cors,
    ) -> Result<Response<Body>, Failure> {
        let trusted = is_client_known && guard::check_host(parts, &self.hosts).is_ok();
        let origin = guard::check_origin(parts, &self.origins);
        if trusted
            && guard::is_preflight(parts)
            && let Ok(allowed) = &origin
        {
            *cors = allowed.clone();
            return Ok(preflight(parts));
        }
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            return Err(
                Failure::new(StatusCode::METHOD_NOT_ALLOWED, "probes are read with GET")
                    .with(ALLOW, HeaderValue::from_static("GET, HEAD")),
            );
        }
        if matches!(route, Route::Live) {
            return Ok(health_response(&Health::live()));
        }
        let mut details = trusted;
        match origin {
            Ok(allowed) if trusted => *cors = allowed,
            _ => details = false,
        }
        let mut refused = None;
        let known = async {
            let asked = self.gate.recognise(parts).await;
            asked.map_err(|refusal| Failure::at_gate(&refusal, None))
        };
        if details && let Err(failure) = known.await {
            details = false;
            // Who probes without a credential is refused nothing but details, every few seconds.
            let presented = parts.headers.contains_key(AUTHORIZATION);
            refused = failure.note().filter(|_| presented);
        }
        let answer = match route {
            Route::Ready => self.health.ready(details).await,
            _ => self.health.full(details).await,
        };
        let mut response = health_response(&answer);
        if let Some(note) = refused {
            response.extensions_mut().insert(*note);
        }
        Ok(response)
    }
}

impl<H, F> Router<F>
where
    H: ServerHandler,
    F: Fn() -> H + Send + Sync + 'static,
{
    /// The metrics, for this machine, and for whoever is known or presents their token.
    pub(super) async fn read_metrics(&self, parts: &mut Parts) -> Result<Response<Body>, Failure> {
        if let Some(token) = &self.scrape.token {
            let travel = self.gate.check_travel(parts);
            travel.map_err(|refusal| Failure::at_gate(&refusal, None))?;
            if !token.is_in(&parts.headers) {
                let challenge = HeaderValue::from_static("Bearer realm=\"metrics\"");
                let message = "metrics are told to who presents their token";
                return Err(Failure::new(StatusCode::UNAUTHORIZED, message)
                    .with(WWW_AUTHENTICATE, challenge));
            }
        } else {
            let principal = self.authenticate(parts).await?;
            let client = parts.extensions.get::<Client>();
            // What stands in front may ask nobody who they are, and means notes by that.
            if principal.is_anonymous() && !client.is_some_and(Client::is_local) {
                return Err(Failure::at_gate(&Refusal::Stranger, None));
            }
        }
        Ok(scrape::answer(&self.metrics, &parts.method, &parts.headers))
    }
}

fn health_response(answer: &Answer) -> Response<Body> {
    let status = if answer.ok {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json_response(status, "application/json", &answer.body)
}
