//! [`Store`] on SQL databases: one text for each query, good for every engine.
//!
//! On the embedded engine one connection writes and several read. No other process writes (the data folder is locked), so a
//! transaction never waits for anybody else's. On PostgreSQL all do both, from any number of processes, each seeing what the others
//! have committed (`READ COMMITTED`): what must not change under a transaction is locked by changing it first, accounts before
//! everything else.

mod accounts;
mod applications;
mod audit;
mod devices;
mod directory;
mod engine;
mod forget;
mod gateways;
mod gathering;
mod group;
mod holders;
mod keys;
mod lanes;
mod mailings;
mod messages;
mod migrations;
mod open;
mod postgres;
mod read_cache;
mod resource_servers;
mod row;
mod session_events;
mod sessions;
mod sqlite;
mod tables;
mod watch;
mod whole;

use std::sync::Arc;
use std::time::{Duration, Instant};

use account::store::{
    AccountChange, Changed, Created, Creation, Forget, FormerKey, Imported, InsertError, KeptKeys, LoginCommit, LoginOutcome,
    Mailed, Mailing, Page, RefreshToken, Rotation, Spend,
};
use account::{
    Account, AccountNumber, Activation, Address, AppVersion, Application, ApplicationId, Audience, AuditQuery, Count, Details,
    Device, EndReason, Entry, Gateway, Guess, Guessed, Guid, Holder, Identifier, Identity, Lane, Link, ObjectId, ProvenCode,
    Purpose, Queued, Region, ResourceServer, ResourceServerId, Right, Rules, Sealed, Serial, Session, SessionEvent, Store,
    StoreError, StoredCode, Tally, Timestamp, TokenHash,
};
use tracing::Instrument;

use crate::engine::{Connection, Operation, Pool, Readers};
use crate::gathering::Gathering;
use crate::group::Group;
use crate::read_cache::{Doubt, ReadCache, Touched};

pub use crate::directory::SqlDirectory;
pub use crate::engine::EngineError;
pub use crate::open::{Limits, OpenError};
pub use crate::postgres::without_password;
pub use crate::sqlite::OLDEST_SQLITE;
pub use crate::watch::{Connections, Counts};
pub use crate::whole::{CopyError, Place, Sum, Whole};

/// An operation that owns its arguments.
macro_rules! owning {
    ($owned:ident, $connection:ident => $first:ident::$second:ident($($argument:expr),*)) => {{
        let owned = Arc::new($owned);
        let operation: Operation<_> = Arc::new(move |$connection| {
            let $owned = Arc::clone(&owned);
            Box::pin(async move { $first::$second($($argument),*).await })
        });
        (concat!(stringify!($first), "::", stringify!($second)), operation)
    }};
}

/// Does an operation that owns its arguments within a transaction that others may share; its name is its label in the metrics.
macro_rules! together {
    ($store:ident, $touched:expr, $($operation:tt)*) => {{
        let (name, operation) = owning!($($operation)*);
        $store.together(name, $touched, operation).await
    }};
}

/// Does an operation that owns its arguments and only reads; its name is its label in the metrics.
macro_rules! look {
    ($store:ident, $($operation:tt)*) => {{
        let (name, operation) = owning!($($operation)*);
        $store.look(name, operation).await
    }};
}

/// A store on a SQL database.
#[derive(Debug, Clone)]
pub struct SqlStore {
    read: Pool,
    write: Pool,
    limits: Limits,
    gathering: Gathering,
    /// What is there on the embedded store, where nobody else writes. Elsewhere, reading and writing go over one pool.
    embedded: Option<Embedded>,
}

#[derive(Debug, Clone)]
struct Embedded {
    group: Group,
    readers: Readers,
    cache: Arc<ReadCache>,
}

impl SqlStore {
    fn new(read: Pool, write: Pool, limits: Limits, embedded: Option<Embedded>) -> Self {
        let gathering = Gathering::start(embedded.as_ref().map(|embedded| &embedded.readers), &read, limits);
        Self { read, write, limits, gathering, embedded }
    }

