//! Queries and what they return.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Arc;

use futures_util::stream::{BoxStream, StreamExt};
use rusqlite::types::ValueRef;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{AssertSqlSafe, Column as _, PgConnection, Postgres, Row as _, SqlSafeStr, TypeInfo, ValueRef as _};

use super::{Connection, EngineError};

/// A value that is bound or returned: all that is stored are numbers and texts.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Integer(Option<i64>),
    /// Also what nothing is read as.
    Text(Option<String>),
}

/// A query: a text, with the values in its places `$1`, `$2` and so on.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    text: Cow<'static, str>,
    values: Vec<Value>,
}

/// A query for the first column of its rows.
pub(crate) struct Scalar<T> {
    query: Query,
    of: PhantomData<T>,
}

/// A row that a query returned.
#[derive(Debug)]
pub(crate) struct Record {
    columns: Arc<[String]>,
    /// Which of the columns the first value is.
    first: usize,
    values: Vec<Value>,
}

/// What a value is read as.
pub(crate) trait FromValue: Sized {
    /// `None` when it is something else.
    fn from_value(value: &Value) -> Option<Self>;
}

pub(crate) fn query(text: impl Into<Cow<'static, str>>) -> Query {
    Query { text: text.into(), values: Vec::new() }
}

pub(crate) fn query_scalar<T: FromValue>(text: impl Into<Cow<'static, str>>) -> Scalar<T> {
    Scalar { query: query(text), of: PhantomData }
}

impl Query {
    /// Binds the next value.
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Does what it says, and tells how many rows it has changed.
    pub async fn execute(self, connection: &mut Connection) -> Result<u64, EngineError> {
        connection.execute(self).await
    }

    pub async fn fetch_all(self, connection: &mut Connection) -> Result<Vec<Record>, EngineError> {
        connection.fetch_all(self).await
    }

    /// The first row.
    pub async fn fetch_optional(self, connection: &mut Connection) -> Result<Option<Record>, EngineError> {
        Ok(self.fetch_all(connection).await?.into_iter().next())
    }

    /// The first row, which must be there.
    pub async fn fetch_one(self, connection: &mut Connection) -> Result<Record, EngineError> {
        self.fetch_optional(connection).await?.ok_or(EngineError::NoRow)
    }

    /// The rows, one by one.
    pub fn fetch(self, connection: &mut Connection) -> BoxStream<'_, Result<Record, EngineError>> {
        connection.fetch(self)
    }

    /// Does what it says, hands over the rows as long as they are wanted, and tells how many rows it has changed.
    pub(super) fn on_sqlite(
        &self,
        sqlite: &rusqlite::Connection,
        mut take: impl FnMut(Record) -> bool,
    ) -> Result<u64, EngineError> {
        let mut statement = sqlite.prepare_cached(&self.text)?;
        for place in 1..=statement.parameter_count() {
            // SQLite numbers `$2` by where it first stands; its name says which value it is.
            let number = statement.parameter_name(place).and_then(|name| name.get(1..)?.parse::<usize>().ok());
            let value = number.and_then(|number| self.values.get(number.checked_sub(1)?));
            match value.ok_or_else(|| EngineError::Unexpected(format!("${place}")))? {
                Value::Integer(value) => statement.raw_bind_parameter(place, value)?,
                Value::Text(value) => statement.raw_bind_parameter(place, value.as_deref())?,
            }
        }
        let columns: Arc<[String]> = statement.column_names().into_iter().map(str::to_owned).collect();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let read = |place: usize| {
                let value = match row.get_ref(place)? {
                    ValueRef::Null => Some(Value::Text(None)),
                    ValueRef::Integer(number) => Some(Value::Integer(Some(number))),
                    ValueRef::Text(text) => std::str::from_utf8(text).ok().map(|text| Value::Text(Some(text.to_owned()))),
                    ValueRef::Real(_) | ValueRef::Blob(_) => None,
                };
                value.ok_or_else(|| EngineError::Unexpected(columns[place].clone()))
            };
            let values = (0..columns.len()).map(read).collect::<Result<_, _>>()?;
            if !take(Record { columns: Arc::clone(&columns), first: 0, values }) {
                break;
            }
        }
        drop(rows);
        Ok(sqlite.changes())
    }

    pub(super) fn all_on_sqlite(&self, sqlite: &rusqlite::Connection) -> Result<Vec<Record>, EngineError> {
        let mut rows = Vec::new();
        let take = |row| {
            rows.push(row);
            true
        };
        self.on_sqlite(sqlite, take)?;
        Ok(rows)
    }

    pub(super) fn for_postgres(self) -> sqlx::query::Query<'static, Postgres, PgArguments> {
        let text = match self.text {
            Cow::Borrowed(text) => text.into_sql_str(),
            Cow::Owned(text) => AssertSqlSafe(text).into_sql_str(),
        };
        self.values.into_iter().fold(sqlx::query(text), |query, value| match value {
            Value::Integer(value) => query.bind(value),
            Value::Text(value) => query.bind(value),
        })
    }

    pub(super) fn rows_of_postgres(self, connection: &mut PgConnection) -> BoxStream<'_, Result<Record, EngineError>> {
        let rows = self.for_postgres().fetch(connection);
        rows.map(|row| Record::of_postgres(&[row?])?.pop().ok_or(EngineError::NoRow)).boxed()
    }
}

