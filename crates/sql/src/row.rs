//! Reading rows into the core's types. A value that cannot be there is an error, never a default.

use std::str::FromStr;

use account::store::InsertError;
use account::{Malformed, StoreError};

use crate::engine::{EngineError, FromValue, Record};

/// A row of `table`.
pub(crate) struct Row<'a> {
    pub table: &'static str,
    pub row: &'a Record,
}

impl Row<'_> {
    pub fn get<T: FromValue>(&self, column: &'static str) -> Result<T, StoreError> {
        self.row.get(column).map_err(|error| self.wrong(column, &error))
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

pub(crate) fn insert_failed(error: EngineError) -> InsertError {
    if error.is_unique_violation() { InsertError::Taken } else { error.into() }
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
