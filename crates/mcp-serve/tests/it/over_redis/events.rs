//! Changes and signals between replicas: what holds of every channel, and what becomes of them when
//! Redis goes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mcp_serve::{
    events::{Change, Event, Events, MemoryEvents, Received, RedisEvents, Subscription},
    health::Check as _,
    redis::{Redis, Settings},
    signals::{Sent, Signal, SignalReceiver, Signals as _},
    test_util::RedisServer,
};

use super::{PATIENCE, connected_to, until};
use crate::log::log;

pub(super) fn event(number: usize) -> Event {
    Event {
        audience: number.is_multiple_of(2).then(|| "ann".into()),
        change: match number % 4 {
            0 => Change::Tools,
            1 => Change::Prompts,
            2 => Change::Resources,
            _ => Change::Resource(format!("note://{number}/\"é\"").into()),
        },
    }
}

fn named(who: usize, number: usize) -> Event {
    Event {
        audience: None,
        change: Change::Resource(format!("{who}/{number}").into()),
    }
}

pub(super) async fn next(subscription: &mut Box<dyn Subscription>) -> Received {
    let next = tokio::time::timeout(PATIENCE, subscription.next());
    next.await.expect("something is heard").unwrap()
}

/// Nothing was heard that is not taken yet.
async fn is_silent(subscription: &mut Box<dyn Subscription>) -> bool {
    let next = tokio::time::timeout(Duration::from_millis(50), subscription.next());
    next.await.is_err()
}

/// Replicas that hear each other.
async fn replicas(server: &RedisServer, count: usize) -> Vec<Arc<RedisEvents>> {
    replicas_at(&server.url(), count).await
}

pub(super) async fn replicas_at(url: &str, count: usize) -> Vec<Arc<RedisEvents>> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(Arc::new(RedisEvents::new(connected_to(url).await)));
    }
    for one in &all {
        let mut ear = one.hears();
        let hearing = tokio::time::timeout(PATIENCE, ear.wait_for(|is_open| *is_open));
        hearing.await.expect("others are heard").unwrap();
    }
    all
}

/// What holds of the channels of replicas, whatever they are made of.
async fn laws(replicas: Vec<Arc<dyn Events>>) {
    // Nobody listens, which is no failure.
    replicas[0].publish(event(0));
    let mut before = replicas[0].subscribe();
    assert!(is_silent(&mut before).await);

    let mut tails: Vec<_> = replicas.iter().map(|it| it.subscribe()).collect();
    for number in 0..200 {
        replicas[0].publish(event(number));
    }
    for tail in &mut tails {
        for number in 0..200 {
            assert_eq!(next(tail).await, Received::Event(event(number)));
        }
        assert!(is_silent(tail).await);
    }

    // In the order of each publisher, and once.
    for number in 0..100 {
        for (who, replica) in replicas.iter().enumerate() {
            replica.publish(named(who, number));
        }
    }
    for tail in &mut tails {
        let mut counts = vec![0; replicas.len()];
        for _ in 0..100 * replicas.len() {
            let heard = next(tail).await;
            let fits = |who: &usize| heard == Received::Event(named(*who, counts[*who]));
            let who = (0..replicas.len()).find(fits);
            let who = who.unwrap_or_else(|| panic!("{heard:?} after {counts:?}"));
            counts[who] += 1;
        }
        assert!(is_silent(tail).await);
    }

    // Who does not listen holds nobody up, and is told.
    let mut slow = replicas[1].subscribe();
    for number in 0..3000 {
        replicas[1].publish(event(number));
    }
    assert_eq!(next(&mut slow).await, Received::Missed);
    assert!(matches!(next(&mut slow).await, Received::Event(_)));
}

#[tokio::test]
async fn the_laws_hold_in_memory() {
    let events = MemoryEvents::default();
    let replica = || Arc::new(events.clone()) as Arc<dyn Events>;
    laws(vec![replica(), replica(), replica()]).await;
}

#[tokio::test]
async fn the_laws_hold_over_redis() {
    let server = RedisServer::start().await;
    let replicas = replicas(&server, 3).await;
    laws(
        replicas
            .into_iter()
            .map(|it| it as Arc<dyn Events>)
            .collect(),
    )
    .await;
}

