//! What is SQLite's own: a file, one writer, and when a commit is durable.

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use account::StoreError;

use crate::engine::{self, Access, Connection, Pool, Readers, Thread};
use crate::group::Group;
use crate::open::{self, Limits, OpenError};
use crate::read_cache::ReadCache;
use crate::{Embedded, SqlStore, on};

/// The oldest SQLite that is trusted: before it, a WAL reset that met a concurrent write and checkpoint could corrupt the database.
pub const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);

/// Durable before it is acknowledged: the log is synced at every commit. What is deleted or replaced is overwritten: a page that is
/// written anyway costs no more for it. The log is written back when it has so many pages, 16 MiB: those that change again and again are
/// written back once. A connection keeps so many kibibytes of pages: the system has the others.
macro_rules! settings {
    ($pages:literal) => {
        concat!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF; PRAGMA secure_delete = ON; ",
            "PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -",
            $pages,
            ";"
        )
    };
}

/// Whoever writes needs the indexes' pages again and again.
pub(crate) const WRITING: &str = settings!(4096);
const READING: &str = settings!(1024);

/// The most threads that read, of which there is one for each processor, and two at least. Reading takes microseconds; each costs a page
/// cache.
const READERS: usize = 8;

/// The most other connections that read: for operators' lists, and whatever else is not asked at every request.
const OTHERS: u32 = 2;

impl SqlStore {
    /// Opens the SQLite database in the file `path`, making it if need be, and brings its tables up to date.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn sqlite(path: &Path, limits: Limits) -> Result<Self, OpenError> {
        let shown = path.display().to_string();
        let database = |source| OpenError::Database { path: shown.clone(), source };
        let mut first = connect(path, Access::Make, WRITING).await?;
        open::migrate(&mut first, &shown).await?;
        first.close().await.map_err(database)?;

        // SQLite has one writer at a time: one connection, and nobody is ever told to come back later.
        let cache = ReadCache::new();
        let opened = Arc::clone(&cache);
        let write = Pool::sqlite(path.to_owned(), WRITING, 1, limits, move || opened.open());
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let readers = Readers::start(path, READING, processors.clamp(2, READERS), limits.timeout);
        let read = Pool::sqlite(path.to_owned(), READING, OTHERS, limits, || {});
        let group = Group::start(write.clone(), limits, Arc::clone(&cache));
        Ok(Self::new(read, write, limits, Some(Embedded { group, readers, cache })))
    }
}

impl SqlStore {
    /// Empties the write-ahead log, in which there is still what was replaced in the database. `false` when somebody is reading from it: then
    /// it is to be tried again. On PostgreSQL that is the operator's business.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn empty_log(&self) -> Result<bool, StoreError> {
        if self.embedded.is_none() {
            return Ok(true);
        }
        on!(self.write changing Nothing, connection => empty_log(connection))
    }
}

async fn empty_log(connection: &mut Connection) -> Result<bool, StoreError> {
    let busy: i64 = engine::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(connection).await?;
    Ok(busy == 0)
}

/// Opens the file `path` with one connection, and does `settings` there.
pub(crate) async fn connect(path: &Path, access: Access, settings: &'static str) -> Result<Connection, OpenError> {
    let version = rusqlite::version();
    if !is_trusted(version) {
        return Err(OpenError::OldSqlite(version.to_owned()));
    }
    let opened = Thread::open(path, access, settings).await;
    let thread = opened.map_err(|source| OpenError::Database { path: path.display().to_string(), source })?;
    Ok(Connection::to_sqlite(thread))
}

