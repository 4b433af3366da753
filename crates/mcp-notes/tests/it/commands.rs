//! The commands as a person, a container or an assistant runs them.

mod backup;
mod claim;
mod drain;
mod durability;
mod migrate;

use std::{fs, process::Stdio};

use mcp_serve::test_util::{Legacy, Modern, RawClient};
use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    time::timeout,
};

use crate::process::{PATIENCE, Served, command, run, stderr, stdout, text};

#[tokio::test]
async fn the_first_run_needs_no_settings_and_keeps_notes() {
    let folder = tempdir().unwrap();
    let served = Served::start(folder.path(), &[]).await;
    assert_eq!(served.listening["msg"], "listening");
    assert!(served.address.ip().is_loopback());

    let note = json!({ "title": "Milk", "content": "Two litres", "tags": ["shopping"] });
    let mut modern = Modern::new(served.address);
    let made = modern
        .call(
            "tools/call",
            json!({ "name": "create_note", "arguments": note }),
        )
        .await;
    let made = made.unwrap().result()["structuredContent"].clone();
    let (status, _) = served.stop().await;
    assert_eq!(status.code(), Some(0));
    assert!(folder.path().join("data/notes.db").is_file());

    // After a restart the other era and REST see the same note.
    let served = Served::start(folder.path(), &[]).await;
    let mut legacy = Legacy::initialize(served.address, "2025-11-25")
        .await
        .unwrap();
    let get = json!({ "name": "get_note", "arguments": { "id": made["id"] } });
    let kept = legacy.call("tools/call", get).await.unwrap().result();
    assert_eq!(kept["structuredContent"], made);
    let path = format!("/api/v1/notes/{}", made["id"].as_str().unwrap());
    let mut client = RawClient::connect(served.address).await.unwrap();
    let shown = client.get(&path).await.unwrap();
    assert_eq!(shown.status, 200);
    assert_eq!(shown.json()["content"], "Two litres");
}

#[tokio::test]
async fn serve_is_what_runs_without_a_command() {
    let folder = tempdir().unwrap();
    let mut command = command(folder.path(), &[], &[("PORT", "0"), ("LOG_FORMAT", "json")]);
    command.stderr(Stdio::inherit());
    let served = Served::spawn(command).await;
    assert_eq!(served.stop().await.0.code(), Some(0));
}

#[tokio::test]
async fn lines_for_people_are_coloured_only_where_people_read() {
    let folder = tempdir().unwrap();
    let vars = [("PORT", "0"), ("LOG_FORMAT", "pretty")];
    let mut server = command(folder.path(), &[], &vars).spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let line = timeout(PATIENCE, lines.next_line())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(
        line.contains("listening") && !line.contains('\u{1b}'),
        "{line}"
    );
    server.kill().await.unwrap();
}

#[tokio::test]
async fn healthcheck_tells_a_ready_server_from_none() {
    let folder = tempdir().unwrap();
    let served = Served::start(folder.path(), &[]).await;
    let port = served.port();
    let vars = [("PORT", port.as_str())];
    let check = || run(folder.path(), &["healthcheck"], &vars);
    let up = check().await;
    assert_eq!(up.status.code(), Some(0), "{}", stderr(&up));
    served.stop().await;
    let down = check().await;
    assert_eq!(down.status.code(), Some(1));
    assert!(
        stderr(&down).contains(&format!("127.0.0.1:{port}")),
        "{}",
        stderr(&down)
    );
    let unknown = run(folder.path(), &["healthcheck"], &[("PORT", "0")]).await;
    assert_eq!(unknown.status.code(), Some(1));
}

#[tokio::test]
async fn a_server_that_cannot_write_is_not_ready() {
    let folder = tempdir().unwrap();
    let served = Served::start(folder.path(), &[]).await;
    let db = rusqlite::Connection::open(folder.path().join("data/notes.db")).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let port = served.port();
    let check = run(folder.path(), &["healthcheck"], &[("PORT", &port)]).await;
    assert_eq!(check.status.code(), Some(1));
    assert!(stderr(&check).contains("503"), "{}", stderr(&check));
}

#[tokio::test]
async fn healthcheck_does_not_wait_for_ever_and_takes_only_200() {
    let folder = tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let vars = [("PORT", port.as_str())];
    let silent = run(folder.path(), &["healthcheck"], &vars).await;
    assert_eq!(silent.status.code(), Some(1));

    let answer = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // An answer to a request that was not read would be lost in a reset.
            assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
            // The first connection is the one that has given up.
            let _ = stream
                .write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
                .await;
        }
    };
    let check = run(folder.path(), &["healthcheck"], &vars);
    let unready = tokio::select! {
        never = answer => never,
        unready = check => unready,
    };
    assert_eq!(unready.status.code(), Some(1));
    assert!(stderr(&unready).contains("503"), "{}", stderr(&unready));
}

