//! More logins than can be hashed: how many succeed all the same, and how soon the others are told to come back.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::caller::Caller;
use crate::latency::Latency;
use crate::subject::{Place, Serving};

/// From how many addresses the logins come, and how many people there are.
const ADDRESSES: u8 = 100;
const PEOPLE: usize = 500;

/// Long enough for everybody to log in once, who is known there afterwards.
const WARM_UP: Duration = Duration::from_secs(15);

/// How much of what can be hashed must succeed under overload; nine tenths is the aim, from which a short measurement strays.
const GOODPUT: f64 = 0.85;

/// By when 99 of 100 refusals must have been told, in microseconds.
const TOLD: u128 = 50_000;

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

/// How much of this machine its load generator leaves to the server: elsewhere, clients have machines of their own.
struct Left {
    begun: Instant,
    used: f64,
}

impl Left {
    fn start() -> Outcome<Self> {
        Ok(Self { begun: Instant::now(), used: Self::used()? })
    }

    /// The processors' time since the start, without what this process has used, in seconds.
    fn seconds(&self) -> Outcome<f64> {
        let processors = std::thread::available_parallelism()?.get() as f64;
        Ok(processors * self.begun.elapsed().as_secs_f64() - (Self::used()? - self.used))
    }

    /// How much time of processors this process has used, in seconds.
    fn used() -> Outcome<f64> {
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        // User and system; Linux counts in hundredths of a second for whoever asks.
        Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
    }
}

/// What became of logins.
struct Outcomes {
    succeeded: u32,
    /// The processors' time that was left for them, in seconds.
    left: f64,
    refused: Vec<Duration>,
}

pub(crate) async fn run(wish: &Wish) -> Outcome<()> {
    let place = Place::new(None, &[])?;
    place.prepare()?;
    let pool = place.connect().await?;
    crate::population::grow(&pool, PEOPLE as i64 + 1).await?;
    pool.close().await;
    let server = place.serve()?;
    let (idle, _) = server.memory()?;
    let callers: Vec<_> =
        (1..=ADDRESSES).map(|last| Caller::from(&server, Ipv4Addr::new(127, 0, 1, last))).collect::<Outcome<_>>()?;
    let part = Duration::from_secs(wish.seconds);
    saturate(&callers, WARM_UP).await?;
    let (mut rounds, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..wish.rounds.max(1) {
        let clock = Left::start()?;
        let succeeded = f64::from(saturate(&callers, part).await?);
        let (capacity, capacity_left) = (succeeded / part.as_secs_f64(), succeeded / clock.seconds()?);
        let offered = capacity * f64::from(wish.times);
        let outcomes = flood(&callers, offered, part).await?;
        let succeeded = f64::from(outcomes.succeeded);
        let ratio = succeeded / outcomes.left / capacity_left;
        rounds.push(Rates { capacity, offered, goodput: succeeded / part.as_secs_f64(), ratio });
        refused.extend(outcomes.refused);
    }
    rounds.sort_by(|one, other| one.ratio.total_cmp(&other.ratio));
    tell(wish, &server, idle, &rounds[rounds.len() / 2], refused)
}

/// Logins a second, of the round that is the median.
struct Rates {
    capacity: f64,
    offered: f64,
    goodput: f64,
    /// Goodput to capacity, of the processors' time that was left for either.
    ratio: f64,
}

/// Logins one after another by a few clients, which is as many as can be hashed; how many succeeded.
async fn saturate(callers: &[Caller], part: Duration) -> Outcome<u32> {
    let until = Instant::now() + part;
    let mut clients = JoinSet::new();
    let few = 2 * std::thread::available_parallelism()?.get();
    for first in 0..few {
        let callers = callers.to_vec();
        clients.spawn(async move {
            let mut done = 0;
            for login in (first..).step_by(few) {
                if Instant::now() >= until {
                    break;
                }
                let (caller, person) = at_home(&callers, login);
                caller.log_in(person).await?;
                done += 1;
            }
            Outcome::Ok(done)
        });
    }
    let mut done = 0;
    while let Some(client) = clients.join_next().await {
        done += client??;
    }
    Ok(done)
}

/// Whose login this is, and where they are at home.
fn at_home(callers: &[Caller], login: usize) -> (Caller, i64) {
    let person = login % PEOPLE;
    // The first account is not one of them.
    (callers[person % callers.len()].clone(), 2 + person as i64)
}

/// So many logins a second, whether or not those before are answered.
async fn flood(callers: &[Caller], per_second: f64, part: Duration) -> Outcome<Outcomes> {
    let clock = Left::start()?;
    let begun = clock.begun;
    let mut logins = JoinSet::new();
    let all = (per_second * part.as_secs_f64()) as u32;
    for login in 0..all {
        let due = begun + Duration::from_secs_f64(f64::from(login) / per_second);
        tokio::time::sleep_until(due.into()).await;
        let (caller, person) = at_home(callers, login as usize);
        logins.spawn(async move {
            // From when it should have been sent: a late sender hides nothing.
            let answered = caller.try_to_log_in(person).await;
            Outcome::Ok((due, Instant::now(), answered?.0))
        });
    }
    let mut outcomes = Outcomes { succeeded: 0, left: clock.seconds()?, refused: Vec::new() };
    while let Some(login) = logins.join_next().await {
        match login?? {
            // Of those that still wait at the end, the time is not in the account.
            (_, answered, 200) => outcomes.succeeded += u32::from(answered <= begun + part),
            (due, answered, 503) => outcomes.refused.push(answered - due),
            (.., status) => return Err(format!("a login was answered {status}").into()),
        }
    }
    Ok(outcomes)
}

fn tell(wish: &Wish, server: &Serving, idle: u64, rates: &Rates, refused: Vec<Duration>) -> Outcome<()> {
    let (_, peak) = server.memory()?;
    let threads = u64::try_from(std::thread::available_parallelism()?.get())?;
    let bound = idle + (threads * 19 + 64) * 1024;
    let count = refused.len();
    if refused.is_empty() {
        return Err("nothing was refused: it was no overload".into());
    }
    let refusal = Latency::of(refused);
    let Rates { capacity, offered, goodput, ratio } = rates;
    if wish.json {
        let told = json!({
            "capacity": capacity, "offered": offered, "goodput": goodput, "ratio": ratio, "refused": count,
            "refusal_p50_us": refusal.p50, "refusal_p99_us": refusal.p99, "idle_kib": idle, "peak_kib": peak, "bound_kib": bound,
        });
        println!("{told}");
    } else {
        println!(
            "logins/s: {capacity:.0} can be hashed, {offered:.0} sent, {goodput:.0} succeed: {ratio:.2} of what can be in the time that the senders leave"
        );
        println!("refused: {count}, p50 {:.1} ms, p99 {:.1} ms", refusal.p50 as f64 / 1e3, refusal.p99 as f64 / 1e3);
        println!("memory: idle {} MiB, peak {} MiB; bound {} MiB", idle / 1024, peak / 1024, bound / 1024);
    }
    if wish.check { check(*ratio, refusal.p99, (peak, bound)) } else { Ok(()) }
}

/// Whether the server bore what it must; the first thing that it did not is told.
fn check(ratio: f64, p99: u128, (peak, bound): (u64, u64)) -> Outcome<()> {
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
