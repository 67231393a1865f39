//! The contract of a [`Store`]: what every implementation must do, as checks that its own tests run on the real engine.
//!
//! [`store_contract!`](crate::store_contract) makes a test of each.
#![expect(clippy::unwrap_used, reason = "a check that cannot go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{InsertError, LoginCommit, LoginDone, Page};
use crate::{
    Account, AccountNumber, Activation, ApiKey, Application, ApplicationId, Audience, Client, Details, Device, DeviceKind,
    Gateway, GatewayKind, Guid, Identifier, MasterKey, ObjectId, Profile, Serial, Session, Store, SystemRng, Timestamp, Token,
    TokenLength, Verifier,
};

/// Makes a `#[tokio::test]` of each check. `$open` is an async function that returns a fresh, empty `Arc<dyn Store>` and whatever must
/// live as long as it.
#[macro_export]
macro_rules! store_contract {
    ($open:path) => {
        $crate::store_contract!(@ $open;
            applications devices gateways accounts identifiers_are_unique account_numbers_count_up extreme_values changes_end_sessions
            revisions binding login_replaces_a_session a_login_on_anything_else_is_undone login_binds_and_renews sessions
            nonces key_fingerprint logins_race_for_one_session logins_race_for_a_gateway nonces_race registrations_race);
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

fn page<K>(after: Option<K>, limit: u32) -> Page<K> {
    Page { after, limit }
}

fn serial(text: &str) -> Serial {
    text.parse().unwrap()
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
        verifier: Verifier::from_phc("first".into()),
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

async fn registered(store: &AnyStore, identifiers: &[&str]) -> Account {
    let number = store.insert_account(&an_account(identifiers)).await.unwrap();
    store.account(number).await.unwrap().unwrap()
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

fn at_application(id: &str) -> Audience {
    Audience::Application(id.parse().unwrap())
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
        client: Client { address: "2001:db8::1".parse().unwrap(), app_version: None, os: None },
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
fn assert_same(one: &impl std::fmt::Debug, two: &impl std::fmt::Debug) {
    assert_eq!(format!("{one:?}"), format!("{two:?}"));
}

pub async fn applications(store: AnyStore) {
    let (one, two) = (an_application("one"), Application { profile: Profile::Compat, ..an_application("two") });
    store.insert_application(&two).await.unwrap();
    store.insert_application(&one).await.unwrap();
    assert_same(&store.application(&one.id).await.unwrap(), &Some(one.clone()));
    assert_same(&store.application(&two.id).await.unwrap(), &Some(two.clone()));
    assert!(store.application(&"three".parse().unwrap()).await.unwrap().is_none());
    let taken = store.insert_application(&an_application("one")).await;
    assert!(matches!(taken, Err(InsertError::Taken)));
    assert_same(&store.applications(page(None, 10)).await.unwrap(), &[one.clone(), two.clone()]);
    assert_same(&store.applications(page(None, 1)).await.unwrap(), &[&one]);
    assert_same(&store.applications(page(Some(one.id), 10)).await.unwrap(), &[two]);
}

pub async fn devices(store: AnyStore) {
    let (one, two) = (a_device("one", Some("beta 1")), a_device("two", None));
    store.insert_device(&one).await.unwrap();
    store.insert_device(&two).await.unwrap();
    assert_same(&store.device(&one.serial).await.unwrap(), &Some(one.clone()));
    assert!(store.device(&serial("One")).await.unwrap().is_none(), "serial numbers are case-sensitive");
    assert!(matches!(store.insert_device(&a_device("one", None)).await, Err(InsertError::Taken)));
    assert_same(&store.devices(page(None, 10)).await.unwrap(), &[one.clone(), two.clone()]);
    assert_same(&store.devices(page(Some(one.serial), 10)).await.unwrap(), &[two]);
}

pub async fn gateways(store: AnyStore) {
    let account = registered(&store, &["anna"]).await.number;
    let one = Gateway { min_app_version: Some("V2.0.4".parse().unwrap()), account: Some(account), ..a_gateway("one") };
    let two = a_gateway("two");
    store.insert_gateway(&one).await.unwrap();
    store.insert_gateway(&two).await.unwrap();
    assert_same(&store.gateway(&one.serial).await.unwrap(), &Some(one.clone()));
    assert!(store.gateway(&serial("three")).await.unwrap().is_none());
    assert!(matches!(store.insert_gateway(&a_gateway("one")).await, Err(InsertError::Taken)));
    assert_same(&store.gateways(page(None, 10)).await.unwrap(), &[one.clone(), two.clone()]);
    assert_same(&store.gateways(page(Some(one.serial.clone()), 10)).await.unwrap(), &[&two]);
    assert_same(&store.gateways_of(account).await.unwrap(), &[&one]);

    let version = "3.1".parse().unwrap();
    assert!(store.set_min_app_version(&two.serial, Some(&version)).await.unwrap());
    assert_eq!(store.gateway(&two.serial).await.unwrap().unwrap().min_app_version, Some(version));
    assert!(store.set_min_app_version(&two.serial, None).await.unwrap());
    assert_eq!(store.gateway(&two.serial).await.unwrap().unwrap().min_app_version, None);
    assert!(!store.set_min_app_version(&serial("three"), None).await.unwrap());
}

pub async fn accounts(store: AnyStore) {
    let text = |text: &str| Some(text.to_owned());
    let mut full = an_account(&["anna", "anna@example.com", "+8613123456789"]);
    full.activation = Activation::Pending { deadline: Timestamp(5) };
    full.enabled = false;
    full.details = Details {
        display_name: text("Anna"),
        language: text("cn"),
        birthday: Some("1990-01-01".parse().unwrap()),
        address: text("Here"),
        country: text("CN"),
        groups: text("a&b"),
    };
    full.number = store.insert_account(&full).await.unwrap();
    let mut bare = an_account(&["ben@example.com"]);
    bare.number = store.insert_account(&bare).await.unwrap();
    for name in ["anna", "anna@example.com", "+8613123456789"] {
        let found = store.account_named(&name.parse().unwrap()).await.unwrap();
        assert_same(&found, &Some(full.clone()));
        assert_eq!(found.unwrap().verifier.phc(), "first");
    }
    assert_same(&store.account(bare.number).await.unwrap(), &Some(bare.clone()));
    for nobody in ["Anna", "nobody", "nobody@example.com", "+8613123456780"] {
        assert!(store.account_named(&nobody.parse().unwrap()).await.unwrap().is_none(), "{nobody}");
    }
    assert!(store.account(AccountNumber(99)).await.unwrap().is_none());
    assert_same(&store.accounts(page(None, 10)).await.unwrap(), &[full.clone(), bare.clone()]);
    assert_same(&store.accounts(page(None, 1)).await.unwrap(), &[&full]);
    assert_same(&store.accounts(page(Some(full.number), 10)).await.unwrap(), &[bare]);
}

pub async fn identifiers_are_unique(store: AnyStore) {
    let anna = registered(&store, &["anna", "anna@example.com", "+8613123456789"]).await;
    for taken in [["anna", "b@example.com"], ["ben", "anna@example.com"], ["ben", "+8613123456789"]] {
        assert!(matches!(store.insert_account(&an_account(&taken)).await, Err(InsertError::Taken)), "{taken:?}");
    }
    assert_same(&store.accounts(page(None, 10)).await.unwrap(), &[anna]);
    registered(&store, &["ben"]).await;
    registered(&store, &["carl"]).await;
}

pub async fn account_numbers_count_up(store: AnyStore) {
    assert_eq!(registered(&store, &["anna"]).await.number, AccountNumber(1));
    assert!(store.insert_account(&an_account(&["anna"])).await.is_err());
    assert_eq!(registered(&store, &["ben"]).await.number, AccountNumber(2), "a refused account leaves no gap");
}

pub async fn extreme_values(store: AnyStore) {
    let evil = "';DROP TABLE accounts;-- \"\\ 你好 \u{1f600}\u{202e}%_";
    let mut account = an_account(&[evil, "+861234567890123"]);
    account.registered_at = Timestamp(i64::MAX);
    account.activation = Activation::Pending { deadline: Timestamp(i64::MIN) };
    account.details.address = Some("长".repeat(255));
    account.number = store.insert_account(&account).await.unwrap();
    assert_same(&store.account_named(&evil.parse().unwrap()).await.unwrap(), &Some(account));
    let long = a_device(&"长".repeat(64), Some(""));
    store.insert_device(&long).await.unwrap();
    assert_same(&store.device(&long.serial).await.unwrap(), &Some(long));
}

pub async fn changes_end_sessions(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna"]).await, registered(&store, &["ben"]).await);
    for id in ["one", "two"] {
        store.insert_application(&an_application(id)).await.unwrap();
    }
    let bens = log_in(&store, &ben, at_application("two")).await.session.id;

    log_in(&store, &anna, at_application("one")).await;
    let at_device = log_in(&store, &anna, Audience::Device(serial("one"))).await.session.id;
    assert!(store.enable_application(&"one".parse().unwrap(), false).await.unwrap());
    assert!(!store.application(&"one".parse().unwrap()).await.unwrap().unwrap().enabled);
    assert_eq!(session_ids(&store, Some(anna.number)).await, [at_device], "the one at a device of that name goes on");
    assert!(store.enable_application(&"one".parse().unwrap(), true).await.unwrap());

    assert!(store.set_activation(anna.number, Activation::Pending { deadline: NOW }).await.unwrap());
    assert_eq!(session_ids(&store, Some(anna.number)).await.len(), 1);
    assert!(store.enable_account(anna.number, false).await.unwrap());
    assert_eq!(session_ids(&store, None).await, std::slice::from_ref(&bens));
    assert!(!store.account(anna.number).await.unwrap().unwrap().enabled);

    assert!(store.enable_account(anna.number, true).await.unwrap());
    log_in(&store, &store.account(anna.number).await.unwrap().unwrap(), at_application("one")).await;
    assert!(store.set_verifier(anna.number, &Verifier::from_phc("second".into())).await.unwrap());
    assert_eq!(session_ids(&store, None).await, [bens]);
    assert_eq!(store.account(anna.number).await.unwrap().unwrap().verifier.phc(), "second");
}

pub async fn revisions(store: AnyStore) {
    let anna = registered(&store, &["anna"]).await.number;
    let revision = async || store.account(anna).await.unwrap().unwrap().revision;
    let mut last = revision().await;
    let mut changed = async |what: &str| {
        let now = revision().await;
        assert!(now > last, "{what}");
        last = now;
    };
    assert!(store.set_verifier(anna, &Verifier::from_phc("second".into())).await.unwrap());
    changed("verifier").await;
    assert!(store.set_activation(anna, Activation::Active).await.unwrap());
    changed("activation").await;
    assert!(store.enable_account(anna, false).await.unwrap());
    changed("enabled").await;
    store.insert_gateway(&a_gateway("one")).await.unwrap();
    assert!(store.bind(&serial("one"), anna).await.unwrap());
    changed("bound").await;
    assert!(store.unbind(&serial("one")).await.unwrap());
    changed("unbound").await;

    let nobody = AccountNumber(99);
    assert!(!store.set_verifier(nobody, &Verifier::from_phc("x".into())).await.unwrap());
    assert!(!store.set_activation(nobody, Activation::Active).await.unwrap());
    assert!(!store.enable_account(nobody, true).await.unwrap());
    assert!(!store.enable_application(&"none".parse().unwrap(), true).await.unwrap());
}

pub async fn binding(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna"]).await.number, registered(&store, &["ben"]).await.number);
    for name in ["one", "two"] {
        store.insert_gateway(&a_gateway(name)).await.unwrap();
    }
    assert!(!store.bind(&serial("three"), anna).await.unwrap(), "no such gateway");
    assert!(!store.bind(&serial("one"), AccountNumber(99)).await.unwrap(), "no such account");
    assert!(store.bind(&serial("one"), anna).await.unwrap());
    assert!(!store.bind(&serial("one"), ben).await.unwrap(), "not free");
    assert!(!store.bind(&serial("one"), anna).await.unwrap(), "not free, though hers");
    assert!(store.bind(&serial("two"), anna).await.unwrap(), "a second one");
    let serials = async |account| {
        let gateways = store.gateways_of(account).await.unwrap();
        gateways.into_iter().map(|gateway| gateway.serial.to_string()).collect::<Vec<_>>()
    };
    assert_eq!((serials(anna).await, serials(ben).await), (vec!["one".to_owned(), "two".to_owned()], vec![]));
    assert!(store.unbind(&serial("one")).await.unwrap());
    assert!(!store.unbind(&serial("one")).await.unwrap(), "free already");
    assert!(!store.unbind(&serial("three")).await.unwrap(), "no such gateway");
    assert_eq!(serials(anna).await, ["two"]);
}

pub async fn login_replaces_a_session(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna"]).await, registered(&store, &["ben"]).await);
    let mut first = a_session(anna.number, at_application("one"), NOW);
    first.client = Client { address: "127.0.0.1".parse().unwrap(), app_version: Some("1.0".into()), os: Some("ios".into()) };
    let done = store.commit_login(commit(&first, anna.revision)).await.unwrap().unwrap();
    assert_same(&done.session, &first);
    assert_eq!(done.previous_ended_at, None);
    assert_eq!(store.account(anna.number).await.unwrap().unwrap().last_login_at, Some(NOW));
    assert_same(&store.sessions(None, page(None, 10)).await.unwrap(), &[&first]);
    let elsewhere = log_in(&store, &anna, at_application("two")).await.session.id;
    let bens = log_in(&store, &ben, at_application("one")).await.session.id;

    // While the first is valid, it ends now; what the second does not say is kept.
    let later = NOW.plus(Duration::from_secs(50));
    let mut second = a_session(anna.number, at_application("one"), later);
    second.client.os = Some("android".into());
    let done = store.commit_login(commit(&second, anna.revision)).await.unwrap().unwrap();
    assert_eq!(done.previous_ended_at, Some(later));
    let said = (done.session.client.app_version.as_deref(), done.session.client.os.as_deref());
    assert_eq!(said, (Some("1.0"), Some("android")));

    // After its access token ran out, it had ended then.
    let much_later = later.plus(Duration::from_secs(1000));
    let third = a_session(anna.number, at_application("one"), much_later);
    let done = store.commit_login(commit(&third, anna.revision)).await.unwrap().unwrap();
    assert_eq!(done.previous_ended_at, Some(second.access_expires_at));

    let mut left = session_ids(&store, None).await;
    let mut expected = vec![elsewhere, bens, third.id];
    left.sort();
    expected.sort();
    assert_eq!(left, expected);
}

pub async fn a_login_on_anything_else_is_undone(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna"]).await, registered(&store, &["ben"]).await);
    for name in ["free", "taken"] {
        store.insert_gateway(&a_gateway(name)).await.unwrap();
    }
    assert!(store.bind(&serial("taken"), ben.number).await.unwrap());
    let before = async || {
        let account = store.account(anna.number).await.unwrap().unwrap();
        let (sessions, gateways) = (session_ids(&store, None).await, store.gateways(page(None, 10)).await.unwrap());
        format!("{account:?} {} {sessions:?} {gateways:?}", account.verifier.phc())
    };
    let untouched = before().await;
    let session = a_session(anna.number, at_application("one"), NOW);
    let renewed = Verifier::from_phc("renewed".into());
    for (revision, bind) in
        [(anna.revision + 1, "free"), (anna.revision - 1, "free"), (anna.revision, "taken"), (anna.revision, "none")]
    {
        let bind = serial(bind);
        let login = LoginCommit { revision, session: &session, bind: Some(&bind), verifier: Some(&renewed) };
        assert!(store.commit_login(login).await.unwrap().is_none(), "{revision} {bind}");
        assert_eq!(before().await, untouched, "{revision} {bind}");
    }
    let stranger = a_session(AccountNumber(99), at_application("one"), NOW);
    assert!(store.commit_login(commit(&stranger, 0)).await.unwrap().is_none());
}

pub async fn login_binds_and_renews(store: AnyStore) {
    let anna = registered(&store, &["anna"]).await;
    store.insert_gateway(&a_gateway("free")).await.unwrap();
    let (free, renewed) = (serial("free"), Verifier::from_phc("renewed".into()));
    let session = a_session(anna.number, Audience::Device(serial("phone")), NOW);
    let login = LoginCommit { revision: anna.revision, session: &session, bind: Some(&free), verifier: Some(&renewed) };
    assert!(store.commit_login(login).await.unwrap().is_some());
    let after = store.account(anna.number).await.unwrap().unwrap();
    assert_eq!(after.verifier.phc(), "renewed");
    assert!(after.revision > anna.revision, "what the next login rests on has changed");
    assert_eq!(store.gateway(&free).await.unwrap().unwrap().account, Some(anna.number));
}

pub async fn sessions(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna"]).await, registered(&store, &["ben"]).await);
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        ids.push(log_in(&store, &anna, at_application(name)).await.session.id);
    }
    let bens = log_in(&store, &ben, at_application("one")).await.session.id;
    ids.sort();
    assert_eq!(session_ids(&store, Some(anna.number)).await, ids);
    assert_eq!(session_ids(&store, None).await.len(), 4);
    let rest = store.sessions(Some(anna.number), page(Some(ids[0].clone()), 1)).await.unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].id, ids[1]);
    assert!(store.end_session(&bens).await.unwrap());
    assert!(!store.end_session(&bens).await.unwrap());
    assert_eq!(session_ids(&store, None).await, ids);
}

pub async fn nonces(store: AnyStore) {
    let keep = Duration::from_secs(60);
    let (one, two) = (at_application("one"), at_application("two"));
    assert!(store.remember_nonce(&one, "nonce", NOW, keep).await.unwrap());
    assert!(!store.remember_nonce(&one, "nonce", NOW, keep).await.unwrap());
    assert!(store.remember_nonce(&two, "nonce", NOW, keep).await.unwrap(), "another audience's");
    assert!(store.remember_nonce(&Audience::Device(serial("one")), "nonce", NOW, keep).await.unwrap());
    assert!(store.remember_nonce(&one, "Nonce", NOW, keep).await.unwrap());
    let (end, past) = (NOW.plus(keep), NOW.plus(keep + Duration::from_millis(1)));
    assert!(!store.remember_nonce(&one, "nonce", end, keep).await.unwrap(), "kept to the end");
    assert!(store.remember_nonce(&one, "nonce", past, keep).await.unwrap(), "then forgotten");
}

pub async fn key_fingerprint(store: AnyStore) {
    assert_eq!(store.key_fingerprint("first").await.unwrap(), "first");
    assert_eq!(store.key_fingerprint("second").await.unwrap(), "first");
}

pub async fn logins_race_for_one_session(store: AnyStore) {
    let anna = registered(&store, &["anna"]).await;
    let mut logins = JoinSet::new();
    for _ in 0..200 {
        let (store, anna) = (Arc::clone(&store), anna.clone());
        logins.spawn(async move { log_in(&store, &anna, at_application("one")).await.previous_ended_at });
    }
    let replaced = logins.join_all().await;
    assert_eq!(replaced.iter().filter(|previous| previous.is_none()).count(), 1, "one is the first, the others replace one");
    assert_eq!(session_ids(&store, None).await.len(), 1);
}

pub async fn logins_race_for_a_gateway(store: AnyStore) {
    store.insert_gateway(&a_gateway("free")).await.unwrap();
    let mut logins = JoinSet::new();
    for person in 0..100 {
        let account = registered(&store, &[&format!("person{person}")]).await;
        let store = Arc::clone(&store);
        logins.spawn(async move {
            let (session, free) = (a_session(account.number, at_application("one"), NOW), serial("free"));
            let login = LoginCommit { bind: Some(&free), ..commit(&session, account.revision) };
            store.commit_login(login).await.unwrap().map(|done| done.session.account)
        });
    }
    let winners: Vec<_> = logins.join_all().await.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(store.gateway(&serial("free")).await.unwrap().unwrap().account, Some(winners[0]));
    assert_eq!(session_ids(&store, None).await.len(), 1);
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
