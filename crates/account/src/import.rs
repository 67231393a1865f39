//! Accounts from elsewhere, with whatever was kept of their passwords there.

use futures_util::future::try_join_all;
use secrecy::SecretString;

use crate::account::{Account, AccountNumber, Activation, ApiKey, Details, ObjectId, Standing};
use crate::core::Core;
use crate::hasher::HashError;
use crate::identifier::{Email, Identifier, Phone, UserName};
use crate::password::{Password, PasswordDigest, Verifier};
use crate::region::Region;
use crate::store::{Imported, StoreError};
use crate::text::Malformed;
use crate::time::Timestamp;

/// How many passwords of an import are hashed at the same time: few enough that people still get to log in.
const AT_A_TIME: usize = 4;

/// What was kept of a password elsewhere.
#[derive(Debug)]
pub enum KeptPassword {
    /// The password itself.
    Plain(Password),
    /// Its MD5, which is what verifiers are made of here.
    Digest(PasswordDigest),
    /// The SHA-256 of its MD5, in hex.
    Sha256(SecretString),
    /// A verifier that is strong enough to be taken over as it is.
    Verifier(Verifier),
}

/// An account from elsewhere.
#[derive(Debug)]
pub struct Newcomer {
    /// Where it is registered.
    pub region: Region,
    /// Its user name.
    pub user_name: Option<UserName>,
    /// Its e-mail address.
    pub email: Option<Email>,
    /// Its phone number.
    pub phone: Option<Phone>,
    /// What was kept of its password.
    pub password: KeptPassword,
    /// Where its activation stands.
    pub standing: Standing,
    /// Whether it may be used.
    pub enabled: bool,
    /// What it holds about its person.
    pub details: Details,
    /// The object id that its clients know.
    pub id: Option<ObjectId>,
    /// The key that its devices know.
    pub apikey: Option<ApiKey>,
    /// When it was registered there.
    pub registered_at: Option<Timestamp>,
}

impl Newcomer {
    fn identifiers(&self) -> impl Iterator<Item = Identifier> {
        let user_name = self.user_name.clone().map(Identifier::UserName);
        let email = self.email.clone().map(Identifier::Email);
        let phone = self.phone.clone().map(Identifier::Phone);
        [user_name, email, phone].into_iter().flatten()
    }
}

/// Why a newcomer is not taken. The words are for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It has no identifier.
    #[error("has neither user name, e-mail address nor phone number")]
    Nameless,
    /// One of its identifiers cannot be registered.
    #[error("an identifier {0}")]
    Malformed(Malformed),
    /// What was kept of its password is of no use.
    #[error("the verifier cannot be used: {0}")]
    Verifier(String),
    /// Somebody else has one of its identifiers or ids.
    #[error("is registered already")]
    Taken,
}

/// Why a whole batch was not taken; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Hashing is overloaded or broken.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Core {
    /// Registers newcomers in one transaction, and remembers in it that the file `source` was read up to `line`. The answer says of
    /// each whether it was taken. A dry run hashes and changes nothing.
    ///
    /// Weak verifiers (plain, MD5, SHA-256) are put under Argon2id at once; the others are renewed at their owners' next login.
    ///
    /// # Errors
    /// [`ImportError`]; then nothing was changed.
    pub async fn import(
        &self,
        newcomers: &[Newcomer],
        source: &str,
        line: i64,
        dry_run: bool,
    ) -> Result<Vec<Result<(), Refused>>, ImportError> {
        let mut fates: Vec<_> = newcomers.iter().map(|newcomer| self.check_newcomer(newcomer)).collect();
        let welcome: Vec<usize> = (0..newcomers.len()).filter(|index| fates[*index].is_ok()).collect();
        if dry_run {
            for index in welcome {
                fates[index] = self.is_free(&newcomers[index]).await?;
            }
            return Ok(fates);
        }
        let mut accounts = Vec::with_capacity(welcome.len());
        for few in welcome.chunks(AT_A_TIME) {
            accounts.extend(try_join_all(few.iter().map(|index| self.naturalise(&newcomers[*index]))).await?);
        }
        let now = self.clock.now();
        let (mut free, mut theirs) = (Vec::with_capacity(accounts.len()), Vec::with_capacity(accounts.len()));
        for (index, account) in welcome.into_iter().zip(accounts) {
            if self.claim(&account, now).await? {
                free.push(account);
                theirs.push(index);
            } else {
                fates[index] = Err(Refused::Taken);
            }
        }
        let imported = self.store.import_accounts(&free, source, line).await?;
        for ((index, account), imported) in theirs.into_iter().zip(&free).zip(imported) {
            if imported == Imported::Taken {
                self.unclaim(account, now).await;
                fates[index] = Err(Refused::Taken);
            }
        }
        Ok(fates)
    }

    /// How far the file `source` was imported; 0 for one that never was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn imported_up_to(&self, source: &str) -> Result<i64, StoreError> {
        self.store.imported_up_to(source).await
    }

    fn check_newcomer(&self, newcomer: &Newcomer) -> Result<(), Refused> {
        let mut identifiers = newcomer.identifiers().peekable();
        identifiers.peek().ok_or(Refused::Nameless)?;
        identifiers.try_for_each(|identifier| identifier.registrable()).map_err(Refused::Malformed)?;
        match &newcomer.password {
            KeptPassword::Verifier(verifier) => self.hasher.check(verifier).map_err(|error| Refused::Verifier(error.to_string())),
            _ => Ok(()),
        }
    }

    async fn is_free(&self, newcomer: &Newcomer) -> Result<Result<(), Refused>, StoreError> {
        for identifier in newcomer.identifiers() {
            if self.store.account_named(&identifier).await?.is_some() || self.elsewhere(&identifier).await?.is_some() {
                return Ok(Err(Refused::Taken));
            }
        }
        Ok(Ok(()))
    }

    async fn naturalise(&self, newcomer: &Newcomer) -> Result<Account, HashError> {
        #[expect(clippy::disallowed_methods, reason = "an operator asks")]
        let verifier = match &newcomer.password {
            KeptPassword::Plain(password) => self.hasher.hash(password.digest()).await?,
            KeptPassword::Digest(digest) => self.hasher.hash(digest.clone()).await?,
            KeptPassword::Sha256(hex) => self.hasher.wrap(hex.clone()).await?,
            KeptPassword::Verifier(verifier) => verifier.clone(),
        };
        let now = self.clock.now();
        let activation = match newcomer.standing {
            Standing::Active => Activation::Active,
            Standing::Pending => Activation::Pending { deadline: now.plus(Activation::LINK_LIFETIME) },
            Standing::Lapsed => Activation::Pending { deadline: now },
        };
        Ok(Account {
            number: AccountNumber(0),
            id: newcomer.id.clone().unwrap_or_else(|| ObjectId::draw(self.rng())),
            apikey: newcomer.apikey.clone().unwrap_or_else(|| ApiKey::draw(self.rng())),
            region: newcomer.region.clone(),
            user_name: newcomer.user_name.clone(),
            email: newcomer.email.clone(),
            phone: newcomer.phone.clone(),
            verifier,
            activation,
            enabled: newcomer.enabled,
            details: newcomer.details.clone(),
            registered_at: newcomer.registered_at.unwrap_or(now),
            last_login_at: None,
            revision: 0,
        })
    }
}
