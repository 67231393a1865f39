//! Ten thousand at once want what only one can have. `TEST_RACES` says how many.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use account::store::Page;
use account::{
    Address, Audience, Caller, Client, CodeError, CodeWanted, Credential, DeviceKind, GatewayKind, Limit, Login, LoginError,
    Opening, Origin, Purpose, Refresh, RefreshError, Reset, ResetError, ResetProof, Rules, Sending, Terms, Tokens,
};
use sql::{Limits, SqlStore};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::postgres;
use crate::world::{ByHand, TERMS, password};

const APP: &str = "app";
const EMAIL: &str = "anna@example.com";
const PASSWORD: &str = "correct horse";
/// How many people want one cube.
const PEOPLE: usize = 100;

const SENDING: Sending =
    Sending { lifetime: Duration::from_mins(10), limits: &[Limit { most: 1000, within: Duration::from_mins(1) }] };

/// Guessing is another test's business.
const ANY_NUMBER: Rules = Rules {
    failures: 1_000_000,
    source_failures: 1_000_000,
    first_pause: Duration::from_secs(1),
    longest_pause: Duration::from_secs(1),
    daily: 1_000_000,
};

/// Nobody is turned away for having to wait.
const PATIENT: Limits =
    Limits { connections: 16, acquire_timeout: Duration::from_hours(1), timeout: Duration::from_hours(1), tries: 1_000 };

fn crowd() -> usize {
    std::env::var("TEST_RACES").map_or(10_000, |text| text.parse().unwrap())
}

/// Everybody does it at once; what came of it.
async fn all_at_once<T, F>(world: &Arc<ByHand>, deed: impl Fn(Arc<ByHand>, usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let everybody: JoinSet<T> = (0..crowd()).map(|number| deed(Arc::clone(world), number)).collect();
    everybody.join_all().await
}

/// Each from an address of their own, so that nobody stands in line behind anybody.
fn address(number: usize) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(number).unwrap()).into()
}

fn origin(number: usize) -> Origin {
    Origin { address: address(number), request: "test".into() }
}

fn client(number: usize) -> Client {
    Client { address: address(number), app_version: None, os: None }
}

async fn log_in(world: &ByHand, email: &str, caller: Caller, number: usize) -> Result<Tokens, LoginError> {
    let login = Login {
        identifier: email.parse().unwrap(),
        credential: Credential::Password(password(PASSWORD).into()),
        caller,
        region: None,
        terms: TERMS,
        client: client(number),
        origin: origin(number),
        nonce: None,
        what: "login".into(),
    };
    world.core.login(&login).await.map(|logged_in| logged_in.tokens)
}

async fn log_in_at_the_app(world: &ByHand, number: usize) -> Tokens {
    let caller = Caller::Application(world.authenticated(APP).await.unwrap());
    log_in(world, EMAIL, caller, number).await.unwrap()
}

async fn good(world: &ByHand, access: &str) -> bool {
    world.core.session(access).await.is_ok()
}

/// Of all sessions that began, the last one is left.
async fn logins(world: &Arc<ByHand>) {
    let given = all_at_once(world, async |world, number| log_in_at_the_app(&world, number).await).await;
    let account = world.core.find_account(EMAIL).await.unwrap();
    let left = world.core.sessions(Some(account.number), Page { after: None, limit: 10 }).await.unwrap();
    assert_eq!(left.len(), 1);
    let mut still_good = 0;
    for tokens in &given {
        still_good += usize::from(good(world, tokens.access.expose()).await);
    }
    assert_eq!((given.len(), still_good), (crowd(), 1));
}

/// All who present one refresh token get the same pair.
async fn refreshes(world: &Arc<ByHand>) {
    let token = log_in_at_the_app(world, 0).await;
    let spent = token.refresh.expose().to_owned();
    let pairs = all_at_once(world, |world, number| {
        let spent = spent.clone();
        async move {
            let audience = Audience::Application(APP.parse().unwrap());
            let origin = origin(number);
            let refresh =
                Refresh { token: &spent, is_theirs: &|session, _| session.audience == audience, terms: TERMS, origin: &origin };
            let tokens = world.core.refresh(&refresh).await.unwrap().tokens;
            (tokens.access.expose().to_owned(), tokens.refresh.expose().to_owned())
        }
    });
    let pairs: BTreeSet<_> = pairs.await.into_iter().collect();
    assert_eq!(pairs.len(), 1);
    assert!(good(world, &pairs.first().unwrap().0).await);
}

