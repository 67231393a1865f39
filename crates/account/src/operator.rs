//! What an operator does to accounts, applications, resource servers, devices and gateways.

use std::time::Duration;

use crate::account::{Account, AccountNumber, Activation, ApiKey, Details, ObjectId, Standing};
use crate::application::{Application, ApplicationId, ApplicationSecret, Profile};
use crate::core::Core;
use crate::device::{Device, DeviceKind, Facts, Gateway, GatewayKind, Guid, Identity, Serial};
use crate::hasher::HashError;
use crate::identifier::{Email, Identifier, Phone, UserName};
use crate::login::{ATTEMPTS, unsteady};
use crate::password::PasswordDigest;
use crate::region::Region;
use crate::resource_server::{ResourceServer, ResourceServerId};
use crate::session::Session;
use crate::session_event::EndReason;
use crate::store::{AccountChange, Changed, Ending, InsertError, Page, StoreError};
use crate::text::Malformed;
use crate::token::{Token, TokenLength};
use crate::version::AppVersion;

/// An account to be made.
#[derive(Debug)]
pub struct NewAccount {
    /// Where it is registered.
    pub region: Region,
    /// Its user name.
    pub user_name: Option<UserName>,
    /// Its e-mail address.
    pub email: Option<Email>,
    /// Its phone number.
    pub phone: Option<Phone>,
    /// Its password.
    pub password: PasswordDigest,
    /// Where its activation stands.
    pub standing: Standing,
    /// What it holds about its person.
    pub details: Details,
}

/// Why an operator's wish was not carried out. The words are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// There is no such thing.
    #[error("there is no {0}")]
    NotFound(String),
    /// There is such a thing already.
    #[error("{0} is registered already")]
    Taken(String),
    /// An account needs at least one identifier.
    #[error("an account needs a user name, an e-mail address or a phone number")]
    Nameless,
    /// An identifier cannot be registered.
    #[error("{0:?} {1}")]
    Malformed(String, Malformed),
    /// The gateway cannot be bound.
    #[error("gateway {gateway} is bound to account {account} already; unbind it first")]
    Bound {
        /// The gateway.
        gateway: Serial,
        /// The account that it is bound to.
        account: AccountNumber,
    },
    /// Regions share nothing here.
    #[error("there is no directory: set directory to the URL of its primary")]
    NoDirectory,
    /// The password could not be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn taken(what: impl Into<String>) -> impl FnOnce(InsertError) -> OperatorError {
    move |error| match error {
        InsertError::Taken => OperatorError::Taken(what.into()),
        InsertError::Store(error) => error.into(),
    }
}

fn found(exists: bool, what: impl FnOnce() -> String) -> Result<(), OperatorError> {
    if exists { Ok(()) } else { Err(OperatorError::NotFound(what())) }
}

/// Applications.
impl Core {
    /// Registers an application. Without an id or a secret, draws one; without a name, it is called by its id. Returns it with its
    /// secret in the clear, which cannot be had again.
    ///
    /// # Errors
    /// [`OperatorError::Taken`], [`OperatorError::Store`].
    pub async fn create_application(
        &self,
        name: Option<String>,
        id: Option<ApplicationId>,
        secret: Option<ApplicationSecret>,
        profile: Profile,
    ) -> Result<(Application, ApplicationSecret), OperatorError> {
        let id = id.unwrap_or_else(|| ApplicationId::draw(self.rng()));
        let secret = secret.unwrap_or_else(|| ApplicationSecret::draw(self.rng()));
        let sealed = secret.seal(&self.keys, self.rng(), &id);
        let name = name.unwrap_or_else(|| id.to_string());
        let application = Application { id, name, secret: sealed, profile, enabled: true, created_at: self.clock.now() };
        let what = format!("application {}", application.id);
        self.store.insert_application(&application).await.map_err(taken(what))?;
        Ok((application, secret))
    }

    /// Finds an application.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], [`OperatorError::Store`].
    pub async fn application(&self, id: &ApplicationId) -> Result<Application, OperatorError> {
        self.store.application(id).await?.ok_or_else(|| OperatorError::NotFound(format!("application {id}")))
    }

