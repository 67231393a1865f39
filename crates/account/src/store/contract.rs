//! The contract of a [`Store`]: what every implementation must do, as checks that its own tests run on the real engine.
//!
//! [`store_contract!`](crate::store_contract) makes a test of each. [`outlives_its_connections`] needs to know how the engine is
//! reopened, and is called by hand.
#![expect(clippy::unwrap_used, reason = "a check that cannot go on has failed")]

use std::fmt::Debug;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{InsertError, LoginCommit, LoginDone, Page};
use crate::{
    Account, AccountNumber, Activation, ApiKey, Application, ApplicationId, Audience, Client, Details, Device, DeviceKind,
    Gateway, GatewayKind, Guid, Identifier, MasterKey, ObjectId, Profile, Serial, Session, Store, SystemRng, Timestamp, Token,
    TokenLength, Verifier,
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
            logins_race_for_one_session logins_race_for_a_gateway logins_race_against_changes nonces_race registrations_race
            fingerprints_race);
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
        registered_at: NOW,
    }
}

fn a_gateway(text: &str) -> Gateway {
    let guid = Guid::draw(&SystemRng);
    Gateway { serial: serial(text), guid, kind: GatewayKind::Hub, min_app_version: None, account: None, registered_at: NOW }
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
        access_expires_at: created_at.plus(Duration::from_secs(100)),
        refresh_hash: hash(),
        refresh_expires_at: created_at.plus(Duration::from_secs(200)),
        created_at,
        client: a_client("2001:db8::1", None, None),
    }
}

fn commit(session: &Session, revision: i64) -> LoginCommit<'_> {
    LoginCommit { revision, session, bind: None, verifier: None }
}

async fn log_in(store: &AnyStore, account: &Account, audience: Audience) -> LoginDone {
    let session = a_session(account.number, audience, NOW);
    store.commit_login(commit(&session, account.revision)).await.unwrap().expect("nothing has changed")
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
    format!("{accounts:#?} {verifiers:?} {applications:#?} {devices:#?} {gateways:#?} {sessions:#?}")
}

pub async fn applications(store: AnyStore) {
    let rows = [
        an_application("one"),
        Application { enabled: false, ..an_application("three") },
        Application { profile: Profile::Compat, ..an_application("two") },
    ];
    for application in rows.iter().rev() {
        store.insert_application(application).await.unwrap();
    }
    for application in &rows {
        assert_same(&store.application(&application.id).await.unwrap(), &Some(application));
    }
    for unknown in ["four", "One"] {
        assert!(store.application(&unknown.parse().unwrap()).await.unwrap().is_none(), "{unknown}");
    }
    assert_taken(&store.insert_application(&an_application("one")).await, "id");
    assert_pages(&rows, |row| row.id.clone(), async |page| store.applications(page).await.unwrap()).await;
}

pub async fn devices(store: AnyStore) {
    let rows = [
        a_device("one", Some("beta 1")),
        Device { kind: DeviceKind::Touch, ..a_device("three", None) },
        Device { kind: DeviceKind::AndroidPhone, ..a_device("two", Some("V2.0.4.15")) },
    ];
    for device in rows.iter().rev() {
        store.insert_device(device).await.unwrap();
    }
    for device in &rows {
        assert_same(&store.device(&device.serial).await.unwrap(), &Some(device));
    }
    for unknown in ["four", "One"] {
        assert!(store.device(&serial(unknown)).await.unwrap().is_none(), "{unknown}");
    }
    assert_taken(&store.insert_device(&a_device("one", None)).await, "serial number");
    let same_guid = Device { guid: rows[0].guid.clone(), ..a_device("four", None) };
    assert_taken(&store.insert_device(&same_guid).await, "guid");
    assert_pages(&rows, |row| row.serial.clone(), async |page| store.devices(page).await.unwrap()).await;
}

