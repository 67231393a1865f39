//! Resource servers, and what they ask and are told.

use std::collections::BTreeMap;

use tokio::task::JoinSet;

use super::super::{Mailing, NewCode, Rotation, Spend};
use super::life::{a_message, later};
use super::*;
use crate::{Address, ProvenCode, Purpose, ResourceServer, ResourceServerId, SessionChange, SessionEvent, SpentToken, TokenHash};

fn hash() -> TokenHash {
    Token::draw(&SystemRng, TokenLength::Bits256).hash()
}

pub async fn resource_servers(store: AnyStore) {
    let id = |text: &str| text.parse::<ResourceServerId>().unwrap();
    let server = |text: &str, previous| ResourceServer {
        id: id(text),
        name: "Name".into(),
        secret: hash(),
        previous,
        enabled: true,
        created_at: NOW,
    };
    let (one, two) = (server("one", None), server("two", Some((hash(), NOW))));
    for server in [&two, &one] {
        store.insert_resource_server(server).await.unwrap();
    }
    assert_taken(&store.insert_resource_server(&server("one", None)).await, "an id is one resource server's");
    assert_pages(
        &[one.clone(), two.clone()],
        |row: &ResourceServer| row.id.clone(),
        async |page| store.resource_servers(page).await.unwrap(),
    )
    .await;
    assert_same(&store.resource_server(&id("two")).await.unwrap(), &Some(&two));
    assert!(store.resource_server(&id("none")).await.unwrap().is_none());

    let newer = hash();
    assert!(store.rotate_resource_server(&one.id, &newer, later(1)).await.unwrap());
    let rotated = ResourceServer { secret: newer, previous: Some((one.secret.clone(), later(1))), ..one.clone() };
    assert!(store.enable_resource_server(&one.id, false).await.unwrap());
    let disabled = ResourceServer { enabled: false, ..rotated.clone() };
    assert_same(&store.resource_servers(page(None, 10)).await.unwrap(), &[&disabled, &two]);
    assert!(store.enable_resource_server(&one.id, true).await.unwrap());
    assert_same(&store.resource_server(&one.id).await.unwrap(), &Some(&rotated));
    assert!(!store.rotate_resource_server(&id("none"), &hash(), NOW).await.unwrap());
    assert!(!store.enable_resource_server(&id("none"), true).await.unwrap());
}

pub async fn holders(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna"]).await, registered(&store, &["ben"]).await);
    let phone = a_device("phone", None);
    store.insert_device(&phone).await.unwrap();
    add_gateways(&store, &["one", "two", "three"]).await;
    for gateway in ["one", "three"] {
        assert!(store.bind(&serial(gateway), anna.number, NOW).await.unwrap());
    }
    store.insert_application(&an_application("phone")).await.unwrap();
    let (anna, ben) = (reread(&store, anna.number).await, reread(&store, ben.number).await);
    let at_phone = log_in(&store, &anna, at_device("phone")).await.session;
    let at_application = log_in(&store, &anna, at_application("phone")).await.session;
    let at_stranger = log_in(&store, &ben, at_device("stranger")).await.session;

    assert!(store.holders(&[]).await.unwrap().is_empty());
    assert!(store.holders(&[hash(), at_phone.refresh_hash.clone()]).await.unwrap().is_empty());
    let asked = [&at_stranger, &at_phone, &at_application].map(|session| session.access_hash.clone());
    let mut found = BTreeMap::new();
    for holder in store.holders(&[&asked[..], &asked[..1], &[hash()]].concat()).await.unwrap() {
        found.insert(holder.session.id.clone(), holder);
    }
    assert_eq!(found.len(), 3);
    let one = &found[&at_phone.id];
    assert_same(&one.session, &at_phone);
    assert_same_account(&one.account, &reread(&store, anna.number).await);
    assert_eq!(one.device, Some(phone.guid));
    let gateways = store.gateways_of(anna.number).await.unwrap();
    let mut guids: Vec<_> = one.gateways.iter().map(Guid::as_str).collect();
    let mut known: Vec<_> = gateways.iter().map(|gateway| gateway.guid.as_str()).collect();
    guids.sort_unstable();
    known.sort_unstable();
    assert_eq!((guids.len(), &guids), (2, &known));
    let at_phone_again = store.holders_at(anna.apikey.as_str(), "phone").await.unwrap();
    assert_eq!(at_phone_again.len(), 2, "an application and a device");
    assert!(at_phone_again.iter().all(|holder| holder.account.number == anna.number && holder.gateways.len() == 2));
    assert!(store.holders_at(ben.apikey.as_str(), "phone").await.unwrap().is_empty(), "another account's");
    assert!(store.holders_at("none", "phone").await.unwrap().is_empty());
    assert!(store.holders_at(anna.apikey.as_str(), "stranger").await.unwrap().is_empty());
    let two = &found[&at_application.id];
    assert_eq!((&two.device, two.gateways.len()), (&None, 2), "an application is no device, whatever it is called");
    let three = &found[&at_stranger.id];
    assert_eq!((three.account.number, &three.device, three.gateways.len()), (ben.number, &None, 0));
}

