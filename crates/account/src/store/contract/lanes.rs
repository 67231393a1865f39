//! Where guesses are counted.

use tokio::task::JoinSet;

use super::life::later;
use super::*;
use crate::{Count, Counted, Guess, Guessed, Lane, Right, Rules, Tally};

const RULES: Rules = Rules {
    failures: 5,
    source_failures: 7,
    first_pause: Duration::from_secs(30),
    longest_pause: Duration::from_hours(1),
    daily: 100,
};

fn lane(name: &str) -> Lane {
    Lane::from_stored(name.into())
}

/// A guess at `subject` from `source`.
fn at(subject: &str, source: &str) -> Guess {
    let own = vec![lane(&format!("{subject}/from/{source}")), lane(&format!("{subject}/on/phone"))];
    let source = lane(&format!("from/{source}"));
    Guess { subject: Some(lane(subject)), own, proven: false, source, source_failures: RULES.source_failures }
}

async fn take(store: &AnyStore, guess: &Guess) -> Option<Counted> {
    match store.take_guess(guess, &RULES, NOW).await.unwrap() {
        Guessed::Counted(counted) => Some(counted),
        Guessed::TooMany { .. } => None,
    }
}

fn right(guess: &Guess, counted: Counted, let_in: bool) -> Right {
    Right { guess: guess.clone(), counted, let_in, rules: RULES, now: NOW }
}

/// What is stored is what [`Tally`] decides.
pub async fn guesses_are_counted(store: AnyStore) {
    let guess = at("anna", "x");
    let mut expected = Tally { subject: Count::NEW, own: vec![Count::NEW; 2], source: Count::NEW };
    assert_same(&store.tally(&guess).await.unwrap(), &expected);
    for _ in 0..RULES.failures {
        assert_eq!(take(&store, &guess).await, Some(Counted::Shared));
        expected.count(&guess, &RULES, NOW);
        assert_same(&store.tally(&guess).await.unwrap(), &expected);
    }
    let refused = store.take_guess(&guess, &RULES, NOW).await.unwrap();
    assert!(matches!(refused, Guessed::TooMany { retry_after } if retry_after == RULES.first_pause), "{refused:?}");
    assert_same(&store.tally(&guess).await.unwrap(), &expected);

    let others = store.tally(&at("ben", "x")).await.unwrap();
    assert_eq!((others.subject, others.source), (Count::NEW, expected.source), "a source's guesses are one number");
    let elsewhere = store.tally(&at("anna", "y")).await.unwrap();
    assert_eq!((elsewhere.subject, elsewhere.source), (expected.subject, Count::NEW), "and those at an account");
}

pub async fn right_guesses_are_taken_back(store: AnyStore) {
    let guess = at("anna", "x");
    let counted = take(&store, &guess).await.unwrap();
    store.return_guess(right(&guess, counted, false)).await.unwrap();
    let after = store.tally(&guess).await.unwrap();
    assert_eq!((after.subject.failures, after.source.failures), (0, 0));
    assert!(after.own.iter().all(|own| own.known_at.is_none()), "nobody was let in");

    let counted = take(&store, &guess).await.unwrap();
    store.return_guess(right(&guess, counted, true)).await.unwrap();
    let known = store.tally(&guess).await.unwrap().own;
    assert!(known.iter().all(|own| own.known_at == Some(NOW)), "{known:?}");

    for _ in 0..3 {
        assert_eq!(take(&store, &guess).await, Some(Counted::Own));
    }
    let tally = store.tally(&guess).await.unwrap();
    assert_eq!((tally.own[0].failures, tally.own[1].failures, tally.subject.failures, tally.source.failures), (3, 3, 0, 0));
    let counted = take(&store, &guess).await.unwrap();
    store.return_guess(right(&guess, counted, true)).await.unwrap();
    assert_eq!(store.tally(&guess).await.unwrap().own[0].failures, 0, "whoever is at home there is back");
}

pub async fn who_is_known_stays_known(store: AnyStore) {
    let guess = at("anna", "x");
    store.know(&guess, NOW).await.unwrap();
    store.know(&guess, later(5)).await.unwrap();
    let known = store.tally(&guess).await.unwrap().own;
    assert!(known.iter().all(|own| *own == Count { known_at: Some(later(5)), ..Count::NEW }), "{known:?}");
    assert!(take(&store, &guess).await.is_some());
    assert_eq!(store.clear_lanes(&lane("anna")).await.unwrap(), 3, "its own two and the subject's");
    let tally = store.tally(&guess).await.unwrap();
    assert_eq!((tally.own[0].failures, tally.own[0].known_at), (0, Some(later(5))));
}

pub async fn lanes_are_listed_and_cleared(store: AnyStore) {
    let guesses = [at("anna", "x"), at("ben", "x"), at("ben", "y")];
    store.know(&Guess { own: guesses[2].own[..1].to_vec(), ..guesses[2].clone() }, NOW).await.unwrap();
    for guess in &guesses {
        assert!(take(&store, guess).await.is_some());
    }
    let names = |listed: Vec<(Lane, Count)>| listed.iter().map(|(lane, _)| lane.as_str().to_owned()).collect::<Vec<_>>();
    let all = store.lanes(None, page(None, 100), NOW).await.unwrap();
    assert!(all.iter().all(|(_, count)| count.failures > 0));
    assert_eq!(names(all.clone()), ["anna", "ben", "ben/from/y", "from/x"], "a lane in which nothing failed is not listed");
    assert_pages(&all, |(lane, _)| lane.clone(), async |page| store.lanes(None, page, NOW).await.unwrap()).await;
    let bens = store.lanes(Some(&lane("ben")), page(None, 100), NOW).await.unwrap();
    assert_eq!(names(bens), ["ben", "ben/from/y"]);

    assert_eq!(store.clear_lanes(&lane("ben")).await.unwrap(), 2);
    assert_eq!(store.clear_lanes(&lane("ben")).await.unwrap(), 0);
    assert_eq!(store.clear_lanes(&lane("from/x")).await.unwrap(), 1);
    assert_eq!(names(store.lanes(None, page(None, 100), NOW).await.unwrap()), ["anna"]);
}