pub async fn gateways(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna"]).await.number, registered(&store, &["ben"]).await.number);
    let mut rows = [
        Gateway { min_app_version: Some("V2.0.4".parse().unwrap()), account: Some(anna), ..a_gateway("one") },
        Gateway { kind: GatewayKind::Cube, ..a_gateway("three") },
        Gateway { account: Some(anna), ..a_gateway("two") },
    ];
    for gateway in rows.iter().rev() {
        store.insert_gateway(gateway).await.unwrap();
    }
    for gateway in &rows {
        assert_same(&store.gateway(&gateway.serial).await.unwrap(), &Some(gateway));
    }
    for unknown in ["four", "One"] {
        assert!(store.gateway(&serial(unknown)).await.unwrap().is_none(), "{unknown}");
    }
    assert_same(&store.gateways_of(anna).await.unwrap(), &[&rows[0], &rows[2]]);
    for without in [ben, NOBODY] {
        assert!(store.gateways_of(without).await.unwrap().is_empty());
    }
    assert_taken(&store.insert_gateway(&a_gateway("one")).await, "serial number");
    let same_guid = Gateway { guid: rows[0].guid.clone(), ..a_gateway("four") };
    assert_taken(&store.insert_gateway(&same_guid).await, "guid");

    rows[0].min_app_version = None;
    rows[1].min_app_version = Some("3.1".parse().unwrap());
    for gateway in &rows[..2] {
        assert!(store.set_min_app_version(&gateway.serial, gateway.min_app_version.as_ref()).await.unwrap());
    }
    assert_pages(&rows, |row| row.serial.clone(), async |page| store.gateways(page).await.unwrap()).await;
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

pub async fn accounts(store: AnyStore) {
    let bare = Account { verifier: verifier("other"), ..an_account(&["ben@example.com"]) };
    let mut rows = [a_full_account(), bare, an_account(&["+8613123456781"])];
    for account in &mut rows {
        account.number = store.insert_account(account).await.unwrap();
        assert_same_account(&reread(&store, account.number).await, account);
        for identifier in account.identifiers() {
            let found = store.account_named(&identifier).await.unwrap();
            assert_same_account(&found.unwrap(), account);
        }
    }
    for nobody in ["Anna", "ann_", "nobody", "nobody@example.com", "%@example.com", "+8613123456780"] {
        assert!(store.account_named(&nobody.parse().unwrap()).await.unwrap().is_none(), "{nobody}");
    }
    for other_kind in ["anna@example.com", "+8613123456789"] {
        let name = Identifier::UserName(other_kind.parse().unwrap());
        assert!(store.account_named(&name).await.unwrap().is_none(), "nobody's user name is {other_kind}");
    }
    assert!(store.account(NOBODY).await.unwrap().is_none());
    assert_pages(&rows, |row| row.number, async |page| store.accounts(page).await.unwrap()).await;
}

pub async fn identifiers_are_unique(store: AnyStore) {
    let anna = registered(&store, &["anna", "anna@example.com", "+8613123456789"]).await;
    let before = everything(&store).await;
    for taken in [["anna", "b@example.com"], ["ben", "anna@example.com"], ["ben", "+8613123456789"]] {
        assert_taken(&store.insert_account(&an_account(&taken)).await, &taken.join(" "));
    }
    let same_id = Account { id: anna.id, ..an_account(&["ben"]) };
    assert_taken(&store.insert_account(&same_id).await, "id");
    let same_key = Account { apikey: anna.apikey, ..an_account(&["ben"]) };
    assert_taken(&store.insert_account(&same_key).await, "apikey");
    assert_eq!(everything(&store).await, before);
    // What a refused account said is still free, and what an account does not say is not taken.
    registered(&store, &["ben"]).await;
    registered(&store, &["b@example.com"]).await;
    registered(&store, &["c@example.com"]).await;
}

pub async fn account_numbers_count_up(store: AnyStore) {
    let claimed = Account { number: NOBODY, ..an_account(&["anna"]) };
    assert_eq!(store.insert_account(&claimed).await.unwrap(), AccountNumber(1), "the store counts, nobody else");
    assert_taken(&store.insert_account(&an_account(&["anna"])).await, "user name");
    assert_eq!(registered(&store, &["ben"]).await.number, AccountNumber(2), "a refused account leaves no gap");
    assert_eq!(registered(&store, &["carl"]).await.number, AccountNumber(3));
}

/// The order of a list is that of its key in Rust, not that of a language.
pub async fn lists_are_in_order(store: AnyStore) {
    let serials = ["-", "1", "10", "9", "A", "B", "_", "a", "b", "é", "长", "\u{1f600}"];
    let ids = &serials[..9];
    for text in serials.into_iter().rev() {
        store.insert_device(&a_device(text, None)).await.unwrap();
        store.insert_gateway(&a_gateway(text)).await.unwrap();
    }
    for id in ids.iter().rev() {
        store.insert_application(&an_application(id)).await.unwrap();
    }
    let devices = store.devices(page(None, 100)).await.unwrap();
    assert_eq!(devices.iter().map(|device| device.serial.as_str()).collect::<Vec<_>>(), serials);
    let gateways = store.gateways(page(None, 100)).await.unwrap();
    assert_eq!(gateways.iter().map(|gateway| gateway.serial.as_str()).collect::<Vec<_>>(), serials);
    let applications = store.applications(page(None, 100)).await.unwrap();
    assert_eq!(applications.iter().map(|application| application.id.as_str()).collect::<Vec<_>>(), ids);

    // A page begins after its key, whether that is anybody's or not.
    let rest = store.devices(page(Some(serial("C")), 2)).await.unwrap();
    assert_eq!(rest.iter().map(|device| device.serial.as_str()).collect::<Vec<_>>(), ["_", "a"]);
}

pub async fn extreme_values(store: AnyStore) {
    let evil = "';DROP TABLE accounts;-- \"\\ $1 ? 你好 \u{1f600}\u{202e}%_";
    let long = "长".repeat(255);
    let mut rows = [an_account(&[evil, "+861234567890123"]), an_account(&[&long, &format!("{}@example.com", "é".repeat(243))])];
    rows[0].registered_at = Timestamp(i64::MAX);
    rows[0].activation = Activation::Pending { deadline: Timestamp(i64::MIN) };
    rows[0].details.address = Some(long.clone());
    rows[1].registered_at = Timestamp(i64::MIN);
    rows[1].activation = Activation::Pending { deadline: Timestamp(i64::MAX) };
    rows[1].details.groups = Some(evil.into());
    rows[1].details.country = Some(String::new());
    rows[1].verifier = verifier(&"$".repeat(1000));
    for account in &mut rows {
        account.number = store.insert_account(account).await.unwrap();
        for identifier in account.identifiers() {
            assert_same_account(&store.account_named(&identifier).await.unwrap().unwrap(), account);
        }
    }
    let device = Device { registered_at: Timestamp(i64::MAX), ..a_device(&"长".repeat(64), Some("")) };
    store.insert_device(&device).await.unwrap();
    assert_same(&store.device(&device.serial).await.unwrap(), &Some(device));
    let application = Application { name: evil.into(), ..an_application(&"x".repeat(64)) };
    store.insert_application(&application).await.unwrap();
    assert_same(&store.application(&application.id).await.unwrap(), &Some(application));

    let mut session = a_session(rows[0].number, at_device(evil), Timestamp(i64::MAX));
    session.client.os = Some(evil.into());
    session.client.app_version = Some(long);
    let done = store.commit_login(commit(&session, 0)).await.unwrap().unwrap();
    assert_same(&done.session, &session);
    assert_same(&store.sessions(None, page(None, 10)).await.unwrap(), &[session]);
    assert_eq!(reread(&store, rows[0].number).await.last_login_at, Some(Timestamp(i64::MAX)));
    for new in [true, false] {
        let now = Timestamp(i64::MIN);
        assert_eq!(store.remember_nonce(&at_device(evil), evil, now, Duration::MAX).await.unwrap(), new);
    }
}

pub async fn activation(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna"]).await, registered(&store, &["ben"]).await);
    let session = log_in(&store, &anna, at_phone("one")).await.session.id;
    for activation in [Activation::Pending { deadline: NOW }, Activation::Pending { deadline: Timestamp(0) }, Activation::Active]
    {
        assert!(store.set_activation(anna.number, activation).await.unwrap());
        assert_eq!(reread(&store, anna.number).await.activation, activation);
    }
    assert_eq!(session_ids(&store, None).await, [session], "ends no session");
    assert_same_account(&reread(&store, ben.number).await, &ben);
}

pub async fn forbidding_an_application_ends_its_sessions(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna"]).await, registered(&store, &["ben"]).await);
    let (one, two) = (an_application("one"), an_application("two"));
    for application in [&one, &two] {
        store.insert_application(application).await.unwrap();
    }
    let mut others = vec![log_in(&store, &anna, at_device("one")).await.session.id];
    for account in [&anna, &ben] {
        others.push(log_in(&store, account, at_application("two")).await.session.id);
        log_in(&store, account, at_application("one")).await;
    }
    others.sort();

    assert!(store.enable_application(&one.id, true).await.unwrap());
    assert_eq!(session_ids(&store, None).await.len(), 5, "allowing ends nothing");
    assert!(store.enable_application(&one.id, false).await.unwrap());
    assert_eq!(session_ids(&store, None).await, others, "those at a device of that name and at others go on");
    let forbidden = Application { enabled: false, ..one.clone() };
    assert_same(&store.applications(page(None, 10)).await.unwrap(), &[&forbidden, &two]);
    assert!(store.enable_application(&one.id, true).await.unwrap());
    assert_same(&store.application(&one.id).await.unwrap(), &Some(one));
    assert_eq!(session_ids(&store, None).await, others, "what has ended stays so");
}

pub async fn changing_an_account_ends_its_sessions(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna"]).await, registered(&store, &["ben"]).await);
    let bens = [log_in(&store, &ben, at_phone("one")).await.session.id];
    let ben = reread(&store, ben.number).await;
    let log_in_twice = async || {
        let anna = reread(&store, anna.number).await;
        log_in(&store, &anna, at_phone("one")).await;
        log_in(&store, &anna, at_device("one")).await;
        assert_eq!(session_ids(&store, Some(anna.number)).await.len(), 2);
    };

    log_in_twice().await;
    assert!(store.enable_account(anna.number, true).await.unwrap());
    assert_eq!(session_ids(&store, Some(anna.number)).await.len(), 2, "allowing ends nothing");
    assert!(store.enable_account(anna.number, false).await.unwrap());
    assert_eq!(session_ids(&store, None).await, bens);
    assert!(!reread(&store, anna.number).await.enabled);
    assert!(store.enable_account(anna.number, true).await.unwrap());
    assert!(reread(&store, anna.number).await.enabled);
    assert_eq!(session_ids(&store, None).await, bens, "what has ended stays so");

    log_in_twice().await;
    assert!(store.set_verifier(anna.number, &verifier("second")).await.unwrap());
    assert_eq!(session_ids(&store, None).await, bens);
    assert_eq!(reread(&store, anna.number).await.verifier.phc(), "second");
    assert_same_account(&reread(&store, ben.number).await, &ben);
}

/// Whatever a login may have been decided on makes it decide anew when it changes, and a login alone does not.
pub async fn revisions(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna"]).await.number, registered(&store, &["ben"]).await);
    add_gateways(&store, &["one", "two"]).await;
    let revision = async || reread(&store, anna).await.revision;
    let mut last = revision().await;
    let mut changed = async |what: &str| {
        let now = revision().await;
        assert!(now > last, "{what}");
        last = now;
    };
    assert!(store.set_verifier(anna, &verifier("second")).await.unwrap());
    changed("verifier").await;
    assert!(store.set_activation(anna, Activation::Active).await.unwrap());
    changed("activation").await;
    for enabled in [false, true] {
        assert!(store.enable_account(anna, enabled).await.unwrap());
        changed("enabled").await;
    }
    assert!(store.bind(&serial("one"), anna).await.unwrap());
    changed("bound").await;
    assert!(store.unbind(&serial("one")).await.unwrap());
    changed("unbound").await;

    let (session, one, third) = (a_session(anna, at_phone("one"), NOW), serial("one"), verifier("third"));
    for (what, bind, verifier) in [("bound by a login", Some(&one), None), ("renewed by a login", None, Some(&third))] {
        let login = LoginCommit { bind, verifier, ..commit(&session, revision().await) };
        assert!(store.commit_login(login).await.unwrap().is_some());
        changed(what).await;
    }
    let before = revision().await;
    assert!(store.commit_login(commit(&session, before)).await.unwrap().is_some());
    assert_eq!(revision().await, before, "a login alone");
    assert_same_account(&reread(&store, ben.number).await, &ben);
}

pub async fn what_is_unknown_changes_nothing(store: AnyStore) {
    let anna = registered(&store, &["anna"]).await;
    log_in(&store, &anna, at_phone("one")).await;
    store.insert_application(&an_application("one")).await.unwrap();
    add_gateways(&store, &["one"]).await;
    let before = everything(&store).await;
    assert!(!store.set_verifier(NOBODY, &verifier("x")).await.unwrap());
    assert!(!store.set_activation(NOBODY, Activation::Pending { deadline: NOW }).await.unwrap());
    assert!(!store.enable_account(NOBODY, false).await.unwrap());
    assert!(!store.enable_application(&"none".parse().unwrap(), false).await.unwrap());
    assert!(!store.set_min_app_version(&serial("none"), Some(&"1".parse().unwrap())).await.unwrap());
    assert!(!store.bind(&serial("none"), anna.number).await.unwrap());
    assert!(!store.bind(&serial("one"), NOBODY).await.unwrap());
    assert!(!store.unbind(&serial("none")).await.unwrap());
    assert!(!store.end_session(&ObjectId::draw(&SystemRng)).await.unwrap());
    let stranger = a_session(NOBODY, at_phone("one"), NOW);
    assert!(store.commit_login(commit(&stranger, 0)).await.unwrap().is_none());
    assert!(store.sessions(Some(NOBODY), page(None, 10)).await.unwrap().is_empty());
    assert_eq!(everything(&store).await, before);
}

pub async fn binding(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna"]).await.number, registered(&store, &["ben"]).await.number);
    add_gateways(&store, &["one", "two"]).await;
    let serials = async |account| {
        let gateways = store.gateways_of(account).await.unwrap();
        gateways.into_iter().map(|gateway| gateway.serial.to_string()).collect::<Vec<_>>()
    };
    assert!(store.bind(&serial("one"), anna).await.unwrap());
    let before = everything(&store).await;
    assert!(!store.bind(&serial("one"), ben).await.unwrap(), "not free");
    assert!(!store.bind(&serial("one"), anna).await.unwrap(), "not free, though hers");
    assert!(!store.unbind(&serial("two")).await.unwrap(), "free already");
    assert_eq!(everything(&store).await, before);

    assert!(store.bind(&serial("two"), anna).await.unwrap(), "a second one");
    assert_eq!((serials(anna).await, serials(ben).await), (vec!["one".to_owned(), "two".to_owned()], vec![]));
    assert!(store.unbind(&serial("one")).await.unwrap());
    assert_eq!(serials(anna).await, ["two"]);
    assert!(store.bind(&serial("one"), ben).await.unwrap(), "free again");
    assert_eq!((serials(anna).await, serials(ben).await), (vec!["two".to_owned()], vec!["one".to_owned()]));
    assert_eq!(store.gateway(&serial("one")).await.unwrap().unwrap().account, Some(ben));
}

pub async fn login_replaces_a_session(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna"]).await, registered(&store, &["ben"]).await);
    let first = a_session(anna.number, at_phone("one"), NOW);
    let done = store.commit_login(commit(&first, anna.revision)).await.unwrap().unwrap();
    assert_same(&done.session, &first);
    assert_eq!(done.previous_ended_at, None);
    assert_same_account(&reread(&store, anna.number).await, &Account { last_login_at: Some(NOW), ..anna.clone() });
    assert_same_account(&reread(&store, ben.number).await, &ben);
    assert_same(&store.sessions(None, page(None, 10)).await.unwrap(), &[&first]);
    let mut expected = Vec::new();
    for (account, audience) in [(&anna, at_phone("two")), (&anna, at_device("one")), (&ben, at_phone("one"))] {
        let done = log_in(&store, account, audience).await;
        assert_eq!(done.previous_ended_at, None, "replaces nothing elsewhere");
        expected.push(done.session.id);
    }

    // While the first is valid, it ends now. After its access token ran out, the second had ended then.
    let (later, much_later) = (NOW.plus(Duration::from_secs(50)), NOW.plus(Duration::from_secs(1000)));
    let second = a_session(anna.number, at_phone("one"), later);
    let third = a_session(anna.number, at_phone("one"), much_later);
    for (session, ended_at) in [(&second, later), (&third, second.access_expires_at)] {
        let done = store.commit_login(commit(session, anna.revision)).await.unwrap().unwrap();
        assert_eq!(done.previous_ended_at, Some(ended_at));
        assert_eq!(reread(&store, anna.number).await.last_login_at, Some(session.created_at));
    }

    expected.push(third.id);
    expected.sort();
    assert_eq!(session_ids(&store, None).await, expected, "one left, and those elsewhere");
    assert!(!store.end_session(&first.id).await.unwrap());
}

pub async fn login_keeps_what_it_does_not_say(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna"]).await, registered(&store, &["ben"]).await);
    let says = async |account: &Account, audience: Audience, client: Client, kept: Client| {
        let session = Session { client, ..a_session(account.number, audience, NOW) };
        let done = store.commit_login(commit(&session, account.revision)).await.unwrap().unwrap();
        assert_same(&done.session, &Session { client: kept, ..session });
        let stored = store.sessions(Some(account.number), page(None, 10)).await.unwrap();
        assert_same(&stored.iter().find(|stored| stored.id == done.session.id), &Some(&done.session));
    };
    let both = |address| a_client(address, Some("1.0"), Some("android"));
    let first = a_client("127.0.0.1", Some("1.0"), Some("ios"));
    says(&anna, at_phone("one"), first.clone(), first).await;
    says(&anna, at_phone("one"), a_client("::1", None, Some("android")), both("::1")).await;
    says(&anna, at_phone("one"), a_client("127.0.0.2", None, None), both("127.0.0.2")).await;
    let newer = a_client("127.0.0.1", Some("2.0"), Some("android"));
    says(&anna, at_phone("one"), a_client("127.0.0.1", Some("2.0"), None), newer).await;
    let silent = a_client("127.0.0.1", None, None);
    for (account, audience) in [(&anna, at_phone("two")), (&anna, at_device("one")), (&ben, at_phone("one"))] {
        says(account, audience, silent.clone(), silent.clone()).await;
    }
}

pub async fn a_login_on_anything_else_is_undone(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna"]).await, registered(&store, &["ben"]).await);
    add_gateways(&store, &["free", "hers", "taken"]).await;
    assert!(store.bind(&serial("taken"), ben.number).await.unwrap());
    assert!(store.bind(&serial("hers"), anna.number).await.unwrap());
    let anna = reread(&store, anna.number).await;
    log_in(&store, &anna, at_phone("one")).await;
    let before = everything(&store).await;
    let (session, renewed) = (a_session(anna.number, at_phone("one"), NOW.plus(Duration::from_secs(1))), verifier("renewed"));
    for (revision, bind) in [
        (anna.revision + 1, Some("free")),
        (anna.revision - 1, Some("free")),
        (anna.revision - 1, None),
        (anna.revision, Some("taken")),
        (anna.revision, Some("hers")),
        (anna.revision, Some("none")),
    ] {
        let bind = bind.map(serial);
        for verifier in [None, Some(&renewed)] {
            let login = LoginCommit { revision, session: &session, bind: bind.as_ref(), verifier };
            assert!(store.commit_login(login).await.unwrap().is_none(), "{revision} {bind:?}");
            assert_eq!(everything(&store).await, before, "{revision} {bind:?}");
        }
    }
}

pub async fn a_login_at_a_forbidden_application_is_undone(store: AnyStore) {
    let anna = registered(&store, &["anna"]).await;
    store.insert_application(&Application { enabled: false, ..an_application("forbidden") }).await.unwrap();
    let before = everything(&store).await;
    for id in ["forbidden", "unknown"] {
        let session = a_session(anna.number, at_application(id), NOW);
        assert!(store.commit_login(commit(&session, anna.revision)).await.unwrap().is_none(), "{id}");
    }
    assert_eq!(everything(&store).await, before);
    assert!(store.enable_application(&"forbidden".parse().unwrap(), true).await.unwrap());
    log_in(&store, &anna, at_application("forbidden")).await;
}

pub async fn login_binds_and_renews(store: AnyStore) {
    let anna = registered(&store, &["anna"]).await;
    add_gateways(&store, &["free", "other"]).await;
    let (free, renewed) = (serial("free"), verifier("renewed"));
    let session = a_session(anna.number, at_device("phone"), NOW);
    let login = LoginCommit { bind: Some(&free), verifier: Some(&renewed), ..commit(&session, anna.revision) };
    assert_same(&store.commit_login(login).await.unwrap().unwrap().session, &session);
    let after = reread(&store, anna.number).await;
    assert!(after.revision > anna.revision, "what the next login rests on has changed");
    let expected = Account { verifier: renewed, last_login_at: Some(NOW), revision: after.revision, ..anna };
    assert_same_account(&after, &expected);
    let bound: Vec<_> = store.gateways(page(None, 10)).await.unwrap().into_iter().map(|gateway| gateway.account).collect();
    assert_eq!(bound, [Some(anna.number), None]);
}

/// The session comes last: what was done before it is undone with it.
pub async fn a_login_that_fails_is_undone(store: AnyStore) {
    let anna = registered(&store, &["anna"]).await;
    add_gateways(&store, &["free"]).await;
    let first = log_in(&store, &anna, at_phone("one")).await.session;
    let before = everything(&store).await;
    let (free, renewed) = (serial("free"), verifier("renewed"));
    let same_token = Session { access_hash: first.access_hash, ..a_session(anna.number, at_phone("two"), NOW) };
    let same_id = Session { id: first.id, ..a_session(anna.number, at_phone("two"), NOW) };
    for session in [&same_id, &same_token] {
        let login = LoginCommit { bind: Some(&free), verifier: Some(&renewed), ..commit(session, anna.revision) };
        assert!(store.commit_login(login).await.is_err(), "an id and a token are one session's");
        assert_eq!(everything(&store).await, before);
    }
    log_in(&store, &anna, at_phone("two")).await;
}

/// Drops `call` after so many steps, as a server does when its client has gone: after an odd number when the call was just polled
/// and the engine is at work, after an even one when it has been woken.
async fn abandoned<T>(call: impl Future<Output = T>, steps: usize) -> Option<T> {
    let (mut call, mut polls) = (pin!(call), steps.div_ceil(2));
    poll_fn(|context| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        match call.as_mut().poll(context) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending if polls == 0 && steps % 2 == 1 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

pub async fn an_abandoned_login_is_whole_or_nothing(store: AnyStore) {
    let (mut steps, mut finished) = (0, 0);
    while finished < 10 {
        let name = format!("person{steps}");
        let account = registered(&store, &[&name]).await;
        add_gateways(&store, &[&name]).await;
        let (session, bind, renewed) = (a_session(account.number, at_phone("one"), NOW), serial(&name), verifier("renewed"));
        let login = LoginCommit { bind: Some(&bind), verifier: Some(&renewed), ..commit(&session, account.revision) };
        let outcome = abandoned(store.commit_login(login), steps).await;

        // Waits for what may still be going on with this account.
        assert!(store.set_activation(account.number, Activation::Active).await.unwrap());
        let after = reread(&store, account.number).await;
        let done = [
            after.last_login_at.is_some(),
            after.verifier.phc() == "renewed",
            store.gateway(&bind).await.unwrap().unwrap().account == Some(account.number),
            session_ids(&store, Some(account.number)).await == [session.id],
        ];
        assert!(done == [true; 4] || outcome.is_none() && done == [false; 4], "{steps} {done:?}");
        finished += usize::from(outcome.is_some());
        steps += 1;
    }
}

pub async fn sessions(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna"]).await, registered(&store, &["ben"]).await);
    let mut rows = Vec::new();
    for name in ["one", "two", "three"] {
        store.insert_application(&an_application(name)).await.unwrap();
        rows.push(log_in(&store, &anna, at_application(name)).await.session);
        rows.push(log_in(&store, &ben, at_device(name)).await.session);
    }
    rows.sort_by(|one, two| one.id.cmp(&two.id));
    let list = |account| {
        let store = &store;
        async move |page| store.sessions(account, page).await.unwrap()
    };
    let key = |row: &Session| row.id.clone();
    assert_pages(&rows, key, list(None)).await;
    let (annas, bens): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.account == anna.number);
    assert_pages(&annas, key, list(Some(anna.number))).await;
    assert_pages(&bens, key, list(Some(ben.number))).await;

    assert!(store.end_session(&bens[1].id).await.unwrap());
    assert!(!store.end_session(&bens[1].id).await.unwrap(), "ended already");
    assert_pages(&annas, key, list(Some(anna.number))).await;
    assert_same(&store.sessions(Some(ben.number), page(None, 10)).await.unwrap(), &[&bens[0], &bens[2]]);
}

pub async fn nonces(store: AnyStore) {
    let keep = Duration::from_secs(60);
    let (one, two) = (at_application("one"), at_application("two"));
    assert!(store.remember_nonce(&one, "nonce", NOW, keep).await.unwrap());
    assert!(!store.remember_nonce(&one, "nonce", NOW, keep).await.unwrap());
    assert!(store.remember_nonce(&two, "nonce", NOW, keep).await.unwrap(), "another audience's");
    assert!(store.remember_nonce(&at_device("one"), "nonce", NOW, keep).await.unwrap());
    assert!(store.remember_nonce(&one, "Nonce", NOW, keep).await.unwrap());
    let (end, past) = (NOW.plus(keep), NOW.plus(keep + Duration::from_millis(1)));
    assert!(!store.remember_nonce(&one, "nonce", end, keep).await.unwrap(), "kept to the end");
    assert!(store.remember_nonce(&one, "other", end, keep).await.unwrap());
    assert!(store.remember_nonce(&one, "nonce", past, keep).await.unwrap(), "then forgotten");
    assert!(!store.remember_nonce(&one, "nonce", past, keep).await.unwrap(), "and remembered anew");
    assert!(!store.remember_nonce(&one, "other", past, keep).await.unwrap(), "what is younger is kept");
}

pub async fn key_fingerprint(store: AnyStore) {
    for ours in ["first", "second", "first", "third"] {
        assert_eq!(store.key_fingerprint(ours).await.unwrap(), "first");
    }
}

pub async fn logins_race_for_one_session(store: AnyStore) {
    let anna = registered(&store, &["anna"]).await;
    let mut logins = JoinSet::new();
    for _ in 0..200 {
        let (store, anna) = (Arc::clone(&store), anna.clone());
        logins.spawn(async move { log_in(&store, &anna, at_phone("one")).await });
    }
    let done = logins.join_all().await;
    let firsts = done.iter().filter(|done| done.previous_ended_at.is_none()).count();
    assert_eq!(firsts, 1, "one is the first, the others replace one");
    let left = session_ids(&store, None).await;
    assert_eq!(left.len(), 1);
    assert!(done.iter().any(|done| done.session.id == left[0]));
}

pub async fn logins_race_for_a_gateway(store: AnyStore) {
    add_gateways(&store, &["free"]).await;
    let mut accounts = Vec::new();
    for person in 0..100 {
        accounts.push(registered(&store, &[&format!("person{person}")]).await);
    }
    let mut logins = JoinSet::new();
    for account in accounts {
        let store = Arc::clone(&store);
        logins.spawn(async move {
            let (session, free) = (a_session(account.number, at_phone("one"), NOW), serial("free"));
            let login = LoginCommit { bind: Some(&free), ..commit(&session, account.revision) };
            store.commit_login(login).await.unwrap().map(|done| done.session.account)
        });
    }
    let winners: Vec<_> = logins.join_all().await.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(store.gateway(&serial("free")).await.unwrap().unwrap().account, Some(winners[0]));
    let sessions = store.sessions(None, page(None, 1000)).await.unwrap();
    assert_eq!(sessions.iter().map(|session| session.account).collect::<Vec<_>>(), winners);
    let accounts = store.accounts(page(None, 1000)).await.unwrap();
    let logged_in = accounts.iter().filter(|account| account.last_login_at.is_some());
    assert_eq!(logged_in.map(|account| account.number).collect::<Vec<_>>(), winners, "a login that lost leaves nothing");
}

/// A session that was decided on before the account was disabled or got another password never outlives that change.
pub async fn logins_race_against_changes(store: AnyStore) {
    for round in 0..10 {
        let account = registered(&store, &[&format!("person{round}")]).await;
        let mut calls = JoinSet::new();
        for call in 0..20 {
            let (store, account) = (Arc::clone(&store), account.clone());
            calls.spawn(async move {
                let session = a_session(account.number, at_phone(&format!("app{call}")), NOW);
                match call {
                    9 => assert!(store.enable_account(account.number, false).await.unwrap()),
                    10 => assert!(store.set_verifier(account.number, &verifier("second")).await.unwrap()),
                    _ => drop(store.commit_login(commit(&session, account.revision)).await.unwrap()),
                }
            });
        }
        calls.join_all().await;
        assert_eq!(session_ids(&store, Some(account.number)).await, []);
    }
}

pub async fn nonces_race(store: AnyStore) {
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let store = Arc::clone(&store);
        calls
            .spawn(async move { store.remember_nonce(&at_application("one"), "n", NOW, Duration::from_secs(60)).await.unwrap() });
    }
    assert_eq!(calls.join_all().await.into_iter().filter(|new| *new).count(), 1);
}

pub async fn registrations_race(store: AnyStore) {
    let mut calls = JoinSet::new();
    for person in 0..20 {
        let store = Arc::clone(&store);
        let account = an_account(&[&format!("person{person}"), "same@example.com"]);
        calls.spawn(async move { store.insert_account(&account).await });
    }
    let outcomes = calls.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(InsertError::Taken))), "{outcomes:?}");
    assert_eq!(store.accounts(page(None, 100)).await.unwrap().len(), 1);
}

