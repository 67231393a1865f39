//! The core itself, and who may call it.

use std::sync::Arc;

use crate::application::{Application, ApplicationSecret, Profile};
use crate::hasher::PasswordHasher;
use crate::identifier::Identifier;
use crate::master_key::MasterKey;
use crate::random::Rng;
use crate::store::{Store, StoreError};
use crate::time::Clock;

/// Everything that is decided about accounts is decided here, whichever dialect asks.
pub struct Core {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) hasher: Arc<dyn PasswordHasher>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) key: MasterKey,
}

/// An application that has proven who it is. Only [`Core::authenticate`] makes one.
#[derive(Debug)]
pub struct Authenticated(pub(crate) Application);

impl Authenticated {
    /// How exactly the application must follow the documents.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.0.profile
    }

    /// The application.
    #[must_use]
    pub fn application(&self) -> &Application {
        &self.0
    }
}

/// Why a caller is not who it says it is.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticateError {
    /// No application has this id.
    #[error("the application is unknown")]
    Unknown,
    /// The operator has disabled it.
    #[error("the application is disabled")]
    Disabled,
    /// It was not signed with the application's secret.
    #[error("the signature does not match")]
    Signature,
    /// The application's secret does not open with this server's master key.
    #[error("the application's secret {0}")]
    Sealed(crate::text::Malformed),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Core {
    /// Puts the core together with its ports.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        hasher: Arc<dyn PasswordHasher>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        key: MasterKey,
    ) -> Self {
        Self { store, hasher, clock, rng, key }
    }

    /// The clock that decides.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// The source of randomness.
    #[must_use]
    pub fn rng(&self) -> &dyn Rng {
        &*self.rng
    }

    /// Finds the application called `id` and checks that `signature` is its HMAC-SHA256 of `message`.
    ///
    /// # Errors
    /// [`AuthenticateError`].
    pub async fn authenticate(&self, id: &str, message: &[u8], signature: &[u8]) -> Result<Authenticated, AuthenticateError> {
        let id = id.parse().map_err(|_| AuthenticateError::Unknown)?;
        let application = self.store.application(&id).await?.ok_or(AuthenticateError::Unknown)?;
        if !application.enabled {
            return Err(AuthenticateError::Disabled);
        }
        let secret = ApplicationSecret::open(&self.key, &application).map_err(AuthenticateError::Sealed)?;
        if secret.signed(message, signature) { Ok(Authenticated(application)) } else { Err(AuthenticateError::Signature) }
    }

    /// Whether an account has this identifier.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn knows(&self, identifier: &Identifier) -> Result<bool, StoreError> {
        Ok(self.store.account_named(identifier).await?.is_some())
    }
}
