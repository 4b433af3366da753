//! Settings: what each takes, what it refuses, and that a mistake never hides another.

mod backup;
mod mongodb;
mod names;
mod reach;
mod redis;

use std::{
    ffi::OsString,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    time::Duration,
};

use mcp_notes::config::{
    self, AuthMode, Config, Loaded, LogFormat, Mistake, Origin, Profile, SETTINGS, Setting, Vars,
};

fn vars(pairs: &[(&str, &str)]) -> Vars {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
        .collect()
}

fn load(pairs: &[(&str, &str)]) -> Loaded {
    Config::from_vars(&vars(pairs)).unwrap()
}

fn mistakes(pairs: &[(&str, &str)]) -> Vec<Mistake> {
    Config::from_vars(&vars(pairs))
        .map(|l| l.config)
        .unwrap_err()
        .mistakes
}

/// What `AUTH_MODE=oauth` needs.
const OAUTH: [(&str, &str); 3] = [
    ("AUTH_MODE", "oauth"),
    ("OAUTH_ISSUERS", "https://login.example.com"),
    ("PUBLIC_URL", "https://notes.example.com"),
];

fn rows() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().copied().flatten()
}

#[test]
fn without_settings_it_is_one_person_on_one_machine() {
    let Loaded {
        config,
        origins,
        warnings,
    } = load(&[]);
    assert_eq!(config, Config::default());
    assert!(config.host.is_loopback());
    assert_eq!(config.port, 3000);
    assert_eq!(config.auth_mode, AuthMode::None);
    assert_eq!(config.notes_store.as_str(), "sqlite:data/notes.db");
    assert!(origins.values().all(|origin| *origin == Origin::Default));
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn the_documented_default_of_every_setting_is_a_value_it_takes() {
    for row in rows() {
        let text = row.default_text();
        let in_words = text.contains(' ');
        if text.is_empty() || in_words {
            continue;
        }
        // What is for one way to authenticate is a mistake beside another, and without a Redis so is
        // what is for it.
        let mode: &[_] = match row.name.split_once('_') {
            Some(("OAUTH", _)) => &OAUTH,
            Some(("REDIS", _)) => &[("REDIS_HOST", "redis")],
            _ => &[],
        };
        let loaded = load(&[mode, &[(row.name, &text)]].concat());
        assert_eq!(loaded.config, load(mode).config, "{}", row.name);
        assert_eq!(loaded.origins[row.name], Origin::Variable(row.name.into()));
    }
}

/// What else can be set where tokens are of the other kind, which no server takes beside its own.
const OAUTH_IN_FULL: [(&str, &str); 12] = [
    ("AUTH_MODE", "oauth"),
    ("PUBLIC_URL", "https://notes.example.com"),
    (
        "OAUTH_ISSUERS",
        "https://a.example.com/,https://b.example.com",
    ),
    (
        "OAUTH_AUDIENCE",
        "notes-server,https://notes.example.com/mcp",
    ),
    ("OAUTH_ALGORITHMS", "ES256,EdDSA"),
    ("OAUTH_TYPED_TOKENS", "true"),
    ("OAUTH_KEYS_REFRESH_SECONDS", "60"),
    ("OAUTH_KEYS_STALE_SECONDS", "7200"),
    ("OAUTH_CA_PATH", "/etc/mcp-notes/issuers.pem"),
    ("OAUTH_INTROSPECTION_CLIENT_ID", "notes"),
    ("OAUTH_INTROSPECTION_CLIENT_SECRET", "sesame"),
    (
        "OAUTH_INTROSPECTION_URL",
        "https://a.example.com/introspect",
    ),
];

#[test]
fn every_setting_takes_effect() {
    let given = [
        ("APP_ENV", "production"),
        ("HOST", "::1"),
        ("PORT", "0"),
        ("SSL_ENABLED", "true"),
        ("SSL_KEY_PATH", "/etc/mcp-notes/key.pem"),
        ("SSL_CERT_PATH", "/etc/mcp-notes/chain.pem"),
        ("SSL_CLIENT_AUTH", "required"),
        ("SSL_CLIENT_CA_PATH", "/etc/mcp-notes/clients.pem"),
        ("SERVER_HOSTNAME", "notes.example.com"),
        (
            "ALLOWED_HOSTS",
            "a.example.com,b.example.com:8080,notes.example.com",
        ),
        ("ALLOWED_ORIGINS", "https://app.example.com"),
        ("PUBLIC_URL", "https://notes.example.com"),
        ("AUTH_MODE", "token"),
        ("TOKENS_FILE", "/etc/mcp-notes/tokens"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,192.0.2.7"),
        ("PROXY_PROTOCOL", "on"),
        ("HSTS_SECONDS", "600"),
        ("ALLOW_PLAIN_HTTP", "true"),
        ("HEALTH_CHECK_PATH", "/status"),
        ("METRICS_PATH", "/numbers"),
        ("METRICS_ADDR", "127.0.0.1:9464"),
        ("NOTES_STORE", "sqlite:/var/lib/notes/notes.db"),
        ("TITLE_CHARS_MAX", "100"),
        ("CONTENT_CHARS_MAX", "5000"),
        ("MONGO_DATABASE", "team"),
        ("MONGODB_MAX_POOL_SIZE", "9"),
        ("MONGODB_MIN_POOL_SIZE", "2"),
        ("MONGODB_TIMEOUT_SECONDS", "7"),
        ("MONGODB_SELECTION_TIMEOUT_SECONDS", "6"),
        ("MONGODB_CONNECT_TIMEOUT_SECONDS", "4"),
        ("BACKUP_DIR", "/var/backups/notes"),
        ("BACKUP_SCHEDULE", "weekly sun 03:00"),
        ("BACKUP_KEEP", "all"),
        ("BACKUP_VERIFY", "false"),
        ("BACKUP_ENCRYPT_TO", "/etc/mcp-notes/backup.pub"),
        ("BACKUP_IDENTITIES", "/etc/mcp-notes/backup.key"),
        ("NOTES_CACHE_SECONDS", "60"),
        ("NOTES_ISOLATION", "shared"),
        ("NOTES_READ_ONLY", "true"),
        ("NOTES_TOOLS_DISABLED", "search_notes,delete_note"),
        ("SESSION_TTL", "60"),
        ("SESSION_LIFETIME", "120"),
        ("SESSIONS_MAX", "5"),
        ("SESSIONS_PER_PRINCIPAL_MAX", "4"),
        ("SESSION_GRACE_SECONDS", "5"),
        ("BODY_BYTES_MAX", "65536"),
        ("CONNECTIONS_MAX", "99"),
        ("RATE_LIMIT_WINDOW_SECONDS", "30"),
        ("RATE_LIMIT_ANONYMOUS", "11"),
        ("RATE_LIMIT_READS", "12"),
        ("RATE_LIMIT_WRITES", "13"),
        ("RATE_LIMIT_SEARCHES", "14"),
        ("RATE_LIMIT_SESSIONS", "15"),
        ("RATE_LIMIT_AUTH_FAILURES", "16"),
        ("CALLS_PER_CALLER_MAX", "17"),
        ("HEADER_TIMEOUT_SECONDS", "3"),
        ("IDLE_TIMEOUT_SECONDS", "30"),
        ("REQUEST_TIMEOUT_SECONDS", "7"),
        ("STREAM_TIMEOUT_SECONDS", "8"),
        ("KEEP_ALIVE_SECONDS", "9"),
        ("DRAIN_SECONDS", "10"),
        ("LOG_LEVEL", "debug"),
        ("LOG_FORMAT", "pretty"),
        ("AUDIT_LOG", "/var/log/notes/audit.jsonl"),
        ("AUDIT_READS", "false"),
    ];
    let loaded = load(&given);
    let other = load(&[("LOG_FORMAT", "json")]);
    redis::shows(&OAUTH_IN_FULL, &other);
    redis::every_setting_takes_effect(&other);
    let elsewhere = |row: &Setting| {
        let of_a_group = ["OAUTH_", "REDIS_"]
            .iter()
            .any(|it| row.name.starts_with(it));
        // Two that can be beside no other with a value here, and one that is never shown.
        of_a_group || ["ALLOW_ANONYMOUS", "BACKUP_PASSPHRASE", "METRICS_TOKEN"].contains(&row.name)
    };
    for row in rows().filter(|row| !elsewhere(row)) {
        let value = given.iter().find(|(name, _)| *name == row.name);
        let (_, value) = value.unwrap_or_else(|| panic!("{} has no other value here", row.name));
        let shown = row.shown(&loaded.config);
        assert!(shown.starts_with(value), "{}: {shown}", row.name);
        assert_ne!(shown, row.shown(&other.config), "{}", row.name);
    }
    assert_eq!(loaded.config.session_ttl, Duration::from_mins(1));
    assert_eq!(loaded.config.drain, Duration::from_secs(10));
}

#[test]
fn all_mistakes_are_told_at_once() {
    let found = mistakes(&[
        ("PORT", "70000"),
        ("HOST", "0.0.0.0"),
        ("SESSION_TTL", "1h"),
        ("LOG_FORMAT", "ecs"),
        ("ALLOWED_HOSTS", "10.0.0.0/8"),
        ("ALLOWED_ORIGINS", "https://app.example.com/path"),
        ("REDIS_URL", "http://redis"),
        ("SSL_ENABLED", "true"),
    ]);
    let named: Vec<_> = found.iter().map(|m| m.setting.as_str()).collect();
    assert_eq!(
        named,
        [
            "PORT",
            "ALLOWED_HOSTS",
            "ALLOWED_ORIGINS",
            "SESSION_TTL",
            "REDIS_URL",
            "LOG_FORMAT",
            "HOST",
            "SSL_KEY_PATH",
            "SSL_CERT_PATH"
        ]
    );
    let text = Config::from_vars(&vars(&[("PORT", "x"), ("SESSION_TTL", "0")]))
        .unwrap_err()
        .to_string();
    assert_eq!(
        text,
        "2 settings are wrong:\n  \
         PORT: got \"x\"; expected a port, 0 to 65535 (0 takes a free one)\n  \
         SESSION_TTL: got \"0\"; expected whole seconds, 1 to 2592000, digits only (one hour is \
         3600)"
    );
}

#[test]
fn bad_values_are_refused_and_never_replaced() {
    let bad = [
        ("PORT", vec!["abc", "70000", "-1", "+80", "3000.0", "0x50"]),
        ("HOST", vec!["256.0.0.1", "example.com", "0.0.0.0", "::"]),
        (
            "SESSION_TTL",
            vec!["0", "-5", "1h", "3600x", "3600.5", "2592001", "1e3"],
        ),
        ("SESSION_LIFETIME", vec!["60", "forever"]),
        (
            "NOTES_STORE",
            vec![
                "notes.db",
                "sqlite:",
                "sqlite:data/",
                "mongodb://",
                "mongodb://u@x@h/db",
                "redis://h",
            ],
        ),
        (
            "ALLOWED_HOSTS",
            vec!["*", "10.0.0.0/8", "https://example.com", ","],
        ),
        (
            "ALLOWED_ORIGINS",
            vec!["*", "null", "example.com", "https://example.com/"],
        ),
        (
            "SERVER_HOSTNAME",
            vec!["https://example.com", "a b", "-x", "example.com:80"],
        ),
        ("AUTH_MODE", vec!["tokens", "NONE", "OAuth"]),
        ("TOKENS_FILE", vec!["tokens/", "tokens"]),
        ("APP_ENV", vec!["prod", "Production"]),
        (
            "HEALTH_CHECK_PATH",
            vec![
                "health",
                "/",
                "/mcp",
                "/api/v1/health",
                "/a b",
                "/readyz",
                "/health/live",
                "/health/liveness",
                "/health/ready",
                "/health/readiness",
            ],
        ),
        ("TITLE_CHARS_MAX", vec!["0", "-1", "many"]),
        ("CONTENT_CHARS_MAX", vec!["0", "2000000"]),
        (
            "TRUSTED_PROXIES",
            vec![
                "0.0.0.0/0",
                "::/0",
                "10.0.0.5/8",
                "*",
                "true",
                "proxy.internal",
            ],
        ),
        ("HSTS_SECONDS", vec!["-1", "1y", "315360001", "max-age=1"]),
        ("ALLOW_PLAIN_HTTP", vec!["yes", "1", "TRUE", "on"]),
        ("BODY_BYTES_MAX", vec!["0", "1MiB", "100"]),
        ("DRAIN_SECONDS", vec!["0", "-25"]),
        ("LOG_LEVEL", vec!["verbose", "INFO "]),
        ("AUDIT_LOG", vec!["logs/"]),
        ("AUDIT_READS", vec!["yes", "1"]),
    ];
    for (name, values) in bad {
        for value in values {
            let found = Config::from_vars(&vars(&[(name, value)])).map(|l| l.config);
            assert!(found.is_err(), "{name}={value:?} was taken");
        }
    }
}

#[test]
fn an_empty_variable_is_not_set() {
    let names: Vec<_> = rows().map(|row| (row.name, "")).collect();
    assert_eq!(load(&names).config, Config::default());
    let found = mistakes(&[("APP_ENV", "production"), ("ALLOWED_HOSTS", "")]);
    assert_eq!(found[0].setting, "ALLOWED_HOSTS");
}

#[test]
fn production_wants_hosts_and_logs_json() {
    let found = mistakes(&[("APP_ENV", "production")]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].setting, "ALLOWED_HOSTS");
    let config = load(&[
        ("NODE_ENV", "production"),
        ("AUTH_MODE", "token"),
        ("ALLOWED_HOSTS", "a.example.com"),
    ])
    .config;
    assert_eq!(config.profile, Profile::Production);
    assert_eq!(config.log_format(), LogFormat::Json);
    assert_eq!(config.allowed_hosts.to_string(), "a.example.com");
    let pretty = load(&[
        ("NODE_ENV", "production"),
        ("AUTH_MODE", "token"),
        ("MCP_ALLOWED_HOSTS", "a.example.com"),
        ("LOG_FORMAT", "pretty"),
    ]);
    assert_eq!(pretty.config.log_format(), LogFormat::Pretty);
}

#[test]
fn two_names_of_one_setting_must_agree() {
    let same = load(&[("APP_ENV", "development"), ("NODE_ENV", "development")]);
    assert_eq!(same.config.profile, Profile::Development);
    let found = mistakes(&[("APP_ENV", "development"), ("NODE_ENV", "production")]);
    assert!(found[0].expected.contains("NODE_ENV"), "{}", found[0]);
}

#[test]
fn the_server_hostname_is_an_allowed_host() {
    let token = ("AUTH_MODE", "token");
    let hosts = |pairs: &[_]| {
        load(&[&[token], pairs].concat())
            .config
            .allowed_hosts
            .to_string()
    };
    assert_eq!(hosts(&[]), "localhost,127.0.0.1,[::1]");
    assert_eq!(
        hosts(&[("SERVER_HOSTNAME", "Notes.Example.com")]),
        "localhost,127.0.0.1,[::1],notes.example.com"
    );
    assert_eq!(
        hosts(&[
            ("SERVER_HOSTNAME", "b.example.com"),
            ("ALLOWED_HOSTS", " a.example.com, ,")
        ]),
        "a.example.com,b.example.com"
    );
}

#[test]
fn the_address_listened_on_is_an_allowed_host_unless_hosts_are_set() {
    let hosts = |pairs: &[(&str, &str)]| {
        load(&[&[("AUTH_MODE", "token")], pairs].concat())
            .config
            .allowed_hosts
            .to_string()
    };
    for listed in ["127.0.0.1", "::1", "localhost"] {
        assert_eq!(hosts(&[("HOST", listed)]), "localhost,127.0.0.1,[::1]");
    }
    assert_eq!(
        hosts(&[("HOST", "127.0.0.2")]),
        "localhost,127.0.0.1,[::1],127.0.0.2"
    );
    assert_eq!(
        hosts(&[("HOST", "127.0.0.2"), ("ALLOWED_HOSTS", "a.example.com")]),
        "a.example.com"
    );
}

#[test]
fn a_range_of_proxies_among_the_hosts_is_a_mistake_that_names_its_place() {
    for range in ["10.0.0.0/8", "notes.example.com,172.16.0.0/12", "fd00::/8"] {
        for name in ["ALLOWED_HOSTS", "MCP_ALLOWED_HOSTS"] {
            let found = mistakes(&[(name, range)]);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].setting, name);
            let text = found[0].to_string();
            assert!(text.contains("belong in TRUSTED_PROXIES"), "{text}");
        }
    }
    let everybody = mistakes(&[("TRUSTED_PROXIES", "0.0.0.0/0")]);
    assert!(everybody[0].to_string().contains("strangers"));
}

