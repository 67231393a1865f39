//! What was found against what is wanted: each row is a ratio of medians, or a median.

use comfy_table::Table;
use serde_json::{Value, json};

use crate::Outcome;
use crate::figures::{Figure, Figures, Values};
use crate::usage;

/// What is wanted.
#[derive(Debug, Clone, Copy)]
enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn is_met(self, found: f64) -> bool {
        match self {
            Self::AtLeast(least) => found >= least,
            Self::AtMost(most) => found <= most,
        }
    }
}

/// A row of the table. Without a divisor the figure itself is the target's.
struct Row {
    figure: Figure,
    divisor: Option<Figure>,
    target: Target,
}

/// The rows, of which those are left out for which nothing was measured.
fn rows() -> Outcome<Vec<Row>> {
    use Figure::*;
    use Target::{AtLeast, AtMost};
    let ratio = |figure, divisor, target| Row { figure, divisor: Some(divisor), target };
    let plain = |figure, target| Row { figure, divisor: None, target };
    let threads = usage::cores()? as f64;
    Ok(vec![
        ratio(Hashes, FastestHashes, AtLeast(0.95)),
        ratio(Logins, Hashes, AtLeast(0.97)),
        ratio(OneLogin, OneHash, AtMost(1.10)),
        ratio(Checks, BareChecks, AtLeast(0.80)),
        ratio(PostgresChecks, Selects, AtLeast(0.60)),
        ratio(Refreshes, Commits, AtLeast(1.5)),
        ratio(BusyCheckP99, CheckP99, AtMost(3.0)),
        plain(IdleMemory, AtMost(20.0)),
        plain(PeakMemory, AtMost(20.0 + threads * 19.0 + 16.0)),
        plain(Start, AtMost(50.0)),
        plain(Program, AtMost(20.0)),
    ])
}

/// A row, filled in.
pub(crate) struct Finding {
    row: Row,
    found: f64,
}

pub(crate) fn findings(figures: &Figures) -> Outcome<Vec<Finding>> {
    let median = |figure| figures.get(figure).map(Values::median);
    let finding = |row: Row| {
        let divisor = row.divisor.map_or(Some(1.0), median)?;
        Some(Finding { found: median(row.figure)? / divisor, row })
    };
    Ok(rows()?.into_iter().filter_map(finding).collect())
}

impl Finding {
    fn what(&self) -> String {
        match self.row.divisor {
            Some(divisor) => format!("{} ÷ {}", self.row.figure.what(), divisor.what()),
            None => self.row.figure.what().to_owned(),
        }
    }

    fn shown(&self, value: f64) -> String {
        if self.row.divisor.is_some() { format!("{value:.2}") } else { self.row.figure.unit().shown(value) }
    }

    fn is_met(&self) -> bool {
        self.row.target.is_met(self.found)
    }

    pub fn json(&self) -> Value {
        let (bound, target) = match self.row.target {
            Target::AtLeast(target) => ("at_least", target),
            Target::AtMost(target) => ("at_most", target),
        };
        let (figure, divisor) = (self.row.figure.name(), self.row.divisor.map(Figure::name));
        json!({ "figure": figure, "divided_by": divisor, bound: target, "found": self.found, "met": self.is_met() })
    }
}

pub(crate) fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN).set_header(["what", "target", "found", "met?"]);
    for finding in findings {
        let target = match finding.row.target {
            Target::AtLeast(target) => format!("≥ {}", finding.shown(target)),
            Target::AtMost(target) => format!("≤ {}", finding.shown(target)),
        };
        let met = if finding.is_met() { "yes" } else { "no" };
        table.add_row([finding.what(), target, finding.shown(finding.found), met.to_owned()]);
    }
    table
}