    /// An operation begins that may change this.
    fn touch(&self, touched: Touched<'_>) -> Doubt {
        self.embedded.as_ref().map_or(Doubt::NONE, |embedded| embedded.cache.touch(touched))
    }

    /// Does an operation within a transaction, which on the embedded store others may share.
    async fn together<T: Send + 'static>(
        &self,
        name: &'static str,
        touched: Touched<'_>,
        operation: Operation<T>,
    ) -> Result<T, StoreError> {
        // Apart: what the embedded store does must not need room for another database's answer.
        let Some(embedded) = &self.embedded else { return Box::pin(self.alone(name, &operation)).await };
        let begun = Instant::now();
        let span = tracing::info_span!("store", otel.name = name, otel.kind = "client");
        let done = embedded.group.run(operation, embedded.cache.touch(touched), span).await;
        watch::note(name, begun, &done);
        done
    }

    /// Does an operation that only reads.
    async fn look<T: Send + 'static>(&self, name: &'static str, operation: Operation<T>) -> Result<T, StoreError> {
        // Apart, likewise.
        let Some(embedded) = &self.embedded else { return Box::pin(self.look_alone(name, &operation)).await };
        let begun = Instant::now();
        let span = tracing::info_span!("store", otel.name = name, otel.kind = "client");
        let found = embedded.readers.ask(operation).instrument(span).await;
        watch::note(name, begun, &found);
        found
    }

    async fn look_alone<T>(&self, name: &'static str, operation: &Operation<T>) -> Result<T, StoreError> {
        on!(@ self.read, Doubt::NONE, name, connection => operation(connection))
    }

    async fn alone<T>(&self, name: &'static str, operation: &Operation<T>) -> Result<T, StoreError> {
        on!(@ self.write, Doubt::NONE, name, connection => in_a_transaction(connection, operation))
    }

    async fn who_holds(&self, access: &[TokenHash]) -> Result<Vec<Arc<Holder>>, StoreError> {
        let Some(embedded) = &self.embedded else { return self.look_up(access.to_vec()).await };
        let read = embedded.cache.now();
        let (mut found, mut unknown) = (Vec::with_capacity(access.len()), Vec::new());
        for access in access {
            match embedded.cache.holder(access) {
                Some(holder) => found.push(holder),
                None => unknown.push(access.clone()),
            }
        }
        if !unknown.is_empty() {
            // Apart: what is remembered must not need room for a database's answer.
            let looked_up = Box::pin(self.look_up(unknown)).await?;
            looked_up.iter().for_each(|holder| embedded.cache.put_holder(holder, read));
            found.extend(looked_up);
        }
        Ok(found)
    }

    async fn look_up_application(&self, id: &ApplicationId) -> Result<Option<Application>, StoreError> {
        let id = id.clone();
        look!(self, id, connection => applications::find(connection, &id))
    }

    async fn look_up(&self, mut access: Vec<TokenHash>) -> Result<Vec<Arc<Holder>>, StoreError> {
        match access.pop() {
            Some(one) if access.is_empty() => {
                let begun = Instant::now();
                let found = self.gathering.ask(one).await;
                watch::note("holders::find", begun, &found);
                Ok(found?.into_iter().collect())
            }
            last => {
                access.extend(last);
                let found = look!(self, access, connection => holders::find(connection, &access))?;
                Ok(found.into_iter().map(Arc::new).collect())
            }
        }
    }
}

async fn in_a_transaction<T>(connection: &mut Connection, operation: &Operation<T>) -> Result<T, StoreError> {
    let mut transaction = connection.begin().await?;
    let done = operation(&mut transaction).await?;
    transaction.commit().await?;
    Ok(done)
}

/// An error of an operation.
trait Failed {
    /// What failed in the store, if the store failed.
    fn in_store(&self) -> Option<&StoreError>;

    /// Whether the engine undid the operation in favour of somebody else's.
    fn gave_way(&self) -> bool {
        matches!(self.in_store(), Some(StoreError::Contended(_)))
    }

