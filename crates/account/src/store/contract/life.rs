//! Codes, links, messages, registrations, changes, refreshing, devices that come again: each as a whole or not at all.

use std::collections::BTreeSet;

use tokio::task::JoinSet;

use super::super::{Created, Creation, Imported, Mailed, Mailing, NewCode, RefreshToken, Rotation, Spend};
use super::trail::an_entry;
use super::*;
use crate::{Address, Limit, Link, LinkPurpose, ProvenCode, Purpose, Queued, SpentToken};

const LIMITS: [Limit; 2] =
    [Limit { most: 2, within: Duration::from_secs(60) }, Limit { most: 3, within: Duration::from_secs(3600) }];

fn email(text: &str) -> Address {
    Address::Email(text.parse().unwrap())
}

pub(super) fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

pub(super) fn a_message(subject: &str) -> Queued {
    let id = ObjectId::draw(&SystemRng);
    let sealed = MasterKey::draw(&SystemRng).seal(&SystemRng, id.as_str(), b"secret");
    Queued {
        id,
        subject: subject.into(),
        sealed,
        created_at: NOW,
        expires_at: later(100),
        due_at: Some(NOW),
        attempts: 0,
        last_error: None,
    }
}

fn a_link(account: AccountNumber, purpose: LinkPurpose) -> Link {
    let hash = Token::draw(&SystemRng, TokenLength::Bits256).hash();
    Link { purpose, account, hash, expires_at: later(100), used: false }
}

fn code(hash: &str) -> NewCode<'_> {
    NewCode { purpose: Purpose::Register, hash, expires_at: later(600) }
}

fn proven(address: &Address, hash: &str) -> ProvenCode {
    ProvenCode { purpose: Purpose::Register, address: address.clone(), hash: hash.into() }
}

async fn mail(store: &AnyStore, address: &Address, code: Option<NewCode<'_>>, link: Option<&Link>, now: Timestamp) -> Mailed {
    let message = a_message(&format!("code {}", address.as_str()));
    store.mail(Mailing { address, code, link, message: &message, limits: &LIMITS, now }).await.unwrap()
}

async fn take(store: &AnyStore, address: &Address) -> Option<String> {
    store.take_try(Purpose::Register, address, 5).await.unwrap().map(|code| code.hash)
}

pub async fn codes(store: AnyStore) {
    let (anna, ben) = (email("anna@example.com"), email("ben@example.com"));
    assert_eq!(take(&store, &anna).await, None);
    assert_eq!(mail(&store, &anna, Some(code("first")), None, NOW).await, Mailed::Queued);
    let found = store.take_try(Purpose::Register, &anna, 5).await.unwrap().unwrap();
    assert_eq!((found.hash.as_str(), found.expires_at, found.used), ("first", later(600), false));
    assert!(store.take_try(Purpose::Reset, &anna, 5).await.unwrap().is_none(), "for another purpose there is none");
    assert_eq!(take(&store, &ben).await, None);
    for _ in 0..4 {
        assert_eq!(take(&store, &anna).await.as_deref(), Some("first"));
    }
    assert_eq!(take(&store, &anna).await, None, "five tries");
    store.return_try(&proven(&anna, "other")).await.unwrap();
    assert_eq!(take(&store, &anna).await, None, "a try of another code is not given back");
    store.return_try(&proven(&anna, "first")).await.unwrap();
    assert_eq!(take(&store, &anna).await.as_deref(), Some("first"));
    assert_eq!(take(&store, &anna).await, None);
    assert_eq!(mail(&store, &anna, Some(code("second")), None, NOW).await, Mailed::Queued);
    assert_eq!(take(&store, &anna).await.as_deref(), Some("second"), "a new one has tries of its own");
}

