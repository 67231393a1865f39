//! The queue of messages.

use account::store::Page;
use account::{ObjectId, Queued, Sealed, StoreError, Timestamp};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AnyPool};

use crate::row::{Row, failed};

/// Queues a message, in the place of an older one about the same.
pub(crate) async fn put(connection: &mut AnyConnection, message: &Queued) -> Result<(), StoreError> {
    let delete = sqlx::query("DELETE FROM messages WHERE subject = $1").bind(message.subject.as_str());
    delete.execute(&mut *connection).await.map_err(failed)?;
    sqlx::query(
        "INSERT INTO messages (id, subject, sealed, created_at, expires_at, due_at, attempts, last_error) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
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
    .map_err(failed)
    .map(drop)
}

pub(crate) async fn claim(pool: &AnyPool, now: Timestamp, until: Timestamp) -> Result<Option<Queued>, StoreError> {
    // The outer conditions again: whoever waited for the row finds it claimed.
    let update = sqlx::query(
        "UPDATE messages SET due_at = $1, attempts = attempts + 1 WHERE id = \
         (SELECT id FROM messages WHERE due_at <= $2 AND expires_at > $2 ORDER BY due_at LIMIT 1) AND due_at <= $2 RETURNING *",
    )
    .bind(until.0)
    .bind(now.0);
    update.fetch_optional(pool).await.map_err(failed)?.as_ref().map(read).transpose()
}

pub(crate) async fn finish(pool: &AnyPool, id: &ObjectId) -> Result<(), StoreError> {
    let delete = sqlx::query("DELETE FROM messages WHERE id = $1").bind(id.as_str());
    delete.execute(pool).await.map_err(failed).map(drop)
}

pub(crate) async fn postpone(pool: &AnyPool, id: &ObjectId, until: Option<Timestamp>, error: &str) -> Result<(), StoreError> {
    let update = sqlx::query("UPDATE messages SET due_at = $1, last_error = $2 WHERE id = $3");
    let update = update.bind(until.map(|at| at.0)).bind(error).bind(id.as_str());
    update.execute(pool).await.map_err(failed).map(drop)
}

pub(crate) async fn next_due(pool: &AnyPool) -> Result<Option<Timestamp>, StoreError> {
    let query = sqlx::query_scalar("SELECT MIN(due_at) FROM messages WHERE due_at IS NOT NULL");
    let due: Option<i64> = query.fetch_one(pool).await.map_err(failed)?;
    Ok(due.map(Timestamp))
}

pub(crate) async fn list(pool: &AnyPool, page: Page<ObjectId>) -> Result<Vec<Queued>, StoreError> {
    let after = page.after.map_or_else(String::new, Into::into);
    let query = sqlx::query("SELECT * FROM messages WHERE id > $1 ORDER BY id LIMIT $2");
    let rows = query.bind(after).bind(i64::from(page.limit)).fetch_all(pool).await.map_err(failed)?;
    rows.iter().map(read).collect()
}

pub(crate) async fn forget(pool: &AnyPool, now: Timestamp, old: Timestamp) -> Result<(), StoreError> {
    let mut transaction = pool.begin().await.map_err(failed)?;
    let give_up = "UPDATE messages SET due_at = NULL, last_error = COALESCE(last_error, 'out of time') \
                   WHERE expires_at <= $1 AND due_at IS NOT NULL";
    for (statement, before) in [
        (give_up, now),
        ("DELETE FROM messages WHERE expires_at <= $1", old),
        ("DELETE FROM codes WHERE expires_at <= $1", old),
        ("DELETE FROM links WHERE expires_at <= $1", old),
        ("DELETE FROM sendings WHERE sent_at <= $1", old),
        ("DELETE FROM addressees WHERE sent_at <= $1", old),
    ] {
        sqlx::query(statement).bind(before.0).execute(&mut *transaction).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}

fn read(row: &AnyRow) -> Result<Queued, StoreError> {
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
