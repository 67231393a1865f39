//! How an account comes to be at its owner's wish.

use std::time::Duration;

use crate::account::{Account, AccountNumber, Activation, ApiKey, Details, ObjectId, Standing};
use crate::code::{CodeError, ProvenCode, Purpose, Sending};
use crate::core::Core;
use crate::hasher::HashError;
use crate::identifier::{Identifier, UserName};
use crate::link::{LinkForm, LinkPurpose};
use crate::login::LoggedIn;
use crate::message::{Address, DeliveryError};
use crate::origin::Origin;
use crate::password::{PasswordDigest, Verifier};
use crate::region::Region;
use crate::session::{Opening, Session};
use crate::store::{Created, Creation, StoreError};
use crate::text::Malformed;
use crate::throttle::{GuessError, Permit};
use crate::time::Timestamp;

/// The number of an account that has none yet: the store decides it.
const NOT_YET: AccountNumber = AccountNumber(0);

/// Somebody wants an account.
pub struct Registration<'a> {
    /// Where it is registered.
    pub region: Region,
    /// Its user name.
    pub user_name: Option<UserName>,
    /// Its address.
    pub address: Address,
    /// Its password.
    pub password: PasswordDigest,
    /// What it holds about its person.
    pub details: Details,
    /// How the address is proven.
    pub proof: RegistrationProof<'a>,
    /// Where the request comes from.
    pub origin: &'a Origin,
}

/// How whoever registers proves that the address is theirs.
pub enum RegistrationProof<'a> {
    /// By a code that was sent there before.
    Code(&'a str),
    /// By a link that is mailed there now; until it is opened, the account is pending.
    Link {
        /// How the link is written.
        form: LinkForm<'a>,
        /// What the dialect promises.
        sending: Sending,
    },
}

/// An account that has come to be.
#[derive(Debug)]
pub struct Registered {
    /// The account.
    pub account: Account,
    /// Whether its activation link could be mailed at once; if not, it is tried again.
    pub mailed: Result<(), DeliveryError>,
}

/// Why no account has come to be. The words are for the log.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The user name cannot be given to an account.
    #[error("the user name {0}")]
    UserNameMalformed(Malformed),
    /// The address cannot be given to an account.
    #[error("the address {0}")]
    AddressMalformed(Malformed),
    /// The user name is another account's.
    #[error("the user name is taken")]
    UserNameTaken,
    /// The address is another account's.
    #[error("the address is registered already, and activated")]
    Registered,
    /// The address is that of an account which waits to be activated.
    #[error("the address is registered already, and not activated")]
    Pending,
    /// Everybody tries this password first.
    #[error("the password is too common")]
    PasswordCommon,
    /// The code proves nothing.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// Too many messages were sent to the address.
    #[error("too many messages to this address")]
    TooOften {
        /// When to try again.
        retry_after: Duration,
    },
    /// Too many have registered from there without having proven anything.
    #[error("too many registrations from this address")]
    TooMany {
        /// When to try again.
        retry_after: Duration,
    },
    /// The operator has disabled the application meanwhile.
    #[error("the application is disabled")]
    ApplicationDisabled,
    /// Hashing is overloaded or broken.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<GuessError> for RegisterError {
    fn from(error: GuessError) -> Self {
        match error {
            GuessError::TooMany { retry_after } => Self::TooMany { retry_after },
            GuessError::Hash(error) => Self::Hash(error),
            GuessError::Store(error) => Self::Store(error),
        }
    }
}

impl Core {
    /// Registers an account. What proves the address by a code takes the place of an account that was never activated; anything
    /// else only that of one which was not activated in time.
    ///
    /// # Errors
    /// [`RegisterError`]; then there is no account, and the code can still be used.
    pub async fn register(&self, registration: &Registration<'_>) -> Result<Registered, RegisterError> {
        self.admit_newcomer(registration, None).await
    }

    /// Registers an account, likewise, and begins its first session.
    ///
    /// # Errors
    /// [`RegisterError`], as [`Core::register`].
    pub async fn register_and_log_in(
        &self,
        registration: &Registration<'_>,
        opening: &Opening,
    ) -> Result<LoggedIn, RegisterError> {
        let (mut session, tokens) = self.begin_session(opening, NOT_YET);
        let account = self.admit_newcomer(registration, Some(&session)).await?.account;
        session.account = account.number;
        // The account is there, whether or not this can be noted.
        drop(self.know(&account, registration.origin).await);
        Ok(LoggedIn { account, session, tokens, previous_ended_at: None })
    }

    async fn admit_newcomer(
        &self,
        registration: &Registration<'_>,
        session: Option<&Session>,
    ) -> Result<Registered, RegisterError> {
        self.can_hash(registration.origin)?;
        self.check_names(registration).await?;
        if registration.password.is_common() {
            return Err(RegisterError::PasswordCommon);
        }
        let newcomer = self.count_newcomer(registration).await?;
        let code = match &registration.proof {
            RegistrationProof::Code(code) => {
                Some(self.check_code(Purpose::Register, &registration.address, code, registration.origin).await?)
            }
            RegistrationProof::Link { .. } => None,
        };
        let verifier = self.hash_newcomer(registration, newcomer).await?;
        let now = self.clock.now();
        let (email, phone) = match &registration.address {
            Address::Email(email) => (Some(email.clone()), None),
            Address::Phone(phone) => (None, Some(phone.clone())),
        };
        let activation = match &registration.proof {
            RegistrationProof::Code(_) => Activation::Active,
            RegistrationProof::Link { sending, .. } => Activation::Pending { deadline: now.plus(sending.lifetime) },
        };
        let account = Account {
            number: NOT_YET,
            id: ObjectId::draw(self.rng()),
            apikey: ApiKey::draw(self.rng()),
            region: registration.region.clone(),
            user_name: registration.user_name.clone(),
            email,
            phone,
            verifier,
            activation,
            enabled: true,
            details: registration.details.clone(),
            registered_at: now,
            last_login_at: session.map(|_| now),
            revision: 0,
        };
        self.commit_registration(registration, account, code.as_ref(), session, now).await
    }

