//! Carrying commands out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use account::store::Page;
use account::{
    Account, AccountNumber, Address, ApplicationSecret, AuditQuery, Core, Deed, Details, Email, HashError, ImportError, Lane,
    Language, Malformed, MasterKey, NewAccount, OperatorError, Password, PasswordDigest, Phone, Region, Source, Store,
    StoreError, Timestamp,
};
use futures_util::future::BoxFuture;
use notify::Outbox;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::change::{Change, Object, Whose};
use crate::command::{
    AccountCommand, AccountCreate, AppCommand, AuditCommand, Command, CubeCommand, DeviceCommand, KeyCommand, NotifyCommand,
    OutboxCommand, RegionCommand, ResourceCommand, Secret, SessionCommand, ThrottleCommand,
};
use crate::rows::{Batch, BatchOutcome, Row};
use crate::view::{
    AccountView, ApplicationView, DeviceView, EntryView, GatewayView, KeyView, LaneView, MessageView, ResourceServerView,
    SessionView,
};

/// How many accounts of an export travel at once.
const EXPORT_PAGE: u32 = 500;

/// The longest name or other text, in characters.
const LONGEST_DETAIL: usize = 255;

/// Why a command was not carried out, or what else went wrong: one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The core refused.
    #[error(transparent)]
    Refused(#[from] OperatorError),
    /// What was given is not what it must be.
    #[error("the {0} {1}")]
    Malformed(&'static str, Malformed),
    /// Something else about the command is wrong.
    #[error("{0}")]
    Wrong(String),
    /// It was carried out, but not all that follows from it.
    #[error("{0}")]
    Unfinished(String),
    /// It was carried out, but the audit trail does not have it.
    #[error("it is done, but the audit trail cannot be written: {0}")]
    Unrecorded(StoreError),
}

impl AdminError {
    /// Whether what was asked for is done all the same.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Unfinished(_) | Self::Unrecorded(_))
    }
}

impl From<&'static str> for AdminError {
    fn from(wrong: &'static str) -> Self {
        Self::Wrong(wrong.into())
    }
}

/// Carries commands out.
#[derive(Clone)]
pub struct Operator {
    /// The core.
    pub core: Arc<Core>,
    /// The regions that are served; the first is the default.
    pub regions: Vec<Region>,
    /// Where messages are left that are not sent.
    pub outbox: Outbox,
    /// Opens another region's store.
    pub open_elsewhere: StoreOpener,
    /// Where this node's master keys are.
    pub key_files: Arc<dyn KeyFiles>,
}

/// The files that a node keeps master keys in. What fails says in one sentence why.
pub trait KeyFiles: Send + Sync {
    /// Draws the key that is to come next into a file of its own, and names the file. Before that, the files are put in order, for what
    /// waits in that file may be in force already; `in_force` is the fingerprint of the key that is.
    ///
    /// # Errors
    /// One sentence.
    fn draw(&self, in_force: &str) -> Result<PathBuf, String>;

    /// The key that is to come next, durable in its file, after the files are put in order as above. It is drawn where no other node can
    /// need it.
    ///
    /// # Errors
    /// One sentence.
    fn next(&self, in_force: &str) -> Result<Arc<MasterKey>, String>;

    /// Gives the key in force its place, and names the file where it is, if it is in one.
    ///
    /// # Errors
    /// One sentence. A start finds the key wherever it is.
    fn settle(&self, in_force: &str) -> Result<Option<PathBuf>, String>;
}

/// Opens the store at a URL, or says in one sentence why not.
pub type StoreOpener = Arc<dyn Fn(SecretString) -> BoxFuture<'static, Result<Arc<dyn Store>, String>> + Send + Sync>;

/// What became of a page of accounts.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClaimedPage {
    /// The last account's number; none after the end.
    pub last: Option<i64>,
    /// How many accounts there were.
    pub claimed: u64,
    /// Those of them that another region has an identifier of.
    pub refused: Vec<i64>,
}