impl<T: FromValue> Scalar<T> {
    /// Binds the next value.
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.query = self.query.bind(value);
        self
    }

    pub async fn fetch_all(self, connection: &mut Connection) -> Result<Vec<T>, EngineError> {
        self.query.fetch_all(connection).await?.iter().map(|row| row.at(0)).collect()
    }

    /// The first row's.
    pub async fn fetch_optional(self, connection: &mut Connection) -> Result<Option<T>, EngineError> {
        self.query.fetch_optional(connection).await?.map(|row| row.at(0)).transpose()
    }

    /// The first row's, which must be there.
    pub async fn fetch_one(self, connection: &mut Connection) -> Result<T, EngineError> {
        self.query.fetch_one(connection).await?.at(0)
    }
}

impl Record {
    pub fn get<T: FromValue>(&self, column: &str) -> Result<T, EngineError> {
        self.at(self.place(column)?)
    }

    /// Takes off what stands from `column` on: another table's, perhaps with names that were there before.
    pub fn split_off(&mut self, column: &str) -> Result<Self, EngineError> {
        let place = self.place(column)?;
        Ok(Self { columns: Arc::clone(&self.columns), first: self.first + place, values: self.values.split_off(place) })
    }

    fn place(&self, column: &str) -> Result<usize, EngineError> {
        let place = self.names().iter().position(|name| name == column);
        place.ok_or_else(|| EngineError::Unexpected(column.to_owned()))
    }

    /// The names of the columns that it has.
    fn names(&self) -> &[String] {
        &self.columns[self.first..self.first + self.values.len()]
    }

    pub fn at<T: FromValue>(&self, place: usize) -> Result<T, EngineError> {
        let read = self.values.get(place).and_then(T::from_value);
        read.ok_or_else(|| EngineError::Unexpected(self.names().get(place).cloned().unwrap_or_default()))
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn of_postgres(rows: &[PgRow]) -> Result<Vec<Self>, EngineError> {
        let Some(first) = rows.first() else { return Ok(Vec::new()) };
        let columns: Arc<[String]> = first.columns().iter().map(|column| column.name().to_owned()).collect();
        let read = |row: &PgRow| {
            let values = (0..columns.len()).map(|place| Value::of_postgres(row, place)).collect::<Result<_, _>>()?;
            Ok(Self { columns: Arc::clone(&columns), first: 0, values })
        };
        rows.iter().map(read).collect()
    }
}

impl Value {
    fn of_postgres(row: &PgRow, place: usize) -> Result<Self, EngineError> {
        let raw = row.try_get_raw(place)?;
        if raw.is_null() {
            return Ok(Self::Text(None));
        }
        Ok(match raw.type_info().name() {
            "INT8" => Self::Integer(Some(row.try_get(place)?)),
            "INT4" => Self::Integer(Some(row.try_get::<i32, _>(place)?.into())),
            "BOOL" => Self::Integer(Some(row.try_get::<bool, _>(place)?.into())),
            _ => Self::Text(Some(row.try_get(place)?)),
        })
    }
}

impl FromValue for i64 {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Integer(number) = value { *number } else { None }
    }
}

impl FromValue for bool {
    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).map(|number| number != 0)
    }
}

impl FromValue for String {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Text(text) = value { text.clone() } else { None }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(None) | Value::Text(None) => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Integer(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}
