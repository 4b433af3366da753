//! Tokens: made on the command line, presented over the network, revoked while the server runs.

mod told;

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use mcp_serve::test_util::{Legacy, Modern, Next, RawClient, RawResponse};
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::process::{PATIENCE, Served, run, stderr, stdout, text};

/// Revocation, expiry and a changed file are felt within this time.
const SOON: Duration = Duration::from_secs(10);

const MODE: (&str, &str) = ("AUTH_MODE", "token");

/// Makes a token with these further arguments, a shared one unless they name its owner; the token and
/// what was said about it.
async fn create(folder: &Path, args: &[&str]) -> (String, String) {
    let has_owner = args.contains(&"--owner");
    let owner: &[_] = if has_owner {
        &[]
    } else {
        &["--owner", "shared"]
    };
    let args = [&["token", "create"], args, owner].concat();
    let made = run(folder, &args, &[MODE]).await;
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    let token = stdout(&made).trim_end().to_owned();
    assert!(token.starts_with("mcpn_") && token.len() == 54, "{token}");
    (token, stderr(&made))
}

async fn list(folder: &Path) -> Vec<Value> {
    let listed = run(folder, &["token", "list", "--json"], &[MODE]).await;
    assert_eq!(listed.status.code(), Some(0), "{}", stderr(&listed));
    let listed: Value = serde_json::from_str(&stdout(&listed)).unwrap();
    listed["tokens"].as_array().unwrap().clone()
}

fn bearer(token: &str) -> (String, String) {
    ("Authorization".to_owned(), format!("Bearer {token}"))
}

/// Lists the notes over REST.
async fn ask(address: SocketAddr, token: Option<&str>) -> RawResponse {
    let header = token.map(|token| format!("Bearer {token}"));
    let fields: Vec<_> = header.iter().map(|h| ("authorization", &**h)).collect();
    let mut client = RawClient::connect(address).await.unwrap();
    client
        .request("GET", "/api/v1/notes", &fields, b"")
        .await
        .unwrap()
}

/// The health report for who has a token.
async fn health(address: SocketAddr, token: &str) -> Value {
    let token = format!("Bearer {token}");
    let mut client = RawClient::connect(address).await.unwrap();
    let fields = [("authorization", token.as_str())];
    let answer = client.request("GET", "/health", &fields, b"").await;
    answer.unwrap().json()
}

