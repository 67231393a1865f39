//! Real clients' requests against a running server: throughput, latency, errors, and what the server takes of the machine.

use std::time::Duration;

use clap::Args;
use comfy_table::Table;
use serde_json::json;

use crate::Outcome;
use crate::drive::{Fleet, Load, Measured, Pace};
use crate::latency::{Latency, shown};
use crate::population::People;
use crate::postgres::new_database;
use crate::progress::Progress;
use crate::requests::Wanted;
use crate::subject::Place;
use crate::usage::Memory;

/// How many clients there may be in an open loop.
const MOST: usize = 4096;

/// What is to be measured.
#[derive(Debug, Args)]
pub(crate) struct Wish {
    /// What the clients ask for
    #[arg(value_enum, default_value = "mix")]
    wanted: Wanted,
    /// A closed loop: so many clients, each of which sends as soon as it is answered
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    clients: usize,
    /// An open loop: so many requests a second, each timed from when it was due
    #[arg(long, value_name = "A SECOND", conflicts_with = "clients")]
    rate: Option<f64>,
    /// How many seconds are measured
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    seconds: u64,
    /// How many seconds before are not
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    warm_up: u64,
    /// How many accounts there are whose tokens are checked, besides those that log in
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    accounts: i64,
    /// A PostgreSQL server, without the name of a database; without it, SQLite in a temporary folder
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

impl Wish {
    fn pace(&self) -> Outcome<Pace> {
        match self.rate {
            Some(rate) if rate > 0.0 => Ok(Pace::Open(rate)),
            Some(_) => Err("--rate must be more than 0".into()),
            None => Ok(Pace::Closed(self.clients.max(1))),
        }
    }
}

pub(crate) async fn run(wish: &Wish) -> Outcome<()> {
    let pace = wish.pace()?;
    let clients = if wish.rate.is_some() { MOST } else { wish.clients.max(1) };
    let people = People { clients: i64::try_from(clients)?, checked: wish.accounts.max(1) };
    let database = wish.store.as_deref().map(|server| new_database(server, "bench_load")).transpose()?;
    let place = Place::settled(database, &[], people).await?;
    let server = place.serve()?;
    let mut fleet = Fleet::new(server.address, server.process(), people, 0..people.clients);
    let (warm_up, length) = (Duration::from_secs(wish.warm_up), Duration::from_secs(wish.seconds.max(1)));
    let progress = Progress::of(warm_up + length)?;
    let mut drive = |what: &str, length: Duration| {
        progress.say(what);
        fleet.drive(Load { wanted: wish.wanted, pace, length }, &progress)
    };
    if !warm_up.is_zero() {
        drive("warming up", warm_up)?;
    }
    let measured = drive("measuring", length)?;
    let memory = server.memory()?;
    drop(progress);
    if wish.json {
        print_json(wish, &measured, memory);
    } else {
        print_table(&measured, memory);
    }
    measured.check()
}

fn print_table(measured: &Measured, memory: Memory) {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(["requests", "a second", "p50", "p90", "p99", "p99.9", "max", "refused", "refused p99"]);
    let mut row = |name: &str, in_time: u64, right: &Latency, refused: &Latency| {
        let rate = format!("{:.0}", in_time as f64 / measured.length.as_secs_f64());
        let mut row = vec![name.to_owned(), rate];
        row.extend([50.0, 90.0, 99.0, 99.9].map(|percent| shown(right.percentile(percent))));
        row.extend([shown(right.max()), refused.count().to_string(), shown(refused.percentile(99.0))]);
        table.add_row(row);
    };
    for (kind, tally) in &measured.kinds {
        row(kind.name(), tally.in_time, &tally.right, &tally.refused);
    }
    if measured.kinds.len() > 1 {
        let in_time = measured.kinds.values().map(|tally| tally.in_time).sum();
        row("all", in_time, &measured.right(), &measured.refused());
    }
    println!("{table}");
    for (what, count) in &measured.wrong {
        println!("unexpected: {count} × {what}");
    }
    let (used, seconds) = (measured.used, measured.length.as_secs_f64());
    println!(
        "processors in use: {:.2} by the server, {:.2} by the clients; the server's memory: {:.1} MiB, at its peak {:.1} MiB",
        used.server / seconds,
        used.sender / seconds,
        memory.now as f64 / 1024.0,
        memory.peak as f64 / 1024.0
    );
}

fn print_json(wish: &Wish, measured: &Measured, memory: Memory) {
    let kinds: Vec<_> = measured
        .kinds
        .iter()
        .map(|(kind, tally)| {
            json!({
                "kind": kind, "in_time": tally.in_time, "per_second": tally.in_time as f64 / measured.length.as_secs_f64(),
                "answered": tally.right.count(), "latency_us": tally.right.json(),
                "refused": tally.refused.count(), "refused_latency_us": tally.refused.json(),
            })
        })
        .collect();
    let told = json!({
        "wanted": wish.wanted, "clients": wish.rate.is_none().then_some(wish.clients), "rate": wish.rate,
        "seconds": measured.length.as_secs_f64(), "per_second": measured.rate(), "kinds": kinds, "unexpected": measured.wrong,
        "server": { "cpu_seconds": measured.used.server, "memory_kib": memory.now, "peak_memory_kib": memory.peak },
        "clients_cpu_seconds": measured.used.sender,
    });
    println!("{told}");
}
