//! Logins while there is too much to hash, or while the account changes.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use account::{
    Caller, Candidate, Client, Credential, HashError, Login, LoginError, Origin, PasswordDigest, PasswordHasher, PepperName,
    Place, Verdict, Verifier,
};
use argon::Hasher;
use secrecy::SecretString;
use sql::{Limits, SqlStore};
use tempfile::TempDir;

use crate::world::{ByHand, RULES, TERMS, password};

const APP: &str = "app";
const EMAIL: &str = "anna@example.com";
const PASSWORD: &str = "correct horse";

/// Finds every verifier outdated.
struct Busy {
    hasher: Hasher,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// While it is, there are places for passwords that are to be compared, and for nothing else.
    busy: AtomicBool,
    /// While it is, there is no place at all.
    full: AtomicBool,
    /// How many places there are, if that is bounded.
    room: Mutex<Option<usize>>,
    /// What happens while the next password is compared.
    meanwhile: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
}

const OVERLOADED: HashError = HashError::Overloaded { retry_after: Duration::from_secs(1) };

#[async_trait::async_trait]
impl PasswordHasher for Busy {
    #[expect(clippy::disallowed_methods, reason = "this is the hasher itself")]
    async fn hash(&self, digest: PasswordDigest) -> Result<Verifier, HashError> {
        if self.state.busy.load(Ordering::SeqCst) {
            return Err(OVERLOADED);
        }
        self.hasher.hash(digest).await
    }

    async fn wrap(&self, sha256: SecretString) -> Result<Verifier, HashError> {
        self.hasher.wrap(sha256).await
    }

    fn check(&self, verifier: &Verifier) -> Result<(), HashError> {
        self.hasher.check(verifier)
    }

    fn wait(&self) -> Result<Duration, HashError> {
        let no_room = self.state.room.lock().unwrap().is_some_and(|room| self.hasher.load().waiting >= room);
        if no_room || self.state.full.load(Ordering::SeqCst) {
            return Err(OVERLOADED);
        }
        // Somebody else is always before.
        Ok(self.hasher.wait()? + Duration::from_secs(1))
    }

    fn reserve(&self) -> Place {
        self.hasher.reserve()
    }

    fn pepper_of(&self, verifier: &Verifier) -> Option<PepperName> {
        self.hasher.pepper_of(verifier)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the hasher itself")]
    async fn verify(&self, place: Place, candidate: Candidate, verifier: Option<Verifier>) -> Result<Verdict, HashError> {
        let verdict = self.hasher.verify(place, candidate, verifier).await?;
        let meanwhile = self.state.meanwhile.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile.await;
        }
        Ok(match verdict {
            Verdict::Wrong => Verdict::Wrong,
            Verdict::Right | Verdict::RightButOutdated => Verdict::RightButOutdated,
        })
    }
}

/// With an application and an account, in a folder that goes when it is dropped.
async fn world() -> (ByHand, Arc<State>, TempDir) {
    let folder = TempDir::new().unwrap();
    let store = SqlStore::sqlite(&folder.path().join("hearthgate.db"), Limits::default()).await.unwrap();
    let state = Arc::<State>::default();
    let world = ByHand::hashing_by(&store, RULES, |hasher| Arc::new(Busy { hasher, state: Arc::clone(&state) }));
    world.make_application(APP).await;
    world.make_account(EMAIL, PASSWORD).await;
    (world, state, folder)
}

async fn log_in(world: &ByHand, text: &str) -> Result<(), LoginError> {
    log_in_once(world, text, None).await
}

async fn log_in_once(world: &ByHand, text: &str, nonce: Option<&str>) -> Result<(), LoginError> {
    world.core.login(&login_from(world, 1, text, nonce).await).await.map(drop)
}

