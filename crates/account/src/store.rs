//! The port to storage.
//!
//! Every operation is one transaction, closed before it returns: the store never waits for the core to think. What a decision rests
//! on travels with it (an account's [revision](Account::revision)), and nothing is committed on another one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::account::{Account, AccountNumber, Activation, Details, ObjectId};
use crate::application::{Application, ApplicationId};
use crate::audit::{AuditQuery, Entry};
use crate::code::{Limit, ProvenCode, Purpose, StoredCode};
use crate::device::{Device, Gateway, Guid, Identity, Serial};
use crate::identifier::Identifier;
use crate::lane::Lane;
use crate::link::Link;
use crate::master_key::Sealed;
use crate::message::{Address, Queued};
use crate::password::Verifier;
use crate::refresh::SpentToken;
use crate::region::Region;
use crate::resource_server::{Holder, ResourceServer, ResourceServerId};
use crate::session::{Audience, Session};
use crate::session_event::{EndReason, SessionEvent};
use crate::tally::{Count, Guess, Guessed, Right, Rules, Tally};
use crate::time::Timestamp;
use crate::token::TokenHash;
use crate::version::AppVersion;

#[cfg(feature = "contract")]
#[doc(hidden)]
pub mod contract;

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, or does not answer in time: the same may work a little later.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// Others were changing the same, again and again; nothing of this was done.
    #[error("the database is too busy: {0}")]
    Contended(String),
    /// The database refuses.
    #[error("the database failed: {0}")]
    Failed(String),
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
    /// What is in it was made under a master key that this process has not been given, or not yet.
    #[error("this node has not been given the master key that is in force")]
    OtherKey,
}

impl StoreError {
    /// Whether the same may work a little later.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Contended(_) | Self::OtherKey)
    }
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

/// A master key that is not in force any more.
#[derive(Debug, Clone)]
pub struct FormerKey {
    /// Its fingerprint.
    pub fingerprint: String,
    /// The key, sealed under the one in force.
    pub sealed: Sealed,
    /// When another took its place.
    pub retired_at: Timestamp,
}

/// The master keys that a store was under.
#[derive(Debug, Clone, Default)]
pub struct KeptKeys {
    /// The fingerprint of the one in force, if it was ever used.
    pub current: Option<String>,
    /// Those before it, the oldest first.
    pub former: Vec<FormerKey>,
}

/// A login that has been decided, to be made true as a whole or not at all.
#[derive(Debug, Clone)]
pub struct LoginCommit {
    /// The account's revision that it was decided on.
    pub revision: i64,
    /// The session that begins; the account's earlier session at the same audience ends.
    pub session: Session,
    /// The gateway to bind to the account; it must still be free.
    pub bind: Option<Serial>,
    /// The verifier to put in place of an outdated one.
    pub verifier: Option<Verifier>,
    /// The code that proved the login, to be used up by it.
    pub spend: Option<ProvenCode>,
    /// The guess at the password, which was right.
    pub right: Option<Right>,
    /// Its entry in the audit trail.
    pub entry: Entry,
}

/// What became of a login.
#[derive(Debug)]
pub enum LoginOutcome {
    /// It is true now.
    Done(Box<LoginDone>),
    /// What it was decided on is no longer so (the account's revision, the gateway free, the application enabled).
    Stale,
    /// The code was used up meanwhile.
    Spent,
}

/// What a committed login found.
#[derive(Debug)]
pub struct LoginDone {
    /// The session that begins, with what it took over from the one it replaced.
    pub session: Session,
    /// When the replaced session ended: now, or when its access token had run out.
    pub previous_ended_at: Option<Timestamp>,
}

impl LoginOutcome {
    /// The login, if it is true now.
    #[must_use]
    pub fn done(self) -> Option<LoginDone> {
        match self {
            Self::Done(done) => Some(*done),
            Self::Stale | Self::Spent => None,
        }
    }
}

/// What proved an address, to be used up by what it allows.
#[derive(Debug, Clone, Copy)]
pub enum Spend<'a> {
    /// A code.
    Code(&'a ProvenCode),
    /// A link.
    Link(&'a Link),
}

/// A new code, which takes the place of an older one for the same purpose and address.
#[derive(Debug, Clone, Copy)]
pub struct NewCode<'a> {
    /// What it is for.
    pub purpose: Purpose,
    /// Its keyed hash.
    pub hash: &'a str,
    /// The end of its life.
    pub expires_at: Timestamp,
}

