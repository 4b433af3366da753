//! The request headers of revision 2026-07-28 and what they must agree with in the body
//! (Streamable HTTP, "Standard Request Headers", "Custom Headers" and "Server Validation").

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderMap;
use rmcp::model::{ErrorCode, ErrorData, JsonObject, ProtocolVersion, RequestMetaObject, Tool};
use serde_json::Value;

use super::envelope::Params;

/// `MCP-Protocol-Version`
pub(super) const PROTOCOL_VERSION: &str = "mcp-protocol-version";
/// `Mcp-Session-Id`
pub(super) const SESSION_ID: &str = "mcp-session-id";
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";
const PARAM_PREFIX: &str = "mcp-param-";
const ANNOTATION: &str = "x-mcp-header";
/// Longest header value that is decoded. What is longer cannot match anything sensible.
const VALUE_BYTES_MAX: usize = 8 * 1024;

pub(super) const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// Error -32020.
fn mismatch(why: String) -> ErrorData {
    ErrorData::new(ErrorCode::HEADER_MISMATCH, why, None)
}

/// The one value of a header; an error when it stands twice or is not text.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ErrorData> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(mismatch(format!("the {name} header stands more than once")));
    }
    let value = value
        .to_str()
        .map_err(|_| mismatch(format!("the {name} header is not text")))?;
    Ok(Some(value.trim_matches([' ', '\t'])))
}

/// Checks a modern request's `_meta` and protocol version, and gives the version.
///
/// Errors are -32602 (fields of `_meta`), -32020 (header) and -32022 (version), all HTTP 400.
pub(super) fn check_version(
    headers: &HeaderMap,
    meta: &RequestMetaObject,
    supported: &[ProtocolVersion],
) -> Result<ProtocolVersion, ErrorData> {
    let version = meta.get(META_VERSION).and_then(Value::as_str);
    let mut missing = Vec::new();
    if version.is_none() {
        missing.push(META_VERSION);
    }
    if meta.client_capabilities().is_none() {
        missing.push(META_CAPABILITIES);
    }
    let (Some(version), true) = (version, missing.is_empty()) else {
        return Err(ErrorData::invalid_params(
            format!("params._meta lacks or malforms: {}", missing.join(", ")),
            None,
        ));
    };
    let header = single(headers, PROTOCOL_VERSION)?
        .ok_or_else(|| mismatch("the MCP-Protocol-Version header is missing".into()))?;
    if header != version {
        return Err(mismatch(format!(
            "the MCP-Protocol-Version header does not agree with params._meta[\"{META_VERSION}\"]"
        )));
    }
    supported
        .iter()
        .find(|it| !it.has_initialize() && it.as_str() == version)
        .cloned()
        .ok_or_else(|| unsupported(version, supported))
}

/// Error -32022 with what was asked for and what there is.
pub(super) fn unsupported(requested: &str, supported: &[ProtocolVersion]) -> ErrorData {
    let requested: String = requested.chars().take(64).collect();
    ErrorData::new(
        ErrorCode::UNSUPPORTED_PROTOCOL_VERSION,
        "Unsupported protocol version",
        Some(serde_json::json!({"requested": requested, "supported": supported})),
    )
}

/// Checks `Mcp-Method` and `Mcp-Name` against the body. Errors are -32020.
pub(super) fn check_routing(
    headers: &HeaderMap,
    method: &str,
    params: &Params,
) -> Result<(), ErrorData> {
    let header = single(headers, METHOD)?
        .ok_or_else(|| mismatch("the Mcp-Method header is missing".into()))?;
    if decoded(header, METHOD)? != method {
        return Err(mismatch(
            "the Mcp-Method header does not agree with the body".into(),
        ));
    }
    let field = match method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        "tasks/get" | "tasks/update" | "tasks/cancel" => "taskId",
        _ => return Ok(()),
    };
    // Without a usable field the body is what is wrong, and its own check says so.
    let Some(expected) = params.fields.get(field).and_then(Value::as_str) else {
        return Ok(());
    };
    let header =
        single(headers, NAME)?.ok_or_else(|| mismatch("the Mcp-Name header is missing".into()))?;
    if decoded(header, NAME)? != expected {
        return Err(mismatch(format!(
            "the Mcp-Name header does not agree with params.{field}"
        )));
    }
    Ok(())
}

