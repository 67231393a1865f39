//! Group commit on SQLite: operations that come at the same time are made durable by one commit.
//!
//! A commit waits for the disk, and SQLite has one writer. So what comes while it waits is done together in the next transaction, and
//! all of it is answered when that is durable. An operation is done from beginning to end, whether or not its caller still waits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use account::StoreError;
use tokio::sync::oneshot;
use tracing::Span;

use crate::Limits;
use crate::engine::{self, Connection, InUse, Operation, Pool};
use crate::holder_cache::{Doubt, HolderCache, Touched};

/// The most operations in one commit.
const MOST: usize = 256;

/// How often it is looked whether somebody else has written: an operator with SQLite's own shell, perhaps.
const LOOK: Duration = Duration::from_secs(1);

/// Does operations in groups. It ends with the last of its clones.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    arrivals: flume::Sender<Box<dyn Member>>,
    patience: Duration,
}

/// An operation whose answer somebody waits for.
struct Waiting<T> {
    operation: Operation<T>,
    done: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
    doubt: Doubt,
    span: Span,
}

trait Member: Send {
    fn is_awaited(&self) -> bool;
    /// Does it, on the thread that SQLite is called on.
    fn work(&mut self, connection: &mut Connection) -> Result<(), StoreError>;
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

type Members = Vec<Box<dyn Member>>;

impl<T: Send + 'static> Member for Waiting<T> {
    fn is_awaited(&self) -> bool {
        !self.reply.is_closed()
    }

    fn work(&mut self, connection: &mut Connection) -> Result<(), StoreError> {
        self.done = Some(self.span.in_scope(|| engine::at_once((self.operation)(connection)))??);
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
    pub fn start(pool: Pool, limits: Limits, holders: Arc<HolderCache>) -> Self {
        let (sender, arrivals) = flume::unbounded();
        let worker = Worker { pool, limits, holders, arrivals, looked: Instant::now(), seen: None };
        tokio::spawn(worker.run());
        Self { arrivals: sender, patience: limits.acquire_timeout + limits.timeout }
    }

    /// Does an operation, and answers when it is durable. `doubt` is about what it changes.
    pub async fn run<T: Send + 'static>(&self, operation: Operation<T>, doubt: Doubt, span: Span) -> Result<T, StoreError> {
        let (reply, answered) = oneshot::channel();
        let gone = |_| StoreError::Unavailable("it is closed".into());
        let waiting = Waiting { operation, done: None, reply, doubt, span };
        self.arrivals.send(Box::new(waiting)).map_err(|_| gone(()))?;
        match tokio::time::timeout(self.patience, answered).await {
            Ok(answer) => answer.map_err(|_| gone(()))?,
            Err(_) => Err(too_long()),
        }
    }
}

fn too_long() -> StoreError {
    StoreError::Unavailable("it took too long".into())
}

/// What has the operations done, on a task of its own.
struct Worker {
    pool: Pool,
    limits: Limits,
    holders: Arc<HolderCache>,
    arrivals: flume::Receiver<Box<dyn Member>>,
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
            let arrival = tokio::time::timeout(LOOK.saturating_sub(self.looked.elapsed()), self.arrivals.recv_async()).await;
            match arrival {
                Ok(Ok(first)) => self.work(first).await,
                Ok(Err(_)) => return,
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
        let mut used = self.pool.acquire().await.ok()?;
        let opened = self.holders.opened();
        let query = engine::query_scalar("SELECT data_version FROM pragma_data_version");
        let version = query.fetch_one(&mut used).await.ok()?;
        used.sound = true;
        Some((opened, version))
    }

    async fn work(&mut self, first: Box<dyn Member>) {
        let Some((members, failed)) = self.commit(vec![first], MOST).await else { return };
        match failed {
            // One of them was refused: the others need not be.
            StoreError::Failed(_) | StoreError::Inconsistent { .. } if members.len() > 1 => {
                for member in members {
                    if let Some((alone, failed)) = self.commit(vec![member], 1).await {
                        answer(alone, &Err(failed));
                    }
                }
            }
            failed => answer(members, &Err(failed)),
        }
    }

    /// Has done what `members` want, and what others who come meanwhile want, as long as there are no more than `most`; they become
    /// members. Returns those who are not answered, because it failed.
    async fn commit(&mut self, members: Members, most: usize) -> Option<(Members, StoreError)> {
        let mut used = match self.pool.acquire().await {
            Ok(used) => used,
            Err(error) => return Some((members, error.into())),
        };
        let given_up = Arc::new(AtomicBool::new(false));
        let batch = Batch {
            members,
            most,
            arrivals: self.arrivals.clone(),
            holders: Arc::clone(&self.holders),
            given_up: Arc::clone(&given_up),
        };
        let committing = on_its_thread(&mut used, batch);
        match tokio::time::timeout(self.limits.timeout, committing).await {
            Ok(None) => {
                used.sound = true;
                None
            }
            Ok(Some(failed)) => Some(failed),
            Err(_) => {
                // Its members are answered when it comes to its end, if they wait for that.
                given_up.store(true, Ordering::SeqCst);
                None
            }
        }
    }
}

async fn on_its_thread(used: &mut InUse, batch: Batch) -> Option<(Members, StoreError)> {
    match used.send(|here| batch.commit(here)).await {
        Ok(failed) => failed,
        // The members went with the thread, and are answered by that.
        Err(_) => Some((Vec::new(), StoreError::Unavailable("the connection has ended".into()))),
    }
}

/// Operations that are done together, on the thread that SQLite is called on.
struct Batch {
    members: Members,
    most: usize,
    arrivals: flume::Receiver<Box<dyn Member>>,
    holders: Arc<HolderCache>,
    /// Whether it took too long: then nothing more is made true.
    given_up: Arc<AtomicBool>,
}

impl Batch {
    /// Answers everybody when it succeeds, else returns them.
    fn commit(mut self, connection: &mut Connection) -> Option<(Members, StoreError)> {
        // Nothing is left of a transaction in which something panicked: it is undone, and its connection closed.
        let committed = catch_unwind(AssertUnwindSafe(|| self.try_commit(connection)));
        let committed = committed.unwrap_or_else(|_| Err(StoreError::Failed("an operation panicked".into())));
        match committed {
            Ok(()) => {
                answer(self.members, &Ok(()));
                None
            }
            Err(failed) => Some((self.members, failed)),
        }
    }

    fn try_commit(&mut self, connection: &mut Connection) -> Result<(), StoreError> {
        let doubts = self.holders.doubts();
        let mut transaction = engine::at_once(connection.begin_to_write())??;
        let mut next = 0;
        while next < self.members.len() {
            self.go_on()?;
            if self.members[next].is_awaited() {
                self.members[next].work(&mut transaction)?;
                next += 1;
            } else {
                drop(self.members.remove(next));
            }
            if self.members.len() < self.most
                && next == self.members.len()
                && let Ok(newcomer) = self.arrivals.try_recv()
            {
                self.members.push(newcomer);
            }
        }
        self.go_on()?;
        engine::at_once(transaction.commit())??;
        // Whatever was begun before has come to its end: nobody else could have written.
        self.holders.settle(doubts);
        Ok(())
    }

    fn go_on(&self) -> Result<(), StoreError> {
        if self.given_up.load(Ordering::SeqCst) { Err(too_long()) } else { Ok(()) }
    }
}

fn answer(members: Members, committed: &Result<(), StoreError>) {
    for member in members {
        member.answer(committed.clone());
    }
}