/// All events, numbered.
async fn events(store: &AnyStore) -> Vec<SessionEvent> {
    let newest = store.number_events().await.unwrap();
    assert_eq!(store.numbered_events().await.unwrap(), Some(newest), "nothing more has happened");
    let events = store.session_events(0, 10_000).await.unwrap();
    let first = events.first().map_or(newest + 1, |first| first.sequence);
    assert!(events.iter().map(|event| event.sequence).eq(first..=newest), "one after another, without a gap");
    events
}

fn ended(session: &Session, account: &Account, reason: EndReason, at: Timestamp) -> SessionEvent {
    SessionEvent {
        sequence: 0,
        at,
        change: SessionChange::Ended(reason),
        session: session.id.clone(),
        account: account.number,
        account_id: account.id.clone(),
        apikey: account.apikey.clone(),
        audience: session.audience.clone(),
    }
}

/// Takes the events since the last call, which must be these, in any order.
async fn assert_events(store: &AnyStore, seen: &mut usize, expected: &[SessionEvent], what: &str) {
    let sorted = |events: &[SessionEvent]| {
        let mut events: Vec<_> = events.iter().map(|event| SessionEvent { sequence: 0, ..event.clone() }).collect();
        events.sort_by(|one, two| one.session.cmp(&two.session));
        events
    };
    let all = events(store).await;
    assert_eq!(sorted(&all[*seen..]), sorted(expected), "{what}");
    *seen = all.len();
}

pub async fn every_end_is_an_event(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna"]).await, registered(&store, &["ben"]).await);
    store.insert_application(&an_application("one")).await.unwrap();
    store.put_device(&a_device("one", None), NOW).await.unwrap();
    log_in(&store, &ben, at_phone("one")).await;
    let mut seen = 0;
    let begin = async || {
        let anna = reread(&store, anna.number).await;
        [log_in(&store, &anna, at_application("one")).await.session, log_in(&store, &anna, at_device("one")).await.session]
    };
    let both = |sessions: &[Session; 2], reason, at| {
        let anna = &anna;
        sessions.each_ref().map(move |session| ended(session, anna, reason, at))
    };
    let first = begin().await;
    assert_events(&store, &mut seen, &[], "a login alone ends nothing").await;
    let second = begin().await;
    assert_events(&store, &mut seen, &both(&first, EndReason::Replaced, NOW), "another login").await;
    assert!(store.end_session(&second[0].id, EndReason::Revoked, later(1), None).await.unwrap());
    assert!(!store.end_session(&second[0].id, EndReason::LoggedOut, later(2), None).await.unwrap());
    assert_events(&store, &mut seen, &[ended(&second[0], &anna, EndReason::Revoked, later(1))], "revoked, once").await;
    let device = a_device("one", None);
    store.put_device(&device, later(3)).await.unwrap();
    assert_events(&store, &mut seen, &[ended(&second[1], &anna, EndReason::DeviceReplaced, later(3))], "another guid").await;

    let third = begin().await;
    store.put_device(&device, later(3)).await.unwrap();
    assert_events(&store, &mut seen, &[], "the same guid").await;
    store.enable_application(&"one".parse().unwrap(), false, later(4)).await.unwrap();
    assert_events(&store, &mut seen, &[ended(&third[0], &anna, EndReason::ApplicationDisabled, later(4))], "application").await;
    store.enable_application(&"one".parse().unwrap(), true, later(4)).await.unwrap();
    store.enable_account(anna.number, false, later(5)).await.unwrap();
    assert_events(&store, &mut seen, &[ended(&third[1], &anna, EndReason::AccountDisabled, later(5))], "account").await;
    store.enable_account(anna.number, true, later(5)).await.unwrap();

    let fourth = begin().await;
    let known = reread(&store, anna.number).await;
    let keep = AccountChange { end: Ending::AllBut(&fourth[1].id), ..AccountChange::on(&known, later(6)) };
    assert_eq!(store.change_account(keep).await.unwrap(), Changed::Done);
    assert_events(&store, &mut seen, &[ended(&fourth[0], &anna, EndReason::PasswordChanged, later(6))], "all but one").await;
    set_verifier(&store, anna.number, "second").await;
    assert_events(&store, &mut seen, &[ended(&fourth[1], &anna, EndReason::PasswordChanged, NOW)], "all").await;
    let fifth = begin().await;
    store.set_region(anna.number, &"us".parse().unwrap(), later(7)).await.unwrap();
    assert_events(&store, &mut seen, &both(&fifth, EndReason::AccountMoved, later(7)), "moved").await;
    let sixth = begin().await;
    let email = Address::Email("anna@example.com".parse().unwrap());
    let code = ProvenCode { purpose: Purpose::Close, address: email.clone(), hash: "code".into() };
    let new = NewCode { purpose: Purpose::Close, hash: "code", expires_at: later(600) };
    let message = a_message("code");
    let mailing = Mailing { address: &email, code: Some(new), link: None, message: &message, limits: &[], now: NOW };
    store.mail(mailing).await.unwrap();
    assert_eq!(store.delete_account(anna.number, Spend::Code(&code), later(8)).await.unwrap(), Changed::Done);
    assert_events(&store, &mut seen, &both(&sixth, EndReason::AccountClosed, later(8)), "closed").await;
    store.remove_account(ben.number, later(9)).await.unwrap();
    let last = events(&store).await.pop().unwrap();
    assert_eq!((last.change, last.account_id), (SessionChange::Ended(EndReason::AccountMoved), ben.id));
}

