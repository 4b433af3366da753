//! Requests of revision 2026-07-28: each stands alone.

use std::sync::Arc;

use axum::body::Body;
use http::{Response, StatusCode, request::Parts};
use rmcp::{
    ServerHandler,
    model::{
        ClientRequest, ErrorData, ProtocolVersion, RequestId, RequestMetaObject, ServerResult,
    },
};

use super::{
    Accepts, Transport, answer,
    converse::Wants,
    envelope::{Call, Incoming, Params},
    headers, meter,
    method::{self, Era},
    seen,
    stream::Log,
    work::{self, Delivery, Work},
};
use crate::{auth::Principal, metrics::StreamKind};

impl<H, F> Transport<F>
where
    H: ServerHandler,
    F: Fn() -> H + Send + Sync + 'static,
{
    pub(super) async fn modern(
        self: Arc<Self>,
        parts: Parts,
        principal: Principal,
        accepts: Accepts,
        incoming: Incoming,
    ) -> Response<Body> {
        match incoming {
            Incoming::Request(call) => self.modern_request(parts, principal, accepts, call).await,
            // The revision defines no notification of clients over HTTP, and forbids none.
            Incoming::Notification { method, .. } => {
                let name = method::known(&method);
                seen(answer::empty(StatusCode::ACCEPTED), None, name, None)
            }
            Incoming::Answer { id, .. } => {
                let error =
                    ErrorData::invalid_request("this revision has no responses of clients", None);
                answer::refuse(StatusCode::BAD_REQUEST, Some(&id), &error)
            }
        }
    }

    async fn modern_request(
        self: Arc<Self>,
        parts: Parts,
        principal: Principal,
        accepts: Accepts,
        call: Call,
    ) -> Response<Body> {
        let Call { id, method, params } = call;
        let name = method::known(&method);
        let checked = self.check(&parts, &method, &params);
        let version = match checked {
            Ok(version) => version,
            Err(error) => {
                return seen(
                    answer::refuse(StatusCode::BAD_REQUEST, Some(&id), &error),
                    None,
                    name,
                    None,
                );
            }
        };
        let served = method::is_served(&method, Era::Modern, &self.capabilities);
        let typed = if served {
            method::typed(&method, params)
        } else {
            Err(method::not_found(&method))
        };
        let (request, meta) = match typed {
            Ok(typed) => typed,
            Err(error) => {
                let frame = answer::frame(&id, Err(error), &version, &self.side);
                return seen(answer::json_response(frame), Some(&version), name, None);
            }
        };
        if let ClientRequest::SubscriptionsListenRequest(request) = request {
            let filter = request.params.notifications;
            let running = meter::running(&parts).cloned();
            let response = self.listen(&principal, accepts, &id, &filter, (&version, running));
            return seen(response, Some(&version), name, None);
        }
        let (response, tool) = self
            .modern_work(parts, accepts, id, request, meta, &version)
            .await;
        seen(response, Some(&version), name, tool)
    }

    fn check(
        &self,
        parts: &Parts,
        method: &str,
        params: &Params,
    ) -> Result<ProtocolVersion, ErrorData> {
        let version = headers::check_version(&parts.headers, &params.meta, &self.versions)?;
        headers::check_routing(&parts.headers, method, params)?;
        Ok(version)
    }

    async fn modern_work(
        self: Arc<Self>,
        parts: Parts,
        accepts: Accepts,
        id: RequestId,
        request: ClientRequest,
        meta: RequestMetaObject,
        version: &ProtocolVersion,
    ) -> (Response<Body>, Option<String>) {
        let handler = (self.factory)();
        let mut tool = None;
        if let ClientRequest::CallToolRequest(call) = &request {
            tool = handler.get_tool(&call.params.name);
            let arguments = call.params.arguments.as_ref();
            let agree = |tool| headers::check_params(&parts.headers, tool, arguments);
            if let Some(Err(error)) = tool.as_ref().map(agree) {
                let refusal = answer::refuse(StatusCode::BAD_REQUEST, Some(&id), &error);
                return (refusal, None);
            }
        }
        let name = tool.as_ref().map(|tool| tool.name.to_string());
        meter::about(&parts, version, tool.as_ref());
        let wants = Wants {
            progress: meta.get_progress_token(),
            log: meta
                .log_level()
                .filter(|_| self.capabilities.logging.is_some()),
            requests: None,
        };
        let converses = accepts.sse && method::may_converse(request.method()) && wants.anything();
        let discovers = matches!(request, ClientRequest::DiscoverRequest(_));
        let ct = self.lifecycle.hard.child_token();
        let work = Work {
            handler,
            id: id.clone(),
            request,
            meta,
            parts,
            version: version.clone(),
            client: None,
            tool,
        };
        if discovers {
            return (self.discover(work).await, name);
        }
        // Going away cancels the work, whichever way it is done.
        let guard = ct.clone().drop_guard();
        if accepts.json && !converses {
            let frame = self.immediately(work, ct).await;
            drop(guard);
            return (answer::json_response(frame), name);
        }
        let log = Log::new(None);
        let reader = log.read(None);
        let wants = if converses { wants } else { Wants::default() };
        self.spawn(work, wants, log, ct, None);
        let delivery = Delivery {
            accepts,
            guard: Some(guard),
            prime: false,
        };
        (
            work::deliver(reader, delivery, self.settings.keep_alive, || {
                self.opened(StreamKind::Request)
            })
            .await,
            name,
        )
    }

    /// `server/discover`, whose versions are those that both the handler and the transport know.
    async fn discover(&self, work: Work<H>) -> Response<Body> {
        let (id, version) = (work.id.clone(), work.version.clone());
        let ct = self.lifecycle.hard.child_token();
        let deadline = self.settings.request_deadline;
        let result = self
            .result(work, self.silent.peer(), ct, None, deadline)
            .await;
        let result = result
            .unwrap_or_else(|| Err(answer::internal()))
            .map(|result| match result {
                ServerResult::DiscoverResult(mut result) => {
                    result.supported_versions.clone_from(&self.versions);
                    ServerResult::DiscoverResult(result)
                }
                other => other,
            });
        answer::json_response(answer::frame(&id, result, &version, &self.side))
    }
}
