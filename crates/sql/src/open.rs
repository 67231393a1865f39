//! Opening a database, whichever engine it is on: connections, migrations, versions.

use std::time::Duration;

use crate::SqlStore;
use crate::engine::{self, Connection, EngineError};
use crate::migrations::MIGRATIONS;
use crate::tables::FILLED_FROM;
use sqlx::migrate::MigrateError;

/// How much of a database may be used, and how long it may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many connections there are at most. SQLite has one that writes and a few that read, whatever is said here.
    pub connections: u32,
    /// The longest that an operation may wait for a connection: a database that does not answer must not pile up requests.
    pub acquire_timeout: Duration,
    /// The longest that an operation may take once it has one.
    pub timeout: Duration,
    /// How often an operation is tried that the engine undoes in favour of somebody else's.
    pub tries: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 16, acquire_timeout: Duration::from_secs(1), timeout: Duration::from_secs(5), tries: 10 }
    }
}

/// Why a database cannot be used. `path` tells which, without its password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not one that can be named so.
    #[error("store: {0}")]
    Url(String),
    /// It does not open, or is not a database.
    #[error("cannot open the database {path}: {source}")]
    Database {
        /// Where it is.
        path: String,
        /// What the engine says.
        source: EngineError,
    },
    /// Its tables are not those of this version.
    #[error("cannot bring the database {path} up to date: {source}")]
    Migration {
        /// Where it is.
        path: String,
        /// What is wrong.
        source: MigrateError,
    },
    /// A newer version has changed its tables in a way that this one does not understand.
    #[error("the database {path} is a newer version's, which this one does not understand: update hearthgate")]
    TooNew {
        /// Where it is.
        path: String,
    },
    /// It is being copied into, and not all is there.
    #[error("the database {path} was not filled to the end from {from}: run that migrate-store again, or name another database")]
    Unfinished {
        /// Where it is.
        path: String,
        /// Where the rest is.
        from: String,
    },
    /// Its tables are not those of this version, and nothing may be changed.
    #[error(
        "the database {path} is not of this version of hearthgate, or not one of its databases: use the version that last served from it"
    )]
    OtherVersion {
        /// Where it is.
        path: String,
    },
    /// The SQLite in this binary has a bug that loses data.
    #[error("this binary was built with SQLite {0}, which can corrupt its database; build it with 3.51.3 or newer")]
    OldSqlite(String),
    /// It is a standby.
    #[error("the database {path} is a standby, which cannot be written to: name the primary")]
    Standby {
        /// Where it is.
        path: String,
    },
}

impl SqlStore {
    /// Closes all connections, after what they are doing.
    pub async fn close(&self) {
        if let Some(embedded) = &self.embedded {
            embedded.readers.close().await;
        }
        self.read.close().await;
        self.write.close().await;
    }
}

/// Brings the tables up to date, unless they are newer than can be understood, and refuses a store that is not whole.
pub(crate) async fn migrate(connection: &mut Connection, path: &str) -> Result<(), OpenError> {
    bring_up_to_date(connection, path).await?;
    check_whole(connection, path).await
}

/// Brings the tables up to date, unless they are newer than can be understood.
pub(crate) async fn bring_up_to_date(connection: &mut Connection, path: &str) -> Result<(), OpenError> {
    let run = connection.migrate(&MIGRATIONS).await;
    run.map_err(|source| OpenError::Migration { path: path.to_owned(), source })?;
    let query = engine::query_scalar("SELECT value FROM settings WHERE name = 'needs_migration'");
    let needed: Option<String> =
        query.fetch_optional(connection).await.map_err(|source| OpenError::Database { path: path.to_owned(), source })?;
    if needed.and_then(|needed| needed.parse().ok()) > newest_known() {
        return Err(OpenError::TooNew { path: path.to_owned() });
    }
    Ok(())
}

