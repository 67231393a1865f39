//! What the core decides, cause by cause.

use std::sync::Arc;
use std::time::Duration;

use account::store::Page;
use account::{
    Activated, Address, Caller, ChangeError, Client, CloseError, CodeError, CodeWanted, Credential, Details, DeviceKind, Email,
    GatewayKind, GuessError, Identifier, Limit, Link, LinkError, LinkPurpose, Login, LoginError, NewAccount, Notice, Opening,
    Origin, Profile, Purpose, Refresh, RefreshError, RegisterError, Registration, RegistrationProof, Reset, ResetError,
    ResetProof, Rules, SendError, Sending, Standing, Timestamp, Token, TokenError, Tokens,
};
use sql::{Limits, SqlStore};
use tempfile::TempDir;

use crate::world::{self, ByHand, REGISTRATIONS, Regions, TERMS, password};

const APP: &str = "app";
const EMAIL: &str = "anna@example.com";
const PASSWORD: &str = "correct horse";
const WRONG: &str = "wrong horse";
const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600_000;
/// When everything begins.
const START: i64 = 24 * HOUR;
const RULES: Rules = Rules { source_failures: 7, ..world::RULES };
const SENDING: Sending =
    Sending { lifetime: Duration::from_mins(10), limits: &[Limit { most: 2, within: Duration::from_mins(1) }] };

/// Whatever comes with a failure does not matter.
macro_rules! fails {
    ($outcome:expr, $failure:pat) => {{
        let outcome = $outcome;
        assert!(matches!(outcome, Err($failure)), "{outcome:?}");
    }};
}

struct World {
    by_hand: ByHand,
    store: SqlStore,
    _folder: TempDir,
}

impl std::ops::Deref for World {
    type Target = ByHand;

    fn deref(&self) -> &ByHand {
        &self.by_hand
    }
}

impl World {
    /// With an application and Anna's account.
    async fn new() -> Self {
        let world = Self::with(|store| ByHand::new(store, RULES)).await;
        world.make_account(EMAIL, PASSWORD).await;
        world
    }

    /// One of several regions, with an application.
    async fn in_region(region: &str, regions: &Arc<Regions>) -> Self {
        Self::with(|store| ByHand::in_region(region, store, RULES, regions)).await
    }

    async fn with(core: impl FnOnce(&SqlStore) -> ByHand) -> Self {
        let folder = TempDir::new().unwrap();
        let store = SqlStore::sqlite(&folder.path().join("hearthgate.db"), Limits::default()).await.unwrap();
        let by_hand = core(&store);
        by_hand.at(START);
        by_hand.make_application(APP).await;
        Self { by_hand, store, _folder: folder }
    }

    async fn close(self) {
        self.store.close().await;
    }

    fn mailed(&self) -> String {
        self.mailbox.0.lock().unwrap().take().unwrap()
    }

    async fn caller(&self) -> Caller {
        Caller::Application(self.authenticated(APP).await.unwrap())
    }

    async fn log_in_as(&self, login: Login) -> Result<Tokens, LoginError> {
        self.core.login(&login).await.map(|logged_in| logged_in.tokens)
    }

    async fn log_in(&self, who: &str, text: &str, from: u8) -> Result<Tokens, LoginError> {
        self.log_in_as(login(who, text, self.caller().await, from)).await
    }

    async fn log_in_by_code(&self, who: &str) -> Result<Tokens, LoginError> {
        let credential = Credential::Code("000000".into());
        self.log_in_as(Login { credential, ..login(who, WRONG, self.caller().await, 1) }).await
    }

    /// With a wrong password, in a request that is to be sent once only.
    async fn log_in_once(&self, who: &str) -> Result<Tokens, LoginError> {
        let nonce = Some(("nonce".to_owned(), Duration::from_mins(1)));
        self.log_in_as(Login { nonce, ..login(who, WRONG, self.caller().await, 2) }).await
    }

    /// On a panel that names a gateway, or on a device that need not have one.
    async fn log_in_on(&self, serial: &str, gateway: Option<&str>) -> Result<Tokens, LoginError> {
        let gateway = gateway.map(|serial| serial.parse().unwrap());
        self.log_in_as(login(EMAIL, PASSWORD, Caller::Panel { serial: serial.parse().unwrap(), gateway }, 1)).await
    }

    async fn send_code(&self, purpose: Purpose, to: &str) -> Result<String, SendError> {
        let wanted = CodeWanted { purpose, to: email(to), region: None, language: None, sending: SENDING };
        self.core.send_code(&wanted).await.map(|()| self.mailed())
    }

    async fn register(&self, name: Option<&str>, to: &str, proof: RegistrationProof<'_>, from: u8) -> Result<(), RegisterError> {
        let registration = Registration {
            region: self.region.clone(),
            user_name: name.map(|name| name.parse().unwrap()),
            address: email(to),
            password: password(PASSWORD).digest(),
            details: Details::default(),
            proof,
            origin: &origin(from),
        };
        self.core.register(&registration).await.map(drop)
    }

    async fn register_by_link(&self, name: &str, to: &str, from: u8) -> Result<(), RegisterError> {
        self.register(Some(name), to, RegistrationProof::Link { form: &form, sending: SENDING }, from).await
    }

