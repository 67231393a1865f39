//! The directory that regions share, brought in line with the accounts that are here.

use std::io::{self, IsTerminal};
use std::time::Duration;

use account::{Clock, SystemClock};
use admin::{ClaimedPage, Command, RegionCommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::failure::{Context, Failure};
use crate::operate::Executor;

/// Whoever registers claims first and is stored a moment later: what was claimed just before is left alone.
const JUST_BEFORE: Duration = Duration::from_mins(10);

/// Claims what the accounts here have, then gives back what nobody has.
pub(crate) async fn sync_directory(executor: &Executor<'_>) -> Result<Value, Failure> {
    let since = SystemClock.now().minus(JUST_BEFORE).0;
    let bar = if io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    bar.set_style(ProgressStyle::with_template("{spinner} {pos} accounts, {per_sec}").expect("a sound template"));
    let (mut after, mut refused) = (None, Vec::new());
    loop {
        let page: ClaimedPage = ask(executor, RegionCommand::ClaimPage { after }).await?;
        bar.inc(page.claimed);
        refused.extend(page.refused);
        match page.last {
            Some(last) => after = Some(last),
            None => break,
        }
    }
    let given_back: u64 = ask(executor, RegionCommand::Sweep { since }).await?;
    bar.finish_and_clear();
    Ok(json!({ "accounts": bar.position(), "given_back": given_back, "held_by_another_region": refused }))
}

async fn ask<T: serde::de::DeserializeOwned>(executor: &Executor<'_>, command: RegionCommand) -> Result<T, Failure> {
    let answer = executor.run(Command::Region(command)).await?.map_err(Failure::from)?;
    serde_json::from_value(answer).context(|| "the running server does not answer as it should".to_owned())
}