#[test]
fn credentials_of_other_machines_need_a_way_to_travel_encrypted() {
    for mode in ["token", "oauth"] {
        for host in ["0.0.0.0", "192.0.2.1", "::"] {
            let open = [("AUTH_MODE", mode), ("HOST", host)];
            let found = Config::from_vars(&vars(&open)).map(|l| l.config);
            let text = found.unwrap_err().to_string();
            assert!(text.contains(&format!("HOST: got {host:?}")), "{text}");
            for way_out in [
                "SSL_ENABLED=true",
                "TRUSTED_PROXIES",
                "127.0.0.1",
                "ALLOW_PLAIN_HTTP=true",
            ] {
                assert!(text.contains(way_out), "{way_out}: {text}");
            }
        }
        for (name, value) in [
            ("TRUSTED_PROXIES", "10.0.0.0/8"),
            ("ALLOW_PLAIN_HTTP", "true"),
            ("HOST", "127.0.0.1"),
        ] {
            let given = [("AUTH_MODE", mode), ("HOST", "0.0.0.0"), (name, value)];
            let found = Config::from_vars(&vars(&given)).map(|l| l.config);
            let told = found.map_or_else(|error| error.to_string(), |_| String::new());
            assert!(!told.contains("ALLOW_PLAIN_HTTP"), "{name}: {told}");
        }
    }
}

