//! Exchanges made from good ones by one random change each. The same on every run.

use serde_json::{Value, json};

use super::exchange::{Request, Script, Step};

const VERSION: &str = "2025-11-25";

/// How many of each kind.
const MODERN_COUNT: u64 = 150;
const LEGACY_COUNT: u64 = 75;

pub(super) fn scripts() -> Vec<Script> {
    let modern = (0..MODERN_COUNT).map(|seed| {
        let mut dice = Dice(seed);
        let (method, params) = dice.pick(&bases()).clone();
        let request = change(&mut dice, Request::modern(method, params));
        Script::one(Step::new(&format!("modern, seed {seed}"), request))
    });
    let legacy = (0..LEGACY_COUNT).map(|seed| {
        let mut dice = Dice(seed + 1_000_000);
        let (method, params) = dice.pick(&bases()).clone();
        let message = json!({ "jsonrpc": "2.0", "id": 3, "method": method, "params": params });
        let request = Request::legacy(VERSION).body(&message.to_string());
        let step = Step::new(&format!("seed {seed}"), change(&mut dice, request));
        Script::session(VERSION, &format!("seed {seed}"), vec![step])
    });
    modern.chain(legacy).collect()
}

fn bases() -> Vec<(&'static str, Value)> {
    vec![
        ("tools/list", json!({})),
        (
            "tools/call",
            json!({ "name": "test_simple_text", "arguments": {} }),
        ),
        (
            "tools/call",
            json!({ "name": "greet", "arguments": { "name": "Ada" } }),
        ),
        (
            "tools/call",
            json!({ "name": "slow_compute", "arguments": { "seconds": 0, "label": "a" } }),
        ),
        ("resources/list", json!({})),
        ("resources/read", json!({ "uri": "test://static-text" })),
        ("prompts/list", json!({})),
        (
            "prompts/get",
            json!({
                "name": "test_prompt_with_arguments",
                "arguments": { "arg1": "a", "arg2": "b" },
            }),
        ),
        (
            "completion/complete",
            json!({
                "ref": { "type": "ref/prompt", "name": "test_prompt_with_arguments" },
                "argument": { "name": "arg1", "value": "p" },
            }),
        ),
    ]
}

fn change(dice: &mut Dice, mut request: Request) -> Request {
    match dice.below(10) {
        0 => {
            let length = dice.below(request.body.len());
            request.body.truncate(length);
            request
        }
        1 => {
            let at = dice.below(request.body.len());
            request.body[at] = *dice.pick(b"{}[]\",:\x00\xff 9");
            request
        }
        2 | 3 => {
            let at = dice.below(request.headers.len());
            let value = dice.pick(&["", "x", "2025-06-18", "application/json", "tools/list"]);
            if dice.below(2) == 0 {
                request.headers.remove(at);
            } else {
                (*value).clone_into(&mut request.headers[at].1);
            }
            request
        }
        _ => {
            let mut message = request.message();
            change_json(dice, &mut message);
            request.body(&message.to_string())
        }
    }
}

/// Changes one member somewhere in `value`: takes it away, adds one, or gives it another value.
fn change_json(dice: &mut Dice, value: &mut Value) {
    let Value::Object(members) = value else {
        *value = junk(dice);
        return;
    };
    let keys: Vec<_> = members.keys().cloned().collect();
    if keys.is_empty() || dice.below(8) == 0 {
        members.insert("unexpected".to_owned(), junk(dice));
        return;
    }
    let key = dice.pick(&keys);
    if members[key].is_object() && dice.below(4) > 0 {
        change_json(dice, &mut members[key]);
    } else if dice.below(3) == 0 {
        members.remove(key);
    } else {
        members[key] = junk(dice);
    }
}

fn junk(dice: &mut Dice) -> Value {
    let all = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(""),
        json!("x"),
        json!(VERSION),
        json!("test_image_content"),
        json!([]),
        json!([1]),
        json!({}),
        json!({ "a": 1 }),
        json!("y".repeat(300)),
    ];
    dice.pick(&all).clone()
}

/// Numbers that look random and depend on the seed alone (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let folded = (mixed ^ (mixed >> 31)) >> 33;
        usize::try_from(folded).unwrap_or_default() % bound.max(1)
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}
