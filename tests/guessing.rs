//! A day of credential stuffing.

use std::net::{IpAddr, Ipv4Addr};

use account::{Caller, Client, Credential, DeviceKind, GuessError, Login, LoginError, Origin};
use sql::{Limits, SqlStore};
use tempfile::TempDir;

use crate::world::{ByHand, RULES, TERMS, password};

const DAY: i64 = 24 * 3_600_000;
const APP: &str = "app";
const PASSWORD: &str = "correct horse";

const ACCOUNTS: u32 = 200;
const ADDRESSES: u32 = 5_000;
const PAIRS: u32 = 100_000;
/// How often each owner logs in.
const LOGINS: u32 = 5;

async fn log_in(world: &ByHand, account: u32, from: IpAddr, text: &str) -> Result<(), LoginError> {
    let caller = Caller::Application(world.authenticated(APP).await.unwrap());
    log_in_with(world, account, caller, from, text).await
}

/// On the owner's own phone, from wherever it is.
async fn log_in_on_the_phone(world: &ByHand, account: u32, from: IpAddr) -> Result<(), LoginError> {
    let caller = Caller::Device { serial: format!("phone{account}").parse().unwrap() };
    log_in_with(world, account, caller, from, PASSWORD).await
}

async fn log_in_with(world: &ByHand, account: u32, caller: Caller, from: IpAddr, text: &str) -> Result<(), LoginError> {
    let login = Login {
        identifier: format!("person{account}@example.com").parse().unwrap(),
        credential: Credential::Password(password(text).into()),
        caller,
        region: None,
        terms: TERMS,
        client: Client { address: from, app_version: None, os: None },
        origin: Origin { address: from, request: "test".into() },
        nonce: None,
        what: "login".into(),
    };
    world.core.login(&login).await.map(drop)
}

fn at_home(account: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0b00_0000 + account).into()
}

/// Where nobody has been before.
fn on_the_way(login: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0c00_0000 + login).into()
}

/// Five thousand addresses try a hundred thousand passwords at two hundred accounts in a day. Of these, at most a hundred at an
/// account are made at all; its owner gets in meanwhile, at home and on a phone of their own from anywhere.
#[tokio::test]
async fn a_day_of_stuffing() {
    let folder = TempDir::new().unwrap();
    let store = SqlStore::sqlite(&folder.path().join("hearthgate.db"), Limits::default()).await.unwrap();
    let world = ByHand::new(&store, RULES);
    world.at(DAY);
    world.make_application(APP).await;
    for account in 0..ACCOUNTS {
        world.make_account(&format!("person{account}@example.com"), PASSWORD).await;
        log_in(&world, account, at_home(account), PASSWORD).await.unwrap();
        world.core.register_device(format!("phone{account}").parse().unwrap(), DeviceKind::AndroidPhone, None).await.unwrap();
        log_in_on_the_phone(&world, account, at_home(account)).await.unwrap();
    }
    let (mut made, mut held_back, mut owners) = (vec![0; ACCOUNTS as usize], 0, [0; 2]);
    for pair in 0..PAIRS {
        world.at(DAY + i64::from(pair) * DAY / i64::from(PAIRS));
        // Each address at another account each time.
        let account = pair % ACCOUNTS;
        let from = Ipv4Addr::from_bits(0x0a00_0000 + (pair * 7919) % ADDRESSES).into();
        match log_in(&world, account, from, &format!("guess {pair}")).await {
            Err(LoginError::PasswordWrong) => made[account as usize] += 1,
            Err(LoginError::Guess(GuessError::TooMany { .. })) => held_back += 1,
            other => panic!("{other:?}"),
        }
        if pair % (PAIRS / (ACCOUNTS * LOGINS)) == 0 {
            let account = (pair / (PAIRS / (ACCOUNTS * LOGINS))) % ACCOUNTS;
            owners[0] += u32::from(log_in(&world, account, at_home(account), PASSWORD).await.is_ok());
            owners[1] += u32::from(log_in_on_the_phone(&world, account, on_the_way(pair)).await.is_ok());
        }
    }
    let most = made.iter().max().unwrap();
    println!(
        "{} guesses made, {held_back} held back, {most} at one account; {owners:?} of {} logins of owners at home and on phones",
        made.iter().sum::<u32>(),
        ACCOUNTS * LOGINS
    );
    assert!(*most <= 100, "{most} guesses at one account");
    assert_eq!(owners, [ACCOUNTS * LOGINS; 2], "owners were kept out");
    store.close().await;
}
