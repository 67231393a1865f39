//! The contract of a [`Store`]: what every implementation must do, as checks that its own tests run on the real engine.
//!
//! [`store_contract!`](crate::store_contract) makes a test of each. [`outlives_its_connections`] needs to know how the engine is
//! reopened, and is called by hand.
#![expect(clippy::unwrap_used, reason = "a check that cannot go on has failed")]

mod changes;
mod events;
mod keys;
mod lanes;
mod life;
mod logins;
mod races;
mod rows;
mod trail;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

pub use self::changes::*;
pub use self::events::*;
pub use self::keys::*;
pub use self::lanes::*;
pub use self::life::*;
pub use self::logins::*;
pub use self::races::*;
pub use self::rows::*;
pub use self::trail::*;
use super::{AccountChange, Changed, Ending, Forget, InsertError, LoginCommit, LoginDone, Page};
use crate::{
    Account, AccountNumber, Activation, ApiKey, Application, ApplicationId, Audience, AuditQuery, Client, Details, Device,
    DeviceKind, EndReason, Facts, Gateway, GatewayKind, Guid, Identifier, Identity, MasterKey, ObjectId, Profile, Serial,
    Session, Store, SystemRng, Timestamp, Token, TokenHash, TokenLength, Verifier,
};

/// Makes a `#[tokio::test]` of each check. `$open` is an async function that returns a fresh, empty `Arc<dyn Store>` and whatever
/// must live as long as it.
#[macro_export]
macro_rules! store_contract {
    ($open:path) => {
        $crate::store_contract!(@ $open;
            applications devices gateways accounts identifiers_are_unique account_numbers_count_up lists_are_in_order
            extreme_values activation forbidding_an_application_ends_its_sessions changing_an_account_ends_its_sessions revisions
            what_is_unknown_changes_nothing binding
            login_replaces_a_session login_keeps_what_it_does_not_say a_login_on_anything_else_is_undone
            a_login_at_a_forbidden_application_is_undone login_binds_and_renews
            a_login_that_fails_is_undone an_abandoned_login_is_whole_or_nothing sessions nonces key_fingerprint
            logins_race_for_one_session a_login_that_fails_spoils_no_other logins_race_for_a_gateway logins_race_against_changes nonces_race registrations_race
            fingerprints_race
            codes mailing_limits links messages creations what_was_never_activated_makes_place account_changes deletion
            refresh_tokens devices_come_again gateways_come_again imports moves sendings_race tries_race registrations_race_for_a_code
            rotations_race claims_race
            resource_servers holders every_end_is_an_event refreshes_are_events gateways_gained_and_lost_are_events
            followers_are_remembered what_did_not_happen_is_no_event
            events_are_numbered_in_order old_events_are_forgotten much_is_forgotten ends_race
            guesses_are_counted right_guesses_are_taken_back who_is_known_stays_known lanes_are_listed_and_cleared
            a_day_is_listed_until_it_is_empty
            lanes_are_forgotten a_login_takes_its_guess_back guesses_race audit_trail
            keys_are_rotated key_rotations_race what_is_sealed_is_sealed_anew);
    };
    (@ $open:path; $($check:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $check() {
                let (store, _guard) = $open().await;
                $crate::store::contract::$check(store).await;
            }
        )*
    };
}

type AnyStore = Arc<dyn Store>;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// An account that nobody has.
const NOBODY: AccountNumber = AccountNumber(99);

fn page<K>(after: Option<K>, limit: u32) -> Page<K> {
    Page { after, limit }
}

fn serial(text: &str) -> Serial {
    text.parse().unwrap()
}

fn verifier(phc: &str) -> Verifier {
    Verifier::from_phc(phc.into())
}

fn an_application(id: &str) -> Application {
    let id: ApplicationId = id.parse().unwrap();
    let secret = MasterKey::draw(&SystemRng).seal(&SystemRng, id.as_str(), b"secret");
    Application { id, name: "Name".into(), secret, profile: Profile::Strict, enabled: true, created_at: NOW }
}

