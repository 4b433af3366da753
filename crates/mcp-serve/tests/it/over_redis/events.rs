//! Changes and signals between replicas: what holds of every channel, and what becomes of them when
//! Redis goes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mcp_serve::{
    events::{Change, Event, Events, MemoryEvents, Received, RedisEvents, Subscription},
    health::Check as _,
    signals::{Sent, Signal, SignalReceiver, Signals as _},
    test_util::RedisServer,
};

use super::{PATIENCE, connected, until};

fn event(number: usize) -> Event {
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

async fn next(subscription: &mut Box<dyn Subscription>) -> Received {
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
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(Arc::new(RedisEvents::new(connected(server).await)));
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
    until("all hear each other again", async || {
        replicas[2].publish(event(2));
        let mut heard = 0;
        for tail in &mut tails {
            while let Ok(Some(received)) =
                tokio::time::timeout(Duration::from_millis(200), tail.next()).await
            {
                if received == Received::Event(event(2)) {
                    heard += 1;
                    break;
                }
            }
        }
        heard == 3
    })
    .await;
    for replica in &replicas {
        assert_eq!(replica.check().await, Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_into_the_queue_is_missed_by_the_others() {
    const COUNT: usize = 6000;
    let server = RedisServer::start().await;
    let replicas = replicas(&server, 2).await;
    let mut tail = replicas[1].subscribe();
    let collecting = tokio::spawn(async move {
        let (mut missed, mut numbers) = (0, Vec::new());
        loop {
            match next(&mut tail).await {
                Received::Missed => missed += 1,
                Received::Event(event) if event == named(1, 0) => return (missed, numbers),
                Received::Event(event) => {
                    let Change::Resource(uri) = event.change else {
                        panic!("{event:?}")
                    };
                    numbers.push(uri[2..].parse::<usize>().unwrap());
                }
            }
        }
    });
    server.pause();
    for number in 0..COUNT {
        replicas[0].publish(named(0, number));
    }
    server.resume();
    until("the last change is heard", async || {
        replicas[0].publish(named(1, 0));
        tokio::time::sleep(Duration::from_millis(50)).await;
        collecting.is_finished()
    })
    .await;
    let (missed, numbers) = collecting.await.unwrap();
    assert!(
        missed > 0 && numbers.len() < COUNT,
        "{missed} {}",
        numbers.len()
    );
    assert!(numbers.is_sorted(), "{numbers:?}");
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