#[test]
fn what_was_meant_to_be_encrypted_never_travels_in_the_clear() {
    let key = ("SSL_KEY_PATH", "/etc/key.pem");
    let cert = ("SSL_CERT_PATH", "/etc/chain.pem");
    let authorities = ("SSL_CLIENT_CA_PATH", "/etc/clients.pem");
    let (on, required) = (("SSL_ENABLED", "true"), ("SSL_CLIENT_AUTH", "required"));
    let named = |given: &[(&str, &str)]| -> Vec<String> {
        let found = mistakes(given).into_iter();
        found.map(|mistake| mistake.setting).collect()
    };
    assert_eq!(named(&[on]), ["SSL_KEY_PATH", "SSL_CERT_PATH"]);
    assert_eq!(named(&[on, key]), ["SSL_CERT_PATH"]);
    assert_eq!(named(&[key, cert]), ["SSL_KEY_PATH", "SSL_CERT_PATH"]);
    assert_eq!(named(&[("SSL_ENABLED", "false"), key]), ["SSL_KEY_PATH"]);
    assert_eq!(named(&[required]), ["SSL_CLIENT_AUTH"]);
    assert_eq!(named(&[on, key, cert, required]), ["SSL_CLIENT_CA_PATH"]);
    assert_eq!(named(&[on, key, cert, authorities]), ["SSL_CLIENT_CA_PATH"]);

    let unnamed = [("AUTH_MODE", "token"), ("PROXY_PROTOCOL", "on")];
    assert_eq!(named(&unnamed), ["TRUSTED_PROXIES"]);

    let plain = load(&[("SSL_ENABLED", "false")]).config;
    assert_eq!(plain, Config::default());
    assert_eq!(plain.ssl.files(), None);
    let files = load(&[on, key, cert]).config.ssl.files().unwrap();
    assert_eq!(files.clients, None);
    let files = load(&[on, key, cert, authorities, required]);
    let clients = files.config.ssl.files().unwrap().clients.unwrap();
    assert!(clients.required);
    assert_eq!(clients.authorities.to_str(), Some("/etc/clients.pem"));
}

