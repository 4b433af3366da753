//! The bearer token of a request (RFC 6750).

use http::{header::AUTHORIZATION, request::Parts};

use super::AuthError;

/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 8 << 10;

/// The bearer token in the `Authorization` header of a request; `None` when it has no such header.
///
/// A token in the query string is refused with 400: addresses are logged and shared (RFC 6750
/// section 5.3). So is a second `Authorization`. Another scheme than `Bearer`, or something that
/// is no token, is 401. `challenge` gives the challenge for an OAuth error code.
pub fn bearer(
    parts: &Parts,
    challenge: impl Fn(&'static str) -> String,
) -> Result<Option<&str>, AuthError> {
    let malformed = |reason, message| AuthError::Malformed {
        reason,
        message,
        challenge: challenge("invalid_request"),
    };
    if parts.uri.query().is_some_and(has_token) {
        return Err(malformed(
            "query",
            "a token belongs in the Authorization header, never in the address",
        ));
    }
    let mut fields = parts.headers.get_all(AUTHORIZATION).iter();
    let Some(field) = fields.next() else {
        return Ok(None);
    };
    if fields.next().is_some() {
        return Err(malformed(
            "twice",
            "the request has two Authorization headers",
        ));
    }
    let unusable = |reason| AuthError::Unauthenticated {
        reason,
        challenge: challenge("invalid_token"),
    };
    let Some((scheme, token)) = field.to_str().ok().and_then(|field| field.split_once(' ')) else {
        return Err(unusable("malformed"));
    };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(unusable("scheme"));
    }
    let token = token.trim_matches(' ');
    if is_token(token) {
        Ok(Some(token))
    } else {
        Err(unusable("malformed"))
    }
}

/// Whether it has the form that RFC 6750 section 2.1 calls `b64token`.
fn is_token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !body.is_empty() && text.len() <= TOKEN_BYTES_MAX && body.bytes().all(fits)
}

/// Whether a query names `access_token`, however it is written.
fn has_token(query: &str) -> bool {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.any(|(name, _)| name.eq_ignore_ascii_case("access_token"))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn read(uri: &str, fields: &[&str]) -> Result<Option<String>, AuthError> {
        let mut request = Request::get(uri);
        for field in fields {
            request = request.header(AUTHORIZATION, *field);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        bearer(&parts, |error| format!("Bearer error=\"{error}\"")).map(|it| it.map(Into::into))
    }

    fn reason(result: Result<Option<String>, AuthError>) -> &'static str {
        match result {
            Err(
                AuthError::Unauthenticated { reason, .. } | AuthError::Malformed { reason, .. },
            ) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_token_is_what_follows_the_scheme() {
        assert_eq!(read("/", &[]), Ok(None));
        assert_eq!(
            read("/", &["Bearer a.b-c_~+/=="]),
            Ok(Some("a.b-c_~+/==".into()))
        );
        assert_eq!(
            read("/?q=access_token", &["bEaReR  x "]),
            Ok(Some("x".into()))
        );
    }

    #[test]
    fn what_is_no_bearer_token_is_refused() {
        let long = format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX + 1));
        for field in [
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer =",
            "Bearer \u{e9}",
            long.as_str(),
        ] {
            assert_eq!(reason(read("/", &[field])), "malformed", "{field}");
        }
        assert_eq!(reason(read("/", &["Basic eDp5"])), "scheme");
        assert_eq!(reason(read("/", &["Bearer a", "Bearer a"])), "twice");
    }

    #[test]
    fn a_token_in_the_address_is_refused_however_it_is_written() {
        for query in ["access_token=x", "a=b&ACCESS_TOKEN", "%61ccess%5Ftoken=x"] {
            assert_eq!(
                reason(read(&format!("/?{query}"), &["Bearer a"])),
                "query",
                "{query}"
            );
        }
    }
}