/// Asks until the answer has this status; the answer.
async fn ask_until(address: SocketAddr, token: &str, status: u16) -> RawResponse {
    let end = Instant::now() + SOON;
    loop {
        let answer = ask(address, Some(token)).await;
        if answer.status == status {
            return answer;
        }
        assert!(Instant::now() < end, "still {}", answer.status);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn challenge(answer: &RawResponse) -> &str {
    assert_eq!(answer.status, 401);
    answer.header("www-authenticate").unwrap()
}

#[tokio::test]
async fn a_token_opens_both_eras_and_rest_and_nothing_else_does() {
    let folder = tempdir().unwrap();
    let (token, said) = create(folder.path(), &["--name", "desk", "--owner", "ann"]).await;
    assert!(!said.contains(&token) && said.contains("notes:read notes:write"));
    let served = Served::start(folder.path(), &[MODE]).await;

    let mut modern = Modern::new(served.address);
    let note = json!({ "name": "create_note", "arguments": { "title": "A", "content": "b" } });
    let refused = modern.call("tools/call", note.clone()).await.unwrap();
    assert_eq!(refused.status(), 401);
    modern.headers.push(bearer(&token));
    let made = modern.call("tools/call", note).await.unwrap().result();
    assert_eq!(made["structuredContent"]["created_by"], "ann");

    let without = Legacy::initialize(served.address, "2025-11-25").await;
    assert!(without.unwrap_err().to_string().contains("401"));
    let headers = vec![bearer(&token)];
    let opened =
        Legacy::initialize_with(served.address, "2025-11-25", json!({}), headers.clone()).await;
    let mut legacy = opened.unwrap();
    let notes = json!({ "name": "list_notes", "arguments": {} });
    let listed = legacy.call("tools/call", notes.clone()).await.unwrap();
    assert_eq!(listed.result()["structuredContent"]["total"], 1);
    // A session is not a credential.
    legacy.headers.clear();
    let refused = legacy.call("tools/call", notes).await.unwrap();
    assert_eq!(refused.status(), 401);

    let answer = ask(served.address, Some(&token)).await;
    assert_eq!((answer.status, &answer.json()["total"]), (200, &json!(1)));

    let bare = "Bearer realm=\"mcp-notes\", scope=\"notes:read\"";
    assert_eq!(challenge(&ask(served.address, None).await), bare);
    let (other, _) = create(tempdir().unwrap().path(), &["--name", "desk"]).await;
    let mistyped = format!("{}{}", &token[..20], token[20..].to_ascii_uppercase());
    for wrong in [other.as_str(), &mistyped, &token[..53], "mcpn_", "x.y.z"] {
        let answer = ask(served.address, Some(wrong)).await;
        let challenge = challenge(&answer);
        assert!(
            challenge.starts_with("Bearer realm=\"mcp-notes\", error=\"invalid_token\", "),
            "{challenge}"
        );
        assert!(!answer.text().contains(wrong));
    }
    let mut client = RawClient::connect(served.address).await.unwrap();
    let path = format!("/api/v1/notes?access_token={token}");
    assert_eq!(client.get(&path).await.unwrap().status, 400);
}

#[tokio::test]
async fn revocation_is_felt_while_the_server_runs_and_ends_its_streams() {
    let folder = tempdir().unwrap();
    // A stream looks at its credential when it is silent for so long.
    let vars = [MODE, ("KEEP_ALIVE_SECONDS", "1")];
    let served = Served::start(folder.path(), &vars).await;
    let (token, _) = create(folder.path(), &["--name", "desk"]).await;
    let (other, _) = create(folder.path(), &["--name", "other"]).await;

    let headers = vec![bearer(&token)];
    let opened = Legacy::initialize_with(served.address, "2025-11-25", json!({}), headers).await;
    let mut get = opened.unwrap().open_get().await.unwrap();
    let mut modern = Modern::new(served.address);
    modern.headers.push(bearer(&token));
    let wanted = json!({ "notifications": { "resourcesListChanged": true } });
    let mut listen = modern.open("subscriptions/listen", wanted).await.unwrap();
    for stream in [&mut get, &mut listen] {
        assert!(matches!(stream.next_event(PATIENCE).await, Next::Event(_)));
    }
    assert_eq!(
        get.next_event(Duration::from_millis(2500)).await,
        Next::Silence
    );

    let revoked = run(folder.path(), &["token", "revoke", "desk"], &[MODE]).await;
    assert_eq!(revoked.status.code(), Some(0), "{}", stderr(&revoked));
    let answer = ask_until(served.address, &token, 401).await;
    assert!(challenge(&answer).contains("the token was revoked"));
    get.rest(SOON).await;
    listen.rest(SOON).await;
    assert_eq!(ask(served.address, Some(&other)).await.status, 200);
}

#[tokio::test]
async fn a_token_ends_by_itself() {
    let folder = tempdir().unwrap();
    let served = Served::start(folder.path(), &[MODE]).await;
    let (token, _) = create(folder.path(), &["--name", "brief", "--expires", "3s"]).await;
    assert_eq!(ask(served.address, Some(&token)).await.status, 200);
    let answer = ask_until(served.address, &token, 401).await;
    assert!(challenge(&answer).contains("the token has expired"));
}

/// Every byte that is below `folder`.
fn bytes_below(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes.extend(bytes_below(&path));
        } else {
            bytes.extend(fs::read(path).unwrap());
        }
    }
    bytes
}

