//! Group commit on SQLite: operations that come at the same time are made durable by one commit.
//!
//! A commit waits for the disk, and SQLite has one writer. So what comes while it waits is done together in the next transaction, and
//! all of it is answered when that is durable. An operation is done from beginning to end, whether or not its caller still waits.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use account::StoreError;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;
use tracing::Span;

use crate::Limits;
use crate::engine::{self, Connection, InUse, Operation, Pool};
use crate::read_cache::{Doubt, ReadCache, Touched};

/// The most operations in one commit.
const MOST: usize = 256;

/// How often it is looked whether somebody else has written: an operator with SQLite's own shell, perhaps.
const LOOK: Duration = Duration::from_secs(1);

/// Does operations in groups.
#[derive(Clone)]
pub(crate) struct Group(Arc<Shared>);

/// What all who come share.
struct Shared {
    /// One connection, which others may use as well.
    pool: Pool,
    limits: Limits,
    cache: Arc<ReadCache>,
    line: Mutex<Line>,
    runtime: Handle,
}

/// Those who wait.
#[derive(Default)]
struct Line {
    members: VecDeque<Box<dyn Member>>,
    /// Whether somebody sees to it that they are worked for.
    is_led: bool,
}

/// That somebody sees to those who wait in the line. Dropped without having left it, it lets all of them go.
struct Lead {
    shared: Arc<Shared>,
    has_left: bool,
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
    /// Does operations on the one connection of `pool`.
    pub fn start(pool: Pool, limits: Limits, cache: Arc<ReadCache>) -> Self {
        let shared = Arc::new(Shared { pool, limits, cache, line: Mutex::default(), runtime: Handle::current() });
        tokio::spawn(look_out(Arc::downgrade(&shared)));
        Self(shared)
    }

    /// Does an operation, and answers when it is durable. `doubt` is about what it changes.
    pub async fn run<T: Send + 'static>(&self, operation: Operation<T>, doubt: Doubt, span: Span) -> Result<T, StoreError> {
        let (reply, answered) = oneshot::channel();
        self.0.arrive(Box::new(Waiting { operation, done: None, reply, doubt, span }));
        let patience = self.0.limits.acquire_timeout + self.0.limits.timeout;
        match tokio::time::timeout(patience, answered).await {
            Ok(answer) => answer.map_err(|_| StoreError::Unavailable("it is closed".into()))?,
            Err(_) => Err(too_long()),
        }
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Group").finish_non_exhaustive()
    }
}

fn too_long() -> StoreError {
    StoreError::Unavailable("it took too long".into())
}

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Box<dyn Member>> {
        self.line().members.pop_front()
    }

    fn arrive(self: &Arc<Self>, member: Box<dyn Member>) {
        let mut line = self.line();
        line.members.push_back(member);
        if !std::mem::replace(&mut line.is_led, true) {
            drop(line);
            Lead { shared: Arc::clone(self), has_left: false }.begin();
        }
    }

    /// How much others have written, and on which of the pool's connections that is seen.
    async fn version(&self) -> Option<(u64, i64)> {
        let mut used = self.pool.acquire().await.ok()?;
        let opened = self.cache.opened();
        let query = engine::query_scalar("SELECT data_version FROM pragma_data_version");
        let version = query.fetch_one(&mut used).await.ok()?;
        used.sound = true;
        Some((opened, version))
    }
}

impl Lead {
    /// Has a group of those who wait worked for: at once when nobody else uses the connection, for every change of threads costs as much
    /// as a small operation.
    fn begin(self) {
        if let Some(used) = self.shared.pool.try_acquire() {
            return self.work(used);
        }
        self.shared.runtime.clone().spawn(async move {
            match self.shared.pool.acquire().await {
                Ok(used) => self.work(used),
                Err(error) => {
                    // Those behind may still wait.
                    let first = self.shared.next();
                    answer(Vec::from_iter(first), &Err(error.into()));
                    self.go_on();
                }
            }
        });
    }

