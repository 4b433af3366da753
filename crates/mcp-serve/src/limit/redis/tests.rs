//! The script and the limiter of one process follow the same rule: each is held against the other.

use std::{cell::Cell, time::Duration};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tokio::runtime::Runtime;

use super::*;
use crate::{redis::Settings, test_util::RedisServer};

/// What is asked, and the pause before it, in milliseconds.
type Steps = Vec<(u32, u64)>;

fn story() -> impl Strategy<Value = (u32, u64, Steps)> {
    let steps = proptest::collection::vec((0_u32..14, 0_u64..6), 1..25);
    (1_u32..12, 12_u64..80, steps)
}

#[test]
fn the_script_and_the_limiter_of_one_process_agree_at_every_step() {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(RedisServer::start());
    let _guard = runtime.enter();
    let redis = Redis::new(Settings::parse(&server.url()).unwrap()).unwrap();
    let limiter = RedisLimiter::new(redis);
    let mut up = limiter.redis.watch();
    runtime.block_on(up.wait_for(|up| *up)).unwrap();

    let config = Config {
        cases: 40,
        failure_persistence: None,
        ..Config::default()
    };
    let (callers, outcomes) = (Cell::new(0_u32), Cell::new([0, 0]));
    let told = TestRunner::new(config).run(&story(), |(burst, millis, steps)| {
        // Nobody has asked for anything yet in either.
        callers.set(callers.get() + 1);
        let caller = Caller::at(callers.get().to_be_bytes().into());
        let budget = Budget::new(burst, Duration::from_millis(millis)).unwrap();
        let rule = Rule::new(Class::Read, budget);
        let memory = MemoryLimiter::default();
        for (count, pause) in steps {
            std::thread::sleep(Duration::from_millis(pause));
            let asked = runtime.block_on(limiter.ask(&caller, rule, count));
            let (now, owed) = asked.unwrap();
            let here = memory.take_at(now, &caller, rule, count);
            prop_assert_eq!(rule.decision(owed), here);
            let mut counts = outcomes.get();
            counts[usize::from(here.is_allowed())] += 1;
            outcomes.set(counts);
        }
        Ok(())
    });
    told.unwrap();
    // Neither of them says the same to everything.
    assert!(
        outcomes.get().iter().all(|count| *count > 50),
        "{outcomes:?}"
    );
}
