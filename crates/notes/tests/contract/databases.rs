//! The MongoDB of the tests itself: nothing that one test does reaches another or stays behind.

use std::net::TcpStream;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use mongodb::Client;
use mongodb::bson::{Document, doc};

use crate::engine::{Database, Engine};

/// Runs `work` as the laws are run.
pub(crate) fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(work)
}

#[test]
fn each_database_is_its_own_and_is_dropped() {
    on_runtime(async {
        let (one, other) = (Database::new(), Database::new());
        let client = Client::with_uri_str(one.url()).await.unwrap();
        let database = client.default_database().unwrap();
        let found = database.collection::<Document>("found");
        found.insert_one(doc! { "n": 1 }).await.unwrap();

        let elsewhere = Client::with_uri_str(other.url()).await.unwrap();
        let elsewhere = elsewhere.default_database().unwrap();
        assert_ne!(database.name(), elsewhere.name());
        let elsewhere = elsewhere.collection::<Document>("found");
        assert_eq!(elsewhere.count_documents(doc! {}).await.unwrap(), 0);

        let listed = client.list_database_names().await.unwrap();
        assert!(listed.contains(&database.name().to_owned()), "{listed:?}");
        drop(one);
        let listed = client.list_database_names().await.unwrap();
        assert!(!listed.contains(&database.name().to_owned()), "{listed:?}");
    });
}

#[test]
fn an_engine_ends_with_whoever_holds_its_input() {
    let mut engine = Engine::start();
    let address = engine.url.trim_start_matches("mongodb://");
    let address = address.trim_end_matches('/').to_owned();
    assert!(TcpStream::connect(&address).is_ok());
    assert!(engine.folder.is_dir());
    // The end of this process would do the same.
    drop(engine.keeper.stdin.take());
    let begun = Instant::now();
    let ended: ExitStatus = loop {
        if let Some(status) = engine.keeper.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < Duration::from_mins(1));
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(ended.success());
    assert!(TcpStream::connect(&address).is_err());
    assert!(!engine.folder.exists());
}
