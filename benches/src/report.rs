//! Everything against its limit, in rounds in which limit and server take turns, so that whatever else the machine does meets both.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use comfy_table::Table;
use serde_json::{Map, Value, json};

use crate::bare::Bare;
use crate::client::Client;
use crate::drive::{Fleet, Load, Measured, Pace};
use crate::figures::{Figure, Figures, Values};
use crate::http::Connection;
use crate::limit::{self, CLIENTS};
use crate::population::People;
use crate::postgres::new_database;
use crate::progress::Progress;
use crate::requests::{self, Kind, Wanted};
use crate::rows::{self, Finding};
use crate::subject::{Place, Serving};
use crate::sweep::{self, Point};
use crate::{Outcome, plot};

/// Who is there: enough clients for ten times as many logins as can be hashed.
const PEOPLE: People = People { clients: 4096, checked: 10_000 };
const ON_POSTGRES: People = People { clients: CLIENTS as i64, checked: 10_000 };

/// How many token checks a second are timed while nothing else happens, and while logins saturate the server.
const TIMED_CHECKS: f64 = 500.0;

/// How long a server that has just started is left alone before its memory is looked at.
const REST: Duration = Duration::from_millis(200);

/// What is to be measured.
#[derive(Debug, Args)]
pub(crate) struct Wish {
    /// How often everything is measured; what is told are medians
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    rounds: u32,
    /// How many seconds each part takes
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    seconds: u64,
    /// A PostgreSQL server, without the name of a database: measures token checks on it as well
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Offers a quarter to ten times as many logins as can be hashed, and draws into this file (SVG) what becomes of them
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// What is measured, and against what.
struct Bench {
    // Servers stop before their places go.
    postgres: Option<(Serving, Fleet)>,
    postgres_place: Option<Place>,
    place: Place,
    fleet: Fleet,
    /// Clients that only check tokens.
    watchers: Fleet,
    bare: Bare,
    length: Duration,
    progress: Progress,
    figures: Figures,
}

pub(crate) async fn run(wish: &Wish) -> Outcome<()> {
    let mut bench = Bench::prepare(wish).await?;
    for _ in 0..wish.rounds.max(1) {
        let server = bench.start().await?;
        bench.round(&server).await?;
    }
    let curve = match &wish.plot {
        Some(file) => bench.draw(file)?,
        None => Vec::new(),
    };
    let Bench { figures, progress, .. } = bench;
    drop(progress);
    let findings = rows::findings(&figures)?;
    if wish.json {
        print_json(&findings, &figures, &curve);
    } else {
        print_tables(&findings, &figures, &curve);
    }
    Ok(())
}

impl Bench {
    async fn prepare(wish: &Wish) -> Outcome<Self> {
        let length = Duration::from_secs(wish.seconds.max(1));
        let in_round = if wish.store.is_some() { 14 } else { 12 };
        let in_sweep = if wish.plot.is_some() { sweep::PARTS } else { 0 };
        let parts = wish.rounds.max(1) * in_round + in_sweep;
        let progress = Progress::of(length * parts)?;
        progress.say("making accounts");
        let place = Place::settled(None, &[], PEOPLE).await?;
        let server = place.serve()?;
        let fleet = |server: &Serving, people, numbers| Fleet::new(server.address, server.process(), people, numbers);
        // The last clients only check: the others are there first.
        let (workers, watchers) = (0..PEOPLE.clients - ON_POSTGRES.clients, PEOPLE.clients - ON_POSTGRES.clients..PEOPLE.clients);
        let (workers, watchers) = (fleet(&server, PEOPLE, workers), fleet(&server, PEOPLE, watchers));
        let bare = Bare::like(server.address, PEOPLE.checked(0)).await?;
        let postgres_place = match &wish.store {
            Some(store) => Some(Place::settled(Some(new_database(store, "bench_report")?), &[], ON_POSTGRES).await?),
            None => None,
        };
        let serve = |place: &Place| {
            let server = place.serve()?;
            let fleet = fleet(&server, ON_POSTGRES, 0..ON_POSTGRES.clients);
            Outcome::Ok((server, fleet))
        };
        let postgres = postgres_place.as_ref().map(serve).transpose()?;
        let figures = Figures::default();
        Ok(Self { postgres, postgres_place, place, fleet: workers, watchers, bare, length, progress, figures })
    }

    /// Starts a server, and times it until it has answered.
    async fn start(&mut self) -> Outcome<Serving> {
        self.progress.say("starting");
        let begun = Instant::now();
        let server = self.place.serve()?;
        let mut connection = Connection::open(server.address, Client::address(0)).await?;
        let answer = connection.ask(&requests::check(PEOPLE.checked(0))).await?;
        let took = begun.elapsed();
        if !Kind::Check.is_right(&answer) {
            return Err(format!("the first answer was {}", answer.status).into());
        }
        tokio::time::sleep(REST).await;
        self.figures.note(Figure::Start, took.as_secs_f64() * 1e3);
        self.figures.note(Figure::IdleMemory, server.memory()?.now as f64 / 1024.0);
        self.figures.note(Figure::Program, Place::program_size()? as f64 / 1e6);
        for fleet in [&mut self.fleet, &mut self.watchers] {
            fleet.turn_to(server.address, server.process());
        }
        Ok(server)
    }

