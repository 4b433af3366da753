//! Doors for the fuzz targets of this repository to what is private. No part of the program.

use std::sync::Arc;

use axum::body::Body;
use bytes::Buf as _;
use http::{Request, response::Parts};
use http_body_util::BodyExt as _;
use rmcp::ServerHandler;

use super::{Exchange, Server, activity::Activity, proxy};
use crate::{client::Peer, events};

/// Most frames of an answer that are read.
const FRAMES_MAX: usize = 64;

/// The answer of `server` to a request that came over no connection.
pub async fn answer<H, F>(
    server: &Server<F>,
    request: Request<Body>,
    peer: &Peer,
) -> (Parts, Vec<u8>)
where
    H: ServerHandler,
    F: Fn() -> H + Send + Sync + 'static,
{
    let exchange = Exchange::begin(&Arc::new(Activity::new()));
    let router = server.shared.router.clone();
    let answer = router.handle(request, exchange, peer).await;
    let (parts, mut body) = answer.into_parts();
    let mut bytes = Vec::new();
    for _ in 0..FRAMES_MAX {
        let Some(Ok(frame)) = body.frame().await else {
            break;
        };
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(data.chunk());
        }
    }
    (parts, bytes)
}

/// Whether `header` is one of the PROXY protocol.
pub fn proxy_header(header: &[u8]) -> bool {
    proxy::parse(header).is_ok()
}

/// Whether what another replica publishes is understood as it is written, as far as it is understood.
pub fn packet(json: &[u8]) -> bool {
    events::redis::is_read_as_written(json)
}
