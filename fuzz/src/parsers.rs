//! Small languages: settings that name hosts, origins and networks, the field that holds a token, and what proxies
//! say of a client in header fields and in front of a connection.

use http::{HeaderValue, Request, Uri, header::AUTHORIZATION};
use mcp_serve::{
    auth::bearer as read_bearer,
    client::{Client, Peer, Scheme, TrustedProxies},
    config::{AllowedHosts, AllowedOrigins},
    fuzz,
    signals::Signal,
};

use crate::request;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The first line is the target of a request, every other one an `Authorization` field. A token that is taken is one
/// word of the characters that tokens have, and a target with a token in it is never taken.
pub fn bearer(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let mut request = Request::new(());
    if let Ok(target) = Uri::try_from(first) {
        *request.uri_mut() = target;
    }
    for line in lines.take(4) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            request.headers_mut().append(AUTHORIZATION, value);
        }
    }
    let (parts, ()) = request.into_parts();
    let fields = parts.headers.get_all(AUTHORIZATION).iter().count();
    let query = parts.uri.query().unwrap_or_default();
    let mut names = query.split('&').filter_map(|pair| pair.split('=').next());
    let has_token = names.any(|name| name.eq_ignore_ascii_case("access_token"));
    match read_bearer(&parts, |error| format!("Bearer error=\"{error}\"")) {
        Ok(Some(token)) => {
            assert_eq!(fields, 1);
            assert!(
                !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()),
                "{token:?}"
            );
            assert!(!has_token, "{query}");
        }
        Ok(None) => assert_eq!(fields, 0),
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
}

/// A list that is taken says itself again: what it writes is read as the same.
pub fn hosts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(hosts) = AllowedHosts::parse(text) {
        let again = AllowedHosts::parse(&hosts.to_string()).expect("what it writes itself");
        assert_eq!(again.to_string(), hosts.to_string());
    }
    if let Ok(proxies) = TrustedProxies::parse(text) {
        assert_eq!(
            TrustedProxies::parse(&proxies.to_string()).as_ref(),
            Ok(&proxies)
        );
    }
    let _ = AllowedOrigins::parse(text);
}

/// A request that a proxy passes on, after whose target the fields are read. What a client adds on the left of a list
/// changes nothing of an address that was found on the right of it.
pub fn forwarded(data: &[u8]) {
    let Some(mut request) = request::read(data) else {
        return;
    };
    let trusted = TrustedProxies::parse("10.0.0.0/8, fd00::/8").expect("networks");
    let peer = |address: &str| Peer {
        address: address.parse().expect("an address"),
        scheme: Scheme::Http,
        certificate: None,
        is_hidden: false,
    };
    let stranger = peer("192.0.2.1:9");
    let told = Client::of(&stranger, request.headers(), &trusted);
    assert_eq!(told, Ok(Client::direct(&stranger)));
    let proxy = peer("[::ffff:10.0.0.1]:9");
    let Ok(client) = Client::of(&proxy, request.headers(), &trusted) else {
        return;
    };
    assert_eq!(client.address, client.address.to_canonical());
    let headers = request.headers_mut();
    if let Some(first) = headers.get(X_FORWARDED_FOR)
        && !trusted.contains(client.address)
    {
        let longer = [b"203.0.113.77, ", first.as_bytes()].concat();
        let rest: Vec<_> = headers
            .get_all(X_FORWARDED_FOR)
            .iter()
            .skip(1)
            .cloned()
            .collect();
        headers.insert(
            X_FORWARDED_FOR,
            HeaderValue::from_bytes(&longer).expect("a field"),
        );
        for value in rest {
            headers.append(X_FORWARDED_FOR, value);
        }
        let again = Client::of(&proxy, headers, &trusted);
        assert_eq!(again.as_ref(), Ok(&client));
    }
}

/// A header of the PROXY protocol is taken or refused.
pub fn proxy_header(data: &[u8]) {
    fuzz::proxy_header(data);
}

/// What another replica publishes, whole. What is understood of it is said again in the same words.
pub fn packet(data: &[u8]) {
    assert!(fuzz::packet(data));
}

/// What another replica tells of a session. What is understood is said again in the same words.
pub fn signal(data: &[u8]) {
    if let Some(signal) = Signal::from_json(data) {
        let json = signal.to_json().expect("a signal that is not too large");
        assert!(Signal::from_json(&json) == Some(signal));
    }
}