#[tokio::test]
async fn a_token_is_shown_once_and_kept_nowhere() {
    let folder = tempdir().unwrap();
    let (token, _) = create(folder.path(), &["--name", "desk"]).await;
    let vars = [MODE, ("LOG_LEVEL", "trace")];
    let served = Served::start(folder.path(), &vars).await;
    assert_eq!(ask(served.address, Some(&token)).await.status, 200);
    let mistyped = format!("{}xx", &token[..52]);
    assert_eq!(ask(served.address, Some(&mistyped)).await.status, 401);

    let end = Instant::now() + SOON;
    while list(folder.path()).await[0]["last_used"].is_null() {
        assert!(Instant::now() < end, "no use is taken down");
    }
    let table = run(folder.path(), &["token", "list"], &[MODE]).await;
    let table = stdout(&table);
    assert!(table.starts_with("ID ") && table.contains("desk") && table.contains("shared"));
    let contains =
        |bytes: &[u8], part: &str| bytes.windows(part.len()).any(|w| w == part.as_bytes());
    let while_running = bytes_below(folder.path());
    let (_, log) = served.stop().await;
    let shown = format!("{table}{:?}{log:?}", list(folder.path()).await);
    let kept = bytes_below(folder.path());
    assert!(contains(&kept, "desk") && log.len() > 1);
    for bytes in [&while_running, &kept, shown.as_bytes()] {
        // Half of it would be too much too.
        assert!(!contains(bytes, &token[5..27]) && !contains(bytes, &token[27..52]));
    }
}

#[tokio::test]
async fn a_file_of_tokens_takes_the_place_of_the_database_and_is_read_again() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("tokens");
    let vars = [MODE, ("TOKENS_FILE", text(&path))];
    let (first, line) = create(folder.path(), &["--name", "first", "--file-line"]).await;
    let (second, other) = create(folder.path(), &["--name", "second", "--file-line"]).await;
    assert!(!folder.path().join("data").exists());
    let (stored, _) = create(folder.path(), &["--name", "stored"]).await;
    fs::write(&path, format!("# tokens\n{line}")).unwrap();

    let served = Served::start(folder.path(), &vars).await;
    assert_eq!(ask(served.address, Some(&first)).await.status, 200);
    for unknown in [&second, &stored] {
        assert_eq!(ask(served.address, Some(unknown)).await.status, 401);
    }
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(other.as_bytes()).unwrap();
    ask_until(served.address, &second, 200).await;
    fs::write(&path, "wrong").unwrap();
    // The wrong one is seen, and changes nothing.
    let end = Instant::now() + SOON;
    while !served.has_said("the tokens that it had stay") {
        assert_eq!(ask(served.address, Some(&first)).await.status, 200);
        assert!(Instant::now() < end, "the wrong file is not seen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for token in [&first, &second] {
        assert_eq!(ask(served.address, Some(token)).await.status, 200);
    }
    // Somebody has to see that what is revoked in the file is not.
    let report = health(served.address, &first).await;
    assert_eq!(report["status"], "degraded");
    let reason = report["checks"]["tokens"]["reason"].as_str();
    assert!(reason.unwrap().contains("line 1"), "{report}");
    fs::write(&path, &other).unwrap();
    ask_until(served.address, &first, 401).await;
    assert_eq!(ask(served.address, Some(&second)).await.status, 200);
    let end = Instant::now() + SOON;
    while health(served.address, &second).await["status"] != "ok" {
        assert!(Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    for args in [
        &["token", "list"][..],
        &["token", "revoke", "first"],
        &["token", "create", "--name", "third", "--owner", "ann"],
    ] {
        let refused = run(folder.path(), args, &vars).await;
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            stderr(&refused).contains("TOKENS_FILE"),
            "{}",
            stderr(&refused)
        );
    }
    let (_, log) = served.stop().await;
    let told = log.iter().filter(|line| line["level"] == "error");
    assert_eq!(told.count(), 1, "{log:?}");
}

#[tokio::test]
async fn a_wrong_file_of_tokens_stops_the_start() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("tokens");
    let vars = [MODE, ("TOKENS_FILE", text(&path)), ("PORT", "0")];
    let (token, _) = create(folder.path(), &["--name", "first"]).await;
    for (content, expected) in [
        (None, "cannot be read"),
        (
            Some(format!("\n{token} a b c never\n\nx")),
            "line 2: the hash",
        ),
        (Some("x\nx".into()), "line 2: 1 fields"),
    ] {
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        let refused = run(folder.path(), &["serve"], &vars).await;
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(78), "{said}");
        assert!(
            said.contains("TOKENS_FILE") && said.contains(expected),
            "{said}"
        );
        assert!(!said.contains(&token));
    }
}

