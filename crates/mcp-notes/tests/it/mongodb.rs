//! The server with its notes in MongoDB: several servers on one database, and one that fails.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use mcp_serve::test_util::{Modern, RawClient, RawResponse};
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::{
    engine::{Database, Engine},
    process::{PATIENCE, Served, run, stderr, stdout},
    proxy::Proxy,
    server::Server,
};

/// The time in which the database must answer, and what a busy machine adds.
const BOUND: Duration = Duration::from_secs(5 + 3);

async fn rest(served: &Served, method: &str, path: &str, token: &str, body: &Value) -> RawResponse {
    let bearer = format!("Bearer {token}");
    let mut fields = vec![("content-type", "application/json")];
    if !token.is_empty() {
        fields.push(("authorization", bearer.as_str()));
    }
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let mut client = RawClient::connect(served.address).await.unwrap();
    let answer = client.request(method, path, &fields, body.as_bytes()).await;
    answer.unwrap()
}

async fn get(served: &Served, path: &str) -> RawResponse {
    rest(served, "GET", path, "", &Value::Null).await
}

/// The result of a tool, which may be an error.
async fn tool(client: &mut Modern, name: &str, arguments: Value) -> Value {
    let params = json!({ "name": name, "arguments": arguments });
    let answer = client.call("tools/call", params).await.unwrap();
    answer.result()["structuredContent"].clone()
}

async fn token(folder: &Path, vars: &[(&str, &str)], args: &[&str]) -> String {
    let done = run(folder, &[&["token"], args].concat(), vars).await;
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    stdout(&done).trim_end().to_owned()
}