    /// Goes on with those who have come meanwhile, if there are any.
    fn go_on(mut self) {
        let mut line = self.shared.line();
        if line.members.is_empty() {
            line.is_led = false;
            self.has_left = true;
            return;
        }
        drop(line);
        self.begin();
    }

    fn work(self, used: InUse) {
        used.lend(move |connection, mut used| {
            let members = Vec::from_iter(self.shared.next());
            let failed = self.batch(members, MOST).commit(connection);
            used.sound = failed.is_none();
            drop(used);
            match failed {
                // One of them was refused: the others need not be.
                Some((members, StoreError::Failed(_) | StoreError::Inconsistent { .. })) if members.len() > 1 => {
                    self.shared.runtime.clone().spawn(self.one_by_one(members));
                    return;
                }
                Some((members, failed)) => answer(members, &Err(failed)),
                None => {}
            }
            self.go_on();
        });
    }

    async fn one_by_one(self, members: Members) {
        for member in members {
            let used = match self.shared.pool.acquire().await {
                Ok(used) => used,
                Err(error) => {
                    member.answer(Err(error.into()));
                    continue;
                }
            };
            let batch = self.batch(vec![member], 1);
            let (ending, ended) = oneshot::channel::<()>();
            used.lend(move |connection, mut used| {
                let failed = batch.commit(connection);
                used.sound = failed.is_none();
                drop((used, ending));
                if let Some((alone, failed)) = failed {
                    answer(alone, &Err(failed));
                }
            });
            // That it is dropped says so.
            drop(ended.await);
        }
        self.go_on();
    }

    /// `members`, and those who come while there are no more than `most`.
    fn batch(&self, members: Members, most: usize) -> Batch {
        Batch { members, most, shared: Arc::clone(&self.shared), end: Instant::now() + self.shared.limits.timeout }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if !self.has_left {
            let mut line = self.shared.line();
            line.is_led = false;
            let members = std::mem::take(&mut line.members);
            drop(line);
            // Each hears of it by being dropped.
            drop(members);
        }
    }
}

/// Operations that are done together, on the thread that SQLite is called on.
struct Batch {
    members: Members,
    most: usize,
    shared: Arc<Shared>,
    /// When it has taken too long: then nothing more is made true.
    end: Instant,
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
        let doubts = self.shared.cache.doubts();
        let mut transaction = engine::at_once(connection.begin_to_write())??;
        let mut next = 0;
        while next < self.members.len() {
            self.in_time()?;
            if self.members[next].is_awaited() {
                self.members[next].work(&mut transaction)?;
                next += 1;
            } else {
                drop(self.members.remove(next));
            }
            if self.members.len() < self.most && next == self.members.len() {
                self.members.extend(self.shared.next());
            }
        }
        self.in_time()?;
        engine::at_once(transaction.commit())??;
        // Whatever was begun before has come to its end: nobody else could have written.
        self.shared.cache.settle(doubts);
        Ok(())
    }

    fn in_time(&self) -> Result<(), StoreError> {
        if Instant::now() < self.end { Ok(()) } else { Err(too_long()) }
    }
}

fn answer(members: Members, committed: &Result<(), StoreError>) {
    for member in members {
        member.answer(committed.clone());
    }
}

/// Forgets what is remembered when somebody else has written into the database. The engine counts, for each connection, what others
/// have committed; of the others here none writes.
async fn look_out(group: Weak<Shared>) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = None;
    loop {
        ticks.tick().await;
        let Some(group) = group.upgrade() else { return };
        let now = tokio::time::timeout(group.limits.timeout, group.version()).await.unwrap_or(None);
        if before.is_none() || now != before {
            group.cache.touch(Touched::Everything).settle();
            if let (Some((opened, _)), Some((opened_now, _))) = (before, now)
                && opened == opened_now
            {
                tracing::warn!("somebody else has changed the database; what was remembered of it is forgotten");
            }
        }
        before = now;
    }
}