pub async fn mailing_limits(store: AnyStore) {
    let (anna, ben) = (email("anna@example.com"), email("ben@example.com"));
    let wait = |seconds| Mailed::TooOften { retry_after: Duration::from_secs(seconds) };
    assert_eq!(mail(&store, &anna, Some(code("1")), None, NOW).await, Mailed::Queued);
    assert_eq!(mail(&store, &anna, Some(code("2")), None, later(10)).await, Mailed::Queued);
    let before = store.messages(page(None, 10)).await.unwrap();
    assert_eq!(mail(&store, &anna, Some(code("3")), None, later(20)).await, wait(40));
    assert_eq!(take(&store, &anna).await.as_deref(), Some("2"), "what is too often changes nothing");
    assert_same(&store.messages(page(None, 10)).await.unwrap(), &before);
    assert_eq!(mail(&store, &ben, Some(code("x")), None, later(20)).await, Mailed::Queued, "others are not held back");
    assert_eq!(mail(&store, &anna, Some(code("3")), None, later(60)).await, Mailed::Queued);
    assert_eq!(mail(&store, &anna, Some(code("4")), None, later(71)).await, wait(3529), "the longer limit");
    assert_eq!(mail(&store, &anna, Some(code("4")), None, later(3600)).await, Mailed::Queued);
}

pub async fn links(store: AnyStore) {
    let account = registered(&store, &["anna@example.com"]).await;
    let (first, second) = (a_link(account.number, LinkPurpose::Reset), a_link(account.number, LinkPurpose::Reset));
    let other = a_link(account.number, LinkPurpose::Activate);
    for link in [&first, &second, &other] {
        let address = email(link.hash.as_str().get(..8).map(|name| format!("{name}@example.com")).unwrap().as_str());
        assert_eq!(mail(&store, &address, None, Some(link), NOW).await, Mailed::Queued);
    }
    assert!(store.link(&first.hash).await.unwrap().is_none(), "the newest only");
    assert_same(&store.link(&second.hash).await.unwrap(), &Some(&second));
    assert_same(&store.link(&other.hash).await.unwrap(), &Some(&other));
    for (expected, used) in [(Changed::Done, "once"), (Changed::Spent, "and not twice")] {
        let account = reread(&store, account.number).await;
        let change = AccountChange { spend: Some(Spend::Link(&second)), ..AccountChange::on(&account, NOW) };
        assert_eq!(store.change_account(change).await.unwrap(), expected, "{used}");
    }
    assert!(store.link(&second.hash).await.unwrap().unwrap().used);
    assert!(!store.link(&other.hash).await.unwrap().unwrap().used);
}

pub async fn messages(store: AnyStore) {
    let (anna, ben) = (email("anna@example.com"), email("ben@example.com"));
    assert_eq!(store.next_message_due().await.unwrap(), None);
    assert!(store.claim_message(NOW, later(10)).await.unwrap().is_none());
    let old = a_message("same");
    let first = Queued { due_at: Some(later(1)), ..a_message("same") };
    let second = a_message("other");
    for (message, address) in [(&old, &anna), (&first, &anna), (&second, &ben)] {
        let mailing = Mailing { address, code: None, link: None, message, limits: &[], now: NOW };
        assert_eq!(store.mail(mailing).await.unwrap(), Mailed::Queued);
    }
    let mut expected = vec![&first, &second];
    expected.sort_by(|one, two| one.id.cmp(&two.id));
    assert_same(&store.messages(page(None, 10)).await.unwrap(), &expected);
    assert_eq!(store.next_message_due().await.unwrap(), Some(NOW));
    let claimed = store.claim_message(NOW, later(10)).await.unwrap().unwrap();
    assert_same(&claimed, &Queued { due_at: Some(later(10)), attempts: 1, ..second.clone() });
    assert_eq!(claimed.sealed.as_str(), second.sealed.as_str());
    assert!(store.claim_message(NOW, later(10)).await.unwrap().is_none(), "the other is not due yet");
    assert_eq!(store.claim_message(later(1), later(20)).await.unwrap().unwrap().id, first.id);
    assert_eq!(store.claim_message(later(10), later(20)).await.unwrap().unwrap().id, second.id, "a lease ends");
    store.finish_message(&second.id).await.unwrap();
    store.postpone_message(&first.id, Some(later(30)), "nobody there").await.unwrap();
    let left = store.messages(page(None, 10)).await.unwrap();
    let postponed = Queued { due_at: Some(later(30)), attempts: 1, last_error: Some("nobody there".into()), ..first.clone() };
    assert_same(&left, &[&postponed]);
    assert!(store.claim_message(later(100), later(200)).await.unwrap().is_none(), "it is of no use any more");
    store.forget(&forget(later(99), NOW, NOW)).await.unwrap();
    assert_eq!(store.next_message_due().await.unwrap(), Some(later(30)));
    store.forget(&forget(later(100), NOW, NOW)).await.unwrap();
    assert_eq!(store.next_message_due().await.unwrap(), None);
    assert_same(&store.messages(page(None, 10)).await.unwrap(), &[&Queued { due_at: None, ..postponed }]);
    store.forget(&forget(later(100), later(100), NOW)).await.unwrap();
    assert!(store.messages(page(None, 10)).await.unwrap().is_empty());
}

