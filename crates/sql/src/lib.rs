//! [`Store`] on SQL databases: one text for each query, good for every engine.
//!
//! On the embedded engine one connection writes and several read. No other process writes (the data folder is locked), so a
//! transaction never waits for anybody else's.

mod accounts;
mod applications;
mod devices;
mod gateways;
mod mailings;
mod messages;
mod open;
mod row;
mod sessions;

use std::time::Duration;

use account::store::{
    AccountChange, Changed, Created, Creation, Imported, InsertError, LoginCommit, LoginOutcome, Mailed, Mailing, Page,
    RefreshToken, Rotation, Spend,
};
use account::{
    Account, AccountNumber, Activation, Address, AppVersion, Application, ApplicationId, Audience, Details, Device, Gateway,
    Guid, Identifier, Identity, Link, ObjectId, ProvenCode, Purpose, Queued, Serial, Session, Store, StoreError, StoredCode,
    Timestamp, TokenHash,
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

    async fn create_account(&self, creation: Creation<'_>) -> Result<Created, StoreError> {
        accounts::create(&self.write, creation).await
    }

    async fn change_account(&self, change: AccountChange<'_>) -> Result<Changed, StoreError> {
        accounts::change(&self.write, change).await
    }

    async fn delete_account(&self, number: AccountNumber, spend: Spend<'_>) -> Result<Changed, StoreError> {
        accounts::delete(&self.write, number, spend).await
    }

    async fn set_details(&self, number: AccountNumber, details: &Details) -> Result<bool, StoreError> {
        accounts::set_details(&self.write, number, details).await
    }

    async fn import_accounts(&self, accounts: &[Account], source: &str, line: i64) -> Result<Vec<Imported>, StoreError> {
        accounts::import(&self.write, accounts, source, line).await
    }

    async fn imported_up_to(&self, source: &str) -> Result<i64, StoreError> {
        accounts::imported_up_to(&self.read, source).await
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

    async fn device_by_guid(&self, guid: &Guid) -> Result<Option<Device>, StoreError> {
        devices::find_by_guid(&self.read, guid).await
    }

    async fn put_device(&self, device: &Device) -> Result<(), InsertError> {
        devices::put(&self.write, device).await
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

    async fn unbind(&self, serial: &Serial, account: Option<AccountNumber>) -> Result<bool, StoreError> {
        gateways::unbind(&self.write, serial, account).await
    }

    async fn rebind(&self, serial: &Serial, from: AccountNumber, to: AccountNumber) -> Result<bool, StoreError> {
        gateways::rebind(&self.write, serial, from, to).await
    }

    async fn gateway_by_guid(&self, guid: &Guid) -> Result<Option<Gateway>, StoreError> {
        gateways::find_by_guid(&self.read, guid).await
    }

    async fn gateways_like(&self, serial: &Serial, identity: &Identity) -> Result<Vec<Gateway>, StoreError> {
        gateways::alike(&self.read, serial, identity).await
    }

    async fn put_gateway(&self, gateway: &Gateway) -> Result<(), InsertError> {
        gateways::put(&self.write, gateway).await
    }

    async fn rename(&self, guid: &Guid, name: &str) -> Result<bool, StoreError> {
        devices::rename(&self.write, guid, name).await
    }

    async fn set_connect_method(&self, guid: &Guid, method: &str) -> Result<bool, StoreError> {
        gateways::set_connect_method(&self.write, guid, method).await
    }

    async fn commit_login(&self, login: LoginCommit<'_>) -> Result<LoginOutcome, StoreError> {
        sessions::commit_login(&self.write, login).await
    }

    async fn sessions(&self, account: Option<AccountNumber>, page: Page<ObjectId>) -> Result<Vec<Session>, StoreError> {
        sessions::list(&self.read, account, page).await
    }

    async fn session_with(&self, access: &TokenHash) -> Result<Option<Session>, StoreError> {
        sessions::find_by_access(&self.read, access).await
    }

    async fn refresh_token(&self, refresh: &TokenHash) -> Result<Option<RefreshToken>, StoreError> {
        sessions::find_by_refresh(&self.read, refresh).await
    }

    async fn rotate(&self, rotation: Rotation<'_>) -> Result<bool, StoreError> {
        sessions::rotate(&self.write, rotation).await
    }

    async fn end_session(&self, id: &ObjectId) -> Result<bool, StoreError> {
        sessions::end(&self.write, id).await
    }

    async fn mail(&self, mailing: Mailing<'_>) -> Result<Mailed, StoreError> {
        mailings::mail(&self.write, mailing).await
    }

    async fn take_try(&self, purpose: Purpose, address: &Address, most: i64) -> Result<Option<StoredCode>, StoreError> {
        mailings::take_try(&self.write, purpose, address, most).await
    }

    async fn return_try(&self, code: &ProvenCode) -> Result<(), StoreError> {
        mailings::return_try(&self.write, code).await
    }

    async fn link(&self, hash: &TokenHash) -> Result<Option<Link>, StoreError> {
        mailings::find_link(&self.read, hash).await
    }

    async fn claim_message(&self, now: Timestamp, until: Timestamp) -> Result<Option<Queued>, StoreError> {
        messages::claim(&self.write, now, until).await
    }

    async fn finish_message(&self, id: &ObjectId) -> Result<(), StoreError> {
        messages::finish(&self.write, id).await
    }

    async fn postpone_message(&self, id: &ObjectId, until: Option<Timestamp>, error: &str) -> Result<(), StoreError> {
        messages::postpone(&self.write, id, until, error).await
    }

    async fn next_message_due(&self) -> Result<Option<Timestamp>, StoreError> {
        messages::next_due(&self.read).await
    }

    async fn messages(&self, page: Page<ObjectId>) -> Result<Vec<Queued>, StoreError> {
        messages::list(&self.read, page).await
    }

    async fn forget_messages(&self, now: Timestamp, old: Timestamp) -> Result<(), StoreError> {
        messages::forget(&self.write, now, old).await
    }

    async fn remember_nonce(&self, audience: &Audience, nonce: &str, now: Timestamp, keep: Duration) -> Result<bool, StoreError> {
        sessions::remember_nonce(&self.write, audience, nonce, now, keep).await
    }
}
