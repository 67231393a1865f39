//! What is measured, by name, and what came out in each round.

use std::collections::BTreeMap;

use crate::latency::shown;

/// In which unit something is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    Micros,
    MiB,
    Milliseconds,
    Megabytes,
}

impl Unit {
    /// A value in this unit, for people.
    pub fn shown(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{value:.0}/s"),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time that was measured")]
            Self::Micros => shown(value as u64),
            Self::MiB => format!("{value:.1} MiB"),
            Self::Milliseconds => format!("{value:.1} ms"),
            Self::Megabytes => format!("{value:.1} MB"),
        }
    }
}

/// Declares what is measured: its name, what it is called in tables, and its unit.
macro_rules! figures {
    ($($(#[$doc:meta])* $figure:ident, $name:literal, $what:literal, $unit:ident;)*) => {
        /// Something that is measured in every round.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Figure {
            $($(#[$doc])* $figure,)*
        }

        impl Figure {
            /// Its name in JSON.
            pub fn name(self) -> &'static str {
                match self { $(Self::$figure => $name,)* }
            }

            /// What it is called in tables.
            pub fn what(self) -> &'static str {
                match self { $(Self::$figure => $what,)* }
            }

            pub fn unit(self) -> Unit {
                match self { $(Self::$figure => Unit::$unit,)* }
            }
        }
    };
}

figures! {
    FastestHashes, "fastest_hashes_per_second", "hashes by the C reference implementation, all cores", PerSecond;
    Hashes, "hashes_per_second", "hashes by our hasher, all cores", PerSecond;
    OneHash, "one_hash_us", "one hash on one thread, p50", Micros;
    Logins, "logins_per_second", "logins, 64 clients", PerSecond;
    LoginP99, "login_p99_us", "a login, 64 clients, p99", Micros;
    OneLogin, "one_login_p50_us", "a login, one client, p50", Micros;
    BareChecks, "bare_checks_per_second", "a bare axum server's answers, 64 clients", PerSecond;
    Checks, "checks_per_second", "token checks, 64 clients", PerSecond;
    CheckP99, "check_p99_idle_us", "a token check, otherwise idle, p99", Micros;
    BusyCheckP99, "check_p99_busy_us", "a token check, while logins saturate, p99", Micros;
    Commits, "commits_per_second", "durable commits of SQLite, one after another", PerSecond;
    GroupedRows, "grouped_rows_per_second", "durable rows of SQLite, in groups of 64", PerSecond;
    Refreshes, "refreshes_per_second", "refreshes, 64 clients", PerSecond;
    Selects, "selects_per_second", "point selects of PostgreSQL by pgbench, 64 clients", PerSecond;
    PostgresChecks, "postgres_checks_per_second", "token checks on PostgreSQL, 64 clients", PerSecond;
    IdleMemory, "idle_memory_mib", "memory, idle", MiB;
    PeakMemory, "peak_memory_mib", "memory, at its peak while logins saturate", MiB;
    Start, "start_ms", "start to first answer", Milliseconds;
    Program, "program_mb", "the program", Megabytes;
}

/// What came out in the rounds.
#[derive(Default)]
pub(crate) struct Values(Vec<f64>);

impl Values {
    /// The middle one; of two, the lower. NaN when there are none.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
    }

    pub fn lowest(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub fn highest(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// In the order of the rounds.
    pub fn each(&self) -> &[f64] {
        &self.0
    }
}

/// What was measured.
#[derive(Default)]
pub(crate) struct Figures(BTreeMap<Figure, Values>);

impl Figures {
    pub fn note(&mut self, figure: Figure, value: f64) {
        self.0.entry(figure).or_default().0.push(value);
    }

    pub fn get(&self, figure: Figure) -> Option<&Values> {
        self.0.get(&figure)
    }

    pub fn all(&self) -> impl Iterator<Item = (Figure, &Values)> {
        self.0.iter().map(|(figure, values)| (*figure, values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        let median = |values: &[f64]| Values(values.to_vec()).median();
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[2.0, 1.0]), 1.0);
        assert!(median(&[]).is_nan());
    }
}