/// Checks the `Mcp-Param-*` headers of a call against the arguments that the tool's schema
/// annotates with `x-mcp-header`. Errors are -32020.
pub(super) fn check_params(
    headers: &HeaderMap,
    tool: &Tool,
    arguments: Option<&JsonObject>,
) -> Result<(), ErrorData> {
    check_level(headers, tool.input_schema.get("properties"), arguments)
}

fn check_level(
    headers: &HeaderMap,
    properties: Option<&Value>,
    arguments: Option<&JsonObject>,
) -> Result<(), ErrorData> {
    let Some(Value::Object(properties)) = properties else {
        return Ok(());
    };
    for (name, schema) in properties {
        let value = arguments.and_then(|arguments| arguments.get(name));
        if let Some(Value::String(annotation)) = schema.get(ANNOTATION) {
            check_param(headers, annotation, value)?;
        }
        if schema.get("properties").is_some() {
            check_level(
                headers,
                schema.get("properties"),
                value.and_then(Value::as_object),
            )?;
        }
    }
    Ok(())
}

fn check_param(
    headers: &HeaderMap,
    annotation: &str,
    value: Option<&Value>,
) -> Result<(), ErrorData> {
    let name = format!("{PARAM_PREFIX}{}", annotation.to_ascii_lowercase());
    let header = single(headers, &name)?;
    let agrees = match (value, header) {
        (None | Some(Value::Null), None) => true,
        (Some(_), None) => return Err(mismatch(format!("the {name} header is missing"))),
        (Some(Value::String(text)), Some(header)) => decoded(header, &name)? == text.as_str(),
        (Some(Value::Bool(it)), Some(header)) => {
            decoded(header, &name)? == if *it { "true" } else { "false" }
        }
        (Some(Value::Number(number)), Some(header)) => {
            let header = decoded(header, &name)?;
            same_number(number, &header)
        }
        (_, Some(_)) => false,
    };
    if agrees {
        Ok(())
    } else {
        Err(mismatch(format!(
            "the {name} header does not agree with the arguments"
        )))
    }
}

/// Integers are compared by value, so that `7`, `07` and `7.0` are the same.
#[expect(clippy::float_cmp, reason = "the same digits parse to the same float")]
fn same_number(number: &serde_json::Number, header: &str) -> bool {
    if let (Some(left), Ok(right)) = (number.as_i64(), header.parse::<i64>()) {
        return left == right;
    }
    matches!((number.as_f64(), header.parse::<f64>()), (Some(left), Ok(right)) if left == right)
}

