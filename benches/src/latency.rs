//! How long answers took.

use std::time::Duration;

/// In microseconds.
pub(crate) struct Latency {
    pub p50: u128,
    pub p99: u128,
}

impl Latency {
    /// Of at least one answer.
    pub fn of(mut taken: Vec<Duration>) -> Self {
        taken.sort();
        let at = |percent: usize| taken[(taken.len() - 1) * percent / 100].as_micros();
        Self { p50: at(50), p99: at(99) }
    }
}
