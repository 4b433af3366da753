//! What URLs mean, and that no password is shown.

use super::*;

fn parsed(url: &str) -> Settings {
    Settings::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

#[test]
fn urls_name_servers_kinds_and_logins() {
    let plain = parsed("redis://r.example");
    assert_eq!(plain.places(), "r.example:6379");
    assert_eq!((plain.kind.clone(), plain.database), (Kind::Single, 0));
    assert!(!plain.is_encrypted() && !plain.has_user() && !plain.has_password());
    let whole = parsed("rediss://mcp:p%40ss%2Fw%25rd:1@[::1]:6380/15");
    assert_eq!(
        (whole.places().as_str(), whole.database),
        ("[::1]:6380", 15)
    );
    assert_eq!(whole.login.user.as_deref(), Some("mcp"));
    assert_eq!(whole.login.password.as_deref(), Some("p@ss/w%rd:1"));
    assert!(whole.is_encrypted());
    let sentinel = parsed("redis+sentinel://:pw@a,b:1,[::1]/my.master-1/3");
    assert_eq!(sentinel.places(), "a:26379,b:1,[::1]:26379");
    assert_eq!(sentinel.kind, Kind::Sentinel("my.master-1".into()));
    assert_eq!((sentinel.database, sentinel.has_user()), (3, false));
    let cluster = parsed("rediss+cluster://u:pw@a,b:1/");
    assert_eq!(cluster.places(), "a:6379,b:1");
    assert!(cluster.is_cluster() && cluster.is_encrypted());
    assert_eq!(Settings::at("::1", 6379).unwrap().places(), "[::1]:6379");
    assert_eq!(Settings::at("redis", 6380).unwrap().places(), "redis:6380");
}

#[test]
fn what_is_no_url_of_redis_is_refused_without_showing_it() {
    for bad in [
        "",
        "localhost:6379",
        "http://h",
        "redis:/h",
        "redis://",
        "redis://h:0",
        "redis://h:65536",
        "redis://h:+1",
        "redis://h:port",
        "redis://h/x",
        "redis://h/1x",
        "redis://h/70000",
        "redis://h/0/1",
        "redis://h?db=1",
        "redis://h#insecure",
        "redis://a,b",
        "redis://h h",
        "redis://u:%zz@h",
        "redis://u:%4@h",
        "redis://u:%ff@h",
        "redis://[::1",
        "redis://[h]:1",
        "redis+sentinel://h",
        "redis+sentinel://h/",
        "redis+sentinel://h/a b",
        "redis+sentinel://h/m/x",
        "redis+cluster://h/1",
        "redis+cluster://a,,b",
        "redis+other://h",
        "redis+tls://h",
        "hunter2",
    ] {
        let error = Settings::parse(bad).expect_err(bad);
        let said = error.to_string();
        assert!(!said.contains("hunter2") && !said.is_empty(), "{said}");
    }
    for host in ["", "h:1", "redis://h", "u:hunter2@h", "a,b"] {
        let error = Settings::at(host, 6379).expect_err(host).to_string();
        assert!(error.starts_with("a host name"), "{error}");
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    assert!(parsed("redis+cluster://h").with_database(1).is_err());
    assert!(parsed("redis+cluster://h").with_database(0).is_ok());
    assert!(parsed("redis://h").with_user("u").check().is_err());
    assert!(
        parsed("redis://h")
            .with_user("u")
            .with_password("p")
            .check()
            .is_ok()
    );
    assert!(parsed("redis://h").with_authorities(Vec::new()).is_err());
    assert!(
        parsed("rediss://h")
            .with_authorities(b"no".to_vec())
            .is_err()
    );
    for bad in ["a b", "{x}", "}", "ä", &"x".repeat(65)] {
        assert!(parsed("redis://h").with_prefix(bad).is_err(), "{bad}");
    }
    assert_eq!(parsed("redis://h").with_prefix("").unwrap().prefix, "");
}

#[test]
fn no_password_is_shown() {
    let settings = parsed("redis://user:hunter2@h")
        .with_sentinel_login(Some("s".into()), "hunter3")
        .with_password("hunter4");
    let shown = format!("{settings:?} {settings:#?}");
    assert!(
        !shown.contains("hunter") && shown.contains("user"),
        "{shown}"
    );
}