    /// Whether the engine did something else than it was told.
    fn has_failed(&self) -> bool {
        matches!(self.in_store(), Some(StoreError::Unavailable(_) | StoreError::Failed(_)))
    }
}

impl Failed for StoreError {
    fn in_store(&self) -> Option<&StoreError> {
        Some(self)
    }
}

impl Failed for InsertError {
    fn in_store(&self) -> Option<&StoreError> {
        if let Self::Store(error) = self { Some(error) } else { None }
    }
}

/// Does an operation on a connection of one of the pools: in time, and again when the engine undid it in favour of somebody else's.
/// The operation's name, its function's, is its label in the metrics. One that writes may change anything that is remembered, unless it
/// says what it changes.
macro_rules! on {
    ($store:ident.write changing $touched:ident $(($whose:expr))?, $($operation:tt)*) => {
        $crate::on!(@ $store.write, $store.touch($crate::read_cache::Touched::$touched $(($whose))?), $($operation)*)
    };
    ($store:ident.write, $($operation:tt)*) => {
        $crate::on!(@ $store.write, $store.touch($crate::read_cache::Touched::Everything), $($operation)*)
    };
    ($store:ident.$pool:ident, $($operation:tt)*) => {
        $crate::on!(@ $store.$pool, $crate::read_cache::Doubt::NONE, $($operation)*)
    };
    (@ $store:ident.$pool:ident, $doubt:expr, $connection:ident => $first:ident $(:: $more:ident)*($($argument:expr),*)) => {
        $crate::on!(@ $store.$pool, $doubt, concat!(stringify!($first) $(, "::", stringify!($more))*),
            $connection => $first $(:: $more)*($($argument),*))
    };
    (@ $store:ident.$pool:ident, $doubt:expr, $name:expr, $connection:ident => $operation:expr) => {{
        let begun = std::time::Instant::now();
        let span = tracing::info_span!("store", otel.name = $name, otel.kind = "client");
        let doubt = $doubt;
        let mut tries = 1;
        let done = loop {
            let mut used = match tracing::Instrument::instrument($store.$pool.acquire(), span.clone()).await {
                Ok(acquired) => acquired,
                Err(error) => break Err(account::StoreError::from(error).into()),
            };
            let operation = async {
                if doubt.is_none() {
                    let $connection = &mut *used;
                    return $operation.await;
                }
                // Whoever abandons it can have changed something only if that was while it was being committed.
                let mut transaction = used.begin_to_write().await.map_err(account::StoreError::from)?;
                let $connection = &mut transaction;
                let done = $operation.await?;
                transaction.commit().await.map_err(account::StoreError::from)?;
                Ok(done)
            };
            let operation = tracing::Instrument::instrument(operation, span.clone());
            let Ok(outcome) = tokio::time::timeout($store.limits.timeout, operation).await else {
                break Err(account::StoreError::Unavailable("it took too long".into()).into());
            };
            used.sound = !outcome.as_ref().is_err_and($crate::Failed::has_failed);
            match outcome {
                Err(error) if $crate::Failed::gave_way(&error) && tries < $store.limits.tries => tries += 1,
                outcome => {
                    if used.sound {
                        doubt.settle();
                    }
                    break outcome;
                }
            }
        };
        $crate::watch::note($name, begun, &done);
        done
    }};
}
pub(crate) use on;

#[async_trait::async_trait]
impl Store for SqlStore {
    async fn key_fingerprint(&self, ours: &str) -> Result<String, StoreError> {
        on!(self.write changing Nothing, connection => keys::remember(connection, ours))
    }

    async fn keys(&self) -> Result<KeptKeys, StoreError> {
        on!(self.read, connection => keys::all(connection))
    }

    async fn rotate_key(&self, from: &str, to: &str, former: &[FormerKey]) -> Result<bool, StoreError> {
        on!(self.write changing Nothing, connection => keys::rotate(connection, from, to, former))
    }

