//! Renewing outdated verifiers when there is too much to hash.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// Finds every verifier outdated. While it is busy it has places for passwords that are to be compared, and for nothing else.
struct Busy {
    hasher: Hasher,
    busy: Arc<AtomicBool>,
}

#[async_trait::async_trait]
impl PasswordHasher for Busy {
    #[expect(clippy::disallowed_methods, reason = "this is the hasher itself")]
    async fn hash(&self, digest: PasswordDigest) -> Result<Verifier, HashError> {
        if self.busy.load(Ordering::SeqCst) {
            return Err(HashError::Overloaded { retry_after: Duration::from_secs(1) });
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
        // Somebody else is always before.
        Ok(self.hasher.wait()? + Duration::from_secs(1))
    }

    fn reserve(&self) -> Result<Place, HashError> {
        self.hasher.reserve()
    }

    fn pepper_of(&self, verifier: &Verifier) -> Option<PepperName> {
        self.hasher.pepper_of(verifier)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the hasher itself")]
    async fn verify(&self, place: Place, candidate: Candidate, verifier: Option<Verifier>) -> Result<Verdict, HashError> {
        Ok(match self.hasher.verify(place, candidate, verifier).await? {
            Verdict::Wrong => Verdict::Wrong,
            Verdict::Right | Verdict::RightButOutdated => Verdict::RightButOutdated,
        })
    }
}

async fn log_in(world: &ByHand, text: &str) -> Result<(), LoginError> {
    let address = [127, 0, 0, 1].into();
    let login = Login {
        identifier: EMAIL.parse().unwrap(),
        credential: Credential::Password(password(text).into()),
        caller: Caller::Application(world.authenticated(APP).await.unwrap()),
        region: None,
        terms: TERMS,
        client: Client { address, app_version: None, os: None },
        origin: Origin { address, request: "test".into() },
        nonce: None,
        what: "login".into(),
    };
    world.core.login(&login).await.map(drop)
}

/// Whoever knows the password gets in, also when there is no time to renew its verifier; which is done at the next login.
#[tokio::test]
async fn a_right_password_does_not_wait_for_its_renewal() {
    let folder = TempDir::new().unwrap();
    let store = SqlStore::sqlite(&folder.path().join("hearthgate.db"), Limits::default()).await.unwrap();
    let busy = Arc::new(AtomicBool::new(false));
    let world = ByHand::hashing_by(&store, RULES, |hasher| Arc::new(Busy { hasher, busy: Arc::clone(&busy) }));
    world.make_application(APP).await;
    world.make_account(EMAIL, PASSWORD).await;
    let verifier = async || world.core.find_account(EMAIL).await.unwrap().verifier.phc().to_owned();
    let before = verifier().await;
    busy.store(true, Ordering::SeqCst);
    for _ in 0..10 {
        log_in(&world, PASSWORD).await.unwrap();
    }
    assert_eq!(verifier().await, before);
    assert!(matches!(log_in(&world, "wrong horse").await, Err(LoginError::PasswordWrong)));
    busy.store(false, Ordering::SeqCst);
    log_in(&world, PASSWORD).await.unwrap();
    assert_ne!(verifier().await, before);
    store.close().await;
}