/// From the loopback address that ends so.
async fn login_from(world: &ByHand, last: u8, text: &str, nonce: Option<&str>) -> Login {
    let address = [127, 0, 0, last].into();
    Login {
        identifier: EMAIL.parse().unwrap(),
        credential: Credential::Password(password(text).into()),
        caller: Caller::Application(world.authenticated(APP).await.unwrap()),
        region: None,
        terms: TERMS,
        client: Client { address, app_version: None, os: None },
        origin: Origin { address, request: "test".into() },
        nonce: nonce.map(|nonce| (nonce.to_owned(), Duration::from_mins(10))),
        what: "login".into(),
    }
}

/// Whoever knows the password gets in, also when there is no time to renew its verifier; which is done at the next login.
#[tokio::test]
async fn a_right_password_does_not_wait_for_its_renewal() {
    let (world, state, _folder) = world().await;
    let verifier = async || world.core.find_account(EMAIL).await.unwrap().verifier.phc().to_owned();
    let before = verifier().await;
    state.busy.store(true, Ordering::SeqCst);
    for _ in 0..10 {
        log_in(&world, PASSWORD).await.unwrap();
    }
    assert_eq!(verifier().await, before);
    assert!(matches!(log_in(&world, "wrong horse").await, Err(LoginError::PasswordWrong)));
    state.busy.store(false, Ordering::SeqCst);
    log_in(&world, PASSWORD).await.unwrap();
    assert_ne!(verifier().await, before);
}

#[tokio::test]
async fn whoever_cannot_be_served_may_send_the_same_again() {
    let (world, state, _folder) = world().await;
    let origin = Origin { address: [127, 0, 0, 1].into(), request: "test".into() };
    state.full.store(true, Ordering::SeqCst);
    assert!(matches!(world.core.can_hash(&origin), Err(HashError::Overloaded { .. })));
    let turned_away = log_in_once(&world, PASSWORD, Some("nonce")).await;
    assert!(matches!(turned_away, Err(LoginError::Hash(HashError::Overloaded { .. }))), "{turned_away:?}");
    state.full.store(false, Ordering::SeqCst);
    world.core.can_hash(&origin).unwrap();
    log_in_once(&world, PASSWORD, Some("nonce")).await.unwrap();
    assert!(matches!(log_in_once(&world, PASSWORD, Some("nonce")).await, Err(LoginError::Replayed)));
}

/// Whoever is let in has a place from then on; else many who come at once would all find that there is time, and hear that there is none
/// when they were looked up and their nonces are spent. Those behind one address have one.
#[tokio::test]
async fn who_is_let_in_has_a_place() {
    let (world, state, _folder) = world().await;
    *state.room.lock().unwrap() = Some(2);
    let from = async |last| login_from(&world, last, PASSWORD, Some(&format!("nonce {last}"))).await;
    let [one, another, neighbour] = [from(1).await, Login { nonce: None, ..from(1).await }, from(2).await];
    let mut coming: Vec<_> = [&one, &another, &neighbour].map(|login| Box::pin(world.core.login(login))).into();
    let mut context = Context::from_waker(Waker::noop());
    assert!(coming.iter_mut().all(|login| login.as_mut().poll(&mut context).is_pending()));
    let late = from(3).await;
    let turned_away = world.core.login(&late).await;
    assert!(matches!(turned_away, Err(LoginError::Hash(HashError::Overloaded { .. }))), "{turned_away:?}");
    for login in coming {
        login.await.unwrap();
    }
    world.core.login(&late).await.unwrap();
}

/// What was right when it was compared is of no use when it is not the account's password any more.
#[tokio::test]
async fn a_password_that_is_changed_meanwhile_lets_nobody_in() {
    let (world, state, _folder) = world().await;
    let world = Arc::new(world);
    let account = world.core.find_account(EMAIL).await.unwrap().number;
    let changing = Arc::clone(&world);
    *state.meanwhile.lock().unwrap() = Some(Box::pin(async move {
        changing.core.set_password(account, password("another horse").digest()).await.unwrap();
    }));
    assert!(matches!(log_in(&world, PASSWORD).await, Err(LoginError::PasswordWrong)));
    log_in(&world, "another horse").await.unwrap();
}
