//! [`Store`] on SQL databases: one text for each query, good for every engine.
//!
//! On the embedded engine one connection writes and several read. No other process writes (the data folder is locked), so a
//! transaction never waits for anybody else's.

mod accounts;
mod applications;
mod devices;
mod gateways;
mod open;
mod row;
mod sessions;

use std::time::Duration;

use account::store::{InsertError, LoginCommit, LoginDone, Page};
use account::{
    Account, AccountNumber, Activation, AppVersion, Application, ApplicationId, Audience, Device, Gateway, Identifier, ObjectId,
    Serial, Session, Store, StoreError, Timestamp, Verifier,
};
use sqlx::AnyPool;

pub use crate::open::{OLDEST_SQLITE, OpenError};

/// A store on a SQL database.
#[derive(Debug, Clone)]
pub struct SqlStore {
    read: AnyPool,
    write: AnyPool,
}

#[async_trait::async_trait]
impl Store for SqlStore {
    async fn key_fingerprint(&self, ours: &str) -> Result<String, StoreError> {
        open::key_fingerprint(&self.write, ours).await
    }

    async fn insert_application(&self, application: &Application) -> Result<(), InsertError> {
        applications::insert(&self.write, application).await
    }

    async fn application(&self, id: &ApplicationId) -> Result<Option<Application>, StoreError> {
        applications::find(&self.read, id).await
    }

    async fn applications(&self, page: Page<ApplicationId>) -> Result<Vec<Application>, StoreError> {
        applications::list(&self.read, page).await
    }

    async fn enable_application(&self, id: &ApplicationId, enabled: bool) -> Result<bool, StoreError> {
        applications::enable(&self.write, id, enabled).await
    }

    async fn insert_account(&self, account: &Account) -> Result<AccountNumber, InsertError> {
        accounts::insert(&self.write, account).await
    }

    async fn account_named(&self, identifier: &Identifier) -> Result<Option<Account>, StoreError> {
        accounts::find_named(&self.read, identifier).await
    }

    async fn account(&self, number: AccountNumber) -> Result<Option<Account>, StoreError> {
        accounts::find(&self.read, number).await
    }

    async fn accounts(&self, page: Page<AccountNumber>) -> Result<Vec<Account>, StoreError> {
        accounts::list(&self.read, page).await
    }

    async fn set_verifier(&self, number: AccountNumber, verifier: &Verifier) -> Result<bool, StoreError> {
        accounts::set_verifier(&self.write, number, verifier).await
    }

    async fn set_activation(&self, number: AccountNumber, activation: Activation) -> Result<bool, StoreError> {
        accounts::set_activation(&self.write, number, activation).await
    }

    async fn enable_account(&self, number: AccountNumber, enabled: bool) -> Result<bool, StoreError> {
        accounts::enable(&self.write, number, enabled).await
    }

    async fn insert_device(&self, device: &Device) -> Result<(), InsertError> {
        devices::insert(&self.write, device).await
    }

    async fn device(&self, serial: &Serial) -> Result<Option<Device>, StoreError> {
        devices::find(&self.read, serial).await
    }

    async fn devices(&self, page: Page<Serial>) -> Result<Vec<Device>, StoreError> {
        devices::list(&self.read, page).await
    }

    async fn insert_gateway(&self, gateway: &Gateway) -> Result<(), InsertError> {
        gateways::insert(&self.write, gateway).await
    }

    async fn gateway(&self, serial: &Serial) -> Result<Option<Gateway>, StoreError> {
        gateways::find(&self.read, serial).await
    }

    async fn gateways(&self, page: Page<Serial>) -> Result<Vec<Gateway>, StoreError> {
        gateways::list(&self.read, page).await
    }

    async fn gateways_of(&self, account: AccountNumber) -> Result<Vec<Gateway>, StoreError> {
        gateways::of_account(&self.read, account).await
    }

    async fn set_min_app_version(&self, serial: &Serial, version: Option<&AppVersion>) -> Result<bool, StoreError> {
        gateways::set_min_app_version(&self.write, serial, version).await
    }

    async fn bind(&self, serial: &Serial, account: AccountNumber) -> Result<bool, StoreError> {
        gateways::bind(&self.write, serial, account).await
    }

    async fn unbind(&self, serial: &Serial) -> Result<bool, StoreError> {
        gateways::unbind(&self.write, serial).await
    }

    async fn commit_login(&self, login: LoginCommit<'_>) -> Result<Option<LoginDone>, StoreError> {
        sessions::commit_login(&self.write, login).await
    }

    async fn sessions(&self, account: Option<AccountNumber>, page: Page<ObjectId>) -> Result<Vec<Session>, StoreError> {
        sessions::list(&self.read, account, page).await
    }

    async fn end_session(&self, id: &ObjectId) -> Result<bool, StoreError> {
        sessions::end(&self.write, id).await
    }

    async fn remember_nonce(&self, audience: &Audience, nonce: &str, now: Timestamp, keep: Duration) -> Result<bool, StoreError> {
        sessions::remember_nonce(&self.write, audience, nonce, now, keep).await
    }
}