    /// Lists applications.
    ///
    /// # Errors
    /// [`OperatorError::Store`].
    pub async fn applications(&self, page: Page<ApplicationId>) -> Result<Vec<Application>, OperatorError> {
        Ok(self.store.applications(page).await?)
    }

    /// Allows or forbids an application to call; forbidding ends its sessions.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], [`OperatorError::Store`].
    pub async fn enable_application(&self, id: &ApplicationId, enabled: bool) -> Result<(), OperatorError> {
        found(self.store.enable_application(id, enabled, self.clock.now()).await?, || format!("application {id}"))
    }
}

/// Resource servers.
impl Core {
    /// Registers a resource server. Without an id, draws one; without a name, it is called by its id. Returns it with its secret in the
    /// clear, which cannot be had again.
    ///
    /// # Errors
    /// [`OperatorError::Taken`], [`OperatorError::Store`].
    pub async fn create_resource_server(
        &self,
        name: Option<String>,
        id: Option<ResourceServerId>,
    ) -> Result<(ResourceServer, Token), OperatorError> {
        let id = id.unwrap_or_else(|| ResourceServerId::draw(self.rng()));
        let name = name.unwrap_or_else(|| id.to_string());
        let secret = Token::draw(self.rng(), TokenLength::Bits256);
        let created_at = self.clock.now();
        let server = ResourceServer { id, name, secret: secret.hash(), previous: None, enabled: true, created_at };
        let what = format!("resource server {}", server.id);
        self.store.insert_resource_server(&server).await.map_err(taken(what))?;
        Ok((server, secret))
    }

    /// Finds a resource server.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], [`OperatorError::Store`].
    pub async fn resource_server(&self, id: &ResourceServerId) -> Result<ResourceServer, OperatorError> {
        self.store.resource_server(id).await?.ok_or_else(|| OperatorError::NotFound(format!("resource server {id}")))
    }

    /// Lists resource servers.
    ///
    /// # Errors
    /// [`OperatorError::Store`].
    pub async fn resource_servers(&self, page: Page<ResourceServerId>) -> Result<Vec<ResourceServer>, OperatorError> {
        Ok(self.store.resource_servers(page).await?)
    }

    /// Draws a new secret for a resource server and returns it in the clear. The one before it stays good for `overlap`.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], [`OperatorError::Store`].
    pub async fn rotate_resource_server(&self, id: &ResourceServerId, overlap: Duration) -> Result<Token, OperatorError> {
        let secret = Token::draw(self.rng(), TokenLength::Bits256);
        let until = self.clock.now().plus(overlap);
        let rotated = self.store.rotate_resource_server(id, &secret.hash(), until).await?;
        found(rotated, || format!("resource server {id}")).map(|()| secret)
    }

    /// Allows or forbids a resource server to ask.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], [`OperatorError::Store`].
    pub async fn enable_resource_server(&self, id: &ResourceServerId, enabled: bool) -> Result<(), OperatorError> {
        found(self.store.enable_resource_server(id, enabled).await?, || format!("resource server {id}"))
    }
}

