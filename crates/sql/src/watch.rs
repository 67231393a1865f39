//! What operators watch of the store.

use std::time::{Duration, Instant};

use account::{StoreError, Timestamp};

use crate::engine::{self, Connection, Engine};
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
        let (write, read) = (self.write.connections(), self.read.connections());
        // Elsewhere than on the embedded store, that is one pool.
        if self.embedded.is_none() {
            return write;
        }
        Connections { in_use: write.in_use + read.in_use, idle: write.idle + read.idle }
    }

    /// Counts what comes and goes. It reads all sessions: not for every request.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn counts(&self, now: Timestamp) -> Result<Counts, StoreError> {
        on!(self.read, connection => counts(connection, now))
    }
}

async fn ready(connection: &mut Connection) -> Result<Option<String>, StoreError> {
    if connection.engine() == Engine::Postgres {
        let query = engine::query_scalar("SELECT current_setting('transaction_read_only')");
        let read_only: String = query.fetch_one(connection).await?;
        if read_only != "off" {
            return Err(StoreError::Unavailable("it is a standby, or may not be written to".into()));
        }
        return remembered_key(connection).await;
    }
    // To begin to write finds out what a read from SQLite's cache does not.
    let mut transaction = connection.begin_to_write().await?;
    let key = remembered_key(&mut transaction).await?;
    transaction.rollback().await?;
    Ok(key)
}

async fn remembered_key(connection: &mut Connection) -> Result<Option<String>, StoreError> {
    let query = engine::query_scalar("SELECT value FROM settings WHERE name = 'key_fingerprint'");
    query.fetch_optional(connection).await.map_err(Into::into)
}

async fn counts(connection: &mut Connection, now: Timestamp) -> Result<Counts, StoreError> {
    let query = engine::query_scalar("SELECT COUNT(*) FROM sessions WHERE access_expires_at > $1 OR refresh_expires_at > $1");
    let sessions = query.bind(now.0).fetch_one(connection).await?;
    let query =
        engine::query("SELECT COUNT(*), COUNT(due_at), MIN(CASE WHEN due_at IS NOT NULL THEN created_at END) FROM messages");
    let messages = query.fetch_one(connection).await?;
    let (all, waiting, oldest): (i64, i64, Option<i64>) = (messages.at(0)?, messages.at(1)?, messages.at(2)?);
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