    async fn reseal_application(&self, id: &ApplicationId, old: &Sealed, new: &Sealed) -> Result<bool, StoreError> {
        on!(self.write changing Application(id), connection => applications::reseal(connection, id, old, new))
    }

    async fn reseal_message(&self, id: &ObjectId, old: &Sealed, new: &Sealed) -> Result<bool, StoreError> {
        on!(self.write changing Nothing, connection => messages::reseal(connection, id, old, new))
    }

    async fn insert_application(&self, application: &Application) -> Result<(), InsertError> {
        on!(self.write changing Nothing, connection => applications::insert(connection, application))
    }

    async fn application(&self, id: &ApplicationId) -> Result<Option<Application>, StoreError> {
        let Some(embedded) = &self.embedded else { return self.look_up_application(id).await };
        if let Some(application) = embedded.cache.application(id) {
            return Ok(Some(Application::clone(&application)));
        }
        let read = embedded.cache.now();
        let found = self.look_up_application(id).await?;
        if let Some(application) = &found {
            embedded.cache.put_application(application, read);
        }
        Ok(found)
    }

    async fn applications(&self, page: Page<ApplicationId>) -> Result<Vec<Application>, StoreError> {
        on!(self.read, connection => applications::list(connection, &page))
    }

    async fn enable_application(&self, id: &ApplicationId, enabled: bool, now: Timestamp) -> Result<bool, StoreError> {
        on!(self.write, connection => applications::enable(connection, id, enabled, now))
    }

    async fn insert_resource_server(&self, server: &ResourceServer) -> Result<(), InsertError> {
        on!(self.write changing Nothing, connection => resource_servers::insert(connection, server))
    }

    async fn resource_server(&self, id: &ResourceServerId) -> Result<Option<ResourceServer>, StoreError> {
        on!(self.read, connection => resource_servers::find(connection, id))
    }

    async fn resource_servers(&self, page: Page<ResourceServerId>) -> Result<Vec<ResourceServer>, StoreError> {
        on!(self.read, connection => resource_servers::list(connection, &page))
    }

    async fn rotate_resource_server(
        &self,
        id: &ResourceServerId,
        secret: &TokenHash,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        on!(self.write changing Nothing, connection => resource_servers::rotate(connection, id, secret, until))
    }

    async fn enable_resource_server(&self, id: &ResourceServerId, enabled: bool) -> Result<bool, StoreError> {
        on!(self.write changing Nothing, connection => resource_servers::enable(connection, id, enabled))
    }

    async fn insert_account(&self, account: &Account) -> Result<AccountNumber, InsertError> {
        on!(self.write, connection => accounts::insert(connection, account))
    }

    async fn create_account(&self, creation: Creation<'_>) -> Result<Created, StoreError> {
        on!(self.write, connection => accounts::create(connection, creation))
    }

    async fn change_account(&self, change: AccountChange<'_>) -> Result<Changed, StoreError> {
        on!(self.write changing Account(change.account), connection => accounts::change(connection, change))
    }

    async fn delete_account(&self, number: AccountNumber, spend: Spend<'_>, now: Timestamp) -> Result<Changed, StoreError> {
        on!(self.write changing Account(number), connection => accounts::delete(connection, number, spend, now))
    }

    async fn set_region(&self, number: AccountNumber, region: &Region, now: Timestamp) -> Result<bool, StoreError> {
        on!(self.write changing Account(number), connection => accounts::set_region(connection, number, region, now))
    }

    async fn take_in(&self, account: &Account, gateways: &[Gateway]) -> Result<Imported, StoreError> {
        on!(self.write, connection => accounts::take_in(connection, account, gateways))
    }

    async fn remove_account(&self, number: AccountNumber, now: Timestamp) -> Result<bool, StoreError> {
        on!(self.write changing Account(number), connection => accounts::remove(connection, number, now))
    }

    async fn set_details(&self, number: AccountNumber, details: &Details) -> Result<bool, StoreError> {
        on!(self.write changing Account(number), connection => accounts::set_details(connection, number, details))
    }

