//! The files in `deploy/`: every setting that they name is one, and what they set starts a server.

mod confined;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::Duration,
};

use mcp_notes::config::{AuthMode, Config, Profile, SETTINGS, Vars};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::tidy::{Source, none, root, sources};

/// Longest time between the limit of a drain and its end: a second for the proxy, one for what is cut
/// off, and closing.
const BESIDE_DRAIN: Duration = Duration::from_secs(7);

/// Names in capitals that belong to others.
const OF_OTHERS: &[&str] = &[
    "AF_INET",
    "AF_INET6",
    "AF_UNIX",
    "DAC_OVERRIDE",
    "MCP_NOTES_IMAGE",
    "MONGO_INITDB_ROOT_PASSWORD_FILE",
    "MONGO_INITDB_ROOT_USERNAME",
    "NET_BIND_SERVICE",
    "REDISCLI_AUTH",
    "RUST_VERSION",
    "SOURCE_REVISION",
];

/// The lines `NAME=VALUE` of a file.
fn settings(path: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join(path)).unwrap();
    let lines = text.lines().map(str::trim);
    let set = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    set.map(|line| {
        let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
        (name.to_owned(), value.to_owned())
    })
    .collect()
}

/// What `deploy/systemd/replica.conf` puts into the environment.
fn of_the_replica() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join("deploy/systemd/replica.conf")).unwrap();
    let lines = text
        .lines()
        .filter_map(|it| it.strip_prefix("Environment="));
    let pairs = lines.flat_map(str::split_whitespace);
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

/// Every name that a variable of ours may have.
fn names() -> BTreeSet<String> {
    let rows = SETTINGS.iter().copied().flatten();
    rows.flat_map(|row| {
        let plain = [&row.name].into_iter().chain(row.aliases);
        plain.flat_map(|name| {
            let file = row.secret.then(|| format!("{name}_FILE"));
            [(*name).to_owned()].into_iter().chain(file)
        })
    })
    .collect()
}

/// Files that a setting may name, in place of those of a machine.
struct Secrets(TempDir);

impl Secrets {
    fn new() -> Self {
        let folder = tempdir().unwrap();
        for (name, value) in [
            ("mongodb_uri", "mongodb://notes:secret@mongo/mcp-notes"),
            ("redis_password", "secret"),
            ("redis_url", "redis://notes:secret@redis"),
            ("metrics_token", "0123456789abcdef0123456789abcdef"),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, value).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        Self(folder)
    }

    /// The variables as a server finds them, with these files.
    fn put_into(&self, set: &BTreeMap<String, String>) -> Vars {
        let place = |name: &str, value: &str| {
            let file = Path::new(value).file_name().unwrap_or_default();
            if name.ends_with("_FILE") {
                self.0.path().join(file).into_os_string()
            } else {
                value.into()
            }
        };
        let vars = set.iter().map(|(n, v)| (n.clone(), place(n, v)));
        vars.collect()
    }
}

/// What systemd adds to the environment of a service.
fn of_systemd() -> BTreeMap<String, String> {
    [
        (
            "CREDENTIALS_DIRECTORY",
            "/run/credentials/mcp-notes.service",
        ),
        ("HOME", "/var/lib/mcp-notes"),
        ("INVOCATION_ID", "0123456789abcdef0123456789abcdef"),
        ("JOURNAL_STREAM", "8:12345"),
        ("LANG", "C.UTF-8"),
        ("LOGNAME", "mcp-notes"),
        ("NOTIFY_SOCKET", "/run/systemd/notify"),
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"),
        ("STATE_DIRECTORY", "/var/lib/mcp-notes"),
        ("SYSTEMD_EXEC_PID", "4321"),
        ("USER", "mcp-notes"),
        ("WATCHDOG_PID", "4321"),
        ("WATCHDOG_USEC", "30000000"),
    ]
    .map(|(n, v)| (n.to_owned(), v.to_owned()))
    .into()
}

/// What the server of each kit finds in its environment.
fn kits() -> Vec<(&'static str, BTreeMap<String, String>)> {
    let together = |parts: Vec<BTreeMap<String, String>>| parts.into_iter().flatten().collect();
    let unit = || settings("deploy/systemd/mcp-notes.env");
    let base = || settings("deploy/kubernetes/base/settings.env");
    let example = settings("deploy/kubernetes/example/settings.env");
    vec![
        ("Compose", settings("deploy/compose/settings.env")),
        ("Kubernetes", base()),
        ("the example", together(vec![base(), example])),
        ("systemd", together(vec![unit(), of_systemd()])),
        (
            "a replica under systemd",
            together(vec![unit(), of_systemd(), of_the_replica()]),
        ),
    ]
}

