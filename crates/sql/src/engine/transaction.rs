//! Transactions, which may lie within one another.

use std::ops::{Deref, DerefMut};

use sqlx::postgres::PgTransactionManager;
use sqlx_core::transaction::TransactionManager;

use super::{Connection, EngineError, Link, query};

/// What is done until it is committed is done together or not at all. Dropped, it is undone.
#[derive(Debug)]
pub(crate) struct Transaction<'c> {
    connection: &'c mut Connection,
    is_open: bool,
}

impl Connection {
    /// Begins a transaction, or a part of the one that is under way.
    pub async fn begin(&mut self) -> Result<Transaction<'_>, EngineError> {
        self.begin_by("BEGIN").await
    }

    /// Begins a transaction that writes: on SQLite, where nobody else can from here on.
    pub async fn begin_to_write(&mut self) -> Result<Transaction<'_>, EngineError> {
        self.begin_by("BEGIN IMMEDIATE").await
    }

    async fn begin_by(&mut self, statement: &'static str) -> Result<Transaction<'_>, EngineError> {
        let within = self.depth;
        match self.postgres() {
            Some(postgres) => PgTransactionManager::begin(postgres, None).await?,
            None if within == 0 => drop(query(statement).execute(self).await?),
            None => drop(query(format!("SAVEPOINT part{within}")).execute(self).await?),
        }
        self.depth += 1;
        Ok(Transaction { connection: self, is_open: true })
    }

    async fn end(&mut self) -> Result<(), EngineError> {
        let within = self.depth - 1;
        match self.postgres() {
            Some(postgres) => PgTransactionManager::commit(postgres).await?,
            None if within == 0 => drop(query("COMMIT").execute(self).await?),
            None => drop(query(format!("RELEASE part{within}")).execute(self).await?),
        }
        self.depth = within;
        Ok(())
    }

    /// Undoes what was done since the last beginning. Nothing is waited for, but whatever is asked next is asked afterwards. That there was
    /// nothing left to undo, because the engine has done so already, is no matter.
    fn undo(&mut self) {
        self.depth -= 1;
        let within = self.depth;
        let undo = move |sqlite: &rusqlite::Connection| match within {
            0 => drop(sqlite.execute_batch("ROLLBACK")),
            _ => drop(sqlite.execute_batch(&format!("ROLLBACK TO part{within}; RELEASE part{within}"))),
        };
        match &mut self.link {
            Link::Here(sqlite) => undo(sqlite),
            Link::There(thread) => thread.send(move |here| here.sqlite().map_or((), undo)),
            Link::Postgres(connection) => PgTransactionManager::start_rollback(connection),
            Link::Pooled(connection) => PgTransactionManager::start_rollback(connection),
        }
    }
}

impl Transaction<'_> {
    /// Makes it true, and durable if it is no part of another one.
    pub async fn commit(mut self) -> Result<(), EngineError> {
        self.connection.end().await?;
        self.is_open = false;
        Ok(())
    }

    /// Undoes it. On SQLite that is what dropping it does; elsewhere it holds locks until the engine has heard of it.
    pub async fn rollback(mut self) -> Result<(), EngineError> {
        let Some(postgres) = self.connection.postgres() else { return Ok(()) };
        PgTransactionManager::rollback(postgres).await?;
        self.is_open = false;
        self.connection.depth -= 1;
        Ok(())
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.connection.undo();
        }
    }
}
