//! A store as a whole: read in one snapshot, copied into another one on any engine, and compared with it.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::{Stream, TryStreamExt};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::{self, Access, Connection, Engine, EngineError, Query};
use crate::open::{self, OpenError};
use crate::tables::{self, CHECKSUMS, FILLED_FROM, TABLES, Table};
use crate::{postgres, sqlite};

/// How many rows are put in by one transaction, and by one statement.
const PAGE: usize = 1000;
const STATEMENT: usize = 40;

/// How long whoever has just stopped may take to be gone from the database.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// What connections that copy call themselves: they are nobody who serves.
const COPIER: &str = "hearthgate copy";

/// A row: each value as a text.
type Values = Vec<Option<String>>;

/// Where a store is.
#[derive(Clone)]
pub enum Place {
    /// A SQLite database in this file.
    Sqlite(PathBuf),
    /// The PostgreSQL database at this URL, which may hold a password.
    Postgres(String),
}

impl Place {
    /// Reads `sqlite:PATH` or `postgres://user:password@host:5432/database`.
    ///
    /// # Errors
    /// [`OpenError::Url`], which does not repeat what was given.
    pub fn parse(text: &str) -> Result<Self, OpenError> {
        match text.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.strip_prefix("//").unwrap_or(path).into())),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(text.to_owned())),
            _ => Err(OpenError::Url(
                "it is neither of the form sqlite:PATH nor of the form postgres://user:password@host:5432/database".into(),
            )),
        }
    }
}

/// What a table holds, for comparing: the same on every engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// The table.
    pub table: String,
    columns: Vec<String>,
    /// How many rows it has.
    pub rows: u64,
    /// The sum of the hashes of its rows.
    pub checksum: String,
}

/// Why a store cannot be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The engine fails.
    #[error("the database {path} failed: {source}")]
    Database {
        /// Where it is.
        path: String,
        /// What the engine says.
        source: EngineError,
    },
    /// Somebody serves from it.
    #[error("the database {0} is in use by another hearthgate: stop it first")]
    InUse(String),
    /// It holds something already.
    #[error("the database {0} is not empty: name an empty one")]
    NotEmpty(String),
    /// It is not what it was when it was written.
    #[error("{0} is damaged: use another backup")]
    Damaged(String),
    /// It was never finished by what writes backups.
    #[error("{0} is not a backup that hearthgate made")]
    NoBackup(String),
    /// Source and copy are not the same.
    #[error(
        "the table {0} has changed while it was copied: see to it that nobody uses the source, and run the same command again"
    )]
    Differs(String),
}

/// How far a store was filled: its mark, while it is not whole.
#[derive(Serialize, Deserialize)]
struct Filling {
    from: String,
    /// The last row that is there; `None` before the first one.
    last: Option<(String, Values)>,
}

/// A store as a whole, on one connection.
pub struct Whole {
    connection: Connection,
    path: String,
    /// Whether everything is done in one transaction.
    at_once: bool,
}

impl Whole {
    /// Opens a store to read it, as it is at this moment. Nothing in it is changed, and nobody is held up.
    ///
    /// # Errors
    /// [`CopyError`]; also when its tables are not exactly this version's, for then a copy would lack something.
    pub async fn source(place: &Place) -> Result<Self, CopyError> {
        let (mut connection, path) = match place {
            Place::Sqlite(path) => (sqlite::connect(path, Access::Read, "").await?, path.display().to_string()),
            Place::Postgres(url) => postgres::connect(url, COPIER).await?,
        };
        open::check_version(&mut connection, &path).await?;
        let mut source = Self { connection, path, at_once: false };
        source.hold().await?;
        Ok(source)
    }

    /// Opens a store to fill it, and brings its tables up to date.
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn target(place: &Place) -> Result<Self, CopyError> {
        let (connection, path) = match place {
            Place::Sqlite(path) => {
                let shown = path.display().to_string();
                make_private(path).map_err(|source| OpenError::Database { path: shown.clone(), source: source.into() })?;
                (sqlite::connect(path, Access::Write, sqlite::WRITING).await?, shown)
            }
            Place::Postgres(url) => postgres::connect(url, COPIER).await?,
        };
        let mut target = Self { connection, path, at_once: false };
        target.bring_up_to_date().await?;
        Ok(target)
    }