#[tokio::test]
async fn a_change_on_one_replica_is_heard_on_the_others_at_once() {
    const ROUNDS: usize = 500;
    let server = RedisServer::start().await;
    let replicas = replicas(&server, 3).await;
    let mut tails: Vec<_> = replicas[1..].iter().map(|it| it.subscribe()).collect();
    let mut delays = Vec::new();
    for number in 0..ROUNDS {
        let published = Instant::now();
        replicas[0].publish(event(number));
        for tail in &mut tails {
            assert_eq!(next(tail).await, Received::Event(event(number)));
            delays.push(published.elapsed());
        }
    }
    delays.sort();
    let at = |share: usize| delays[(delays.len() - 1) * share / 100];
    println!(
        "{} deliveries: median {:?}, p99 {:?}",
        delays.len(),
        at(50),
        at(99)
    );
    assert!(at(99) < Duration::from_secs(1), "{:?}", at(99));
}

#[tokio::test]
async fn what_is_lost_with_redis_is_missed_by_all_and_heard_again_afterwards() {
    let mut server = RedisServer::start().await;
    let replicas = replicas(&server, 3).await;
    let mut tails: Vec<_> = replicas.iter().map(|it| it.subscribe()).collect();
    server.kill();
    until("the loss is noticed", async || {
        let mut lost = true;
        for replica in &replicas {
            lost &= replica.check().await.is_err();
        }
        lost
    })
    .await;
    // The same process hears it all the same.
    replicas[0].publish(event(3));
    assert_eq!(next(&mut tails[0]).await, Received::Event(event(3)));
    server.revive().await;
    for tail in &mut tails {
        assert_eq!(next(tail).await, Received::Missed);
    }
    hear_each_other_again(&replicas, &mut tails).await;
}

pub(super) async fn hear_each_other_again(
    replicas: &[Arc<RedisEvents>],
    tails: &mut [Box<dyn Subscription>],
) {
    let last = replicas.last().unwrap();
    until("all hear each other again", async || {
        last.publish(event(2));
        let mut heard = 0;
        for tail in &mut *tails {
            while let Ok(Some(received)) =
                tokio::time::timeout(Duration::from_millis(200), tail.next()).await
            {
                if received == Received::Event(event(2)) {
                    heard += 1;
                    break;
                }
            }
        }
        heard == tails.len()
    })
    .await;
    for replica in replicas {
        assert_eq!(replica.check().await, Ok(()));
    }
}

#[tokio::test]
async fn what_a_replica_changes_before_it_is_connected_is_missed_by_the_others() {
    let server = RedisServer::start().await;
    let replicas = replicas(&server, 1).await;
    let mut tail = replicas[0].subscribe();
    // The connection is made in the background.
    let late = RedisEvents::new(Redis::new(Settings::parse(&server.url()).unwrap()).unwrap());
    late.publish(event(1));
    assert_eq!(next(&mut tail).await, Received::Missed);
}

#[tokio::test]
async fn what_is_flushed_is_heard_although_its_replica_is_gone() {
    let server = RedisServer::start().await;
    let mut replicas = replicas(&server, 2).await;
    let mut tail = replicas[1].subscribe();
    for number in 0..500 {
        replicas[0].publish(event(number));
    }
    let leaving = replicas.swap_remove(0);
    leaving.flush(PATIENCE).await;
    drop(leaving);
    for number in 0..500 {
        assert_eq!(next(&mut tail).await, Received::Event(event(number)));
    }
}

#[tokio::test]
async fn servers_in_two_databases_of_one_redis_do_not_hear_each_other() {
    let server = RedisServer::start().await;
    let replicas = replicas(&server, 2).await;
    let others = replicas_at(&format!("{}/1", server.url()), 1).await;
    let mut tail = replicas[0].subscribe();
    others[0].publish(event(1));
    others[0].flush(PATIENCE).await;
    replicas[1].publish(event(2));
    assert_eq!(next(&mut tail).await, Received::Event(event(2)));
}

