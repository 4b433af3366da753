//! Replicas under supervisors, as systemd supervises services: each says when it is ready, and one
//! that falls silent is ended and started again.

use super::{Replica, Site, load::Load};
use crate::supervised::Supervisor;

const MODERN: usize = 4;
const LEGACY: usize = 4;
/// A database that is slow, because the machine has other things to do, is not what this is about.
const PATIENT: [(&str, &str); 2] = [
    ("MONGODB_TIMEOUT_SECONDS", "30"),
    ("MONGODB_SELECTION_TIMEOUT_SECONDS", "30"),
];

/// Three replicas, each of which was started by a supervisor of its own.
async fn site() -> (Site, Vec<Supervisor>) {
    let mut site = Site::start(&PATIENT).await;
    let mut supervisors = Vec::new();
    for replica in &mut site.fleet.replicas {
        let (status, _) = replica.served.take().unwrap().stop().await;
        assert!(status.success());
        let supervisor = Supervisor::new();
        replica.vars.extend(supervisor.vars());
        start(replica, &supervisor).await;
        supervisors.push(supervisor);
    }
    (site, supervisors)
}

async fn start(replica: &mut Replica, supervisor: &Supervisor) {
    replica.begin().await;
    supervisor.hears("READY=1").await;
}

#[tokio::test]
async fn a_rolling_restart_that_waits_for_ready_fails_no_call() {
    let (mut site, supervisors) = site().await;
    let load = Load::start(site.front(), MODERN, LEGACY).await;
    load.pass(60).await;
    for (replica, supervisor) in site.fleet.replicas.iter_mut().zip(&supervisors) {
        let served = replica.served.take().unwrap();
        let (status, _) = served.stop().await;
        assert!(status.success());
        supervisor.hears("STOPPING=1").await;
        load.pass(40).await;
        start(replica, supervisor).await;
        // nginx comes back to it when `fail_timeout` is over.
        replica.answers().await;
    }
    load.pass(60).await;
    let tally = load.stop().await;
    println!("{} calls, slowest {:?}", tally.calls, tally.slowest);
    assert_eq!(tally.failures, Vec::<String>::new());
    site.fleet.stop().await;
}

#[tokio::test]
async fn a_replica_that_hangs_is_ended_and_costs_the_calls_that_it_had() {
    let (mut site, supervisors) = site().await;
    let load = Load::start(site.front(), MODERN, LEGACY).await;
    load.pass(60).await;
    let (replica, supervisor) = (&mut site.fleet.replicas[1], &supervisors[1]);
    let served = replica.served.take().unwrap();
    crate::process::signal(&served.child, "STOP").await;
    supervisor.hears_nothing().await;
    served.kill().await;
    load.pass(60).await;
    start(replica, supervisor).await;
    replica.answers().await;
    load.pass(60).await;
    let tally = load.stop().await;
    println!("{} calls, failures {:?}", tally.calls, tally.failures);
    let in_flight = |it: &String| it.contains(": 502 ") && it.contains("is not known");
    let others: Vec<_> = tally.failures.iter().filter(|it| !in_flight(it)).collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(tally.failures.len() <= MODERN + LEGACY);
    site.fleet.stop().await;
}
