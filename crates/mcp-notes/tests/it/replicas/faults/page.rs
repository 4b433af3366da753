//! `docs/faults.md`: what was measured, as a table.

use std::{collections::BTreeMap, env, fs, path::PathBuf, process::Command, sync::Mutex, thread};
use std::{fmt::Write as _, time::Duration};

use mcp_serve::test_util::tool;

use super::ROWS;

/// What callers felt of one fault.
#[derive(Debug)]
pub(super) struct Row {
    /// Of each kind of call, in the order of `Kind::ALL`.
    pub(super) kinds: [Cell; 4],
    /// Until every kind succeeds again.
    pub(super) well: Duration,
    /// Whether that is since the end of the fault, or since its beginning.
    pub(super) is_since_end: bool,
    /// The longest time in which a change was not heard at the other replica.
    pub(super) silence: Duration,
    /// How many requests of a budget passed while it lasted, and afterwards.
    pub(super) budget: Option<[u32; 2]>,
}

/// What became of calls of one kind.
#[derive(Debug, Default)]
pub(super) struct Cell {
    /// How long each took that began before all was well, in order.
    pub(super) took: Vec<Duration>,
    /// How many were refused, by what they were told.
    pub(super) refused: BTreeMap<String, usize>,
}

impl Cell {
    /// Half of the calls took no longer.
    pub(super) fn median(&self) -> Duration {
        self.took
            .get(self.took.len() / 2)
            .copied()
            .unwrap_or_default()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (how, count) in &self.refused {
            let how = if how.parse::<u16>().is_ok() {
                how.clone()
            } else {
                format!("`{how}`")
            };
            write!(text, "{how} × {count}, ").unwrap();
        }
        let slowest = self.took.last().copied().unwrap_or_default();
        let median = seconds(self.median());
        text + median.trim_end_matches(" s") + " / " + &seconds(slowest)
    }
}

impl Row {
    fn text(&self, fault: &str) -> String {
        let [reading, writing, session, opening] = self.kinds.each_ref().map(Cell::text);
        let well = match (self.well, self.is_since_end) {
            (Duration::ZERO, _) => "at once".to_owned(),
            (well, true) => format!("{} after the end", seconds(well)),
            (well, false) => format!("{} after the beginning", seconds(well)),
        };
        let silence = seconds(self.silence);
        let budget = self.budget.map_or("-".to_owned(), |[meanwhile, after]| {
            format!("{meanwhile}, then {after}")
        });
        format!(
            "| {fault} | {reading} | {writing} | {session} | {opening} | {well} | {silence} | {budget} |"
        )
    }
}

fn seconds(time: Duration) -> String {
    let time = time.as_secs_f64();
    if time < 0.995 {
        format!("{time:.2} s")
    } else {
        format!("{time:.1} s")
    }
}

/// Shows a row, and writes the page when it is the last one and `make faults` asked for it.
pub(super) fn keep(fault: &'static str, row: &Row) {
    static DONE: Mutex<BTreeMap<&str, String>> = Mutex::new(BTreeMap::new());
    let row = row.text(fault);
    println!("{row}");
    let mut done = DONE.lock().unwrap();
    done.insert(fault, row);
    if is_writing() && done.len() == ROWS.len() {
        let rows: Vec<_> = ROWS.iter().map(|fault| done[fault].as_str()).collect();
        let redis = Command::new(tool("redis-server")).arg("--version").output();
        let redis = String::from_utf8(redis.unwrap().stdout).unwrap();
        let redis = redis
            .split_whitespace()
            .find_map(|it| it.strip_prefix("v="));
        let text = include_str!("page.txt")
            .replace("{redis}", redis.unwrap())
            .replace(
                "{processors}",
                &thread::available_parallelism().unwrap().to_string(),
            )
            .replace("{rows}", &rows.join("\n"));
        fs::write(path(), text).unwrap();
    }
}

fn is_writing() -> bool {
    env::var_os("FAULTS_TABLE").is_some_and(|it| it == "write")
}

fn path() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/faults.md").into()
}

#[test]
fn the_page_has_a_row_for_every_fault_and_no_other() {
    if is_writing() {
        return;
    }
    let page = fs::read_to_string(path()).unwrap();
    let rows = page.lines().skip_while(|line| !line.starts_with("| ---"));
    let rows = rows.skip(1).take_while(|line| line.starts_with('|'));
    let rows: Vec<_> = rows.filter_map(|row| row.split(" | ").next()).collect();
    let rows: Vec<_> = rows
        .iter()
        .map(|row| row.trim_start_matches("| "))
        .collect();
    assert_eq!(rows, ROWS, "run `make faults`");
}
