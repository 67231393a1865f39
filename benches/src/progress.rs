//! What is shown while something is measured.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::Outcome;

/// How often is looked whether it is over.
const LOOK: Duration = Duration::from_millis(50);

/// One line, on a terminal.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// For what takes about that long in all.
    pub fn of(length: Duration) -> Outcome<Self> {
        let style = ProgressStyle::with_template("{bar:30} {elapsed} of about {len} s, {msg}")?;
        Ok(Self(ProgressBar::new(length.as_secs()).with_style(style)))
    }

    /// Nothing is shown: of two things at once, one is.
    pub fn none() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Says what comes now.
    pub fn say(&self, what: &str) {
        self.0.set_prefix(what.to_owned());
        self.0.set_message(what.to_owned());
        self.0.set_position(self.0.elapsed().as_secs());
    }

    /// Shows how many answers there are, until it is over.
    pub fn follow(&self, length: Duration, answers: &AtomicU64, is_over: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_over() {
            std::thread::sleep(LOOK);
            let (passed, answers) = (begun.elapsed().min(length), answers.load(Ordering::Relaxed));
            let rate = answers as f64 / passed.as_secs_f64();
            self.0.set_message(format!("{}: {answers} answers, {rate:.0}/s", self.0.prefix()));
            self.0.set_position(self.0.elapsed().as_secs());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