/// Accounts.
impl Core {
    /// Registers an account.
    ///
    /// # Errors
    /// [`OperatorError::Nameless`], [`OperatorError::Malformed`], [`OperatorError::Taken`], [`OperatorError::Hash`],
    /// [`OperatorError::Store`].
    pub async fn create_account(&self, new: NewAccount) -> Result<Account, OperatorError> {
        let now = self.clock.now();
        #[expect(clippy::disallowed_methods, reason = "an operator asks")]
        let verifier = self.hasher.hash(new.password).await?;
        let mut account = Account {
            number: AccountNumber(0),
            id: ObjectId::draw(self.rng()),
            apikey: ApiKey::draw(self.rng()),
            region: new.region,
            user_name: new.user_name,
            email: new.email,
            phone: new.phone,
            verifier,
            activation: match new.standing {
                Standing::Active => Activation::Active,
                Standing::Pending => Activation::Pending { deadline: now.plus(Activation::LINK_LIFETIME) },
                Standing::Lapsed => Activation::Pending { deadline: now },
            },
            enabled: true,
            details: new.details,
            registered_at: now,
            last_login_at: None,
            revision: 0,
        };
        for identifier in account.identifiers() {
            identifier.registrable().map_err(|wrong| OperatorError::Malformed(identifier.as_str().into(), wrong))?;
        }
        let names: Vec<_> = account.identifiers().map(|identifier| identifier.as_str().to_owned()).collect();
        if names.is_empty() {
            return Err(OperatorError::Nameless);
        }
        let what = if names.len() == 1 { names.join("") } else { format!("one of {}", names.join(", ")) };
        if !self.claim(&account, now).await? {
            return Err(OperatorError::Taken(what));
        }
        account.number = match self.store.insert_account(&account).await {
            Err(InsertError::Taken) => {
                self.unclaim(&account, now).await;
                return Err(OperatorError::Taken(what));
            }
            inserted => inserted.map_err(taken(what))?,
        };
        Ok(account)
    }

    /// Finds an account by what an operator calls it: its number, or one of its identifiers.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], [`OperatorError::Store`].
    pub async fn find_account(&self, name: &str) -> Result<Account, OperatorError> {
        if let Ok(number) = name.parse()
            && let Some(account) = self.store.account(AccountNumber(number)).await?
        {
            return Ok(account);
        }
        let identifier: Option<Identifier> = name.parse().ok();
        let account = match identifier {
            Some(identifier) => self.store.account_named(&identifier).await?,
            None => None,
        };
        account.ok_or_else(|| OperatorError::NotFound(format!("account {name:?}")))
    }

    /// Lists accounts.
    ///
    /// # Errors
    /// [`OperatorError::Store`].
    pub async fn accounts(&self, page: Page<AccountNumber>) -> Result<Vec<Account>, OperatorError> {
        Ok(self.store.accounts(page).await?)
    }

    /// Sets an account's password, ends its sessions and tells its owner by mail.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], [`OperatorError::Hash`], [`OperatorError::Store`].
    pub async fn set_password(&self, account: AccountNumber, password: PasswordDigest) -> Result<(), OperatorError> {
        #[expect(clippy::disallowed_methods, reason = "an operator asks")]
        let verifier = self.hasher.hash(password).await?;
        for _ in 0..ATTEMPTS {
            let account = self.find_account(&account.to_string()).await?;
            let news = self.password_news(&account);
            let change = AccountChange {
                verifier: Some(&verifier),
                end: Ending::All,
                message: news.as_ref(),
                ..AccountChange::on(&account, self.clock.now())
            };
            if let Changed::Done = self.store.change_account(change).await? {
                self.notifier.wake();
                return Ok(());
            }
        }
        Err(unsteady().into())
    }

    /// Activates an account.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], [`OperatorError::Store`].
    pub async fn activate_account(&self, account: AccountNumber) -> Result<(), OperatorError> {
        found(self.store.set_activation(account, Activation::Active).await?, || format!("account {account}"))
    }

    /// Allows or forbids an account to be used; forbidding ends its sessions.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], [`OperatorError::Store`].
    pub async fn enable_account(&self, account: AccountNumber, enabled: bool) -> Result<(), OperatorError> {
        found(self.store.enable_account(account, enabled, self.clock.now()).await?, || format!("account {account}"))
    }
}

/// Devices and gateways.
impl Core {
    /// Registers a device.
    ///
    /// # Errors
    /// [`OperatorError::Taken`], [`OperatorError::Store`].
    pub async fn register_device(
        &self,
        serial: Serial,
        kind: DeviceKind,
        app_version: Option<AppVersion>,
    ) -> Result<Device, OperatorError> {
        let guid = Guid::draw(self.rng());
        let app_version = app_version.map(Into::into);
        let registered_at = self.clock.now();
        let device = Device { serial, guid, kind, app_version, name: None, facts: Facts::new(), registered_at };
        self.store.insert_device(&device).await.map_err(taken(format!("device {}", device.serial)))?;
        Ok(device)
    }

