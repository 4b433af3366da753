//! Whom a server can be reached by that asks nobody who they are.

use super::{Config, load, mistakes, rows, vars};

#[test]
fn without_authentication_only_loopback_is_served() {
    for host in ["0.0.0.0", "::", "192.168.1.1"] {
        let found = mistakes(&[("HOST", host)]);
        assert_eq!(found.len(), 1);
        let text = found[0].to_string();
        assert!(text.starts_with(&format!("HOST: got {host:?}")), "{text}");
        assert!(
            text.contains("AUTH_MODE=none")
                && text.contains("127.0.0.1")
                && text.contains("AUTH_MODE=token or AUTH_MODE=oauth"),
            "{text}"
        );
    }
    for host in ["127.0.0.1", "127.1.2.3", "::1", "localhost"] {
        assert!(load(&[("HOST", host)]).config.host.is_loopback());
    }
}

/// What says that others than this machine come in.
const OTHERS: [(&str, &str); 8] = [
    ("TRUSTED_PROXIES", "127.0.0.1"),
    ("TRUSTED_PROXIES", "10.0.0.0/8"),
    ("PUBLIC_URL", "https://notes.example.com"),
    ("PUBLIC_URL", "https://192.0.2.1:8443"),
    ("SERVER_HOSTNAME", "notes.example.com"),
    ("SERVER_HOSTNAME", "192.0.2.1"),
    ("ALLOWED_HOSTS", "localhost,notes.example.com"),
    ("ALLOWED_HOSTS", "[2001:db8::1]:3000"),
];

#[test]
fn without_authentication_nobody_comes_in_through_a_proxy() {
    for (name, value) in OTHERS {
        let found = mistakes(&[("AUTH_MODE", "none"), (name, value)]);
        let [mistake] = found.as_slice() else {
            panic!("{name}: {found:?}");
        };
        let text = mistake.to_string();
        assert!(
            text.starts_with(&format!("{name}: got {value:?}")),
            "{text}"
        );
        for way_out in ["AUTH_MODE=token", "AUTH_MODE=oauth", "ALLOW_ANONYMOUS=true"] {
            assert!(text.contains(way_out), "{way_out}: {text}");
        }
        load(&[("AUTH_MODE", "token"), (name, value)]);
    }
    let proxied = [("TRUSTED_PROXIES", "127.0.0.1"), ("PROXY_PROTOCOL", "on")];
    let named = mistakes(&proxied).into_iter().map(|it| it.setting);
    assert_eq!(
        named.collect::<Vec<_>>(),
        ["TRUSTED_PROXIES", "PROXY_PROTOCOL"]
    );
    for here in [
        "https://localhost",
        "https://127.0.0.1:8443",
        "https://[::1]",
    ] {
        load(&[("PUBLIC_URL", here)]);
    }
    load(&[("SERVER_HOSTNAME", "notes.localhost")]);
    load(&[("ALLOWED_HOSTS", "localhost:3000,127.0.0.2,[::1],[::1]:3000")]);
}

#[test]
fn a_proxy_that_checks_who_calls_is_said_to_and_is_on_this_machine() {
    let said = ("ALLOW_ANONYMOUS", "true");
    let row = rows().find(|row| row.name == said.0).unwrap();
    assert_eq!(row.shown(&load(&[said]).config), "true");
    assert_eq!(row.shown(&load(&[]).config), "false");
    for other in OTHERS {
        assert!(load(&[said, other]).config.allow_anonymous);
        assert!(!mistakes(&[("ALLOW_ANONYMOUS", "false"), other]).is_empty());
    }
    let open = mistakes(&[said, ("HOST", "0.0.0.0")]);
    assert_eq!(open[0].setting, "HOST");
    let unused = mistakes(&[said, ("AUTH_MODE", "token")]);
    assert_eq!(unused[0].setting, said.0);
    assert!(unused[0].expected.starts_with("AUTH_MODE=none"));
}

#[test]
fn what_is_for_oauth_alone_is_a_mistake_without_it() {
    let mut seen = 0;
    for row in rows().filter(|row| row.name.starts_with("OAUTH_")) {
        let value = match row.name {
            "OAUTH_TYPED_TOKENS" => "true",
            "OAUTH_ALGORITHMS" => "ES256",
            name if name.ends_with("_SECONDS") => "60",
            _ => "https://login.example.com",
        };
        for mode in ["none", "token"] {
            let given = [("AUTH_MODE", mode), (row.name, value)];
            let error = Config::from_vars(&vars(&given))
                .map(|it| it.config)
                .unwrap_err();
            let [mistake] = error.mistakes.as_slice() else {
                panic!("{}: {error}", row.name);
            };
            assert_eq!(mistake.setting, row.name);
            assert!(mistake.expected.starts_with("AUTH_MODE=oauth"), "{mistake}");
        }
        seen += 1;
    }
    assert_eq!(seen, 10);
}
