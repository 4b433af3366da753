//! One budget for each caller, however many replicas there are.

use std::time::Instant;

use super::{Site, ask};

const LIMIT: u32 = 100;

#[tokio::test]
async fn a_budget_of_a_hundred_a_minute_is_one_over_three_replicas() {
    let vars = [
        ("RATE_LIMIT_ANONYMOUS", "100"),
        ("RATE_LIMIT_WINDOW_SECONDS", "60"),
    ];
    let site = Site::start(&vars).await;
    let begun = Instant::now();
    let (mut passed, mut refused) = (0_u32, 0);
    for number in 0..300 {
        // Every tenth request on a connection of its own, which is somewhere else in nginx.
        let mut client = site.fleet.nginx.http([127, 0, 0, 2]).await;
        for _ in 0..10 {
            let answer = ask(&mut client, "GET", "/api/v1/notes", b"").await;
            match answer.status {
                200 => passed += 1,
                429 => refused += 1,
                other => panic!("{other} {}", answer.text()),
            }
        }
        if refused >= 50 || number > 40 {
            break;
        }
    }
    let refilled = begun.elapsed().as_secs_f64() * f64::from(LIMIT) / 60.0;
    println!("passed {passed}, refused {refused}, refilled meanwhile {refilled:.2}");
    let most = f64::from(LIMIT) + refilled + 1.0;
    let least = f64::from(LIMIT) + refilled.floor() - 1.0;
    assert!(
        (least..=most).contains(&f64::from(passed)),
        "{least}..={most}"
    );
    let counts = site.fleet.replicas.iter().map(|it| it.served().requests());
    assert!(
        counts.min().unwrap() >= 30,
        "one replica has answered alone"
    );
    // Somebody else has a budget of its own.
    let mut other = site.fleet.nginx.http([127, 0, 0, 3]).await;
    assert_eq!(
        ask(&mut other, "GET", "/api/v1/notes", b"").await.status,
        200
    );
    site.fleet.stop().await;
}
