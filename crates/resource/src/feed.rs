//! The feed of session events on this node. Every node looks in the store for what happened on any; nodes do not talk to one another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use account::{Core, SessionEvent, StoreError};
use tokio::sync::{Notify, watch};

/// How often is looked for news while anybody follows.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a failing store is left alone.
const RESPITE: Duration = Duration::from_secs(2);

/// How many events are read at once.
const AT_ONCE: u32 = 200;

/// Where events come from.
pub struct Feed {
    core: Arc<Core>,
    seen: watch::Sender<Seen>,
    wanted: Notify,
}

/// What is known of the store's events.
#[derive(Debug, Clone, Copy)]
struct Seen {
    newest: i64,
    stopped: bool,
    finished: bool,
}

/// Something for whoever follows.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// Something became of a session.
    Event(SessionEvent),
    /// Events up to this number cannot be told: whatever is remembered of tokens may be wrong.
    Missed(i64),
}

/// Somebody who follows the events from some point on.
pub struct Follower {
    core: Arc<Core>,
    seen: watch::Receiver<Seen>,
    /// The last event that was told.
    cursor: i64,
    read: VecDeque<SessionEvent>,
    missed: bool,
    /// Whether it goes on when the feed is stopped, until it is finished.
    to_the_end: bool,
}

impl Feed {
    /// A feed that finds nothing until it [runs](Self::run).
    #[must_use]
    pub fn new(core: Arc<Core>) -> Self {
        Self { core, seen: watch::Sender::new(Seen { newest: 0, stopped: false, finished: false }), wanted: Notify::new() }
    }

    /// Looks for events, while anybody follows, until the task is ended.
    pub async fn run(self: Arc<Self>) {
        loop {
            if self.seen.receiver_count() == 0 {
                self.wanted.notified().await;
            }
            let pause = match self.look().await {
                Ok(_) => PAUSE,
                Err(error) => {
                    tracing::warn!(%error, "cannot look for session events");
                    RESPITE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Ends everybody's following but that of who follows [to the end](Self::follow_to_the_end).
    pub fn stop(&self) {
        self.seen.send_modify(|seen| seen.stopped = true);
    }

    /// Says that nothing more happens. Who follows to the end hears what has happened so far, and no more news come.
    pub async fn finish(&self) {
        if let Err(error) = self.look().await {
            tracing::warn!(%error, "cannot look for the last session events");
        }
        self.seen.send_modify(|seen| (seen.stopped, seen.finished) = (true, true));
    }

    async fn look(&self) -> Result<i64, StoreError> {
        let newest = self.core.newest_event().await?;
        self.seen.send_if_modified(|seen| {
            let is_news = newest > seen.newest;
            seen.newest = seen.newest.max(newest);
            is_news
        });
        Ok(newest)
    }

    /// Follows the events after the one with this number, or from now on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn follow(&self, after: Option<i64>) -> Result<Follower, StoreError> {
        let seen = self.seen.subscribe();
        self.wanted.notify_one();
        let newest = self.look().await?;
        // A number that nothing has yet is another store's, or this one's before it was restored.
        let missed = after.is_some_and(|after| !(0..=newest).contains(&after));
        let cursor = after.filter(|_| !missed).unwrap_or(newest);
        Ok(Follower { core: Arc::clone(&self.core), seen, cursor, read: VecDeque::new(), missed, to_the_end: false })
    }

    /// The same for somebody who must hear everything, also what happens while the server stops.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn follow_to_the_end(&self, after: Option<i64>) -> Result<Follower, StoreError> {
        Ok(Follower { to_the_end: true, ..self.follow(after).await? })
    }
}

impl Follower {
    /// The number of the last event that was told.
    #[must_use]
    pub fn cursor(&self) -> i64 {
        self.cursor
    }

    /// Waits until there is news. `false` when there will be none any more. May be abandoned.
    pub async fn wait(&mut self) -> bool {
        let (cursor, to_the_end, pending) = (self.cursor, self.to_the_end, self.missed || !self.read.is_empty());
        let is_over = |seen: &Seen| seen.stopped && !to_the_end;
        let is_news = |seen: &Seen| pending || seen.newest > cursor;
        let waited = self.seen.wait_for(|seen| is_over(seen) || is_news(seen) || seen.finished).await;
        waited.is_ok_and(|seen| is_news(&seen) && !is_over(&seen))
    }

    /// The next news, if there is one.
    ///
    /// # Errors
    /// [`StoreError`]; it may be asked again.
    pub async fn next(&mut self) -> Result<Option<News>, StoreError> {
        if std::mem::take(&mut self.missed) {
            return Ok(Some(News::Missed(self.cursor)));
        }
        let newest = self.seen.borrow().newest;
        if self.read.is_empty() && newest > self.cursor {
            self.read = self.core.session_events(self.cursor, AT_ONCE).await?.into();
            if self.read.is_empty() {
                self.cursor = newest;
                return Ok(Some(News::Missed(newest)));
            }
        }
        let Some(event) = self.read.front() else { return Ok(None) };
        // Numbers follow one another: what is not there was forgotten.
        if event.sequence > self.cursor + 1 {
            self.cursor = event.sequence - 1;
            return Ok(Some(News::Missed(self.cursor)));
        }
        self.cursor = event.sequence;
        Ok(self.read.pop_front().map(News::Event))
    }
}