/// A subject whose guesses all failed in its own lanes has used some of its day.
pub async fn a_day_is_listed_until_it_is_empty(store: AnyStore) {
    let guess = at("anna", "x");
    store.know(&guess, NOW).await.unwrap();
    assert_eq!(take(&store, &guess).await, Some(Counted::Own));
    let day_until = store.tally(&guess).await.unwrap().subject.day_until;
    let listed = async |subject: Option<&Lane>, now| {
        let lanes = store.lanes(subject, page(None, 100), now).await.unwrap();
        lanes.into_iter().map(|(lane, count)| (lane.as_str().to_owned(), count.failures)).collect::<Vec<_>>()
    };
    let (whole, own) = (("anna".to_owned(), 0), [("anna/from/x".to_owned(), 1), ("anna/on/phone".to_owned(), 1)]);
    let both = [&[whole][..], &own].concat();
    for subject in [None, Some(&lane("anna"))] {
        assert_eq!(listed(subject, NOW).await, both);
        assert_eq!(listed(subject, Timestamp(day_until.0 - 1)).await, both);
        assert_eq!(listed(subject, day_until).await, own);
    }
}

pub async fn lanes_are_forgotten(store: AnyStore) {
    let (anna, ben) = (at("anna", "x"), at("ben", "y"));
    assert!(take(&store, &anna).await.is_some());
    store.know(&ben, NOW).await.unwrap();
    let failed = store.tally(&anna).await.unwrap().subject;
    let before = Timestamp(failed.forget_at().0 - 1);
    store.forget(&forget(before, NOW, NOW)).await.unwrap();
    assert_eq!(store.tally(&anna).await.unwrap().subject, failed);
    store.forget(&forget(failed.forget_at(), NOW, NOW)).await.unwrap();
    assert_eq!(store.tally(&anna).await.unwrap().subject, Count::NEW);
    let known = store.tally(&ben).await.unwrap().own[0];
    assert_eq!(known.known_at, Some(NOW), "who is known is remembered for longer");
    store.forget(&forget(known.forget_at(), NOW, NOW)).await.unwrap();
    assert_eq!(store.tally(&ben).await.unwrap().own[0], Count::NEW);
}

/// The guess is taken back with the login that it allowed, or not at all; an account that goes takes its lanes along.
pub async fn a_login_takes_its_guess_back(store: AnyStore) {
    let account = registered(&store, &["anna"]).await;
    let guess = at(Lane::of_account(&account.id).as_str(), "x");
    let counted = take(&store, &guess).await.unwrap();
    let session = a_session(account.number, at_phone("one"), NOW);
    let login = LoginCommit { right: Some(right(&guess, counted, true)), ..commit(&session, account.revision) };
    let stale = LoginCommit { revision: account.revision + 1, ..login.clone() };
    assert!(store.commit_login(stale).await.unwrap().done().is_none());
    assert_eq!(store.tally(&guess).await.unwrap().subject.failures, 1);
    assert!(store.commit_login(login).await.unwrap().done().is_some());
    let tally = store.tally(&guess).await.unwrap();
    assert_eq!((tally.subject.failures, tally.own[0].known_at), (0, Some(NOW)));

    assert!(store.remove_account(account.number, NOW).await.unwrap());
    assert_eq!(store.tally(&guess).await.unwrap().own[0], Count::NEW);
}

/// However many guess at once, no more guesses are made than one after the other; of those that were right, none stays counted.
pub async fn guesses_race(store: AnyStore) {
    let mut takes = JoinSet::new();
    for source in 0..100 {
        let store = Arc::clone(&store);
        takes.spawn(async move { take(&store, &at("anna", &source.to_string())).await.is_some() });
    }
    let made = takes.join_all().await.into_iter().filter(|made| *made).count();
    assert_eq!(made, 5, "at one account");

    let mut takes = JoinSet::new();
    for subject in 0..100 {
        let store = Arc::clone(&store);
        takes.spawn(async move { take(&store, &at(&format!("person{subject}"), "x")).await.is_some() });
    }
    let made = takes.join_all().await.into_iter().filter(|made| *made).count();
    assert_eq!(made, 7, "from one source");

    let mut guesses = JoinSet::new();
    for source in 0..100 {
        let store = Arc::clone(&store);
        guesses.spawn(async move {
            let guess = at("ben", &format!("home{}", source % 4));
            if let Some(counted) = take(&store, &guess).await {
                store.return_guess(right(&guess, counted, true)).await.unwrap();
            }
        });
    }
    guesses.join_all().await;
    let tally = store.tally(&at("ben", "home0")).await.unwrap();
    assert_eq!((tally.subject.failures, tally.source.failures, tally.own[0].failures), (0, 0, 0));
}