#[tokio::test]
async fn config_shows_values_and_where_they_came_from() {
    let folder = tempdir().unwrap();
    let vars = [
        ("PORT", "8080"),
        ("NODE_ENV", "development"),
        ("NOTES_DIR", "x"),
    ];
    let shown = run(folder.path(), &["config", "--json"], &vars).await;
    assert_eq!(shown.status.code(), Some(0));
    let shown_json: Value = serde_json::from_str(&stdout(&shown)).unwrap();
    assert_eq!(
        shown_json["PORT"],
        json!({ "value": "8080", "source": "PORT" })
    );
    assert_eq!(shown_json["APP_ENV"]["source"], "NODE_ENV");
    assert_eq!(
        shown_json["HOST"],
        json!({ "value": "127.0.0.1", "source": "default" })
    );
    assert!(stderr(&shown).contains("NOTES_DIR is not a setting"));

    let table = stdout(&run(folder.path(), &["config"], &vars).await);
    let port = table
        .lines()
        .find(|line| line.starts_with("PORT "))
        .unwrap();
    assert_eq!(
        port.split_whitespace().collect::<Vec<_>>(),
        ["PORT", "8080", "PORT"]
    );
}

#[tokio::test]
async fn exit_codes_say_what_was_wrong() {
    let folder = tempdir().unwrap();
    let version = run(folder.path(), &["version"], &[]).await;
    assert_eq!(
        stdout(&version),
        concat!("mcp-notes ", env!("CARGO_PKG_VERSION"), "\n")
    );
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(
        run(folder.path(), &["frobnicate"], &[]).await.status.code(),
        Some(2)
    );
    for command in ["serve", "stdio", "healthcheck", "config"] {
        let wrong = [
            ("PORT", "70000"),
            ("SESSION_TTL", "1h"),
            ("HOST", "0.0.0.0"),
        ];
        let wrong = run(folder.path(), &[command], &wrong).await;
        assert_eq!(wrong.status.code(), Some(78), "{command}");
        let text = stderr(&wrong);
        assert!(text.contains("3 settings are wrong"), "{command}: {text}");
        for name in ["PORT", "SESSION_TTL", "HOST"] {
            assert!(text.contains(&format!("\n  {name}: ")), "{command}: {text}");
        }
        assert_eq!(stdout(&wrong), "", "{command}");
    }
    assert!(
        !folder.path().join("data").exists(),
        "wrong settings leave nothing behind"
    );
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let folder = tempdir().unwrap();
    let served = Served::start(folder.path(), &[]).await;
    let port = served.port();
    let vars = [("PORT", port.as_str()), ("NOTES_STORE", "sqlite:other.db")];
    let second = run(folder.path(), &["serve"], &vars).await;
    assert_eq!(second.status.code(), Some(1));
    let text = stderr(&second);
    assert!(
        text.contains("PORT") && text.contains(&format!("127.0.0.1:{port}")),
        "{text}"
    );
}