    /// Counts whoever proves nothing by the source, for good: what is done for them is what a flood is after.
    async fn count_newcomer(&self, registration: &Registration<'_>) -> Result<Option<Permit>, RegisterError> {
        match registration.proof {
            RegistrationProof::Code(_) => Ok(None),
            RegistrationProof::Link { .. } => Ok(Some(self.permit_newcomer(registration.origin).await?)),
        }
    }

    /// Hashes the password of whoever registers. The next newcomer's turn is then, not when the mail is sent.
    async fn hash_newcomer(
        &self,
        registration: &Registration<'_>,
        mut newcomer: Option<Permit>,
    ) -> Result<Verifier, RegisterError> {
        let hashed = self.hash_for(registration.origin, registration.password.clone(), newcomer.as_mut()).await;
        if let (Err(_), Some(permit)) = (&hashed, &newcomer) {
            self.was_right(permit, false).await?;
        }
        Ok(hashed?)
    }

    async fn commit_registration(
        &self,
        registration: &Registration<'_>,
        mut account: Account,
        code: Option<&ProvenCode>,
        session: Option<&Session>,
        now: Timestamp,
    ) -> Result<Registered, RegisterError> {
        let mail = match (&registration.proof, &account.email) {
            (RegistrationProof::Link { form, sending }, Some(email)) => {
                let (link, message) = self.draw_link(&account, email, LinkPurpose::Activate, None, *form, sending.lifetime);
                let queued = self.queue(&message, sending.lifetime, true);
                Some((link, message, queued, sending.limits))
            }
            _ => None,
        };
        let creation = Creation {
            account: &account,
            // A code proves that the address is not the other's: whoever never activated an account has no claim to it.
            replaceable_before: if code.is_some() { Timestamp(i64::MAX) } else { now },
            spend: code,
            session,
            link: mail.as_ref().map(|(link, ..)| link),
            message: mail.as_ref().map(|(_, _, queued, _)| queued),
            limits: mail.as_ref().map_or(&[], |(.., limits)| limits),
            now,
        };
        if !self.claim(&account, now).await? {
            return Err(self.who_is_there(registration).await?);
        }
        let created = self.store.create_account(creation).await?;
        if !matches!(created, Created::Account(_)) {
            self.unclaim(&account, now).await;
        }
        account.number = match created {
            Created::Account(number) => number,
            Created::Taken => return Err(self.who_is_there(registration).await?),
            Created::Spent => return Err(CodeError::Used.into()),
            Created::TooOften { retry_after } => return Err(RegisterError::TooOften { retry_after }),
            Created::Closed => return Err(RegisterError::ApplicationDisabled),
        };
        let mailed = match &mail {
            Some((_, message, queued, _)) => self.attempt(queued, message).await,
            None => Ok(()),
        };
        Ok(Registered { account, mailed })
    }

    /// The address first: whoever registers the same again is to hear that it is theirs already.
    async fn check_names(&self, registration: &Registration<'_>) -> Result<(), RegisterError> {
        let address = registration.address.identifier();
        let user_name = registration.user_name.clone().map(Identifier::UserName);
        address.registrable().map_err(RegisterError::AddressMalformed)?;
        user_name.as_ref().map_or(Ok(()), Identifier::registrable).map_err(RegisterError::UserNameMalformed)?;
        match (self.holder(&address).await?, &registration.proof) {
            (Some(Standing::Active), _) => return Err(RegisterError::Registered),
            (Some(_), RegistrationProof::Link { .. }) => return Err(RegisterError::Pending),
            _ => {}
        }
        match user_name {
            Some(user_name) if self.holder(&user_name).await?.is_some() => Err(RegisterError::UserNameTaken),
            _ => Ok(()),
        }
    }

    /// Where the activation of the account that has this identifier stands; `None` when nobody has it, or may keep it. What another
    /// region has is as good as active.
    async fn holder(&self, identifier: &Identifier) -> Result<Option<Standing>, StoreError> {
        let standing = match self.store.account_named(identifier).await? {
            Some(account) => Some(account.activation.standing(self.clock.now())),
            None => self.elsewhere(identifier).await?.map(|_| Standing::Active),
        };
        Ok(standing.filter(|standing| *standing != Standing::Lapsed))
    }

    /// Somebody else was faster.
    async fn who_is_there(&self, registration: &Registration<'_>) -> Result<RegisterError, StoreError> {
        match self.check_names(registration).await {
            Err(RegisterError::Store(error)) => Err(error),
            Err(error) => Ok(error),
            Ok(()) => Ok(RegisterError::Registered),
        }
    }

    /// Whether a person could register with this address today.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_registered(&self, address: &Address) -> Result<bool, StoreError> {
        Ok(self.holder(&address.identifier()).await? == Some(Standing::Active))
    }
}