#[test]
fn what_the_kits_set_starts_a_server_without_a_warning() {
    let secrets = Secrets::new();
    for (kit, set) in kits() {
        let loaded = Config::from_vars(&secrets.put_into(&set));
        let loaded = loaded.unwrap_or_else(|error| panic!("{kit}: {error}"));
        // Without the feature there is no MongoDB, which the address alone does not know.
        assert_eq!(loaded.warnings, Vec::<String>::new(), "{kit}");
        let config = loaded.config;
        assert_eq!(config.profile, Profile::Production, "{kit}");
        assert_eq!(config.auth_mode, AuthMode::Token, "{kit}");
        assert!(!config.trusted_proxies.is_empty(), "{kit}");
        let is_mongodb = config.notes_store.as_str().starts_with("mongodb:");
        assert_eq!(is_mongodb, kit != "systemd", "{kit}");
        assert_eq!(config.redis.is_set(), kit != "systemd", "{kit}");
    }
}

#[test]
fn every_setting_that_the_kits_name_is_one() {
    let names = names();
    let mut complaints = Vec::new();
    for (kit, set) in kits() {
        let of_systemd = of_systemd();
        let others = |name: &&String| !names.contains(*name) && !of_systemd.contains_key(*name);
        let unknown = set.keys().filter(others);
        complaints.extend(unknown.map(|name| format!("{kit}: {name}")));
    }
    let server = fs::read_to_string(root().join("server.json")).unwrap();
    let server: Value = serde_json::from_str(&server).unwrap();
    for variable in server["packages"][0]["environmentVariables"]
        .as_array()
        .unwrap()
    {
        let name = variable["name"].as_str().unwrap();
        if !names.contains(name) {
            complaints.push(format!("server.json: {name}"));
        }
    }
    // In words and comments too.
    for Source { path, text } in sources(&[]) {
        if !path.starts_with("deploy/") {
            continue;
        }
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let is_name = |word: &&str| {
            word.contains('_')
                && word.starts_with(|c: char| c.is_ascii_uppercase())
                && !word.contains(|c: char| c.is_ascii_lowercase())
        };
        // A word such as `RATE_LIMIT_` stands for all that begin with it.
        let is_known = |word: &str| match word.strip_suffix('_') {
            Some(_) => names.iter().any(|name| name.starts_with(word)),
            None => names.contains(word) || OF_OTHERS.contains(&word),
        };
        let unknown = |word: &&str| !is_known(word);
        let unknown = words.filter(is_name).filter(unknown);
        complaints.extend(unknown.map(|word| format!("{path}: {word}")));
    }
    none(complaints);
}

#[test]
fn the_unit_gives_a_drain_its_time_and_waits_for_what_the_server_says() {
    let unit = fs::read_to_string(root().join("deploy/systemd/mcp-notes.service")).unwrap();
    let value = |name: &str| {
        let found = unit
            .lines()
            .find_map(|it| it.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("no {name}"))
    };
    let seconds = |name: &str| Duration::from_secs(value(name).parse().unwrap());
    let secrets = Secrets::new();
    let set = settings("deploy/systemd/mcp-notes.env");
    let config = Config::from_vars(&secrets.put_into(&set)).unwrap().config;
    assert!(seconds("TimeoutStopSec") >= config.drain + BESIDE_DRAIN);
    assert_eq!(value("Type"), "notify");
    // The server first asks for more time after five seconds, and beats at half of the limit.
    assert!(seconds("TimeoutStartSec") > Duration::from_secs(10));
    assert!(seconds("WatchdogSec") > Duration::from_secs(10));
    assert_eq!(value("RestartPreventExitStatus"), "78");
    assert_eq!(value("ExecStart"), "/usr/bin/mcp-notes serve");
    let place = Path::new(value("WorkingDirectory"));
    assert_eq!(place, Path::new("/var/lib").join(value("StateDirectory")));
    let audit = set.get("AUDIT_LOG").unwrap();
    assert!(Path::new(audit).starts_with(place));
    let rotated = fs::read_to_string(root().join("deploy/systemd/mcp-notes.logrotate")).unwrap();
    assert!(rotated.contains(&format!("\n{audit} {{\n")), "{rotated}");
}

#[test]
fn the_image_runs_what_the_program_has() {
    let file = fs::read_to_string(root().join("deploy/Dockerfile")).unwrap();
    let toolchain = fs::read_to_string(root().join("rust-toolchain.toml")).unwrap();
    let version = toolchain.split('"').nth(1).unwrap();
    assert!(file.contains(&format!("ARG RUST_VERSION={version}\n")));
    assert!(file.contains(&format!("ARG VERSION={}\n", env!("CARGO_PKG_VERSION"))));
    for part in [
        "cargo build --release --locked --features mongodb --bin mcp-notes",
        "USER 65532:65532",
        "CMD [\"/usr/local/bin/mcp-notes\", \"healthcheck\"]",
        "ENTRYPOINT [\"/usr/local/bin/mcp-notes\"]",
    ] {
        assert!(file.contains(part), "{part}");
    }
    // Settings come from outside: one that the image had would stand against them.
    assert!(!file.lines().any(|line| line.starts_with("ENV ")));
}