/// Starts a server on `store`, which must refuse to start and say why, leaving `store` as it was.
async fn refused(folder: &std::path::Path, store: &str) -> String {
    for command in ["serve", "stdio"] {
        let vars = [("PORT", "0"), ("NOTES_STORE", store)];
        let refused = run(folder, &[command], &vars).await;
        assert_eq!(
            refused.status.code(),
            Some(1),
            "{command}: {}",
            stderr(&refused)
        );
        if command == "stdio" {
            return stderr(&refused);
        }
    }
    unreachable!()
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_names_the_setting() {
    let folder = tempdir().unwrap();
    let path = folder.path();

    fs::write(path.join("text.db"), "Dear diary, ".repeat(1000)).unwrap();
    let text = refused(path, "sqlite:text.db").await;
    assert_eq!(
        text,
        "mcp-notes: NOTES_STORE sqlite:text.db: this is not a database of notes; it is left \
         untouched\n"
    );
    assert_eq!(
        fs::read_to_string(path.join("text.db")).unwrap(),
        "Dear diary, ".repeat(1000)
    );

    // Folders nobody can make: below a file, and in a file system that is not one.
    for store in ["sqlite:text.db/notes.db", "sqlite:/proc/notes/notes.db"] {
        let text = refused(path, store).await;
        assert!(
            text.contains("NOTES_STORE") && text.contains(store),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_store_of_a_newer_program_is_left_alone() {
    let folder = tempdir().unwrap();
    Served::start(folder.path(), &[]).await.stop().await;
    let file = folder.path().join("data/notes.db");
    let db = rusqlite::Connection::open(&file).unwrap();
    db.pragma_update(None, "user_version", 9_999).unwrap();
    db.close().unwrap();
    let before = fs::read(&file).unwrap();
    let text = refused(folder.path(), &format!("sqlite:{}", text(&file))).await;
    assert!(
        text.contains("NOTES_STORE") && text.contains("9999"),
        "{text}"
    );
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[tokio::test]
async fn a_locked_store_is_reported_and_not_waited_for_without_end() {
    let folder = tempdir().unwrap();
    let db = rusqlite::Connection::open(folder.path().join("notes.db")).unwrap();
    db.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let text = refused(folder.path(), "sqlite:notes.db").await;
    assert!(
        text.contains("NOTES_STORE") && text.contains("busy"),
        "{text}"
    );
    db.execute_batch("ROLLBACK").unwrap();
    drop(db);
    let served = Served::start(folder.path(), &[("NOTES_STORE", "sqlite:notes.db")]).await;
    assert_eq!(served.stop().await.0.code(), Some(0));
}

#[tokio::test]
async fn a_local_assistant_uses_stdio() {
    let folder = tempdir().unwrap();
    let mut child = command(folder.path(), &["stdio"], &[])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut notices = Vec::new();
    let mut ask = async |request: Value| {
        input
            .write_all(format!("{request}\n").as_bytes())
            .await
            .unwrap();
        while request.get("id").is_some() {
            let line = timeout(PATIENCE, lines.next_line())
                .await
                .unwrap()
                .unwrap()
                .unwrap();
            let message: Value = serde_json::from_str(&line).unwrap();
            if message["id"] == request["id"] {
                return message["result"].clone();
            }
            notices.push(message);
        }
        Value::Null
    };
    let info = ask(
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": { "name": "test", "version": "1" } } }),
    )
    .await;
    assert_eq!(info["protocolVersion"], "2025-11-25");
    ask(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    let tools = ask(json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" })).await;
    let names: Vec<_> = tools["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| &t["name"])
        .collect();
    assert!(names.contains(&&json!("create_note")), "{names:?}");
    let made = ask(
        json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {
        "name": "create_note", "arguments": { "title": "Over stdio", "content": "x" } } }),
    )
    .await;
    assert_eq!(made["structuredContent"]["title"], "Over stdio");

    let id = made["structuredContent"]["id"].as_str().unwrap().to_owned();
    let uri = format!("note:///{id}");
    let rpc = |id: u32, method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    let change = json!({ "name": "update_note", "arguments": { "id": id, "content": "y" } });
    ask(rpc(4, "resources/subscribe", json!({ "uri": uri }))).await;
    ask(rpc(5, "tools/call", change)).await;
    // A notice of a change may come before or after its answer.
    let told = |notices: &[Value], method: &str| notices.iter().any(|n| n["method"] == method);
    while !told(&notices, "notifications/resources/list_changed")
        || !told(&notices, "notifications/resources/updated")
    {
        let line = timeout(PATIENCE, lines.next_line()).await;
        let line = line.expect("both notices come").unwrap().unwrap();
        notices.push(serde_json::from_str(&line).unwrap());
    }
    let updated = notices
        .iter()
        .find(|n| n["method"] == "notifications/resources/updated");
    assert_eq!(updated.unwrap()["params"]["uri"], json!(uri));

    // The client closes its end, and the process leaves in order.
    drop(input);
    let output = timeout(PATIENCE, child.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[tokio::test]
async fn production_logs_json_and_nothing_of_a_note() {
    let folder = tempdir().unwrap();
    let vars = [
        ("APP_ENV", "production"),
        ("ALLOWED_HOSTS", "127.0.0.1"),
        ("LOG_LEVEL", "trace"),
    ];
    let mut command = command(folder.path(), &["serve"], &vars);
    command.env("PORT", "0").stderr(Stdio::inherit());
    let served = Served::spawn(command).await;
    let mut modern = Modern::new(served.address);
    let note = json!({ "title": "Kumquat", "content": "Rambutan", "tags": ["durian"] });
    let made = modern
        .call(
            "tools/call",
            json!({ "name": "create_note", "arguments": note }),
        )
        .await;
    assert_eq!(made.unwrap().status(), 200);
    let find = json!({ "name": "search_notes", "arguments": { "query": "Rambutan" } });
    assert_eq!(modern.call("tools/call", find).await.unwrap().status(), 200);
    let (status, log) = served.stop().await;
    assert_eq!(status.code(), Some(0));
    assert!(
        log.iter().any(|line| line["rpc_method"] == "tools/call"),
        "{log:?}"
    );
    let log = json!(log).to_string().to_lowercase();
    for word in ["kumquat", "rambutan", "durian"] {
        assert!(!log.contains(word), "the log holds {word}");
    }
}
