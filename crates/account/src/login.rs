//! The login: decided here, for every dialect, and nowhere else.

use std::time::Duration;

use crate::account::{Account, AccountNumber, ObjectId, Standing};
use crate::audit::Deed;
use crate::binding;
use crate::code::{CodeError, ProvenCode, Purpose};
use crate::core::{Authenticated, Core};
use crate::device::{Device, DeviceKind, Gateway, GatewayKind, Serial};
use crate::directory::Whereabouts;
use crate::hasher::{HashError, Verdict};
use crate::identifier::Identifier;
use crate::message::Address;
use crate::origin::Origin;
use crate::password::{Candidate, Verifier};
use crate::region::Region;
use crate::session::{Audience, Client, Opening, Session, Terms, Tokens};
use crate::share::Entered;
use crate::store::{LoginCommit, LoginDone, LoginOutcome, StoreError};
use crate::throttle::{GuessError, Permit, Subject};
use crate::time::Timestamp;
use crate::token::Token;

/// How often a login is decided anew because its account changed meanwhile, before it is given up.
pub(crate) const ATTEMPTS: usize = 8;

/// Somebody wants to log in.
#[derive(Debug)]
pub struct Login {
    /// Who they say they are.
    pub identifier: Identifier,
    /// What they prove it with.
    pub credential: Credential,
    /// What they call from.
    pub caller: Caller,
    /// The region that was asked; `None` where the dialect knows no regions and every region served here is meant.
    pub region: Option<Region>,
    /// What the dialect promises about its sessions.
    pub terms: Terms,
    /// The program at the other end.
    pub client: Client,
    /// Where the request comes from.
    pub origin: Origin,
    /// A text that may reach the password check only once for this caller, and for how long it is remembered.
    pub nonce: Option<(String, Duration)>,
    /// What the audit trail calls it if it succeeds: dialect and call.
    pub what: String,
}

/// What somebody proves with who they are.
#[derive(Debug)]
pub enum Credential {
    /// The account's password.
    Password(Candidate),
    /// A code that was sent to the address they log in with.
    Code(String),
}

/// What somebody logs in from.
#[derive(Debug)]
pub enum Caller {
    /// An application that has signed the request.
    Application(Authenticated),
    /// A touch panel or phone whose account must have one gateway.
    Panel {
        /// Its serial number.
        serial: Serial,
        /// The gateway that it named.
        gateway: Option<Serial>,
    },
    /// A touch panel or phone whose account may have any number of gateways.
    Device {
        /// Its serial number.
        serial: Serial,
    },
}

impl Login {
    /// What it is to the audit trail if it succeeds.
    fn deed(&self, account: AccountNumber) -> Deed {
        Deed {
            what: self.what.clone(),
            outcome: LoggedIn::OUTCOME.to_owned(),
            refused: false,
            account: Some(account),
            identifier: Some(self.identifier.clone()),
            audience: Some(self.caller.audience()),
            origin: Some(self.origin.clone()),
        }
    }
}

impl Caller {
    /// Where the session will be valid.
    #[must_use]
    pub fn audience(&self) -> Audience {
        match self {
            Self::Application(application) => application.audience(),
            Self::Panel { serial, .. } | Self::Device { serial } => Audience::Device(serial.clone()),
        }
    }

    fn device(&self) -> Option<&Serial> {
        match self {
            Self::Application(_) => None,
            Self::Panel { serial, .. } | Self::Device { serial } => Some(serial),
        }
    }
}

/// A login that succeeded and is durable.
#[derive(Debug)]
pub struct LoggedIn {
    /// The account.
    pub account: Account,
    /// The session that has begun.
    pub session: Session,
    /// Its tokens.
    pub tokens: Tokens,
    /// When the account's previous session at this audience ended, if this login replaced one.
    pub previous_ended_at: Option<Timestamp>,
}

impl LoggedIn {
    /// How it ended, in the words of the log and the audit trail.
    pub const OUTCOME: &str = "logged in";
}