pub async fn fingerprints_race(store: AnyStore) {
    let mut calls = JoinSet::new();
    for process in 0..20 {
        let store = Arc::clone(&store);
        calls.spawn(async move { store.key_fingerprint(&format!("key{process}")).await.unwrap() });
    }
    let remembered = calls.join_all().await;
    assert!(remembered.iter().all(|key| *key == remembered[0]), "{remembered:?}");
}

/// What was acknowledged is there for whoever opens the store next. `reopen` gives up `store`, gently or not, and opens it again.
pub async fn outlives_its_connections(store: AnyStore, reopen: impl AsyncFnOnce() -> AnyStore) {
    let keep = Duration::from_secs(60);
    store.insert_account(&a_full_account()).await.unwrap();
    let ben = registered(&store, &["ben"]).await;
    store.insert_application(&an_application("one")).await.unwrap();
    store.insert_device(&a_device("one", Some("1.0"))).await.unwrap();
    add_gateways(&store, &["one", "two"]).await;
    assert!(store.set_min_app_version(&serial("two"), Some(&"2.0".parse().unwrap())).await.unwrap());
    assert!(store.remember_nonce(&at_application("one"), "nonce", NOW, keep).await.unwrap());
    assert_eq!(store.key_fingerprint("first").await.unwrap(), "first");
    log_in(&store, &ben, at_phone("one")).await;
    let (session, one, renewed) = (a_session(ben.number, at_device("one"), NOW), serial("one"), verifier("renewed"));
    let login = LoginCommit { bind: Some(&one), verifier: Some(&renewed), ..commit(&session, ben.revision) };
    assert!(store.commit_login(login).await.unwrap().is_some());
    let before = everything(&store).await;
    drop(store);

    let again = reopen().await;
    assert_eq!(everything(&again).await, before);
    assert!(!again.remember_nonce(&at_application("one"), "nonce", NOW, keep).await.unwrap());
    assert_eq!(again.key_fingerprint("second").await.unwrap(), "first");
    assert_taken(&again.insert_account(&an_account(&["ben"])).await, "user name");
    assert_eq!(registered(&again, &["carl"]).await.number, AccountNumber(3));
}
