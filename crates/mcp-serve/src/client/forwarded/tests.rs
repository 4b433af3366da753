//! Clients as the headers of proxies make them: the cases, and what no header can do.

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::client::{Client, Peer};

const PROXIES: &str = "10.0.0.0/8,fd00::/8";

fn peer(address: &str) -> Peer {
    Peer {
        address: (address.parse::<IpAddr>().unwrap(), 50_000).into(),
        scheme: Scheme::Http,
        certificate: Some([7; 32]),
        is_hidden: false,
    }
}

fn headers<V: AsRef<[u8]>>(fields: &[(&'static str, V)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let value = HeaderValue::from_bytes(value.as_ref()).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

fn client(from: &str, fields: &[(&'static str, &str)]) -> Result<Client, ForwardedError> {
    let trusted = TrustedProxies::parse(PROXIES).unwrap();
    Client::of(&peer(from), &headers(fields), &trusted)
}

/// Address, scheme and host of the client behind the proxy 10.0.0.1, and whether it is hidden.
fn seen(fields: &[(&'static str, &str)]) -> (String, &'static str, Option<String>, bool) {
    let it = client("10.0.0.1", fields).unwrap();
    assert_eq!(
        it.certificate, None,
        "the certificate is the proxy's: {fields:?}"
    );
    (
        it.address.to_string(),
        it.scheme.as_str(),
        it.host.map(Into::into),
        it.is_hidden,
    )
}

fn address(fields: &[(&'static str, &str)]) -> String {
    seen(fields).0
}

#[test]
fn what_an_untrusted_peer_says_of_itself_changes_nothing() {
    let fields = [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("x-real-ip", "6.6.6.6"),
        ("forwarded", "for=7.7.7.7;proto=https;host=evil.example"),
    ];
    for from in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"] {
        let found = client(from, &fields).unwrap();
        assert_eq!(found, Client::direct(&peer(from)));
        assert_eq!(found.certificate, Some([7; 32]));
    }
    assert!(client("10.0.0.1", &fields).is_err());
}

#[test]
fn a_peer_in_the_clothes_of_ipv6_is_the_ipv4_address_that_it_is() {
    let found = client("::ffff:192.0.2.1", &[]).unwrap();
    assert_eq!(found.address.to_string(), "192.0.2.1");
    assert!(Client::direct(&peer("::ffff:127.0.0.1")).is_private());
    let named = client("::ffff:10.0.0.1", &[("x-forwarded-for", "192.0.2.2")]);
    assert_eq!(named.unwrap().address.to_string(), "192.0.2.2");
}

#[test]
fn the_client_is_the_first_from_the_right_that_is_no_proxy() {
    for (list, expected) in [
        ("192.0.2.1", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1, 10.9.9.9,fd00::7", "192.0.2.1"),
        ("10.0.0.9, 10.0.0.8", "10.0.0.9"),
        ("10.6.6.6, 192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("192.0.2.1:50000", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1, ::ffff:10.0.0.2", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:1", "fe80::1"),
        ("\t192.0.2.1 ", "192.0.2.1"),
    ] {
        assert_eq!(address(&[("x-forwarded-for", list)]), expected, "{list}");
    }
}

#[test]
fn an_entry_that_is_no_address_ends_the_way_at_the_proxy_that_wrote_it() {
    for entry in [
        "unknown",
        "_hidden",
        "",
        "localhost",
        "192.0.2",
        "192.0.2.1:",
        "192.0.2.1:x",
        "192.0.2.1:123456",
        "[192.0.2.1]",
        "[2001:db8::1",
        "[2001:db8::1]x",
        "2001:db8::1]:80",
        "fe80::1%",
        "192.0.2.1 6.6.6.6",
        "0x7f.1",
        "\"192.0.2.1\"",
    ] {
        let lone = seen(&[("x-forwarded-for", entry)]);
        assert_eq!(
            (lone.0.as_str(), lone.3),
            ("10.0.0.1", true),
            "alone: {entry}"
        );
        let list = format!("6.6.6.6, {entry}, 10.0.0.7");
        let within = seen(&[("x-forwarded-for", &list)]);
        assert_eq!(
            (within.0.as_str(), within.3),
            ("10.0.0.7", true),
            "within: {entry}"
        );
    }
}

#[test]
fn lines_are_one_list_in_their_order() {
    let lines = [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-for", "192.0.2.1, 10.0.0.3"),
        ("x-forwarded-for", "10.0.0.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-host", "evil.example, notes.example.com"),
    ];
    let host = Some("notes.example.com".to_owned());
    assert_eq!(seen(&lines), ("192.0.2.1".into(), "http", host, false));
}

#[test]
fn the_scheme_and_host_are_the_right_most_ones() {
    let proto = |value| {
        let fields = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", value),
        ];
        seen(&fields).1
    };
    for secure in ["https", "HTTPS", "http, https"] {
        assert_eq!(proto(secure), "https", "{secure}");
    }
    for clear in ["http", "https, http", "", "https,", "httpss", "wss", "on"] {
        assert_eq!(proto(clear), "http", "{clear}");
    }
    let host = |value| seen(&[("x-forwarded-host", value)]).2;
    assert_eq!(host("evil.example, a.example"), Some("a.example".into()));
    assert_eq!(host("a.example,"), None);
}

#[test]
fn a_proxy_that_says_nothing_asks_for_itself_and_one_that_says_little_was_asked_in_the_clear() {
    assert_eq!(seen(&[]), ("10.0.0.1".into(), "http", None, false));
    let trusted = TrustedProxies::parse(PROXIES).unwrap();
    let within_tls = Peer {
        scheme: Scheme::Https,
        ..peer("10.0.0.1")
    };
    let of = |fields: &[(&'static str, &str)]| {
        let found = Client::of(&within_tls, &headers(fields), &trusted).unwrap();
        found.scheme
    };
    assert_eq!(of(&[]), Scheme::Https);
    assert_eq!(of(&[("x-forwarded-for", "192.0.2.1")]), Scheme::Http);
    assert_eq!(of(&[("forwarded", "for=192.0.2.1")]), Scheme::Http);
    assert_eq!(of(&[("x-forwarded-proto", "http")]), Scheme::Http);
}

#[test]
fn forwarded_names_address_scheme_and_host_together() {
    let notes = Some("notes.example.com".to_owned());
    let full = "for=192.0.2.1;proto=https;host=notes.example.com";
    let elsewhere = "for=6.6.6.6;proto=http;host=evil.example";
    for line in [
        full.to_owned(),
        format!("{elsewhere}, {full}"),
        format!("{elsewhere},{full} , for=10.0.0.3;proto=http;host=inner"),
        "For=\"192.0.2.1:4711\" ; PROTO=HTTPS; Host=\"notes.example.com\"; by=_x".into(),
        "by=10.0.0.1;host=\"notes\\.example.com\";;proto=\"https\";for=192.0.2.1;".into(),
    ] {
        let expected = ("192.0.2.1".into(), "https", notes.clone(), false);
        assert_eq!(seen(&[("forwarded", &line)]), expected, "{line}");
    }
    let lines = [
        ("forwarded", elsewhere),
        ("forwarded", full),
        ("forwarded", "for=10.0.0.3"),
    ];
    assert_eq!(seen(&lines).0, "192.0.2.1");
    for (node, expected) in [
        ("\"[2001:db8::1]:80\"", "2001:db8::1"),
        ("\"[2001:db8::1]\"", "2001:db8::1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("\"[2001:db8::1]:_port\"", "2001:db8::1"),
        ("192.0.2.1:80", "192.0.2.1"),
        ("\"::ffff:192.0.2.1\"", "192.0.2.1"),
    ] {
        let line = format!("for={node}");
        assert_eq!(address(&[("forwarded", &line)]), expected, "{node}");
    }
}

#[test]
fn a_proxy_that_hides_its_client_stands_for_it_and_keeps_its_scheme() {
    for node in [
        "for=unknown",
        "for=_SEVKISEK",
        "for=\"_gazonk:80\"",
        "by=_x",
        "for=localhost",
    ] {
        let line = format!("for=6.6.6.6;proto=http, {node};proto=https, for=10.0.0.7");
        let found = seen(&[("forwarded", &line)]);
        assert_eq!(found, ("10.0.0.7".into(), "https", None, true), "{node}");
    }
    assert!(seen(&[("forwarded", "")]).3);
}

#[test]
fn a_malformed_forwarded_is_refused_where_a_proxy_may_have_written_in_it() {
    for line in [
        "for",
        "for=",
        "=x",
        "for=\"192.0.2.1",
        "for=\"192.0.2.1\\",
        "for=\"192.0.2.1\"x",
        "for=192.0.2.1 proto=https",
        "for=192.0.2.1;for=6.6.6.6",
        "fo r=192.0.2.1",
        "for=192.0.2.1;proto=(https)",
        "for=\", for=192.0.2.1",
        "for=6.6.6.6;x=\", for=\"[2001:db8::1]\"",
    ] {
        let found = client("10.0.0.1", &[("forwarded", line)]);
        assert_eq!(found, Err(ForwardedError::Malformed), "{line}");
        // What stands further left than the client is none of our business.
        let lines = [("forwarded", line), ("forwarded", "for=192.0.2.1")];
        assert_eq!(address(&lines), "192.0.2.1", "{line}");
    }
    let bytes = headers(&[("forwarded", b"for=\xff")]);
    let trusted = TrustedProxies::parse(PROXIES).unwrap();
    assert!(Client::of(&peer("10.0.0.1"), &bytes, &trusted).is_err());
}

#[test]
fn both_kinds_of_headers_must_say_the_same_as_far_as_both_say_something() {
    let both = |forwarded| {
        let fields = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-host", "Notes.example.com"),
            ("forwarded", forwarded),
        ];
        client("10.0.0.1", &fields)
    };
    for agreeing in [
        "for=192.0.2.1",
        "for=192.0.2.1;proto=https;host=notes.example.com",
        "for=\"192.0.2.1:1\", for=10.0.0.2",
    ] {
        let found = both(agreeing).unwrap();
        assert_eq!(found.address.to_string(), "192.0.2.1", "{agreeing}");
        assert_eq!(found.host.as_deref(), Some("Notes.example.com"));
    }
    for other in [
        "for=6.6.6.6",
        "for=unknown",
        "proto=https",
        "for=192.0.2.1;host=evil.example",
    ] {
        assert_eq!(both(other), Err(ForwardedError::Disagree), "{other}");
    }
    let schemes = [
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=192.0.2.1;proto=http"),
    ];
    assert_eq!(client("10.0.0.1", &schemes), Err(ForwardedError::Disagree));
}

#[test]
fn only_so_many_hops_are_followed() {
    let chain = |hops: usize| format!("192.0.2.1{}", ", 10.0.0.2".repeat(hops));
    let of = |hops| seen(&[("x-forwarded-for", &chain(hops))]);
    assert_eq!(of(HOPS_MAX - 1).0, "192.0.2.1");
    assert!(of(HOPS_MAX).3);
    assert_eq!(of(100_000).0, "10.0.0.2");
    let forwarded = |hops| chain(hops).replace(", ", ", for=");
    let of = |hops| seen(&[("forwarded", &format!("for={}", forwarded(hops)))]);
    assert_eq!(of(HOPS_MAX - 1).0, "192.0.2.1");
    assert!(of(HOPS_MAX).3);
    assert_eq!(of(100_000).0, "10.0.0.2");
}

#[test]
fn who_is_hidden_on_loopback_is_not_private() {
    let trusted = TrustedProxies::parse("127.0.0.1").unwrap();
    let of = |fields: &[(&'static str, &str)]| {
        let found = Client::of(&peer("127.0.0.1"), &headers(fields), &trusted);
        found.unwrap().is_private()
    };
    assert!(of(&[]));
    assert!(of(&[("x-forwarded-for", "127.0.0.1")]));
    assert!(!of(&[("x-forwarded-for", "unknown")]));
    assert!(!of(&[("x-forwarded-for", "192.0.2.1")]));
    // It asks for somebody, though it does not say for whom.
    assert!(!of(&[("x-forwarded-proto", "http")]));
    assert!(!of(&[("x-forwarded-host", "notes.example.com")]));
    assert!(of(&[("x-forwarded-proto", "https")]));
    assert!(!Client::behind(&peer("127.0.0.1")).is_private());
    let secure = [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
    ];
    assert!(of(&secure));
}

#[test]
fn behind_a_connection_for_nobody_in_particular_headers_are_the_clients_own() {
    let trusted = TrustedProxies::parse("127.0.0.1").unwrap();
    let unnamed = Peer {
        is_hidden: true,
        ..peer("127.0.0.1")
    };
    for fields in [
        &[][..],
        &[("x-forwarded-for", "127.0.0.1")],
        &[("x-forwarded-proto", "https")],
        &[("forwarded", "for=192.0.2.1;proto=https;host=evil.example")],
        &[("forwarded", "malformed")],
    ] {
        let found = Client::of(&unnamed, &headers(fields), &trusted).unwrap();
        assert_eq!(found, Client::behind(&unnamed), "{fields:?}");
        assert!(!found.is_private());
    }
    assert!(!Client::direct(&unnamed).is_private());
}

/// Anything that a header can hold.
fn junk() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,60}",
        "(for=|\"|[0-9.]{7}|,|;|proto=https|\\[::1\\]|\\\\| ){0,12}",
        "(([0-9]{1,3}\\.){3}[0-9]{1,3}(, )?){0,8}",
    ]
}

fn stranger() -> impl Strategy<Value = IpAddr> {
    let trusted = TrustedProxies::parse(PROXIES).unwrap();
    let address = prop_oneof![
        any::<u32>().prop_map(|it| IpAddr::V4(it.into())),
        any::<u128>().prop_map(|it| IpAddr::V6(it.into())),
    ];
    address
        .prop_map(|it| it.to_canonical())
        .prop_filter("a proxy", move |it| !trusted.contains(*it))
}

fn proxies() -> impl Strategy<Value = Vec<IpAddr>> {
    let proxy = prop_oneof![
        any::<[u8; 3]>().prop_map(|[a, b, c]| IpAddr::from([10, a, b, c])),
        any::<u64>().prop_map(|it| IpAddr::V6((0xfd << 120 | u128::from(it)).into())),
    ];
    prop::collection::vec(proxy, 0..4)
}

fn node(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]:80\""),
    }
}

/// The entries as lines, a new one where `breaks` says so.
fn lines(entries: &[String], breaks: &[bool]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        match lines.last_mut() {
            Some(line) if !breaks[index % breaks.len()] => {
                line.push_str(", ");
                line.push_str(entry);
            }
            _ => lines.push(entry.clone()),
        }
    }
    lines
}

proptest! {
    #[test]
    fn no_header_makes_it_panic_or_is_followed_from_strangers(
        fields in prop::collection::vec((0usize..4, prop::collection::vec(0x20u8..=255, 0..80)), 0..6),
    ) {
        let names = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"];
        let fields: Vec<_> = fields.into_iter().map(|(name, value)| {
            let value: Vec<u8> = value.into_iter().filter(|byte| *byte != 127).collect();
            (names[name], value)
        }).collect();
        let trusted = TrustedProxies::parse(PROXIES).unwrap();
        let map = headers(&fields);
        let _ = Client::of(&peer("10.0.0.1"), &map, &trusted);
        let stranger = peer("192.0.2.1");
        prop_assert_eq!(Client::of(&stranger, &map, &trusted), Ok(Client::direct(&stranger)));
    }

    #[test]
    fn what_a_client_invents_never_changes_its_address(
        spoofed in junk(), client in stranger(), proxies in proxies(),
        breaks in prop::collection::vec(any::<bool>(), 1..6),
    ) {
        let mut entries = vec![spoofed];
        entries.extend([client].iter().chain(&proxies).map(ToString::to_string));
        let fields = lines(&entries, &breaks);
        let fields: Vec<_> = fields.iter().map(|it| ("x-forwarded-for", it.as_str())).collect();
        prop_assert_eq!(address(&fields), client.to_string());
    }

    #[test]
    fn what_a_client_invents_in_forwarded_changes_nothing_or_is_refused(
        spoofed in junk(), client in stranger(), proxies in proxies(),
        breaks in prop::collection::vec(any::<bool>(), 1..6),
    ) {
        let trusted = TrustedProxies::parse(PROXIES).unwrap();
        let mut entries = vec![spoofed, format!("for={};proto=https", node(client))];
        entries.extend(proxies.iter().map(|it| format!("for={};proto=http", node(*it))));
        let fields = lines(&entries, &breaks);
        let own_line = fields[0] == entries[0];
        let fields: Vec<_> = fields.iter().map(|it| ("forwarded", it.as_str())).collect();
        match Client::of(&peer("10.0.0.1"), &headers(&fields), &trusted) {
            Ok(found) => {
                prop_assert_eq!(found.address, client);
                prop_assert_eq!(found.scheme, Scheme::Https);
            }
            Err(error) => prop_assert!(!own_line, "{} in {:?}", error, fields),
        }
    }
}
