//! What was acknowledged is kept, even when the process is killed while it writes.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use mcp_serve::test_util::Modern;
use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::sync::Notify;

use crate::process::Served;

const WRITERS: usize = 8;

/// After so many acknowledged writes of a round the process is killed.
const ROUNDS: [usize; 6] = [1, 40, 3, 80, 17, 120];

/// What the server has said of one note, and what it may have done without saying.
#[derive(Clone, Debug)]
struct Known {
    acknowledged: Value,
    in_flight: Option<String>,
}

/// Everything the writers were told, by the id of the note.
type Ledger = Arc<Mutex<BTreeMap<String, Known>>>;

/// Writes until the server is gone: makes a note, changes it, makes the next.
async fn write(address: SocketAddr, ledger: Ledger, name: String, acknowledged: Arc<Acks>) {
    let mut client = Modern::new(address);
    for n in 0.. {
        let arguments = json!({ "title": format!("{name} {n}"), "content": format!("first {n}") });
        let Ok(made) = tool(&mut client, "create_note", &arguments).await else {
            return;
        };
        let id = made["id"].as_str().unwrap().to_owned();
        let known = Known {
            acknowledged: made,
            in_flight: None,
        };
        ledger.lock().unwrap().insert(id.clone(), known);
        acknowledged.one_more();

        let content = format!("second {n}");
        ledger.lock().unwrap().get_mut(&id).unwrap().in_flight = Some(content.clone());
        let arguments = json!({ "id": id, "content": content, "expected_version": 1 });
        let Ok(changed) = tool(&mut client, "update_note", &arguments).await else {
            return;
        };
        assert_eq!(changed["version"], 2);
        let known = Known {
            acknowledged: changed,
            in_flight: None,
        };
        ledger.lock().unwrap().insert(id, known);
        acknowledged.one_more();
    }
}

async fn tool(client: &mut Modern, name: &str, arguments: &Value) -> io::Result<Value> {
    let answer = client
        .call(
            "tools/call",
            json!({ "name": name, "arguments": arguments }),
        )
        .await?;
    // A response that was cut off is no acknowledgement.
    let Some(result) = answer.last().get("result").cloned() else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    assert_eq!(result["isError"], json!(false), "{result}");
    Ok(result["structuredContent"].clone())
}

/// Counts acknowledgements and tells when there are enough.
struct Acks {
    count: AtomicUsize,
    wanted: usize,
    enough: Notify,
}

impl Acks {
    fn one_more(&self) {
        if self.count.fetch_add(1, Ordering::SeqCst) + 1 >= self.wanted {
            self.enough.notify_one();
        }
    }
}

/// Compares what is there with what was acknowledged, and learns how writes in flight ended.
async fn check(address: SocketAddr, ledger: &Ledger) {
    let mut client = Modern::new(address);
    let known = ledger.lock().unwrap().clone();
    for (
        id,
        Known {
            acknowledged,
            in_flight,
        },
    ) in known
    {
        let found = tool(&mut client, "get_note", &json!({ "id": id }))
            .await
            .unwrap();
        if found != acknowledged {
            let done = in_flight.unwrap_or_else(|| panic!("{acknowledged} became {found}"));
            assert_eq!(found["content"], json!(done));
            assert_eq!(found["title"], acknowledged["title"]);
            assert_eq!(found["version"], 2);
        }
        let settled = Known {
            acknowledged: found,
            in_flight: None,
        };
        ledger.lock().unwrap().insert(id, settled);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_note_survives_kill_9() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::default();
    for (round, wanted) in ROUNDS.into_iter().enumerate() {
        let served = Served::start(folder.path(), &[]).await;
        check(served.address, &ledger).await;
        let acknowledged = Arc::new(Acks {
            count: AtomicUsize::new(0),
            wanted,
            enough: Notify::new(),
        });
        let writers: Vec<_> = (0..WRITERS)
            .map(|n| {
                let name = format!("round {round} writer {n}");
                tokio::spawn(write(
                    served.address,
                    ledger.clone(),
                    name,
                    acknowledged.clone(),
                ))
            })
            .collect();
        acknowledged.enough.notified().await;
        served.kill().await;
        for writer in writers {
            writer.await.unwrap();
        }
    }
    let served = Served::start(folder.path(), &[]).await;
    check(served.address, &ledger).await;
    assert!(ledger.lock().unwrap().len() >= ROUNDS.iter().sum::<usize>() / 2);
    assert_eq!(served.stop().await.0.code(), Some(0));
}