    /// Limits, each followed by what is measured against it.
    async fn round(&mut self, server: &Serving) -> Outcome<()> {
        limit::hashes(&mut self.figures, self.length, &self.progress)?;
        self.logins(server)?;
        limit::checks_of_bare(&mut self.figures, &self.bare, self.length, &self.progress)?;
        let checks = self.drive("token checks", Wanted::Check, Pace::Closed(CLIENTS))?;
        checks.check_all()?;
        self.figures.note(Figure::Checks, checks.rate());
        limit::commits(&mut self.figures, &self.place, self.length, &self.progress).await?;
        let refreshes = self.drive("refreshes", Wanted::Refresh, Pace::Closed(CLIENTS))?;
        refreshes.check_all()?;
        self.figures.note(Figure::Refreshes, refreshes.rate());
        self.timed_checks()?;
        self.on_postgres()
    }

    fn drive(&mut self, what: &str, wanted: Wanted, pace: Pace) -> Outcome<Measured> {
        self.progress.say(what);
        self.fleet.drive(Load { wanted, pace, length: self.length }, &self.progress)
    }

    fn logins(&mut self, server: &Serving) -> Outcome<()> {
        let one = self.drive("logins by one client", Wanted::Login, Pace::Closed(1))?;
        one.check_all()?;
        self.figures.note(Figure::OneLogin, one.right().percentile(50.0) as f64);
        // On a slow machine so many wait for longer than anybody should: then some are refused.
        let many = self.drive("logins", Wanted::Login, Pace::Closed(CLIENTS))?;
        many.check()?;
        self.figures.note(Figure::Logins, many.rate());
        self.figures.note(Figure::LoginP99, many.right().percentile(99.0) as f64);
        self.figures.note(Figure::PeakMemory, server.memory()?.peak as f64 / 1024.0);
        Ok(())
    }

    /// Token checks, with and without logins at the same time.
    fn timed_checks(&mut self) -> Outcome<()> {
        let checks = Load { wanted: Wanted::Check, pace: Pace::Open(TIMED_CHECKS), length: self.length };
        let p99 = |checked: Measured| checked.check_all().map(|()| checked.right().percentile(99.0) as f64);
        self.progress.say("timed token checks");
        self.figures.note(Figure::CheckP99, p99(self.watchers.drive(checks, &self.progress)?)?);
        self.progress.say("timed token checks, and logins");
        let (fleet, length) = (&mut self.fleet, self.length);
        let (busy, logins) = std::thread::scope(|scope| {
            let logins = Load { wanted: Wanted::Login, pace: Pace::Closed(CLIENTS), length };
            let logins = scope.spawn(move || fleet.drive(logins, &Progress::none()));
            let busy = self.watchers.drive(checks, &self.progress);
            (busy, logins.join().expect("it does not panic"))
        });
        logins?.check()?;
        self.figures.note(Figure::BusyCheckP99, p99(busy?)?);
        Ok(())
    }

    fn on_postgres(&mut self) -> Outcome<()> {
        let (Some(place), Some((_, fleet))) = (&self.postgres_place, &mut self.postgres) else { return Ok(()) };
        limit::selects(&mut self.figures, place, ON_POSTGRES, self.length, &self.progress)?;
        self.progress.say("token checks on PostgreSQL");
        let load = Load { wanted: Wanted::Check, pace: Pace::Closed(CLIENTS), length: self.length };
        let checks = fleet.drive(load, &self.progress)?;
        checks.check_all()?;
        self.figures.note(Figure::PostgresChecks, checks.rate());
        Ok(())
    }

    /// Offers ever more logins to a server, and draws what becomes of them.
    fn draw(&mut self, file: &Path) -> Outcome<Vec<Point>> {
        let capacity = self.figures.get(Figure::Logins).map(Values::median).ok_or("no login was measured")?;
        let server = self.place.serve()?;
        self.fleet.turn_to(server.address, server.process());
        let curve = sweep::run(&mut self.fleet, capacity, self.length, &self.progress)?;
        plot::draw(file, &curve)?;
        Ok(curve)
    }
}

fn print_tables(findings: &[Finding], figures: &Figures, curve: &[Point]) {
    println!("{}\n", rows::table(findings));
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN).set_header(["measured", "median", "lowest", "highest"]);
    for (figure, values) in figures.all() {
        let shown = [values.median(), values.lowest(), values.highest()].map(|value| figure.unit().shown(value));
        table.add_row([vec![figure.what().to_owned()], shown.to_vec()].concat());
    }
    println!("{table}");
    if !curve.is_empty() {
        println!("\n{}", sweep::table(curve));
    }
}

fn print_json(findings: &[Finding], figures: &Figures, curve: &[Point]) {
    let rows: Vec<Value> = findings.iter().map(Finding::json).collect();
    let measured: Map<_, _> = figures.all().map(|(figure, values)| (figure.name().to_owned(), json!(values.each()))).collect();
    println!("{}", json!({ "rows": rows, "measured": measured, "curve": curve }));
}