#[test]
fn passwords_are_masked_everywhere() {
    let found = mistakes(&[("NOTES_STORE", "mongodb://user:hunter2@db/notes?w=0")]);
    assert_eq!(
        found[0].given.as_deref(),
        Some("mongodb://user:***@db/notes?w=0")
    );
    for odd in [
        "mongodb://u:hunter2@x@db/",
        "u:hunter2@db",
        "x@mongodb://u:hunter2",
    ] {
        let text = mistakes(&[("NOTES_STORE", odd)])[0].to_string();
        assert!(!text.contains("hunter2"), "{text}");
    }
    let loaded = load(&[("NOTES_STORE", "sqlite://user:hunter2@host")]);
    for text in [
        config::text(&loaded),
        config::json(&loaded).to_string(),
        format!("{:?}", loaded.config),
    ] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_secret_can_be_given_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    fs::write(&path, "sqlite:from-file.db\n").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let path = path.to_str().unwrap();
    let loaded = load(&[("NOTES_STORE_FILE", path)]);
    assert_eq!(loaded.config.notes_store.as_str(), "sqlite:from-file.db");
    assert_eq!(
        loaded.origins["NOTES_STORE"],
        Origin::File("NOTES_STORE_FILE".into(), path.into())
    );
    assert_eq!(loaded.warnings, Vec::<String>::new());

    let both = mistakes(&[
        ("NOTES_STORE_FILE", path),
        ("NOTES_STORE", "sqlite:other.db"),
    ]);
    assert_eq!(both[0].setting, "NOTES_STORE");
    let missing = mistakes(&[("NOTES_STORE_FILE", "/nowhere/at/all")]);
    assert_eq!(missing[0].setting, "NOTES_STORE_FILE");
    // Only what may hold a password is read from files.
    assert_eq!(load(&[("PORT_FILE", path)]).config.port, 3000);
}