fn refreshed(session: &Session, at: Timestamp) -> (Session, SpentToken) {
    let renewed = Session { access_hash: hash(), access_issued_at: at, refresh_hash: hash(), ..session.clone() };
    let spent = SpentToken {
        hash: session.refresh_hash.clone(),
        access: session.access_hash.clone(),
        successor: renewed.refresh_hash.clone(),
        salt: "salt".into(),
        spent_at: at,
        expires_at: session.refresh_expires_at,
    };
    (renewed, spent)
}

pub async fn refreshes_are_events(store: AnyStore) {
    let anna = registered(&store, &["anna"]).await;
    let mut session = log_in(&store, &anna, at_phone("one")).await.session;
    for at in [later(1), later(2)] {
        let (renewed, spent) = refreshed(&session, at);
        assert!(store.rotate(Rotation { session: renewed.clone(), spent: spent.clone(), now: at }).await.unwrap());
        assert!(!store.rotate(Rotation { session: renewed.clone(), spent: spent.clone(), now: at }).await.unwrap());
        assert_same(&session_with(&store, &renewed.access_hash).await, &Some(&renewed));
        session = renewed;
    }
    let seen = events(&store).await;
    let event = |sequence, at| SessionEvent {
        sequence,
        change: SessionChange::Refreshed,
        ..ended(&session, &anna, EndReason::LoggedOut, at)
    };
    assert_eq!(seen, [event(1, later(1)), event(2, later(2))]);
}