type Answer = Result<Value, AdminError>;

fn shown(view: impl Serialize) -> Value {
    serde_json::to_value(view).expect("a view is plain data")
}

fn listed<T, V: From<T> + Serialize>(things: Vec<T>) -> Value {
    shown(things.into_iter().map(V::from).collect::<Vec<_>>())
}

fn password(secret: Option<Secret>) -> Result<PasswordDigest, AdminError> {
    let secret = secret.ok_or("the password is missing")?;
    let password = Password::new(secret.expose().to_owned()).map_err(|wrong| AdminError::Malformed("password", wrong))?;
    let digest = password.digest();
    if digest.is_common() { Err("the password is one that everybody tries first: choose another".into()) } else { Ok(digest) }
}

pub(crate) fn detail(text: Option<String>) -> Result<Option<String>, AdminError> {
    match text {
        Some(text) if text.chars().count() > LONGEST_DETAIL || text.chars().any(char::is_control) => {
            Err(format!("a text has control characters or more than {LONGEST_DETAIL} characters"))
        }
        text => Ok(text.filter(|text| !text.is_empty())),
    }
    .map_err(AdminError::Wrong)
}

fn identifier<T: std::str::FromStr<Err = Malformed>>(what: &'static str, text: Option<String>) -> Result<Option<T>, AdminError> {
    text.map(|text| text.parse().map_err(|wrong| AdminError::Malformed(what, wrong))).transpose()
}

/// What the audit trail says of a command, and of whose account it is about, if that was there before.
fn deed(name: &str, account: Option<AccountNumber>, object: Option<Object>, answer: &Answer) -> Deed {
    let answered = |field: &str| answer.as_ref().ok()?.get(field);
    let object = object.and_then(|object| match object {
        Object::Named(name) => Some(name),
        Object::Made(field) => answered(field)?.as_str().map(str::to_owned),
    });
    Deed {
        what: ["operator", name].into_iter().chain(object.as_deref()).collect::<Vec<_>>().join(" "),
        outcome: answer.as_ref().map_or_else(ToString::to_string, |_| "done".into()),
        refused: answer.as_ref().is_err_and(|error| !error.is_done()),
        account: account.or_else(|| answered("account")?.as_i64().map(AccountNumber)),
        identifier: None,
        audience: None,
        origin: None,
    }
}

/// Reads a time before now, or a point in time.
fn point_in_time(text: &str, now: Timestamp) -> Result<Timestamp, AdminError> {
    let before = jiff::fmt::friendly::SpanParser::new().parse_unsigned_duration(text).map(|span| now.minus(span));
    let point = || text.parse::<jiff::Timestamp>().map(|point| Timestamp(point.as_millisecond()));
    let day = || {
        text.parse::<jiff::civil::Date>()?
            .to_zoned(jiff::tz::TimeZone::UTC)
            .map(|day| Timestamp(day.timestamp().as_millisecond()))
    };
    let read = before.or_else(|_| point()).or_else(|_| day());
    read.map_err(|_| AdminError::Wrong(format!("--since is {text:?}, not like 24h, 2026-01-16 or 2026-01-16T10:48:42Z")))
}

impl Operator {
    /// Carries `command` out and returns what it concerns, as it is afterwards: an object, or an array of objects. What changes
    /// something is recorded in the audit trail, whether it was carried out or not.
    ///
    /// # Errors
    /// [`AdminError`]; then nothing was changed, but with [`AdminError::Unfinished`] and [`AdminError::Unrecorded`].
    pub async fn execute(&self, command: Command) -> Answer {
        let Some(Change { account, object }) = command.change() else { return self.carry_out(command).await };
        // Afterwards, a session is gone, and a cube is nobody's.
        let account = match account {
            Some(whose) => self.whose(whose).await,
            None => None,
        };
        let name = command.name();
        let answer = self.carry_out(command).await;
        self.record(deed(&name, account, object, &answer), answer).await
    }

