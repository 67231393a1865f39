//! Measures Hearthgate from outside: a real server, real requests, databases of real sizes.

mod bare;
mod client;
mod commits;
mod drive;
mod figures;
mod hashing;
mod http;
mod latency;
mod limit;
mod load;
mod overload;
mod plot;
mod population;
mod postgres;
mod progress;
mod report;
mod requests;
mod rows;
mod scale;
mod subject;
mod sweep;
mod ticks;
mod usage;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What goes wrong is told and ends the run.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures Hearthgate from outside. Build it first: cargo build --release
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Real clients' requests: throughput, latency, errors, and what the server takes of the machine
    Load(load::Wish),
    /// What the machine gives: Argon2 by itself, a bare server, durable commits, PostgreSQL's point selects
    Limit(limit::Wish),
    /// Everything against its limit, in rounds: what was found, and whether it is what is wanted
    Report(report::Wish),
    /// Logins and token checks at growing numbers of accounts, and what an account takes up
    Scale(scale::Wish),
    /// Ten times as many logins as can be hashed: goodput, refusals, memory
    Overload(overload::Wish),
    /// Answers every request with the bytes that standard input tells
    #[command(hide = true)]
    Bare,
}

fn main() -> ExitCode {
    let run = async {
        match Cli::parse().command {
            Command::Load(wish) => load::run(&wish).await,
            Command::Limit(wish) => limit::run(&wish).await,
            Command::Report(wish) => report::run(&wish).await,
            Command::Scale(wish) => scale::run(&wish).await,
            Command::Overload(wish) => overload::run(&wish).await,
            Command::Bare => bare::serve().await,
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