    async fn import_accounts(&self, accounts: &[Account], source: &str, line: i64) -> Result<Vec<Imported>, StoreError> {
        on!(self.write, connection => accounts::import(connection, accounts, source, line))
    }

    async fn imported_up_to(&self, source: &str) -> Result<i64, StoreError> {
        on!(self.read, connection => accounts::imported_up_to(connection, source))
    }

    async fn account_named(&self, identifier: &Identifier) -> Result<Option<Account>, StoreError> {
        let identifier = identifier.clone();
        look!(self, identifier, connection => accounts::find_named(connection, &identifier))
    }

    async fn account(&self, number: AccountNumber) -> Result<Option<Account>, StoreError> {
        look!(self, number, connection => accounts::find(connection, *number))
    }

    async fn accounts(&self, page: Page<AccountNumber>) -> Result<Vec<Account>, StoreError> {
        on!(self.read, connection => accounts::list(connection, &page))
    }

    async fn set_activation(&self, number: AccountNumber, activation: Activation) -> Result<bool, StoreError> {
        on!(self.write changing Account(number), connection => accounts::set_activation(connection, number, activation))
    }

    async fn enable_account(&self, number: AccountNumber, enabled: bool, now: Timestamp) -> Result<bool, StoreError> {
        on!(self.write changing Account(number), connection => accounts::enable(connection, number, enabled, now))
    }

    async fn insert_device(&self, device: &Device) -> Result<(), InsertError> {
        on!(self.write changing Device(&device.serial), connection => devices::insert(connection, device))
    }

    async fn device(&self, serial: &Serial) -> Result<Option<Device>, StoreError> {
        let serial = serial.clone();
        look!(self, serial, connection => devices::find(connection, &serial))
    }

    async fn device_by_guid(&self, guid: &Guid) -> Result<Option<Device>, StoreError> {
        let guid = guid.clone();
        look!(self, guid, connection => devices::find_by_guid(connection, &guid))
    }

    async fn put_device(&self, device: &Device, now: Timestamp) -> Result<(), InsertError> {
        on!(self.write changing Device(&device.serial), connection => devices::put(connection, device, now))
    }

    async fn devices(&self, page: Page<Serial>) -> Result<Vec<Device>, StoreError> {
        on!(self.read, connection => devices::list(connection, &page))
    }

    async fn insert_gateway(&self, gateway: &Gateway) -> Result<(), InsertError> {
        on!(self.write, connection => gateways::insert(connection, gateway))
    }

    async fn gateway(&self, serial: &Serial) -> Result<Option<Gateway>, StoreError> {
        let serial = serial.clone();
        look!(self, serial, connection => gateways::find(connection, &serial))
    }

    async fn gateways(&self, page: Page<Serial>) -> Result<Vec<Gateway>, StoreError> {
        on!(self.read, connection => gateways::list(connection, &page))
    }

    async fn gateways_of(&self, account: AccountNumber) -> Result<Vec<Gateway>, StoreError> {
        look!(self, account, connection => gateways::of_account(connection, *account))
    }

    async fn set_min_app_version(&self, serial: &Serial, version: Option<&AppVersion>) -> Result<bool, StoreError> {
        on!(self.write changing Nothing, connection => gateways::set_min_app_version(connection, serial, version))
    }

    async fn bind(&self, serial: &Serial, account: AccountNumber, now: Timestamp) -> Result<bool, StoreError> {
        on!(self.write, connection => gateways::bind(connection, serial, account, now))
    }

    async fn unbind(
        &self,
        serial: &Serial,
        account: Option<AccountNumber>,
        now: Timestamp,
        entry: Option<Entry>,
    ) -> Result<bool, StoreError> {
        on!(self.write, connection => gateways::unbind(connection, serial, account, now, entry.as_slice()))
    }

    async fn rebind(&self, serial: &Serial, from: AccountNumber, to: AccountNumber, now: Timestamp) -> Result<bool, StoreError> {
        on!(self.write, connection => gateways::rebind(connection, serial, from, to, now))
    }