fn is_trusted(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next()) >= OLDEST_SQLITE
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;
    use crate::engine::Operation;
    use crate::read_cache::Touched;

    #[tokio::test]
    async fn commits_are_synced_to_the_disk() {
        let folder = tempfile::TempDir::new().unwrap();
        let store = SqlStore::sqlite(&folder.path().join("hearthgate.db"), Limits::default()).await.unwrap();
        for pool in [&store.read, &store.write] {
            let mut used = pool.acquire().await.unwrap();
            let mode: String = engine::query_scalar("PRAGMA journal_mode").fetch_one(&mut used).await.unwrap();
            let synchronous: i64 =
                engine::query_scalar("SELECT synchronous FROM pragma_synchronous").fetch_one(&mut used).await.unwrap();
            assert_eq!((mode.as_str(), synchronous), ("wal", 2), "2 is FULL");
            let overwritten: i64 = engine::query_scalar("PRAGMA secure_delete").fetch_one(&mut used).await.unwrap();
            assert_eq!(overwritten, 1);
        }
    }

    /// What was deleted is neither in the file nor in its log.
    #[tokio::test]
    async fn what_is_deleted_is_overwritten() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("hearthgate.db");
        let store = SqlStore::sqlite(&path, Limits::default()).await.unwrap();
        let is_there = || {
            let kept = ["", "-wal"].map(|end| std::fs::read(format!("{}{end}", path.display())).unwrap()).concat();
            kept.windows(6).any(|window| window == b"canary")
        };
        for statement in ["INSERT INTO settings (name, value) VALUES ('a', 'canary')", "DELETE FROM settings WHERE name = 'a'"] {
            let mut used = store.write.acquire().await.unwrap();
            engine::query(statement).execute(&mut used).await.unwrap();
            // Whoever closes the last connection empties the log.
            used.sound = true;
            drop(used);
            assert!(is_there(), "in the log at least");
        }
        assert!(store.empty_log().await.unwrap() && !is_there());
    }

    fn write(name: &'static str) -> Operation<()> {
        Arc::new(move |connection| {
            Box::pin(async move {
                let insert = engine::query("INSERT INTO settings (name, value) VALUES ($1, '')").bind(name);
                insert.execute(connection).await.map(drop).map_err(Into::into)
            })
        })
    }

    /// What comes while the connection is in use is done afterwards, and what comes when all are closed is told so.
    #[tokio::test]
    async fn operations_wait_for_the_connection() {
        let folder = tempfile::TempDir::new().unwrap();
        let limits = Limits { acquire_timeout: Duration::from_millis(200), ..Limits::default() };
        let store = SqlStore::sqlite(&folder.path().join("hearthgate.db"), limits).await.unwrap();
        let together = |name| store.together("test", Touched::Nothing, write(name));
        let used = store.write.acquire().await.unwrap();
        let (mut first, mut second) = (Box::pin(together("a")), Box::pin(together("b")));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        drop(used);
        let (first, second) = tokio::join!(first, second);
        assert!(first.is_ok() && second.is_ok());
        together("c").await.unwrap();
        // Each waits for as long as it may, whatever became of those before.
        let used = store.write.acquire().await.unwrap();
        let (mut first, mut second) = (Box::pin(together("d")), Box::pin(together("e")));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        assert!(matches!(first.await, Err(StoreError::Unavailable(_))));
        drop(used);
        second.await.unwrap();
        store.close().await;
        assert!(matches!(together("f").await, Err(StoreError::Unavailable(_))));
    }

    /// Whoever shares a transaction with it succeeds, and so does whoever comes later.
    #[tokio::test]
    async fn an_operation_that_panics_spoils_no_other() {
        let folder = tempfile::TempDir::new().unwrap();
        let store = SqlStore::sqlite(&folder.path().join("hearthgate.db"), Limits::default()).await.unwrap();
        let panic: Operation<()> = Arc::new(|_| Box::pin(async { panic!("an operation that panics") }));
        let together = |operation| store.together("test", Touched::Nothing, operation);
        let (first, panicked, last) = tokio::join!(together(write("a")), together(panic), together(write("b")));
        assert!(first.is_ok() && last.is_ok() && panicked.unwrap_err().to_string().contains("panicked"));
        together(write("c")).await.unwrap();
        let query = engine::query_scalar("SELECT COUNT(*) FROM settings WHERE name IN ('a', 'b', 'c')");
        let there: i64 = query.fetch_one(&mut store.read.acquire().await.unwrap()).await.unwrap();
        assert_eq!(there, 3);
    }

    /// Whoever was told that it took too long is not surprised later: nothing of it is made true.
    #[tokio::test]
    async fn what_took_too_long_is_not_done_later() {
        let folder = tempfile::TempDir::new().unwrap();
        let moment = Duration::from_millis(50);
        let limits = Limits { acquire_timeout: moment, timeout: moment, ..Limits::default() };
        let store = SqlStore::sqlite(&folder.path().join("hearthgate.db"), limits).await.unwrap();
        let (release, released) = mpsc::channel::<()>();
        let (ended, has_ended) = oneshot::channel::<()>();
        let held = Mutex::new((released, ended));
        let slow: Operation<()> = Arc::new(move |connection| {
            let insert = engine::query("INSERT INTO settings (name, value) VALUES ('slow', '')");
            let held = &held;
            held.lock().unwrap().0.recv().unwrap_err();
            Box::pin(async move { insert.execute(connection).await.map(drop).map_err(Into::into) })
        });
        let told = store.together("test", Touched::Nothing, slow).await.unwrap_err().to_string();
        assert!(told.contains("took too long"), "{told}");
        drop(release);
        // It is over when what it was to do is gone.
        has_ended.await.unwrap_err();
        let query = engine::query_scalar("SELECT COUNT(*) FROM settings WHERE name = 'slow'");
        let there: i64 = query.fetch_one(&mut store.read.acquire().await.unwrap()).await.unwrap();
        assert_eq!(there, 0);
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