/// An account with these identifiers, each of which tells its kind.
fn an_account(identifiers: &[&str]) -> Account {
    let mut account = Account {
        number: AccountNumber(0),
        id: ObjectId::draw(&SystemRng),
        apikey: ApiKey::draw(&SystemRng),
        region: "eu".parse().unwrap(),
        user_name: None,
        email: None,
        phone: None,
        verifier: verifier("first"),
        activation: Activation::Active,
        enabled: true,
        details: Details::default(),
        registered_at: NOW,
        last_login_at: None,
        revision: 0,
    };
    for text in identifiers {
        match text.parse().unwrap() {
            Identifier::UserName(name) => account.user_name = Some(name),
            Identifier::Email(email) => account.email = Some(email),
            Identifier::Phone(phone) => account.phone = Some(phone),
        }
    }
    account
}

async fn reread(store: &AnyStore, number: AccountNumber) -> Account {
    store.account(number).await.unwrap().unwrap()
}

async fn registered(store: &AnyStore, identifiers: &[&str]) -> Account {
    let number = store.insert_account(&an_account(identifiers)).await.unwrap();
    reread(store, number).await
}

fn a_device(text: &str, app_version: Option<&str>) -> Device {
    let guid = Guid::draw(&SystemRng);
    Device {
        serial: serial(text),
        guid,
        kind: DeviceKind::IosPhone,
        app_version: app_version.map(Into::into),
        name: None,
        facts: Facts::from([("model".into(), "X".into())]),
        registered_at: NOW,
    }
}

fn a_gateway(text: &str) -> Gateway {
    let guid = Guid::draw(&SystemRng);
    Gateway {
        serial: serial(text),
        guid,
        kind: GatewayKind::Hub,
        identity: Identity::default(),
        name: None,
        connect_method: None,
        facts: Facts::new(),
        min_app_version: None,
        account: None,
        registered_at: NOW,
    }
}

/// Sets a verifier and ends all sessions, whatever happens to the account meanwhile.
async fn set_verifier(store: &AnyStore, number: AccountNumber, phc: &str) {
    loop {
        let (account, verifier) = (reread(store, number).await, verifier(phc));
        let change = AccountChange { verifier: Some(&verifier), end: Ending::All, ..AccountChange::on(&account, NOW) };
        if store.change_account(change).await.unwrap() == Changed::Done {
            return;
        }
    }
}

async fn add_gateways(store: &AnyStore, serials: &[&str]) {
    for serial in serials {
        store.insert_gateway(&a_gateway(serial)).await.unwrap();
    }
}

/// A device that is nothing but an audience.
fn at_phone(name: &str) -> Audience {
    at_device(&format!("phone {name}"))
}

fn at_application(id: &str) -> Audience {
    Audience::Application(id.parse().unwrap())
}

fn at_device(text: &str) -> Audience {
    Audience::Device(serial(text))
}

fn a_client(address: &str, app_version: Option<&str>, os: Option<&str>) -> Client {
    Client { address: address.parse().unwrap(), app_version: app_version.map(Into::into), os: os.map(Into::into) }
}

fn a_session(account: AccountNumber, audience: Audience, created_at: Timestamp) -> Session {
    let hash = || Token::draw(&SystemRng, TokenLength::Bits160).hash();
    Session {
        id: ObjectId::draw(&SystemRng),
        account,
        audience,
        access_hash: hash(),
        access_issued_at: created_at,
        access_expires_at: created_at.plus(Duration::from_secs(100)),
        refresh_hash: hash(),
        refresh_expires_at: created_at.plus(Duration::from_secs(200)),
        created_at,
        client: a_client("2001:db8::1", None, None),
    }
}

fn commit(session: &Session, revision: i64) -> LoginCommit {
    let entry = trail::an_entry(session.created_at, "logged in", Some(session.account.0));
    LoginCommit { revision, session: session.clone(), bind: None, verifier: None, spend: None, right: None, entry }
}

