//! A source's share of the hasher: one hash at a time.
//!
//! Whoever guesses stands in the line of a lane first (`throttle.rs`) and comes here one from each, as do newcomers; so that behind one
//! address, too, whoever floods has one place before others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::core::Core;
use crate::hasher::HashError;
use crate::origin::{Origin, Source};
use crate::password::{PasswordDigest, Verifier};
use crate::throttle::Lane;
use crate::turns::{NoTurn, Turn};

impl From<NoTurn> for HashError {
    fn from(error: NoTurn) -> Self {
        match error {
            NoTurn::TooLong(retry_after) => Self::Overloaded { retry_after },
            NoTurn::Stuck => Self::Broken("whoever hashed before could not go on".into()),
        }
    }
}

/// The sources from which somebody is logging in, and how many from each.
#[derive(Debug, Default)]
pub(crate) struct Inside(Mutex<HashMap<Source, usize>>);

/// Somebody who was let in to have a password compared, until it is dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    inside: Arc<Inside>,
    source: Source,
    /// How long a hash was expected to wait then.
    pub hashing: Duration,
}

impl Inside {
    fn enter(self: &Arc<Self>, source: Source, hashing: Duration) -> Entered {
        *self.sources().entry(source).or_default() += 1;
        Entered { inside: Arc::clone(self), source, hashing }
    }

    /// How many sources there are. Each has one hash at a time, however many log in from there.
    fn count(&self) -> usize {
        self.sources().len()
    }

    fn sources(&self) -> MutexGuard<'_, HashMap<Source, usize>> {
        // Nothing that holds it can panic in the middle of a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut sources = self.inside.sources();
        if let Some(count) = sources.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

impl Core {
    /// Whether a hash for whoever comes from there would be made in time, as things stand. This is cheap: to be asked before anything
    /// is looked up, so that those for whom there is no time take none from the others.
    ///
    /// # Errors
    /// [`HashError::Overloaded`].
    pub fn can_hash(&self, origin: &Origin) -> Result<(), HashError> {
        self.expect(origin).map(drop)
    }

    fn expect(&self, origin: &Origin) -> Result<Duration, HashError> {
        let hashing = self.hasher.wait(self.inside.count())?;
        let left = self.settings.longest_wait.saturating_sub(hashing);
        self.shares.would_wait(Lane::of_source(origin.source()).as_str(), left)?;
        Ok(hashing)
    }

    /// Lets somebody in whose password is to be compared. Whoever is inside has a place in the queue for sure, and counts before that is
    /// taken: when many come at once, those for whom there will be no time hear of it here, and not when they were all looked up.
    ///
    /// # Errors
    /// [`HashError::Overloaded`].
    pub(crate) fn enter(&self, origin: &Origin) -> Result<Entered, HashError> {
        let hashing = self.expect(origin)?;
        Ok(self.inside.enter(origin.source(), hashing))
    }

    /// Waits until no other hash for the same source is under way, unless that takes longer than there is `left`.
    ///
    /// # Errors
    /// [`HashError::Overloaded`].
    pub(crate) async fn share(&self, source: &Lane, left: Duration) -> Result<Turn, HashError> {
        Ok(self.shares.wait(source.as_str(), left).await?)
    }

    /// Makes a verifier of a new password that somebody sends.
    ///
    /// # Errors
    /// [`HashError`].
    pub(crate) async fn hash_for(&self, origin: &Origin, password: PasswordDigest) -> Result<Verifier, HashError> {
        let left = self.settings.longest_wait.saturating_sub(self.hasher.wait(0)?);
        let _turn = self.share(&Lane::of_source(origin.source()), left).await?;
        #[expect(clippy::disallowed_methods, reason = "in the source's turn")]
        self.hasher.hash(password).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_counts_once_as_long_as_anybody_from_there_is_inside() {
        let inside = Arc::<Inside>::default();
        let enter = |last: u8| inside.enter(Source::of([192, 0, 2, last].into()), Duration::ZERO);
        let (first, second, other) = (enter(1), enter(1), enter(2));
        assert_eq!(inside.count(), 2);
        drop(first);
        assert_eq!(inside.count(), 2);
        drop((second, other));
        assert_eq!(inside.count(), 0);
    }
}
