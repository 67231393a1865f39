//! Group commit on SQLite: operations that come at the same time are made durable by one commit.
//!
//! A commit waits for the disk, and SQLite has one writer. So what comes while it waits is done together in the next transaction, and
//! all of it is answered when that is durable. An operation is done from beginning to end, whether or not its caller still waits.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use account::StoreError;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::{AnyConnection, AnyPool, Connection};
use tokio::sync::{mpsc, oneshot};
use tracing::{Instrument, Span};

use crate::holder_cache::{Doubt, HolderCache, Touched};
use crate::row::failed;
use crate::{InUse, Limits};

/// The most operations in one commit.
const MOST: usize = 256;

/// How often it is looked whether somebody else has written: an operator with SQLite's own shell, perhaps.
const LOOK: Duration = Duration::from_secs(1);

/// Something to be done within a transaction; nothing of it when it returns an error. It may be done more than once, if nothing of it
/// is left of the time before.
pub(crate) type Operation<T> = Arc<dyn for<'c> Fn(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + Sync>;

/// Does operations in groups. It ends with the last of its clones.
#[derive(Debug, Clone)]
pub(crate) struct Group(mpsc::UnboundedSender<Box<dyn Member>>);

/// An operation whose answer somebody waits for.
struct Waiting<T> {
    operation: Operation<T>,
    done: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
    doubt: Doubt,
    span: Span,
}

#[async_trait::async_trait]
trait Member: Send {
    fn is_awaited(&self) -> bool;
    async fn work(&mut self, connection: &mut AnyConnection) -> Result<(), StoreError>;
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

#[async_trait::async_trait]
impl<T: Send + 'static> Member for Waiting<T> {
    fn is_awaited(&self) -> bool {
        !self.reply.is_closed()
    }

    async fn work(&mut self, connection: &mut AnyConnection) -> Result<(), StoreError> {
        self.done = Some((self.operation)(connection).instrument(self.span.clone()).await?);
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { done, reply, doubt, .. } = *self;
        let answer = committed.and_then(|()| done.ok_or_else(|| StoreError::Failed("the operation was not done".into())));
        if answer.is_ok() {
            doubt.settle();
        }
        // Whoever asked may have gone away meanwhile.
        drop(reply.send(answer));
    }
}

impl Group {
    /// Starts to do operations on the one connection of `pool`.
    pub fn start(pool: AnyPool, limits: Limits, holders: Arc<HolderCache>) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let worker = Worker { pool, limits, holders, arrivals: receiver, looked: Instant::now(), seen: None };
        tokio::spawn(worker.run());
        Self(sender)
    }

    /// Does an operation, and answers when it is durable. `doubt` is about what it changes.
    pub async fn run<T: Send + 'static>(&self, operation: Operation<T>, doubt: Doubt, span: Span) -> Result<T, StoreError> {
        let (reply, answered) = oneshot::channel();
        let gone = |_| StoreError::Unavailable("it is closed".into());
        let waiting = Waiting { operation, done: None, reply, doubt, span };
        self.0.send(Box::new(waiting)).map_err(|_| gone(()))?;
        answered.await.map_err(|_| gone(()))?
    }
}

/// What does the operations, on a task of its own.
struct Worker {
    pool: AnyPool,
    limits: Limits,
    holders: Arc<HolderCache>,
    arrivals: mpsc::UnboundedReceiver<Box<dyn Member>>,
    /// When it was last looked whether somebody else has written.
    looked: Instant,
    /// What was seen then, and on which of the pool's connections.
    seen: Option<(u64, i64)>,
}

impl Worker {
    async fn run(mut self) {
        self.look().await;
        loop {
            if self.looked.elapsed() >= LOOK {
                self.look().await;
            }
            let arrival = tokio::time::timeout(LOOK.saturating_sub(self.looked.elapsed()), self.arrivals.recv()).await;
            match arrival {
                Ok(Some(first)) => self.work(first).await,
                Ok(None) => return,
                Err(_) => {}
            }
        }
    }

    /// Forgets who holds tokens when somebody else has written into the database. The engine counts, for each connection, what others
    /// have committed; of the others here none writes.
    async fn look(&mut self) {
        self.looked = Instant::now();
        let seen = tokio::time::timeout(self.limits.timeout, self.version()).await.unwrap_or(None);
        if self.seen.is_some() && seen == self.seen {
            return;
        }
        self.holders.touch(Touched::Everything).settle();
        if let (Some((before, _)), Some((now, _))) = (self.seen, seen)
            && before == now
        {
            tracing::warn!("somebody else has changed the database; what was remembered of it is forgotten");
        }
        self.seen = seen;
    }

    async fn version(&self) -> Option<(u64, i64)> {
        let connection = self.pool.acquire().await.ok()?;
        let mut used = InUse { connection, sound: false };
        let opened = self.holders.opened();
        let query = sqlx::query_scalar("SELECT data_version FROM pragma_data_version");
        let version = query.fetch_one(&mut *used.connection).await.ok()?;
        used.sound = true;
        Some((opened, version))
    }

    async fn work(&mut self, first: Box<dyn Member>) {
        let mut members = vec![first];
        let committed = self.commit(&mut members, MOST).await;
        match committed {
            // One of them was refused: the others need not be.
            Err(StoreError::Failed(_) | StoreError::Inconsistent { .. }) if members.len() > 1 => {
                for member in members {
                    let mut alone = vec![member];
                    let committed = self.commit(&mut alone, 1).await;
                    answer(alone, &committed);
                }
            }
            committed => answer(members, &committed),
        }
    }

    /// Does what `members` want, and what others who come meanwhile want, as long as there are no more than `most`; they become
    /// members.
    async fn commit(&mut self, members: &mut Vec<Box<dyn Member>>, most: usize) -> Result<(), StoreError> {
        let limit = self.limits.timeout;
        // Nothing is left of a transaction in which something panicked: its connection is closed.
        let committing = AssertUnwindSafe(self.try_commit(members, most)).catch_unwind();
        match tokio::time::timeout(limit, committing).await {
            Ok(Ok(committed)) => committed,
            Ok(Err(_)) => Err(StoreError::Failed("an operation panicked".into())),
            Err(_) => Err(StoreError::Unavailable("it took too long".into())),
        }
    }

    async fn try_commit(&mut self, members: &mut Vec<Box<dyn Member>>, most: usize) -> Result<(), StoreError> {
        let connection = self.pool.acquire().await.map_err(failed)?;
        let mut used = InUse { connection, sound: false };
        let doubts = self.holders.doubts();
        let mut transaction = used.connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        let mut next = 0;
        while next < members.len() {
            if members[next].is_awaited() {
                members[next].work(&mut transaction).await?;
                next += 1;
            } else {
                drop(members.remove(next));
            }
            if members.len() < most
                && next == members.len()
                && let Ok(newcomer) = self.arrivals.try_recv()
            {
                members.push(newcomer);
            }
        }
        transaction.commit().await.map_err(failed)?;
        used.sound = true;
        // Whatever was begun before has come to its end: nobody else could have written.
        self.holders.settle(doubts);
        Ok(())
    }
}

fn answer(members: Vec<Box<dyn Member>>, committed: &Result<(), StoreError>) {
    for member in members {
        member.answer(committed.clone());
    }
}
