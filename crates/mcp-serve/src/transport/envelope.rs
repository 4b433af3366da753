//! JSON-RPC 2.0 as it comes in: the outer shape of a message, read before anything looks inside.

use std::borrow::Cow;

use rmcp::model::{ErrorData, JsonObject, RequestId, RequestMetaObject};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, value::RawValue};

/// One message of a client.
#[derive(Debug)]
pub(super) enum Incoming {
    Request(Call),
    Notification {
        method: String,
        params: Params,
    },
    /// The client's answer to a request of the server.
    Answer {
        id: RequestId,
        result: Result<Value, ErrorData>,
    },
}

/// A request that waits for its method to be looked at.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: RequestId,
    pub(super) method: String,
    pub(super) params: Params,
}

/// The parameters of a message, with `_meta` taken out of them.
#[derive(Debug, Default)]
pub(super) struct Params {
    pub(super) fields: JsonObject,
    pub(super) meta: RequestMetaObject,
    /// Whether there were any: a request may leave `params` out.
    pub(super) given: bool,
    /// Why they cannot be used, if so: parameters that are not an object, or a `_meta` that is none.
    pub(super) malformed: Option<&'static str>,
}

/// What a body holds.
#[derive(Debug)]
pub(super) enum Body {
    One(Incoming),
    /// An array, which only revision 2025-03-26 knows. What could not be read is an error.
    Batch(Vec<Result<Incoming, Malformed>>),
}

impl Incoming {
    /// The id of a request.
    pub(super) fn request_id(&self) -> Option<&RequestId> {
        match self {
            Self::Request(call) => Some(&call.id),
            Self::Notification { .. } | Self::Answer { .. } => None,
        }
    }
}

/// A message that cannot be answered by a method: JSON-RPC error -32700 or -32600.
#[derive(Debug)]
pub(super) struct Malformed {
    /// Only when it could be read (MCP 2026-07-28, basic, "Error Responses").
    pub(super) id: Option<RequestId>,
    pub(super) error: ErrorData,
}

impl Malformed {
    fn parse(error: &serde_json::Error) -> Self {
        // The position helps, the rest of serde's message may quote the body.
        let message = format!(
            "Parse error: the body is not valid JSON (line {}, column {})",
            error.line(),
            error.column()
        );
        Self {
            id: None,
            error: ErrorData::parse_error(message, None),
        }
    }

    fn request(id: Option<RequestId>, message: &'static str) -> Self {
        Self {
            id,
            error: ErrorData::invalid_request(message, None),
        }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// Tells a member that is `null` from one that is absent.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

/// Reads a body of at most `batch_max` messages.
pub(super) fn read(body: &[u8], batch_max: usize) -> Result<Body, Malformed> {
    let text: &RawValue = serde_json::from_slice(body).map_err(|error| Malformed::parse(&error))?;
    if !text.get().starts_with('[') {
        return message(text).map(Body::One);
    }
    let messages: Vec<&RawValue> =
        serde_json::from_str(text.get()).map_err(|error| Malformed::parse(&error))?;
    if messages.is_empty() {
        return Err(Malformed::request(
            None,
            "Invalid Request: the batch is empty",
        ));
    }
    if messages.len() > batch_max {
        return Err(Malformed::request(
            None,
            "Invalid Request: the batch is too large",
        ));
    }
    Ok(Body::Batch(messages.into_iter().map(message).collect()))
}

fn message(text: &RawValue) -> Result<Incoming, Malformed> {
    if !text.get().starts_with('{') {
        return Err(Malformed::request(
            None,
            "Invalid Request: a message is a JSON object",
        ));
    }
    let envelope: Envelope<'_> = serde_json::from_str(text.get()).map_err(|_| {
        // Valid JSON already, so what is left is a member that stands twice.
        Malformed::request(
            None,
            "Invalid Request: a member of the message stands twice",
        )
    })?;
    let id = match envelope.id.map(RawValue::get) {
        None => None,
        Some(text) => Some(request_id(text).ok_or_else(|| {
            Malformed::request(None, "Invalid Request: id must be a string or an integer")
        })?),
    };
    if envelope.jsonrpc.map(RawValue::get) != Some("\"2.0\"") {
        return Err(Malformed::request(
            id,
            "Invalid Request: jsonrpc must be \"2.0\"",
        ));
    }
    let Some(method) = envelope.method else {
        return answer(id, &envelope);
    };
    let Ok(method) = serde_json::from_str::<Cow<'_, str>>(method.get()) else {
        return Err(Malformed::request(
            id,
            "Invalid Request: method must be a string",
        ));
    };
    if envelope.result.is_some() || envelope.error.is_some() {
        return Err(Malformed::request(
            id,
            "Invalid Request: a message is either a request or a response",
        ));
    }
    let method = method.into_owned();
    let params = params(envelope.params);
    Ok(match id {
        Some(id) => Incoming::Request(Call { id, method, params }),
        None => Incoming::Notification { method, params },
    })
}

