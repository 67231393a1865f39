//! Of many at once, one wins; and what was acknowledged stays.

use tokio::task::JoinSet;

use super::*;

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
            let login = LoginCommit { bind: Some(free), ..commit(&session, account.revision) };
            store.commit_login(login).await.unwrap().done().map(|done| done.session.account)
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
                    9 => assert!(store.enable_account(account.number, false, NOW).await.unwrap()),
                    10 => set_verifier(&store, account.number, "second").await,
                    _ => drop(store.commit_login(commit(&session, account.revision)).await.unwrap().done()),
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
    let login = LoginCommit { bind: Some(one), verifier: Some(renewed), ..commit(&session, ben.revision) };
    assert!(store.commit_login(login).await.unwrap().done().is_some());
    let before = everything(&store).await;
    drop(store);

    let again = reopen().await;
    assert_eq!(everything(&again).await, before);
    assert!(!again.remember_nonce(&at_application("one"), "nonce", NOW, keep).await.unwrap());
    assert_eq!(again.key_fingerprint("second").await.unwrap(), "first");
    assert_taken(&again.insert_account(&an_account(&["ben"])).await, "user name");
    assert_eq!(registered(&again, &["carl"]).await.number, AccountNumber(3));
}

/// What the database refuses of one login is nobody else's failure, however many are made true together.
pub async fn a_login_that_fails_spoils_no_other(store: AnyStore) {
    let anna = registered(&store, &["anna"]).await;
    let first = log_in(&store, &anna, at_phone("first")).await.session;
    let mut accounts = Vec::new();
    for person in 0..50 {
        accounts.push(registered(&store, &[&format!("person{person}")]).await);
    }
    let mut logins = JoinSet::new();
    for (number, account) in accounts.into_iter().enumerate() {
        let store = Arc::clone(&store);
        let session = a_session(account.number, at_phone("one"), NOW);
        let is_bad = number % 10 == 7;
        let session = if is_bad { Session { id: first.id.clone(), ..session } } else { session };
        logins.spawn(async move {
            let outcome = store.commit_login(commit(&session, account.revision)).await;
            assert_eq!(outcome.is_err(), is_bad, "{outcome:?}");
            let there = session_with(&store, &session.access_hash).await;
            assert_eq!(there.is_some(), !is_bad);
        });
    }
    assert_eq!(logins.join_all().await.len(), 50);
}
