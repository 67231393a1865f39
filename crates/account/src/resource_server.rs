//! Resource servers: what stands behind the front door and asks whether tokens are good (RFC 6749 §1.1).

use std::sync::Arc;

use subtle::ConstantTimeEq;

use crate::account::Account;
use crate::core::Core;
use crate::device::Guid;
use crate::origin::Origin;
use crate::random::{self, Rng};
use crate::session::Session;
use crate::store::StoreError;
use crate::text::{Malformed, plain, text_type};
use crate::throttle::GuessError;
use crate::time::Timestamp;
use crate::token::TokenHash;
use crate::token_check::TokenError;

text_type! {
    /// A resource server's id: 1 to 64 letters, digits, `-` and `_`.
    ResourceServerId, |text| {
        plain(text, 64)?;
        let letters = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if letters { Ok(text.to_owned()) } else { Err(Malformed("is not a resource server's id (1 to 64 of A-Z, a-z, 0-9, - and _)")) }
    }
}

impl ResourceServerId {
    /// Draws a new id of 16 letters and digits.
    pub(crate) fn draw(rng: &dyn Rng) -> Self {
        Self(random::alphanumeric(rng, 16))
    }
}

/// A resource server.
#[derive(Debug, Clone)]
pub struct ResourceServer {
    /// Its id.
    pub id: ResourceServerId,
    /// What the operator calls it.
    pub name: String,
    /// The hash of its secret.
    pub secret: TokenHash,
    /// The hash of the secret before, and until when that one is good.
    pub previous: Option<(TokenHash, Timestamp)>,
    /// Whether it may ask at the moment.
    pub enabled: bool,
    /// When it was registered.
    pub created_at: Timestamp,
}

impl ResourceServer {
    /// Whether it is its secret, or the one before while that is good, whose hash was presented; compared in constant time.
    #[must_use]
    pub fn knows(&self, presented: &TokenHash, now: Timestamp) -> bool {
        let is = |hash: &TokenHash| hash.as_str().as_bytes().ct_eq(presented.as_str().as_bytes());
        let current = is(&self.secret);
        let previous = self.previous.as_ref().filter(|(_, until)| now < *until).map_or(0.into(), |(hash, _)| is(hash));
        (current | previous).into()
    }
}

/// Why a resource server is not who it says it is. The words are for the log.
#[derive(Debug, thiserror::Error)]
pub enum ResourceServerError {
    /// No resource server has this id.
    #[error("the resource server is unknown")]
    Unknown,
    /// The operator has disabled it.
    #[error("the resource server is disabled")]
    Disabled,
    /// It is not its secret.
    #[error("the resource server's secret is wrong")]
    Secret,
    /// It was not compared with anything.
    #[error(transparent)]
    Guess(#[from] GuessError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who holds a good access token.
#[derive(Debug, Clone)]
pub struct Holder {
    /// The account.
    pub account: Account,
    /// The session.
    pub session: Session,
    /// The guid of the device where the session is valid, if it is one.
    pub device: Option<Guid>,
    /// The guids of the account's gateways.
    pub gateways: Vec<Guid>,
}

impl Core {
    /// Finds the resource server called `id` and checks its secret.
    ///
    /// # Errors
    /// [`ResourceServerError`].
    pub async fn authenticate_resource_server(
        &self,
        id: &str,
        secret: &str,
        origin: &Origin,
    ) -> Result<ResourceServer, ResourceServerError> {
        let server = match id.parse() {
            Ok(id) => self.store.resource_server(&id).await?,
            Err(_) => None,
        };
        let wrong = match server {
            Some(server) if !server.knows(&TokenHash::of(secret), self.clock.now()) => ResourceServerError::Secret,
            Some(server) if server.enabled => return Ok(server),
            Some(_) => return Err(ResourceServerError::Disabled),
            None => ResourceServerError::Unknown,
        };
        self.presented_nothing(origin).await?;
        Err(wrong)
    }

    /// Finds who holds this access token. A disabled account or application has no sessions.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn token_holder(&self, access: &str) -> Result<Arc<Holder>, TokenError> {
        let holder = self.holder_of(access).await?.ok_or(TokenError::Unknown)?;
        if self.clock.now() < holder.session.access_expires_at { Ok(holder) } else { Err(TokenError::Expired) }
    }

    /// Finds who holds this access token, good or not any more.
    pub(crate) async fn holder_of(&self, access: &str) -> Result<Option<Arc<Holder>>, StoreError> {
        Ok(self.store.holders(&[TokenHash::of(access)]).await?.pop())
    }

    /// Finds the session of the account with this `apikey` at an application or device, while its access token is good.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn holder_at(&self, apikey: &str, audience: &str) -> Result<Option<Holder>, StoreError> {
        let now = self.clock.now();
        let mut found = self.store.holders_at(apikey, audience).await?;
        found.retain(|holder| now < holder.session.access_expires_at);
        // An application and a device of one name cannot be told apart.
        Ok(found.pop().filter(|_| found.is_empty()))
    }

    /// Finds the sessions of the account with this `apikey` at an application or device, also while they are to be refreshed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn holders_at(&self, apikey: &str, audience: &str) -> Result<Vec<Holder>, StoreError> {
        self.store.holders_at(apikey, audience).await
    }

    /// Finds who holds each of these access tokens; `None` for one that is not good. A disabled account or application has no sessions.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn token_holders(&self, access: &[&str]) -> Result<Vec<Option<Arc<Holder>>>, StoreError> {
        let hashes: Vec<_> = access.iter().map(|token| TokenHash::of(token)).collect();
        let found = self.store.holders(&hashes).await?;
        let now = self.clock.now();
        let holder = |hash: &TokenHash| found.iter().find(|holder| holder.session.access_hash == *hash);
        let good = |holder: &&Arc<Holder>| now < holder.session.access_expires_at;
        Ok(hashes.iter().map(|hash| holder(hash).filter(good).cloned()).collect())
    }
}