#[test]
fn a_file_that_is_no_secret_stops_the_start_and_an_open_one_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let load_file = || Config::from_vars(&vars(&[("NOTES_STORE_FILE", path.to_str().unwrap())]));
    let put = |bytes: &[u8], mode| {
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    };
    let large = format!("sqlite:{}", "x".repeat(64 << 10));
    for (bytes, expected) in [
        (b"".as_slice(), "a file that is not empty"),
        (b" \n\n", "a file that is not empty"),
        (b"sqlite:\xff.db", "a file of UTF-8 text"),
        (large.as_bytes(), "a file of at most 65536 bytes"),
        (
            b"sqlite:hunter2.db \n",
            "sqlite:PATH, for example sqlite:data/notes.db, or mongodb://HOST/DATABASE",
        ),
        (
            b"hunter2\n",
            "sqlite:PATH, for example sqlite:data/notes.db, or mongodb://HOST/DATABASE",
        ),
    ] {
        put(bytes, 0o600);
        let error = load_file().map(|l| l.config).unwrap_err();
        assert_eq!(error.mistakes[0].setting, "NOTES_STORE_FILE");
        assert_eq!(error.mistakes[0].expected, expected);
        let text = error.to_string();
        assert!(!text.contains("got \"hunter2"), "{text}");
    }
    for mode in [0o602, 0o606, 0o666] {
        put(b"sqlite:x.db", mode);
        let error = load_file().map(|l| l.config).unwrap_err().to_string();
        let said = error.contains(&format!("mode {mode:o}")) && error.contains("chmod o-w");
        assert!(said, "{error}");
    }
    for mode in [0o644, 0o604] {
        put(b"sqlite:x.db\r\n", mode);
        let loaded = load_file().unwrap();
        assert_eq!(loaded.config.notes_store.as_str(), "sqlite:x.db");
        let [warning] = loaded.warnings.as_slice() else {
            panic!("{:?}", loaded.warnings);
        };
        assert!(warning.contains(&format!("mode {mode:o}")), "{warning}");
    }
    put(b"sqlite:x.db", 0o640);
    assert_eq!(load_file().unwrap().warnings, Vec::<String>::new());
    let folder = folder.path().to_str().unwrap();
    let error = &mistakes(&[("NOTES_STORE_FILE", folder)])[0];
    assert!(error.expected.contains("directory"), "{error}");
}