/// A message to an address that is limited in how many it gets, and what the message makes valid.
#[derive(Debug, Clone, Copy)]
pub struct Mailing<'a> {
    /// The address.
    pub address: &'a Address,
    /// The code that is in it.
    pub code: Option<NewCode<'a>>,
    /// The link that is in it.
    pub link: Option<&'a Link>,
    /// The message; it takes the place of an older one about the same that still waits.
    pub message: &'a Queued,
    /// How many may be sent to the address.
    pub limits: &'a [Limit],
    /// The present.
    pub now: Timestamp,
}

/// What became of a mailing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mailed {
    /// It is queued, and its code or link is valid.
    Queued,
    /// The address has got too many; nothing was changed.
    TooOften {
        /// When to try again.
        retry_after: Duration,
    },
}

/// An account that is to come to be, with everything that belongs to it, or not at all.
#[derive(Debug, Clone, Copy)]
pub struct Creation<'a> {
    /// The account. Its number is not decided yet.
    pub account: &'a Account,
    /// An account that has one of the identifiers, is not activated and whose activation ends by then makes place.
    pub replaceable_before: Timestamp,
    /// The code that proved its address, to be used up by it.
    pub spend: Option<&'a ProvenCode>,
    /// Its first session.
    pub session: Option<&'a Session>,
    /// Its activation link.
    pub link: Option<&'a Link>,
    /// The message with that link.
    pub message: Option<&'a Queued>,
    /// How many messages may be sent to its address.
    pub limits: &'a [Limit],
    /// The present.
    pub now: Timestamp,
}

/// What became of a creation.
#[derive(Debug)]
pub enum Created {
    /// The account's number.
    Account(AccountNumber),
    /// One of its identifiers is another account's.
    Taken,
    /// The code was used up meanwhile.
    Spent,
    /// Its address has got too many messages.
    TooOften {
        /// When to try again.
        retry_after: Duration,
    },
    /// The session's application is disabled.
    Closed,
}

/// Which of an account's sessions end.
#[derive(Debug, Clone, Copy)]
pub enum Ending<'a> {
    /// None.
    None,
    /// All.
    All,
    /// All but this one, which must still be there.
    AllBut(&'a ObjectId),
}

/// A change of an account that has been decided, to be made true as a whole or not at all.
#[derive(Debug, Clone, Copy)]
pub struct AccountChange<'a> {
    /// Whose.
    pub account: AccountNumber,
    /// The account's revision that it was decided on.
    pub revision: i64,
    /// The new verifier.
    pub verifier: Option<&'a Verifier>,
    /// Whether the account is activated by it.
    pub activate: bool,
    /// What proved the address, to be used up by it.
    pub spend: Option<Spend<'a>>,
    /// Which sessions end.
    pub end: Ending<'a>,
    /// The session that begins.
    pub begin: Option<&'a Session>,
    /// The message that tells of it.
    pub message: Option<&'a Queued>,
    /// The present.
    pub now: Timestamp,
}

impl AccountChange<'_> {
    /// A change of this account, as it is, that changes nothing yet.
    #[must_use]
    pub fn on(account: &Account, now: Timestamp) -> Self {
        Self {
            account: account.number,
            revision: account.revision,
            verifier: None,
            activate: false,
            spend: None,
            end: Ending::None,
            begin: None,
            message: None,
            now,
        }
    }
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It is true now.
    Done,
    /// What it was decided on is no longer so.
    Stale,
    /// The code or link was used up meanwhile.
    Spent,
    /// The application of the session that was to begin is disabled.
    Closed,
}

/// What became of an account from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// It is registered now.
    Done,
    /// One of its identifiers or ids is another account's.
    Taken,
}

/// A refresh token that is known.
#[derive(Debug)]
pub enum RefreshToken {
    /// It is the one of this session.
    Current(Session),
    /// It was the one of this session, which still goes on.
    Spent(Session, SpentToken),
}

/// New tokens for a session.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// The session with its new tokens.
    pub session: Session,
    /// The refresh token that it had until now; it must still be the current one.
    pub spent: SpentToken,
    /// The present.
    pub now: Timestamp,
}