fn creation<'a>(account: &'a Account) -> Creation<'a> {
    Creation {
        account,
        replaceable_before: NOW,
        spend: None,
        session: None,
        link: None,
        message: None,
        limits: &LIMITS,
        now: NOW,
    }
}

async fn all(store: &AnyStore) -> String {
    format!("{} {:#?}", everything(store).await, store.messages(page(None, 1000)).await.unwrap())
}

pub async fn creations(store: AnyStore) {
    let address = email("anna@example.com");
    store.insert_application(&an_application("closed")).await.unwrap();
    store.enable_application(&"closed".parse().unwrap(), false, NOW).await.unwrap();
    let taken = registered(&store, &["taken@example.com"]).await;
    mail(&store, &address, Some(code("right")), None, NOW).await;
    let account = an_account(&["anna@example.com"]);
    let session = a_session(AccountNumber(0), at_phone("one"), NOW);
    let nowhere = a_session(AccountNumber(0), at_application("closed"), NOW);
    let (link, message) = (a_link(AccountNumber(0), LinkPurpose::Activate), a_message("activation"));
    let (right, wrong) = (proven(&address, "right"), proven(&address, "wrong"));
    let whole = || Creation {
        spend: Some(&right),
        session: Some(&session),
        link: Some(&link),
        message: Some(&message),
        ..creation(&account)
    };
    let before = all(&store).await;
    let doubled = an_account(&["anna", "taken@example.com"]);
    let refused = [
        Creation { spend: Some(&wrong), ..whole() },
        Creation { account: &doubled, ..whole() },
        Creation { session: Some(&nowhere), ..whole() },
        Creation { limits: &[Limit { most: 1, within: Duration::from_secs(60) }], ..whole() },
    ];
    let mut outcomes = Vec::new();
    for creation in refused {
        outcomes.push(format!("{:?}", store.create_account(creation).await.unwrap()));
        assert_eq!(all(&store).await, before, "what is refused leaves nothing");
    }
    assert_eq!(outcomes, ["Spent", "Taken", "Closed", "TooOften { retry_after: 60s }"]);

    let Created::Account(number) = store.create_account(whole()).await.unwrap() else { panic!("it is free") };
    assert_same_account(&reread(&store, number).await, &Account { number, ..account.clone() });
    assert_same(&store.sessions(Some(number), page(None, 10)).await.unwrap(), &[Session { account: number, ..session.clone() }]);
    assert_same(&store.link(&link.hash).await.unwrap(), &Some(Link { account: number, ..link.clone() }));
    assert!(store.messages(page(None, 10)).await.unwrap().iter().any(|queued| queued.id == message.id));
    let again = an_account(&["other@example.com"]);
    let outcome = store.create_account(Creation { spend: Some(&right), ..creation(&again) }).await.unwrap();
    assert!(matches!(outcome, Created::Spent), "a code is used once: {outcome:?}");
    assert_same_account(&reread(&store, taken.number).await, &taken);
}

pub async fn what_was_never_activated_makes_place(store: AnyStore) {
    add_gateways(&store, &["cube"]).await;
    let register = async |deadline: u64| {
        let mut account = an_account(&["anna", "anna@example.com"]);
        account.activation = Activation::Pending { deadline: later(deadline) };
        store.insert_account(&account).await.unwrap()
    };
    let pending = register(10).await;
    store.bind(&serial("cube"), pending, NOW).await.unwrap();
    let link = a_link(pending, LinkPurpose::Activate);
    mail(&store, &email("anna@example.com"), None, Some(&link), NOW).await;
    log_in(&store, &reread(&store, pending).await, at_phone("one")).await;
    let newcomer = an_account(&["anna@example.com"]);
    let outcome = store.create_account(Creation { replaceable_before: later(9), ..creation(&newcomer) }).await.unwrap();
    assert!(matches!(outcome, Created::Taken), "it has time left: {outcome:?}");
    let outcome = store.create_account(Creation { replaceable_before: later(10), ..creation(&newcomer) }).await.unwrap();
    let Created::Account(number) = outcome else { panic!("{outcome:?}") };
    assert!(store.account(pending).await.unwrap().is_none());
    assert!(session_ids(&store, None).await.is_empty() && store.link(&link.hash).await.unwrap().is_none());
    assert_eq!(store.gateway(&serial("cube")).await.unwrap().unwrap().account, None);
    let outcome =
        store.create_account(Creation { replaceable_before: Timestamp(i64::MAX), ..creation(&newcomer) }).await.unwrap();
    assert!(matches!(outcome, Created::Taken), "an activated one never does: {outcome:?}");
    assert!(store.account(number).await.unwrap().is_some());
}

