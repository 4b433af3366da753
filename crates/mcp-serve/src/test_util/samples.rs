//! Metrics as a reader of the text format sees them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::RawClient;

/// Longer than anything takes to be counted.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was read at one time: each series, as it is written, with its number.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples {
    /// Everything that was read.
    pub text: String,
    numbers: BTreeMap<String, f64>,
}

impl Samples {
    /// Reads `/metrics` of a server on this machine that asks nobody who they are.
    pub async fn of(address: SocketAddr) -> Self {
        let mut client = RawClient::connect(address).await.expect("a connection");
        let answer = client.get("/metrics").await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        Self::parse(&answer.text())
    }

    /// Reads what a server wrote.
    pub fn parse(text: &str) -> Self {
        let mut numbers = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, number) = line.rsplit_once(' ').expect("a series and a number");
            let number = number.parse().expect("a number");
            let before = numbers.insert(series.to_owned(), number);
            assert_eq!(before, None, "{series} stands twice");
        }
        Self {
            text: text.to_owned(),
            numbers,
        }
    }

    /// The number of a series that is written so; 0 where there is none.
    pub fn get(&self, series: &str) -> f64 {
        self.numbers.get(series).copied().unwrap_or_default()
    }

    /// Every series.
    pub fn series(&self) -> impl Iterator<Item = &str> {
        self.numbers.keys().map(String::as_str)
    }

    /// What is different from `before`, as `SERIES CHANGE`, without the buckets and sums of
    /// histograms, which go with their counts, and without what names that begin with `except` say.
    pub fn moved(&self, before: &Self, except: &[&str]) -> Vec<String> {
        let is_meant = |series: &&String| {
            let name = series.split('{').next().unwrap_or_default();
            !name.ends_with("_bucket")
                && !name.ends_with("_sum")
                && !except.iter().any(|it| series.starts_with(it))
        };
        let meant = self.numbers.iter().filter(|(series, _)| is_meant(series));
        let changes = meant.map(|(series, number)| (series, number - before.get(series)));
        let changes = changes.filter(|(_, change)| *change != 0.0);
        let told = changes.map(|(series, change)| format!("{series} {change:+}"));
        told.collect()
    }

    /// Waits until a server of this machine tells what `is_so` asks for.
    pub async fn until(address: SocketAddr, what: &str, is_so: impl Fn(&Self) -> bool) -> Self {
        let end = Instant::now() + PATIENCE;
        loop {
            let now = Self::of(address).await;
            if is_so(&now) {
                return now;
            }
            assert!(Instant::now() < end, "{what}:\n{}", now.text);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
