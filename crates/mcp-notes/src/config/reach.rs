//! Whom the server can be reached by when it asks nobody who they are.

use std::net::IpAddr;

use super::{AuthMode, Config, Mistake, PublicUrl};

/// What `AUTH_MODE=none` does not go together with: addresses other than loopback, and whatever says
/// that others come through a proxy, unless `ALLOW_ANONYMOUS` says that this is meant.
pub(super) fn mistakes(config: &Config) -> Vec<Mistake> {
    let mistake = |setting: &str, given: Option<String>, expected: String| Mistake {
        setting: setting.into(),
        given,
        expected,
    };
    if config.auth_mode != AuthMode::None {
        let expected = format!(
            "AUTH_MODE=none, because with AUTH_MODE={} nobody is served without a credential",
            config.auth_mode.as_str()
        );
        let unused = config.allow_anonymous;
        return Vec::from_iter(unused.then(|| mistake("ALLOW_ANONYMOUS", None, expected)));
    }
    let mut mistakes = Vec::new();
    if !config.host.is_loopback() {
        let expected = "a loopback address such as 127.0.0.1, because AUTH_MODE=none lets everybody \
                        in; set AUTH_MODE=token or AUTH_MODE=oauth, or keep loopback";
        let given = Some(config.host.to_string());
        mistakes.push(mistake("HOST", given, expected.into()));
    }
    if !config.allow_anonymous {
        let signs = signs_of_others(config).into_iter();
        mistakes.extend(signs.map(|(setting, given)| {
            let expected = "AUTH_MODE=token or AUTH_MODE=oauth beside it, because it brings in \
                            others than this machine and AUTH_MODE=none lets everybody in; where a \
                            proxy on this machine checks who calls, ALLOW_ANONYMOUS=true";
            mistake(setting, Some(given), expected.into())
        }));
    }
    mistakes
}

/// The settings that nobody needs whose callers are all on this machine, and their values.
fn signs_of_others(config: &Config) -> Vec<(&'static str, String)> {
    let proxies = &config.trusted_proxies;
    let name = config.server_hostname.as_ref();
    let url = config.public_url.as_ref();
    let url = url.filter(|url| !url.host().is_some_and(|host| is_this_machine(&host)));
    let hosts = config.allowed_hosts.to_string();
    let is_named = !hosts
        .split(',')
        .all(|host| is_this_machine(without_port(host)));
    let signs = [
        (
            "SERVER_HOSTNAME",
            name.filter(|name| !is_this_machine(name)).cloned(),
        ),
        ("ALLOWED_HOSTS", is_named.then_some(hosts)),
        ("PUBLIC_URL", url.map(PublicUrl::to_string)),
        (
            "TRUSTED_PROXIES",
            (!proxies.is_empty()).then(|| proxies.to_string()),
        ),
        (
            "PROXY_PROTOCOL",
            config.proxy_protocol.then(|| "on".to_owned()),
        ),
    ];
    let set = signs
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    set.collect()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether `host` means the machine that asks, whichever that is (RFC 6761 section 6.3).
fn is_this_machine(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|it| it.is_loopback())
}
