//! The queue of messages.

use account::store::Page;
use account::{ObjectId, Queued, Sealed, StoreError, Timestamp};

use crate::engine::{self, Connection, Record};
use crate::row::Row;

/// What a whole message is, by the names of its columns: a newer version may have added some.
macro_rules! columns {
    () => {
        "id, subject, sealed, created_at, expires_at, due_at, attempts, last_error"
    };
}

/// Queues a message, in the place of an older one about the same.
pub(crate) async fn put(connection: &mut Connection, message: &Queued) -> Result<(), StoreError> {
    let delete = engine::query("DELETE FROM messages WHERE subject = $1").bind(message.subject.as_str());
    delete.execute(connection).await?;
    engine::query(concat!("INSERT INTO messages (", columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"))
        .bind(message.id.as_str())
        .bind(message.subject.as_str())
        .bind(message.sealed.as_str())
        .bind(message.created_at.0)
        .bind(message.expires_at.0)
        .bind(message.due_at.map(|at| at.0))
        .bind(message.attempts)
        .bind(message.last_error.clone())
        .execute(connection)
        .await
        .map_err(Into::into)
        .map(drop)
}

/// Gives up messages that would come too late, no more than `most`, and says how many.
pub(crate) async fn give_up(connection: &mut Connection, now: Timestamp, most: u64) -> Result<u64, StoreError> {
    let late = format!("SELECT id FROM messages WHERE expires_at <= $1 AND due_at IS NOT NULL LIMIT {most}");
    let give_up = format!(
        "UPDATE messages SET due_at = NULL, last_error = COALESCE(last_error, 'out of time') WHERE id IN ({late}) AND due_at IS NOT NULL"
    );
    Ok(engine::query(give_up).bind(now.0).execute(connection).await?)
}

pub(crate) async fn claim(connection: &mut Connection, now: Timestamp, until: Timestamp) -> Result<Option<Queued>, StoreError> {
    // The outer conditions again: whoever waited for the row finds it claimed.
    let update = engine::query(concat!(
        "UPDATE messages SET due_at = $1, attempts = attempts + 1 WHERE id = \
         (SELECT id FROM messages WHERE due_at <= $2 AND expires_at > $2 ORDER BY due_at LIMIT 1) AND due_at <= $2 RETURNING ",
        columns!()
    ))
    .bind(until.0)
    .bind(now.0);
    update.fetch_optional(connection).await?.as_ref().map(read).transpose()
}

pub(crate) async fn finish(connection: &mut Connection, id: &ObjectId) -> Result<(), StoreError> {
    let delete = engine::query("DELETE FROM messages WHERE id = $1").bind(id.as_str());
    delete.execute(connection).await.map(drop).map_err(Into::into)
}

pub(crate) async fn postpone(
    connection: &mut Connection,
    id: &ObjectId,
    until: Option<Timestamp>,
    error: &str,
) -> Result<(), StoreError> {
    let update = engine::query("UPDATE messages SET due_at = $1, last_error = $2 WHERE id = $3");
    let update = update.bind(until.map(|at| at.0)).bind(error).bind(id.as_str());
    update.execute(connection).await.map(drop).map_err(Into::into)
}

pub(crate) async fn next_due(connection: &mut Connection) -> Result<Option<Timestamp>, StoreError> {
    let query = engine::query_scalar("SELECT MIN(due_at) FROM messages WHERE due_at IS NOT NULL");
    let due: Option<i64> = query.fetch_one(connection).await?;
    Ok(due.map(Timestamp))
}

pub(crate) async fn list(connection: &mut Connection, page: &Page<ObjectId>) -> Result<Vec<Queued>, StoreError> {
    let after = page.after.as_ref().map_or("", |after| after.as_str());
    let query = engine::query(concat!("SELECT ", columns!(), " FROM messages WHERE id > $1 ORDER BY id LIMIT $2"));
    let rows = query.bind(after).bind(i64::from(page.limit)).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

pub(crate) async fn reseal(connection: &mut Connection, id: &ObjectId, old: &Sealed, new: &Sealed) -> Result<bool, StoreError> {
    let update = engine::query("UPDATE messages SET sealed = $1 WHERE id = $2 AND sealed = $3");
    let update = update.bind(new.as_str()).bind(id.as_str()).bind(old.as_str());
    Ok(update.execute(connection).await? > 0)
}

fn read(row: &Record) -> Result<Queued, StoreError> {
    let row = Row { table: "messages", row };
    Ok(Queued {
        id: row.parse("id")?,
        subject: row.get("subject")?,
        sealed: Sealed::from_stored(row.get("sealed")?),
        created_at: Timestamp(row.get("created_at")?),
        expires_at: Timestamp(row.get("expires_at")?),
        due_at: row.get::<Option<i64>>("due_at")?.map(Timestamp),
        attempts: row.get("attempts")?,
        last_error: row.get("last_error")?,
    })
}
