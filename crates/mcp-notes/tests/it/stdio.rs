//! `mcp-notes stdio` with clients that send nonsense, leave early or are interrupted.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout},
    time::{sleep, timeout},
};

use crate::process::{PATIENCE, command, signal, stderr};

/// A process and its client.
struct Assistant {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Assistant {
    fn start(folder: &Path, vars: &[(&str, &str)]) -> Self {
        let mut child = command(folder, &["stdio"], vars)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take().unwrap(),
            lines: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
        }
    }

    async fn write(&mut self, bytes: &[u8]) {
        let written = timeout(PATIENCE, self.input.write_all(bytes)).await;
        written.unwrap().unwrap();
    }

    /// Sends a request of 2026-07-28.
    async fn ask(&mut self, id: u32, method: &str, params: Value) {
        self.write(request(id, method, params).as_bytes()).await;
    }

    /// The next message; nothing when the process has closed its end.
    async fn next(&mut self) -> Option<Value> {
        let line = timeout(PATIENCE, self.lines.next_line()).await;
        line.unwrap()
            .unwrap()
            .map(|line| serde_json::from_str(&line).unwrap())
    }

    /// Sends a request and waits for its answer, which must be the next message.
    async fn call(&mut self, id: u32, method: &str, params: Value) -> Value {
        self.ask(id, method, params).await;
        let answer = self.next().await.unwrap();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// Closes the client's end and waits for the process; what it wrote to standard error.
    async fn leave(self) -> String {
        drop(self.input);
        let output = timeout(PATIENCE, self.child.wait_with_output()).await;
        let output = output.unwrap().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stderr(&output)
    }
}

fn request(id: u32, method: &str, mut params: Value) -> String {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    format!("{request}\n")
}

#[tokio::test]
async fn every_line_is_answered_or_needs_no_answer() {
    let folder = tempdir().unwrap();
    let mut client = Assistant::start(folder.path(), &[("BODY_BYTES_MAX", "40000")]);
    let long = format!(
        "{{\"jsonrpc\": \"2.0\", \"x\": \"{}\"}}\n",
        "x".repeat(40_000)
    );
    let full = {
        let plain = request(7, "tools/list", json!({}));
        // As long as a line may be, and one byte of its end beside.
        format!("{:40000}\n", plain.trim_end())
    };
    let rows: [(&[u8], Value, i32); 12] = [
        (b"\n \r\n\xEF\xBB\xBF{\n", Value::Null, -32700),
        (
            b"{\"jsonrpc\": \"2.0\", \"id\": 1, \"meth\n",
            Value::Null,
            -32700,
        ),
        (b"Content-Length: 2\r\n", Value::Null, -32700),
        (
            b"{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"\xff\"}\n",
            Value::Null,
            -32700,
        ),
        (
            b"{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"\\ud800\"}\n",
            Value::Null,
            -32700,
        ),
        (b"[]\n", Value::Null, -32600),
        (b"7\n", Value::Null, -32600),
        (b"{\"jsonrpc\": \"2.0\", \"id\": 1}\n", Value::Null, -32600),
        (
            b"{\"jsonrpc\": \"2.0\", \"id\": {}, \"method\": \"ping\"}\n",
            Value::Null,
            -32600,
        ),
        (long.as_bytes(), Value::Null, -32600),
        (
            b"{\"jsonrpc\": \"2.0\", \"method\": \"notifications/odd\"}\n{\n",
            Value::Null,
            -32700,
        ),
        (full.as_bytes(), json!(7), 0),
    ];
    client.call(1, "tools/list", json!({})).await;
    for (line, id, code) in rows {
        client.write(line).await;
        let answer = client.next().await.unwrap();
        let shown = String::from_utf8_lossy(&line[..line.len().min(80)]);
        assert_eq!(answer["id"], id, "{shown}: {answer}");
        assert_eq!(
            answer["error"]["code"].as_i64().unwrap_or(0),
            i64::from(code),
            "{shown}"
        );
        assert_eq!(answer["jsonrpc"], "2.0");
        let has_id = answer.as_object().unwrap().contains_key("id");
        assert_eq!(has_id, !id.is_null(), "{shown}: {answer}");
    }
    // The last line may lack its end.
    client
        .write(request(9, "tools/list", json!({})).trim_end().as_bytes())
        .await;
    let Assistant {
        child,
        input,
        mut lines,
    } = client;
    drop(input);
    let last = timeout(PATIENCE, lines.next_line())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(serde_json::from_str::<Value>(&last).unwrap()["id"], 9);
    let output = timeout(PATIENCE, child.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[tokio::test]
async fn nonsense_before_the_first_message_is_answered_too() {
    let folder = tempdir().unwrap();
    let mut client = Assistant::start(folder.path(), &[]);
    client.write(b"{\n").await;
    assert_eq!(client.next().await.unwrap()["error"]["code"], -32700);
    client.call(1, "server/discover", json!({})).await;
    client.leave().await;
}

#[tokio::test]
async fn the_log_holds_nothing_that_a_client_sent() {
    for level in ["info", "trace"] {
        let folder = tempdir().unwrap();
        let mut client = Assistant::start(folder.path(), &[("LOG_LEVEL", level)]);
        let note = json!({"title": "Kumquat", "content": "Rambutan", "tags": ["durian"]});
        let made = json!({"name": "create_note", "arguments": note});
        let made = client.call(1, "tools/call", made).await;
        let id = made["result"]["structuredContent"]["id"].clone();
        for (method, params) in [
            (
                "prompts/get",
                json!({"name": "summarize_note", "arguments": {"note_id": id}}),
            ),
            (
                "prompts/get",
                json!({"name": "rambutan", "arguments": {"kumquat": "durian"}}),
            ),
            (
                "prompts/get",
                json!({"name": "weekly_review", "arguments": {"tag": "durian,kumquat"}}),
            ),
            (
                "prompts/get",
                json!({"name": "weekly_review", "arguments": {"rambutan": "x"}}),
            ),
            ("resources/read", json!({"uri": "note:///kumquat/rambutan"})),
            ("resources/read", json!({"uri": "note:///durian"})),
            ("resources/list", json!({"cursor": "kumquat"})),
            (
                "tools/call",
                json!({"name": "durian", "arguments": {"kumquat": "rambutan"}}),
            ),
            (
                "tools/call",
                json!({"name": "get_note", "arguments": {"kumquat": "rambutan"}}),
            ),
            (
                "completion/complete",
                json!({"ref": {"type": "ref/prompt", "name": "durian"},
                "argument": {"name": "kumquat", "value": "rambutan"}}),
            ),
            ("kumquat/rambutan", json!({"durian": 1})),
        ] {
            client.call(2, method, params).await;
        }
        client.write(b"{\"kumquat\": \"rambutan\n").await;
        client.next().await.unwrap();
        let log = client.leave().await.to_lowercase();
        for word in ["kumquat", "rambutan", "durian"] {
            assert!(!log.contains(word), "{word} at {level}: {log}");
        }
    }
    // Nor what comes before the introduction.
    let folder = tempdir().unwrap();
    let mut client = Assistant::start(folder.path(), &[]);
    client
        .write(b"{\"jsonrpc\": \"2.0\", \"id\": \"kumquat\", \"result\": {\"durian\": 1}}\n")
        .await;
    let output = timeout(PATIENCE, client.child.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let log = stderr(&output).to_lowercase();
    assert!(!log.contains("durian") && !log.contains("kumquat"), "{log}");
}

#[tokio::test]
async fn a_client_that_leaves_ends_what_it_listens_to() {
    let folder = tempdir().unwrap();
    // Some leave while the server is still busy with the acknowledgement.
    for _ in 0..12 {
        let mut client = Assistant::start(folder.path(), &[]);
        let filter = json!({"notifications": {"resourcesListChanged": true}});
        client.ask(1, "subscriptions/listen", filter).await;
        let first = client.next().await.unwrap();
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        drop(client.input);
        // Less than the five seconds that calls in flight have.
        let last = timeout(Duration::from_secs(4), client.lines.next_line()).await;
        let last = last.expect("an end in time").unwrap().unwrap();
        let last: Value = serde_json::from_str(&last).unwrap();
        assert_eq!(last["id"], 1);
        assert!(last["result"].is_object(), "{last}");
        let status = timeout(PATIENCE, client.child.wait()).await.unwrap();
        assert_eq!(status.unwrap().code(), Some(0));
    }
}

#[tokio::test]
async fn calls_in_flight_are_answered_before_the_end() {
    let folder = tempdir().unwrap();
    let mut client = Assistant::start(folder.path(), &[("NOTES_STORE", "sqlite:notes.db")]);
    client.call(1, "server/discover", json!({})).await;
    client.call(2, "tools/list", json!({})).await;
    let db = rusqlite::Connection::open(folder.path().join("notes.db")).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    for id in 100..150 {
        // All answers together are more than a pipe holds.
        let note = json!({"title": "In flight", "content": "x".repeat(10_000)});
        let call = json!({"name": "create_note", "arguments": note});
        client.ask(id, "tools/call", call).await;
    }
    // Lines are read in order: when this is answered, the calls before are in flight.
    client.call(4, "tools/list", json!({})).await;
    signal(&client.child, "TERM").await;
    let mut log = BufReader::new(client.child.stderr.take().unwrap()).lines();
    loop {
        let line = timeout(PATIENCE, log.next_line()).await.unwrap().unwrap();
        if line.expect("the end is logged").contains("stopping") {
            break;
        }
    }
    db.execute_batch("ROLLBACK").unwrap();
    let count = || {
        let count = db.query_row("SELECT count(*) FROM notes", [], |row| row.get::<_, u64>(0));
        count.unwrap()
    };
    let written = async {
        while count() < 50 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, written).await.unwrap();
    let mut answered = BTreeSet::new();
    while let Some(answer) = client.next().await {
        let note = &answer["result"]["structuredContent"];
        assert_eq!(note["title"], "In flight", "{answer}");
        answered.insert(answer["id"].as_u64().unwrap());
    }
    assert_eq!(answered, (100..150).collect());
    let status = timeout(PATIENCE, client.child.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn sighup_begins_the_audit_log_anew_and_ends_nothing() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let mut client = Assistant::start(folder.path(), &[("AUDIT_LOG", "audit.jsonl")]);
    let list = json!({"name": "list_notes", "arguments": {}});
    client.call(1, "tools/call", list.clone()).await;
    let begun = Instant::now();
    while !fs::read_to_string(&path).is_ok_and(|text| text.contains("list_notes")) {
        assert!(begun.elapsed() < PATIENCE, "the first line does not come");
        sleep(Duration::from_millis(20)).await;
    }
    fs::rename(&path, folder.path().join("audit.jsonl.1")).unwrap();
    signal(&client.child, "HUP").await;
    while !path.exists() {
        assert!(begun.elapsed() < PATIENCE, "SIGHUP makes a new file");
        sleep(Duration::from_millis(20)).await;
    }
    client.call(2, "tools/call", list).await;
    client.leave().await;
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.matches("list_notes").count(), 1, "{text}");
}

#[tokio::test]
async fn what_a_local_assistant_does_is_in_the_audit_log() {
    let folder = tempdir().unwrap();
    for (audit, at) in [("audit.jsonl", true), ("stdout", false)] {
        let mut client = Assistant::start(folder.path(), &[("AUDIT_LOG", audit)]);
        let note = json!({"name": "create_note", "arguments": {"title": "t", "content": "c"}});
        let made = client.call(1, "tools/call", note).await;
        let id = &made["result"]["structuredContent"]["id"];
        // What `stdout` would get goes where no message is.
        let said = client.leave().await;
        let text = if at {
            fs::read_to_string(folder.path().join(audit)).unwrap()
        } else {
            said
        };
        let found = text.lines().map(serde_json::from_str::<Value>);
        let found: Vec<_> = found
            .filter_map(Result::ok)
            .filter(|line| line["action"] == "create_note")
            .collect();
        assert_eq!(found.len(), 1, "{text}");
        assert_eq!(&found[0]["note"], id);
        assert_eq!(found[0]["face"], "stdio");
        assert_eq!(found[0]["outcome"], "ok");
        assert_eq!(found[0]["version"], 1);
    }
}
