//! Where guesses are counted. What is counted is decided by [`Tally`]; here it is made true for everybody at once.

use std::collections::HashMap;

use account::store::Page;
use account::{Count, Counted, Guess, Guessed, Lane, Right, Rules, StoreError, Tally, Timestamp};

use crate::engine::{self, Connection, Engine, Record};
use crate::row::Row;

/// A query of counts, by the names of their columns: a newer version may have added some.
macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT lane, failures, failed_at, paused_until, day_until, known_at FROM lanes ", $rest)
    };
}

pub(crate) async fn tally(connection: &mut Connection, guess: &Guess) -> Result<Tally, StoreError> {
    let lanes: Vec<_> = guess.subject.iter().chain(&guess.own).chain([&guess.source]).collect();
    let places: Vec<_> = (1..=lanes.len()).map(|place| format!("${place}")).collect();
    let text = format!("{} WHERE lane IN ({})", select!(""), places.join(", "));
    let query = lanes.into_iter().fold(engine::query(text), |query, lane| query.bind(lane.as_str().to_owned()));
    let rows = query.fetch_all(connection).await?;
    let counts: HashMap<Lane, Count> = rows.iter().map(read).collect::<Result<_, _>>()?;
    let count = |lane: &Lane| counts.get(lane).copied().unwrap_or(Count::NEW);
    let subject = guess.subject.as_ref().map_or(Count::NEW, count);
    Ok(Tally { subject, own: guess.own.iter().map(count).collect(), source: count(&guess.source) })
}

/// Counts a guess as a failure, if it may be made, within a transaction.
pub(crate) async fn take(
    connection: &mut Connection,
    guess: &Guess,
    rules: &Rules,
    now: Timestamp,
) -> Result<Guessed, StoreError> {
    let mut tally = lock_subject(connection, guess).await?;
    if !tally.is_own(guess, rules, now) {
        tally.source = lock(connection, &guess.source, tally.source).await?;
    }
    let guessed = tally.count(guess, rules, now);
    if let Guessed::Counted(counted) = &guessed {
        put(connection, guess, *counted, &tally).await?;
    }
    Ok(guessed)
}

/// Takes back that a guess was counted as a failure, within a transaction.
pub(crate) async fn take_back(connection: &mut Connection, right: &Right) -> Result<(), StoreError> {
    let Right { guess, counted, let_in, rules, now } = right;
    let mut tally = lock_subject(connection, guess).await?;
    if let Counted::Shared = counted {
        tally.source = lock(connection, &guess.source, tally.source).await?;
    }
    tally.take_back(guess, *counted, *let_in, rules);
    put(connection, guess, *counted, &tally).await?;
    if *let_in { know(connection, guess, *now).await } else { Ok(()) }
}

/// Reads what is counted, so that nobody else counts the same subject's guesses before the end of the transaction. The source's lane,
/// which is many others' as well, is locked last and only where it matters: whoever holds it waits for nobody.
async fn lock_subject(connection: &mut Connection, guess: &Guess) -> Result<Tally, StoreError> {
    if let Some(subject) = &guess.subject {
        lock(connection, subject, Count::NEW).await?;
    }
    tally(connection, guess).await
}

/// What is counted in a lane, so that nobody else counts there before the end of the transaction. Where nobody else writes at the same
/// time, that is what was `read`.
async fn lock(connection: &mut Connection, lane: &Lane, read: Count) -> Result<Count, StoreError> {
    if connection.engine() == Engine::Sqlite {
        return Ok(read);
    }
    // Changing a row is what locks it.
    let lock = engine::query(concat!(
        "INSERT INTO lanes (lane, subject, failures, failed_at, paused_until, day_until, forget_at) VALUES ($1, $1, 0, 0, 0, 0, 0) ",
        "ON CONFLICT (lane) DO UPDATE SET subject = excluded.subject ",
        "RETURNING lane, failures, failed_at, paused_until, day_until, known_at"
    ));
    let row = lock.bind(lane.as_str()).fetch_one(connection).await?;
    Ok(self::read(&row)?.1)
}