#[cfg(unix)]
#[test]
fn text_that_is_not_utf_8_is_a_mistake_and_not_another_path() {
    use std::os::unix::ffi::OsStringExt as _;
    let value = OsString::from_vec(b"sqlite:\xff.db".to_vec());
    let vars = Vars::from([("NOTES_STORE".to_owned(), value)]);
    let error = Config::from_vars(&vars).map(|l| l.config).unwrap_err();
    assert_eq!(
        error.to_string(),
        "1 setting is wrong:\n  NOTES_STORE: expected UTF-8 text"
    );
}

#[test]
fn the_documentation_has_every_setting() {
    let page = config::markdown();
    for row in rows() {
        assert!(page.contains(&format!("| `{}`", row.name)), "{}", row.name);
        assert!(row.about.ends_with('.'), "{}", row.name);
    }
}

#[test]
fn oauth_needs_an_issuer_and_a_name_of_its_own() {
    let named = |pairs: &[(&str, &str)]| {
        let found = mistakes(pairs).into_iter().map(|it| it.setting);
        found.collect::<Vec<_>>()
    };
    assert_eq!(
        named(&[("AUTH_MODE", "oauth")]),
        ["OAUTH_ISSUERS", "PUBLIC_URL"]
    );
    let [oauth, issuer, url] = OAUTH;
    assert_eq!(
        load(&[oauth, issuer, url]).config.allowed_hosts.to_string(),
        load(&[
            ("AUTH_MODE", "token"),
            ("SERVER_HOSTNAME", "notes.example.com")
        ])
        .config
        .allowed_hosts
        .to_string()
    );
    // It proves who calls, so others than this machine may.
    let everywhere = [("HOST", "0.0.0.0"), ("ALLOW_PLAIN_HTTP", "true")];
    load(&[&[oauth, issuer, url], &everywhere[..]].concat());
    assert_eq!(named(&[issuer]), ["OAUTH_ISSUERS"]);
    for (name, wrong) in [
        ("PUBLIC_URL", "http://notes.example.com"),
        ("PUBLIC_URL", "https://notes.example.com/mcp"),
        ("PUBLIC_URL", "notes.example.com"),
        ("OAUTH_ISSUERS", "http://login.example.com"),
        ("OAUTH_ISSUERS", ","),
        ("OAUTH_ISSUERS", "https://login.example.com?a=b"),
        ("OAUTH_AUDIENCE", "notes,api"),
        ("OAUTH_ALGORITHMS", "HS256"),
        ("OAUTH_ALGORITHMS", "RS256,none"),
        ("OAUTH_TYPED_TOKENS", "yes"),
        (
            "OAUTH_INTROSPECTION_URL",
            "http://login.example.com/introspect",
        ),
        ("OAUTH_KEYS_STALE_SECONDS", "1d"),
    ] {
        assert!(
            named(&[oauth, (name, wrong)]).contains(&name.into()),
            "{name}={wrong}"
        );
    }
    let id = ("OAUTH_INTROSPECTION_CLIENT_ID", "notes");
    let secret = ("OAUTH_INTROSPECTION_CLIENT_SECRET", "sesame");
    assert_eq!(named(&[oauth, issuer, url, id]), [secret.0]);
    assert_eq!(named(&[oauth, issuer, url, secret]), [id.0]);
    let at = ("OAUTH_INTROSPECTION_URL", "https://login.example.com/i");
    assert_eq!(named(&[oauth, issuer, url, at]), [id.0]);
}

#[test]
fn the_secret_of_the_oauth_client_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "sesame\n").unwrap();
    let pairs = [
        ("AUTH_MODE", "oauth"),
        ("OAUTH_ISSUERS", "https://login.example.com"),
        ("PUBLIC_URL", "https://notes.example.com"),
        ("OAUTH_INTROSPECTION_CLIENT_ID", "notes"),
        (
            "OAUTH_INTROSPECTION_CLIENT_SECRET_FILE",
            file.to_str().unwrap(),
        ),
    ];
    let loaded = load(&pairs);
    let secret = loaded.config.oauth.client_secret.as_ref().unwrap();
    assert_eq!(secret.expose(), "sesame");
    for shown in [
        format!("{:?}", loaded.config),
        config::text(&loaded),
        config::json(&loaded).to_string(),
    ] {
        assert!(!shown.contains("sesame"), "{shown}");
    }
    let wrong = Config::from_vars(&vars(&pairs[3..])).map(|it| it.config);
    let told = format!("{:?}", wrong.unwrap_err());
    assert!(!told.contains("sesame"), "{told}");
}
