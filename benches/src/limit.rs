//! What the machine gives: Argon2 by itself, a bare server, durable commits, PostgreSQL's point selects.

use std::time::Duration;

use clap::Args;
use comfy_table::Table;
use serde_json::{Map, json};

use crate::bare::Bare;
use crate::commits::Commits;
use crate::drive::{Fleet, Load, Pace};
use crate::figures::{Figure, Figures};
use crate::population::People;
use crate::postgres::{new_database, pgbench};
use crate::progress::Progress;
use crate::requests::Wanted;
use crate::subject::Place;
use crate::{Outcome, hashing};

/// How many clients there are, of servers and of PostgreSQL.
pub(crate) const CLIENTS: usize = 64;

/// Who is there. Nobody logs in.
const PEOPLE: People = People { clients: CLIENTS as i64, checked: 10_000 };

/// What is to be measured.
#[derive(Debug, Args)]
pub(crate) struct Wish {
    /// How many seconds each part takes
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    seconds: u64,
    /// A PostgreSQL server, without the name of a database; without it, its point selects are not measured
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(wish: &Wish) -> Outcome<()> {
    let length = Duration::from_secs(wish.seconds.max(1));
    let place = Place::settled(None, &[], PEOPLE).await?;
    let server = place.serve()?;
    let bare = Bare::like(server.address, PEOPLE.checked(0)).await?;
    drop(server);
    let progress = Progress::of(length * 7)?;
    let mut figures = Figures::default();
    hashes(&mut figures, length, &progress)?;
    checks_of_bare(&mut figures, &bare, length, &progress)?;
    commits(&mut figures, &place, length, &progress).await?;
    if let Some(server) = &wish.store {
        let place = Place::settled(Some(new_database(server, "bench_limit")?), &[], PEOPLE).await?;
        selects(&mut figures, &place, PEOPLE, length, &progress)?;
    }
    drop(progress);
    tell(&figures, wish.json);
    Ok(())
}

/// Hashes: ours and the fastest's on all cores, and ours on one.
pub(crate) fn hashes(figures: &mut Figures, length: Duration, progress: &Progress) -> Outcome<()> {
    progress.say("hashes by the fastest Argon2");
    if let Some(fastest) = hashing::fastest(length)? {
        figures.note(Figure::FastestHashes, fastest);
    }
    progress.say("hashes");
    figures.note(Figure::Hashes, hashing::ours(length)?);
    progress.say("hashes on one thread");
    figures.note(Figure::OneHash, hashing::one(length)?.percentile(50.0) as f64);
    Ok(())
}

/// Token checks of a bare server that answers the same bytes.
pub(crate) fn checks_of_bare(figures: &mut Figures, bare: &Bare, length: Duration, progress: &Progress) -> Outcome<()> {
    progress.say("bare axum");
    let mut fleet = Fleet::new(bare.address, bare.process(), PEOPLE, 0..PEOPLE.clients);
    let measured = fleet.drive(Load { wanted: Wanted::Check, pace: Pace::Closed(CLIENTS), length }, progress)?;
    measured.check_all()?;
    figures.note(Figure::BareChecks, measured.rate());
    Ok(())
}

/// Durable commits of SQLite, in the folder where the server has its data.
pub(crate) async fn commits(figures: &mut Figures, place: &Place, length: Duration, progress: &Progress) -> Outcome<()> {
    let mut commits = Commits::open(&place.file("commits.db")).await?;
    progress.say("single commits");
    figures.note(Figure::Commits, commits.singles(length).await?);
    progress.say("rows committed in groups");
    figures.note(Figure::GroupedRows, commits.groups(length).await?);
    Ok(())
}

/// Point selects of PostgreSQL by itself.
pub(crate) fn selects(
    figures: &mut Figures,
    place: &Place,
    people: People,
    length: Duration,
    progress: &Progress,
) -> Outcome<()> {
    progress.say("pgbench");
    figures.note(Figure::Selects, pgbench(place, people.last(), CLIENTS, length)?);
    Ok(())
}

fn tell(figures: &Figures, as_json: bool) {
    let found = figures.all().map(|(figure, values)| (figure, values.median()));
    if as_json {
        let told: Map<_, _> = found.map(|(figure, found)| (figure.name().to_owned(), json!(found))).collect();
        return println!("{}", json!(told));
    }
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN).set_header(["limit", "found"]);
    for (figure, found) in found {
        table.add_row([figure.what().to_owned(), figure.unit().shown(found)]);
    }
    println!("{table}");
}
