//! How long answers took.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Longer ones count as this, in microseconds.
const LONGEST: u64 = 600_000_000;

/// How long answers took, to three digits.
#[derive(Clone)]
pub(crate) struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds that make sense"))
    }
}

impl Latency {
    pub fn note(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_micros()).unwrap_or(LONGEST).max(1));
    }

    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Which of a hundred answers took that long or less, in microseconds; 0 when there are none.
    pub fn percentile(&self, percent: f64) -> u64 {
        self.0.value_at_percentile(percent)
    }

    pub fn max(&self) -> u64 {
        self.0.max()
    }

    pub fn json(&self) -> Value {
        let at = |percent| self.percentile(percent);
        json!({ "p50": at(50.0), "p90": at(90.0), "p99": at(99.0), "p99.9": at(99.9), "max": self.max() })
    }
}

/// Microseconds, for people; 0 is that of no answers.
pub(crate) fn shown(micros: u64) -> String {
    match micros {
        0 => "–".to_owned(),
        1..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{:.2} ms", micros as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0} ms", micros as f64 / 1e3),
        _ => format!("{:.2} s", micros as f64 / 1e6),
    }
}
