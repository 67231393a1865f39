//! A connection to either engine, and queries that are written once for both.
//!
//! SQLite is called, and may wait for its disk, on a thread of its own for each connection. Whoever asks a connection from elsewhere
//! sends each query there; an operation that owns all it needs can be sent there whole, and is then done without anybody waiting in
//! between.

mod error;
mod migrate;
mod pool;
mod query;
mod readers;
mod thread;
mod transaction;

use std::sync::Arc;

use account::StoreError;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use sqlx::Connection as _;
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres};

pub use error::EngineError;
pub(crate) use pool::{InUse, Pool};
pub(crate) use query::{FromValue, Query, Record, query, query_scalar};
pub(crate) use readers::Readers;
pub(crate) use thread::{Access, Thread};

/// Which engine it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// Something to be done with a connection, more than once if nothing of it is left of the time before.
pub(crate) type Operation<T> = Arc<dyn for<'c> Fn(&'c mut Connection) -> BoxFuture<'c, Result<T, StoreError>> + Send + Sync>;

/// A connection to a database.
#[derive(Debug)]
pub(crate) struct Connection {
    link: Link,
    /// How many transactions are open, one within another.
    depth: usize,
}

#[derive(Debug)]
enum Link {
    /// SQLite itself: on its own thread, where a query is answered at once.
    Here(rusqlite::Connection),
    /// SQLite on its thread.
    There(Thread),
    Postgres(Box<PgConnection>),
    Pooled(Box<PoolConnection<Postgres>>),
}

impl Connection {
    fn new(link: Link) -> Self {
        Self { link, depth: 0 }
    }

    /// A connection to PostgreSQL that belongs to no pool.
    pub fn to_postgres(connection: PgConnection) -> Self {
        Self::new(Link::Postgres(Box::new(connection)))
    }

    /// A connection to SQLite that belongs to no pool.
    pub fn to_sqlite(thread: Thread) -> Self {
        Self::new(Link::There(thread))
    }

    pub fn engine(&self) -> Engine {
        match self.link {
            Link::Here(_) | Link::There(_) => Engine::Sqlite,
            Link::Postgres(_) | Link::Pooled(_) => Engine::Postgres,
        }
    }

    /// Does several statements, none of which has values or an answer.
    pub async fn run(&mut self, statements: &'static str) -> Result<(), EngineError> {
        match self.postgres() {
            Some(postgres) => Ok(sqlx::raw_sql(statements).execute(postgres).await.map(drop)?),
            None => self.in_sqlite(move |sqlite| sqlite.execute_batch(statements)).await?.map_err(Into::into),
        }
    }

    /// Closes it, after which a SQLite database is all in its file.
    pub async fn close(self) -> Result<(), EngineError> {
        match self.link {
            Link::Here(sqlite) => Ok(sqlite.close().map_err(|(_, error)| error)?),
            Link::There(thread) => thread.close().await,
            Link::Postgres(postgres) => Ok(postgres.close().await?),
            Link::Pooled(postgres) => Ok(postgres.close().await?),
        }
    }

    async fn execute(&mut self, query: Query) -> Result<u64, EngineError> {
        match self.postgres() {
            Some(postgres) => Ok(query.for_postgres().execute(postgres).await?.rows_affected()),
            None => self.in_sqlite(move |sqlite| query.on_sqlite(sqlite, |_| true)).await?,
        }
    }

    async fn fetch_all(&mut self, query: Query) -> Result<Vec<Record>, EngineError> {
        match self.postgres() {
            Some(postgres) => Record::of_postgres(&query.for_postgres().fetch_all(postgres).await?),
            None => self.in_sqlite(move |sqlite| query.all_on_sqlite(sqlite)).await?,
        }
    }

    fn fetch(&mut self, query: Query) -> BoxStream<'_, Result<Record, EngineError>> {
        match &mut self.link {
            Link::Here(sqlite) => match query.all_on_sqlite(sqlite) {
                Ok(rows) => stream::iter(rows.into_iter().map(Ok)).boxed(),
                Err(error) => stream::iter([Err(error)]).boxed(),
            },
            Link::There(thread) => thread.fetch(query),
            Link::Postgres(postgres) => query.rows_of_postgres(postgres),
            Link::Pooled(postgres) => query.rows_of_postgres(postgres),
        }
    }

    fn postgres(&mut self) -> Option<&mut PgConnection> {
        match &mut self.link {
            Link::Postgres(connection) => Some(connection),
            Link::Pooled(connection) => Some(connection),
            Link::Here(_) | Link::There(_) => None,
        }
    }

    /// Calls SQLite.
    async fn in_sqlite<T: Send + 'static>(
        &mut self,
        call: impl FnOnce(&rusqlite::Connection) -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        match &self.link {
            Link::Here(sqlite) => Ok(call(sqlite)),
            Link::There(thread) => thread.run(move |here| here.sqlite().map(call)).await?.ok_or(EngineError::Ended),
            Link::Postgres(_) | Link::Pooled(_) => Err(EngineError::Ended),
        }
    }

    /// SQLite itself, on its own thread.
    fn sqlite(&self) -> Option<&rusqlite::Connection> {
        if let Link::Here(sqlite) = &self.link { Some(sqlite) } else { None }
    }
}

/// The outcome of what is done on the thread that SQLite is called on, where nothing is waited for.
pub(crate) fn at_once<T>(done: impl Future<Output = T>) -> Result<T, EngineError> {
    done.now_or_never().ok_or(EngineError::Waits)
}
