//! More logins than can be hashed: how many succeed all the same, and how soon the others are told to come back.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::Outcome;
use crate::drive::{Fleet, Load, Measured, Pace};
use crate::latency::Latency;
use crate::population::People;
use crate::progress::Progress;
use crate::requests::Wanted;
use crate::subject::{Place, Serving};
use crate::usage;

/// Of how many clients, each with an address and people of its own, the logins can come at the same time.
const PEOPLE: People = People { clients: 4096, checked: 1 };

/// Long enough for the server to know how long a hash takes.
const WARM_UP: Duration = Duration::from_secs(2);

/// How much of what can be hashed must succeed under overload; nine tenths is the aim, from which a short measurement strays.
const GOODPUT: f64 = 0.85;

/// By when 99 of 100 refusals must have been told, in microseconds.
const TOLD: u64 = 50_000;

/// What is to be measured.
#[derive(Debug, Args)]
pub(crate) struct Wish {
    /// How often the two parts are measured, one after the other: as many as can be hashed, and too many
    #[arg(long, value_name = "ROUNDS", default_value_t = 5)]
    rounds: usize,
    /// How many seconds each part takes
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    seconds: u64,
    /// How many times as many logins are sent as can be hashed
    #[arg(long, value_name = "FACTOR", default_value_t = 10)]
    times: u32,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
    /// Fail when goodput, refusals or memory are out of their bounds
    #[arg(long)]
    check: bool,
}

pub(crate) async fn run(wish: &Wish) -> Outcome<()> {
    let place = Place::settled(None, &[], PEOPLE).await?;
    let server = place.serve()?;
    let idle = server.memory()?.now;
    let mut fleet = Fleet::new(server.address, server.process(), PEOPLE, 0..PEOPLE.clients);
    let part = Duration::from_secs(wish.seconds);
    let rounds = wish.rounds.max(1);
    let progress = Progress::of(WARM_UP + part * 2 * u32::try_from(rounds)?)?;
    progress.say("warming up");
    saturate(&mut fleet, WARM_UP, &progress)?;
    let (mut rates, mut refused) = (Vec::new(), Latency::default());
    for _ in 0..rounds {
        progress.say("as many as can be hashed");
        let calm = saturate(&mut fleet, part, &progress)?;
        let capacity = calm.rate();
        let offered = capacity * f64::from(wish.times);
        progress.say("too many");
        let load = Load { wanted: Wanted::Login, pace: Pace::Open(offered), length: part };
        let flood = fleet.drive(load, &progress)?;
        flood.check()?;
        let goodput = flood.rate();
        rates.push(Rates { capacity, offered, goodput, ratio: goodput / flood.used.left / (capacity / calm.used.left) });
        refused.add(&flood.refused());
    }
    drop(progress);
    rates.sort_by(|one, other| one.ratio.total_cmp(&other.ratio));
    tell(wish, &server, idle, &rates[rates.len() / 2], &refused)
}

/// Logins a second, of the round that is the median.
struct Rates {
    capacity: f64,
    offered: f64,
    goodput: f64,
    /// Goodput to capacity, of the processors' time that was left for either.
    ratio: f64,
}

/// Logins one after another by a few clients, which is as many as can be hashed.
fn saturate(fleet: &mut Fleet, length: Duration, progress: &Progress) -> Outcome<Measured> {
    let load = Load { wanted: Wanted::Login, pace: Pace::Closed(2 * usage::cores()?), length };
    let measured = fleet.drive(load, progress)?;
    measured.check_all()?;
    Ok(measured)
}

fn tell(wish: &Wish, server: &Serving, idle: u64, rates: &Rates, refused: &Latency) -> Outcome<()> {
    let peak = server.memory()?.peak;
    let threads = u64::try_from(usage::cores()?)?;
    let bound = idle + (threads * 19 + 64) * 1024;
    let count = refused.count();
    if count == 0 {
        return Err("nothing was refused: it was no overload".into());
    }
    let (p50, p99) = (refused.percentile(50.0), refused.percentile(99.0));
    let Rates { capacity, offered, goodput, ratio } = rates;
    if wish.json {
        let told = json!({
            "capacity": capacity, "offered": offered, "goodput": goodput, "ratio": ratio, "refused": count,
            "refusal_p50_us": p50, "refusal_p99_us": p99, "idle_kib": idle, "peak_kib": peak, "bound_kib": bound,
        });
        println!("{told}");
    } else {
        println!(
            "logins/s: {capacity:.0} can be hashed, {offered:.0} sent, {goodput:.0} succeed: {ratio:.2} of what can be in the time that the senders leave"
        );
        println!("refused: {count}, p50 {:.1} ms, p99 {:.1} ms", p50 as f64 / 1e3, p99 as f64 / 1e3);
        println!("memory: idle {} MiB, peak {} MiB; bound {} MiB", idle / 1024, peak / 1024, bound / 1024);
    }
    if wish.check { check(*ratio, p99, (peak, bound)) } else { Ok(()) }
}

/// Whether the server bore what it must; the first thing that it did not is told.
fn check(ratio: f64, p99: u64, (peak, bound): (u64, u64)) -> Outcome<()> {
    if ratio < GOODPUT {
        return Err(format!("only {ratio:.2} of the logins that can be hashed succeed; it must be {GOODPUT}").into());
    }
    if p99 >= TOLD {
        return Err(format!("the 99th percentile of refusals is {p99} µs; it must be below {TOLD}").into());
    }
    if peak > bound {
        return Err(format!("{peak} KiB of memory were used; it must be {bound} at most").into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_is_checked() {
        assert!(check(0.85, 49_999, (100, 100)).is_ok());
        for (ratio, p99, peak) in [(0.849, 9_000, 80), (0.95, 50_000, 80), (0.95, 9_000, 101)] {
            assert!(check(ratio, p99, (peak, 100)).is_err(), "{ratio} {p99} {peak}");
        }
    }
}
