//! Where guesses are counted. What is counted is decided by [`Tally`]; here it is made true for everybody at once.

use account::store::Page;
use account::{Count, Counted, Guess, Guessed, Lane, Right, Rules, StoreError, Tally, Timestamp};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Connection};

use crate::row::{Row, failed};

/// A query of counts, by the names of their columns: a newer version may have added some.
macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT lane, failures, failed_at, paused_until, day_until, known_at FROM lanes ", $rest)
    };
}

pub(crate) async fn tally(connection: &mut AnyConnection, guess: &Guess) -> Result<Tally, StoreError> {
    let mut own = Vec::with_capacity(guess.own.len());
    for lane in &guess.own {
        own.push(find(connection, lane).await?);
    }
    let subject = match &guess.subject {
        Some(subject) => find(connection, subject).await?,
        None => Count::NEW,
    };
    Ok(Tally { subject, own, source: find(connection, &guess.source).await? })
}

pub(crate) async fn take(
    connection: &mut AnyConnection,
    guess: &Guess,
    rules: &Rules,
    now: Timestamp,
) -> Result<Guessed, StoreError> {
    let mut transaction = connection.begin().await.map_err(failed)?;
    let mut tally = lock_subject(&mut transaction, guess).await?;
    if !tally.is_own(guess, rules, now) {
        tally.source = lock(&mut transaction, &guess.source).await?;
    }
    let guessed = tally.count(guess, rules, now);
    match &guessed {
        Guessed::Counted(counted) => {
            put(&mut transaction, guess, *counted, &tally).await?;
            transaction.commit().await.map_err(failed)?;
        }
        Guessed::TooMany { .. } => transaction.rollback().await.map_err(failed)?,
    }
    Ok(guessed)
}

pub(crate) async fn give_back(connection: &mut AnyConnection, right: Right<'_>) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await.map_err(failed)?;
    take_back(&mut transaction, right).await?;
    transaction.commit().await.map_err(failed)
}

/// Takes back that a guess was counted as a failure, within a transaction.
pub(crate) async fn take_back(connection: &mut AnyConnection, right: Right<'_>) -> Result<(), StoreError> {
    let Right { guess, counted, let_in, rules, now } = right;
    let mut tally = lock_subject(&mut *connection, guess).await?;
    if let Counted::Shared = counted {
        tally.source = lock(&mut *connection, &guess.source).await?;
    }
    tally.take_back(guess, counted, let_in, rules);
    put(&mut *connection, guess, counted, &tally).await?;
    if let_in { know(connection, guess, now).await } else { Ok(()) }
}

/// Reads what is counted, so that nobody else counts the same subject's guesses before the end of the transaction. The source's lane,
/// which is many others' as well, is locked last and only where it matters: whoever holds it waits for nobody.
async fn lock_subject(connection: &mut AnyConnection, guess: &Guess) -> Result<Tally, StoreError> {
    if let Some(subject) = &guess.subject {
        lock(&mut *connection, subject).await?;
    }
    tally(connection, guess).await
}

async fn lock(connection: &mut AnyConnection, lane: &Lane) -> Result<Count, StoreError> {
    // Changing a row is what locks it on every engine.
    let lock = sqlx::query(concat!(
        "INSERT INTO lanes (lane, subject, failures, failed_at, paused_until, day_until, forget_at) VALUES ($1, $1, 0, 0, 0, 0, 0) ",
        "ON CONFLICT (lane) DO UPDATE SET subject = excluded.subject ",
        "RETURNING lane, failures, failed_at, paused_until, day_until, known_at"
    ));
    let row = lock.bind(lane.as_str()).fetch_one(connection).await.map_err(failed)?;
    Ok(read(&row)?.1)
}

/// Notes that whoever makes such guesses has its own lanes.
pub(crate) async fn know(connection: &mut AnyConnection, guess: &Guess, now: Timestamp) -> Result<(), StoreError> {
    for lane in &guess.own {
        sqlx::query(
            "INSERT INTO lanes (lane, subject, failures, failed_at, paused_until, day_until, known_at, forget_at) \
             VALUES ($1, $2, 0, 0, 0, 0, $3, $4) \
             ON CONFLICT (lane) DO UPDATE SET known_at = excluded.known_at, forget_at = excluded.forget_at",
        )
        .bind(lane.as_str())
        .bind(subject_of(guess, lane).as_str())
        .bind(now.0)
        .bind(Count { known_at: Some(now), ..Count::NEW }.forget_at().0)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    }
    Ok(())
}

pub(crate) async fn list(
    connection: &mut AnyConnection,
    subject: Option<&Lane>,
    page: &Page<Lane>,
) -> Result<Vec<(Lane, Count)>, StoreError> {
    let query = match subject {
        None => sqlx::query(select!("WHERE lane > $1 AND failures > 0 ORDER BY lane LIMIT $2")),
        Some(_) => sqlx::query(select!("WHERE lane > $1 AND failures > 0 AND subject = $3 ORDER BY lane LIMIT $2")),
    };
    let query = query.bind(page.after.as_ref().map_or("", Lane::as_str).to_owned()).bind(i64::from(page.limit));
    let query = match subject {
        None => query,
        Some(subject) => query.bind(subject.as_str().to_owned()),
    };
    query.fetch_all(connection).await.map_err(failed)?.iter().map(read).collect()
}

pub(crate) async fn clear(connection: &mut AnyConnection, subject: &Lane) -> Result<u64, StoreError> {
    let update = "UPDATE lanes SET failures = 0, paused_until = 0, day_until = 0 \
                  WHERE subject = $1 AND (failures > 0 OR day_until > 0)";
    let update = sqlx::query(update).bind(subject.as_str()).execute(connection).await.map_err(failed)?;
    Ok(update.rows_affected())
}

async fn put(connection: &mut AnyConnection, guess: &Guess, counted: Counted, tally: &Tally) -> Result<(), StoreError> {
    for (lane, count) in tally.changed(guess, counted) {
        sqlx::query(
            "INSERT INTO lanes (lane, subject, failures, failed_at, paused_until, day_until, forget_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (lane) DO UPDATE SET failures = excluded.failures, \
             failed_at = excluded.failed_at, paused_until = excluded.paused_until, day_until = excluded.day_until, \
             forget_at = excluded.forget_at",
        )
        .bind(lane.as_str())
        .bind(subject_of(guess, lane).as_str())
        .bind(count.failures)
        .bind(count.failed_at.0)
        .bind(count.paused_until.0)
        .bind(count.day_until.0)
        .bind(count.forget_at().0)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    }
    Ok(())
}

fn subject_of<'a>(guess: &'a Guess, lane: &'a Lane) -> &'a Lane {
    guess.subject.as_ref().filter(|_| *lane != guess.source).unwrap_or(lane)
}

async fn find(connection: &mut AnyConnection, lane: &Lane) -> Result<Count, StoreError> {
    let query = sqlx::query(select!("WHERE lane = $1")).bind(lane.as_str());
    let row = query.fetch_optional(connection).await.map_err(failed)?;
    row.as_ref().map_or(Ok(Count::NEW), |row| Ok(read(row)?.1))
}

fn read(row: &AnyRow) -> Result<(Lane, Count), StoreError> {
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