    /// Lists devices.
    ///
    /// # Errors
    /// [`OperatorError::Store`].
    pub async fn devices(&self, page: Page<Serial>) -> Result<Vec<Device>, OperatorError> {
        Ok(self.store.devices(page).await?)
    }

    /// Registers a gateway.
    ///
    /// # Errors
    /// [`OperatorError::Taken`], [`OperatorError::Store`].
    pub async fn register_gateway(
        &self,
        serial: Serial,
        kind: GatewayKind,
        min_app_version: Option<AppVersion>,
    ) -> Result<Gateway, OperatorError> {
        let guid = Guid::draw(self.rng());
        let gateway = Gateway {
            serial,
            guid,
            kind,
            identity: Identity::default(),
            name: None,
            connect_method: None,
            facts: Facts::new(),
            min_app_version,
            account: None,
            registered_at: self.clock.now(),
        };
        self.store.insert_gateway(&gateway).await.map_err(taken(format!("gateway {}", gateway.serial)))?;
        Ok(gateway)
    }

    /// Finds a gateway.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], [`OperatorError::Store`].
    pub async fn gateway(&self, serial: &Serial) -> Result<Gateway, OperatorError> {
        self.store.gateway(serial).await?.ok_or_else(|| OperatorError::NotFound(format!("gateway {serial}")))
    }

    /// Lists gateways.
    ///
    /// # Errors
    /// [`OperatorError::Store`].
    pub async fn gateways(&self, page: Page<Serial>) -> Result<Vec<Gateway>, OperatorError> {
        Ok(self.store.gateways(page).await?)
    }

    /// Sets the lowest version of an app that may log in with a gateway; `None` allows every version.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], [`OperatorError::Store`].
    pub async fn set_min_app_version(&self, gateway: &Serial, version: Option<&AppVersion>) -> Result<(), OperatorError> {
        found(self.store.set_min_app_version(gateway, version).await?, || format!("gateway {gateway}"))
    }

    /// Binds a gateway to an account. One that is the account's already stays so; one of another account is refused.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], [`OperatorError::Bound`], [`OperatorError::Store`].
    pub async fn bind_gateway(&self, gateway: &Serial, account: AccountNumber) -> Result<(), OperatorError> {
        if self.store.bind(gateway, account, self.clock.now()).await? {
            return Ok(());
        }
        match self.gateway(gateway).await?.account {
            Some(owner) if owner == account => Ok(()),
            Some(owner) => Err(OperatorError::Bound { gateway: gateway.clone(), account: owner }),
            None => Err(OperatorError::NotFound(format!("account {account}"))),
        }
    }

    /// Frees a gateway. One that is free already stays so.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], [`OperatorError::Store`].
    pub async fn unbind_gateway(&self, gateway: &Serial) -> Result<(), OperatorError> {
        if !self.store.unbind(gateway, None, self.clock.now(), None).await? {
            self.gateway(gateway).await?;
        }
        Ok(())
    }
}

/// Sessions.
impl Core {
    /// Lists sessions.
    ///
    /// # Errors
    /// [`OperatorError::Store`].
    pub async fn sessions(&self, account: Option<AccountNumber>, page: Page<ObjectId>) -> Result<Vec<Session>, OperatorError> {
        Ok(self.store.sessions(account, page).await?)
    }

    /// Whose a session is.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], [`OperatorError::Store`].
    pub async fn account_of_session(&self, session: &ObjectId) -> Result<AccountNumber, OperatorError> {
        let found = self.store.session(session).await?;
        found.map(|session| session.account).ok_or_else(|| OperatorError::NotFound(format!("session {session}")))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`], [`OperatorError::Store`].
    pub async fn end_session(&self, id: &ObjectId) -> Result<(), OperatorError> {
        found(self.store.end_session(id, EndReason::Revoked, self.clock.now(), None).await?, || format!("session {id}"))
    }
}
