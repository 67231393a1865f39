//! What goes wrong with a database, in each engine's words, and what that means for whoever uses the store.

use account::StoreError;
use account::store::InsertError;

/// What an engine says. It names tables and columns, never values.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// PostgreSQL's, or that of the way to it.
    #[error(transparent)]
    Postgres(#[from] sqlx::Error),
    /// SQLite's.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The system's: a file cannot be made.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// The connection was lost on this side.
    #[error("the connection has ended")]
    Ended,
    /// All connections were in use for too long.
    #[error("no connection became free in time")]
    Busy,
    /// Something else was waited for where only the database may be.
    #[error("an operation waits for something else than the database")]
    Waits,
    /// There is no row where there must be one.
    #[error("a row is missing")]
    NoRow,
    /// A value is none of those that are stored.
    #[error("column {0} holds something else than expected")]
    Unexpected(String),
}

impl EngineError {
    /// Whether something is there already that may be there once only.
    pub(crate) fn is_unique_violation(&self) -> bool {
        match self {
            Self::Postgres(error) => error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation),
            // SQLITE_CONSTRAINT_PRIMARYKEY and SQLITE_CONSTRAINT_UNIQUE (sqlite.org/rescode.html).
            Self::Sqlite(error) => error.sqlite_error().is_some_and(|error| matches!(error.extended_code, 1555 | 2067)),
            _ => false,
        }
    }
}

impl From<EngineError> for StoreError {
    fn from(error: EngineError) -> Self {
        let words = error.to_string();
        match &error {
            EngineError::File(_) | EngineError::Ended | EngineError::Busy => Self::Unavailable(words),
            EngineError::Sqlite(error) => match error.sqlite_error() {
                Some(error) if is_passing_on_sqlite(error.extended_code) => Self::Unavailable(words),
                _ => Self::Failed(words),
            },
            EngineError::Postgres(error) => of_postgres(error, words),
            EngineError::Waits | EngineError::NoRow | EngineError::Unexpected(_) => Self::Failed(words),
        }
    }
}

impl From<EngineError> for InsertError {
    fn from(error: EngineError) -> Self {
        Self::Store(error.into())
    }
}

/// SQLite's codes (sqlite.org/rescode.html): a number whose lowest byte is the class. ABORT (what it belonged to was undone), BUSY,
/// LOCKED, NOMEM, READONLY, IOERR, CORRUPT (which is also said when a disk cannot be read), FULL, CANTOPEN, PROTOCOL (a race for the log's
/// locks), NOTADB.
fn is_passing_on_sqlite(code: i32) -> bool {
    matches!(code & 0xff, 4..=8 | 10 | 11 | 13..=15 | 26)
}

// PostgreSQL's codes (appendix A of its manual): five characters, of which the first two are the class.
const GAVE_WAY: &str = "40001";
const DEADLOCK: &str = "40P01";
const READ_ONLY: &str = "25006";

fn of_postgres(error: &sqlx::Error, words: String) -> StoreError {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
            StoreError::Unavailable(words)
        }
        sqlx::Error::Database(database) => match database.code().as_deref() {
            Some(GAVE_WAY | DEADLOCK) => StoreError::Contended(words),
            // No connection (class 08), no resources (53), an operator's intervention or too long a statement (57), a failing disk (58).
            Some(READ_ONLY) => StoreError::Unavailable(words),
            Some(code) if ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => StoreError::Unavailable(words),
            _ => StoreError::Failed(words),
        },
        _ => StoreError::Failed(words),
    }
}
