//! What the embedded engine does by itself: durable commits a second in the folder of the data.

use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, Connection, Executor};

use crate::Outcome;

/// How many rows are committed together.
pub(crate) const GROUP: i64 = 64;

/// A database with one table, opened as the store opens its own.
pub(crate) struct Commits {
    connection: AnyConnection,
    next: i64,
}

impl Commits {
    pub async fn open(file: &Path) -> Outcome<Self> {
        sqlx::any::install_default_drivers();
        let options = AnyConnectOptions::from_str(&format!("sqlite://{}?mode=rwc", file.display()))?;
        let mut connection = AnyConnection::connect_with(&options).await?;
        connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;").await?;
        connection.execute("CREATE TABLE IF NOT EXISTS written (number BIGINT PRIMARY KEY, text TEXT NOT NULL)").await?;
        let next = sqlx::query_scalar("SELECT COALESCE(MAX(number), 0) + 1 FROM written").fetch_one(&mut connection).await?;
        Ok(Self { connection, next })
    }

    /// How many rows a second, each committed before the next is written.
    pub async fn singles(&mut self, length: Duration) -> Outcome<f64> {
        let (begun, first) = (Instant::now(), self.next);
        while begun.elapsed() < length {
            insert(&mut self.connection, self.next).await?;
            self.next += 1;
        }
        Ok((self.next - first) as f64 / begun.elapsed().as_secs_f64())
    }

    /// How many rows a second, of which [`GROUP`] are committed together.
    pub async fn groups(&mut self, length: Duration) -> Outcome<f64> {
        let (begun, first) = (Instant::now(), self.next);
        while begun.elapsed() < length {
            let mut transaction = self.connection.begin().await?;
            for number in self.next..self.next + GROUP {
                insert(&mut transaction, number).await?;
            }
            transaction.commit().await?;
            self.next += GROUP;
        }
        Ok((self.next - first) as f64 / begun.elapsed().as_secs_f64())
    }
}

/// A row about as long as a session's.
async fn insert(connection: &mut AnyConnection, number: i64) -> Outcome<()> {
    let insert = sqlx::query("INSERT INTO written (number, text) VALUES ($1, $2)");
    insert.bind(number).bind("0123456789abcdef".repeat(16)).execute(connection).await?;
    Ok(())
}
