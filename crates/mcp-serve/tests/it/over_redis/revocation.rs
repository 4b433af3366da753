//! A credential that is revoked is refused by every replica at once, and its streams end.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use jiff::Timestamp;
use mcp_serve::{
    auth::{
        Scopes,
        token::{SourceError, Token, TokenHash, TokenRecord, TokenSource, Tokens},
    },
    events::{RedisEvents, redis::tell},
    signals::Signal,
    test_util::{Modern, Next, RedisServer, SseReader},
};
use serde_json::json;

use super::{PATIENCE, connected};
use crate::transport::probe::{self, Running};

/// Tokens that all replicas know, as from one database.
#[derive(Default)]
struct Shelf(Mutex<Vec<(TokenHash, TokenRecord)>>);

impl Shelf {
    fn add(&self, id: &str) -> String {
        let token = Token::random().unwrap();
        let record = TokenRecord {
            id: id.into(),
            owner: "ann".into(),
            scopes: Scopes::parse("read"),
            expires_at: None,
            last_used: None,
            revoked_at: None,
        };
        self.0.lock().unwrap().push((token.hash(), record));
        token.reveal().to_owned()
    }

    fn revoke(&self, id: &str) {
        for (_, record) in &mut *self.0.lock().unwrap() {
            if record.id == id {
                record.revoked_at = Some(Timestamp::now());
            }
        }
    }

    fn find(&self, fits: impl Fn(&(TokenHash, TokenRecord)) -> bool) -> Option<TokenRecord> {
        let all = self.0.lock().unwrap();
        all.iter().find(|it| fits(it)).map(|it| it.1.clone())
    }
}

#[async_trait]
impl TokenSource for Shelf {
    async fn find(&self, hash: &TokenHash) -> Result<Option<TokenRecord>, SourceError> {
        Ok(self.find(|it| it.0 == *hash))
    }

    async fn get(&self, id: &str) -> Result<Option<TokenRecord>, SourceError> {
        Ok(self.find(|it| it.1.id == id))
    }

    async fn used(&self, _id: &str, _at: Timestamp) -> Result<(), SourceError> {
        Ok(())
    }
}

async fn replica(server: &RedisServer, shelf: &Arc<Shelf>) -> Running {
    let events = Arc::new(RedisEvents::new(connected(server).await));
    let mut hears = events.hears();
    hears.wait_for(|hears| *hears).await.unwrap();
    probe::start_with(|config| {
        config.signals = events.clone();
        config.events = events;
        config.authenticator = Arc::new(Tokens::new(shelf.clone(), "test", Scopes::parse("read")));
        config.mcp.keep_alive = Duration::from_hours(1);
    })
    .await
}

async fn listening(running: &Running, token: &str) -> SseReader {
    let listen = json!({"notifications": {"toolsListChanged": true}});
    let mut client = client(running, token);
    let opened = client.open("subscriptions/listen", listen).await;
    let mut stream = opened.unwrap();
    stream.next_event(PATIENCE).await.event();
    stream
}

fn client(running: &Running, token: &str) -> Modern {
    let mut client = running.server.modern();
    client.headers = vec![("Authorization".into(), format!("Bearer {token}"))];
    client
}

async fn status(running: &Running, token: &str) -> u16 {
    let mut client = client(running, token);
    let answer = client.call("tools/list", json!({})).await;
    answer.unwrap().status()
}

#[tokio::test]
async fn a_revoked_token_is_refused_on_every_replica_at_once_and_its_streams_end() {
    let server = RedisServer::start().await;
    let shelf = Arc::new(Shelf::default());
    let (one, other) = (shelf.add("one"), shelf.add("other"));
    let replicas = [
        replica(&server, &shelf).await,
        replica(&server, &shelf).await,
    ];
    let (mut ending, mut staying) = (Vec::new(), Vec::new());
    for running in &replicas {
        ending.push(listening(running, &one).await);
        staying.push(listening(running, &other).await);
        assert_eq!(status(running, &one).await, 200);
    }
    shelf.revoke("one");
    let outside = connected(&server).await;
    let credential = "one".to_owned();
    tell(&outside, Signal::CredentialRevoked { credential })
        .await
        .unwrap();
    let told = Instant::now();
    for stream in &mut ending {
        stream.rest(PATIENCE).await;
    }
    let ended = told.elapsed();
    for running in &replicas {
        assert_eq!(status(running, &one).await, 401);
        assert_eq!(status(running, &other).await, 200);
    }
    println!(
        "streams ended after {ended:?}, all refuse after {:?}",
        told.elapsed()
    );
    // What is remembered holds for two seconds where nobody says otherwise.
    assert!(
        told.elapsed() < Duration::from_secs(2),
        "{:?}",
        told.elapsed()
    );
    for stream in &mut staying {
        let next = stream.next_event(Duration::from_millis(50)).await;
        assert_eq!(next, Next::Silence);
    }
}