/// Why a login failed, in the order of the checks. The words are for the log.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// No touch panel or phone has this serial number.
    #[error("the device is not registered")]
    DeviceUnknown,
    /// A touch panel must name its gateway.
    #[error("a touch panel named no gateway")]
    GatewayMissing,
    /// No gateway has the serial number that was named.
    #[error("the gateway is not registered")]
    GatewayUnknown,
    /// The operator has disabled the application since it signed the request.
    #[error("the application is disabled")]
    ApplicationDisabled,
    /// No account has this identifier.
    #[error("there is no such account")]
    AccountUnknown,
    /// No account has this identifier, and nobody is to hear of it: the password is as if it were wrong.
    #[error("there is no such account")]
    AccountHidden,
    /// Likewise, as if the code were wrong.
    #[error("there is no such account")]
    CodeHidden,
    /// The account lives in another region.
    #[error("the account lives in region {0}")]
    OtherRegion(Region),
    /// The same nonce has reached the password check before.
    #[error("the request was sent before")]
    Replayed,
    /// It was not compared with anything.
    #[error(transparent)]
    Guess(#[from] GuessError),
    /// The password is wrong.
    #[error("wrong password")]
    PasswordWrong,
    /// The code proves nothing.
    #[error("{0}")]
    CodeWrong(CodeError),
    /// The operator has disabled the account.
    #[error("the account is disabled")]
    AccountDisabled,
    /// The account is not activated yet.
    #[error("the account is not activated")]
    NotActivated,
    /// The account was not activated in time.
    #[error("the account was not activated in time")]
    ActivationLapsed,
    /// The account has more gateways than this kind of login can tell apart.
    #[error("the account has several gateways")]
    SeveralGateways,
    /// The account has no gateway, and the named one is somebody else's.
    #[error("the gateway is bound to another account")]
    GatewayTaken,
    /// The account has no gateway, and none was named.
    #[error("the account has no gateway")]
    NoGateway,
    /// The device's app is older than the gateway allows.
    #[error("the app is too old for the gateway")]
    AppTooOld,
    /// Hashing is overloaded or broken.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<CodeError> for LoginError {
    fn from(error: CodeError) -> Self {
        match error {
            CodeError::Guess(error) => Self::Guess(error),
            CodeError::Store(error) => Self::Store(error),
            error => Self::CodeWrong(error),
        }
    }
}

/// A login that could never be committed because its account changed each time.
pub(crate) fn unsteady() -> StoreError {
    StoreError::Contended("the account never held still long enough".into())
}

/// What became of a proven login.
enum Concluded {
    /// It is true.
    LoggedIn(Box<LoggedIn>),
    /// What was proven is not what the account, as it is now, asks for.
    OutOfDate(Box<Account>),
}

/// What has been proven.
enum Proof {
    /// The password was right for this verifier.
    Password {
        verifier: Verifier,
        /// The verifier to put in its place, if it is outdated.
        renewed: Option<Verifier>,
        /// The guess that it was.
        permit: Permit,
    },
    /// The code was right.
    Code(ProvenCode),
}

