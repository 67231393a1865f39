//! Latency and size at growing numbers of accounts.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Args;
use comfy_table::Table;
use serde_json::json;
use sqlx::Executor;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::caller::Caller;
use crate::latency::Latency;
use crate::population;
use crate::subject::{CHEAP, Place, Serving};

/// Clients that check tokens at the same time, and for how long, when throughput is compared with the bare database's.
const CLIENTS: usize = 16;
const LONG: Duration = Duration::from_secs(10);
/// How many requests one server is asked before the next one's turn.
const TURN: i64 = 100;

/// What is to be measured.
#[derive(Debug, Args)]
pub(crate) struct Wish {
    /// The numbers of accounts, one after another
    #[arg(long, value_name = "COUNT,COUNT", value_delimiter = ',', default_value = "10000,1000000")]
    accounts: Vec<i64>,
    /// A PostgreSQL server, without the name of a database; without it, SQLite in a temporary folder
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// How many logins and token checks are measured at each number
    #[arg(long, value_name = "COUNT", default_value_t = 3000)]
    requests: i64,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// A server with so many accounts, and how long its answers took.
struct Subject {
    accounts: i64,
    // It stops before its place goes.
    server: Serving,
    place: Place,
    logins: Vec<Duration>,
    checks: Vec<Duration>,
}

/// What was measured at one number of accounts.
struct Measured {
    accounts: i64,
    login: Latency,
    check: Latency,
    bytes: i64,
    index_bytes: i64,
}

pub(crate) async fn run(wish: &Wish) -> Outcome<()> {
    let mut subjects = Vec::new();
    for &accounts in &wish.accounts {
        let place = Place::new(wish.store.as_deref().map(|server| new_database(server, accounts)).transpose()?, &CHEAP)?;
        place.prepare()?;
        populate(&place, accounts).await?;
        let server = place.serve()?;
        subjects.push(Subject { accounts, place, server, logins: Vec::new(), checks: Vec::new() });
    }
    // What is still on its way to the disk would be in the way of what is measured.
    Command::new("sync").status()?;
    for subject in &subjects {
        bring_into_memory(&subject.place).await?;
    }
    measure(&mut subjects, wish.requests).await?;
    let mut measured = Vec::new();
    for subject in &mut subjects {
        let (bytes, index_bytes) = sizes(&subject.place).await?;
        let (logins, checks) = (std::mem::take(&mut subject.logins), std::mem::take(&mut subject.checks));
        let (login, check) = (Latency::of(logins), Latency::of(checks));
        measured.push(Measured { accounts: subject.accounts, login, check, bytes, index_bytes });
    }
    let checks = match subjects.last() {
        Some(last) if last.place.is_postgres() => {
            Some((throughput(&last.server, last.accounts).await?, pgbench(&last.place, last.accounts)?))
        }
        _ => None,
    };
    if wish.json {
        print_json(&measured, checks)
    } else {
        print_table(&measured, checks)
    }
    Ok(())
}

/// Makes a new database on a PostgreSQL server, in the place of one of the same name.
fn new_database(server: &str, accounts: i64) -> Outcome<String> {
    let name = format!("bench_{accounts}");
    let mut psql = Command::new("psql");
    psql.args([
        "--no-psqlrc",
        "--quiet",
        "-c",
        &format!("DROP DATABASE IF EXISTS {name}"),
        "-c",
        &format!("CREATE DATABASE {name}"),
    ]);
    if psql.arg(format!("{server}/postgres")).status()?.success() {
        Ok(format!("{server}/{name}"))
    } else {
        Err(format!("psql cannot make the database {name}").into())
    }
}

async fn populate(place: &Place, accounts: i64) -> Outcome<()> {
    let pool = place.connect().await?;
    if place.is_postgres() {
        population::grow(&pool, accounts).await?;
        pool.execute("VACUUM ANALYZE").await?;
        pool.execute("CHECKPOINT").await?;
    } else {
        pool.execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -8000000;").await?;
        population::grow(&pool, accounts).await?;
        pool.execute("PRAGMA journal_mode = WAL;").await?;
    }
    pool.close().await;
    Ok(())
}

/// Reads all of a database once: what was written last would be in the machine's memory, and what was written first would not.
async fn bring_into_memory(place: &Place) -> Outcome<()> {
    if !place.is_postgres() {
        let mut file = std::fs::File::open(place.file("hearthgate.db"))?;
        std::io::copy(&mut file, &mut std::io::sink())?;
        return Ok(());
    }
    let pool = place.connect().await?;
    pool.execute("CREATE EXTENSION IF NOT EXISTS pg_prewarm").await?;
    let read = "SELECT COUNT(pg_prewarm(CAST(oid AS regclass), 'read')) FROM pg_class WHERE relname ~ '^(accounts|sessions)'";
    pool.execute(read).await?;
    pool.close().await;
    Ok(())
}

/// Asks all servers in turns of many requests: each is at work by itself, and whatever else the machine does is the same for all.
async fn measure(subjects: &mut [Subject], requests: i64) -> Outcome<()> {
    for turn in 0..=requests / TURN {
        for subject in &mut *subjects {
            let caller = Caller::of(&subject.server);
            for request in turn * TURN..(turn + 1) * TURN {
                let (check, login) = subject.ask(&caller, request).await?;
                // The first turn warms up.
                if turn > 0 {
                    subject.checks.push(check);
                    subject.logins.push(login);
                }
            }
        }
    }
    Ok(())
}

impl Subject {
    /// How long a token check takes, and a login.
    async fn ask(&self, caller: &Caller, request: i64) -> Outcome<(Duration, Duration)> {
        // Everywhere in the tables, and hardly the same twice.
        let step = self.accounts / 3 * 2 + 1;
        let person = |from: i64| 2 + (request * step + from).rem_euclid(self.accounts - 1);
        let begun = Instant::now();
        caller.check(person(0)).await?;
        let check = begun.elapsed();
        let begun = Instant::now();
        caller.log_in(person(self.accounts / 2)).await?;
        Ok((check, begun.elapsed()))
    }
}

/// Bytes of the tables with their indexes, and of the indexes.
async fn sizes(place: &Place) -> Outcome<(i64, i64)> {
    let pool = place.connect().await?;
    let query = if place.is_postgres() {
        "SELECT CAST(SUM(pg_total_relation_size(oid)) AS BIGINT), CAST(SUM(pg_indexes_size(oid)) AS BIGINT) FROM pg_class \
         WHERE relname IN ('accounts', 'sessions') AND relkind = 'r'"
    } else {
        "SELECT SUM(pgsize), SUM(CASE WHEN name IN ('accounts', 'sessions') THEN 0 ELSE pgsize END) FROM dbstat \
         WHERE aggregate = 1 AND name IN (SELECT name FROM sqlite_schema WHERE tbl_name IN ('accounts', 'sessions'))"
    };
    let sizes = sqlx::query_as(query).fetch_one(&pool).await?;
    pool.close().await;
    Ok(sizes)
}

/// Token checks a second, by many clients.
async fn throughput(server: &Serving, accounts: i64) -> Outcome<f64> {
    let mut clients = JoinSet::new();
    let until = Instant::now() + LONG;
    for client in 0..CLIENTS {
        let caller = Caller::of(server);
        clients.spawn(async move {
            let mut done = 0_i64;
            let mut person = i64::try_from(client)? * 7919;
            while Instant::now() < until {
                person = (person * 31 + 7).rem_euclid(accounts - 1);
                caller.check(2 + person).await?;
                done += 1;
            }
            Outcome::Ok(done)
        });
    }
    let mut done = 0;
    while let Some(client) = clients.join_next().await {
        done += client??;
    }
    Ok(done as f64 / LONG.as_secs_f64())
}

/// Point selects a second of the same row by pgbench, with as many clients over the same kind of connection.
fn pgbench(place: &Place, accounts: i64) -> Outcome<f64> {
    let script = place.file("select.sql");
    std::fs::write(
        &script,
        format!(
            "\\set person random(2, {accounts})\nSELECT * FROM sessions WHERE access_hash = \
             encode(sha256(convert_to(left(encode(sha256(convert_to('access token of ' || :person, 'UTF8')), 'hex'), 40), 'UTF8')), 'hex');\n"
        ),
    )?;
    let mut command = Command::new(newest_pgbench()?);
    command.args(["-n", "-M", "prepared", "-c", &CLIENTS.to_string(), "-j", "2", "-T", &LONG.as_secs().to_string(), "-f"]);
    let output = command.arg(&script).arg(place.database()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said
        .lines()
        .find(|line| line.starts_with("tps = "))
        .ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok(line.split(' ').nth(2).ok_or("pgbench says no figure")?.parse()?)
}

fn newest_pgbench() -> Outcome<std::path::PathBuf> {
    let mut found: Vec<_> =
        std::fs::read_dir("/usr/lib/postgresql")?.flatten().map(|entry| entry.path().join("bin/pgbench")).collect();
    found.retain(|path: &std::path::PathBuf| Path::exists(path));
    found.sort();
    found.pop().ok_or_else(|| "pgbench is not installed".into())
}

fn ratio(last: u128, first: u128) -> f64 {
    last as f64 / first.max(1) as f64
}

fn print_table(measured: &[Measured], checks: Option<(f64, f64)>) {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(["accounts", "login p50", "login p99", "check p50", "check p99", "bytes an account", "of them indexes"]);
    for at in measured {
        let each = |bytes: i64| format!("{}", bytes / at.accounts);
        let micros = |micros: u128| format!("{micros} µs");
        table.add_row([
            at.accounts.to_string(),
            micros(at.login.p50),
            micros(at.login.p99),
            micros(at.check.p50),
            micros(at.check.p99),
            each(at.bytes),
            each(at.index_bytes),
        ]);
    }
    println!("{table}");
    if let (Some(first), Some(last)) = (measured.first(), measured.last()) {
        let (login, check) = (ratio(last.login.p50, first.login.p50), ratio(last.check.p50, first.check.p50));
        println!("last ÷ first, of the medians: login {login:.2}, check {check:.2}");
    }
    if let Some((checks, selects)) = checks {
        println!("token checks/s {checks:.0} ÷ pgbench point selects/s {selects:.0} = {:.2}", checks / selects);
    }
}

fn print_json(measured: &[Measured], checks: Option<(f64, f64)>) {
    let latency = |latency: &Latency| json!({ "p50_us": latency.p50, "p99_us": latency.p99 });
    let sizes: Vec<_> = measured
        .iter()
        .map(|at| {
            json!({
                "accounts": at.accounts, "login": latency(&at.login), "check": latency(&at.check),
                "bytes": at.bytes, "index_bytes": at.index_bytes,
            })
        })
        .collect();
    let checks = checks.map(|(checks, selects)| json!({ "checks_per_second": checks, "pgbench_selects_per_second": selects }));
    println!("{}", json!({ "sizes": sizes, "postgres": checks }));
}
