//! What operators watch of the store.

use std::time::{Duration, Instant};

use account::{StoreError, Timestamp};
use sqlx::{AnyConnection, AnyPool, Connection};

use crate::row::failed;
use crate::{Failed, SqlStore, on};

/// How many connections there are.
#[derive(Debug, Clone, Copy)]
pub struct Connections {
    /// Those that are doing something.
    pub in_use: u32,
    /// Those that are not.
    pub idle: u32,
}

/// How much there is of what comes and goes.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// Sessions that can still be used or refreshed.
    pub sessions: i64,
    /// Messages that wait to be delivered.
    pub waiting: i64,
    /// Messages that were given up.
    pub given_up: i64,
    /// When the oldest of those that wait was queued.
    pub oldest: Option<Timestamp>,
}

impl SqlStore {
    /// Finds out, within `patience`, whether it can be read and written, and returns the fingerprint of the master key that it
    /// remembers.
    ///
    /// # Errors
    /// [`StoreError`], also when it is a standby.
    pub async fn ready(&self, patience: Duration) -> Result<Option<String>, StoreError> {
        let ready = async { on!(self.write changing Nothing, connection => ready(connection)) };
        let too_long = || StoreError::Unavailable("it took too long".into());
        tokio::time::timeout(patience, ready).await.map_err(|_| too_long())?
    }

    /// Its connections.
    #[must_use]
    pub fn connections(&self) -> Connections {
        let of = |pool: &AnyPool| (pool.size(), u32::try_from(pool.num_idle()).unwrap_or(u32::MAX));
        let (mut size, mut idle) = of(&self.write);
        if self.embedded.is_some() {
            let (more, more_idle) = of(&self.read);
            (size, idle) = (size + more, idle + more_idle);
        }
        Connections { in_use: size.saturating_sub(idle), idle }
    }

    /// Counts what comes and goes. It reads all sessions: not for every request.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn counts(&self, now: Timestamp) -> Result<Counts, StoreError> {
        on!(self.read, connection => counts(connection, now))
    }
}

async fn ready(connection: &mut AnyConnection) -> Result<Option<String>, StoreError> {
    if connection.backend_name() == "PostgreSQL" {
        let query = sqlx::query_scalar("SELECT current_setting('transaction_read_only')");
        let read_only: String = query.fetch_one(&mut *connection).await.map_err(failed)?;
        if read_only != "off" {
            return Err(StoreError::Unavailable("it is a standby, or may not be written to".into()));
        }
        return remembered_key(connection).await;
    }
    // To begin to write finds out what a read from SQLite's cache does not.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let key = remembered_key(&mut transaction).await?;
    transaction.rollback().await.map_err(failed)?;
    Ok(key)
}

async fn remembered_key(connection: &mut AnyConnection) -> Result<Option<String>, StoreError> {
    let query = sqlx::query_scalar("SELECT value FROM settings WHERE name = 'key_fingerprint'");
    query.fetch_optional(connection).await.map_err(failed)
}

async fn counts(connection: &mut AnyConnection, now: Timestamp) -> Result<Counts, StoreError> {
    let query = sqlx::query_scalar("SELECT COUNT(*) FROM sessions WHERE access_expires_at > $1 OR refresh_expires_at > $1");
    let sessions = query.bind(now.0).fetch_one(&mut *connection).await.map_err(failed)?;
    let query =
        sqlx::query_as("SELECT COUNT(*), COUNT(due_at), MIN(CASE WHEN due_at IS NOT NULL THEN created_at END) FROM messages");
    let (all, waiting, oldest): (i64, i64, Option<i64>) = query.fetch_one(connection).await.map_err(failed)?;
    Ok(Counts { sessions, waiting, given_up: all - waiting, oldest: oldest.map(Timestamp) })
}

/// Takes an operation that is over into the metrics.
pub(crate) fn note<T, E: Failed>(operation: &'static str, begun: Instant, done: &Result<T, E>) {
    metrics::histogram!("hearthgate_store_operation_duration_seconds", "operation" => operation).record(begun.elapsed());
    if let Some(error) = done.as_ref().err().and_then(Failed::in_store) {
        metrics::counter!("hearthgate_store_errors_total", "kind" => kind(error)).increment(1);
    }
}

fn kind(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unavailable(_) => "unavailable",
        StoreError::Contended(_) => "contended",
        StoreError::Failed(_) => "failed",
        StoreError::Inconsistent { .. } => "inconsistent",
        StoreError::OtherKey => "other_key",
    }
}
