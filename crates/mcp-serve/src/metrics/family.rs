//! Numbers with labels: counters, gauges and histograms, and the families that they are in.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::row::{Kind, Row};

/// All series of one metric: a number for each set of values of its labels.
///
/// No more than [`SERIES_MAX`](Self::SERIES_MAX) are kept; what comes later is counted together, with
/// `_other` in every label.
pub struct Family<N> {
    row: &'static Row,
    series: RwLock<HashMap<Values, Arc<N>>>,
}

/// The number of a series, and how it begins.
pub trait Number: Send + Sync + 'static {
    /// The number before anything was counted.
    fn new(kind: Kind) -> Self;
}

impl<N: Number> Family<N> {
    /// How many series there may be.
    pub const SERIES_MAX: usize = 4096;

    /// Without labels it has its one series at once, so that what never happened is told as 0.
    pub(super) fn new(row: &'static Row) -> Self {
        let family = Self {
            row,
            series: RwLock::default(),
        };
        if row.labels.is_empty() {
            family.with(&[]);
        }
        family
    }

    /// The number with these values of the labels, in the order of the row. Values that say who
    /// somebody is, or that callers make up, have no place here.
    pub fn with(&self, values: &[&str]) -> Arc<N> {
        debug_assert_eq!(values.len(), self.row.labels.len(), "{}", self.row.name);
        let known = self.series.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = known.get(&values as &dyn Labels) {
            return number.clone();
        }
        let is_full = known.len() >= Self::SERIES_MAX;
        drop(known);
        let other = vec!["_other"; values.len()];
        let values = if is_full { &other } else { values };
        let values = Values(values.iter().map(|it| (*it).into()).collect());
        let mut known = self.series.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(N::new(self.row.kind));
        known.entry(values).or_insert_with(new).clone()
    }

    pub(super) fn row(&self) -> &'static Row {
        self.row
    }

    /// Every series with the values of its labels, in their order.
    pub(super) fn all(&self) -> Vec<(Vec<Box<str>>, Arc<N>)> {
        let known = self.series.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = known
            .iter()
            .map(|(values, number)| (values.0.to_vec(), number.clone()))
            .collect();
        drop(known);
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }

    /// Forgets every series, for numbers that are told anew with each scrape.
    pub fn clear(&self) {
        let mut known = self.series.write().unwrap_or_else(PoisonError::into_inner);
        known.clear();
    }
}

impl<N> std::fmt::Debug for Family<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Family").field(&self.row.name).finish()
    }
}

/// The values of the labels of one series.
struct Values(Box<[Box<str>]>);

/// Values of labels, owned or not: a series that is there is found without an allocation.
trait Labels {
    fn len(&self) -> usize;
    fn at(&self, index: usize) -> &str;
}

impl Labels for Values {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn at(&self, index: usize) -> &str {
        &self.0[index]
    }
}

impl Labels for &[&str] {
    fn len(&self) -> usize {
        <[&str]>::len(self)
    }

    fn at(&self, index: usize) -> &str {
        self[index]
    }
}

impl Hash for dyn Labels + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (0..self.len()).for_each(|index| self.at(index).hash(state));
    }
}

impl PartialEq for dyn Labels + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && (0..self.len()).all(|index| self.at(index) == other.at(index))
    }
}

impl Eq for dyn Labels + '_ {}

impl<'a> Borrow<dyn Labels + 'a> for Values {
    fn borrow(&self) -> &(dyn Labels + 'a) {
        self
    }
}

impl Hash for Values {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self as &dyn Labels).hash(state);
    }
}

impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Values {}