fn answer(id: Option<RequestId>, envelope: &Envelope<'_>) -> Result<Incoming, Malformed> {
    let Some(id) = id else {
        return Err(Malformed::request(
            None,
            "Invalid Request: method is missing",
        ));
    };
    let result = match (envelope.result, envelope.error) {
        (Some(result), None) => serde_json::from_str(result.get()).map(Ok),
        (None, Some(error)) => serde_json::from_str(error.get()).map(Err),
        (Some(_), Some(_)) => {
            let message = "Invalid Request: a response has either a result or an error";
            return Err(Malformed::request(Some(id), message));
        }
        (None, None) => {
            return Err(Malformed::request(
                Some(id),
                "Invalid Request: method is missing",
            ));
        }
    };
    match result {
        Ok(result) => Ok(Incoming::Answer { id, result }),
        Err(_) => Err(Malformed::request(
            Some(id),
            "Invalid Request: the response is malformed",
        )),
    }
}

/// A JSON-RPC id as MCP allows it: a string or an integer, never `null` and never a fraction.
fn request_id(text: &str) -> Option<RequestId> {
    match text.as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(text)
            .ok()
            .map(|id| RequestId::String(id.into())),
        b'-' | b'0'..=b'9' => text.parse().ok().map(RequestId::Number),
        _ => None,
    }
}

fn params(text: Option<&RawValue>) -> Params {
    let Some(text) = text else {
        return Params::default();
    };
    let malformed = |why| Params {
        given: true,
        malformed: Some(why),
        ..Params::default()
    };
    let Ok(mut fields) = serde_json::from_str::<JsonObject>(text.get()) else {
        return malformed("params must be an object");
    };
    let meta = match fields.remove("_meta") {
        None => RequestMetaObject::default(),
        Some(Value::Object(meta)) => RequestMetaObject(meta.into()),
        Some(_) => return malformed("params._meta must be an object"),
    };
    Params {
        fields,
        meta,
        given: true,
        malformed: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(body: &str) -> i32 {
        read(body.as_bytes(), 10)
            .err()
            .map_or(0, |malformed| malformed.error.code.0)
    }

    #[test]
    fn what_is_not_json_is_a_parse_error_and_what_is_no_message_an_invalid_request() {
        for body in ["", "{", "{\"jsonrpc\":\"2.0\"", "nul", "[1,", "{}x"] {
            assert_eq!(code_of(body), -32700, "{body}");
        }
        assert_eq!(
            read(b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}", 10)
                .unwrap_err()
                .error
                .code
                .0,
            -32700
        );
        for body in [
            "1",
            "null",
            "[]",
            "{}",
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            r#"{"id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":5}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":99999999999999999999,"method":"ping"}"#,
        ] {
            assert_eq!(code_of(body), -32600, "{body}");
        }
    }

    #[test]
    fn an_id_that_could_be_read_is_kept_for_the_error() {
        let malformed = read(br#"{"id":"a","method":"ping"}"#, 10).unwrap_err();
        assert_eq!(malformed.id, Some(RequestId::String("a".into())));
    }

    #[test]
    fn meta_is_taken_out_of_the_parameters() {
        let body = br#" {"jsonrpc":"2.0","id":-3,"method":"x/y","params":{"a":1,"_meta":{"b":2}}}"#;
        let Ok(Body::One(Incoming::Request(call))) = read(body, 10) else {
            panic!("no request")
        };
        assert_eq!(call.id, RequestId::Number(-3));
        assert_eq!(
            Value::Object(call.params.fields),
            serde_json::json!({"a": 1})
        );
        assert_eq!(call.params.meta.get("b"), Some(&Value::from(2)));
    }

    #[test]
    fn a_batch_keeps_what_could_be_read_of_it() {
        let body = br#"[{"jsonrpc":"2.0","id":1,"method":"ping"},3]"#;
        let Ok(Body::Batch(messages)) = read(body, 10) else {
            panic!("no batch")
        };
        assert!(messages[0].is_ok() && messages[1].is_err());
        assert!(read(body, 1).is_err());
    }
}
