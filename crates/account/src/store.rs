//! The port to storage.
//!
//! Every operation is one transaction, closed before it returns: the store never waits for the core to think. What a decision rests
//! on travels with it (an account's [revision](Account::revision)), and nothing is committed on another one.

use std::time::Duration;

use async_trait::async_trait;

use crate::account::{Account, AccountNumber, Activation, ObjectId};
use crate::application::{Application, ApplicationId};
use crate::device::{Device, Gateway, Serial};
use crate::identifier::Identifier;
use crate::password::Verifier;
use crate::session::{Audience, Session};
use crate::time::Timestamp;
use crate::version::AppVersion;

#[cfg(feature = "contract")]
#[doc(hidden)]
pub mod contract;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database does not answer, or refuses.
    #[error("the database failed: {0}")]
    Unavailable(String),
    /// A row holds what no row may hold.
    #[error("the database is inconsistent: {table}.{column} {problem}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// What is wrong with its value, never the value itself.
        problem: String,
    },
}

/// Why nothing was inserted.
#[derive(Debug, thiserror::Error)]
pub enum InsertError {
    /// Another row has the same id, identifier or serial number.
    #[error("already registered")]
    Taken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A login that has been decided, to be made true as a whole or not at all.
#[derive(Debug)]
pub struct LoginCommit<'a> {
    /// The account's revision that it was decided on.
    pub revision: i64,
    /// The session that begins; the account's earlier session at the same audience ends.
    pub session: &'a Session,
    /// The gateway to bind to the account; it must still be free.
    pub bind: Option<&'a Serial>,
    /// The verifier to put in place of an outdated one.
    pub verifier: Option<&'a Verifier>,
}

/// What a committed login found.
#[derive(Debug)]
pub struct LoginDone {
    /// The session that begins, with what it took over from the one it replaced.
    pub session: Session,
    /// When the replaced session ended: now, or when its access token had run out.
    pub previous_ended_at: Option<Timestamp>,
}

/// One page of a list, in the order of the key.
#[derive(Debug, Clone)]
pub struct Page<K> {
    /// The key after which the page begins.
    pub after: Option<K>,
    /// How many rows at most.
    pub limit: u32,
}

/// Where accounts, applications, devices and sessions are kept.
///
/// An operation that returns `Ok` is durable. Where one returns `bool`, it says whether the row it was to change exists.
#[async_trait]
pub trait Store: Send + Sync {
    /// Remembers the master key's fingerprint at the first call, and returns the one that is remembered.
    async fn key_fingerprint(&self, ours: &str) -> Result<String, StoreError>;

    /// Registers an application.
    async fn insert_application(&self, application: &Application) -> Result<(), InsertError>;
    /// Finds an application.
    async fn application(&self, id: &ApplicationId) -> Result<Option<Application>, StoreError>;
    /// Lists applications by id.
    async fn applications(&self, page: Page<ApplicationId>) -> Result<Vec<Application>, StoreError>;
    /// Allows or forbids an application to call; forbidding ends its sessions.
    async fn enable_application(&self, id: &ApplicationId, enabled: bool) -> Result<bool, StoreError>;

    /// Registers an account and returns its number. The number, revision and last login in `account` are ignored: it has none yet.
    async fn insert_account(&self, account: &Account) -> Result<AccountNumber, InsertError>;
    /// Finds an account by one of its identifiers.
    async fn account_named(&self, identifier: &Identifier) -> Result<Option<Account>, StoreError>;
    /// Finds an account by its number.
    async fn account(&self, number: AccountNumber) -> Result<Option<Account>, StoreError>;
    /// Lists accounts by number.
    async fn accounts(&self, page: Page<AccountNumber>) -> Result<Vec<Account>, StoreError>;
    /// Sets an account's verifier and ends its sessions.
    async fn set_verifier(&self, number: AccountNumber, verifier: &Verifier) -> Result<bool, StoreError>;
    /// Sets an account's activation.
    async fn set_activation(&self, number: AccountNumber, activation: Activation) -> Result<bool, StoreError>;
    /// Allows or forbids an account to be used; forbidding ends its sessions.
    async fn enable_account(&self, number: AccountNumber, enabled: bool) -> Result<bool, StoreError>;

    /// Registers a device.
    async fn insert_device(&self, device: &Device) -> Result<(), InsertError>;
    /// Finds a device.
    async fn device(&self, serial: &Serial) -> Result<Option<Device>, StoreError>;
    /// Lists devices by serial number.
    async fn devices(&self, page: Page<Serial>) -> Result<Vec<Device>, StoreError>;

    /// Registers a gateway.
    async fn insert_gateway(&self, gateway: &Gateway) -> Result<(), InsertError>;
    /// Finds a gateway.
    async fn gateway(&self, serial: &Serial) -> Result<Option<Gateway>, StoreError>;
    /// Lists gateways by serial number.
    async fn gateways(&self, page: Page<Serial>) -> Result<Vec<Gateway>, StoreError>;
    /// Finds an account's gateways.
    async fn gateways_of(&self, account: AccountNumber) -> Result<Vec<Gateway>, StoreError>;
    /// Sets the lowest version of an app that may log in with a gateway; `None` allows every version.
    async fn set_min_app_version(&self, serial: &Serial, version: Option<&AppVersion>) -> Result<bool, StoreError>;
    /// Binds a gateway that is free to an account. `false` when there is no such gateway or account, or it is not free.
    async fn bind(&self, serial: &Serial, account: AccountNumber) -> Result<bool, StoreError>;
    /// Frees a gateway. `false` when there is no such gateway, or it is free already.
    async fn unbind(&self, serial: &Serial) -> Result<bool, StoreError>;

    /// Makes a login true: session, binding and renewed verifier in one transaction. `None` when what it was decided on is no longer
    /// so (the account's revision, the gateway free, the application enabled); then nothing was changed.
    async fn commit_login(&self, login: LoginCommit<'_>) -> Result<Option<LoginDone>, StoreError>;
    /// Lists sessions by id: one account's, or all.
    async fn sessions(&self, account: Option<AccountNumber>, page: Page<ObjectId>) -> Result<Vec<Session>, StoreError>;
    /// Ends a session.
    async fn end_session(&self, id: &ObjectId) -> Result<bool, StoreError>;

    /// Remembers `nonce` for `audience`, and says whether it is new. All nonces remembered before `now - keep` are forgotten.
    async fn remember_nonce(&self, audience: &Audience, nonce: &str, now: Timestamp, keep: Duration) -> Result<bool, StoreError>;
}