pub async fn account_changes(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna@example.com"]).await, registered(&store, &["ben"]).await);
    store.set_activation(anna.number, Activation::Pending { deadline: later(5) }).await.unwrap();
    let address = email("anna@example.com");
    mail(&store, &address, Some(code("right")), None, NOW).await;
    let anna = reread(&store, anna.number).await;
    let kept = log_in(&store, &anna, at_phone("kept")).await.session;
    log_in(&store, &anna, at_phone("other")).await;
    let anna = reread(&store, anna.number).await;
    let bens = log_in(&store, &ben, at_phone("one")).await.session.id;
    store.insert_application(&an_application("closed")).await.unwrap();
    store.enable_application(&"closed".parse().unwrap(), false, NOW).await.unwrap();
    let nowhere = a_session(anna.number, at_application("closed"), NOW);
    let (right, wrong, stranger) = (proven(&address, "right"), proven(&address, "wrong"), ObjectId::draw(&SystemRng));
    let (renewed, message) = (verifier("second"), a_message("news"));
    let begun = a_session(anna.number, at_phone("begun"), later(1));
    let whole = || AccountChange {
        verifier: Some(&renewed),
        activate: true,
        spend: Some(Spend::Code(&right)),
        end: Ending::All,
        begin: Some(&begun),
        message: Some(&message),
        ..AccountChange::on(&anna, NOW)
    };
    let before = all(&store).await;
    for (change, expected) in [
        (AccountChange { revision: anna.revision - 1, ..whole() }, Changed::Stale),
        (AccountChange { account: NOBODY, ..whole() }, Changed::Stale),
        (AccountChange { spend: Some(Spend::Code(&wrong)), ..whole() }, Changed::Spent),
        (AccountChange { end: Ending::AllBut(&stranger), ..whole() }, Changed::Stale),
        (AccountChange { end: Ending::AllBut(&bens), ..whole() }, Changed::Stale),
        (AccountChange { begin: Some(&nowhere), ..whole() }, Changed::Closed),
    ] {
        let shown = format!("{change:?}");
        assert_eq!(store.change_account(change).await.unwrap(), expected, "{shown}");
        assert_eq!(all(&store).await, before, "what is refused leaves nothing: {shown}");
    }

    let others_end = AccountChange { end: Ending::AllBut(&kept.id), ..AccountChange::on(&anna, NOW) };
    assert_eq!(store.change_account(others_end).await.unwrap(), Changed::Done);
    assert_eq!(session_ids(&store, Some(anna.number)).await, std::slice::from_ref(&kept.id));
    let anna_now = reread(&store, anna.number).await;
    assert_same_account(&anna_now, &Account { revision: anna.revision + 1, ..anna.clone() });
    let change = AccountChange { revision: anna_now.revision, ..whole() };
    assert_eq!(store.change_account(change).await.unwrap(), Changed::Done);
    let expected = Account {
        verifier: renewed.clone(),
        activation: Activation::Active,
        last_login_at: Some(later(1)),
        revision: anna_now.revision + 1,
        ..anna_now
    };
    assert_same_account(&reread(&store, anna.number).await, &expected);
    assert_same(&store.sessions(Some(anna.number), page(None, 10)).await.unwrap(), &[&begun]);
    assert_eq!(session_ids(&store, Some(ben.number)).await, [bens], "nobody else's");
    assert!(store.messages(page(None, 10)).await.unwrap().iter().any(|queued| queued.id == message.id));

    let details = a_full_account().details;
    assert!(store.set_details(anna.number, &details).await.unwrap());
    assert!(!store.set_details(NOBODY, &details).await.unwrap());
    assert_same_account(&reread(&store, anna.number).await, &Account { details, ..expected });
}

