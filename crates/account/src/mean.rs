//! How long something takes, as far as the newest measurements tell.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A mean of durations, in which older ones count for less and less.
#[derive(Debug)]
pub struct Mean {
    memory: u64,
    noted: Mutex<Noted>,
}

#[derive(Debug)]
struct Noted {
    nanoseconds: u64,
    /// How many, but no more than are remembered.
    count: u64,
}

impl Mean {
    /// Nothing is measured yet, and the mean is 0. It is that of all measurements until there are `memory` of them; from then on the newest
    /// one is one part in `memory`.
    #[must_use]
    pub const fn new(memory: u64) -> Self {
        Self { memory, noted: Mutex::new(Noted { nanoseconds: 0, count: 0 }) }
    }

    /// Takes in a measurement.
    pub fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let mut noted = self.noted();
        let count = noted.count.saturating_add(1).min(self.memory.max(1));
        *noted = Noted { nanoseconds: noted.nanoseconds - noted.nanoseconds / count + took / count, count };
    }

    /// How long `count` of them take, one after the other.
    #[must_use]
    pub fn times(&self, count: u64) -> Duration {
        Duration::from_nanos(self.noted().nanoseconds.saturating_mul(count))
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        // Nothing that holds it can panic in the middle of a change.
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_counts_for_its_part() {
        let mean = Mean::new(4);
        assert_eq!(mean.times(1), Duration::ZERO);
        // The first, the mean of two, of three and of four; from then on, each is a fourth.
        for (took, expected) in [(8, 8), (16, 12), (0, 8), (0, 6), (10, 7), (3, 6)] {
            mean.note(Duration::from_secs(took));
            assert_eq!(mean.times(1), Duration::from_secs(expected), "after {took}");
        }
        assert_eq!(mean.times(3), Duration::from_secs(18));
    }

    #[test]
    fn nothing_is_too_long_for_it() {
        let mean = Mean::new(1);
        mean.note(Duration::MAX);
        assert_eq!(mean.times(u64::MAX), Duration::from_nanos(u64::MAX));
        mean.note(Duration::ZERO);
        assert_eq!(mean.times(1), Duration::ZERO);
    }
}