    /// Whose account a command is about. Where that cannot be found out, the command itself says why, or does without.
    async fn whose(&self, whose: Whose<'_>) -> Option<AccountNumber> {
        match whose {
            Whose::Called(name) => Some(self.core.find_account(name).await.ok()?.number),
            Whose::SessionOf(id) => self.core.account_of_session(id).await.ok(),
            Whose::OwnerOf(gateway) => self.core.gateway(gateway).await.ok()?.account,
        }
    }

    /// Puts a command into the audit trail, and gives its answer. What the store does not take waits until it does, which only a running
    /// server lives to see: so the answer says it.
    async fn record(&self, deed: Deed, answer: Answer) -> Answer {
        let Err(error) = self.core.record(deed).await else { return answer };
        Err(match answer {
            Ok(_) => AdminError::Unrecorded(error),
            Err(refusal) => AdminError::Wrong(format!("{refusal}; nor can the audit trail be written: {error}")),
        })
    }

    async fn carry_out(&self, command: Command) -> Answer {
        match command {
            Command::App(command) => self.app(command).await,
            Command::Resource(command) => self.resource(command).await,
            Command::Account(command) => self.account(command).await,
            Command::Device(command) => self.device(command).await,
            Command::Cube(command) => self.cube(command).await,
            Command::Session(command) => self.session(command).await,
            Command::Throttle(command) => self.throttle(command).await,
            Command::Audit(AuditCommand::List { account, reason, since, paging }) => {
                let account = match account {
                    Some(name) => Some(self.number_in_trail(&name).await?),
                    None => None,
                };
                let since = since.map(|text| point_in_time(&text, self.core.clock().now())).transpose()?;
                let query = AuditQuery { account, reason: reason.map(|words| words.to_lowercase()), since };
                Ok(listed::<_, EntryView>(self.core.audit(&query, paging.text()?).await?))
            }
            Command::Region(command) => self.region(command).await,
            Command::Key(command) => self.key(command).await,
            Command::Outbox(command) => self.outbox(command).await,
            Command::Notify(NotifyCommand::Test { email, sms, language }) => self.test_messages(email, sms, &language).await,
        }
    }

    async fn app(&self, command: AppCommand) -> Answer {
        let appid = match command {
            AppCommand::List { paging } => {
                return Ok(listed::<_, ApplicationView>(self.core.applications(paging.text()?).await?));
            }
            AppCommand::Create { name, appid, profile, secret, .. } => {
                let secret = secret.map(|secret| ApplicationSecret::parse(secret.expose())).transpose();
                let secret = secret.map_err(|wrong| AdminError::Malformed("application secret", wrong))?;
                let (application, secret) = self.core.create_application(detail(name)?, appid, secret, profile).await?;
                let mut view = ApplicationView::from(application);
                view.secret = Some(secret.expose().to_owned());
                return Ok(shown(view));
            }
            AppCommand::Show { appid } => appid,
            AppCommand::Disable { appid } => {
                self.core.enable_application(&appid, false).await?;
                appid
            }
            AppCommand::Enable { appid } => {
                self.core.enable_application(&appid, true).await?;
                appid
            }
        };
        Ok(shown(ApplicationView::from(self.core.application(&appid).await?)))
    }

    async fn resource(&self, command: ResourceCommand) -> Answer {
        let (server, secret) = match command {
            ResourceCommand::List { paging } => {
                return Ok(listed::<_, ResourceServerView>(self.core.resource_servers(paging.text()?).await?));
            }
            ResourceCommand::Create { name, id } => {
                let (server, secret) = self.core.create_resource_server(detail(name)?, id).await?;
                (server, Some(secret))
            }
            ResourceCommand::Rotate { id, overlap } => {
                let overlap = Duration::from_mins(overlap.into());
                let secret = self.core.rotate_resource_server(&id, overlap).await?;
                (self.core.resource_server(&id).await?, Some(secret))
            }
            ResourceCommand::Disable { id } => {
                self.core.enable_resource_server(&id, false).await?;
                (self.core.resource_server(&id).await?, None)
            }
            ResourceCommand::Enable { id } => {
                self.core.enable_resource_server(&id, true).await?;
                (self.core.resource_server(&id).await?, None)
            }
        };
        let mut view = ResourceServerView::from(server);
        view.secret = secret.map(|secret| secret.expose().to_owned());
        Ok(shown(view))
    }