pub async fn gateways_gained_and_lost_are_events(store: AnyStore) {
    const GAINED: SessionChange = SessionChange::GatewayGained;
    const LOST: SessionChange = SessionChange::GatewayLost;
    let (anna, ben) = (registered(&store, &["anna"]).await, registered(&store, &["ben"]).await);
    add_gateways(&store, &["one", "two"]).await;
    let annas = [log_in(&store, &anna, at_phone("one")).await.session, log_in(&store, &anna, at_phone("two")).await.session];
    let bens = [log_in(&store, &ben, at_phone("one")).await.session];
    let (mut seen, one) = (0, serial("one"));
    let changed = |sessions: &[Session], account: &Account, change, at| -> Vec<SessionEvent> {
        let event = |session| SessionEvent { change, ..ended(session, account, EndReason::Revoked, at) };
        sessions.iter().map(event).collect()
    };
    assert!(store.bind(&one, anna.number, later(1)).await.unwrap());
    assert_events(&store, &mut seen, &changed(&annas, &anna, GAINED, later(1)), "bound").await;
    assert!(!store.bind(&one, ben.number, later(2)).await.unwrap());
    assert!(!store.unbind(&one, Some(ben.number), later(2), None).await.unwrap());
    assert!(!store.rebind(&one, ben.number, anna.number, later(2)).await.unwrap());
    assert_events(&store, &mut seen, &[], "nothing has changed").await;
    assert!(store.rebind(&one, anna.number, ben.number, later(3)).await.unwrap());
    let both = [changed(&annas, &anna, LOST, later(3)), changed(&bens, &ben, GAINED, later(3))].concat();
    assert_events(&store, &mut seen, &both, "one has lost it, the other has gained it").await;
    // At the same time as the one before: it is an event of its own.
    assert!(store.unbind(&one, None, later(3), None).await.unwrap());
    assert_events(&store, &mut seen, &changed(&bens, &ben, LOST, later(3)), "unbound").await;

    let (session, two) = (a_session(anna.number, at_phone("three"), later(4)), serial("two"));
    let known = reread(&store, anna.number).await;
    let login = LoginCommit { bind: Some(two.clone()), ..commit(&session, known.revision) };
    assert!(store.commit_login(login).await.unwrap().done().is_some());
    assert_events(&store, &mut seen, &changed(&annas, &anna, GAINED, later(4)), "bound by a login elsewhere").await;
}

pub async fn followers_are_remembered(store: AnyStore) {
    assert_eq!(store.told_up_to("one").await.unwrap(), None);
    for sequence in [7, 9, 3] {
        store.note_told("one", sequence).await.unwrap();
        assert_eq!(store.told_up_to("one").await.unwrap(), Some(sequence));
    }
    assert_eq!(store.told_up_to("another").await.unwrap(), None);
}

pub async fn what_did_not_happen_is_no_event(store: AnyStore) {
    let anna = registered(&store, &["anna"]).await;
    let session = log_in(&store, &anna, at_phone("one")).await.session;
    let known = reread(&store, anna.number).await;
    let stale = AccountChange { revision: known.revision - 1, end: Ending::All, ..AccountChange::on(&known, NOW) };
    assert_eq!(store.change_account(stale).await.unwrap(), Changed::Stale);
    // The same tokens again: the login is undone after the older session was to end.
    let same = Session { id: session.id.clone(), ..a_session(anna.number, at_phone("two"), NOW) };
    store.commit_login(commit(&same, known.revision)).await.unwrap_err();
    let code =
        ProvenCode { purpose: Purpose::Close, address: Address::Email("anna@example.com".parse().unwrap()), hash: "none".into() };
    assert_eq!(store.delete_account(anna.number, Spend::Code(&code), NOW).await.unwrap(), Changed::Spent);
    assert_eq!(events(&store).await, []);
    assert_eq!(session_ids(&store, None).await, [session.id]);
}

pub async fn events_are_numbered_in_order(store: AnyStore) {
    let anna = registered(&store, &["anna"]).await;
    assert_eq!(store.numbered_events().await.unwrap(), Some(0));
    let end = async |at| {
        let anna = reread(&store, anna.number).await;
        let session = log_in(&store, &anna, at_phone("one")).await.session;
        assert!(store.end_session(&session.id, EndReason::LoggedOut, at, None).await.unwrap());
        session.id
    };
    let (second, first) = (end(later(2)).await, end(later(1)).await);
    assert_eq!(store.numbered_events().await.unwrap(), None, "two wait");
    assert_eq!(store.session_events(0, 10).await.unwrap(), [], "what is not numbered is not told");
    assert_eq!(store.number_events().await.unwrap(), 2);
    let third = end(later(0)).await;
    assert_eq!(store.number_events().await.unwrap(), 3);
    let sessions = async |after, limit| {
        let events = store.session_events(after, limit).await.unwrap();
        events.into_iter().map(|event| event.session).collect::<Vec<_>>()
    };
    assert_eq!(sessions(0, 10).await, [first, second.clone(), third.clone()], "what was told stays where it is");
    assert_eq!(sessions(1, 1).await, [second]);
    assert_eq!(sessions(2, 10).await, [third]);
    assert_eq!(sessions(3, 10).await, []);
}

