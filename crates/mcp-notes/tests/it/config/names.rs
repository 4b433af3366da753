//! Variables that are no settings: those that were meant to be one stop the start, and no others do.

use super::{Loaded, load, mistakes, rows};

fn meant(name: &str) -> String {
    let found = mistakes(&[(name, "x")]);
    let [mistake] = found.as_slice() else {
        panic!("{name}: {found:?}");
    };
    assert_eq!((&*mistake.setting, &mistake.given), (name, &None));
    let (known, _) = mistake.expected.split_once(" if that is meant").unwrap();
    known.to_owned()
}

#[test]
fn a_misspelt_setting_stops_the_start_and_is_told_the_nearest_name() {
    for (name, known) in [
        ("AUHT_MODE", "AUTH_MODE"),
        ("AUTH_MODES", "AUTH_MODE"),
        ("auth_mode", "AUTH_MODE"),
        ("AUTHMODE", "AUTH_MODE"),
        ("TRUSTED_PROXY", "TRUSTED_PROXIES"),
        ("TRUSED_PROXIES", "TRUSTED_PROXIES"),
        ("ALLOWED_HOST", "ALLOWED_HOSTS"),
        ("ALLOWED_HOSTS_FILE", "ALLOWED_HOSTS"),
        ("ALLOWED_ORIGNS", "ALLOWED_ORIGINS"),
        ("OAUTH_ISSUER", "OAUTH_ISSUERS"),
        ("OATH_AUDIENCE", "OAUTH_AUDIENCE"),
        ("RATE_LIMIT_WRITE", "RATE_LIMIT_WRITES"),
        ("RATELIMIT_READS", "RATE_LIMIT_READS"),
        ("TOKEN_FILE", "TOKENS_FILE"),
        ("AUDIT_LOGS", "AUDIT_LOG"),
        ("AUDIT_LOG_FILE", "AUDIT_LOG"),
        ("SSL_KEY", "SSL_KEY_PATH"),
        ("TLS_ENABLED", "SSL_ENABLED"),
        ("SSL_CLIENT_AUHT", "SSL_CLIENT_AUTH"),
        ("HSTS_SECOND", "HSTS_SECONDS"),
        ("PROXY_PROTOCL", "PROXY_PROTOCOL"),
        ("CALLS_PER_CALLER", "CALLS_PER_CALLER_MAX"),
        ("SESSION_LIFETME", "SESSION_LIFETIME"),
        ("LOG_LEVL", "LOG_LEVEL"),
        ("NOTES_STROE", "NOTES_STORE"),
        ("NOTES_STORE_FIEL", "NOTES_STORE"),
        ("NOTES_AUTH_MODE", "AUTH_MODE"),
        ("MCP_SESSION_TTL", "SESSION_TTL"),
        ("MCP_PORT", "PORT"),
    ] {
        assert_eq!(meant(name), known, "{name}");
    }
}

#[test]
fn every_setting_of_two_words_is_missed_when_a_letter_of_it_is() {
    let names = rows().map(|row| row.name);
    let mut tried = 0;
    for name in names.filter(|name| name.len() > 8 && name.contains('_')) {
        let all = rows().flat_map(|row| [&row.name].into_iter().chain(row.aliases));
        let known: Vec<_> = all.copied().collect();
        for at in [0, name.len() / 2, name.len() - 1] {
            let misspelt = format!("{}{}", &name[..at], &name[at + 1..]);
            if !known.contains(&&*misspelt) {
                let found = mistakes(&[(&misspelt, "x")]);
                assert_eq!(found[0].setting, misspelt);
                tried += 1;
            }
        }
    }
    assert!(tried > 100, "{tried}");
}

#[test]
fn variables_of_others_never_stop_the_start() {
    let others = [
        ("PATH", "/bin"),
        ("HOME", "/root"),
        ("HOSTNAME", "box"),
        ("host", "box"),
        ("port", "1"),
        ("LOGNAME", "me"),
        ("SESSION_ID", "1"),
        ("SESSION_MANAGER", "local/box"),
        ("XDG_SESSION_ID", "1"),
        ("SSH_AUTH_SOCK", "/tmp/x"),
        ("SSL_CERT_FILE", "/etc/ssl/all.pem"),
        ("SSL_CERT_DIR", "/etc/ssl"),
        ("SERVER_NAME", "box"),
        ("SERVICE_VERSION", "1"),
        ("APP_KEY", "x"),
        ("APP_NAME", "x"),
        ("NODE_OPTIONS", "x"),
        ("NODE_PATH", "x"),
        ("HTTP_PROXY", "x"),
        ("NO_PROXY", "x"),
        ("LOG_FILE", "x"),
        ("LOG_ENABLED", "x"),
        ("ENABLE_METRICS", "x"),
        ("REQUEST_METHOD", "GET"),
        ("NOTES_STROE", ""),
        ("NOTES_SERVICE_HOST", "10.0.0.1"),
        ("NOTES_SERVICE_PORT", "80"),
        ("NOTES_SERVICE_PORT_HTTP", "80"),
        ("NOTES_PORT", "tcp://10.0.0.1:80"),
        ("NOTES_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("NOTES_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("MCP_NOTES_SERVICE_HOST", "10.0.0.1"),
        ("MCP_NOTES_PORT", "tcp://10.0.0.1:3000"),
        ("MCP_NOTES_PORT_3000_TCP_PORT", "3000"),
        ("NOTES_STORE_SERVICE_HOST", "10.0.0.1"),
        ("NOTES_STORE_PORT", "tcp://10.0.0.1:5432"),
        ("AUTH_MODE_PORT_53_UDP_PROTO", "udp"),
    ];
    for other in others {
        let Loaded { warnings, .. } = load(&[other]);
        assert_eq!(warnings, Vec::<String>::new(), "{other:?}");
    }
}

#[test]
fn what_only_this_server_could_be_meant_by_is_reported() {
    for name in ["NOTES_DIR", "MCP_NOTES_DIR", "MCP_ENABLED"] {
        let warnings = load(&[(name, "x")]).warnings;
        assert_eq!(warnings, [format!("{name} is not a setting")]);
    }
}
