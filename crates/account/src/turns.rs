//! One after the other: whoever asks for the same thing at the same time stands in line.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_lock::{Mutex as AsyncMutex, MutexGuardArc};

use crate::mean::Mean;

/// Of how many turns the mean is: few, for how long a turn takes changes at once when hashing is overloaded or no longer.
const MEMORY: u64 = 8;

/// Lines, each with a name, that exist as long as somebody stands in them.
#[derive(Debug)]
pub(crate) struct Turns {
    lines: Mutex<HashMap<String, Line>>,
    /// How long a turn takes.
    mean: Mean,
}

impl Default for Turns {
    fn default() -> Self {
        Self { lines: Mutex::default(), mean: Mean::new(MEMORY) }
    }
}

#[derive(Debug, Default)]
struct Line {
    standing: u64,
    head: Arc<AsyncMutex<()>>,
    /// How many have found that it cannot go on.
    stuck: u64,
}

/// Why nobody's turn comes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoTurn {
    /// It would take so long, which is too long.
    TooLong(Duration),
    /// Somebody who stood before found that it cannot go on.
    Stuck,
}

/// Somebody's turn; the next one's begins when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    begun: Instant,
    // Dropped in this order.
    _head: MutexGuardArc<()>,
    place: Place,
}

/// A place in a line, given up when it is dropped.
#[derive(Debug)]
struct Place {
    turns: Arc<Turns>,
    name: String,
}

impl Turns {
    /// Waits for one's turn in the line called `name`, about as long as `longest`.
    ///
    /// # Errors
    /// [`NoTurn`]; when it would take too long, nobody has waited.
    pub async fn wait(self: &Arc<Self>, name: &str, longest: Duration) -> Result<Turn, NoTurn> {
        let (place, head) = self.stand(name, longest)?;
        let stuck = self.stuck(name);
        let head = head.lock_arc().await;
        if self.stuck(name) > stuck {
            return Err(NoTurn::Stuck);
        }
        Ok(Turn { begun: Instant::now(), _head: head, place })
    }

    /// Whether who came now to the line called `name` would wait no longer than `longest`.
    ///
    /// # Errors
    /// [`NoTurn::TooLong`].
    pub fn would_wait(&self, name: &str, longest: Duration) -> Result<(), NoTurn> {
        let standing = self.lines().get(name).map_or(0, |line| line.standing);
        self.bearable(standing, longest)
    }

    fn bearable(&self, standing: u64, longest: Duration) -> Result<(), NoTurn> {
        let wait = self.mean.times(standing);
        if wait > longest { Err(NoTurn::TooLong(wait)) } else { Ok(()) }
    }

    /// How often the line was found to be stuck, while somebody stands in it.
    fn stuck(&self, name: &str) -> u64 {
        self.lines().get(name).map_or(0, |line| line.stuck)
    }

    fn stand(self: &Arc<Self>, name: &str, longest: Duration) -> Result<(Place, Arc<AsyncMutex<()>>), NoTurn> {
        let mut lines = self.lines();
        let line = lines.entry(name.to_owned()).or_default();
        self.bearable(line.standing, longest)?;
        line.standing += 1;
        let place = Place { turns: Arc::clone(self), name: name.to_owned() };
        Ok((place, Arc::clone(&line.head)))
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<String, Line>> {
        // Nothing that holds it can panic in the middle of a change.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// For so long it was waited for others in it: that is no part of how long a turn takes.
    pub fn has_waited(&mut self, waited: Duration) {
        self.begun += waited;
    }

    /// It cannot go on: whoever waits behind would only find out the same, one after the other.
    pub fn is_stuck(&self) {
        if let Some(line) = self.place.turns.lines().get_mut(&self.place.name) {
            line.stuck += 1;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.place.turns.mean.note(self.begun.elapsed());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.turns.lines();
        if let Some(line) = lines.get_mut(&self.name) {
            line.standing -= 1;
            if line.standing == 0 {
                lines.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const LONGEST: Duration = Duration::from_secs(2);

    /// What a future says when it is asked once.
    fn ask<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_after_the_other_in_each_line() {
        let turns = Arc::<Turns>::default();
        let first = ask(turns.wait("a", LONGEST)).unwrap().unwrap();
        assert!(ask(turns.wait("a", LONGEST)).is_none(), "the second waits");
        assert!(matches!(ask(turns.wait("b", LONGEST)), Some(Ok(_))), "another line is free");
        drop(first);
        assert!(matches!(ask(turns.wait("a", LONGEST)), Some(Ok(_))), "whoever gave up waiting is in nobody's way");
        assert!(turns.lines().is_empty(), "nobody stands anywhere");
    }

    #[test]
    fn who_would_wait_too_long_is_sent_away_at_once() {
        let turns = Arc::<Turns>::default();
        turns.mean.note(Duration::from_secs(1));
        let first = ask(turns.wait("a", LONGEST)).unwrap().unwrap();
        let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(turns.wait("a", LONGEST))).collect();
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.iter_mut().all(|one| one.as_mut().poll(&mut context).is_pending()));
        let sent_away = ask(turns.wait("a", LONGEST)).unwrap();
        assert_eq!(sent_away.unwrap_err(), NoTurn::TooLong(Duration::from_secs(3)));
        assert_eq!(turns.would_wait("a", LONGEST), Err(NoTurn::TooLong(Duration::from_secs(3))));
        assert_eq!((turns.would_wait("a", LONGEST * 2), turns.would_wait("b", LONGEST)), (Ok(()), Ok(())));
        drop((first, waiting));
        assert!(matches!(ask(turns.wait("a", LONGEST)), Some(Ok(_))), "and afterwards it is as before");
    }

    #[test]
    fn what_was_waited_for_in_a_turn_does_not_count() {
        let turns = Arc::<Turns>::default();
        let mut first = ask(turns.wait("a", LONGEST)).unwrap().unwrap();
        first.begun = Instant::now().checked_sub(Duration::from_hours(2)).unwrap();
        first.has_waited(Duration::from_hours(1));
        drop(first);
        let _second = ask(turns.wait("a", LONGEST)).unwrap().unwrap();
        let hour_and = |seconds| turns.would_wait("a", Duration::from_hours(1) + Duration::from_secs(seconds));
        assert!(hour_and(0).is_err(), "the turn itself does");
        assert_eq!(hour_and(60), Ok(()));
    }

    #[test]
    fn a_turn_that_is_over_tells_how_long_the_next_one_takes() {
        let turns = Arc::<Turns>::default();
        drop(ask(turns.wait("a", LONGEST)).unwrap().unwrap());
        let _second = ask(turns.wait("a", LONGEST)).unwrap().unwrap();
        assert!(turns.would_wait("a", Duration::ZERO).is_err());
    }

    #[test]
    fn who_waits_behind_somebody_stuck_need_not_find_out() {
        let turns = Arc::<Turns>::default();
        let first = ask(turns.wait("a", LONGEST)).unwrap().unwrap();
        let mut second = Box::pin(turns.wait("a", LONGEST));
        let mut context = Context::from_waker(Waker::noop());
        assert!(second.as_mut().poll(&mut context).is_pending());
        first.is_stuck();
        drop(first);
        assert!(matches!(second.as_mut().poll(&mut context), Poll::Ready(Err(NoTurn::Stuck))));
        assert!(matches!(ask(turns.wait("a", LONGEST)), Some(Ok(_))), "whoever comes later tries anew");
    }
}
