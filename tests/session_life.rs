//! The life of sessions as a state machine: whatever happens in whatever order, at every step exactly the tokens that should work do.

use std::collections::BTreeMap;
use std::time::Duration;

use account::{
    Address, Audience, Authenticated, Caller, ChangeError, Client, CodeWanted, Credential, Limit, Login, LoginError, Opening,
    Origin, Purpose, Refresh, RefreshError, Reset, ResetError, ResetProof, Rules, Sending, TokenError, Tokens,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sql::{Limits, SqlStore};
use tempfile::TempDir;

use crate::postgres;
use crate::world::{ByHand, TERMS, password};

const EMAIL: &str = "anna@example.com";
const PASSWORD: &str = "correct horse";
const APPS: [&str; 2] = ["one", "two"];

const HOUR: i64 = 3_600_000;
const SENDING: Sending =
    Sending { lifetime: Duration::from_mins(10), limits: &[Limit { most: 1000, within: Duration::from_mins(1) }] };

/// What can happen. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Event {
    Login {
        app: usize,
        right: bool,
    },
    /// By the application that the token was given to, or by the other one.
    Refresh {
        token: usize,
        foreign: bool,
    },
    /// Two refreshes with the same token at the same time.
    RefreshTwice {
        token: usize,
    },
    Logout {
        token: usize,
    },
    Reset {
        app: usize,
    },
    Change {
        token: usize,
    },
    Disable,
    Enable,
    DisableApplication {
        app: usize,
    },
    Pass {
        milliseconds: i64,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let app = 0..APPS.len();
    // The newest tokens are the interesting ones.
    let token = prop_oneof![4 => Just(0_usize), 3 => Just(1), 2 => Just(2), 1 => 0_usize..1000];
    let pass = |milliseconds| Just(Event::Pass { milliseconds });
    let passes = prop_oneof![
        3 => pass(1), 1 => pass(59_999), 1 => pass(60_000), 3 => pass(60_001), 1 => pass(HOUR), 1 => pass(2 * HOUR),
        1 => pass(47 * HOUR), 1 => pass(48 * HOUR),
    ];
    prop_oneof![
        8 => (app.clone(), prop::bool::weighted(0.8)).prop_map(|(app, right)| Event::Login { app, right }),
        20 => (token.clone(), prop::bool::weighted(0.1)).prop_map(|(token, foreign)| Event::Refresh { token, foreign }),
        5 => token.clone().prop_map(|token| Event::RefreshTwice { token }),
        1 => token.clone().prop_map(|token| Event::Logout { token }),
        1 => app.clone().prop_map(|app| Event::Reset { app }),
        1 => token.prop_map(|token| Event::Change { token }),
        1 => Just(Event::Disable),
        4 => Just(Event::Enable),
        1 => app.prop_map(|app| Event::DisableApplication { app }),
        12 => passes,
    ]
}

/// A pair of tokens as its owner has them.
#[derive(Debug, Clone, PartialEq)]
struct Pair {
    access: String,
    refresh: String,
}

impl From<&Tokens> for Pair {
    fn from(tokens: &Tokens) -> Self {
        Self { access: tokens.access.expose().into(), refresh: tokens.refresh.expose().into() }
    }
}

/// A session as it should be.
#[derive(Debug)]
struct Expected {
    pair: Pair,
    access_ends: i64,
    refresh_ends: i64,
    /// Refresh tokens that were used: when, when they would have ended, and what they made.
    spent: BTreeMap<String, (i64, i64, Pair)>,
}

/// What should be.
#[derive(Debug, Default)]
struct Model {
    now: i64,
    disabled: bool,
    sessions: BTreeMap<usize, Expected>,
    /// Every pair that was ever given out, the newest last, with its application.
    given: Vec<(usize, Pair)>,
}

#[derive(Debug, PartialEq)]
enum Fate {
    New,
    Same(Pair),
    Unknown,
    Expired,
    Reused,
}

impl Model {
    fn begin(&mut self, app: usize, pair: Pair) {
        self.given.push((app, pair.clone()));
        let (access_ends, refresh_ends) = (self.now + 2 * HOUR, self.now + 48 * HOUR);
        self.sessions.insert(app, Expected { pair, access_ends, refresh_ends, spent: BTreeMap::new() });
    }

    /// One of the pairs that were given out; 0 is the newest.
    fn pick(&self, back: usize) -> Option<(usize, Pair)> {
        let index = self.given.len().checked_sub(1)?.checked_sub(back % self.given.len())?;
        Some(self.given[index].clone())
    }

    /// What a refresh should do; the session that somebody else has the token of ends here.
    fn refresh(&mut self, app: usize, token: &str) -> Fate {
        let now = self.now;
        let Some(session) = self.sessions.get(&app) else { return Fate::Unknown };
        if session.pair.refresh == token {
            return if now >= session.refresh_ends { Fate::Expired } else { Fate::New };
        }
        match session.spent.get(token) {
            None => Fate::Unknown,
            Some((_, ends, _)) if now >= *ends => Fate::Unknown,
            Some((at, _, made)) if now <= at + 60_000 && *made == session.pair => Fate::Same(made.clone()),
            Some(_) => {
                self.sessions.remove(&app);
                Fate::Reused
            }
        }
    }

    fn refreshed(&mut self, app: usize, token: &str, pair: &Pair) {
        let now = self.now;
        self.given.push((app, pair.clone()));
        let session = self.sessions.get_mut(&app).unwrap();
        session.spent.insert(token.to_owned(), (now, session.refresh_ends, pair.clone()));
        session.pair = pair.clone();
        (session.access_ends, session.refresh_ends) = (now + 2 * HOUR, now + 48 * HOUR);
    }

    fn holder(&self, access: &str) -> Option<usize> {
        let theirs = self.sessions.iter().find(|(_, session)| session.pair.access == access);
        theirs.map(|(app, _)| *app)
    }
}

struct World {
    by_hand: ByHand,
    store: SqlStore,
}

/// Guessing is another test's business.
pub const ANY_NUMBER: Rules = Rules {
    failures: 1_000_000,
    source_failures: 1_000_000,
    first_pause: Duration::from_secs(1),
    longest_pause: Duration::from_secs(1),
    daily: 1_000_000,
};

impl World {
    async fn new(store: SqlStore) -> Self {
        let by_hand = ByHand::new(&store, ANY_NUMBER);
        for app in APPS {
            by_hand.make_application(app).await;
        }
        by_hand.make_account(EMAIL, PASSWORD).await;
        Self { by_hand, store }
    }

    async fn authenticated(&self, app: usize) -> Option<Authenticated> {
        self.by_hand.authenticated(APPS[app]).await
    }

    fn origin() -> Origin {
        Origin { address: [127, 0, 0, 1].into(), request: "test".into() }
    }

    fn client() -> Client {
        Client { address: Self::origin().address, app_version: None, os: None }
    }

    async fn refresh(&self, app: usize, token: &str) -> Result<Pair, RefreshError> {
        let audience = Audience::Application(APPS[app].parse().unwrap());
        let refresh =
            Refresh { token, is_theirs: &|session, _| session.audience == audience, terms: TERMS, origin: &Self::origin() };
        self.by_hand.core.refresh(&refresh).await.map(|refreshed| Pair::from(&refreshed.tokens))
    }

    async fn happen(&self, model: &mut Model, event: &Event) {
        match event {
            Event::Login { app, right } => self.log_in(model, *app, *right).await,
            Event::Refresh { token, foreign } => {
                let Some((app, pair)) = model.pick(*token) else { return };
                let app = if *foreign { 1 - app } else { app };
                let fate = model.refresh(app, &pair.refresh);
                let got = self.refresh(app, &pair.refresh).await;
                Self::compare(model, app, &pair.refresh, &fate, got);
            }
            Event::RefreshTwice { token } => {
                let Some((app, pair)) = model.pick(*token) else { return };
                let fate = model.refresh(app, &pair.refresh);
                let (one, two) = tokio::join!(self.refresh(app, &pair.refresh), self.refresh(app, &pair.refresh));
                if let (Ok(one), Ok(two)) = (&one, &two) {
                    assert_eq!(one, two, "both get the same pair");
                }
                let reused = fate == Fate::Reused;
                Self::compare(model, app, &pair.refresh, &fate, if reused && one.is_ok() { two } else { one });
            }
            Event::Logout { token } => {
                let Some((_, pair)) = model.pick(*token) else { return };
                let ended = self.by_hand.core.log_out(&pair.access, |_| true).await.unwrap();
                let expected = model.holder(&pair.access);
                assert_eq!(ended, expected.is_some());
                expected.map(|app| model.sessions.remove(&app));
            }
            Event::Reset { app } => self.reset(model, *app).await,
            Event::Change { token } => {
                let Some((_, pair)) = model.pick(*token) else { return };
                let (old, new) = (password(PASSWORD).into(), password(PASSWORD).digest());
                let changed = self.by_hand.core.change_password(&pair.access, &old, new, &Self::origin()).await;
                match model.holder(&pair.access) {
                    Some(app) if model.now < model.sessions[&app].access_ends => {
                        changed.unwrap();
                        model.sessions.retain(|other, _| *other == app);
                    }
                    Some(_) => assert!(matches!(changed, Err(ChangeError::Token(TokenError::Expired))), "{changed:?}"),
                    None => assert!(matches!(changed, Err(ChangeError::Token(TokenError::Unknown))), "{changed:?}"),
                }
            }
            Event::Disable | Event::Enable => {
                let account = self.by_hand.core.find_account(EMAIL).await.unwrap();
                model.disabled = matches!(event, Event::Disable);
                self.by_hand.core.enable_account(account.number, !model.disabled).await.unwrap();
                if model.disabled {
                    model.sessions.clear();
                }
            }
            Event::DisableApplication { app } => {
                let id = APPS[*app].parse().unwrap();
                self.by_hand.core.enable_application(&id, false).await.unwrap();
                self.by_hand.core.enable_application(&id, true).await.unwrap();
                model.sessions.remove(app);
            }
            Event::Pass { milliseconds } => {
                model.now += milliseconds;
                self.by_hand.at(model.now);
            }
        }
    }

    fn compare(model: &mut Model, app: usize, token: &str, fate: &Fate, got: Result<Pair, RefreshError>) {
        match (fate, got) {
            (Fate::New, Ok(pair)) => model.refreshed(app, token, &pair),
            (Fate::Same(made), Ok(pair)) => assert_eq!(*made, pair),
            (Fate::Unknown, Err(RefreshError::Unknown))
            | (Fate::Expired, Err(RefreshError::Expired))
            // Of two at the same time, the second finds the session gone.
            | (Fate::Reused, Err(RefreshError::Reused | RefreshError::Unknown)) => {}
            (fate, got) => panic!("{fate:?}: {got:?}"),
        }
    }

    async fn log_in(&self, model: &mut Model, app: usize, right: bool) {
        let login = Login {
            identifier: EMAIL.parse().unwrap(),
            credential: Credential::Password(password(if right { PASSWORD } else { "wrong" }).into()),
            caller: Caller::Application(self.authenticated(app).await.unwrap()),
            region: None,
            terms: TERMS,
            client: Self::client(),
            origin: Self::origin(),
            nonce: None,
            what: "login".into(),
        };
        match (self.by_hand.core.login(&login).await, right, model.disabled) {
            (Ok(logged_in), true, false) => model.begin(app, Pair::from(&logged_in.tokens)),
            (Err(LoginError::PasswordWrong), false, _) | (Err(LoginError::AccountDisabled), true, true) => {}
            (outcome, ..) => panic!("{outcome:?}"),
        }
    }

    async fn reset(&self, model: &mut Model, app: usize) {
        let address = Address::Email(EMAIL.parse().unwrap());
        let wanted = CodeWanted { purpose: Purpose::Reset, to: address.clone(), region: None, language: None, sending: SENDING };
        self.by_hand.core.send_code(&wanted).await.unwrap();
        let code = self.by_hand.mailbox.0.lock().unwrap().take().unwrap();
        let audience = self.authenticated(app).await.unwrap().audience();
        let origin = Self::origin();
        let proof = ResetProof::Code(&code);
        let reset = Reset { address, proof, password: password(PASSWORD).digest(), region: None, origin: &origin };
        let opening = Opening { audience, terms: TERMS, client: Self::client() };
        match self.by_hand.core.reset_password_and_log_in(&reset, &opening).await {
            Ok(logged_in) => {
                assert!(!model.disabled);
                model.sessions.clear();
                model.begin(app, Pair::from(&logged_in.tokens));
            }
            Err(ResetError::AccountDisabled) => assert!(model.disabled),
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Every access token that was ever given out, against what should be.
    async fn check(&self, model: &Model) {
        for (_, pair) in &model.given {
            let found = self.by_hand.core.session(&pair.access).await;
            match (model.holder(&pair.access), found) {
                (Some(app), Ok((_, session))) => {
                    assert!(model.now < model.sessions[&app].access_ends);
                    assert_eq!(session.audience, Audience::Application(APPS[app].parse().unwrap()));
                }
                (Some(app), Err(TokenError::Expired)) => assert!(model.now >= model.sessions[&app].access_ends),
                (None, Err(TokenError::Unknown)) => {}
                (holder, found) => panic!("{holder:?}: {found:?}"),
            }
        }
    }
}

/// Lets all this happen on a store that is empty.
async fn live(store: SqlStore, events: &[Event]) {
    let world = World::new(store).await;
    let mut model = Model::default();
    for event in events {
        world.happen(&mut model, event).await;
        world.check(&model).await;
    }
    world.store.close().await;
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

// Each case has a database of its own, so that shrinking one is slow.
proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn exactly_the_tokens_that_should_work_do(events in prop::collection::vec(event(), 1..60)) {
        block_on(async {
            let folder = TempDir::new().unwrap();
            live(SqlStore::sqlite(&folder.path().join("hearthgate.db"), Limits::default()).await.unwrap(), &events).await;
        });
    }
}

/// Databases take long to make there: a few cases, in the long form more.
#[test]
fn exactly_the_tokens_that_should_work_do_on_postgres() {
    let config = ProptestConfig::default();
    let cases = if config.cases > 256 { config.cases / 50 } else { 24 };
    let mut runner = TestRunner::new(ProptestConfig { cases, max_shrink_iters: 50, ..config });
    let lived = runner.run(&prop::collection::vec(event(), 1..60), |events| {
        block_on(async {
            let url = postgres::database(&format!("session_life_{}", std::process::id()));
            live(SqlStore::postgres(&url, Limits::default()).await.unwrap(), &events).await;
            postgres::drop_database(&url);
        });
        Ok(())
    });
    lived.unwrap();
}
