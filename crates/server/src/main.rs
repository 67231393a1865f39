//! `hearthgate`: configuration, listeners, wiring, command line.

mod cli;
mod config;
mod core;
mod data_folder;
mod dev;
mod failure;
mod listeners;
mod logging;
mod operate;
mod places;
mod print;
mod prompt;
mod regions;
mod serve;
mod tls;
mod transfer;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, ConfigCommand};
use crate::config::Config;
use crate::failure::Failure;

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
        Command::Operate(command) => runtime.block_on(operate::run(config, command, cli.json)),
    }
}