pub async fn deletion(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna@example.com"]).await, registered(&store, &["ben"]).await);
    add_gateways(&store, &["annas", "bens"]).await;
    store.bind(&serial("annas"), anna.number, NOW).await.unwrap();
    store.bind(&serial("bens"), ben.number, NOW).await.unwrap();
    let bens = log_in(&store, &reread(&store, ben.number).await, at_phone("one")).await.session.id;
    log_in(&store, &reread(&store, anna.number).await, at_phone("one")).await;
    let address = email("anna@example.com");
    mail(&store, &address, Some(code("right")), None, NOW).await;
    let (right, wrong) = (proven(&address, "right"), proven(&address, "wrong"));
    let before = all(&store).await;
    assert_eq!(store.delete_account(anna.number, Spend::Code(&wrong), NOW).await.unwrap(), Changed::Spent);
    assert_eq!(store.delete_account(NOBODY, Spend::Code(&right), NOW).await.unwrap(), Changed::Stale);
    assert_eq!(all(&store).await, before);
    assert_eq!(store.delete_account(anna.number, Spend::Code(&right), NOW).await.unwrap(), Changed::Done);
    assert!(store.account(anna.number).await.unwrap().is_none());
    assert_eq!(session_ids(&store, None).await, [bens]);
    assert_eq!(store.gateway(&serial("annas")).await.unwrap().unwrap().account, None);
    assert_eq!(store.gateway(&serial("bens")).await.unwrap().unwrap().account, Some(ben.number));
}

/// A session with new tokens, and the refresh token that it had.
fn rotated(session: &Session, at: Timestamp) -> (Session, SpentToken) {
    let new = a_session(session.account, session.audience.clone(), at);
    let spent = SpentToken {
        hash: session.refresh_hash.clone(),
        access: session.access_hash.clone(),
        successor: new.refresh_hash.clone(),
        salt: "salt".into(),
        spent_at: at,
        expires_at: session.refresh_expires_at,
    };
    let Session { access_hash, access_issued_at, access_expires_at, refresh_hash, refresh_expires_at, .. } = new;
    (Session { access_hash, access_issued_at, access_expires_at, refresh_hash, refresh_expires_at, ..session.clone() }, spent)
}

pub async fn refresh_tokens(store: AnyStore) {
    let anna = registered(&store, &["anna"]).await;
    let session = log_in(&store, &anna, at_phone("one")).await.session;
    let unknown = Token::draw(&SystemRng, TokenLength::Bits160).hash();
    assert!(session_with(&store, &unknown).await.is_none() && store.refresh_token(&unknown).await.unwrap().is_none());
    assert_same(&session_with(&store, &session.access_hash).await, &Some(&session));
    assert!(session_with(&store, &session.refresh_hash).await.is_none(), "a refresh token is no access token");
    let like = |hash: &TokenHash| TokenHash::from_stored(format!("{}{}", &hash.as_str()[..32], &unknown.as_str()[32..]));
    let (access, refresh) = (like(&session.access_hash), like(&session.refresh_hash));
    assert!(session_with(&store, &access).await.is_none(), "half a hash is not enough");
    assert!(store.holders(&[access, unknown.clone()]).await.unwrap().is_empty(), "half a hash is not enough");
    assert!(store.refresh_token(&refresh).await.unwrap().is_none(), "half a hash is not enough");
    let is_current =
        |found: Option<RefreshToken>, session: &Session| assert_same(&found, &Some(RefreshToken::Current(session.clone())));
    is_current(store.refresh_token(&session.refresh_hash).await.unwrap(), &session);

    let (second, spent) = rotated(&session, later(10));
    assert!(store.rotate(Rotation { session: second.clone(), spent: spent.clone(), now: later(10) }).await.unwrap());
    assert!(!store.rotate(Rotation { session: second.clone(), spent: spent.clone(), now: later(10) }).await.unwrap(), "once");
    assert!(session_with(&store, &session.access_hash).await.is_none());
    assert_same(&session_with(&store, &second.access_hash).await, &Some(&second));
    is_current(store.refresh_token(&second.refresh_hash).await.unwrap(), &second);
    let found = store.refresh_token(&session.refresh_hash).await.unwrap();
    assert_same(&found, &Some(RefreshToken::Spent(second.clone(), spent.clone())));

    // What would have expired is forgotten, what would not is kept.
    let (third, spent_later) = rotated(&second, later(200));
    assert!(store.rotate(Rotation { session: third.clone(), spent: spent_later.clone(), now: later(200) }).await.unwrap());
    store.forget(&forget(spent.expires_at, NOW, NOW)).await.unwrap();
    assert!(store.refresh_token(&session.refresh_hash).await.unwrap().is_none());
    assert!(matches!(store.refresh_token(&second.refresh_hash).await.unwrap(), Some(RefreshToken::Spent(..))));
    log_in(&store, &anna, at_phone("one")).await;
    for gone in [&second.refresh_hash, &third.refresh_hash] {
        assert!(store.refresh_token(gone).await.unwrap().is_none(), "with their session");
    }
}