/// What is of no more use when it is older than this.
#[derive(Debug, Clone, Copy)]
pub struct Forget {
    /// The present: for nonces, spent tokens, lanes, and messages that still wait.
    pub now: Timestamp,
    /// For messages, codes, links, and how many messages an address got.
    pub old: Timestamp,
    /// For what became of sessions.
    pub events: Timestamp,
    /// For the audit trail.
    pub audit: Timestamp,
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
/// An operation that returns `Ok` is durable. One that ends a session, gives it new tokens, or gives its account another gateway or takes
/// one away, notes that in the same transaction, as a [`SessionEvent`] that is still to be numbered. Where one returns `bool`, it says whether the row it was to change exists.
#[async_trait]
pub trait Store: Send + Sync {
    /// Remembers the master key's fingerprint at the first call, and returns the one that is remembered.
    async fn key_fingerprint(&self, ours: &str) -> Result<String, StoreError>;
    /// The master keys that it was under, as of one moment.
    async fn keys(&self) -> Result<KeptKeys, StoreError>;
    /// Remembers the fingerprint `to` in the place of `from`, and exactly these former keys. `false`, and nothing changed, when `from`
    /// is not the one that is remembered.
    async fn rotate_key(&self, from: &str, to: &str, former: &[FormerKey]) -> Result<bool, StoreError>;
    /// Replaces an application's sealed secret, which must still be `old`.
    async fn reseal_application(&self, id: &ApplicationId, old: &Sealed, new: &Sealed) -> Result<bool, StoreError>;
    /// Replaces a queued message's sealed content, which must still be `old`.
    async fn reseal_message(&self, id: &ObjectId, old: &Sealed, new: &Sealed) -> Result<bool, StoreError>;

    /// Registers an application.
    async fn insert_application(&self, application: &Application) -> Result<(), InsertError>;
    /// Finds an application.
    async fn application(&self, id: &ApplicationId) -> Result<Option<Application>, StoreError>;
    /// Lists applications by id.
    async fn applications(&self, page: Page<ApplicationId>) -> Result<Vec<Application>, StoreError>;
    /// Allows or forbids an application to call; forbidding ends its sessions.
    async fn enable_application(&self, id: &ApplicationId, enabled: bool, now: Timestamp) -> Result<bool, StoreError>;

    /// Registers a resource server.
    async fn insert_resource_server(&self, server: &ResourceServer) -> Result<(), InsertError>;
    /// Finds a resource server.
    async fn resource_server(&self, id: &ResourceServerId) -> Result<Option<ResourceServer>, StoreError>;
    /// Lists resource servers by id.
    async fn resource_servers(&self, page: Page<ResourceServerId>) -> Result<Vec<ResourceServer>, StoreError>;
    /// Gives a resource server a new secret; the one that it has stays good until `until`.
    async fn rotate_resource_server(
        &self,
        id: &ResourceServerId,
        secret: &TokenHash,
        until: Timestamp,
    ) -> Result<bool, StoreError>;
    /// Allows or forbids a resource server to ask.
    async fn enable_resource_server(&self, id: &ResourceServerId, enabled: bool) -> Result<bool, StoreError>;