/// Notes that whoever makes such guesses has its own lanes.
pub(crate) async fn know(connection: &mut Connection, guess: &Guess, now: Timestamp) -> Result<(), StoreError> {
    let known = Count { known_at: Some(now), ..Count::NEW };
    let update = "known_at = excluded.known_at, forget_at = excluded.forget_at";
    insert(connection, guess, guess.own.iter().map(|lane| (lane, &known)), update).await
}

pub(crate) async fn list(
    connection: &mut Connection,
    subject: Option<&Lane>,
    page: &Page<Lane>,
    now: Timestamp,
) -> Result<Vec<(Lane, Count)>, StoreError> {
    let query = match subject {
        None => engine::query(select!("WHERE lane > $1 AND (failures > 0 OR day_until > $2) ORDER BY lane LIMIT $3")),
        Some(_) => {
            engine::query(select!("WHERE lane > $1 AND (failures > 0 OR day_until > $2) AND subject = $4 ORDER BY lane LIMIT $3"))
        }
    };
    let after = page.after.as_ref().map_or("", Lane::as_str).to_owned();
    let query = query.bind(after).bind(now.0).bind(i64::from(page.limit));
    let query = match subject {
        None => query,
        Some(subject) => query.bind(subject.as_str().to_owned()),
    };
    query.fetch_all(connection).await?.iter().map(read).collect()
}

pub(crate) async fn clear(connection: &mut Connection, subject: &Lane) -> Result<u64, StoreError> {
    let update = "UPDATE lanes SET failures = 0, paused_until = 0, day_until = 0 \
                  WHERE subject = $1 AND (failures > 0 OR day_until > 0)";
    let update = engine::query(update).bind(subject.as_str()).execute(connection).await?;
    Ok(update)
}

async fn put(connection: &mut Connection, guess: &Guess, counted: Counted, tally: &Tally) -> Result<(), StoreError> {
    let update = "failures = excluded.failures, failed_at = excluded.failed_at, paused_until = excluded.paused_until, \
                  day_until = excluded.day_until, forget_at = excluded.forget_at";
    insert(connection, guess, tally.changed(guess, counted), update).await
}

/// Writes what is counted in lanes; of those that are there already, what `update` says.
async fn insert(
    connection: &mut Connection,
    guess: &Guess,
    lanes: impl Iterator<Item = (&Lane, &Count)>,
    update: &str,
) -> Result<(), StoreError> {
    const COLUMNS: usize = 8;
    let lanes: Vec<_> = lanes.collect();
    if lanes.is_empty() {
        return Ok(());
    }
    let row = |row: usize| {
        let places: Vec<_> = (1..=COLUMNS).map(|column| format!("${}", row * COLUMNS + column)).collect();
        format!("({})", places.join(", "))
    };
    let rows: Vec<_> = (0..lanes.len()).map(row).collect();
    let text = format!(
        "INSERT INTO lanes (lane, subject, failures, failed_at, paused_until, day_until, known_at, forget_at) VALUES {} \
         ON CONFLICT (lane) DO UPDATE SET {update}",
        rows.join(", ")
    );
    let query = lanes.iter().fold(engine::query(text), |query, (lane, count)| {
        query
            .bind(lane.as_str().to_owned())
            .bind(subject_of(guess, lane).as_str().to_owned())
            .bind(count.failures)
            .bind(count.failed_at.0)
            .bind(count.paused_until.0)
            .bind(count.day_until.0)
            .bind(count.known_at.map(|at| at.0))
            .bind(count.forget_at().0)
    });
    query.execute(connection).await?;
    Ok(())
}

fn subject_of<'a>(guess: &'a Guess, lane: &'a Lane) -> &'a Lane {
    guess.subject.as_ref().filter(|_| *lane != guess.source).unwrap_or(lane)
}

fn read(row: &Record) -> Result<(Lane, Count), StoreError> {
    let row = Row { table: "lanes", row };
    let known_at: Option<i64> = row.get("known_at")?;
    let count = Count {
        failures: row.get("failures")?,
        failed_at: Timestamp(row.get("failed_at")?),
        paused_until: Timestamp(row.get("paused_until")?),
        day_until: Timestamp(row.get("day_until")?),
        known_at: known_at.map(Timestamp),
    };
    Ok((Lane::from_stored(row.get("lane")?), count))
}