/// A whole number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one more.
    pub fn inc(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Takes over what somebody else counted; a smaller number changes nothing.
    pub fn raise_to(&self, count: u64) {
        self.0.fetch_max(count, Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Number for Counter {
    fn new(_: Kind) -> Self {
        Self::default()
    }
}

/// A number that is set, or goes up and down.
#[derive(Debug)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Makes it this number.
    pub fn set(&self, number: f64) {
        self.0.store(number.to_bits(), Relaxed);
    }

    /// Makes it so much more; less with a negative number.
    pub fn add(&self, more: f64) {
        add(&self.0, more);
    }

    /// The number.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

impl Number for Gauge {
    fn new(_: Kind) -> Self {
        Self(AtomicU64::new(0_f64.to_bits()))
    }
}

/// How many observations there were of each size.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One more than there are bounds: the last is of those beyond them all.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// Counts an observation.
    pub fn observe(&self, value: f64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.counts[place].fetch_add(1, Relaxed);
        add(&self.sum, value);
    }

    /// Counts a time, in seconds.
    pub fn observe_time(&self, time: Duration) {
        self.observe(time.as_secs_f64());
    }

    /// Takes over what somebody else counted: how many observations fall to each bound and, last,
    /// beyond them all, and their sum. What `counts` has too many is not looked at.
    pub fn set(&self, counts: &[u64], sum: f64) {
        for (own, count) in self.counts.iter().zip(counts) {
            own.store(*count, Relaxed);
        }
        self.sum.store(sum.to_bits(), Relaxed);
    }

    /// How many there were up to each bound, the greater ones including the smaller, with the whole
    /// at the end; and their sum.
    pub(super) fn read(&self) -> (Vec<(f64, u64)>, f64) {
        let mut so_far = 0;
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let buckets = bounds.zip(&self.counts).map(|(bound, count)| {
            so_far += count.load(Relaxed);
            (bound, so_far)
        });
        (buckets.collect(), f64::from_bits(self.sum.load(Relaxed)))
    }
}

impl Number for Histogram {
    fn new(kind: Kind) -> Self {
        let bounds = match kind {
            Kind::Histogram(bounds) => bounds,
            Kind::Counter | Kind::Gauge => &[],
        };
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0_f64.to_bits()),
        }
    }
}

/// Adds to a number that is kept as its bits.
fn add(number: &AtomicU64, more: f64) {
    let sum = |bits| Some((f64::from_bits(bits) + more).to_bits());
    // The closure always gives something, so this ends with a success.
    let _ = number.fetch_update(Relaxed, Relaxed, sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLS: Row = Row {
        name: "calls_total",
        kind: Kind::Counter,
        labels: &["tool", "status"],
        help: "Calls.",
    };
    const SIZES: Row = Row {
        name: "sizes",
        kind: Kind::Histogram(&[1.0, 2.0]),
        labels: &[],
        help: "Sizes.",
    };

    #[test]
    fn each_set_of_values_has_a_number_of_its_own() {
        let calls = Family::<Counter>::new(&CALLS);
        calls.with(&["a", "ok"]).inc();
        calls.with(&["a", "ok"]).inc();
        calls.with(&["ao", "k"]).inc();
        assert_eq!(calls.with(&["a", "ok"]).get(), 2);
        assert_eq!(calls.with(&["ao", "k"]).get(), 1);
        assert_eq!(calls.with(&["a", "no"]).get(), 0);
        assert_eq!(calls.all().len(), 3);
    }

    #[test]
    fn there_are_no_more_series_than_may_be() {
        let calls = Family::<Counter>::new(&CALLS);
        let max = Family::<Counter>::SERIES_MAX;
        for number in 0..max + 100 {
            calls.with(&[&number.to_string(), "ok"]).inc();
        }
        assert_eq!(calls.all().len(), max + 1);
        assert_eq!(calls.with(&["_other", "_other"]).get(), 100);
        assert_eq!(calls.with(&["7", "ok"]).get(), 1);
    }

    #[test]
    fn an_observation_is_counted_up_to_the_bound_that_it_reaches() {
        let sizes = Family::<Histogram>::new(&SIZES).with(&[]);
        for value in [0.5, 1.0, 1.5, 2.0, 99.0] {
            sizes.observe(value);
        }
        let (buckets, sum) = sizes.read();
        assert_eq!(buckets, [(1.0, 2), (2.0, 4), (f64::INFINITY, 5)]);
        assert!((sum - 104.0).abs() < 1e-9);
        sizes.set(&[1, 2, 3], 9.0);
        assert_eq!(sizes.read().0, [(1.0, 1), (2.0, 3), (f64::INFINITY, 6)]);
    }

    #[test]
    fn a_gauge_goes_up_and_down() {
        let gauge = Gauge::new(Kind::Gauge);
        gauge.add(2.0);
        gauge.add(-0.5);
        assert!((gauge.get() - 1.5).abs() < 1e-9);
    }
}
