//! Any sequence of operations has the same outcome on every store.

use std::time::Duration;

use mcp_serve::{
    auth::Principal,
    session::{Limits, SessionChange, SessionError, SessionId},
};
use proptest::{prelude::*, sample::select, test_runner::TestRunner};
use rmcp::model::LoggingLevel;
use tokio::runtime;

use super::{Kind, World, world::session};

#[derive(Clone, Debug)]
enum Step {
    Create {
        who: usize,
    },
    Touch {
        which: usize,
        who: usize,
    },
    Change {
        which: usize,
        who: usize,
        change: SessionChange,
    },
    Delete {
        which: usize,
        who: usize,
    },
    Count,
    Sweep,
}

const PEOPLE: [&str; 3] = ["a", "b", "c"];

/// A step, whether the other replica does it, and how many seconds pass before.
fn steps() -> impl Strategy<Value = Vec<(Step, bool, u64)>> {
    let (who, which) = (0..PEOPLE.len(), 0..8_usize);
    let change = prop_oneof![
        select(vec!["x", "y", "z"]).prop_map(|uri| SessionChange::Subscribe(uri.into())),
        select(vec!["x", "y", "z"]).prop_map(|uri| SessionChange::Unsubscribe(uri.into())),
        select(vec![LoggingLevel::Debug, LoggingLevel::Error]).prop_map(SessionChange::LogLevel),
    ];
    let at = (which, who.clone());
    let step = prop_oneof![
        4 => who.prop_map(|who| Step::Create { who }),
        6 => at.clone().prop_map(|(which, who)| Step::Touch { which, who }),
        4 => (at.clone(), change)
            .prop_map(|((which, who), change)| Step::Change { which, who, change }),
        2 => at.prop_map(|(which, who)| Step::Delete { which, who }),
        1 => Just(Step::Count),
        1 => Just(Step::Sweep),
    ];
    // Two sessions are never used at the same time, so that one of them is the longest idle.
    let seconds = select(vec![1, 1, 1, 5, 45, 90, 900, 2000, 3500]);
    prop::collection::vec((step, any::<bool>(), seconds), 1..60)
}

/// What each step came to, and how sessions ended.
async fn tell(kind: Kind, steps: &[(Step, bool, u64)]) -> (Vec<String>, Vec<String>) {
    let limits = Limits {
        lifetime: Duration::from_hours(3),
        sessions_max: 4,
        per_principal_max: 2,
        subscriptions_max: 2,
        ..Limits::default()
    };
    let world = World::open(kind, limits).await;
    let mut ids = vec![SessionId::parse("never").unwrap()];
    let mut outcomes = Vec::new();
    let mut unswept = 0;
    for (step, other, seconds) in steps {
        // Servers sweep often, so no session is past its end for hours before anybody notices.
        unswept += seconds;
        if unswept > 3600 {
            world.one.sweep().await;
            unswept = *seconds;
        }
        world.pass(Duration::from_secs(*seconds)).await;
        let store = if *other { &world.other } else { &world.one };
        let at = |which: &usize, who: &usize| {
            let id = ids[ids.len() - 1 - which % ids.len()].clone();
            (id, Principal::new(PEOPLE[*who]))
        };
        outcomes.push(match step {
            // Replicas that create at the same time may go over the cap together.
            Step::Create { who } => match world.one.create(session(PEOPLE[*who])).await {
                Ok(id) => {
                    ids.push(id);
                    "opened".to_owned()
                }
                Err(SessionError::Full { .. }) => "full".to_owned(),
                Err(error) => error.to_string(),
            },
            Step::Touch { which, who } => {
                let (id, who) = at(which, who);
                let touched = store.touch(&id, &who).await.unwrap();
                format!(
                    "{:?}",
                    touched.map(|it| (it.log_level, it.subscriptions.clone()))
                )
            }
            Step::Change { which, who, change } => {
                let (id, who) = at(which, who);
                format!("{:?}", store.change(&id, &who, change.clone()).await)
            }
            Step::Delete { which, who } => {
                let (id, who) = at(which, who);
                format!("{:?}", store.delete(&id, &who).await)
            }
            Step::Count => format!("{:?}", store.count().await),
            Step::Sweep => {
                store.sweep().await;
                String::new()
            }
        });
    }
    world.one.sweep().await;
    // When an end is noticed differs; which ends there were does not.
    let mut ends: Vec<_> = world.ends().iter().map(|end| format!("{end:?}")).collect();
    ends.sort();
    (outcomes, ends)
}

fn paused(is_paused: bool) -> runtime::Runtime {
    let mut builder = runtime::Builder::new_current_thread();
    builder
        .enable_all()
        .start_paused(is_paused)
        .build()
        .unwrap()
}

#[test]
fn any_sequence_of_operations_has_the_same_outcome_in_memory_and_in_redis() {
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let run = runner.run(&steps(), |steps| {
        let in_memory = paused(true).block_on(tell(Kind::Memory, &steps));
        let in_redis = paused(false).block_on(tell(Kind::Redis, &steps));
        prop_assert_eq!(in_memory, in_redis);
        Ok(())
    });
    run.unwrap();
}
