//! Master keys, and what is sealed under them.

use super::life::{a_message, later};
use super::*;
use crate::message::Address;
use crate::store::{FormerKey, Mailing};

fn former(fingerprint: &str, seconds: u64) -> FormerKey {
    let sealed = MasterKey::draw(&SystemRng).seal(&SystemRng, fingerprint, b"key");
    FormerKey { fingerprint: fingerprint.into(), sealed, retired_at: later(seconds) }
}

/// The fingerprint in force, and the former keys with what is kept of them.
async fn kept(store: &AnyStore) -> (Option<String>, Vec<(String, String, Timestamp)>) {
    let kept = store.keys().await.unwrap();
    let former = kept.former.into_iter().map(|key| (key.fingerprint, key.sealed.as_str().to_owned(), key.retired_at));
    (kept.current, former.collect())
}

fn shown(current: &str, former: &[&FormerKey]) -> (Option<String>, Vec<(String, String, Timestamp)>) {
    let former = former.iter().map(|key| (key.fingerprint.clone(), key.sealed.as_str().to_owned(), key.retired_at));
    (Some(current.to_owned()), former.collect())
}

pub async fn keys_are_rotated(store: AnyStore) {
    assert_eq!(kept(&store).await, (None, Vec::new()));
    assert!(!store.rotate_key("first", "second", &[former("first", 1)]).await.unwrap(), "there is none");
    store.key_fingerprint("first").await.unwrap();
    assert!(!store.rotate_key("other", "second", &[former("other", 1)]).await.unwrap());
    assert_eq!(kept(&store).await, shown("first", &[]));
    let first = former("first", 1);
    assert!(store.rotate_key("first", "second", std::slice::from_ref(&first)).await.unwrap());
    assert_eq!(kept(&store).await, shown("second", &[&first]));
    // In the order of their rotation, which is not that of their names; sealed anew.
    let (again, second) = (former("first", 1), former("a second", 2));
    assert!(store.rotate_key("second", "third", &[second.clone(), again.clone()]).await.unwrap());
    assert_eq!(kept(&store).await, shown("third", &[&again, &second]));
    assert_eq!(store.key_fingerprint("first").await.unwrap(), "third");
}

/// Of many rotations at once, one is done.
pub async fn key_rotations_race(store: AnyStore) {
    store.key_fingerprint("first").await.unwrap();
    let mut rotations = tokio::task::JoinSet::new();
    for number in 0..20 {
        let store = Arc::clone(&store);
        rotations.spawn(async move {
            let next = format!("next {number}");
            let done = store.rotate_key("first", &next, &[former("first", number)]).await.unwrap();
            done.then_some((next, later(number)))
        });
    }
    let done: Vec<_> = rotations.join_all().await.into_iter().flatten().collect();
    let [(next, at)] = &done[..] else { panic!("{done:?}") };
    let (current, former) = kept(&store).await;
    assert_eq!((current.as_ref(), former.len(), former[0].2), (Some(next), 1, *at));
}

pub async fn what_is_sealed_is_sealed_anew(store: AnyStore) {
    let application = an_application("one");
    store.insert_application(&application).await.unwrap();
    let message = a_message("same");
    let address = Address::Email("anna@example.com".parse().unwrap());
    let mailing = Mailing { address: &address, code: None, link: None, message: &message, limits: &[], now: NOW };
    store.mail(mailing).await.unwrap();
    let new = MasterKey::draw(&SystemRng).seal(&SystemRng, "one", b"new");
    // Whoever has asked before is told what is new, too.
    assert_same(&store.application(&application.id).await.unwrap(), &Some(application.clone()));
    for (old, done) in [(&new, false), (&application.secret, true), (&application.secret, false)] {
        assert_eq!(store.reseal_application(&application.id, old, &new).await.unwrap(), done);
    }
    for (old, done) in [(&new, false), (&message.sealed, true), (&message.sealed, false)] {
        assert_eq!(store.reseal_message(&message.id, old, &new).await.unwrap(), done);
    }
    let page = Page { after: None, limit: 10 };
    assert_same(&store.application(&application.id).await.unwrap(), &Some(Application { secret: new.clone(), ..application }));
    assert_same(&store.messages(page).await.unwrap(), &[crate::Queued { sealed: new.clone(), ..message }]);
    let unknown = ("two".parse().unwrap(), ObjectId::draw(&SystemRng));
    assert!(!store.reseal_application(&unknown.0, &new, &new).await.unwrap());
    assert!(!store.reseal_message(&unknown.1, &new, &new).await.unwrap());
}
