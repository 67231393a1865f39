//! A source's share of the hasher: one hash at a time.
//!
//! Whoever guesses stands in the line of a lane first (`throttle.rs`) and comes here one from each, as do newcomers; so that behind one
//! address, too, whoever floods has one place before others.

use std::time::Instant;

use crate::core::Core;
use crate::hasher::HashError;
use crate::origin::Origin;
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

impl Core {
    /// Whether a hash for whoever comes from there would be made in time, as things stand. This is cheap: to be asked before anything
    /// is looked up, so that those for whom there is no time take none from the others.
    ///
    /// # Errors
    /// [`HashError::Overloaded`].
    pub fn can_hash(&self, origin: &Origin) -> Result<(), HashError> {
        let left = self.settings.longest_wait.saturating_sub(self.hasher.wait()?);
        Ok(self.shares.would_wait(Lane::of_source(origin.source()).as_str(), left)?)
    }

    /// Waits until no other hash for the same source is under way. What is left of the longest wait is counted from `begun`.
    ///
    /// # Errors
    /// [`HashError::Overloaded`].
    pub(crate) async fn share(&self, source: &Lane, begun: Instant) -> Result<Turn, HashError> {
        let left = self.settings.longest_wait.saturating_sub(begun.elapsed() + self.hasher.wait()?);
        Ok(self.shares.wait(source.as_str(), left).await?)
    }

    /// Makes a verifier of a new password that somebody sends.
    ///
    /// # Errors
    /// [`HashError`].
    pub(crate) async fn hash_for(&self, origin: &Origin, password: PasswordDigest) -> Result<Verifier, HashError> {
        let _turn = self.share(&Lane::of_source(origin.source()), Instant::now()).await?;
        #[expect(clippy::disallowed_methods, reason = "in the source's turn")]
        self.hasher.hash(password).await
    }
}
