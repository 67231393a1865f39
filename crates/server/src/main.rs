//! `hearthgate`: configuration, listeners, wiring, command line.

mod addresses;
mod backup;
mod certificate;
mod cli;
mod config;
mod connections;
mod core;
mod data_folder;
mod dev;
mod dev_certificate;
mod doctor;
mod failure;
mod keys;
mod listeners;
mod logging;
mod migrate;
mod operate;
mod places;
mod preface;
mod print;
mod progress;
mod prompt;
mod regions;
mod restore;
mod serve;
mod settings;
mod traces;
mod transfer;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Cli, Command, ConfigCommand};
use crate::config::Config;
use crate::failure::{Context, Failure};

fn main() -> ExitCode {
    let cli = Cli::parse();
    // For whatever connects out: the mail server, the SMS gateway.
    let provider = rustls::crypto::ring::default_provider();
    drop(provider.install_default());
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("hearthgate: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let config = Config::load(&cli.configuration())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format!("cannot start its threads: {error}")))?;
    match cli.command {
        Command::Serve(_) => runtime.block_on(serve::run(config)),
        Command::Dev(_) => runtime.block_on(dev::run(config)),
        Command::Config(ConfigCommand::Check) => runtime.block_on(serve::check(config, cli.json)),
        Command::Doctor => runtime.block_on(doctor::run(&config, cli.json)),
        Command::MigrateStore(wish) => runtime.block_on(unless_told(migrate::run(&config, &wish, cli.json))),
        Command::Backup { file, encrypt } => runtime.block_on(unless_told(backup::run(&config, &file, encrypt, cli.json))),
        Command::Restore { file } => runtime.block_on(unless_told(restore::run(&config, &file, cli.json))),
        Command::Operate(command) => runtime.block_on(operate::run(config, command, cli.json)),
    }
}

/// Breaks off what a signal ends, so that nothing unfinished is left behind.
async fn unless_told(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    // Before there is anything to be left behind.
    let listen = |kind| signal(kind).context(|| "cannot listen for signals".to_owned());
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    tokio::select! {
        done = work => done,
        _ = interrupt.recv() => Err("interrupted".into()),
        _ = terminate.recv() => Err("interrupted".into()),
    }
}
