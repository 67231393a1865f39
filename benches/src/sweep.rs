//! Ever more logins, from a quarter to ten times of what can be hashed.

use std::time::Duration;

use comfy_table::Table;
use serde::Serialize;

use crate::Outcome;
use crate::drive::{Fleet, Load, Pace};
use crate::latency::shown;
use crate::progress::Progress;
use crate::requests::Wanted;

/// How many times as many logins are offered as can be hashed.
const FACTORS: [f64; 10] = [0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 1.5, 2.5, 5.0, 10.0];

/// How many parts it has.
pub(crate) const PARTS: u32 = FACTORS.len() as u32;

/// What became of the logins that were offered.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Point {
    /// Of what can be hashed.
    pub factor: f64,
    pub offered_per_second: f64,
    pub succeeded_per_second: f64,
    pub refused_per_second: f64,
    pub succeeded_p50_us: u64,
    pub succeeded_p99_us: u64,
    pub refused_p99_us: u64,
}

pub(crate) fn run(fleet: &mut Fleet, capacity: f64, length: Duration, progress: &Progress) -> Outcome<Vec<Point>> {
    // On a machine that is too slow for any, one.
    let capacity = capacity.max(1.0);
    let mut curve = Vec::new();
    for factor in FACTORS {
        progress.say(&format!("{factor} times as many logins as can be hashed"));
        let offered = factor * capacity;
        let measured = fleet.drive(Load { wanted: Wanted::Login, pace: Pace::Open(offered), length }, progress)?;
        measured.check()?;
        let (right, refused) = (measured.right(), measured.refused());
        curve.push(Point {
            factor,
            offered_per_second: offered,
            succeeded_per_second: measured.rate(),
            refused_per_second: refused.count() as f64 / length.as_secs_f64(),
            succeeded_p50_us: right.percentile(50.0),
            succeeded_p99_us: right.percentile(99.0),
            refused_p99_us: refused.percentile(99.0),
        });
    }
    Ok(curve)
}

pub(crate) fn table(curve: &[Point]) -> Table {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(["logins offered", "of what can be hashed", "succeeded", "p50", "p99", "refused", "p99"]);
    for point in curve {
        let rate = |rate: f64| format!("{rate:.0}/s");
        table.add_row([
            rate(point.offered_per_second),
            format!("{} ×", point.factor),
            rate(point.succeeded_per_second),
            shown(point.succeeded_p50_us),
            shown(point.succeeded_p99_us),
            rate(point.refused_per_second),
            shown(point.refused_p99_us),
        ]);
    }
    table
}
