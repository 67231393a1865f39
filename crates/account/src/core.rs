//! The core itself, and who may call it.

use std::sync::Arc;
use std::time::Duration;

use crate::account::{Account, AccountNumber};
use crate::application::{Application, ApplicationSecret, Profile};
use crate::audit::Trail;
use crate::directory::Directory;
use crate::hasher::PasswordHasher;
use crate::identifier::Identifier;
use crate::keys::Keys;
use crate::message::Notifier;
use crate::random::Rng;
use crate::region::Region;
use crate::session::Audience;
use crate::share::Inside;
use crate::store::{Store, StoreError};
use crate::tally::Rules;
use crate::time::Clock;
use crate::turns::Turns;

/// Everything that is decided about accounts is decided here, whichever dialect asks.
pub struct Core {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) hasher: Arc<dyn PasswordHasher>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) notifier: Arc<dyn Notifier>,
    pub(crate) directory: Option<Arc<dyn Directory>>,
    pub(crate) settings: Settings,
    pub(crate) keys: Arc<Keys>,
    /// Who waits for the same lane on this node.
    pub(crate) turns: Arc<Turns>,
    /// Who waits for another hash of the same source on this node.
    pub(crate) shares: Arc<Turns>,
    /// Who was let in on this node to have a password compared.
    pub(crate) inside: Arc<Inside>,
    /// What this node puts into the audit trail.
    pub(crate) trail: Trail,
}

/// What an operator decides about the core.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The regions whose accounts are in the store.
    pub regions: Vec<Region>,
    /// The pause before a message is tried a second time; it doubles with each try.
    pub retry_pause: Duration,
    /// How much guessing is forgiven.
    pub throttle: Rules,
    /// How many may register from one source without having proven anything, before the next ones wait.
    pub registrations: u32,
    /// The longest that anybody is let wait for those who guess in the same lane, and for other hashes of the same source.
    pub longest_wait: Duration,
    /// How long the audit trail is kept.
    pub audit_keep: Duration,
    /// Whether whoever logs in to an account that does not exist hears that the password is wrong.
    pub uniform_errors: bool,
}

/// What the core needs of the world.
pub struct Ports {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// Who makes and checks verifiers.
    pub hasher: Arc<dyn PasswordHasher>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where randomness comes from.
    pub rng: Arc<dyn Rng>,
    /// Who delivers messages.
    pub notifier: Arc<dyn Notifier>,
    /// Which region has an identifier, where other regions have stores of their own.
    pub directory: Option<Arc<dyn Directory>>,
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

    /// Where its sessions are valid.
    #[must_use]
    pub fn audience(&self) -> Audience {
        Audience::Application(self.0.id.clone())
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
    pub fn new(ports: Ports, settings: Settings, keys: Arc<Keys>) -> Self {
        let Ports { store, hasher, clock, rng, notifier, directory } = ports;
        let (turns, shares, inside) = Default::default();
        Self { store, hasher, clock, rng, notifier, directory, settings, keys, turns, shares, inside, trail: Trail::default() }
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

    /// Finds the application called `id` and checks that `signature` is its HMAC-SHA256 of one of `messages`: the same request can
    /// be written in more than one way.
    ///
    /// # Errors
    /// [`AuthenticateError`].
    pub async fn authenticate(
        &self,
        id: &str,
        messages: &[impl AsRef<[u8]>],
        signature: &[u8],
    ) -> Result<Authenticated, AuthenticateError> {
        let id = id.parse().map_err(|_| AuthenticateError::Unknown)?;
        let application = self.store.application(&id).await?.ok_or(AuthenticateError::Unknown)?;
        if !application.enabled {
            return Err(AuthenticateError::Disabled);
        }
        let secret = ApplicationSecret::open(&self.keys, &application).map_err(AuthenticateError::Sealed)?;
        let signed = messages.iter().any(|message| secret.signed(message.as_ref(), signature));
        if signed { Ok(Authenticated(application)) } else { Err(AuthenticateError::Signature) }
    }

    /// Finds the account that has this identifier.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn account_named(&self, identifier: &Identifier) -> Result<Option<Account>, StoreError> {
        self.store.account_named(identifier).await
    }

    /// Finds the account with this number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn account(&self, number: AccountNumber) -> Result<Option<Account>, StoreError> {
        self.store.account(number).await
    }

    /// Whether an account has this identifier.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn knows(&self, identifier: &Identifier) -> Result<bool, StoreError> {
        Ok(self.store.account_named(identifier).await?.is_some())
    }
}