#[tokio::test]
async fn what_a_token_cannot_be_is_refused() {
    let folder = tempdir().unwrap();
    for (args, expected) in [
        (
            &["--name", "a", "--scopes", "notes:read,notes:all"][..],
            "notes:all",
        ),
        (&["--name", "a", "--scopes", ""], "at least one"),
        (&["--name", "a", "--owner", "Anonymous"], "anonymous"),
        (&["--name", "a", "--owner", "a b"], "one word"),
        (&["--name", "a", "--expires", "90"], "unit"),
        (&["--name", "a b"], "space"),
        (&["--owner", "ann"], "--name"),
        (&["--name", "a"], "--owner <PERSON|shared>"),
    ] {
        let args = [&["token", "create"], args].concat();
        let refused = run(folder.path(), &args, &[MODE]).await;
        assert_eq!(refused.status.code(), Some(2), "{args:?}");
        assert!(stderr(&refused).contains(expected), "{}", stderr(&refused));
    }
    create(folder.path(), &["--name", "a"]).await;
    let again = ["create", "--name", "a", "--owner", "shared"];
    for args in [&again[..], &["revoke", "b"]] {
        let args = [&["token"], args].concat();
        let refused = run(folder.path(), &args, &[MODE]).await;
        assert_eq!(refused.status.code(), Some(1), "{args:?}");
    }
    assert_eq!(list(folder.path()).await.len(), 1);

    let args = [
        "token",
        "create",
        "--name",
        "all",
        "--owner",
        "shared",
        "--scopes",
        "notes:admin notes:read",
    ];
    let args = [&args[..], &["--expires", "never", "--json"]].concat();
    let made = run(folder.path(), &args, &[]).await;
    assert!(
        stderr(&made).contains("AUTH_MODE=none"),
        "{}",
        stderr(&made)
    );
    let made: Value = serde_json::from_str(&stdout(&made)).unwrap();
    assert_eq!(made["scopes"], json!(["notes:admin", "notes:read"]));
    assert_eq!(
        (&made["owner"], &made["expires_at"]),
        (&json!("shared"), &Value::Null)
    );
    assert!(made["token"].as_str().unwrap().starts_with("mcpn_"));
    let id = made["id"].as_str().unwrap();
    let revoked = run(folder.path(), &["token", "revoke", id], &[]).await;
    assert_eq!(revoked.status.code(), Some(0));
    let listed = list(folder.path()).await;
    assert_eq!(listed[0]["id"], id);
    assert!(listed[0]["revoked_at"].is_string() && listed[1]["revoked_at"].is_null());
}

#[tokio::test]
async fn the_commands_in_the_readme_work() {
    let folder = tempdir().unwrap();
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let commands: Vec<Vec<_>> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("mcp-notes token "))
        .map(|rest| rest.split_whitespace().collect())
        .collect();
    assert!(commands.len() >= 4, "{commands:?}");
    for command in commands {
        let args = [&["token"], &command[..]].concat();
        let done = run(folder.path(), &args, &[MODE]).await;
        assert_eq!(done.status.code(), Some(0), "{args:?} {}", stderr(&done));
    }
    let names = list(folder.path()).await;
    let revoked: Vec<_> = names.iter().map(|t| !t["revoked_at"].is_null()).collect();
    assert_eq!(revoked, [false, true]);
}
