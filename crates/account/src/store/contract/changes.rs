//! Changes end the sessions that they should, and no others.

use super::*;

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

    assert!(store.enable_application(&one.id, true, NOW).await.unwrap());
    assert_eq!(session_ids(&store, None).await.len(), 5, "allowing ends nothing");
    assert!(store.enable_application(&one.id, false, NOW).await.unwrap());
    assert_eq!(session_ids(&store, None).await, others, "those at a device of that name and at others go on");
    let forbidden = Application { enabled: false, ..one.clone() };
    assert_same(&store.applications(page(None, 10)).await.unwrap(), &[&forbidden, &two]);
    assert!(store.enable_application(&one.id, true, NOW).await.unwrap());
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
    assert!(store.enable_account(anna.number, true, NOW).await.unwrap());
    assert_eq!(session_ids(&store, Some(anna.number)).await.len(), 2, "allowing ends nothing");
    assert!(store.enable_account(anna.number, false, NOW).await.unwrap());
    assert_eq!(session_ids(&store, None).await, bens);
    assert!(!reread(&store, anna.number).await.enabled);
    assert!(store.enable_account(anna.number, true, NOW).await.unwrap());
    assert!(reread(&store, anna.number).await.enabled);
    assert_eq!(session_ids(&store, None).await, bens, "what has ended stays so");

    log_in_twice().await;
    set_verifier(&store, anna.number, "second").await;
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
    set_verifier(&store, anna, "second").await;
    changed("verifier").await;
    assert!(store.set_activation(anna, Activation::Active).await.unwrap());
    changed("activation").await;
    for enabled in [false, true] {
        assert!(store.enable_account(anna, enabled, NOW).await.unwrap());
        changed("enabled").await;
    }
    assert!(store.bind(&serial("one"), anna, NOW).await.unwrap());
    changed("bound").await;
    assert!(store.unbind(&serial("one"), None, NOW, None).await.unwrap());
    changed("unbound").await;

    let session = || a_session(anna, at_phone("one"), NOW);
    let (one, third) = (serial("one"), verifier("third"));
    for (what, bind, verifier) in [("bound by a login", Some(one), None), ("renewed by a login", None, Some(third))] {
        let session = session();
        let login = LoginCommit { bind, verifier, ..commit(&session, revision().await) };
        assert!(store.commit_login(login).await.unwrap().done().is_some());
        changed(what).await;
    }
    let before = revision().await;
    assert!(store.commit_login(commit(&session(), before)).await.unwrap().done().is_some());
    assert_eq!(revision().await, before, "a login alone");
    assert_same_account(&reread(&store, ben.number).await, &ben);
}

pub async fn what_is_unknown_changes_nothing(store: AnyStore) {
    let anna = registered(&store, &["anna"]).await;
    log_in(&store, &anna, at_phone("one")).await;
    store.insert_application(&an_application("one")).await.unwrap();
    add_gateways(&store, &["one"]).await;
    let before = everything(&store).await;
    assert!(!store.set_activation(NOBODY, Activation::Pending { deadline: NOW }).await.unwrap());
    assert!(!store.enable_account(NOBODY, false, NOW).await.unwrap());
    assert!(!store.enable_application(&"none".parse().unwrap(), false, NOW).await.unwrap());
    assert!(!store.set_min_app_version(&serial("none"), Some(&"1".parse().unwrap())).await.unwrap());
    assert!(!store.bind(&serial("none"), anna.number, NOW).await.unwrap());
    assert!(!store.bind(&serial("one"), NOBODY, NOW).await.unwrap());
    assert!(!store.unbind(&serial("none"), None, NOW, None).await.unwrap());
    assert!(!store.end_session(&ObjectId::draw(&SystemRng), EndReason::LoggedOut, NOW, None).await.unwrap());
    let stranger = a_session(NOBODY, at_phone("one"), NOW);
    assert!(store.commit_login(commit(&stranger, 0)).await.unwrap().done().is_none());
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
    assert!(store.bind(&serial("one"), anna, NOW).await.unwrap());
    let before = everything(&store).await;
    assert!(!store.bind(&serial("one"), ben, NOW).await.unwrap(), "not free");
    assert!(!store.bind(&serial("one"), anna, NOW).await.unwrap(), "not free, though hers");
    assert!(!store.unbind(&serial("two"), None, NOW, None).await.unwrap(), "free already");
    assert_eq!(everything(&store).await, before);

    assert!(store.bind(&serial("two"), anna, NOW).await.unwrap(), "a second one");
    assert_eq!((serials(anna).await, serials(ben).await), (vec!["one".to_owned(), "two".to_owned()], vec![]));
    assert!(store.unbind(&serial("one"), None, NOW, None).await.unwrap());
    assert_eq!(serials(anna).await, ["two"]);
    assert!(store.bind(&serial("one"), ben, NOW).await.unwrap(), "free again");
    assert_eq!((serials(anna).await, serials(ben).await), (vec!["two".to_owned()], vec!["one".to_owned()]));
    assert_eq!(store.gateway(&serial("one")).await.unwrap().unwrap().account, Some(ben));
}