    async fn gateway_by_guid(&self, guid: &Guid) -> Result<Option<Gateway>, StoreError> {
        on!(self.read, connection => gateways::find_by_guid(connection, guid))
    }

    async fn gateways_like(&self, serial: &Serial, identity: &Identity) -> Result<Vec<Gateway>, StoreError> {
        on!(self.read, connection => gateways::alike(connection, serial, identity))
    }

    async fn put_gateway(&self, gateway: &Gateway) -> Result<(), InsertError> {
        on!(self.write, connection => gateways::put(connection, gateway))
    }

    async fn rename(&self, guid: &Guid, name: &str) -> Result<bool, StoreError> {
        on!(self.write changing Nothing, connection => devices::rename(connection, guid, name))
    }

    async fn set_connect_method(&self, guid: &Guid, method: &str) -> Result<bool, StoreError> {
        on!(self.write changing Nothing, connection => gateways::set_connect_method(connection, guid, method))
    }

    async fn commit_login(&self, login: LoginCommit) -> Result<LoginOutcome, StoreError> {
        let touched = Touched::Account(login.session.account);
        together!(self, touched, login, connection => sessions::commit_login(connection, &login))
    }

    async fn sessions(&self, account: Option<AccountNumber>, page: Page<ObjectId>) -> Result<Vec<Session>, StoreError> {
        on!(self.read, connection => sessions::list(connection, account, &page))
    }

    async fn session(&self, id: &ObjectId) -> Result<Option<Session>, StoreError> {
        on!(self.read, connection => sessions::find_one(connection, id))
    }

    async fn holders(&self, access: &[TokenHash]) -> Result<Vec<Arc<Holder>>, StoreError> {
        self.who_holds(access).await
    }

    async fn holders_at(&self, apikey: &str, audience: &str) -> Result<Vec<Holder>, StoreError> {
        on!(self.read, connection => holders::find_at(connection, apikey, audience))
    }

    async fn refresh_token(&self, refresh: &TokenHash) -> Result<Option<RefreshToken>, StoreError> {
        let refresh = refresh.clone();
        look!(self, refresh, connection => sessions::find_by_refresh(connection, &refresh))
    }

    async fn rotate(&self, rotation: Rotation) -> Result<bool, StoreError> {
        let touched = Touched::Account(rotation.session.account);
        together!(self, touched, rotation, connection => sessions::rotate(connection, &rotation))
    }

    async fn end_session(
        &self,
        id: &ObjectId,
        reason: EndReason,
        now: Timestamp,
        entry: Option<Entry>,
    ) -> Result<bool, StoreError> {
        let ending = (id.clone(), entry);
        together!(self, Touched::Session(id), ending, connection => sessions::end_one(connection, &ending.0, reason, now, ending.1.as_slice()))
    }

    async fn numbered_events(&self) -> Result<Option<i64>, StoreError> {
        on!(self.read, connection => session_events::newest(connection))
    }

    async fn number_events(&self) -> Result<i64, StoreError> {
        loop {
            let (newest, numbered) = on!(self.write changing Nothing, connection => session_events::number(connection))?;
            if numbered < session_events::AT_ONCE {
                return Ok(newest);
            }
        }
    }

    async fn session_events(&self, after: i64, limit: u32) -> Result<Vec<SessionEvent>, StoreError> {
        on!(self.read, connection => session_events::list(connection, after, limit))
    }

    async fn told_up_to(&self, follower: &str) -> Result<Option<i64>, StoreError> {
        on!(self.read, connection => session_events::told_up_to(connection, follower))
    }

    async fn note_told(&self, follower: &str, sequence: i64) -> Result<(), StoreError> {
        on!(self.write changing Nothing, connection => session_events::note_told(connection, follower, sequence))
    }

    async fn mail(&self, mailing: Mailing<'_>) -> Result<Mailed, StoreError> {
        on!(self.write changing Nothing, connection => mailings::mail(connection, mailing))
    }