    /// Opens a SQLite database of one's own in a file that exists. Nothing lies beside the file, which may lose its name as soon as
    /// it is open, and it is not durable before the file is synced.
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn scratch(path: &Path) -> Result<Self, CopyError> {
        let settings = "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA trusted_schema = OFF;";
        let connection = sqlite::connect(path, Access::Write, settings).await?;
        Ok(Self { connection, path: path.display().to_string(), at_once: false })
    }

    /// Opens the backup in a file of one's own, and makes it a store again. `name` is how it is called when it is none, or damaged.
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn backup(path: &Path, name: &str) -> Result<Self, CopyError> {
        let mut backup = Self::scratch(path).await.map_err(|_| CopyError::Damaged(name.to_owned()))?;
        backup.unseal(name).await?;
        Ok(backup)
    }

    /// Brings the tables up to date.
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn bring_up_to_date(&mut self) -> Result<(), CopyError> {
        Ok(open::bring_up_to_date(&mut self.connection, &self.path).await?)
    }

    /// Closes the connection, after which the file of a SQLite database is all there is of it.
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn close(self) -> Result<(), CopyError> {
        let Self { connection, path, .. } = self;
        connection.close().await.map_err(|source| CopyError::Database { path, source })
    }

    /// Fails when somebody serves from a PostgreSQL database. (Of a SQLite database, the lock of its folder tells.)
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn refuse_if_in_use(&mut self) -> Result<(), CopyError> {
        let deadline = Instant::now() + PATIENCE;
        while self.connection.engine() == Engine::Postgres {
            let query =
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'hearthgate'";
            let others: Result<i64, _> = engine::query_scalar(query).fetch_one(&mut self.connection).await;
            if self.check(others)? == 0 {
                break;
            }
            if Instant::now() > deadline {
                return Err(CopyError::InUse(self.path.clone()));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Fails when there is anything in it but what a new store has.
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn refuse_if_not_empty(&mut self) -> Result<(), CopyError> {
        for table in TABLES.iter().filter(|table| table.is_born_empty()) {
            if self.count_in(table).await? > 0 {
                return Err(CopyError::NotEmpty(self.path.clone()));
            }
        }
        Ok(())
    }

    /// How many rows there are.
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn count(&mut self) -> Result<u64, CopyError> {
        let mut rows = 0;
        for table in &TABLES {
            rows += self.count_in(table).await?;
        }
        Ok(rows)
    }

    async fn count_in(&mut self, table: &Table) -> Result<u64, CopyError> {
        let query = format!("SELECT count(*) FROM {} WHERE {}", table.name, tables::own_rows(table.name));
        let rows: Result<i64, _> = engine::query_scalar(query).fetch_one(&mut self.connection).await;
        Ok(self.check(rows)?.unsigned_abs())
    }

    /// What is damaged, in the engine's words: pages, indexes, references. It reads everything there is.
    ///
    /// # Errors
    /// [`CopyError`], when it is so damaged that it cannot be looked at.
    pub async fn damage(&mut self) -> Result<Vec<String>, CopyError> {
        if self.connection.engine() == Engine::Postgres {
            let query = "SELECT 'checksum failures: ' || checksum_failures FROM pg_stat_database \
                         WHERE datname = current_database() AND checksum_failures > 0";
            let found = engine::query_scalar(query).fetch_all(&mut self.connection).await;
            return self.check(found);
        }
        let found = engine::query_scalar("PRAGMA integrity_check(10)").fetch_all(&mut self.connection);
        let found: Result<Vec<String>, _> = found.await;
        let mut found = self.check(found)?;
        found.retain(|line| line != "ok");
        let broken = "SELECT 'row ' || COALESCE(rowid, '?') || ' of ' || \"table\" || ' refers to nothing in ' || parent \
                      FROM pragma_foreign_key_check LIMIT 10";
        let broken: Result<Vec<String>, _> = engine::query_scalar(broken).fetch_all(&mut self.connection).await;
        found.extend(self.check(broken)?);
        Ok(found)
    }

    /// The fingerprint of the master key that its secrets are sealed under.
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn key_fingerprint(&mut self) -> Result<Option<String>, CopyError> {
        self.setting("key_fingerprint").await
    }

    /// Sees to it that this store is being filled from `source`: begins it when it is empty, or goes on. Nobody can serve from it until
    /// it is whole.
    ///
    /// # Errors
    /// [`CopyError`], after which everything is as it was.
    pub async fn begin(&mut self, source: &Self) -> Result<(), CopyError> {
        if let Some(filling) = self.filling().await? {
            if filling.from == source.path {
                return Ok(());
            }
            return Err(OpenError::Unfinished { path: self.path.clone(), from: filling.from }.into());
        }
        self.refuse_if_not_empty().await?;
        self.mark(&Filling { from: source.path.clone(), last: None }).await?;
        // Whoever opens it from here on finds the mark; whoever did so before is still connected.
        if let Err(in_use) = self.refuse_if_in_use().await {
            self.forget(FILLED_FROM).await?;
            return Err(in_use);
        }
        Ok(())
    }

    /// Copies everything that is not there yet, each page of rows in one transaction, and tells how many rows were copied.
    ///
    /// # Errors
    /// [`CopyError`], after which it can be called again.
    pub async fn fill(&mut self, source: &mut Self, copied: impl Fn(u64)) -> Result<(), CopyError> {
        let last = self.filling().await?.and_then(|filling| filling.last);
        if last.is_none() {
            self.clear().await?;
        }
        let begun = last.as_ref().and_then(|(name, _)| TABLES.iter().position(|table| table.name == name)).unwrap_or(0);
        let mut behind = last.map(|(_, key)| key);
        for table in &TABLES[begun..] {
            let rows = rows(&mut source.connection, table.select(behind.is_some()), behind.take().unwrap_or_default());
            let mut pages = pin!(rows.try_chunks(PAGE));
            loop {
                let page = pages.try_next().await.map_err(|failed| failed.1);
                let page = page.map_err(|error| CopyError::Database { path: source.path.clone(), source: error })?;
                let Some(page) = page else { break };
                let last = page.last().map(|row| (table.name.to_owned(), row[..table.key().len()].to_vec()));
                self.start().await?;
                let put = put(&mut self.connection, table, &page).await;
                self.check(put)?;
                self.mark(&Filling { from: source.path.clone(), last }).await?;
                self.commit().await?;
                copied(page.len() as u64);
            }
        }
        Ok(())
    }

    /// Ends the filling when this store holds the same as its source, and tells what that is; else empties it.
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn finish(&mut self, source: &mut Self) -> Result<Vec<Sum>, CopyError> {
        let (there, here) = (source.sums().await?, self.sums().await?);
        if let Some((there, _)) = there.iter().zip(&here).find(|(there, here)| there != here) {
            self.mark(&Filling { from: source.path.clone(), last: None }).await?;
            self.clear().await?;
            return Err(CopyError::Differs(there.table.clone()));
        }
        self.forget(FILLED_FROM).await?;
        Ok(here)
    }

    /// What each table holds.
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn sums(&mut self) -> Result<Vec<Sum>, CopyError> {
        let mut sums = Vec::with_capacity(TABLES.len());
        for table in &TABLES {
            let columns = table.columns.iter().map(|column| column.name.to_owned()).collect();
            let sum = sum(&mut self.connection, table.name.to_owned(), columns).await;
            sums.push(self.check(sum)?);
        }
        Ok(sums)
    }

    /// Looks at the store anew: as it is at this moment, which must be one in which nobody serves from it.
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn look_again(&mut self) -> Result<(), CopyError> {
        self.run("ROLLBACK").await?;
        self.refuse_if_in_use().await?;
        self.hold().await
    }

    /// Sees the same from here on, whatever others do.
    async fn hold(&mut self) -> Result<(), CopyError> {
        match self.connection.engine() {
            Engine::Postgres => self.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await,
            Engine::Sqlite => self.run("BEGIN").await,
        }
    }

    /// Does everything that follows together, or not at all: it is undone unless [`Whole::keep`] is called.
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn all_or_nothing(&mut self) -> Result<(), CopyError> {
        self.run("BEGIN").await?;
        self.at_once = true;
        Ok(())
    }

    /// Makes everything true that was done since [`Whole::all_or_nothing`].
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn keep(&mut self) -> Result<(), CopyError> {
        self.at_once = false;
        self.run("COMMIT").await
    }

    /// Begins a transaction, unless everything is done in one.
    async fn start(&mut self) -> Result<(), CopyError> {
        if self.at_once { Ok(()) } else { self.run("BEGIN").await }
    }

    /// Commits what [`Whole::start`] began.
    async fn commit(&mut self) -> Result<(), CopyError> {
        if self.at_once { Ok(()) } else { self.run("COMMIT").await }
    }

    async fn run(&mut self, statement: &'static str) -> Result<(), CopyError> {
        let run = self.connection.run(statement).await;
        self.check(run)
    }

    /// Writes down what each table holds, which makes it a backup.
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn seal(&mut self, sums: &[Sum]) -> Result<(), CopyError> {
        let sums = serde_json::to_string(sums).expect("names and numbers are plain data");
        self.set(CHECKSUMS, sums).await
    }

    /// Checks a backup against what was written down when it was made, by whichever version.
    async fn unseal(&mut self, name: &str) -> Result<(), CopyError> {
        let damaged = || CopyError::Damaged(name.to_owned());
        let sums = self.setting(CHECKSUMS).await.map_err(|_| CopyError::NoBackup(name.to_owned()))?;
        let sums = sums.ok_or_else(|| CopyError::NoBackup(name.to_owned()))?;
        let sums: Vec<Sum> = serde_json::from_str(&sums).map_err(|_| damaged())?;
        let sound: Result<String, _> = engine::query_scalar("PRAGMA integrity_check(1)").fetch_one(&mut self.connection).await;
        if sound.map_err(|_| damaged())? != "ok" {
            return Err(damaged());
        }
        for written in sums {
            // What is no name must not become part of a statement.
            if !written.columns.iter().chain([&written.table]).all(|name| is_name(name)) {
                return Err(damaged());
            }
            let found = sum(&mut self.connection, written.table.clone(), written.columns.clone()).await;
            if found.map_err(|_| damaged())? != written {
                return Err(damaged());
            }
        }
        self.forget(CHECKSUMS).await
    }

    async fn setting(&mut self, name: &str) -> Result<Option<String>, CopyError> {
        let query = engine::query_scalar("SELECT value FROM settings WHERE name = $1").bind(name);
        let value = query.fetch_optional(&mut self.connection).await;
        self.check(value)
    }

    async fn set(&mut self, name: &str, value: String) -> Result<(), CopyError> {
        let set = "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        let done = engine::query(set).bind(name).bind(value).execute(&mut self.connection).await;
        self.check(done).map(drop)
    }

    async fn forget(&mut self, name: &str) -> Result<(), CopyError> {
        let delete = engine::query("DELETE FROM settings WHERE name = $1").bind(name);
        let forgotten = delete.execute(&mut self.connection).await;
        self.check(forgotten).map(drop)
    }

    async fn filling(&mut self) -> Result<Option<Filling>, CopyError> {
        let text = self.setting(FILLED_FROM).await?;
        let read = text.map(|text| serde_json::from_str(&text)).transpose();
        self.check(read.map_err(|_| EngineError::Unexpected(FILLED_FROM.into())))
    }

    async fn mark(&mut self, filling: &Filling) -> Result<(), CopyError> {
        self.set(FILLED_FROM, serde_json::to_string(filling).expect("texts are plain data")).await
    }

    /// Empties all tables; the mark stays.
    async fn clear(&mut self) -> Result<(), CopyError> {
        self.start().await?;
        for table in TABLES.iter().rev() {
            let delete = format!("DELETE FROM {} WHERE {}", table.name, tables::own_rows(table.name));
            let deleted = engine::query(delete).execute(&mut self.connection).await;
            self.check(deleted)?;
        }
        self.commit().await
    }

    fn check<T>(&self, result: Result<T, EngineError>) -> Result<T, CopyError> {
        result.map_err(|source| CopyError::Database { path: self.path.clone(), source })
    }
}

/// The rows that a query returns, one by one.
fn rows(connection: &mut Connection, query: String, bound: Values) -> impl Stream<Item = Result<Values, EngineError>> {
    let query = bound.into_iter().fold(engine::query(query), Query::bind);
    query.fetch(connection).map_ok(|row| (0..row.len()).map(|place| row.at(place)).collect()).and_then(async |row| row)
}

async fn put(connection: &mut Connection, table: &Table, rows: &[Values]) -> Result<(), EngineError> {
    for rows in rows.chunks(STATEMENT) {
        let mut insert = engine::query(table.insert(rows.len()));
        for value in rows.iter().flatten() {
            insert = insert.bind(value.clone());
        }
        insert.execute(connection).await?;
    }
    Ok(())
}

/// Adds the rows' hashes up, so that their order, which is each engine's own, does not matter.
async fn sum(connection: &mut Connection, table: String, columns: Vec<String>) -> Result<Sum, EngineError> {
    let query = tables::select(&table, columns.iter().map(String::as_str));
    let mut found = pin!(rows(connection, query, Values::new()));
    let (mut rows, mut total) = (0, 0_u128);
    while let Some(row) = found.try_next().await? {
        rows += 1;
        total = total.wrapping_add(hash(&row));
    }
    Ok(Sum { table, columns, rows, checksum: format!("{total:032x}") })
}

fn hash(row: &Values) -> u128 {
    let mut hash = Sha256::new();
    for value in row {
        // Nothing and the empty text are told apart, and so is where one value ends and the next begins.
        hash.update(value.as_ref().map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
        hash.update(value.as_deref().unwrap_or_default());
    }
    let hash = hash.finalize();
    u128::from_le_bytes(*hash.first_chunk().expect("a hash has more than 128 bits"))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Makes a file, so that it and what the engine puts beside it can be read by their owner only.
fn make_private(path: &Path) -> std::io::Result<()> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrations;

    /// A backup is checked by the columns that it has, whichever those are, before it gets the ones that it lacks.
    #[tokio::test]
    async fn an_older_versions_backup_is_brought_up_to_date() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("backup");
        std::fs::File::create(&path).unwrap();
        let mut old = Whole::scratch(&path).await.unwrap();
        old.connection.migrate(&migrations::up_to(1)).await.unwrap();
        let device = "INSERT INTO devices (serial, guid, kind, registered_at) VALUES ('s', 'g', 'k', 1)";
        old.run(device).await.unwrap();
        let columns = ["serial", "guid", "kind", "app_version", "registered_at"].map(str::to_owned).to_vec();
        let sum = sum(&mut old.connection, "devices".into(), columns).await.unwrap();
        old.seal(&[sum]).await.unwrap();
        old.close().await.unwrap();

        let mut backup = Whole::backup(&path, "it").await.unwrap();
        backup.bring_up_to_date().await.unwrap();
        let sums = backup.sums().await.unwrap();
        assert_eq!(sums.iter().find(|sum| sum.table == "devices").unwrap().rows, 1);
        assert_eq!(backup.setting(CHECKSUMS).await.unwrap(), None);

        backup.seal(&sums).await.unwrap();
        backup.run("UPDATE devices SET facts = '{ }'").await.unwrap();
        backup.close().await.unwrap();
        let damaged = Whole::backup(&path, "it").await.err().unwrap().to_string();
        assert_eq!(damaged, "it is damaged: use another backup");
    }
}