/// Refuses a store that lacks what it is being filled with.
async fn check_whole(connection: &mut Connection, path: &str) -> Result<(), OpenError> {
    let query = engine::query_scalar("SELECT value FROM settings WHERE name = $1").bind(FILLED_FROM);
    let mark: Option<String> =
        query.fetch_optional(connection).await.map_err(|source| OpenError::Database { path: path.to_owned(), source })?;
    match mark {
        None => Ok(()),
        Some(mark) => Err(OpenError::Unfinished { path: path.to_owned(), from: source_in(&mark) }),
    }
}

/// Refuses a store whose tables are not exactly those that this version knows, or that is not whole.
pub(crate) async fn check_version(connection: &mut Connection, path: &str) -> Result<(), OpenError> {
    let query = engine::query_scalar("SELECT MAX(version) FROM _sqlx_migrations");
    let newest: Result<Option<i64>, _> = query.fetch_one(connection).await;
    match newest {
        Ok(newest) if newest == newest_known() => check_whole(connection, path).await,
        // A file that is no database at all is told as such.
        Err(source) if !source.to_string().contains("_sqlx_migrations") => {
            Err(OpenError::Database { path: path.to_owned(), source })
        }
        _ => Err(OpenError::OtherVersion { path: path.to_owned() }),
    }
}

/// Where a store that is marked is being filled from.
fn source_in(mark: &str) -> String {
    let mark: serde_json::Value = serde_json::from_str(mark).unwrap_or_default();
    mark["from"].as_str().unwrap_or_default().to_owned()
}

fn newest_known() -> Option<i64> {
    MIGRATIONS.iter().map(|migration| migration.version).max()
}

#[cfg(test)]
mod tests {
    use account::TokenHash;
    use account::store::RefreshToken;

    use super::*;
    use crate::engine::Access;
    use crate::sqlite::{WRITING, connect};
    use crate::{holders, migrations, sessions};

    const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    /// A hash that is none of the others'.
    fn hash(of: char) -> TokenHash {
        TokenHash::from_stored(HASH.replace('0', &of.to_string()))
    }

    /// Whoever is logged in is so under the next version too, and a spent token is known as one.
    #[tokio::test]
    async fn sessions_outlive_a_new_version() {
        let folder = tempfile::TempDir::new().unwrap();
        let mut store = connect(&folder.path().join("hearthgate.db"), Access::Make, WRITING).await.unwrap();
        store.migrate(&migrations::up_to(8)).await.unwrap();
        let account = "INSERT INTO accounts (number, id, apikey, email, region, verifier, enabled, registered_at, revision) \
                       VALUES (1, '0123456789abcdef01234567', '0123456789abcdef0123456789abcdef0123', 'a@b.example', 'eu', 'x', 1, 0, 0)";
        engine::query(account).execute(&mut store).await.unwrap();
        let session = "INSERT INTO sessions (account, id, access_hash, refresh_hash, audience_kind, audience, access_expires_at, \
                       refresh_expires_at, created_at, access_issued_at, address) \
                       VALUES (1, '0123456789abcdef01234567', $1, $2, 'application', 'app', 9, 9, 1, 2, '127.0.0.1')";
        let session = engine::query(session).bind(hash('a').as_str()).bind(hash('b').as_str());
        session.execute(&mut store).await.unwrap();
        let spent = "INSERT INTO spent_tokens (hash, session, access, successor, salt, spent_at, expires_at) \
                     VALUES ($1, '0123456789abcdef01234567', 'x', $2, 'salt', 2, 9)";
        let spent = engine::query(spent).bind(hash('c').as_str()).bind(hash('b').as_str());
        spent.execute(&mut store).await.unwrap();

        migrate(&mut store, "here").await.unwrap();
        let held = holders::find(&mut store, &[hash('a')]).await.unwrap();
        assert_eq!((held.len(), held[0].session.access_issued_at.0), (1, 2));
        let current = sessions::find_by_refresh(&mut store, &hash('b')).await.unwrap();
        assert!(matches!(current, Some(RefreshToken::Current(_))), "{current:?}");
        let spent = sessions::find_by_refresh(&mut store, &hash('c')).await.unwrap();
        assert!(matches!(&spent, Some(RefreshToken::Spent(_, spent)) if spent.salt == "salt"), "{spent:?}");
    }
}