/// What is older; the audit trail is kept.
fn forget(now: Timestamp, old: Timestamp, events: Timestamp) -> Forget {
    Forget { now, old, events, audit: Timestamp(0) }
}

async fn log_in(store: &AnyStore, account: &Account, audience: Audience) -> LoginDone {
    let session = a_session(account.number, audience, NOW);
    store.commit_login(commit(&session, account.revision)).await.unwrap().done().expect("nothing has changed")
}

async fn session_with(store: &AnyStore, access: &TokenHash) -> Option<Session> {
    store.holders(std::slice::from_ref(access)).await.unwrap().pop().map(|holder| holder.session.clone())
}

async fn session_ids(store: &AnyStore, account: Option<AccountNumber>) -> Vec<ObjectId> {
    let sessions = store.sessions(account, page(None, 1000)).await.unwrap();
    sessions.into_iter().map(|session| session.id).collect()
}

/// Two values are the same to the last field. Secrets print as nothing; what they hold is compared where it matters.
#[track_caller]
fn assert_same(one: &impl Debug, two: &impl Debug) {
    assert_eq!(format!("{one:?}"), format!("{two:?}"));
}

/// As [`assert_same`], with the verifier, which does not print itself.
#[track_caller]
fn assert_same_account(one: &Account, two: &Account) {
    assert_same(one, two);
    assert_eq!(one.verifier.phc(), two.verifier.phc());
}

#[track_caller]
fn assert_taken<T: Debug>(outcome: &Result<T, InsertError>, why: &str) {
    assert!(matches!(outcome, Err(InsertError::Taken)), "{why}: {outcome:?}");
}

/// Reads a list page by page and compares it with `rows`.
async fn assert_pages<K, V: Debug>(rows: &[V], key: impl Fn(&V) -> K, list: impl AsyncFn(Page<K>) -> Vec<V>) {
    assert_same(&list(page(None, 1000)).await, &rows);
    let mut after = None;
    for expected in rows.chunks(2) {
        let read = list(page(after, 2)).await;
        assert_same(&read, &expected);
        after = read.last().map(&key);
    }
    assert!(list(page(after, 2)).await.is_empty(), "nothing comes after the last");
    assert!(list(page(None, 0)).await.is_empty(), "a page of none");
}

/// All that can be listed, to the last field: what must stay the same when nothing may change.
async fn everything(store: &AnyStore) -> String {
    let accounts = store.accounts(page(None, 1000)).await.unwrap();
    let verifiers: Vec<_> = accounts.iter().map(|account| account.verifier.phc()).collect();
    let applications = store.applications(page(None, 1000)).await.unwrap();
    let devices = store.devices(page(None, 1000)).await.unwrap();
    let gateways = store.gateways(page(None, 1000)).await.unwrap();
    let sessions = store.sessions(None, page(None, 1000)).await.unwrap();
    let trail = trail(store, None).await;
    format!("{accounts:#?} {verifiers:?} {applications:#?} {devices:#?} {gateways:#?} {sessions:#?} {trail:?}")
}

/// What the audit trail has, of one account or of all.
async fn trail(store: &AnyStore, account: Option<AccountNumber>) -> Vec<ObjectId> {
    let query = AuditQuery { account, ..AuditQuery::default() };
    store.audit(&query, page(None, 1000)).await.unwrap().into_iter().map(|entry| entry.id).collect()
}

/// An account that says everything about itself.
fn a_full_account() -> Account {
    let text = |text: &str| Some(text.to_owned());
    let mut account = an_account(&["anna", "anna@example.com", "+8613123456789"]);
    account.activation = Activation::Pending { deadline: Timestamp(5) };
    account.enabled = false;
    account.details = Details {
        display_name: text("Anna"),
        language: text("cn"),
        birthday: Some("1990-01-01".parse().unwrap()),
        address: text("Here"),
        country: text("CN"),
        groups: text("a&b"),
    };
    account
}