    async fn reset(&self, proof: ResetProof<'_>, text: &str) -> Result<(), ResetError> {
        self.reset_of(EMAIL, proof, text).await
    }

    async fn reset_of(&self, who: &str, proof: ResetProof<'_>, text: &str) -> Result<(), ResetError> {
        let reset = Reset { address: email(who), proof, password: password(text).digest(), region: None, origin: &origin(1) };
        self.core.reset_password(&reset).await.map(drop)
    }

    async fn refresh(&self, tokens: &Tokens) -> Result<Tokens, RefreshError> {
        self.refresh_by(tokens, true).await
    }

    /// By whom the session is, or by somebody else.
    async fn refresh_by(&self, tokens: &Tokens, theirs: bool) -> Result<Tokens, RefreshError> {
        let token = tokens.refresh.expose();
        let refresh = Refresh { token, is_theirs: &|_, _| theirs, terms: TERMS, origin: &origin(1) };
        self.core.refresh(&refresh).await.map(|refreshed| refreshed.tokens)
    }
}

/// A link that is nothing but its token.
fn form(_: &Email, token: &Token) -> String {
    token.expose().to_owned()
}

fn email(text: &str) -> Address {
    Address::Email(text.parse().unwrap())
}

fn origin(from: u8) -> Origin {
    Origin { address: [127, 0, 0, from].into(), request: "test".into() }
}

fn client(from: u8) -> Client {
    Client { address: origin(from).address, app_version: None, os: None }
}

fn login(who: &str, text: &str, caller: Caller, from: u8) -> Login {
    Login {
        identifier: who.parse().unwrap(),
        credential: Credential::Password(password(text).into()),
        caller,
        region: None,
        terms: TERMS,
        client: client(from),
        origin: origin(from),
        nonce: None,
        what: "login".into(),
    }
}

#[tokio::test]
async fn logins_from_applications() {
    let world = World::new().await;
    fails!(world.log_in("nobody@example.com", PASSWORD, 1).await, LoginError::AccountUnknown);
    fails!(world.log_in(EMAIL, WRONG, 1).await, LoginError::PasswordWrong);
    let elsewhere = Login { region: Some("us".parse().unwrap()), ..login(EMAIL, PASSWORD, world.caller().await, 1) };
    fails!(world.log_in_as(elsewhere).await, LoginError::OtherRegion(_));
    let nonce = || Some(("nonce".to_owned(), Duration::from_mins(10)));
    let once = async || Login { nonce: nonce(), ..login(EMAIL, PASSWORD, world.caller().await, 1) };
    world.log_in_as(once().await).await.unwrap();
    fails!(world.log_in_as(once().await).await, LoginError::Replayed);

    let caller = world.caller().await;
    world.core.enable_application(&APP.parse().unwrap(), false).await.unwrap();
    fails!(world.log_in_as(login(EMAIL, PASSWORD, caller, 1)).await, LoginError::ApplicationDisabled);
    world.core.enable_application(&APP.parse().unwrap(), true).await.unwrap();
    let account = world.core.find_account(EMAIL).await.unwrap().number;
    world.core.enable_account(account, false).await.unwrap();
    fails!(world.log_in(EMAIL, WRONG, 1).await, LoginError::PasswordWrong);
    // A right password is no failure, whatever else it is refused for.
    for _ in 0..10 {
        fails!(world.log_in(EMAIL, PASSWORD, 1).await, LoginError::AccountDisabled);
    }
    for (who, standing) in [("pending@example.com", Standing::Pending), ("lapsed@example.com", Standing::Lapsed)] {
        let new = NewAccount {
            region: "eu".parse().unwrap(),
            user_name: None,
            email: Some(who.parse().unwrap()),
            phone: None,
            password: password(PASSWORD).digest(),
            standing,
            details: Details::default(),
        };
        world.core.create_account(new).await.unwrap();
    }
    fails!(world.log_in("pending@example.com", PASSWORD, 1).await, LoginError::NotActivated);
    fails!(world.log_in("lapsed@example.com", PASSWORD, 1).await, LoginError::ActivationLapsed);
    fails!(world.send_code(Purpose::Reset, "lapsed@example.com").await, SendError::ActivationLapsed);
    world.send_code(Purpose::Reset, "pending@example.com").await.unwrap();
    world.close().await;
}