pub async fn devices_come_again(store: AnyStore) {
    let anna = registered(&store, &["anna"]).await;
    let device = a_device("one", Some("1"));
    store.put_device(&device, NOW).await.unwrap();
    assert_same(&store.device_by_guid(&device.guid).await.unwrap(), &Some(&device));
    let session = log_in(&store, &anna, at_device("one")).await.session.id;
    let other = log_in(&store, &anna, at_device("two")).await.session.id;
    let same = Device { app_version: Some("2".into()), ..device.clone() };
    store.put_device(&same, NOW).await.unwrap();
    assert_same(&store.device(&device.serial).await.unwrap(), &Some(&same));
    assert!(session_ids(&store, None).await.contains(&session), "the same device stays logged in");
    let newer = Device { guid: Guid::draw(&SystemRng), ..same.clone() };
    store.put_device(&newer, NOW).await.unwrap();
    assert_eq!(session_ids(&store, None).await, [other], "another one in its place does not");
    assert!(store.device_by_guid(&device.guid).await.unwrap().is_none());
    assert_taken(&store.put_device(&Device { serial: serial("two"), ..newer.clone() }, NOW).await, "a guid is one device's");

    assert!(store.rename(&newer.guid, "Kitchen").await.unwrap());
    assert_eq!(store.device(&newer.serial).await.unwrap().unwrap().name.as_deref(), Some("Kitchen"));
    assert!(!store.rename(&Guid::draw(&SystemRng), "x").await.unwrap());
}

