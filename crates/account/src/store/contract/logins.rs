//! A login is committed as a whole or not at all.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use super::trail::an_entry;
use super::*;

pub async fn login_replaces_a_session(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna"]).await, registered(&store, &["ben"]).await);
    let first = a_session(anna.number, at_phone("one"), NOW);
    let done = store.commit_login(commit(&first, anna.revision)).await.unwrap().done().unwrap();
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
        let done = store.commit_login(commit(session, anna.revision)).await.unwrap().done().unwrap();
        assert_eq!(done.previous_ended_at, Some(ended_at));
        assert_eq!(reread(&store, anna.number).await.last_login_at, Some(session.created_at));
    }

    expected.push(third.id);
    expected.sort();
    assert_eq!(session_ids(&store, None).await, expected, "one left, and those elsewhere");
    assert!(!store.end_session(&first.id, EndReason::LoggedOut, NOW, None).await.unwrap());
}

pub async fn login_keeps_what_it_does_not_say(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna"]).await, registered(&store, &["ben"]).await);
    let says = async |account: &Account, audience: Audience, client: Client, kept: Client| {
        let session = Session { client, ..a_session(account.number, audience, NOW) };
        let done = store.commit_login(commit(&session, account.revision)).await.unwrap().done().unwrap();
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
    assert!(store.bind(&serial("taken"), ben.number, NOW).await.unwrap());
    assert!(store.bind(&serial("hers"), anna.number, NOW).await.unwrap());
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
        for verifier in [None, Some(renewed.clone())] {
            let login = LoginCommit { bind: bind.clone(), verifier, ..commit(&session, revision) };
            assert!(store.commit_login(login).await.unwrap().done().is_none(), "{revision} {bind:?}");
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
        assert!(store.commit_login(commit(&session, anna.revision)).await.unwrap().done().is_none(), "{id}");
    }
    assert_eq!(everything(&store).await, before);
    assert!(store.enable_application(&"forbidden".parse().unwrap(), true, NOW).await.unwrap());
    log_in(&store, &anna, at_application("forbidden")).await;
}

pub async fn login_binds_and_renews(store: AnyStore) {
    let anna = registered(&store, &["anna"]).await;
    add_gateways(&store, &["free", "other"]).await;
    let (free, renewed) = (serial("free"), verifier("renewed"));
    let session = a_session(anna.number, at_device("phone"), NOW);
    let login = LoginCommit { bind: Some(free), verifier: Some(renewed.clone()), ..commit(&session, anna.revision) };
    let entry = login.entry.id.clone();
    assert_same(&store.commit_login(login).await.unwrap().done().unwrap().session, &session);
    let after = reread(&store, anna.number).await;
    assert!(after.revision > anna.revision, "what the next login rests on has changed");
    let expected = Account { verifier: renewed, last_login_at: Some(NOW), revision: after.revision, ..anna };
    assert_same_account(&after, &expected);
    let bound: Vec<_> = store.gateways(page(None, 10)).await.unwrap().into_iter().map(|gateway| gateway.account).collect();
    assert_eq!(bound, [Some(anna.number), None]);
    assert_eq!(trail(&store, Some(anna.number)).await, [entry]);
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
        let login = LoginCommit { bind: Some(free.clone()), verifier: Some(renewed.clone()), ..commit(session, anna.revision) };
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
        let login =
            LoginCommit { bind: Some(bind.clone()), verifier: Some(renewed.clone()), ..commit(&session, account.revision) };
        let entry = login.entry.id.clone();
        let outcome = abandoned(store.commit_login(login), steps).await;

        // Waits for what may still be going on with this account.
        assert!(store.set_activation(account.number, Activation::Active).await.unwrap());
        let after = reread(&store, account.number).await;
        let done = [
            after.last_login_at.is_some(),
            after.verifier.phc() == "renewed",
            store.gateway(&bind).await.unwrap().unwrap().account == Some(account.number),
            session_ids(&store, Some(account.number)).await == [session.id],
            trail(&store, Some(account.number)).await == [entry],
        ];
        assert!(done == [true; 5] || outcome.is_none() && done == [false; 5], "{steps} {done:?}");
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

    assert_same(&store.session(&bens[1].id).await.unwrap(), &Some(&bens[1]));
    let (ended, untrue) = (an_entry(NOW, "used before", None), an_entry(NOW, "untrue", None));
    assert!(store.end_session(&bens[1].id, EndReason::TokenReused, NOW, Some(ended.clone())).await.unwrap());
    assert!(!store.end_session(&bens[1].id, EndReason::TokenReused, NOW, Some(untrue)).await.unwrap(), "ended already");
    let mut trail = store.audit(&AuditQuery::default(), page(None, 100)).await.unwrap();
    trail.retain(|entry| entry.refused);
    assert_same(&trail, &[&ended]);
    assert!(store.session(&bens[1].id).await.unwrap().is_none());
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
    store.forget(&forget(past, NOW, NOW)).await.unwrap();
    assert!(!store.remember_nonce(&one, "nonce", past, keep).await.unwrap(), "what is younger is kept");
    assert!(!store.remember_nonce(&one, "other", past, keep).await.unwrap(), "what is younger is kept");
}
