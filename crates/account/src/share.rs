//! A source's share of the hasher: one hash at a time.
//!
//! Whoever guesses stands in the line of a lane first (`throttle.rs`) and comes here one from each, as do newcomers; so that behind one
//! address, too, whoever floods has one place before others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::core::Core;
use crate::hasher::{HashError, Place};
use crate::lane::Lane;
use crate::origin::{Origin, Source};
use crate::password::{PasswordDigest, Verifier};
use crate::throttle::Permit;
use crate::turns::{NoTurn, Turn};

impl From<NoTurn> for HashError {
    fn from(error: NoTurn) -> Self {
        match error {
            NoTurn::TooLong(retry_after) => Self::Overloaded { retry_after },
            NoTurn::Stuck => Self::Broken("whoever hashed before could not go on".into()),
        }
    }
}

/// The sources from which somebody was let in to have a password compared.
#[derive(Debug, Default)]
pub(crate) struct Inside(Mutex<HashMap<Source, Visitors>>);

/// Those from one source.
#[derive(Debug, Default)]
struct Visitors {
    count: usize,
    /// The place of whoever is the first of them to be compared. The others come after it, one at a time.
    place: Option<Place>,
}

/// Somebody who was let in, until it is dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    inside: Arc<Inside>,
    source: Source,
    /// How long a hash was expected to wait then.
    pub hashing: Duration,
}

impl Inside {
    /// Lets somebody in. `place` is asked for when nobody else from there is inside.
    fn enter(self: &Arc<Self>, source: Source, hashing: Duration, place: impl FnOnce() -> Place) -> Entered {
        let mut sources = self.sources();
        let visitors = sources.entry(source).or_insert_with(|| Visitors { count: 0, place: Some(place()) });
        visitors.count += 1;
        Entered { inside: Arc::clone(self), source, hashing }
    }

    fn sources(&self) -> MutexGuard<'_, HashMap<Source, Visitors>> {
        // Nothing that holds it can panic in the middle of a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entered {
    /// The source's place, unless it was taken already.
    pub fn take_place(&self) -> Option<Place> {
        self.inside.sources().get_mut(&self.source)?.place.take()
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut sources = self.inside.sources();
        if let Some(visitors) = sources.get_mut(&self.source) {
            visitors.count -= 1;
            if visitors.count == 0 {
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
        let hashing = self.hasher.wait()?;
        let left = self.settings.longest_wait.saturating_sub(hashing);
        self.shares.would_wait(Lane::of_source(origin.source()).as_str(), left)?;
        Ok(hashing)
    }

    /// Lets somebody in whose password is to be compared, and takes a place in the queue for whoever is the first from that source: when
    /// many come at once, those for whom there will be no time hear of it here, and not when all of them were looked up.
    ///
    /// # Errors
    /// [`HashError::Overloaded`].
    pub(crate) fn enter(&self, origin: &Origin) -> Result<Entered, HashError> {
        let hashing = self.expect(origin)?;
        Ok(self.inside.enter(origin.source(), hashing, || self.hasher.reserve()))
    }

    /// Waits until no other hash for the same source is under way, unless that takes longer than there is `left`.
    ///
    /// # Errors
    /// [`HashError::Overloaded`].
    pub(crate) async fn share(&self, source: &Lane, left: Duration) -> Result<Turn, HashError> {
        Ok(self.shares.wait(source.as_str(), left).await?)
    }

    /// Makes a verifier of a new password that somebody sends, who may be in a turn of their own.
    ///
    /// # Errors
    /// [`HashError`].
    pub(crate) async fn hash_for(
        &self,
        origin: &Origin,
        password: PasswordDigest,
        permit: Option<&mut Permit>,
    ) -> Result<Verifier, HashError> {
        let left = self.settings.longest_wait.saturating_sub(self.hasher.wait()?);
        let asked = Instant::now();
        let _turn = self.share(&Lane::of_source(origin.source()), left).await?;
        if let Some(permit) = permit {
            permit.has_waited(asked.elapsed());
        }
        #[expect(clippy::disallowed_methods, reason = "in the source's turn")]
        self.hasher.hash(password).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn each_source_has_one_place_as_long_as_anybody_from_there_is_inside() {
        let (inside, taken) = (Arc::<Inside>::default(), Arc::default());
        let enter = |last: u8| inside.enter(Source::of([192, 0, 2, last].into()), Duration::ZERO, || Place::take(&taken));
        let places = || taken.load(Ordering::Relaxed);
        let (first, second, other) = (enter(1), enter(1), enter(2));
        assert_eq!(places(), 2);
        drop(first);
        assert_eq!(places(), 2, "it is the source's");
        let place = second.take_place().expect("the source's place");
        assert!(second.take_place().is_none() && enter(1).take_place().is_none(), "it is taken");
        drop(place);
        assert_eq!(places(), 1);
        drop((second, other));
        assert_eq!(places(), 0);
        assert!(enter(1).take_place().is_some(), "and afterwards it is as before");
    }
}
