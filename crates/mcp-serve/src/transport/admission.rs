//! What the gate is asked before a message is worked on, and how its refusals are answered.

use axum::body::Body;
use http::{Response, request::Parts};
use rmcp::{
    ServerHandler,
    model::{ErrorCode, ErrorData, JsonObject, RequestId},
};
use serde_json::Value;

use super::{Transport, answer, envelope::Incoming, meter, method};
use crate::{
    auth::Principal,
    gate::{Pass, Refusal, RefusalNote},
    policy::Operation,
};

impl<H, F> Transport<F>
where
    H: ServerHandler,
    F: Fn() -> H + Send + Sync + 'static,
{
    /// Asks the gate for what so many `calls` do; the response is its refusal of request `id`.
    pub(super) async fn admit(
        &self,
        parts: &mut Parts,
        principal: &Principal,
        operations: &[Operation<'_>],
        (calls, id): (usize, Option<&RequestId>),
    ) -> Result<Pass, Response<Body>> {
        let demands: Vec<_> = operations.iter().map(|it| self.gate.demand(*it)).collect();
        let refusal = match self.gate.admit(parts, principal, &demands, calls).await {
            Ok(mut pass) => {
                pass.hold(parts);
                return Ok(pass);
            }
            Err(refusal) => refusal,
        };
        Err(self.refused(principal, operations, id, &refusal))
    }

    /// The refusal of the gate as a response to request `id`.
    pub(super) fn refused(
        &self,
        principal: &Principal,
        operations: &[Operation<'_>],
        id: Option<&RequestId>,
        refusal: &Refusal,
    ) -> Response<Body> {
        let error = ErrorData::new(ErrorCode(REFUSED), refusal.message(), None);
        let mut response = answer::refuse(refusal.status(), id, &error);
        refusal.write(response.headers_mut());
        response.extensions_mut().insert(meter::of_refusal(refusal));
        response.extensions_mut().insert(RefusalNote {
            principal: Some(principal.clone()),
            action: self.action(operations),
            reason: refusal.reason(),
        });
        response
    }

    /// What was asked for, in names of a bounded set.
    pub(super) fn action(&self, operations: &[Operation<'_>]) -> Option<String> {
        let [Operation::Mcp { method, params }] = operations else {
            return (operations.len() > 1).then(|| "batch".to_owned());
        };
        let method = method::known(method);
        let tool = params.get("name").and_then(Value::as_str);
        let tool = tool.filter(|_| method == "tools/call");
        Some(
            match tool.and_then(|tool| (self.factory)().get_tool(tool)) {
                Some(tool) => format!("{method} {}", tool.name),
                None => method.to_owned(),
            },
        )
    }
}

/// The code of what is refused before any method sees it. JSON-RPC leaves it to the server.
const REFUSED: i32 = -32000;

/// What a message asks for.
pub(super) fn operation<'a>(incoming: &'a Incoming, nothing: &'a JsonObject) -> Operation<'a> {
    match incoming {
        Incoming::Request(call) => Operation::Mcp {
            method: &call.method,
            params: &call.params.fields,
        },
        Incoming::Notification { method, params } => Operation::Mcp {
            method,
            params: &params.fields,
        },
        Incoming::Answer { .. } => Operation::Mcp {
            method: "response",
            params: nothing,
        },
    }
}

/// What a message asks for that cannot be read: its reading.
pub(super) fn malformed(nothing: &JsonObject) -> Operation<'_> {
    Operation::Mcp {
        method: "malformed",
        params: nothing,
    }
}