pub async fn gateways_come_again(store: AnyStore) {
    let part = |text: &str| Some(text.to_owned());
    let identity = Identity { ptop_uid: part("p"), wifi_mac: part("w"), bluetooth_mac: part("b"), random_code: part("r") };
    let gateway = Gateway { identity: identity.clone(), ..a_gateway("one") };
    store.put_gateway(&gateway).await.unwrap();
    add_gateways(&store, &["two"]).await;
    assert_same(&store.gateway_by_guid(&gateway.guid).await.unwrap(), &Some(&gateway));
    let none = Identity::default();
    let found = async |text: &str, identity: &Identity| {
        let alike = store.gateways_like(&serial(text), identity).await.unwrap();
        alike.iter().map(|gateway| gateway.serial.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(found("one", &none).await, ["one"]);
    assert!(found("none", &none).await.is_empty(), "what is not known is not alike");
    for alike in [
        Identity { ptop_uid: part("p"), ..none.clone() },
        Identity { wifi_mac: part("w"), ..none.clone() },
        Identity { bluetooth_mac: part("b"), ..none.clone() },
        Identity { random_code: part("r"), ..none.clone() },
    ] {
        assert_eq!(found("none", &alike).await, ["one"], "{alike:?}");
        assert_eq!(found("two", &alike).await, ["one", "two"], "{alike:?}");
        let thief = Gateway { identity: alike, ..a_gateway("thief") };
        assert_taken(&store.put_gateway(&thief).await, "a part of an identity is one gateway's");
    }
    let anna = registered(&store, &["anna"]).await;
    let ben = registered(&store, &["ben"]).await;
    store.bind(&gateway.serial, anna.number, NOW).await.unwrap();
    let version = "2.0".parse().unwrap();
    store.set_min_app_version(&gateway.serial, Some(&version)).await.unwrap();
    let named = Gateway { name: part("Hall"), kind: GatewayKind::Cube, ..gateway.clone() };
    store.put_gateway(&named).await.unwrap();
    assert!(store.set_connect_method(&gateway.guid, "v2").await.unwrap());
    assert!(!store.set_connect_method(&Guid::draw(&SystemRng), "v2").await.unwrap());
    let expected = Gateway { account: Some(anna.number), min_app_version: Some(version), connect_method: part("v2"), ..named };
    assert_same(&store.gateway(&gateway.serial).await.unwrap(), &Some(&expected));

    let (untrue, unbound) = (an_entry(NOW, "untrue", None), an_entry(NOW, "unbound", None));
    assert!(!store.unbind(&gateway.serial, Some(ben.number), NOW, Some(untrue)).await.unwrap(), "not ben's to give");
    assert!(!store.rebind(&gateway.serial, ben.number, anna.number, NOW).await.unwrap());
    assert!(!store.rebind(&gateway.serial, anna.number, NOBODY, NOW).await.unwrap());
    assert_same(&store.gateway(&gateway.serial).await.unwrap(), &Some(&expected));
    let revisions = async || [reread(&store, anna.number).await.revision, reread(&store, ben.number).await.revision];
    let before = revisions().await;
    assert!(store.rebind(&gateway.serial, anna.number, ben.number, NOW).await.unwrap());
    assert_eq!(store.gateway(&gateway.serial).await.unwrap().unwrap().account, Some(ben.number));
    assert_eq!(revisions().await, before.map(|revision| revision + 1), "both decide anew");
    assert!(store.unbind(&gateway.serial, Some(ben.number), NOW, Some(unbound.clone())).await.unwrap());
    assert_same(&store.audit(&AuditQuery::default(), page(None, 10)).await.unwrap(), &[&unbound]);
}

pub async fn moves(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna"]).await, registered(&store, &["ben"]).await);
    add_gateways(&store, &["one", "two", "three"]).await;
    for gateway in ["one", "two"] {
        assert!(store.bind(&serial(gateway), anna.number, NOW).await.unwrap());
    }
    let anna = reread(&store, anna.number).await;
    log_in(&store, &anna, at_phone("one")).await;
    log_in(&store, &ben, at_phone("one")).await;

    let region = "us".parse().unwrap();
    assert!(store.set_region(anna.number, &region, NOW).await.unwrap());
    assert!(!store.set_region(NOBODY, &region, NOW).await.unwrap());
    let left = reread(&store, anna.number).await;
    assert_eq!((&left.region, left.revision > anna.revision), (&region, true));
    assert_eq!(session_ids(&store, Some(anna.number)).await, []);
    let late = a_session(anna.number, at_phone("one"), NOW);
    assert!(store.commit_login(commit(&late, anna.revision)).await.unwrap().done().is_none(), "decided before");

    // It arrives where it was gone from: the same database stands for both.
    let gateways = store.gateways_of(anna.number).await.unwrap();
    assert_eq!(store.take_in(&left, &gateways).await.unwrap(), Imported::Done, "here already");
    let other = Account { id: ObjectId::draw(&SystemRng), ..left.clone() };
    assert_eq!(store.take_in(&other, &[]).await.unwrap(), Imported::Taken, "its name is another's");
    assert!(store.remove_account(anna.number, NOW).await.unwrap());
    assert!(!store.remove_account(anna.number, NOW).await.unwrap());
    assert_eq!(store.gateways(page(None, 10)).await.unwrap().len(), 1, "its gateways go with it");
    assert!(store.account(anna.number).await.unwrap().is_none());
    assert_eq!(session_ids(&store, Some(ben.number)).await.len(), 1);

    let taken = [gateways[0].clone(), store.gateway(&serial("three")).await.unwrap().unwrap()];
    assert_eq!(store.take_in(&left, &taken).await.unwrap(), Imported::Taken, "a gateway is here already");
    assert!(store.account_named(&left.identifiers().next().unwrap()).await.unwrap().is_none(), "nothing of it was done");
    assert_eq!(store.take_in(&left, &gateways).await.unwrap(), Imported::Done);
    let arrived = store.account_named(&left.identifiers().next().unwrap()).await.unwrap().unwrap();
    assert_eq!((&arrived.id, arrived.verifier.phc()), (&left.id, left.verifier.phc()));
    assert_eq!(store.gateways_of(arrived.number).await.unwrap().len(), 2);
}

pub async fn imports(store: AnyStore) {
    let there = registered(&store, &["anna"]).await;
    assert_eq!(store.imported_up_to("file").await.unwrap(), 0);
    let doubled = Account { id: there.id.clone(), ..an_account(&["carl"]) };
    let accounts = [a_full_account(), an_account(&["ben"]), an_account(&["ben"]), doubled, an_account(&["dora"])];
    let imported = store.import_accounts(&accounts, "file", 7).await.unwrap();
    assert_eq!(imported, [Imported::Taken, Imported::Done, Imported::Taken, Imported::Taken, Imported::Done]);
    assert_eq!((store.imported_up_to("file").await.unwrap(), store.imported_up_to("other").await.unwrap()), (7, 0));
    let names: Vec<_> = store
        .accounts(page(None, 10))
        .await
        .unwrap()
        .iter()
        .map(|account| account.user_name.clone().unwrap().to_string())
        .collect();
    assert_eq!(names, ["anna", "ben", "dora"]);
    assert_eq!(store.import_accounts(&[], "file", 9).await.unwrap(), []);
    assert_eq!(store.imported_up_to("file").await.unwrap(), 9);
}

/// Runs `call` often at once and counts how often it was `true`.
async fn count<F: Future<Output = bool> + Send + 'static>(times: usize, call: impl Fn(usize) -> F) -> usize {
    let mut calls = JoinSet::new();
    (0..times).for_each(|number| drop(calls.spawn(call(number))));
    calls.join_all().await.into_iter().filter(|won| *won).count()
}

pub async fn sendings_race(store: AnyStore) {
    const FEW: [Limit; 1] = [Limit { most: 5, within: Duration::from_secs(60) }];
    let sent = count(50, |number| {
        let store = Arc::clone(&store);
        async move {
            let (address, hash, message) = (email("anna@example.com"), number.to_string(), a_message("code"));
            let mailing =
                Mailing { address: &address, code: Some(code(&hash)), link: None, message: &message, limits: &FEW, now: NOW };
            store.mail(mailing).await.unwrap() == Mailed::Queued
        }
    });
    assert_eq!(sent.await, 5);
    assert_eq!(store.messages(page(None, 100)).await.unwrap().len(), 1, "the newest");
}

pub async fn tries_race(store: AnyStore) {
    let address = email("anna@example.com");
    mail(&store, &address, Some(code("right")), None, NOW).await;
    let tries = count(50, |_| {
        let (store, address) = (Arc::clone(&store), address.clone());
        async move { store.take_try(Purpose::Register, &address, 5).await.unwrap().is_some() }
    });
    assert_eq!(tries.await, 5);
}

pub async fn registrations_race_for_a_code(store: AnyStore) {
    let address = email("anna@example.com");
    mail(&store, &address, Some(code("right")), None, NOW).await;
    let registered = count(50, |number| {
        let (store, address) = (Arc::clone(&store), address.clone());
        async move {
            let (account, right) = (an_account(&[&format!("person{number}")]), proven(&address, "right"));
            let creation = Creation { spend: Some(&right), ..creation(&account) };
            matches!(store.create_account(creation).await.unwrap(), Created::Account(_))
        }
    });
    assert_eq!(registered.await, 1);
    assert_eq!(store.accounts(page(None, 100)).await.unwrap().len(), 1);
}

pub async fn rotations_race(store: AnyStore) {
    let anna = registered(&store, &["anna"]).await;
    let session = log_in(&store, &anna, at_phone("one")).await.session;
    let rotations = count(50, |_| {
        let (store, session) = (Arc::clone(&store), session.clone());
        async move {
            let (renewed, spent) = rotated(&session, NOW);
            store.rotate(Rotation { session: renewed.clone(), spent: spent.clone(), now: NOW }).await.unwrap()
        }
    });
    assert_eq!(rotations.await, 1);
}

pub async fn claims_race(store: AnyStore) {
    for number in 0..10 {
        let (address, message) = (email(&format!("person{number}@example.com")), a_message(&number.to_string()));
        store
            .mail(Mailing { address: &address, code: None, link: None, message: &message, limits: &[], now: NOW })
            .await
            .unwrap();
    }
    let mut claims = JoinSet::new();
    for _ in 0..50 {
        let store = Arc::clone(&store);
        claims.spawn(async move { store.claim_message(NOW, later(10)).await.unwrap().map(|message| message.id) });
    }
    let claimed: Vec<_> = claims.join_all().await.into_iter().flatten().collect();
    assert_eq!((claimed.len(), claimed.iter().collect::<BTreeSet<_>>().len()), (10, 10), "each once");
}
