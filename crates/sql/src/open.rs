//! Opening a database: connections, the engine's settings, migrations.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use account::StoreError;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyConnection, AnyPool, ConnectOptions, Connection, Executor};

use crate::SqlStore;
use crate::row::failed;

/// The oldest SQLite that is trusted: before it, a WAL reset that met a concurrent write and checkpoint could corrupt the database.
pub const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);

/// Durable before it is acknowledged: the log is synced at every commit.
const SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF;";

/// Connections that read at the same time. Reading takes microseconds; each connection costs a thread and a page cache.
const READERS: u32 = 4;

/// The longest that a request waits for a connection. A database that does not answer must not pile up requests.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It does not open, or is not a database.
    #[error("cannot open the database {path}: {source}")]
    Database {
        /// Where it is.
        path: String,
        /// What the engine says.
        source: sqlx::Error,
    },
    /// Its tables are not those of this version.
    #[error("cannot bring the database {path} up to date: {source}")]
    Migration {
        /// Where it is.
        path: String,
        /// What is wrong.
        source: sqlx::migrate::MigrateError,
    },
    /// The SQLite in this binary has a bug that loses data.
    #[error("this binary was built with SQLite {0}, which can corrupt its database; build it with 3.51.3 or newer")]
    OldSqlite(String),
}

impl SqlStore {
    /// Opens the SQLite database in the file `path`, making it if need be, and brings its tables up to date.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn sqlite(path: &Path) -> Result<Self, OpenError> {
        sqlx::any::install_default_drivers();
        let shown = path.display().to_string();
        let database = |source| OpenError::Database { path: shown.clone(), source };
        // sqlx encodes everything else in a path that means something in a URL, but not the sign that it encodes with.
        let encoded = shown.replace('%', "%25");
        let url = SqliteConnectOptions::new().filename(encoded).create_if_missing(true).to_url_lossy();
        let options = AnyConnectOptions::from_str(url.as_str()).map_err(database)?;

        // Looked at with one connection first: a pool would go on trying what cannot work.
        let mut first = AnyConnection::connect_with(&options).await.map_err(database)?;
        first.execute(SETTINGS).await.map_err(database)?;
        let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut first).await.map_err(database)?;
        first.close().await.map_err(database)?;
        if !is_trusted(&version) {
            return Err(OpenError::OldSqlite(version));
        }

        // SQLite has one writer at a time: one connection, and nobody is ever told to come back later.
        let write = pool(1).connect_with(options.clone()).await.map_err(database)?;
        let migrations = sqlx::migrate!();
        migrations.run(&write).await.map_err(|source| OpenError::Migration { path: shown.clone(), source })?;
        let read = pool(READERS).connect_with(options).await.map_err(database)?;
        Ok(Self { read, write })
    }

    /// Closes all connections, after what they are doing.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

fn pool(connections: u32) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        // A file does not go away between two queries.
        .test_before_acquire(false)
        .after_connect(|connection, _| Box::pin(async move { connection.execute(SETTINGS).await.map(drop) }))
}

fn is_trusted(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next()) >= OLDEST_SQLITE
}

pub(crate) async fn key_fingerprint(pool: &AnyPool, ours: &str) -> Result<String, StoreError> {
    sqlx::query("INSERT INTO settings (name, value) VALUES ('key_fingerprint', $1) ON CONFLICT DO NOTHING")
        .bind(ours)
        .execute(pool)
        .await
        .map_err(failed)?;
    sqlx::query_scalar("SELECT value FROM settings WHERE name = 'key_fingerprint'").fetch_one(pool).await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn commits_are_synced_to_the_disk() {
        let folder = tempfile::TempDir::new().unwrap();
        let store = SqlStore::sqlite(&folder.path().join("hearthgate.db")).await.unwrap();
        for pool in [&store.read, &store.write] {
            let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(pool).await.unwrap();
            let synchronous: i64 =
                sqlx::query_scalar("SELECT synchronous FROM pragma_synchronous").fetch_one(pool).await.unwrap();
            assert_eq!((mode.as_str(), synchronous), ("wal", 2), "2 is FULL");
        }
    }

    #[test]
    fn an_old_sqlite_is_refused() {
        for (version, trusted) in
            [("3.51.3", true), ("3.52.0", true), ("4.0.0", true), ("3.51.2", false), ("3.40.1", false), ("x", false)]
        {
            assert_eq!(is_trusted(version), trusted, "{version}");
        }
    }
}
