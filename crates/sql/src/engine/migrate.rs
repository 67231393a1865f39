//! Bringing tables up to date. What was done is written down in sqlx's own table, on either engine.

use std::time::Instant;

use rusqlite::{Transaction, TransactionBehavior};
use sqlx::migrate::{MigrateError, Migration, Migrator};

use super::{Connection, EngineError};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, \
    execution_time BIGINT NOT NULL)";

impl Connection {
    /// Does what is missing of `migrations`.
    ///
    /// # Errors
    /// When the engine fails, or one of them is not what was done under its number.
    pub async fn migrate(&mut self, migrations: &Migrator) -> Result<(), MigrateError> {
        if let Some(postgres) = self.postgres() {
            return migrations.run_direct(None, postgres, false).await;
        }
        let migrations: Vec<Migration> = migrations.iter().cloned().collect();
        self.in_sqlite(move |sqlite| migrate(sqlite, &migrations)).await.map_err(source)?
    }
}

fn migrate(sqlite: &rusqlite::Connection, migrations: &[Migration]) -> Result<(), MigrateError> {
    let transaction = Transaction::new_unchecked(sqlite, TransactionBehavior::Immediate).map_err(source)?;
    transaction.execute_batch(TABLE).map_err(source)?;
    for migration in migrations {
        match checksum(&transaction, migration.version).map_err(source)? {
            Some(checksum) if checksum == *migration.checksum => {}
            Some(_) => return Err(MigrateError::VersionMismatch(migration.version)),
            None => apply(&transaction, migration).map_err(source)?,
        }
    }
    transaction.commit().map_err(source)
}

/// What was done under this number.
fn checksum(sqlite: &rusqlite::Connection, version: i64) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut query = sqlite.prepare("SELECT checksum FROM _sqlx_migrations WHERE version = ?1")?;
    query.query_map([version], |row| row.get(0))?.next().transpose()
}

fn apply(sqlite: &rusqlite::Connection, migration: &Migration) -> rusqlite::Result<()> {
    let begun = Instant::now();
    sqlite.execute_batch(migration.sql.as_str())?;
    let took = i64::try_from(begun.elapsed().as_nanos()).unwrap_or(i64::MAX);
    let note =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (?1, ?2, TRUE, ?3, ?4)";
    sqlite.execute(note, (migration.version, &*migration.description, &*migration.checksum, took)).map(drop)
}

fn source(error: impl Into<EngineError>) -> MigrateError {
    MigrateError::Source(Box::new(error.into()))
}