#[tokio::test]
async fn servers_on_one_database_show_the_same_notes_on_every_face() {
    let (folder, database) = (tempdir().unwrap(), Database::new());
    let url = database.url();
    // The same place, named in the ways of the document and of the demo.
    let (server, name) = url.rsplit_once('/').unwrap();
    let by_token = ("AUTH_MODE", "token");
    let one = [by_token, ("MONGODB_URI", url)];
    let other = [by_token, ("MONGO_URI", server), ("MONGO_DATABASE", name)];
    let create = ["create", "--name", "desk", "--owner", "ann"];
    let ann = token(folder.path(), &one, &create).await;
    let a = Served::start(folder.path(), &one).await;
    let b = Served::start(folder.path(), &other).await;

    let mut modern = Modern::new(a.address);
    let bearer = ("Authorization".to_owned(), format!("Bearer {ann}"));
    modern.headers.push(bearer);
    let new = json!({ "title": "Shared", "content": "kept in MongoDB", "tags": ["work"] });
    let made = tool(&mut modern, "create_note", new).await;
    let path = format!("/api/v1/notes/{}", made["id"].as_str().unwrap());
    let read = rest(&b, "GET", &path, &ann, &Value::Null).await;
    assert_eq!((read.status, read.json()), (200, made.clone()));
    let found = "/api/v1/notes/search?q=mongod";
    let found = rest(&b, "GET", found, &ann, &Value::Null).await;
    assert_eq!(found.json()["total"], 1, "{}", found.text());
    let change = json!({ "content": "changed at b" });
    let changed = rest(&b, "PATCH", &path, &ann, &change).await;
    assert_eq!(changed.json()["version"], 2, "{}", changed.text());
    let late = json!({ "id": made["id"], "content": "at a", "expected_version": 1 });
    let refused = tool(&mut modern, "update_note", late).await;
    assert_eq!(refused["error"]["code"], "conflict");
    assert_eq!(refused["error"]["current"]["content"], "changed at b");

    token(folder.path(), &other, &["revoke", "desk"]).await;
    let begun = Instant::now();
    for served in [&a, &b] {
        while rest(served, "GET", &path, &ann, &Value::Null).await.status != 401 {
            assert!(begun.elapsed() < BOUND, "a revoked token holds");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    for served in [a, b] {
        assert!(served.stop().await.0.success());
    }
}

#[tokio::test]
async fn a_server_waits_for_its_database_and_serves_when_it_is_there() {
    let (folder, mut database) = (tempdir().unwrap(), Server::new());
    let url = database.url("notes");
    let served = Served::start(folder.path(), &[("NOTES_STORE", &url)]).await;
    let (live, ready) = (get(&served, "/livez").await, get(&served, "/readyz").await);
    assert_eq!((live.status, ready.status), (200, 503));
    let refused = get(&served, "/api/v1/notes").await;
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());

    for _ in 0..2 {
        database.start();
        let begun = Instant::now();
        while get(&served, "/readyz").await.status != 200 {
            assert!(begun.elapsed() < PATIENCE, "it never is ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let new = json!({ "title": "A", "content": "b" });
        let made = rest(&served, "POST", "/api/v1/notes", "", &new).await;
        assert_eq!(made.status, 201, "{}", made.text());
        // Gone again: an answer in time, and no 500.
        database.kill();
        let begun = Instant::now();
        let refused = get(&served, "/api/v1/notes").await;
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    }
    assert!(served.stop().await.0.success());
}

#[tokio::test]
async fn a_user_that_is_refused_stops_the_start_without_its_password() {
    let (folder, database) = (tempdir().unwrap(), Database::new());
    let url = database.url().replacen("://", "://ann:hunter2@", 1);
    let done = run(folder.path(), &["serve"], &[("MONGODB_URI", &url)]).await;
    let told = stdout(&done) + &stderr(&done);
    assert_eq!(done.status.code(), Some(1), "{told}");
    assert!(told.contains("NOTES_STORE mongodb://ann:***@"), "{told}");
    assert!(told.contains("refuses the user"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[tokio::test]
async fn a_change_that_is_not_confirmed_is_told_as_such() {
    let (folder, engine) = (tempdir().unwrap(), Engine::start());
    let behind = engine.url.trim_start_matches("mongodb://");
    let proxy = Proxy::start(behind.trim_end_matches('/').parse().unwrap()).await;
    let url = format!("mongodb://{}/notes?retryWrites=false", proxy.address);
    let served = Served::start(folder.path(), &[("NOTES_STORE", &url)]).await;
    let mut modern = Modern::new(served.address);
    let new = json!({ "title": "A", "content": "b" });
    let made = tool(&mut modern, "create_note", new).await;

    proxy.lose("findAndModify", 1);
    let change = json!({ "id": made["id"], "content": "c" });
    let unknown = tool(&mut modern, "update_note", change).await;
    assert_eq!(unknown["error"]["code"], "unconfirmed", "{unknown}");
    let note = tool(&mut modern, "get_note", json!({ "id": made["id"] })).await;
    assert_eq!(
        (&note["content"], &note["version"]),
        (&json!("c"), &json!(2))
    );

    proxy.lose("findAndModify", 1);
    let path = format!("/api/v1/notes/{}", made["id"].as_str().unwrap());
    let unknown = rest(&served, "DELETE", &path, "", &Value::Null).await;
    assert_eq!(unknown.status, 504, "{}", unknown.text());
    let kind = unknown.json()["type"].clone();
    assert_eq!(kind, "/api/v1/docs#problem-unconfirmed");
    assert_eq!(get(&served, &path).await.status, 404);
    assert!(served.stop().await.0.success());
}

#[tokio::test]
async fn notes_of_the_demo_belong_to_everybody_who_shares() {
    use mongodb::bson::{DateTime, Document, doc};

    let (folder, database) = (tempdir().unwrap(), Database::new());
    let client = mongodb::Client::with_uri_str(database.url()).await.unwrap();
    let notes = client.default_database().unwrap();
    let written = doc! {
        "noteId": "note_1726_abc", "title": "Demo", "content": "text",
        "createdAt": DateTime::from_millis(1_700_000_000_000),
        "updatedAt": DateTime::from_millis(1_700_000_000_000),
    };
    let notes = notes.collection::<Document>("mcp_notes");
    notes.insert_one(written).await.unwrap();
    let served = Served::start(folder.path(), &[("NOTES_STORE", database.url())]).await;
    let note = get(&served, "/api/v1/notes/note_1726_abc").await;
    assert_eq!(note.json()["title"], "Demo", "{}", note.text());
    assert_eq!(note.json()["updated_at"], "2023-11-14T22:13:20Z");
    assert!(served.stop().await.0.success());
}
