//! Latency and size at growing numbers of accounts.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Args;
use comfy_table::Table;
use serde_json::json;
use sqlx::Executor;

use crate::Outcome;
use crate::drive::{Fleet, Load, Pace};
use crate::http::Connection;
use crate::latency::{Latency, shown};
use crate::population::{self, People};
use crate::postgres::{new_database, pgbench};
use crate::progress::Progress;
use crate::requests::{self, Kind, Wanted};
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
    logins: Latency,
    checks: Latency,
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
        let place = Place::new(
            wish.store.as_deref().map(|server| new_database(server, &format!("bench_{accounts}"))).transpose()?,
            &CHEAP,
        )?;
        place.prepare()?;
        populate(&place, accounts).await?;
        let server = place.serve()?;
        subjects.push(Subject { accounts, place, server, logins: Latency::default(), checks: Latency::default() });
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
        let (login, check) = (std::mem::take(&mut subject.logins), std::mem::take(&mut subject.checks));
        measured.push(Measured { accounts: subject.accounts, login, check, bytes, index_bytes });
    }
    let checks = match subjects.last() {
        Some(last) if last.place.is_postgres() => Some((throughput(last)?, pgbench(&last.place, last.accounts, CLIENTS, LONG)?)),
        _ => None,
    };
    if wish.json {
        print_json(&measured, checks)
    } else {
        print_table(&measured, checks)
    }
    Ok(())
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
            let mut connection = Connection::open(subject.server.address, Ipv4Addr::LOCALHOST).await?;
            for request in turn * TURN..(turn + 1) * TURN {
                let (check, login) = subject.ask(&mut connection, request).await?;
                // The first turn warms up.
                if turn > 0 {
                    subject.checks.note(check);
                    subject.logins.note(login);
                }
            }
        }
    }
    Ok(())
}

impl Subject {
    /// Half of the people, whose tokens are checked. The other half logs in, and has other tokens then.
    fn checked(&self) -> People {
        People { clients: 0, checked: (self.accounts - 1) / 2 }
    }

    /// How long a token check takes, and a login: everywhere in the tables, and hardly the same twice.
    async fn ask(&self, connection: &mut Connection, request: i64) -> Outcome<(Duration, Duration)> {
        let people = self.checked();
        let checked = people.checked(request);
        let check = answered(connection, Kind::Check, &requests::check(checked)).await?;
        let login = answered(connection, Kind::Login, &requests::login(checked + people.checked)).await?;
        Ok((check, login))
    }
}

/// How long it takes to be answered, which must be right.
async fn answered(connection: &mut Connection, kind: Kind, request: &[u8]) -> Outcome<Duration> {
    let begun = Instant::now();
    let answer = connection.ask(request).await?;
    let took = begun.elapsed();
    if kind.is_right(&answer) {
        Ok(took)
    } else {
        Err(format!("a {} was answered {} {}", kind.name(), answer.status, String::from_utf8_lossy(answer.body)).into())
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
fn throughput(subject: &Subject) -> Outcome<f64> {
    let server = &subject.server;
    let mut fleet = Fleet::new(server.address, server.process(), subject.checked(), 0..i64::try_from(CLIENTS)?);
    let load = Load { wanted: Wanted::Check, pace: Pace::Closed(CLIENTS), length: LONG };
    let measured = fleet.drive(load, &Progress::of(LONG)?)?;
    measured.check_all()?;
    Ok(measured.rate())
}

fn ratio(last: &Latency, first: &Latency) -> f64 {
    last.percentile(50.0) as f64 / first.percentile(50.0).max(1) as f64
}

fn print_table(measured: &[Measured], checks: Option<(f64, f64)>) {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(["accounts", "login p50", "login p99", "check p50", "check p99", "bytes an account", "of them indexes"]);
    for at in measured {
        let each = |bytes: i64| format!("{}", bytes / at.accounts);
        table.add_row([
            at.accounts.to_string(),
            shown(at.login.percentile(50.0)),
            shown(at.login.percentile(99.0)),
            shown(at.check.percentile(50.0)),
            shown(at.check.percentile(99.0)),
            each(at.bytes),
            each(at.index_bytes),
        ]);
    }
    println!("{table}");
    if let (Some(first), Some(last)) = (measured.first(), measured.last()) {
        let (login, check) = (ratio(&last.login, &first.login), ratio(&last.check, &first.check));
        println!("last ÷ first, of the medians: login {login:.2}, check {check:.2}");
    }
    if let Some((checks, selects)) = checks {
        println!("token checks/s {checks:.0} ÷ pgbench point selects/s {selects:.0} = {:.2}", checks / selects);
    }
}

fn print_json(measured: &[Measured], checks: Option<(f64, f64)>) {
    let latency = |latency: &Latency| json!({ "p50_us": latency.percentile(50.0), "p99_us": latency.percentile(99.0) });
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
