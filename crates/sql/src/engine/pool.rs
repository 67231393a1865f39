//! Connections that are used again and again.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Access, Connection, EngineError, Link, Thread};
use crate::open::Limits;
use crate::watch::Connections;

/// Connections to one database.
#[derive(Debug, Clone)]
pub(crate) enum Pool {
    Sqlite(Arc<Threads>),
    Postgres(PgPool),
}

/// Connections to a SQLite database, made when they are needed.
pub(crate) struct Threads {
    path: PathBuf,
    settings: &'static str,
    opened: Box<dyn Fn() + Send + Sync>,
    free: Mutex<Vec<Thread>>,
    most: u32,
    places: Arc<Semaphore>,
    patience: Duration,
}

/// A connection in use. One whose operation was abandoned or failed is closed, for it may be left in the middle of anything.
#[derive(Debug)]
pub(crate) struct InUse {
    connection: Connection,
    pub sound: bool,
    home: Option<(Arc<Threads>, OwnedSemaphorePermit)>,
}

impl Pool {
    /// At most so many connections to the SQLite database `path`; `opened` is called for each that is opened.
    pub fn sqlite(
        path: PathBuf,
        settings: &'static str,
        most: u32,
        limits: Limits,
        opened: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let places = Arc::new(Semaphore::new(most as usize));
        let patience = limits.acquire_timeout;
        Self::Sqlite(Arc::new(Threads {
            path,
            settings,
            opened: Box::new(opened),
            free: Mutex::default(),
            most,
            places,
            patience,
        }))
    }

    pub async fn acquire(&self) -> Result<InUse, EngineError> {
        match self {
            Self::Sqlite(threads) => threads.acquire().await,
            Self::Postgres(pool) => {
                let connection = Connection::new(Link::Pooled(Box::new(pool.acquire().await?)));
                Ok(InUse { connection, sound: false, home: None })
            }
        }
    }

    /// A connection to SQLite that is there already, unless it is in use.
    pub fn try_acquire(&self) -> Option<InUse> {
        match self {
            Self::Sqlite(threads) => threads.try_acquire(),
            Self::Postgres(_) => None,
        }
    }

    /// How many connections there are.
    pub fn connections(&self) -> Connections {
        match self {
            Self::Sqlite(threads) => {
                let free = u32::try_from(threads.places.available_permits()).unwrap_or(u32::MAX);
                Connections { in_use: threads.most.saturating_sub(free), idle: free.min(threads.idle()) }
            }
            Self::Postgres(pool) => {
                let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
                Connections { in_use: pool.size().saturating_sub(idle), idle }
            }
        }
    }

    /// Closes all connections, after what they are doing.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(threads) => threads.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl Threads {
    async fn acquire(self: &Arc<Self>) -> Result<InUse, EngineError> {
        let place = tokio::time::timeout(self.patience, Arc::clone(&self.places).acquire_owned());
        let place = place.await.map_err(|_| EngineError::Busy)?.map_err(|_| EngineError::Ended)?;
        let free = self.free().pop();
        let thread = match free {
            Some(thread) => thread,
            None => {
                (self.opened)();
                Thread::open(&self.path, Access::Make, self.settings).await?
            }
        };
        Ok(self.in_use(thread, place))
    }

    fn try_acquire(self: &Arc<Self>) -> Option<InUse> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let thread = self.free().pop()?;
        Some(self.in_use(thread, place))
    }

    fn in_use(self: &Arc<Self>, thread: Thread, place: OwnedSemaphorePermit) -> InUse {
        InUse { connection: Connection::to_sqlite(thread), sound: false, home: Some((Arc::clone(self), place)) }
    }

    async fn close(&self) {
        // Whoever uses one gives it back first; nobody gets one from here on.
        let all = self.places.acquire_many(self.most).await;
        self.places.close();
        drop(all);
        let free = std::mem::take(&mut *self.free());
        for thread in free {
            // One that has ended is closed.
            drop(thread.close().await);
        }
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<Thread>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> u32 {
        u32::try_from(self.free().len()).unwrap_or(u32::MAX)
    }
}

impl InUse {
    /// Has `work` done on the thread that SQLite is called on, which is also to give the connection back. When the thread has ended,
    /// `work` is dropped.
    pub fn lend(self, work: impl FnOnce(&mut Connection, Self) + Send + 'static) {
        if let Link::There(thread) = &self.connection.link {
            let thread = thread.clone();
            thread.send(move |here| work(here, self));
        }
    }
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Threads").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Deref for InUse {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for InUse {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        match (&mut self.connection.link, &self.home) {
            (Link::There(thread), Some((home, _))) if self.sound => home.free().push(thread.clone()),
            (Link::Pooled(connection), _) if !self.sound => connection.close_on_drop(),
            _ => {}
        }
    }
}