    async fn take_try(&self, purpose: Purpose, address: &Address, most: i64) -> Result<Option<StoredCode>, StoreError> {
        on!(self.write changing Nothing, connection => mailings::take_try(connection, purpose, address, most))
    }

    async fn return_try(&self, code: &ProvenCode) -> Result<(), StoreError> {
        on!(self.write changing Nothing, connection => mailings::return_try(connection, code))
    }

    async fn tally(&self, guess: &Guess) -> Result<Tally, StoreError> {
        let guess = guess.clone();
        look!(self, guess, connection => lanes::tally(connection, &guess))
    }

    async fn take_guess(&self, guess: &Guess, rules: &Rules, now: Timestamp) -> Result<Guessed, StoreError> {
        let (guess, rules) = (guess.clone(), *rules);
        together!(self, Touched::Nothing, guess, connection => lanes::take(connection, &guess, &rules, now))
    }

    async fn return_guess(&self, right: Right) -> Result<(), StoreError> {
        together!(self, Touched::Nothing, right, connection => lanes::take_back(connection, &right))
    }

    async fn know(&self, guess: &Guess, now: Timestamp) -> Result<(), StoreError> {
        on!(self.write changing Nothing, connection => lanes::know(connection, guess, now))
    }

    async fn append_audit(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        together!(self, Touched::Nothing, entries, connection => audit::append(connection, &entries))
    }

    async fn audit(&self, query: &AuditQuery, page: Page<ObjectId>) -> Result<Vec<Entry>, StoreError> {
        on!(self.read, connection => audit::list(connection, query, &page))
    }

    async fn lanes(&self, subject: Option<&Lane>, page: Page<Lane>, now: Timestamp) -> Result<Vec<(Lane, Count)>, StoreError> {
        on!(self.read, connection => lanes::list(connection, subject, &page, now))
    }

    async fn clear_lanes(&self, subject: &Lane) -> Result<u64, StoreError> {
        on!(self.write changing Nothing, connection => lanes::clear(connection, subject))
    }

    async fn link(&self, hash: &TokenHash) -> Result<Option<Link>, StoreError> {
        on!(self.read, connection => mailings::find_link(connection, hash))
    }

    async fn claim_message(&self, now: Timestamp, until: Timestamp) -> Result<Option<Queued>, StoreError> {
        on!(self.write changing Nothing, connection => messages::claim(connection, now, until))
    }

    async fn finish_message(&self, id: &ObjectId) -> Result<(), StoreError> {
        on!(self.write changing Nothing, connection => messages::finish(connection, id))
    }

    async fn postpone_message(&self, id: &ObjectId, until: Option<Timestamp>, error: &str) -> Result<(), StoreError> {
        on!(self.write changing Nothing, connection => messages::postpone(connection, id, until, error))
    }

    async fn next_message_due(&self) -> Result<Option<Timestamp>, StoreError> {
        on!(self.read, connection => messages::next_due(connection))
    }

    async fn messages(&self, page: Page<ObjectId>) -> Result<Vec<Queued>, StoreError> {
        on!(self.read, connection => messages::list(connection, &page))
    }

    async fn forget(&self, before: &Forget) -> Result<(), StoreError> {
        let now = before.now;
        // In between, others have their turn. Until nothing is left, for another node may have taken a part of what this one meant to.
        while on!(self.write changing Nothing, connection => messages::give_up(connection, now, forget::AT_ONCE))? > 0 {}
        if self.numbered_events().await?.is_none() {
            self.number_events().await?;
        }
        for old in forget::old(before) {
            while on!(self.write changing Nothing, connection => forget::part(connection, old))? > 0 {}
        }
        Ok(())
    }

    async fn remember_nonce(&self, audience: &Audience, nonce: &str, now: Timestamp, keep: Duration) -> Result<bool, StoreError> {
        let new = (audience.clone(), nonce.to_owned());
        together!(self, Touched::Nothing, new, connection => sessions::remember_nonce(connection, &new.0, &new.1, now, keep))
    }
}
