//! The port to password hashing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use secrecy::SecretString;

use crate::keys::PepperName;
use crate::password::{Candidate, PasswordDigest, Verifier};

/// Makes and checks verifiers. Hashing is the scarce resource: an implementation says when too many wait for it.
#[async_trait::async_trait]
pub trait PasswordHasher: Send + Sync {
    /// Makes a verifier with the current parameters and a new salt.
    ///
    /// # Errors
    /// [`HashError`].
    async fn hash(&self, digest: PasswordDigest) -> Result<Verifier, HashError>;

    /// Makes a verifier of the SHA-256 of a digest, in hex, as it comes from elsewhere ([`Scheme::Sha256OfDigest`](crate::Scheme)).
    ///
    /// # Errors
    /// [`HashError`].
    async fn wrap(&self, sha256: SecretString) -> Result<Verifier, HashError>;

    /// Whether a verifier from elsewhere can be checked here, at a bearable cost.
    ///
    /// # Errors
    /// [`HashError::Broken`], with what is wrong with it.
    fn check(&self, verifier: &Verifier) -> Result<(), HashError>;

    /// How long the next password is expected to wait.
    ///
    /// # Errors
    /// [`HashError::Overloaded`], when that is too long.
    fn wait(&self) -> Result<Duration, HashError>;

    /// Takes a place in the queue, behind all that were taken before. It is for the caller to ask first how long it will [wait](Self::wait).
    fn reserve(&self) -> Place;

    /// The name of the pepper in `verifier`, which is its master key's fingerprint; `None` where no pepper is.
    fn pepper_of(&self, verifier: &Verifier) -> Option<PepperName>;

    /// Checks a password against `verifier`. `None` stands for an account that does not exist: it costs the same and is never right.
    ///
    /// # Errors
    /// [`HashError::Broken`].
    async fn verify(&self, place: Place, candidate: Candidate, verifier: Option<Verifier>) -> Result<Verdict, HashError>;
}

/// A place in a queue, given up when it is dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Place {
    /// Takes one more of the places that `taken` counts.
    #[must_use]
    pub fn take(taken: &Arc<AtomicUsize>) -> Self {
        taken.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(taken))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What [`PasswordHasher::verify`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not the password.
    Wrong,
    /// The password.
    Right,
    /// The password, but its verifier was made with other parameters or another pepper than are used today.
    RightButOutdated,
}

/// Why nothing was hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// Too many wait already.
    #[error("too many passwords are waiting to be hashed")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The hasher does not work, or the verifier is not one.
    #[error("cannot hash: {0}")]
    Broken(String),
}

impl HashError {
    /// When to try again, if that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after } => Some(*retry_after),
            Self::Broken(_) => None,
        }
    }
}