    /// Registers an account and returns its number. The number, revision and last login in `account` are ignored: it has none yet.
    async fn insert_account(&self, account: &Account) -> Result<AccountNumber, InsertError>;
    /// Makes an account come to be, with everything that belongs to it.
    async fn create_account(&self, creation: Creation<'_>) -> Result<Created, StoreError>;
    /// Makes a change of an account true.
    async fn change_account(&self, change: AccountChange<'_>) -> Result<Changed, StoreError>;
    /// Deletes an account and all its sessions, and frees its gateways.
    async fn delete_account(&self, number: AccountNumber, spend: Spend<'_>, now: Timestamp) -> Result<Changed, StoreError>;
    /// Sets the region of an account and ends its sessions.
    async fn set_region(&self, number: AccountNumber, region: &Region, now: Timestamp) -> Result<bool, StoreError>;
    /// Takes in an account that comes from another store with its gateways. One that is here already, by its id, is not taken in again.
    async fn take_in(&self, account: &Account, gateways: &[Gateway]) -> Result<Imported, StoreError>;
    /// Removes an account that was taken in elsewhere, with its sessions and gateways.
    async fn remove_account(&self, number: AccountNumber, now: Timestamp) -> Result<bool, StoreError>;
    /// Sets what an account holds about its person.
    async fn set_details(&self, number: AccountNumber, details: &Details) -> Result<bool, StoreError>;
    /// Registers accounts from elsewhere, and remembers that the file `source` was read up to `line`. What is taken is left out: the
    /// answer has an entry for each account.
    async fn import_accounts(&self, accounts: &[Account], source: &str, line: i64) -> Result<Vec<Imported>, StoreError>;
    /// How far the file `source` was read; 0 for one that never was.
    async fn imported_up_to(&self, source: &str) -> Result<i64, StoreError>;
    /// Finds an account by one of its identifiers.
    async fn account_named(&self, identifier: &Identifier) -> Result<Option<Account>, StoreError>;
    /// Finds an account by its number.
    async fn account(&self, number: AccountNumber) -> Result<Option<Account>, StoreError>;
    /// Lists accounts by number.
    async fn accounts(&self, page: Page<AccountNumber>) -> Result<Vec<Account>, StoreError>;
    /// Sets an account's activation.
    async fn set_activation(&self, number: AccountNumber, activation: Activation) -> Result<bool, StoreError>;
    /// Allows or forbids an account to be used; forbidding ends its sessions.
    async fn enable_account(&self, number: AccountNumber, enabled: bool, now: Timestamp) -> Result<bool, StoreError>;

    /// Registers a device.
    async fn insert_device(&self, device: &Device) -> Result<(), InsertError>;
    /// Finds a device.
    async fn device(&self, serial: &Serial) -> Result<Option<Device>, StoreError>;
    /// Finds a device by its guid.
    async fn device_by_guid(&self, guid: &Guid) -> Result<Option<Device>, StoreError>;
    /// Registers a device, or brings the one with its serial number up to date; with another guid, the older one's sessions end.
    async fn put_device(&self, device: &Device, now: Timestamp) -> Result<(), InsertError>;
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
    async fn bind(&self, serial: &Serial, account: AccountNumber, now: Timestamp) -> Result<bool, StoreError>;
    /// Frees a gateway from an account, or from whichever has it, with an entry in the audit trail if it does. `false` when there is no such
    /// gateway, or it is not that account's.
    async fn unbind(
        &self,
        serial: &Serial,
        account: Option<AccountNumber>,
        now: Timestamp,
        entry: Option<Entry>,
    ) -> Result<bool, StoreError>;
    /// Moves a gateway from one account to another. `false` when it is not the first one's, or there is no second one.
    async fn rebind(&self, serial: &Serial, from: AccountNumber, to: AccountNumber, now: Timestamp) -> Result<bool, StoreError>;
    /// Finds a gateway by its guid.
    async fn gateway_by_guid(&self, guid: &Guid) -> Result<Option<Gateway>, StoreError>;
    /// Finds the gateways that have this serial number or any part of this identity.
    async fn gateways_like(&self, serial: &Serial, identity: &Identity) -> Result<Vec<Gateway>, StoreError>;
    /// Registers a gateway, or brings the one with its guid up to date; its owner and lowest version stay.
    async fn put_gateway(&self, gateway: &Gateway) -> Result<(), InsertError>;
    /// Sets what a device or gateway is called. `false` when nothing has this guid.
    async fn rename(&self, guid: &Guid, name: &str) -> Result<bool, StoreError>;
    /// Sets how a gateway can be reached. `false` when no gateway has this guid.
    async fn set_connect_method(&self, guid: &Guid, method: &str) -> Result<bool, StoreError>;

    /// Makes a login true: session, binding, renewed verifier and used code in one transaction, or nothing of it.
    async fn commit_login(&self, login: LoginCommit) -> Result<LoginOutcome, StoreError>;
    /// Lists sessions by id: one account's, or all.
    async fn sessions(&self, account: Option<AccountNumber>, page: Page<ObjectId>) -> Result<Vec<Session>, StoreError>;
    /// Finds a session.
    async fn session(&self, id: &ObjectId) -> Result<Option<Session>, StoreError>;
    /// Finds who holds these access tokens, in any order; nobody for one that no session has.
    async fn holders(&self, access: &[TokenHash]) -> Result<Vec<Arc<Holder>>, StoreError>;
    /// Finds the account with this `apikey` with its sessions at an application or device called so.
    async fn holders_at(&self, apikey: &str, audience: &str) -> Result<Vec<Holder>, StoreError>;
    /// Finds the session that has this refresh token, or had it.
    async fn refresh_token(&self, refresh: &TokenHash) -> Result<Option<RefreshToken>, StoreError>;
    /// Gives a session new tokens, and remembers the refresh token that it had. `false` when that is not the current one any more.
    async fn rotate(&self, rotation: Rotation) -> Result<bool, StoreError>;
    /// Ends a session, with an entry in the audit trail if it does.
    async fn end_session(
        &self,
        id: &ObjectId,
        reason: EndReason,
        now: Timestamp,
        entry: Option<Entry>,
    ) -> Result<bool, StoreError>;

    /// The number of the newest event, if all are numbered.
    async fn numbered_events(&self) -> Result<Option<i64>, StoreError>;
    /// Numbers the events that have no number yet, and returns the newest one's number; 0 when there is none.
    async fn number_events(&self) -> Result<i64, StoreError>;
    /// The first events after this number, in order, at most `limit`.
    async fn session_events(&self, after: i64, limit: u32) -> Result<Vec<SessionEvent>, StoreError>;
    /// The event that was noted last of a follower.
    async fn told_up_to(&self, follower: &str) -> Result<Option<i64>, StoreError>;
    /// Notes the last event that a follower was told, whether it is newer than the one before or not.
    async fn note_told(&self, follower: &str, sequence: i64) -> Result<(), StoreError>;

    /// Makes a code or link valid and queues the message that carries it, unless the address has got too many.
    async fn mail(&self, mailing: Mailing<'_>) -> Result<Mailed, StoreError>;
    /// Takes a try from the newest code for `purpose` and `address` and returns it. `None` when there is none, or it was tried `most`
    /// times.
    async fn take_try(&self, purpose: Purpose, address: &Address, most: i64) -> Result<Option<StoredCode>, StoreError>;
    /// Gives a try back.
    async fn return_try(&self, code: &ProvenCode) -> Result<(), StoreError>;
    /// What is counted in the lanes of a guess.
    async fn tally(&self, guess: &Guess) -> Result<Tally, StoreError>;
    /// Counts a guess as a failure, as [`Tally::count`] decides.
    async fn take_guess(&self, guess: &Guess, rules: &Rules, now: Timestamp) -> Result<Guessed, StoreError>;
    /// Takes back that a guess was counted as a failure.
    async fn return_guess(&self, right: Right) -> Result<(), StoreError>;
    /// Notes that whoever makes such guesses has its own lanes.
    async fn know(&self, guess: &Guess, now: Timestamp) -> Result<(), StoreError>;
    /// Lists by name the lanes in which failures are counted, or some of the day's number is missing now; all, or those of a subject.
    async fn lanes(&self, subject: Option<&Lane>, page: Page<Lane>, now: Timestamp) -> Result<Vec<(Lane, Count)>, StoreError>;
    /// Forgets the failures in all lanes of a subject, or in a source's; who has been let in stays known. Says in how many there were any.
    async fn clear_lanes(&self, subject: &Lane) -> Result<u64, StoreError>;
    /// Finds a link.
    async fn link(&self, hash: &TokenHash) -> Result<Option<Link>, StoreError>;

    /// Takes the message that has been due for longest, and puts it off until `until` so that nobody else takes it.
    async fn claim_message(&self, now: Timestamp, until: Timestamp) -> Result<Option<Queued>, StoreError>;
    /// Forgets a message that was delivered.
    async fn finish_message(&self, id: &ObjectId) -> Result<(), StoreError>;
    /// Puts a message off; `None` gives it up. `error` says why.
    async fn postpone_message(&self, id: &ObjectId, until: Option<Timestamp>, error: &str) -> Result<(), StoreError>;
    /// When the next message is due.
    async fn next_message_due(&self) -> Result<Option<Timestamp>, StoreError>;
    /// Lists messages by id.
    async fn messages(&self, page: Page<ObjectId>) -> Result<Vec<Queued>, StoreError>;
    /// Forgets what is of no more use, and gives up messages that are: in parts, between which others have their turn. When one of them
    /// fails, those before it have gone all the same.
    async fn forget(&self, before: &Forget) -> Result<(), StoreError>;

    /// Adds entries to the audit trail. Of one that is there already, from an earlier try whose answer was lost, only how often it happened
    /// is new.
    async fn append_audit(&self, entries: Vec<Entry>) -> Result<(), StoreError>;
    /// Lists entries of the audit trail by id, which is their order in time.
    async fn audit(&self, query: &AuditQuery, page: Page<ObjectId>) -> Result<Vec<Entry>, StoreError>;

    /// Remembers `nonce` for `audience` until `now + keep`, and says whether it is new.
    async fn remember_nonce(&self, audience: &Audience, nonce: &str, now: Timestamp, keep: Duration) -> Result<bool, StoreError>;
}