    async fn account(&self, command: AccountCommand) -> Answer {
        let now = self.core.clock().now();
        let account = match command {
            AccountCommand::List { paging } => {
                let accounts = self.core.accounts(paging.number()?).await?;
                return Ok(shown(accounts.into_iter().map(|account| AccountView::new(account, now)).collect::<Vec<_>>()));
            }
            AccountCommand::Create(new) => {
                return Ok(shown(AccountView::new(self.core.create_account(self.new_account(*new)?).await?, now)));
            }
            AccountCommand::ImportBatch(batch) => return self.import(batch).await,
            AccountCommand::ImportedUpTo { source } => {
                return Ok(shown(self.core.imported_up_to(&source).await.map_err(OperatorError::from)?));
            }
            AccountCommand::ExportPage { after } => {
                let page = Page { after: after.map(AccountNumber), limit: EXPORT_PAGE };
                let row = |account: &Account| (account.number, Row::of(account, now));
                return Ok(shown(self.core.accounts(page).await?.iter().map(row).collect::<Vec<_>>()));
            }
            AccountCommand::Import(_) | AccountCommand::Export { .. } => {
                return Err("a file is read and written where the command line is".into());
            }
            AccountCommand::Show { account } => self.number(&account).await?,
            AccountCommand::SetPassword { account, password: secret, .. } => {
                let account = self.number(&account).await?;
                self.core.set_password(account, password(secret)?).await?;
                account
            }
            AccountCommand::Activate { account } => {
                let account = self.number(&account).await?;
                self.core.activate_account(account).await?;
                account
            }
            AccountCommand::Disable { account } => {
                let account = self.number(&account).await?;
                self.core.enable_account(account, false).await?;
                account
            }
            AccountCommand::Enable { account } => {
                let account = self.number(&account).await?;
                self.core.enable_account(account, true).await?;
                account
            }
        };
        Ok(shown(AccountView::new(self.core.find_account(&account.to_string()).await?, now)))
    }

