//! Where Redis is: one place, one password, and nothing that nobody would use.

use std::{fs, time::Duration};

use tempfile::tempdir;

use super::{Loaded, load, mistakes, rows};

/// Each of the settings `given` is shown as it is, and otherwise than in `other`.
pub(super) fn shows(given: &[(&str, &str)], other: &Loaded) {
    let loaded = load(given);
    for (name, value) in given {
        let row = rows().find(|row| row.name == *name).unwrap();
        let shown = row.shown(&loaded.config);
        let expected = if row.secret {
            masked(value)
        } else {
            (*value).into()
        };
        assert_eq!(shown, expected, "{name}");
        assert_ne!(shown, row.shown(&other.config), "{name}");
    }
}

/// What is shown of a secret: nothing, and of a URL what is none.
fn masked(value: &str) -> String {
    match value.split_once("://") {
        Some(_) => value.replace("hunter2", "***"),
        None => "***".into(),
    }
}

/// No Redis is named by URL and by host.
pub(super) fn every_setting_takes_effect(other: &Loaded) {
    shows(
        &[
            ("REDIS_HOST", "redis.example"),
            ("REDIS_PORT", "6380"),
            ("REDIS_USERNAME", "mcp"),
            ("REDIS_PASSWORD", "hunter2"),
            ("REDIS_DB", "2"),
            ("REDIS_KEY_PREFIX", "team-a:"),
            ("REDIS_REQUIRED", "true"),
            ("REDIS_TIMEOUT_MILLISECONDS", "250"),
            ("REDIS_REQUEST_TIMEOUT_MILLISECONDS", "750"),
            ("REDIS_CONNECT_TIMEOUT_MILLISECONDS", "900"),
        ],
        other,
    );
    shows(
        &[
            ("REDIS_URL", "rediss+sentinel://u:hunter2@a,b/main"),
            ("REDIS_SENTINEL_USERNAME", "s"),
            ("REDIS_SENTINEL_PASSWORD", "hunter2"),
            ("REDIS_CA_PATH", "/etc/mcp-notes/redis.pem"),
        ],
        other,
    );
}

fn named(given: &[(&str, &str)]) -> Vec<String> {
    let found = mistakes(given).into_iter();
    found.map(|mistake| mistake.setting).collect()
}

/// What the driver is told, passwords hidden.
fn told(given: &[(&str, &str)]) -> String {
    let settings = load(given).config.redis.settings().expect("a Redis");
    format!("{:?}", settings.unwrap())
}

#[test]
fn redis_is_named_by_url_or_by_host() {
    assert!(load(&[]).config.redis.settings().is_none());
    let seed = [
        ("REDIS_HOST", "redis"),
        ("REDIS_PORT", "6380"),
        ("REDIS_PASSWORD", "hunter2"),
        ("REDIS_DB", "2"),
    ];
    let by_host = told(&seed);
    assert!(by_host.contains("\"redis:6380\""), "{by_host}");
    assert!(
        by_host.contains("database: 2") && by_host.contains("***"),
        "{by_host}"
    );
    let url = told(&[
        ("REDIS_URL", "rediss://mcp@r.example/1"),
        ("REDIS_PASSWORD", "hunter2"),
        ("REDIS_KEY_PREFIX", "team-a:"),
        ("REDIS_TIMEOUT_MILLISECONDS", "250"),
    ]);
    for part in [
        "r.example:6379",
        "Some(\"mcp\")",
        "tls: true",
        "team-a:",
        "250ms",
    ] {
        assert!(url.contains(part), "{part}: {url}");
    }
    assert!(told(&[("REDIS_HOST", "::1")]).contains("[::1]:6379"));
    let sentinels = told(&[
        ("REDIS_URL", "redis+sentinel://a,b/main"),
        ("REDIS_SENTINEL_USERNAME", "s"),
        ("REDIS_SENTINEL_PASSWORD", "hunter2"),
    ]);
    assert!(sentinels.contains("Sentinel(\"main\")"), "{sentinels}");
    assert!(!format!("{by_host}{url}{sentinels}").contains("hunter"));
    let grace = load(&[("SESSION_GRACE_SECONDS", "0")])
        .config
        .redis
        .session_grace;
    assert_eq!(grace, Duration::ZERO);
}