pub async fn old_events_are_forgotten(store: AnyStore) {
    let anna = registered(&store, &["anna"]).await;
    let end = async |at| {
        let anna = reread(&store, anna.number).await;
        let session = log_in(&store, &anna, at_phone("one")).await.session;
        assert!(store.end_session(&session.id, EndReason::LoggedOut, at, None).await.unwrap());
    };
    for at in [later(1), later(2), later(3)] {
        end(at).await;
        store.number_events().await.unwrap();
    }
    store.forget(&forget(NOW, NOW, later(2))).await.unwrap();
    let left: Vec<_> = store.session_events(0, 10).await.unwrap().into_iter().map(|event| event.sequence).collect();
    assert_eq!(left, [3]);
    store.forget(&forget(NOW, NOW, later(3))).await.unwrap();
    assert_eq!(store.numbered_events().await.unwrap(), Some(3), "numbers go on");

    // Nobody has asked for these: that they are gone shows in the numbers of those that follow.
    for at in [later(4), later(5), later(6)] {
        end(at).await;
    }
    store.forget(&forget(NOW, NOW, later(5))).await.unwrap();
    let left: Vec<_> = store.session_events(0, 10).await.unwrap().into_iter().map(|event| event.sequence).collect();
    assert_eq!(left, [6]);
}

/// However much there is, all of it is numbered, and all of it goes.
pub async fn much_is_forgotten(store: AnyStore) {
    const MUCH: usize = 2100;
    let anna = registered(&store, &["anna"]).await;
    let one = at_application("one");
    let keep = Duration::from_secs(1);
    let mut tasks = JoinSet::new();
    for number in 0..MUCH {
        let (store, anna, one) = (Arc::clone(&store), anna.clone(), one.clone());
        tasks.spawn(async move {
            let session = log_in(&store, &anna, at_device(&number.to_string())).await.session;
            assert!(store.end_session(&session.id, EndReason::LoggedOut, NOW, None).await.unwrap());
            assert!(store.remember_nonce(&one, &number.to_string(), NOW, keep).await.unwrap());
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let everything = AuditQuery::default();
    assert_eq!(events(&store).await.len(), MUCH);
    assert_eq!(store.audit(&everything, page(None, 10_000)).await.unwrap().len(), MUCH);

    // Every node forgets.
    let before = Forget { audit: later(9), ..forget(later(9), NOW, later(9)) };
    let (one_node, another) = tokio::join!(store.forget(&before), store.forget(&before));
    one_node.and(another).unwrap();
    assert_eq!(events(&store).await, []);
    assert!(store.audit(&everything, page(None, 1)).await.unwrap().is_empty());
    for number in 0..MUCH {
        // Whatever is left refuses itself at the time at which it came.
        assert!(store.remember_nonce(&one, &number.to_string(), NOW, keep).await.unwrap());
    }
}

/// Sessions end in many ways at the same time while somebody numbers: each end is told once, in an order without gaps.
pub async fn ends_race(store: AnyStore) {
    const SESSIONS: usize = 20;
    let anna = registered(&store, &["anna"]).await;
    let mut ids = Vec::new();
    let mut tasks = JoinSet::new();
    for place in 0..SESSIONS {
        store.insert_device(&a_device(&format!("phone{place}"), None)).await.unwrap();
        let session = log_in(&store, &anna, at_device(&format!("phone{place}"))).await.session;
        ids.push(session.id.clone());
        for way in 0..3 {
            let (store, session, anna) = (Arc::clone(&store), session.clone(), anna.clone());
            tasks.spawn(async move {
                match way {
                    0 => {
                        store.end_session(&session.id, EndReason::LoggedOut, NOW, None).await.unwrap();
                    }
                    1 => store.put_device(&a_device(session.audience.id(), None), NOW).await.unwrap(),
                    _ => {
                        log_in(&store, &anna, session.audience).await;
                    }
                }
            });
        }
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            store.number_events().await.unwrap();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let live = session_ids(&store, None).await;
    let mut ends: BTreeMap<ObjectId, u32> = BTreeMap::new();
    for event in events(&store).await {
        *ends.entry(event.session).or_default() += 1;
    }
    assert!(ends.values().all(|times| *times == 1), "each ends once: {ends:?}");
    assert!(live.iter().all(|id| !ends.contains_key(id)), "what goes on has not ended");
    assert!(ids.iter().all(|id| live.contains(id) != ends.contains_key(id)), "whatever is gone was told");
}