    async fn import(&self, batch: Batch) -> Answer {
        let (mut lines, mut newcomers, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for (line, row) in &batch.rows {
            match row.newcomer(&self.regions) {
                Ok(newcomer) => {
                    lines.push(*line);
                    newcomers.push(newcomer);
                }
                Err(reason) => refused.push((*line, reason)),
            }
        }
        let fates = match self.core.import(&newcomers, &batch.source, batch.line, batch.dry_run).await {
            Ok(fates) => fates,
            Err(ImportError::Hash(HashError::Overloaded { retry_after })) => {
                let milliseconds = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
                return Ok(shown(BatchOutcome::Busy { milliseconds }));
            }
            Err(error) => return Err(AdminError::Wrong(error.to_string())),
        };
        let mut imported = 0;
        for (line, fate) in lines.into_iter().zip(fates) {
            match fate {
                Ok(()) => imported += 1,
                Err(reason) => refused.push((line, reason.to_string())),
            }
        }
        refused.sort();
        Ok(shown(BatchOutcome::Done { imported, refused }))
    }

    fn new_account(&self, new: AccountCreate) -> Result<NewAccount, AdminError> {
        let region = new.region.or_else(|| self.regions.first().cloned()).ok_or("no region is served")?;
        if !self.regions.contains(&region) {
            let served: Vec<_> = self.regions.iter().map(Region::as_str).collect();
            return Err(AdminError::Wrong(format!("region {region} is not served here ({})", served.join(", "))));
        }
        Ok(NewAccount {
            region,
            user_name: identifier("user name", new.username)?,
            email: identifier("e-mail address", new.email)?,
            phone: identifier("phone number", new.phone)?,
            password: password(new.password)?,
            standing: new.activation.into(),
            details: Details {
                display_name: detail(new.display_name)?,
                language: detail(new.language)?,
                birthday: new.birthday,
                address: detail(new.address)?,
                country: detail(new.country)?,
                groups: detail(Some(new.groups.join("&")))?,
            },
        })
    }

    async fn number(&self, name: &str) -> Result<AccountNumber, AdminError> {
        Ok(self.core.find_account(name).await?.number)
    }

    /// The trail outlives accounts: a number is one, whether or not there is such an account still.
    async fn number_in_trail(&self, name: &str) -> Result<AccountNumber, AdminError> {
        // A phone number with its + would be read as a number, too.
        let number = name.parse().ok().filter(|_| name.bytes().all(|letter| letter.is_ascii_digit()));
        match (self.core.find_account(name).await, number) {
            (Ok(account), _) => Ok(account.number),
            (Err(OperatorError::NotFound(_)), Some(number)) => Ok(AccountNumber(number)),
            (Err(error), _) => Err(error.into()),
        }
    }

    async fn device(&self, command: DeviceCommand) -> Answer {
        match command {
            DeviceCommand::Register { sn, kind, app_version } => {
                Ok(shown(DeviceView::from(self.core.register_device(sn, kind, app_version).await?)))
            }
            DeviceCommand::List { paging } => Ok(listed::<_, DeviceView>(self.core.devices(paging.text()?).await?)),
        }
    }

    async fn cube(&self, command: CubeCommand) -> Answer {
        let sn = match command {
            CubeCommand::List { paging } => return Ok(listed::<_, GatewayView>(self.core.gateways(paging.text()?).await?)),
            CubeCommand::Register { sn, kind, min_version } => {
                return Ok(shown(GatewayView::from(self.core.register_gateway(sn, kind, min_version).await?)));
            }
            CubeCommand::SetMinVersion { sn, version } => {
                self.core.set_min_app_version(&sn, version.as_ref()).await?;
                sn
            }
            CubeCommand::Bind { sn, account } => {
                let account = self.number(&account).await?;
                self.core.bind_gateway(&sn, account).await?;
                sn
            }
            CubeCommand::Unbind { sn } => {
                self.core.unbind_gateway(&sn).await?;
                sn
            }
        };
        Ok(shown(GatewayView::from(self.core.gateway(&sn).await?)))
    }

    async fn key(&self, command: KeyCommand) -> Answer {
        match command {
            KeyCommand::List => Ok(listed::<_, KeyView>(self.core.key_list().await.map_err(OperatorError::from)?)),
            KeyCommand::Draw => {
                let in_force = self.core.key_in_force().await.map_err(OperatorError::from)?;
                let file = self.key_files.draw(&in_force).map_err(AdminError::Wrong)?;
                Ok(json!({ "file": file }))
            }
            KeyCommand::Rotate => {
                let former = self.core.key_in_force().await.map_err(OperatorError::from)?;
                let next = self.key_files.next(&former).map_err(AdminError::Wrong)?;
                self.core.rotate_key(Arc::clone(&next)).await.map_err(|error| AdminError::Wrong(error.to_string()))?;
                // The key is rotated, whatever becomes of the rest: it is tried again.
                let file = self.key_files.settle(&next.fingerprint()).unwrap_or_else(|error| {
                    tracing::warn!(error, "the new master key could not be given its place");
                    None
                });
                let key = next.fingerprint();
                let resealed = self.core.reseal().await.map_err(|error| {
                    AdminError::Unfinished(format!(
                        "the master key is rotated to {key}, but not all is sealed anew until the next start: {error}"
                    ))
                })?;
                Ok(json!({ "key": key, "former": former, "file": file, "resealed": resealed }))
            }
        }
    }

    async fn outbox(&self, command: OutboxCommand) -> Answer {
        let unreadable = |error: std::io::Error| AdminError::Wrong(format!("cannot read the outbox: {error}"));
        match command {
            OutboxCommand::List { paging } => {
                let page = paging.text()?;
                let mut listed: Vec<MessageView> = Vec::new();
                if page.after.is_none() {
                    listed.extend(self.outbox.list().map_err(unreadable)?.into_iter().map(MessageView::from));
                }
                let queued = self.core.messages(page).await.map_err(OperatorError::from)?;
                listed.extend(queued.into_iter().map(MessageView::from));
                Ok(shown(listed))
            }
            OutboxCommand::Show { id } => match self.outbox.show(&id).map_err(unreadable)? {
                Some(message) => Ok(shown(message)),
                None => Err(AdminError::Wrong(format!("there is no message {id} in the outbox folder"))),
            },
        }
    }

    async fn test_messages(&self, email: Option<String>, sms: Option<String>, language: &str) -> Answer {
        let email = identifier::<Email>("e-mail address", email)?.map(Address::Email);
        let phone = identifier::<Phone>("phone number", sms)?.map(Address::Phone);
        let to = email.or(phone).ok_or("name an address with --email or a number with --sms")?;
        let answer = json!({ "sent_to": to.as_str() });
        let sent = self.core.send_test(to, Language::of(Some(language))).await;
        sent.map(|()| answer).map_err(|error| AdminError::Wrong(error.to_string()))
    }

    async fn region(&self, command: RegionCommand) -> Answer {
        match command {
            RegionCommand::Move { account, region, store, .. } => {
                let there = match store {
                    Some(url) => Some((self.open_elsewhere)(url.into()).await.map_err(AdminError::Wrong)?),
                    None => None,
                };
                let moved = self.core.move_account(self.number(&account).await?, &region, there.as_deref()).await;
                let moved = moved.map_err(|error| AdminError::Wrong(error.to_string()))?;
                Ok(shown(AccountView::new(moved, self.core.clock().now())))
            }
            RegionCommand::ClaimPage { after } => {
                let page = Page { after: after.map(AccountNumber), limit: EXPORT_PAGE };
                let (last, claimed, refused) = self.core.claim_page(page).await?;
                let refused: Vec<_> = refused.into_iter().map(|number| number.0).collect();
                Ok(shown(ClaimedPage { last: last.map(|number| number.0), claimed, refused }))
            }
            RegionCommand::Sweep { since } => Ok(shown(self.core.sweep_directory(Timestamp(since)).await?)),
            RegionCommand::Sync => Err("the directory is gone through page by page where the command line is".into()),
        }
    }

    async fn throttle(&self, command: ThrottleCommand) -> Answer {
        match command {
            ThrottleCommand::List { account, paging } => {
                let subject = match account {
                    Some(name) => Some(self.core.lane_of(&name).await?),
                    None => None,
                };
                Ok(listed::<_, LaneView>(self.core.lanes(subject.as_ref(), paging.text()?).await?))
            }
            ThrottleCommand::Clear { account: Some(name), .. } => {
                let lane = self.core.lane_of(&name).await?;
                Ok(json!({ "cleared": self.core.clear_lanes(&[lane]).await? }))
            }
            ThrottleCommand::Clear { source: Some(address), .. } => {
                let source = Source::of(address);
                let lanes = [Lane::of_source(source), Lane::of_tokens(source), Lane::of_newcomers(source)];
                Ok(json!({ "cleared": self.core.clear_lanes(&lanes).await? }))
            }
            ThrottleCommand::Clear { account: None, source: None } => Err("name an account or an address".into()),
        }
    }

    async fn session(&self, command: SessionCommand) -> Answer {
        match command {
            SessionCommand::List { account, paging } => {
                let account = match account {
                    Some(name) => Some(self.number(&name).await?),
                    None => None,
                };
                Ok(listed::<_, SessionView>(self.core.sessions(account, paging.text()?).await?))
            }
            SessionCommand::Revoke { id } => {
                self.core.end_session(&id).await?;
                Ok(json!({ "revoked": id.as_str() }))
            }
        }
    }
}