#[tokio::test]
async fn logins_on_devices() {
    let world = World::new().await;
    let core = &world.core;
    fails!(world.log_in_on("touch", Some("cube")).await, LoginError::DeviceUnknown);
    core.register_device("touch".parse().unwrap(), DeviceKind::Touch, Some("V1.5".parse().unwrap())).await.unwrap();
    core.register_device("phone".parse().unwrap(), DeviceKind::AndroidPhone, Some("V2.0".parse().unwrap())).await.unwrap();
    fails!(world.log_in_on("touch", None).await, LoginError::GatewayMissing);
    fails!(world.log_in_on("phone", None).await, LoginError::NoGateway);
    fails!(world.log_in_on("touch", Some("cube")).await, LoginError::GatewayUnknown);
    for cube in ["cube", "second", "theirs"] {
        core.register_gateway(cube.parse().unwrap(), GatewayKind::Cube, None).await.unwrap();
    }
    core.register_gateway("hub".parse().unwrap(), GatewayKind::Hub, None).await.unwrap();
    fails!(world.log_in_on("touch", Some("hub")).await, LoginError::GatewayUnknown);
    world.make_account("berta@example.com", PASSWORD).await;
    core.bind_gateway(&"theirs".parse().unwrap(), core.find_account("berta@example.com").await.unwrap().number).await.unwrap();
    fails!(world.log_in_on("touch", Some("theirs")).await, LoginError::GatewayTaken);

    core.set_min_app_version(&"cube".parse().unwrap(), Some(&"V1.6".parse().unwrap())).await.unwrap();
    fails!(world.log_in_on("touch", Some("cube")).await, LoginError::AppTooOld);
    let account = core.find_account(EMAIL).await.unwrap().number;
    assert!(core.gateways_of(account).await.unwrap().is_empty(), "a login that fails binds nothing");
    core.set_min_app_version(&"cube".parse().unwrap(), Some(&"V1.5".parse().unwrap())).await.unwrap();
    world.log_in_on("touch", Some("cube")).await.unwrap();
    assert_eq!(core.gateways_of(account).await.unwrap().len(), 1, "one that succeeds binds");
    core.bind_gateway(&"hub".parse().unwrap(), account).await.unwrap();
    world.log_in_on("phone", None).await.unwrap();
    core.bind_gateway(&"second".parse().unwrap(), account).await.unwrap();
    fails!(world.log_in_on("touch", Some("cube")).await, LoginError::SeveralGateways);
    let any_number = Caller::Device { serial: "touch".parse().unwrap() };
    let tokens = world.log_in_as(login(EMAIL, PASSWORD, any_number, 1)).await.unwrap();
    assert_eq!(core.session(tokens.access.expose()).await.unwrap().0.number, account);
    world.close().await;
}