#[test]
fn wrong_values_of_redis_stop_the_start() {
    for (name, value) in [
        ("REDIS_URL", "redis.example:6379"),
        ("REDIS_URL", "redis://a,b"),
        ("REDIS_URL", "redis+cluster://a/1"),
        ("REDIS_HOST", "redis:6379"),
        ("REDIS_HOST", "redis://h"),
        ("REDIS_PORT", "0"),
        ("REDIS_PORT", "6379x"),
        ("REDIS_DB", "-1"),
        ("REDIS_DB", "zero"),
        ("REDIS_KEY_PREFIX", "{a}"),
        ("REDIS_PASSWORD", "two\nlines"),
        ("REDIS_REQUIRED", "yes"),
        ("REDIS_TIMEOUT_MILLISECONDS", "0.5"),
        ("REDIS_CONNECT_TIMEOUT_MILLISECONDS", "9"),
        ("REDIS_REQUEST_TIMEOUT_MILLISECONDS", "60001"),
        ("SESSION_GRACE_SECONDS", "-1"),
    ] {
        let is_place = name == "REDIS_URL" || name == "REDIS_HOST";
        let given = [("REDIS_HOST", "redis"), (name, value)];
        let given = if is_place { &given[1..] } else { &given };
        assert_eq!(named(given), [name], "{value}");
    }
}

#[test]
fn what_nobody_would_use_and_what_is_said_twice_is_refused() {
    let url = ("REDIS_URL", "redis://u:p@h/1");
    let bare = ("REDIS_URL", "redis://h");
    let cluster = ("REDIS_URL", "redis+cluster://h");
    assert_eq!(named(&[url, ("REDIS_HOST", "h")]), ["REDIS_HOST"]);
    assert_eq!(named(&[url, ("REDIS_PORT", "6379")]), ["REDIS_PORT"]);
    assert_eq!(named(&[url, ("REDIS_USERNAME", "u")]), ["REDIS_USERNAME"]);
    assert_eq!(named(&[url, ("REDIS_PASSWORD", "p")]), ["REDIS_PASSWORD"]);
    assert_eq!(named(&[url, ("REDIS_DB", "1")]), ["REDIS_DB"]);
    assert_eq!(named(&[cluster, ("REDIS_DB", "1")]), ["REDIS_DB"]);
    assert_eq!(named(&[bare, ("REDIS_USERNAME", "u")]), ["REDIS_PASSWORD"]);
    assert_eq!(
        named(&[bare, ("REDIS_CA_PATH", "/ca.pem")]),
        ["REDIS_CA_PATH"]
    );
    let sentinel = ("REDIS_SENTINEL_PASSWORD", "p");
    assert_eq!(named(&[bare, sentinel]), ["REDIS_SENTINEL_PASSWORD"]);
    let attempt = ("REDIS_TIMEOUT_MILLISECONDS", "2000");
    assert_eq!(
        named(&[bare, attempt]),
        ["REDIS_REQUEST_TIMEOUT_MILLISECONDS"]
    );
    for name in ["REDIS_PORT", "REDIS_DB"] {
        assert_eq!(named(&[(name, "1")]), [name]);
    }
    assert_eq!(named(&[("REDIS_PASSWORD", "p")]), ["REDIS_PASSWORD"]);
    assert_eq!(named(&[("REDIS_REQUIRED", "true")]), ["REDIS_REQUIRED"]);
    // Kubernetes says so where a service is called `redis`.
    load(&[("REDIS_PORT", "tcp://10.0.0.11:6379")]);
    load(&[bare, ("REDIS_PORT", "tcp://10.0.0.11:6379")]);
}

#[test]
fn no_password_of_redis_is_shown() {
    for url in [
        "redis://:hunter2@h:port",
        "redis://hunter2@h:x",
        "hunter2",
        "redis+x://:hunter2@h",
    ] {
        let shown = format!("{:?}", mistakes(&[("REDIS_URL", url)]));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let folder = tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "hunter2\n").unwrap();
    let loaded = load(&[("REDIS_URL", "redis+cluster://mcp:hunter3@a,b")]);
    let shown = mcp_notes::config::text(&loaded) + &format!("{loaded:?}");
    assert!(
        !shown.contains("hunter") && shown.contains("mcp:***@a,b"),
        "{shown}"
    );
    let loaded = load(&[
        ("REDIS_URL", "redis://h"),
        ("REDIS_PASSWORD_FILE", file.to_str().unwrap()),
    ]);
    let password = loaded.config.redis.password.as_ref().unwrap();
    assert_eq!(password.expose(), "hunter2");
    let shown = mcp_notes::config::text(&loaded) + &format!("{loaded:?}");
    assert!(!shown.contains("hunter"), "{shown}");
}