/// Where a refresh token cannot be repeated, one gets a pair, and the others end the session.
async fn refreshes_that_cannot_be_repeated(world: &Arc<ByHand>) {
    let token = log_in_at_the_app(world, 0).await;
    let spent = token.refresh.expose().to_owned();
    let terms = Terms { repeatable: None, ..TERMS };
    let outcomes = all_at_once(world, |world, number| {
        let spent = spent.clone();
        async move {
            let origin = origin(number);
            let refresh = Refresh { token: &spent, is_theirs: &|_, _| true, terms, origin: &origin };
            match world.core.refresh(&refresh).await {
                Ok(refreshed) => Some(refreshed.tokens.access.expose().to_owned()),
                Err(RefreshError::Reused | RefreshError::Unknown) => None,
                Err(error) => panic!("{error:?}"),
            }
        }
    });
    let winners: Vec<_> = outcomes.await.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    assert!(!good(world, &winners[0]).await);
}

/// A code sets one new password.
async fn codes(world: &Arc<ByHand>) {
    let to = Address::Email(EMAIL.parse().unwrap());
    let wanted = CodeWanted { purpose: Purpose::Reset, to: to.clone(), region: None, language: None, sending: SENDING };
    world.core.send_code(&wanted).await.unwrap();
    let code = world.mailbox.0.lock().unwrap().take().unwrap();
    let audience = world.authenticated(APP).await.unwrap().audience();
    let outcomes = all_at_once(world, |world, number| {
        let (code, address, audience) = (code.clone(), to.clone(), audience.clone());
        async move {
            let origin = origin(number);
            let proof = ResetProof::Code(&code);
            let reset = Reset { address, proof, password: password(PASSWORD).digest(), region: None, origin: &origin };
            let opening = Opening { audience, terms: TERMS, client: client(number) };
            match world.core.reset_password_and_log_in(&reset, &opening).await {
                Ok(_) => true,
                Err(ResetError::Code(CodeError::Wrong | CodeError::Used)) => false,
                Err(error) => panic!("{error:?}"),
            }
        }
    });
    assert_eq!(outcomes.await.into_iter().filter(|won| *won).count(), 1);
}

/// A cube becomes one person's.
async fn binds(world: &Arc<ByHand>) {
    world.core.register_gateway("cube".parse().unwrap(), GatewayKind::Cube, None).await.unwrap();
    for person in 0..PEOPLE {
        world.make_account(&format!("person{person}@example.com"), PASSWORD).await;
        world.core.register_device(format!("touch{person}").parse().unwrap(), DeviceKind::Touch, None).await.unwrap();
    }
    let outcomes = all_at_once(world, async |world, number| {
        let person = number % PEOPLE;
        let caller = Caller::Panel { serial: format!("touch{person}").parse().unwrap(), gateway: Some("cube".parse().unwrap()) };
        match log_in(&world, &format!("person{person}@example.com"), caller, number).await {
            Ok(_) => Some(person),
            Err(LoginError::GatewayTaken) => None,
            Err(error) => panic!("{error:?}"),
        }
    });
    let winners: Vec<_> = outcomes.await.into_iter().flatten().collect();
    assert!(winners.len() == crowd() / PEOPLE && winners.iter().all(|winner| *winner == winners[0]), "{winners:?}");
}

async fn race(store: SqlStore) {
    let world = Arc::new(ByHand::new(&store, ANY_NUMBER));
    world.make_application(APP).await;
    world.make_account(EMAIL, PASSWORD).await;
    logins(&world).await;
    refreshes(&world).await;
    refreshes_that_cannot_be_repeated(&world).await;
    codes(&world).await;
    binds(&world).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wins() {
    let folder = TempDir::new().unwrap();
    race(SqlStore::sqlite(&folder.path().join("hearthgate.db"), PATIENT).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wins_on_postgres() {
    let url = postgres::database("races");
    race(SqlStore::postgres(&url, PATIENT).await.unwrap()).await;
    postgres::drop_database(&url);
}