/// The text that `=?base64?…?=` stands for, or the value as it is.
fn decoded<'a>(value: &'a str, name: &str) -> Result<Cow<'a, str>, ErrorData> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(mismatch(format!("the {name} header is too long")));
    }
    let wrapped = value
        .strip_prefix("=?base64?")
        .and_then(|it| it.strip_suffix("?="));
    let Some(wrapped) = wrapped else {
        return Ok(Cow::Borrowed(value));
    };
    STANDARD
        .decode(wrapped)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .map(Cow::Owned)
        .ok_or_else(|| {
            mismatch(format!(
                "the {name} header is not valid base64 of UTF-8 text"
            ))
        })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{HeaderName, HeaderValue};
    use serde_json::json;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                (name, HeaderValue::from_bytes(value.as_bytes()).unwrap())
            })
            .fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            })
    }

    fn code<T>(result: Result<T, ErrorData>) -> i32 {
        result.err().map_or(0, |error| error.code.0)
    }

    fn params(fields: Value) -> Params {
        let Value::Object(fields) = fields else {
            panic!("not an object")
        };
        Params {
            fields,
            given: true,
            ..Params::default()
        }
    }

    #[test]
    fn the_version_stands_in_header_and_body_and_is_known() {
        let all = [ProtocolVersion::V_2026_07_28];
        let meta = |version: Value| {
            let meta = json!({META_VERSION: version, META_CAPABILITIES: {}});
            serde_json::from_value::<RequestMetaObject>(meta).unwrap()
        };
        let with = |version| headers(&[(PROTOCOL_VERSION, version)]);
        let now = "2026-07-28";
        assert!(check_version(&with(now), &meta(json!(now)), &all).is_ok());
        assert_eq!(
            code(check_version(&with(now), &meta(json!(5)), &all)),
            -32602
        );
        assert_eq!(
            code(check_version(
                &with(now),
                &RequestMetaObject::default(),
                &all
            )),
            -32602
        );
        assert_eq!(
            code(check_version(&headers(&[]), &meta(json!(now)), &all)),
            -32020
        );
        assert_eq!(
            code(check_version(&with("2025-11-25"), &meta(json!(now)), &all)),
            -32020
        );
        assert_eq!(
            code(check_version(
                &with("2099-01-01"),
                &meta(json!("2099-01-01")),
                &all
            )),
            -32022
        );
        let twice = headers(&[(PROTOCOL_VERSION, now), (PROTOCOL_VERSION, now)]);
        assert_eq!(code(check_version(&twice, &meta(json!(now)), &all)), -32020);
    }

    #[test]
    fn method_and_name_agree_with_the_body() {
        let body = params(json!({"name": "größe"}));
        let check =
            |pairs: &[(&str, &str)]| code(check_routing(&headers(pairs), "tools/call", &body));
        assert_eq!(
            check(&[
                ("Mcp-Method", "tools/call"),
                ("Mcp-Name", "=?base64?Z3LDtsOfZQ==?=")
            ]),
            0
        );
        assert_eq!(
            check(&[
                ("Mcp-Method", "tools/call"),
                ("Mcp-Name", "=?base64?Z3LDt?=")
            ]),
            -32020
        );
        assert_eq!(
            check(&[("Mcp-Method", "tools/call"), ("Mcp-Name", "other")]),
            -32020
        );
        assert_eq!(check(&[("Mcp-Method", "tools/call")]), -32020);
        assert_eq!(
            check(&[("Mcp-Method", "Tools/Call"), ("Mcp-Name", "x")]),
            -32020
        );
        assert_eq!(check(&[]), -32020);
        let list = headers(&[("mcp-method", " tools/list ")]);
        assert_eq!(
            code(check_routing(&list, "tools/list", &Params::default())),
            0
        );
    }

    #[test]
    fn annotated_arguments_agree_with_their_headers() {
        let schema = json!({"properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "inner": {"properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
        }});
        let Value::Object(schema) = schema else {
            panic!("not an object")
        };
        let tool = Tool::new("t", "t", Arc::new(schema));
        let check = |arguments: Value, pairs: &[(&str, &str)]| {
            code(check_params(&headers(pairs), &tool, arguments.as_object()))
        };
        assert_eq!(
            check(json!({"region": "eu"}), &[("Mcp-Param-Region", "eu")]),
            0
        );
        assert_eq!(check(json!({"region": "eu"}), &[]), -32020);
        assert_eq!(
            check(json!({"region": "eu"}), &[("Mcp-Param-Region", "us")]),
            -32020
        );
        assert_eq!(check(json!({}), &[("Mcp-Param-Region", "us")]), -32020);
        assert_eq!(check(json!({"region": null}), &[]), 0);
        assert_eq!(
            check(json!({"inner": {"n": 7}}), &[("Mcp-Param-N", "7.0")]),
            0
        );
        assert_eq!(
            check(json!({"inner": {"n": 7}}), &[("Mcp-Param-N", "8")]),
            -32020
        );
    }
}
