//! A differential replay: the same exchanges with a server of ours and with one on rmcp's own
//! transport, both with the conformance fixture. What differs is in [`differences::ALL`], or is a
//! mistake.

mod differences;
mod exchange;
mod generated;
mod malformed;
mod recorded;
mod rmcp_server;
mod wire;

use std::error::Error;

use serde_json::{Value, json};

use self::{
    differences::Case,
    wire::{Answer, Client},
};
use crate::{fixture::Fixture, mounted};

/// The least number of exchanges that a replay is worth the name for.
const EXCHANGES_MIN: usize = 150;

#[tokio::test]
async fn ours_answers_as_rmcp_does_but_for_the_listed_differences() -> Result<(), Box<dyn Error>> {
    let (theirs, _theirs) = rmcp_server::start(Fixture::new()).await?;
    let ours = mounted::start().await;
    let ours = ours.addr();
    let scripts: Vec<_> = [
        recorded::scripts(),
        malformed::scripts(),
        generated::scripts(),
    ]
    .into_iter()
    .flatten()
    .collect();

    let mut tally = differences::Tally::default();
    let mut mistakes = Vec::new();
    let mut exchanges = 0;
    for script in &scripts {
        let (mut rmcp, mut mine) = (Client::new(theirs), Client::new(ours));
        for step in &script.steps {
            let rephrased = tally.rephrase(step);
            let (expected, got) = tokio::join!(rmcp.play(&rephrased), mine.play(step));
            let (expected, got) = (normal(expected?), normal(got?));
            let case = Case {
                script,
                step,
                theirs: &expected,
                message: step.request.message(),
            };
            let expected = tally.expect(&case);
            exchanges += 1;
            if expected.answer != got {
                mistakes.push(report(&case, &expected, &got));
            }
        }
    }
    println!("{exchanges} exchanges; differences and how often: {tally}");
    for mistake in &mistakes {
        println!("{mistake}");
    }
    assert!(
        mistakes.is_empty(),
        "{} exchanges differ as nothing says they may",
        mistakes.len()
    );
    let unused = tally.unused();
    assert!(
        unused.is_empty(),
        "these differences no longer occur: {unused:?}"
    );
    assert!(exchanges >= EXCHANGES_MIN, "only {exchanges} exchanges");
    Ok(())
}

fn report(case: &Case<'_>, expected: &differences::Expected, got: &Answer) -> String {
    let request = &case.step.request;
    format!(
        "\n{} / {}\n  sent     {} {}\n  expected {}\n  got      {}\n  because of {:?}",
        case.script.name,
        case.step.name,
        request.verb,
        String::from_utf8_lossy(&request.body),
        show(&expected.answer),
        show(got),
        expected.because,
    )
}

fn show(answer: &Answer) -> String {
    let mut shown = format!("{answer:?}");
    if let Some((at, _)) = shown.char_indices().nth(600) {
        shown.truncate(at);
        shown.push('…');
    }
    shown
}

/// An answer without what differs between any two runs or is worded for people.
fn normal(mut answer: Answer) -> Answer {
    for message in &mut answer.messages {
        if message.get("method").is_some() && message.get("id").is_some() {
            message["id"] = json!("the server's");
            if message["params"]["_meta"]["progressToken"] != Value::Null {
                message["params"]["_meta"]["progressToken"] = json!("the server's");
            }
        }
        if message.get("error").is_some() {
            message["error"]["message"] = json!("worded");
        }
        if message["result"]["isError"] == true {
            message["result"]["content"] = json!("worded");
        }
        level(message);
    }
    answer
}

fn level(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                match key.as_str() {
                    "taskId" | "createdAt" | "lastUpdatedAt" | "requestState" => {
                        *value = json!("some");
                    }
                    _ => level(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(level),
        _ => {}
    }
}
