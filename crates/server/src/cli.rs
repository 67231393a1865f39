//! The command line.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use toml::{Table, Value};

/// The front door of a smart-home cloud: one account store behind the eWeLink and Fantem login protocols.
///
/// `hearthgate dev` starts a server with sample data to try things on. `hearthgate serve` is for operation. The other commands work
/// on a running server when there is one on the data folder, else on the data folder itself.
#[derive(Debug, Parser)]
#[command(name = "hearthgate", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// The configuration file (TOML); see docs/configuration.md
    #[arg(long, global = true, value_name = "FILE", env = "HEARTHGATE_CONFIG", help_heading = "Everywhere")]
    config: Option<PathBuf>,
    /// The data folder [default: hearthgate-data; of dev: hearthgate-dev]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Everywhere")]
    data: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// How to log: text or json
    #[arg(long, global = true, value_name = "text|json", help_heading = "Everywhere")]
    log_format: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server
    Serve(Listen),
    /// Run a server with sample data, a certificate authority of its own, and all four regions
    Dev(DevListen),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look for what keeps the server from working, or soon will
    ///
    /// Reads all of the database, and changes nothing. A running server goes on meanwhile.
    Doctor,
    /// Copy the whole store into an empty one, from SQLite or PostgreSQL to SQLite or PostgreSQL, while nobody uses either
    ///
    /// Whichever of the two is not named is the configured store. Started again after it was broken off, it goes on where it was.
    MigrateStore(MigrateStore),
    /// Write all that the store holds at this moment into a new file, also while servers run
    Backup {
        /// The file, which must not exist
        file: PathBuf,
        /// Encrypt it under the master key
        #[arg(long)]
        encrypt: bool,
    },
    /// Fill the configured store, which must be empty, from a backup
    Restore {
        /// The backup; whether it is encrypted shows
        file: PathBuf,
    },
    #[command(flatten)]
    Operate(admin::Command),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check the configuration and show what is in force
    Check,
}

/// Where `serve` listens.
#[derive(Debug, Args)]
pub(crate) struct Listen {
    /// Listen for HTTP at this address; may be repeated [default: 127.0.0.1:8080 unless --https is given]
    #[arg(long, value_name = "ADDR")]
    http: Vec<String>,
    /// Listen for HTTPS at this address; may be repeated
    #[arg(long, value_name = "ADDR")]
    https: Vec<String>,
    /// The certificate chain of HTTPS (PEM)
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// The private key of HTTPS (PEM)
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Listen for Prometheus and health checks at this address
    #[arg(long, value_name = "ADDR")]
    metrics: Option<String>,
}

/// Where `dev` listens. Port 0 picks a free one.
#[derive(Debug, Args)]
pub(crate) struct DevListen {
    /// Listen for HTTP at this address; may be repeated
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    http: Vec<String>,
    /// Listen for HTTPS at this address; may be repeated
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    https: Vec<String>,
    /// Listen for Prometheus and health checks at this address
    #[arg(long, value_name = "ADDR")]
    metrics: Option<String>,
}

/// From where to where `migrate-store` copies.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct MigrateStore {
    /// Copy from sqlite:PATH or postgres://USER@HOST:PORT/DATABASE
    #[arg(long, value_name = "URL")]
    pub from: Option<String>,
    /// Copy from the URL in this file, which can have a password in it
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub from_file: Option<PathBuf>,
    /// Copy to sqlite:PATH or postgres://USER@HOST:PORT/DATABASE
    #[arg(long, value_name = "URL")]
    pub to: Option<String>,
    /// Copy to the URL in this file, which can have a password in it
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    pub to_file: Option<PathBuf>,
}

/// Where the configuration comes from.
pub(crate) struct Sources {
    pub file: Option<PathBuf>,
    /// What the command line says, which goes before everything else.
    pub flags: Table,
    /// What holds if nothing else is said.
    pub defaults: Table,
}

impl Cli {
    /// What the command line says about the configuration.
    pub fn configuration(&self) -> Sources {
        let mut flags = Table::new();
        let mut defaults = Table::new();
        set(&mut flags, "data", self.data.as_ref().map(|file| path(file)));
        set(&mut flags, "log.format", self.log_format.clone());
        match &self.command {
            Command::Serve(listen) => {
                set(&mut flags, "listen.http", addresses(&listen.http));
                set(&mut flags, "listen.https", addresses(&listen.https));
                set(&mut flags, "listen.cert", listen.cert.as_ref().map(|file| path(file)));
                set(&mut flags, "listen.key", listen.key.as_ref().map(|file| path(file)));
                set(&mut flags, "listen.metrics", listen.metrics.clone());
            }
            Command::Dev(listen) => {
                set(&mut defaults, "data", Some("hearthgate-dev".to_owned()));
                set(&mut flags, "listen.http", addresses(&listen.http));
                set(&mut flags, "listen.https", addresses(&listen.https));
                set(&mut flags, "listen.metrics", listen.metrics.clone());
            }
            Command::Config(_)
            | Command::Doctor
            | Command::MigrateStore(_)
            | Command::Backup { .. }
            | Command::Restore { .. }
            | Command::Operate(_) => {}
        }
        Sources { file: self.config.clone(), flags, defaults }
    }
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// As the setting takes them, if any are given.
fn addresses(given: &[String]) -> Option<String> {
    (!given.is_empty()).then(|| given.join(","))
}

/// Sets `section.key` or `key` in `table`.
fn set(table: &mut Table, name: &str, value: Option<String>) {
    let Some(value) = value.map(Value::String) else { return };
    match name.split_once('.') {
        None => drop(table.insert(name.to_owned(), value)),
        Some((section, key)) => {
            let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(section) = section {
                section.insert(key.to_owned(), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_help() {
        fn walk(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }
}
