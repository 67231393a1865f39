//! SQLite on a thread of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use rusqlite::OpenFlags;
use tokio::sync::oneshot;

use super::{Connection, EngineError, Link, Query, Record};

/// How long it is waited for whoever else writes into the file: an operator with SQLite's own shell, perhaps.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many statements a connection remembers having planned.
const PLANS: usize = 128;

/// How many rows are read ahead of whoever takes them one by one.
const AHEAD: usize = 256;

/// What may be done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// It is read.
    Read,
    /// It is there, and is written to.
    Write,
    /// It is made if need be.
    Make,
}

type Work = Box<dyn FnOnce(&mut Connection) + Send>;

enum Order {
    Do(Work),
    End(oneshot::Sender<()>),
}

/// A connection to SQLite on its thread, which ends with the last of its clones.
#[derive(Debug, Clone)]
pub(crate) struct Thread {
    orders: Sender<Order>,
}

impl Thread {
    /// Opens the file `path` on a new thread, and does `settings` there.
    pub async fn open(path: &Path, access: Access, settings: &'static str) -> Result<Self, EngineError> {
        let (orders, ordered) = mpsc::channel();
        let (reply, opened) = oneshot::channel();
        let path = path.to_owned();
        let begin = move || match open(&path, access, settings) {
            Ok(sqlite) => {
                // Whoever asked may have gone away meanwhile: then there are no orders.
                drop(reply.send(Ok(())));
                work(sqlite, &ordered);
            }
            Err(error) => drop(reply.send(Err(error))),
        };
        std::thread::Builder::new().name("sqlite".into()).spawn(begin).map_err(|_| EngineError::Ended)?;
        opened.await.map_err(|_| EngineError::Ended)??;
        Ok(Self { orders })
    }

    /// Does `work` there, unless whoever asks for it goes away before it is begun.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        let (reply, done) = oneshot::channel();
        self.send(move |here| {
            if !reply.is_closed() {
                drop(reply.send(work(here)));
            }
        });
        done.await.map_err(|_| EngineError::Ended)
    }

    /// Has `work` done there.
    pub fn send(&self, work: impl FnOnce(&mut Connection) + Send + 'static) {
        // If it has ended, whoever waits for the work is told by its being dropped.
        drop(self.orders.send(Order::Do(Box::new(work))));
    }

    /// The rows of a query, one by one.
    pub(super) fn fetch(&self, query: Query) -> BoxStream<'static, Result<Record, EngineError>> {
        let (rows, fetched) = tokio::sync::mpsc::channel(AHEAD);
        self.send(move |here| {
            let Some(sqlite) = here.sqlite() else { return };
            let done = query.on_sqlite(sqlite, |row| rows.blocking_send(Ok(Some(row))).is_ok());
            // Whoever takes them may have gone away.
            drop(rows.blocking_send(done.map(|_| None)));
        });
        // Without the last word, the thread has ended in between.
        let next = async |mut fetched: tokio::sync::mpsc::Receiver<Result<Option<Record>, EngineError>>| {
            let next = fetched.recv().await.unwrap_or(Err(EngineError::Ended)).transpose()?;
            Some((next, fetched))
        };
        stream::unfold(fetched, next).boxed()
    }

    /// Closes the connection, which must be in use nowhere else.
    pub async fn close(self) -> Result<(), EngineError> {
        let (reply, ended) = oneshot::channel();
        drop(self.orders.send(Order::End(reply)));
        ended.await.map_err(|_| EngineError::Ended)
    }
}

pub(super) fn open(path: &Path, access: Access, settings: &str) -> Result<rusqlite::Connection, EngineError> {
    let access = match access {
        Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Access::Make => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    };
    let sqlite = rusqlite::Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    sqlite.busy_timeout(PATIENCE)?;
    sqlite.set_prepared_statement_cache_capacity(PLANS);
    sqlite.execute_batch("PRAGMA foreign_keys = ON")?;
    sqlite.execute_batch(settings)?;
    Ok(sqlite)
}

fn work(sqlite: rusqlite::Connection, ordered: &Receiver<Order>) {
    let mut here = Connection::new(Link::Here(sqlite));
    while let Ok(order) = ordered.recv() {
        match order {
            Order::Do(work) => {
                // A connection on which something panicked may be in the middle of anything: it is closed.
                if catch_unwind(AssertUnwindSafe(|| work(&mut here))).is_err() {
                    return;
                }
            }
            Order::End(reply) => {
                drop(here);
                return reply.send(()).unwrap_or(());
            }
        }
    }
}
