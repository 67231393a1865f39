//! PostgreSQL, for what is measured on it and against it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Outcome;
use crate::subject::Place;

/// Makes a new database on a PostgreSQL server, in the place of one of the same name.
pub(crate) fn new_database(server: &str, name: &str) -> Outcome<String> {
    let mut psql = Command::new("psql");
    let (drop, create) = (format!("DROP DATABASE IF EXISTS {name}"), format!("CREATE DATABASE {name}"));
    psql.args(["--no-psqlrc", "--quiet", "-c", &drop, "-c", &create]);
    if psql.arg(format!("{server}/postgres")).status()?.success() {
        Ok(format!("{server}/{name}"))
    } else {
        Err(format!("psql cannot make the database {name}").into())
    }
}

/// Point selects a second by pgbench of what a token check looks for first, with as many clients over the same kind of connection.
pub(crate) fn pgbench(place: &Place, accounts: i64, clients: usize, length: Duration) -> Outcome<f64> {
    let script = place.file("select.sql");
    std::fs::write(
        &script,
        format!(
            "\\set person random(2, {accounts})\nSELECT * FROM sessions WHERE SUBSTR(access_hash, 1, 16) = \
             left(encode(sha256(convert_to(left(encode(sha256(convert_to('access token of ' || :person, 'UTF8')), 'hex'), 40), 'UTF8')), \
             'hex'), 16);\n"
        ),
    )?;
    let mut command = Command::new(newest_pgbench()?);
    let (clients, seconds) = (clients.to_string(), length.as_secs().max(1).to_string());
    command.args(["-n", "-M", "prepared", "-c", &clients, "-j", "2", "-T", &seconds, "-f"]);
    let output = command.arg(&script).arg(place.database()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said
        .lines()
        .find(|line| line.starts_with("tps = "))
        .ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok(line.split(' ').nth(2).ok_or("pgbench says no figure")?.parse()?)
}

fn newest_pgbench() -> Outcome<PathBuf> {
    let mut found: Vec<_> =
        std::fs::read_dir("/usr/lib/postgresql")?.flatten().map(|entry| entry.path().join("bin/pgbench")).collect();
    found.retain(|path| Path::exists(path));
    found.sort();
    found.pop().ok_or_else(|| "pgbench is not installed".into())
}
