//! Reading rows into the core's types. A value that cannot be there is an error, never a default.

use std::str::FromStr;

use account::store::InsertError;
use account::{Malformed, StoreError};
use sqlx::any::AnyRow;
use sqlx::{Any, Decode, Row as _, Type};

/// A row of `table`.
pub(crate) struct Row<'a> {
    pub table: &'static str,
    pub row: &'a AnyRow,
}

impl Row<'_> {
    pub fn get<'r, T: Decode<'r, Any> + Type<Any>>(&'r self, column: &'static str) -> Result<T, StoreError> {
        self.row.try_get(column).map_err(|error| self.wrong(column, &error))
    }

    pub fn parse<T: FromStr<Err = Malformed>>(&self, column: &'static str) -> Result<T, StoreError> {
        self.get::<String>(column)?.parse().map_err(|error| self.wrong(column, &error))
    }

    pub fn parse_optional<T: FromStr<Err = Malformed>>(&self, column: &'static str) -> Result<Option<T>, StoreError> {
        let text: Option<String> = self.get(column)?;
        text.map(|text| text.parse().map_err(|error| self.wrong(column, &error))).transpose()
    }

    pub fn flag(&self, column: &'static str) -> Result<bool, StoreError> {
        Ok(self.get::<i64>(column)? != 0)
    }

    pub fn wrong(&self, column: &'static str, problem: &dyn std::fmt::Display) -> StoreError {
        StoreError::Inconsistent { table: self.table, column, problem: problem.to_string() }
    }
}

/// The engine's own words; they name tables and columns, never values.
#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
pub(crate) fn failed(error: sqlx::Error) -> StoreError {
    let words = error.to_string();
    match &error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        // SQLite's connection is a thread.
        | sqlx::Error::WorkerCrashed => StoreError::Unavailable(words),
        sqlx::Error::Database(database) => match database.code().as_deref() {
            Some(GAVE_WAY | DEADLOCK) => StoreError::Contended(words),
            Some(code) if is_passing(code) => StoreError::Unavailable(words),
            _ => StoreError::Failed(words),
        },
        _ => StoreError::Failed(words),
    }
}

// PostgreSQL's codes (appendix A of its manual): five characters, of which the first two are the class.
const GAVE_WAY: &str = "40001";
const DEADLOCK: &str = "40P01";
const READ_ONLY: &str = "25006";

/// Whether the engine refuses for now.
fn is_passing(code: &str) -> bool {
    if code.len() == 5 {
        // No connection (class 08), no resources (53), an operator's intervention or too long a statement (57), a failing disk (58).
        return code == READ_ONLY || ["08", "53", "57", "58"].contains(&&code[..2]);
    }
    // SQLite's codes (sqlite.org/rescode.html): a number whose lowest byte is the class. ABORT (what it belonged to was undone), BUSY,
    // LOCKED, NOMEM, READONLY, IOERR, CORRUPT (which is also said when a disk cannot be read), FULL, CANTOPEN, PROTOCOL (a race for the
    // log's locks), NOTADB.
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 4..=8 | 10 | 11 | 13..=15 | 26))
}

pub(crate) fn insert_failed(error: sqlx::Error) -> InsertError {
    match error.as_database_error() {
        Some(database) if database.is_unique_violation() => InsertError::Taken,
        _ => InsertError::Store(failed(error)),
    }
}

/// What devices report, as a JSON object of texts.
pub(crate) mod facts {
    use account::{Facts, StoreError};

    use super::Row;

    pub(crate) fn write(facts: &Facts) -> String {
        serde_json::to_string(facts).expect("a map of texts is plain data")
    }

    pub(crate) fn read(row: &Row<'_>) -> Result<Facts, StoreError> {
        serde_json::from_str(&row.get::<String>("facts")?).map_err(|error| row.wrong("facts", &error))
    }
}