#[tokio::test]
async fn a_user_who_may_not_use_the_channel_is_told_of_once_and_heard_as_soon_as_it_may() {
    let (lines, _guard) = log();
    let server = RedisServer::with(&["user mcp on >hunter2 ~mcp:* resetchannels +@all"]).await;
    let url = server.url().replace("://", "://mcp:hunter2@");
    let other = replicas(&server, 1).await;
    let (mut tail, other_hears) = (other[0].subscribe(), other[0].hears());
    let replica = RedisEvents::new(connected_to(&url).await);
    for number in 0..5 {
        replica.publish(event(number));
        replica.flush(PATIENCE).await;
    }
    let count = |words: &str| lines.text().matches(words).count();
    until("the log says so", async || {
        count("Redis does not let the changes of replicas be heard") > 0
    })
    .await;
    assert!(replica.check().await.is_err());
    let attempts = async || {
        let stats = server.cli(&["INFO", "commandstats"]).await;
        let mut lines = stats.lines();
        let line = lines.find(|line| line.starts_with("cmdstat_subscribe:"));
        line.map(str::to_owned)
    };
    let refused = attempts().await;
    until("it is tried again", async || attempts().await != refused).await;
    server.cli(&["ACL", "SETUSER", "mcp", "&mcp:*"]).await;
    until("it hears", async || replica.check().await.is_ok()).await;
    // It has nothing more to say, and the other is told all the same.
    assert_eq!(next(&mut tail).await, Received::Missed);
    assert!(!other_hears.has_changed().unwrap());
    assert_eq!(
        count("Redis does not let the changes of replicas be heard"),
        1
    );
    assert_eq!(count("changes cannot be told to other replicas"), 1);
    assert!(
        count("NOPERM") == 2 && count("hunter2") == 0,
        "{}",
        lines.text()
    );
}

#[tokio::test]
async fn what_does_not_fit_into_the_queue_is_missed_by_the_others() {
    let server = RedisServer::start().await;
    let replicas = replicas(&server, 2).await;
    let mut tail = replicas[1].subscribe();
    replicas[0].publish(event(1));
    assert_eq!(next(&mut tail).await, Received::Event(event(1)));
    // Signals take its room, so that nobody falls behind with changes.
    assert!((0..5000).any(|number| replicas[0].send(signal(number)) == Sent::Away));
    replicas[0].publish(event(2));
    assert_eq!(next(&mut tail).await, Received::Missed);
    replicas[0].flush(PATIENCE).await;
    replicas[0].publish(event(3));
    assert_eq!(next(&mut tail).await, Received::Event(event(3)));
}

#[tokio::test]
async fn what_is_heard_again_or_cannot_be_read_changes_nothing() {
    let server = RedisServer::start().await;
    let replicas = replicas(&server, 1).await;
    let mut tail = replicas[0].subscribe();
    let first = r#"{"v":1,"from":"x","n":0,"m":[{"event":{"change":"tools"}}]}"#;
    let next_one = r#"{"v":1,"from":"x","n":1,"m":[{"event":{"change":"prompts"}}]}"#;
    let unread = ["", "{", r#"{"v":2,"from":"x","n":9,"m":[]}"#];
    for packet in [first, first].into_iter().chain(unread).chain([next_one]) {
        server.cli(&["PUBLISH", "mcp:events", packet]).await;
    }
    for change in [Change::Tools, Change::Prompts] {
        let audience = None;
        assert_eq!(
            next(&mut tail).await,
            Received::Event(Event { audience, change })
        );
    }
}

fn signal(number: usize) -> Signal {
    Signal::CredentialRevoked {
        credential: number.to_string(),
    }
}

async fn heard(receiver: &mut Box<dyn SignalReceiver>) -> Signal {
    let next = tokio::time::timeout(PATIENCE, receiver.next());
    next.await.expect("a signal is heard").unwrap()
}

#[tokio::test]
async fn signals_reach_all_others_in_order_and_not_their_sender() {
    let mut server = RedisServer::start().await;
    let replicas = replicas(&server, 3).await;
    let mut ears: Vec<_> = replicas.iter().map(|it| it.receive()).collect();
    for number in 0..500 {
        assert_eq!(replicas[0].send(signal(number)), Sent::Taken);
    }
    for ear in &mut ears[1..] {
        for number in 0..500 {
            assert!(heard(ear).await == signal(number));
        }
    }
    assert_eq!(replicas[1].send(signal(7)), Sent::Taken);
    assert!(heard(&mut ears[0]).await == signal(7));

    server.kill();
    until("who sends is told that nobody hears", async || {
        replicas[0].send(signal(8)) == Sent::Away
    })
    .await;
}