/// What is to be proven, by whoever was let in for it.
enum Claim<'a> {
    Password(&'a Candidate, Entered),
    Code(&'a str),
}

impl Proof {
    /// Whether it is one for the account as it is now.
    fn holds_for(&self, account: &Account) -> bool {
        match self {
            Self::Password { verifier, .. } => verifier.phc() == account.verifier.phc(),
            Self::Code(_) => true,
        }
    }

    fn renewed(&self) -> Option<&Verifier> {
        match self {
            Self::Password { renewed, .. } => renewed.as_ref(),
            Self::Code(_) => None,
        }
    }

    fn spend(&self) -> Option<&ProvenCode> {
        match self {
            Self::Password { .. } => None,
            Self::Code(code) => Some(code),
        }
    }

    fn permit(&self) -> Option<&Permit> {
        match self {
            Self::Password { permit, .. } => Some(permit),
            // What was counted for it was taken back when it was right.
            Self::Code(_) => None,
        }
    }
}

impl Core {
    /// Decides a login and, where it succeeds, makes it durable: the session, the binding of a gateway, the renewal of an
    /// outdated verifier and the audit trail's entry are one transaction. A login that fails changes nothing.
    ///
    /// Whether the account exists or not, exactly one password is hashed before a refusal, unless it is refused cheaply before. A
    /// password that was right is hashed once more where its verifier is outdated, or was changed meanwhile.
    ///
    /// # Errors
    /// [`LoginError`], the first that applies.
    pub async fn login(&self, login: &Login) -> Result<LoggedIn, LoginError> {
        // Nothing is looked up for whoever cannot be served.
        let claim = match &login.credential {
            Credential::Password(candidate) => Claim::Password(candidate, self.enter(&login.origin)?),
            Credential::Code(code) => Claim::Code(code),
        };
        let device = self.admit(&login.caller).await?;
        let found = self.locate(login).await?;
        // Whoever hears that there is no such account asks elsewhere with the same bytes (`ewelink-v8` §5).
        if found.is_some() || self.settings.uniform_errors {
            self.refuse_replay(login).await?;
        }
        let Some(mut account) = found else { return self.refuse_unknown(login, &claim).await };
        for _ in 0..ATTEMPTS {
            let proof = self.check(&claim, login, &account).await?;
            let concluded = self.conclude(login, &claim, device.as_ref(), account, &proof).await;
            match (concluded, proof.permit()) {
                (Ok(Concluded::LoggedIn(logged_in)), _) => return Ok(*logged_in),
                (Ok(Concluded::OutOfDate(changed)), permit) => {
                    self.forgive(permit).await?;
                    account = *changed;
                }
                (Err(error), permit) => {
                    // It is refused for what it is, whether or not this can be noted.
                    drop(self.forgive(permit).await);
                    return Err(error);
                }
            }
        }
        Err(unsteady().into())
    }

    /// Makes a proven login true, on the account as it is then.
    async fn conclude(
        &self,
        login: &Login,
        claim: &Claim<'_>,
        device: Option<&Device>,
        mut account: Account,
        proof: &Proof,
    ) -> Result<Concluded, LoginError> {
        for _ in 0..ATTEMPTS {
            if !proof.holds_for(&account) {
                return Ok(Concluded::OutOfDate(Box::new(account)));
            }
            self.check_standing(&account)?;
            if let Some(logged_in) = self.commit(login, device, &account, proof).await? {
                return Ok(Concluded::LoggedIn(Box::new(logged_in)));
            }
            // What it was decided on has changed meanwhile: decide anew. The proof holds as long as the verifier does.
            self.check_caller(&login.caller).await?;
            account = self.locate(login).await?.ok_or_else(|| self.unknown(claim))?;
        }
        Err(unsteady().into())
    }

    async fn forgive(&self, permit: Option<&Permit>) -> Result<(), StoreError> {
        match permit {
            Some(permit) => self.was_right(permit, false).await,
            None => Ok(()),
        }
    }

    /// Checks what the login comes from, before anything about the account.
    async fn admit(&self, caller: &Caller) -> Result<Option<Device>, LoginError> {
        let (Caller::Panel { serial, .. } | Caller::Device { serial }) = caller else { return Ok(None) };
        let device = self.store.device(serial).await?.ok_or(LoginError::DeviceUnknown)?;
        let Caller::Panel { gateway, .. } = caller else { return Ok(Some(device)) };
        match gateway {
            None if device.kind == DeviceKind::Touch => Err(LoginError::GatewayMissing),
            None => Ok(Some(device)),
            Some(gateway) => match self.store.gateway(gateway).await? {
                Some(gateway) if gateway.kind == GatewayKind::Cube => Ok(Some(device)),
                _ => Err(LoginError::GatewayUnknown),
            },
        }
    }

    /// Checks that an application which has proven who it is may still call.
    async fn check_caller(&self, caller: &Caller) -> Result<(), LoginError> {
        let Caller::Application(application) = caller else { return Ok(()) };
        let now = self.store.application(&application.0.id).await?;
        if now.is_some_and(|application| application.enabled) { Ok(()) } else { Err(LoginError::ApplicationDisabled) }
    }

    async fn locate(&self, login: &Login) -> Result<Option<Account>, LoginError> {
        match self.whereabouts(&login.identifier, login.region.as_ref()).await? {
            Whereabouts::Here(account) => Ok(Some(*account)),
            Whereabouts::In(region) => Err(LoginError::OtherRegion(region)),
            Whereabouts::Nowhere => Ok(None),
        }
    }

    /// An unknown account costs what a wrong password or code costs, and counts like one.
    async fn refuse_unknown(&self, login: &Login, claim: &Claim<'_>) -> Result<LoggedIn, LoginError> {
        match (claim, Address::try_from(login.identifier.clone())) {
            (Claim::Password(candidate, entered), _) => {
                let guess = self.guess(Subject::Nobody(&login.identifier), &login.origin, login.caller.device());
                self.compare(guess, candidate, None, entered).await?;
            }
            (Claim::Code(code), Ok(address)) => {
                self.check_code_of_nobody(Purpose::LogIn, &address, code, &login.origin).await?;
            }
            (Claim::Code(_), Err(_)) => {}
        }
        Err(self.unknown(claim))
    }

    fn unknown(&self, claim: &Claim<'_>) -> LoginError {
        match claim {
            _ if !self.settings.uniform_errors => LoginError::AccountUnknown,
            Claim::Password(..) => LoginError::AccountHidden,
            Claim::Code(_) => LoginError::CodeHidden,
        }
    }

    async fn refuse_replay(&self, login: &Login) -> Result<(), LoginError> {
        let Some((nonce, keep)) = &login.nonce else { return Ok(()) };
        let new = self.store.remember_nonce(&login.caller.audience(), nonce, self.clock.now(), *keep).await?;
        if new { Ok(()) } else { Err(LoginError::Replayed) }
    }

    async fn check(&self, claim: &Claim<'_>, login: &Login, account: &Account) -> Result<Proof, LoginError> {
        match (claim, Address::try_from(login.identifier.clone())) {
            (Claim::Password(candidate, entered), _) => self.check_password(candidate, entered, account, login).await,
            (Claim::Code(code), Ok(address)) => {
                Ok(Proof::Code(self.check_code(Purpose::LogIn, &address, code, &login.origin).await?))
            }
            (Claim::Code(_), Err(_)) => Err(LoginError::CodeWrong(CodeError::Wrong)),
        }
    }

    async fn check_password(
        &self,
        candidate: &Candidate,
        entered: &Entered,
        account: &Account,
        login: &Login,
    ) -> Result<Proof, LoginError> {
        let verifier = account.verifier.clone();
        let guess = self.guess(Subject::Account(account), &login.origin, login.caller.device());
        let (verdict, mut permit) = self.compare(guess, candidate, Some(&verifier), entered).await?;
        let renewed = match verdict {
            Verdict::Wrong => return Err(LoginError::PasswordWrong),
            Verdict::Right => None,
            Verdict::RightButOutdated => {
                match self.hash_for(&login.origin, candidate.digest().clone(), Some(&mut permit)).await {
                    Ok(renewed) => Some(renewed),
                    // The password is right all the same, and the next login renews its verifier.
                    Err(HashError::Overloaded { .. }) => None,
                    Err(error) => {
                        self.was_right(&permit, false).await?;
                        return Err(error.into());
                    }
                }
            }
        };
        Ok(Proof::Password { verifier, renewed, permit })
    }

    /// Checks what only the owner may hear of.
    fn check_standing(&self, account: &Account) -> Result<(), LoginError> {
        if !account.enabled {
            return Err(LoginError::AccountDisabled);
        }
        match account.activation.standing(self.clock.now()) {
            Standing::Active => Ok(()),
            Standing::Pending => Err(LoginError::NotActivated),
            Standing::Lapsed => Err(LoginError::ActivationLapsed),
        }
    }

    /// Decides the binding and commits. `None` when the account or the gateway changed meanwhile: decide anew.
    async fn commit(
        &self,
        login: &Login,
        device: Option<&Device>,
        account: &Account,
        proof: &Proof,
    ) -> Result<Option<LoggedIn>, LoginError> {
        let bind = match (&login.caller, device) {
            (Caller::Panel { gateway, .. }, Some(device)) => self.bind_at_login(gateway.as_ref(), device, account).await?,
            _ => None,
        };
        let opening = Opening { audience: login.caller.audience(), terms: login.terms, client: login.client.clone() };
        let (session, tokens) = self.begin_session(&opening, account.number);
        let commit = LoginCommit {
            revision: account.revision,
            session,
            bind: bind.map(|gateway| gateway.serial),
            verifier: proof.renewed().cloned(),
            spend: proof.spend().cloned(),
            right: proof.permit().map(|permit| permit.right(true, self.settings.throttle, self.clock.now())),
            entry: self.entry_of(login.deed(account.number)),
        };
        match self.store.commit_login(commit).await? {
            LoginOutcome::Done(done) => {
                let LoginDone { session, previous_ended_at } = *done;
                Ok(Some(LoggedIn { account: account.clone(), session, tokens, previous_ended_at }))
            }
            LoginOutcome::Stale => Ok(None),
            LoginOutcome::Spent => Err(CodeError::Used.into()),
        }
    }

    async fn bind_at_login(
        &self,
        named: Option<&Serial>,
        device: &Device,
        account: &Account,
    ) -> Result<Option<Gateway>, LoginError> {
        let named = match named {
            Some(serial) => self.store.gateway(serial).await?,
            None => None,
        };
        let mut own = self.store.gateways_of(account.number).await?;
        // Hubs are gateways as well, but no login depends on one.
        own.retain(|gateway| gateway.kind == GatewayKind::Cube);
        let binding = binding::decide(account.number, named.as_ref(), &own)?;
        binding::check_version(device, binding.governing)?;
        Ok(binding.bind.then(|| binding.governing.clone()))
    }

    /// A new session and its tokens, not stored yet.
    pub(crate) fn begin_session(&self, opening: &Opening, account: AccountNumber) -> (Session, Tokens) {
        let now = self.clock.now();
        let Opening { audience, terms, client } = opening;
        let draw = || Token::draw(self.rng(), terms.token_length);
        let tokens = Tokens { access: draw(), refresh: draw() };
        let session = Session {
            id: ObjectId::draw(self.rng()),
            account,
            audience: audience.clone(),
            access_hash: tokens.access.hash(),
            access_issued_at: now,
            access_expires_at: now.plus(terms.access_lifetime),
            refresh_hash: tokens.refresh.hash(),
            refresh_expires_at: now.plus(terms.refresh_lifetime),
            created_at: now,
            client: client.clone(),
        };
        (session, tokens)
    }
}