/// How long to wait, where there were too many guesses.
fn wait(outcome: Result<Tokens, LoginError>) -> Duration {
    match outcome {
        Err(LoginError::Guess(GuessError::TooMany { retry_after })) => retry_after,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn guesses_are_counted_where_they_belong() {
    let world = World::new().await;
    for from in 1..=5 {
        fails!(world.log_in(EMAIL, WRONG, from).await, LoginError::PasswordWrong);
    }
    assert_eq!(wait(world.log_in(EMAIL, PASSWORD, 6).await), RULES.first_pause);
    world.at(START + 30 * SECOND);
    // Who was let in is known there, and on the device; five failures elsewhere change nothing about that.
    world.log_in(EMAIL, PASSWORD, 6).await.unwrap();
    world.core.register_device("phone".parse().unwrap(), DeviceKind::AndroidPhone, None).await.unwrap();
    let on_the_phone = || Caller::Device { serial: "phone".parse().unwrap() };
    world.log_in_as(login(EMAIL, PASSWORD, on_the_phone(), 6)).await.unwrap();
    for from in 11..=15 {
        drop(world.log_in(EMAIL, WRONG, from).await);
    }
    assert!(wait(world.log_in(EMAIL, PASSWORD, 16).await) > Duration::ZERO);
    world.log_in(EMAIL, PASSWORD, 6).await.unwrap();
    world.log_in_as(login(EMAIL, PASSWORD, on_the_phone(), 99)).await.unwrap();
    // A source is held back whoever it guesses at, and after as many as are said for sources.
    for number in 0..7 {
        fails!(world.log_in(&format!("nobody{number}@example.com"), WRONG, 20).await, LoginError::AccountUnknown);
    }
    assert_eq!(wait(world.log_in("nobody7@example.com", WRONG, 20).await), RULES.first_pause);
    for _ in 0..5 {
        fails!(world.log_in("nobody@example.com", WRONG, 21).await, LoginError::AccountUnknown);
    }
    assert_eq!(wait(world.log_in("nobody@example.com", WRONG, 22).await), RULES.first_pause);
    world.close().await;
}

/// Tokens that do not exist: four times as many are forgiven, and nobody who logs in waits for it.
#[tokio::test]
async fn tokens_that_do_not_exist() {
    let world = World::new().await;
    let tokens = world.log_in(EMAIL, PASSWORD, 1).await.unwrap();
    world.core.log_out(tokens.access.expose(), |_| true).await.unwrap();
    for _ in 0..28 {
        fails!(world.refresh(&tokens).await, RefreshError::Unknown);
    }
    fails!(world.refresh(&tokens).await, RefreshError::Guess(GuessError::TooMany { .. }));
    let tokens = world.log_in(EMAIL, PASSWORD, 1).await.unwrap();
    world.refresh(&tokens).await.unwrap();
    world.close().await;
}

#[tokio::test]
async fn tokens_end_when_they_are_said_to() {
    let world = World::new().await;
    let first = world.log_in(EMAIL, PASSWORD, 1).await.unwrap();
    world.at(START + 2 * HOUR - 1);
    world.core.session(first.access.expose()).await.unwrap();
    world.at(START + 2 * HOUR);
    fails!(world.core.session(first.access.expose()).await, TokenError::Expired);
    let second = world.refresh(&first).await.unwrap();
    fails!(world.core.session(first.access.expose()).await, TokenError::Unknown);
    world.at(START + 2 * HOUR + 60 * SECOND);
    assert_eq!(world.refresh(&first).await.unwrap().access.expose(), second.access.expose(), "a lost answer is repeated");
    world.at(START + 2 * HOUR + 60 * SECOND + 1);
    fails!(world.refresh(&first).await, RefreshError::Reused);
    fails!(world.core.session(second.access.expose()).await, TokenError::Unknown);
    let third = world.log_in(EMAIL, PASSWORD, 1).await.unwrap();
    world.at(START + 50 * HOUR + 60 * SECOND + 1);
    fails!(world.refresh(&third).await, RefreshError::Expired);
    assert!(!world.core.log_out(third.access.expose(), |_| false).await.unwrap(), "somebody else's");
    assert!(world.core.log_out(third.access.expose(), |_| true).await.unwrap());
    assert!(!world.core.log_out(third.access.expose(), |_| true).await.unwrap());
    world.close().await;
}

#[tokio::test]
async fn a_spent_token_ends_its_session_until_it_would_have_expired() {
    let world = World::new().await;
    let first = world.log_in(EMAIL, PASSWORD, 1).await.unwrap();
    world.at(START + HOUR);
    let second = world.refresh(&first).await.unwrap();
    let session = world.core.session(second.access.expose()).await.unwrap().1;
    assert_eq!((session.created_at, session.access_issued_at), (Timestamp(START), Timestamp(START + HOUR)));
    fails!(world.refresh_by(&first, false).await, RefreshError::Unknown);
    world.at(START + 48 * HOUR);
    fails!(world.refresh(&first).await, RefreshError::Unknown);
    let third = world.refresh(&second).await.unwrap();
    world.at(START + 49 * HOUR - 1);
    fails!(world.refresh_by(&second, false).await, RefreshError::Unknown);
    world.core.session(third.access.expose()).await.unwrap();
    fails!(world.refresh(&second).await, RefreshError::Reused);
    fails!(world.core.session(third.access.expose()).await, TokenError::Unknown);
    world.close().await;
}

#[tokio::test]
async fn codes_prove_an_address_once_and_in_time() {
    let world = World::new().await;
    let check = async |code: &str, from: u8| world.core.check_code(Purpose::Reset, &email(EMAIL), code, &origin(from)).await;
    fails!(world.send_code(Purpose::Reset, "nobody@example.com").await, SendError::AccountUnknown);
    fails!(world.send_code(Purpose::Register, EMAIL).await, SendError::Registered);
    let first = world.send_code(Purpose::Reset, EMAIL).await.unwrap();
    let second = world.send_code(Purpose::Reset, EMAIL).await.unwrap();
    fails!(world.send_code(Purpose::Reset, EMAIL).await, SendError::TooOften { .. });
    if first != second {
        fails!(check(&first, 1).await, CodeError::Wrong);
    }
    for _ in 0..10 {
        check(&second, 1).await.unwrap();
    }
    let elsewhere = world.core.check_code(Purpose::Close, &email(EMAIL), &second, &origin(1)).await;
    fails!(elsewhere, CodeError::Wrong);
    world.at(START + 10 * 60 * SECOND);
    fails!(check(&second, 1).await, CodeError::Expired);
    // Five tries, and it is of no use even to whoever knows it.
    world.at(START + 3 * HOUR);
    let third = world.send_code(Purpose::Reset, EMAIL).await.unwrap();
    let wrong = if third == "000000" { "000001" } else { "000000" };
    for from in 31..=35 {
        fails!(check(wrong, from).await, CodeError::Wrong);
    }
    fails!(check(&third, 1).await, CodeError::Wrong);
    world.at(START + 20 * HOUR);
    let fourth = world.send_code(Purpose::Reset, EMAIL).await.unwrap();
    fails!(world.reset(ResetProof::Code(&fourth), "12345678").await, ResetError::PasswordCommon);
    world.reset(ResetProof::Code(&fourth), "another horse").await.unwrap();
    fails!(world.reset(ResetProof::Code(&fourth), "another horse").await, ResetError::Code(CodeError::Used));
    fails!(world.log_in(EMAIL, PASSWORD, 1).await, LoginError::PasswordWrong);
    world.log_in(EMAIL, "another horse", 1).await.unwrap();
    let by_code = world.send_code(Purpose::LogIn, EMAIL).await.unwrap();
    let login = async |code: &str| {
        let credential = Credential::Code(code.to_owned());
        world.log_in_as(Login { credential, ..login(EMAIL, PASSWORD, world.caller().await, 1) }).await
    };
    fails!(login(if by_code == "000000" { "000001" } else { "000000" }).await, LoginError::CodeWrong(CodeError::Wrong));
    login(&by_code).await.unwrap();
    fails!(login(&by_code).await, LoginError::CodeWrong(CodeError::Used));
    world.close().await;
}

#[tokio::test]
async fn whoever_reads_the_mail_is_at_home() {
    let world = World::new().await;
    let check = async |code: &str, from: u8| world.core.check_code(Purpose::Reset, &email(EMAIL), code, &origin(from)).await;
    let code = world.send_code(Purpose::Reset, EMAIL).await.unwrap();
    check(&code, 50).await.unwrap();
    world.at(START + 10 * 60 * SECOND);
    fails!(check(&code, 51).await, CodeError::Expired);
    for from in 11..=15 {
        fails!(world.log_in(EMAIL, WRONG, from).await, LoginError::PasswordWrong);
    }
    assert!(wait(world.log_in(EMAIL, PASSWORD, 51).await) > Duration::ZERO, "an old code lets nobody in");
    world.log_in(EMAIL, PASSWORD, 50).await.unwrap();
    world.close().await;
}

#[tokio::test]
async fn a_new_password_needs_the_old_one() {
    let world = World::new().await;
    let (here, old) = (world.log_in(EMAIL, PASSWORD, 1).await.unwrap(), || password(PASSWORD).into());
    let at = here.access.expose();
    let change = async |old: account::Candidate, new: &str, from: u8| {
        world.core.change_password(at, &old, password(new).digest(), &origin(from)).await
    };
    fails!(change(old(), "12345678", 1).await, ChangeError::PasswordCommon);
    for from in 1..=5 {
        fails!(change(password(WRONG).into(), "another horse", from).await, ChangeError::PasswordWrong);
    }
    fails!(change(old(), "another horse", 6).await, ChangeError::Guess(GuessError::TooMany { .. }));
    world.at(START + 30 * SECOND);
    change(old(), "another horse", 1).await.unwrap();
    world.core.session(at).await.unwrap();
    fails!(world.log_in(EMAIL, PASSWORD, 2).await, LoginError::PasswordWrong);
    // Who is logged in has a lane of their own, whatever strangers do, and wherever that is.
    for from in 11..=15 {
        drop(world.log_in(EMAIL, WRONG, from).await);
    }
    assert!(wait(world.log_in(EMAIL, "another horse", 16).await) > Duration::ZERO);
    let (another, third) = (password("another horse").into(), password("a third horse").digest());
    world.core.change_password(at, &another, third, &origin(17)).await.unwrap();
    let again = world.core.change_password("nothing", &old(), password(PASSWORD).digest(), &origin(1)).await;
    fails!(again, ChangeError::Token(TokenError::Unknown));
    world.close().await;
}

#[tokio::test]
async fn whoever_has_a_new_password_is_told_within_three_days() {
    let world = World::new().await;
    let told = async || {
        let waiting = world.core.messages(Page { after: None, limit: 100 }).await.unwrap();
        let told = waiting.into_iter().map(|(queued, message)| (message.unwrap(), queued.expires_at.0));
        told.map(|(message, until)| match message.notice {
            Notice::PasswordChanged { at } => (message.to, at.0, until),
            other => panic!("{other:?}"),
        })
        .collect::<Vec<_>>()
    };
    let tokens = world.log_in(EMAIL, PASSWORD, 1).await.unwrap();
    assert_eq!(told().await, []);
    let (old, new) = (password(PASSWORD).into(), password("another horse").digest());
    world.core.change_password(tokens.access.expose(), &old, new, &origin(1)).await.unwrap();
    assert_eq!(told().await, [(email(EMAIL), START, START + 72 * HOUR)]);
    world.at(START + HOUR);
    let code = world.send_code(Purpose::Reset, EMAIL).await.unwrap();
    world.reset(ResetProof::Code(&code), "a third horse").await.unwrap();
    assert_eq!(told().await, [(email(EMAIL), START + HOUR, START + 73 * HOUR)], "the newer one takes its place");
    world.close().await;
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let world = World::new().await;
    world.make_application("another").await;
    let another = async || Caller::Application(world.authenticated("another").await.unwrap());
    let log_in = async |text: &str| {
        let there = world.log_in_as(login(EMAIL, text, another().await, 1)).await.unwrap();
        (world.log_in(EMAIL, text, 1).await.unwrap(), there)
    };
    let is_good = async |tokens: &Tokens| world.core.session(tokens.access.expose()).await.is_ok();
    let (here, there) = log_in(PASSWORD).await;
    assert!(is_good(&here).await && is_good(&there).await, "one for each application");
    let (old, new) = (password(PASSWORD).into(), password("another horse").digest());
    world.core.change_password(here.access.expose(), &old, new, &origin(1)).await.unwrap();
    assert!(is_good(&here).await && !is_good(&there).await, "whoever changes it stays");
    let (here, there) = log_in("another horse").await;
    let code = world.send_code(Purpose::Reset, EMAIL).await.unwrap();
    world.reset(ResetProof::Code(&code), "a third horse").await.unwrap();
    assert!(!is_good(&here).await && !is_good(&there).await);

    let (here, there) = log_in("a third horse").await;
    let code = world.send_code(Purpose::Reset, EMAIL).await.unwrap();
    let (proof, password) = (ResetProof::Code(&code), password("a fourth horse").digest());
    let reset = Reset { address: email(EMAIL), proof, password, region: None, origin: &origin(1) };
    let opening = Opening { audience: another().await.audience(), terms: TERMS, client: client(1) };
    let begun = world.core.reset_password_and_log_in(&reset, &opening).await.unwrap();
    assert!(!is_good(&here).await && !is_good(&there).await && is_good(&begun.tokens).await);
    world.close().await;
}

#[tokio::test]
async fn details_can_be_set() {
    let world = World::new().await;
    let number = world.core.find_account(EMAIL).await.unwrap().number;
    let details = Details { language: Some("zh".into()), ..Details::default() };
    assert!(world.core.set_details(number, &details).await.unwrap());
    assert_eq!(world.core.find_account(EMAIL).await.unwrap().details.language.as_deref(), Some("zh"));
    assert!(!world.core.set_details(account::AccountNumber(number.0 + 1), &details).await.unwrap(), "nobody's");
    world.close().await;
}

#[tokio::test]
async fn closing_an_account_needs_a_code() {
    let world = World::new().await;
    let tokens = world.log_in(EMAIL, PASSWORD, 1).await.unwrap();
    let close = async |code: &str| world.core.close_account(tokens.access.expose(), code, &origin(1)).await;
    let code = world.send_code(Purpose::Close, EMAIL).await.unwrap();
    let wrong = if code == "000000" { "000001" } else { "000000" };
    fails!(close(wrong).await, CloseError::Code(CodeError::Wrong));
    world.at(START + 10 * 60 * SECOND);
    // As many tries as are left.
    for _ in 0..4 {
        fails!(close(&code).await, CloseError::Code(CodeError::Expired));
    }
    // With the one at first, five wrong ones.
    for _ in 0..4 {
        fails!(close(wrong).await, CloseError::Code(CodeError::Wrong));
    }
    fails!(close(wrong).await, CloseError::Code(CodeError::Guess(GuessError::TooMany { .. })));
    world.at(START + 11 * 60 * SECOND);
    let code = world.send_code(Purpose::Close, EMAIL).await.unwrap();
    close(&code).await.unwrap();
    fails!(close(&code).await, CloseError::Token(TokenError::Unknown));
    fails!(world.log_in(EMAIL, PASSWORD, 1).await, LoginError::AccountUnknown);
    world.close().await;
}

#[tokio::test]
async fn registering() {
    let world = World::new().await;
    let code = world.send_code(Purpose::Register, "berta@example.com").await.unwrap();
    let by_code = async |name: Option<&str>, to: &str| world.register(name, to, RegistrationProof::Code(&code), 1).await;
    fails!(by_code(None, EMAIL).await, RegisterError::Registered);
    fails!(by_code(None, "carla@example.com").await, RegisterError::Code(CodeError::Wrong));
    by_code(Some("berta"), "berta@example.com").await.unwrap();
    fails!(by_code(None, "berta@example.com").await, RegisterError::Registered);
    world.log_in("berta@example.com", PASSWORD, 1).await.unwrap();
    fails!(world.register_by_link("berta", "carla@example.com", 1).await, RegisterError::UserNameTaken);

    world.register_by_link("carla", "carla@example.com", 1).await.unwrap();
    let link = world.mailed();
    fails!(world.log_in("carla@example.com", PASSWORD, 1).await, LoginError::NotActivated);
    fails!(world.register_by_link("carla", "carla@example.com", 1).await, RegisterError::Pending);
    let carla: Email = "carla@example.com".parse().unwrap();
    let activate = async |token: &str| world.core.activate(&carla, token, &origin(1)).await;
    fails!(activate("nosuchlink").await, LinkError::Unknown);
    fails!(world.core.activate(&EMAIL.parse().unwrap(), &link, &origin(1)).await, LinkError::Unknown);
    assert!(matches!(activate(&link).await.unwrap(), Activated::Now(_)));
    assert!(matches!(activate(&link).await.unwrap(), Activated::Before(_)));
    fails!(world.core.open_link(LinkPurpose::Activate, &carla, &link, &origin(1)).await.unwrap().1, LinkError::Used);
    world.log_in("carla@example.com", PASSWORD, 1).await.unwrap();

    world.register_by_link("dora", "dora@example.com", 1).await.unwrap();
    let late = world.mailed();
    world.at(START + 10 * 60 * SECOND);
    fails!(world.core.activate(&"dora@example.com".parse().unwrap(), &late, &origin(1)).await, LinkError::Expired);
    fails!(world.log_in("dora@example.com", PASSWORD, 1).await, LoginError::ActivationLapsed);
    world.register_by_link("dora", "dora@example.com", 1).await.unwrap();
    assert!(!world.core.is_registered(&email("dora@example.com")).await.unwrap());
    assert!(world.core.is_registered(&email(EMAIL)).await.unwrap());
    world.close().await;
}

#[tokio::test]
async fn registering_begins_a_session() {
    let world = World::new().await;
    let code = world.send_code(Purpose::Register, "berta@example.com").await.unwrap();
    let registration = Registration {
        region: "eu".parse().unwrap(),
        user_name: None,
        address: email("berta@example.com"),
        password: password(PASSWORD).digest(),
        details: Details::default(),
        proof: RegistrationProof::Code(&code),
        origin: &origin(40),
    };
    let audience = world.authenticated(APP).await.unwrap().audience();
    let opening = Opening { audience, terms: TERMS, client: client(40) };
    let logged_in = world.core.register_and_log_in(&registration, &opening).await.unwrap();
    let (account, session) = world.core.session(logged_in.tokens.access.expose()).await.unwrap();
    assert_eq!((account.number, session.account), (logged_in.account.number, logged_in.session.account));
    // Whoever registered is known there: strangers do not keep them out.
    for from in 1..=5 {
        fails!(world.log_in("berta@example.com", WRONG, from).await, LoginError::PasswordWrong);
    }
    assert!(wait(world.log_in("berta@example.com", PASSWORD, 6).await) > Duration::ZERO);
    world.log_in("berta@example.com", PASSWORD, 40).await.unwrap();
    world.close().await;
}

#[tokio::test]
async fn links_set_a_new_password_once() {
    let world = World::new().await;
    let anna: Email = EMAIL.parse().unwrap();
    let send = async |to: &str| world.core.send_reset_link(&to.parse().unwrap(), None, &form, SENDING).await;
    fails!(send("nobody@example.com").await, SendError::AccountUnknown);
    send(EMAIL).await.unwrap();
    let link = world.mailed();
    fails!(world.core.activate(&anna, &link, &origin(1)).await, LinkError::Unknown);
    fails!(world.reset(ResetProof::Link("nosuchlink"), "another horse").await, ResetError::Link(LinkError::Unknown));
    let opened: (_, Result<Link, _>) = world.core.open_link(LinkPurpose::Reset, &anna, &link, &origin(1)).await.unwrap();
    assert!(opened.1.is_ok());
    world.reset(ResetProof::Link(&link), "another horse").await.unwrap();
    fails!(world.reset(ResetProof::Link(&link), "another horse").await, ResetError::Link(LinkError::Used));
    world.log_in(EMAIL, "another horse", 1).await.unwrap();
    world.at(START + 2 * 60 * SECOND);
    send(EMAIL).await.unwrap();
    let link = world.mailed();
    world.at(START + 12 * 60 * SECOND);
    fails!(world.reset(ResetProof::Link(&link), PASSWORD).await, ResetError::Link(LinkError::Expired));

    let account = world.core.find_account(EMAIL).await.unwrap().number;
    world.core.enable_account(account, false).await.unwrap();
    fails!(send(EMAIL).await, SendError::AccountDisabled);
    fails!(world.reset(ResetProof::Link(&link), PASSWORD).await, ResetError::AccountDisabled);
    world.close().await;
}

#[tokio::test]
async fn activation_links_can_be_mailed_again() {
    let world = World::new().await;
    let carla: Email = "carla@example.com".parse().unwrap();
    let resend = async |to: &Email| {
        let account = world.core.find_account(to.as_str()).await.unwrap();
        world.core.resend_activation(&account, to, None, &form, SENDING).await.map(|()| world.mailed())
    };
    let open =
        async |link: &str| world.core.open_link(LinkPurpose::Activate, &carla, link, &origin(1)).await.map(|(_, link)| link);
    fails!(resend(&EMAIL.parse().unwrap()).await, SendError::AlreadyActive);
    world.register_by_link("carla", carla.as_str(), 1).await.unwrap();
    let first = world.mailed();
    world.at(START + 4 * 60 * SECOND);
    let second = resend(&carla).await.unwrap();
    fails!(open(&first).await, LinkError::Unknown);
    // It works as long as the account can be activated, and no longer.
    world.at(START + 10 * 60 * SECOND - 1);
    open(&second).await.unwrap().unwrap();
    world.at(START + 10 * 60 * SECOND);
    fails!(open(&second).await.unwrap(), LinkError::Expired);
    fails!(resend(&carla).await, SendError::ActivationLapsed);
    world.close().await;
}

#[tokio::test]
async fn setting_a_new_password_activates() {
    let world = World::new().await;
    world.register_by_link("berta", "berta@example.com", 1).await.unwrap();
    fails!(world.log_in("berta", PASSWORD, 1).await, LoginError::NotActivated);
    let code = world.send_code(Purpose::Reset, "berta@example.com").await.unwrap();
    world.reset_of("berta@example.com", ResetProof::Code(&code), "another horse").await.unwrap();
    world.log_in("berta", "another horse", 1).await.unwrap();
    world.close().await;
}

#[tokio::test]
async fn registrations_that_prove_nothing_are_counted_by_source() {
    let world = World::new().await;
    let register = async |nth: u32, from: u8| {
        let name = format!("newcomer{nth}");
        world.register_by_link(&name, &format!("{name}@example.com"), from).await
    };
    for nth in 0..REGISTRATIONS {
        register(nth, 1).await.unwrap();
    }
    fails!(register(REGISTRATIONS, 1).await, RegisterError::TooMany { .. });
    register(REGISTRATIONS, 2).await.unwrap();
    let code = world.send_code(Purpose::Register, "berta@example.com").await.unwrap();
    world.register(None, "berta@example.com", RegistrationProof::Code(&code), 1).await.unwrap();
    world.close().await;
}

/// Whoever knows no account is held back as well, by whatever they try.
#[tokio::test]
async fn what_is_tried_at_nobody_counts() {
    let world = World::new().await;
    let reset = async |who: &str| world.reset_of(who, ResetProof::Code("000000"), PASSWORD).await;
    for _ in 0..3 {
        fails!(world.log_in_by_code("a@example.com").await, LoginError::AccountUnknown);
        fails!(reset("b@example.com").await, ResetError::AccountUnknown);
    }
    fails!(reset("c@example.com").await, ResetError::AccountUnknown);
    fails!(world.log_in_by_code("d@example.com").await, LoginError::Guess(GuessError::TooMany { .. }));
    fails!(reset("e@example.com").await, ResetError::Code(CodeError::Guess(GuessError::TooMany { .. })));
    let by_link = async || world.reset_of("f@example.com", ResetProof::Link("nosuchlink"), PASSWORD).await;
    for _ in 0..4 * RULES.source_failures {
        fails!(by_link().await, ResetError::AccountUnknown);
    }
    fails!(by_link().await, ResetError::Link(LinkError::Guess(GuessError::TooMany { .. })));
    world.close().await;
}

/// So nobody need be counted for it.
#[tokio::test]
async fn a_common_password_is_refused_to_whoever_asks() {
    let world = World::new().await;
    for who in [EMAIL, "nobody@example.com"] {
        fails!(world.reset_of(who, ResetProof::Code("000000"), "12345678").await, ResetError::PasswordCommon);
        fails!(world.reset_of(who, ResetProof::Link("nosuchlink"), "12345678").await, ResetError::PasswordCommon);
    }
    world.close().await;
}

/// Whether there is an account is told or not, also to whoever sends the same once more.
#[tokio::test]
async fn who_exists_is_told_or_not() {
    let world = World::new().await;
    fails!(world.log_in_by_code("a@example.com").await, LoginError::AccountUnknown);
    for _ in 0..2 {
        fails!(world.log_in_once("a@example.com").await, LoginError::AccountUnknown);
    }
    fails!(world.log_in_once(EMAIL).await, LoginError::PasswordWrong);
    fails!(world.log_in_once(EMAIL).await, LoginError::Replayed);
    world.close().await;

    let world = World::with(|store| ByHand::with_uniform_errors(store, RULES)).await;
    fails!(world.log_in_by_code("a@example.com").await, LoginError::CodeHidden);
    fails!(world.log_in_once("a@example.com").await, LoginError::AccountHidden);
    fails!(world.log_in_once("a@example.com").await, LoginError::Replayed);
    world.close().await;
}

/// Two regions with a store each, and a directory that knows which of them has whom.
#[tokio::test]
async fn what_another_region_has_is_taken() {
    let regions = Regions::new();
    let (here, there) = (World::in_region("eu", &regions).await, World::in_region("us", &regions).await);
    here.register_by_link("anna", EMAIL, 1).await.unwrap();
    fails!(there.send_code(Purpose::Register, EMAIL).await, SendError::Registered);
    fails!(there.register_by_link("another", EMAIL, 1).await, RegisterError::Registered);
    fails!(there.register_by_link("anna", "another@example.com", 1).await, RegisterError::UserNameTaken);
    let asking = Login { region: Some(there.region.clone()), ..login(EMAIL, PASSWORD, there.caller().await, 1) };
    fails!(there.log_in_as(asking).await, LoginError::OtherRegion(_));
    // Whoever was not admitted has taken nothing.
    for _ in 0..2 {
        there.send_code(Purpose::Register, "berta@example.com").await.unwrap();
    }
    fails!(there.register_by_link("berta", "berta@example.com", 1).await, RegisterError::TooOften { .. });
    here.register_by_link("berta", "berta@example.com", 1).await.unwrap();
    here.close().await;
    there.close().await;
}

#[tokio::test]
async fn accounts_are_found_by_number_and_name() {
    let world = World::new().await;
    let number = world.core.find_account(EMAIL).await.unwrap().number;
    let (anna, nobody): (Identifier, Identifier) = (EMAIL.parse().unwrap(), "nobody@example.com".parse().unwrap());
    assert_eq!(world.core.account_named(&anna).await.unwrap().map(|account| account.number), Some(number));
    assert!(world.core.account_named(&nobody).await.unwrap().is_none());
    assert_eq!(world.core.account(number).await.unwrap().and_then(|account| account.email), Some(EMAIL.parse().unwrap()));
    assert!(world.core.account(account::AccountNumber(number.0 + 1)).await.unwrap().is_none());
    assert!(world.core.knows(&anna).await.unwrap());
    assert!(!world.core.knows(&nobody).await.unwrap());
    world.close().await;
}

#[tokio::test]
async fn an_application_has_the_profile_that_it_was_given() {
    let world = World::new().await;
    world.make_application_of("strict", Profile::Strict).await;
    assert_eq!(world.authenticated("strict").await.unwrap().profile(), Profile::Strict);
    assert_eq!(world.authenticated(APP).await.unwrap().profile(), Profile::Compat);
    world.close().await;
}
