//! The commands.

use std::net::IpAddr;
use std::path::PathBuf;

use account::{
    AccountNumber, AppVersion, ApplicationId, Date, DeviceKind, GatewayKind, ObjectId, Profile, Region, ResourceServerId, Serial,
    Standing,
};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use crate::rows::Batch;

/// A password or application secret on its way from the command line to whoever carries the command out. It can only be written
/// to the operator's own socket.
#[derive(Debug, Clone, Deserialize)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes what was read.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<Secret> for SecretString {
    fn from(secret: Secret) -> Self {
        secret.0
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

/// A secret that a command still needs before it can be carried out.
#[derive(Debug)]
pub enum Wanted<'a> {
    /// A password: from the file, else from a prompt or standard input.
    Password(Option<PathBuf>, &'a mut Option<Secret>),
    /// Something else, from the file if one is named.
    FromFile(Option<PathBuf>, &'a mut Option<Secret>),
}

/// What an operator can do.
#[derive(Debug, Subcommand, Serialize, Deserialize)]
pub enum Command {
    /// Applications: who may call the eWeLink dialect
    #[command(subcommand)]
    App(AppCommand),
    /// Resource servers: who may ask whether tokens are good, and hear of sessions that end
    #[command(subcommand)]
    Resource(ResourceCommand),
    /// Accounts
    #[command(subcommand)]
    Account(AccountCommand),
    /// Touch panels and phones that log in to the Fantem dialect
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Cubes and hubs: gateways that can be bound to one account
    #[command(subcommand)]
    Cube(CubeCommand),
    /// Sessions
    #[command(subcommand)]
    Session(SessionCommand),
    /// Wrong guesses: who is held back, and for how long
    #[command(subcommand)]
    Throttle(ThrottleCommand),
    /// The audit trail: who did what, and who was refused what and why
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Regions: where accounts are registered
    #[command(subcommand)]
    Region(RegionCommand),
    /// The master key: application secrets are sealed under it, and verifiers are peppered by it
    #[command(subcommand)]
    Key(KeyCommand),
    /// Messages that wait to be sent, were given up, or lie in the outbox folder
    #[command(subcommand)]
    Outbox(OutboxCommand),
    /// Mail and SMS
    #[command(subcommand)]
    Notify(NotifyCommand),
}

/// A page of a list.
#[derive(Debug, Args, Serialize, Deserialize)]
pub struct Paging {
    /// Begin after this entry (the first column of the last one shown)
    #[arg(long, value_name = "ENTRY")]
    pub after: Option<String>,
    /// Show at most so many entries
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
}

/// What can be done with applications.
#[derive(Debug, Subcommand, Serialize, Deserialize)]
pub enum AppCommand {
    /// Register an application; its secret is shown once, here
    Create {
        /// What you call it; without a name, it is called by its id
        #[arg(long)]
        name: Option<String>,
        /// Its existing id; without one, an id is drawn
        #[arg(long, value_name = "ID")]
        appid: Option<ApplicationId>,
        /// A file with its existing secret; without one, a secret is drawn
        #[arg(long, value_name = "FILE")]
        #[serde(skip)]
        secret_file: Option<PathBuf>,
        /// How exactly its requests must follow the documents: `compat` reads what real clients send, `strict` also checks clock
        /// and replay
        #[arg(long, default_value = "compat", value_name = "compat|strict")]
        profile: Profile,
        /// The secret from the file.
        #[arg(skip)]
        secret: Option<Secret>,
    },
    /// List applications
    List {
        /// Which part of the list.
        #[command(flatten)]
        paging: Paging,
    },
    /// Show an application
    Show {
        /// Its id
        appid: ApplicationId,
    },
    /// Forbid an application to call, and end its sessions
    Disable {
        /// Its id
        appid: ApplicationId,
    },
    /// Allow an application to call again
    Enable {
        /// Its id
        appid: ApplicationId,
    },
}

/// What can be done with resource servers.
#[derive(Debug, Subcommand, Serialize, Deserialize)]
pub enum ResourceCommand {
    /// Register a resource server; its secret is shown once, here
    Create {
        /// What you call it; without a name, it is called by its id
        #[arg(long)]
        name: Option<String>,
        /// Its id; without one, an id is drawn
        #[arg(long)]
        id: Option<ResourceServerId>,
    },
    /// List resource servers
    List {
        /// Which part of the list.
        #[command(flatten)]
        paging: Paging,
    },
    /// Give a resource server a new secret, which is shown once, here
    Rotate {
        /// Its id
        id: ResourceServerId,
        /// For how many minutes the secret that it has stays good
        #[arg(long, value_name = "MINUTES", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=10_080))]
        overlap: u32,
    },
    /// Forbid a resource server to ask
    Disable {
        /// Its id
        id: ResourceServerId,
    },
    /// Allow a resource server to ask again
    Enable {
        /// Its id
        id: ResourceServerId,
    },
}

/// Where a new account's activation stands.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize, Deserialize)]
pub enum ActivationState {
    /// Activated: it can log in
    Active,
    /// Waiting to be activated, for 24 hours
    Pending,
    /// Not activated in time
    Lapsed,
}

impl From<ActivationState> for Standing {
    fn from(state: ActivationState) -> Self {
        match state {
            ActivationState::Active => Self::Active,
            ActivationState::Pending => Self::Pending,
            ActivationState::Lapsed => Self::Lapsed,
        }
    }
}

/// A new account.
#[derive(Debug, Args, Serialize, Deserialize)]
#[command(group = ArgGroup::new("identifier").required(true).multiple(true).args(["username", "email", "phone"]))]
pub struct AccountCreate {
    /// Its user name (neither 6 to 15 digits nor with an @ or a leading +)
    #[arg(long)]
    pub username: Option<String>,
    /// Its e-mail address
    #[arg(long)]
    pub email: Option<String>,
    /// Its phone number with the country code: +8613123456789
    #[arg(long)]
    pub phone: Option<String>,
    /// Where it is registered; without it, in the default region
    #[arg(long)]
    pub region: Option<Region>,
    /// Where its activation stands
    #[arg(long, value_enum, default_value_t = ActivationState::Active)]
    pub activation: ActivationState,
    /// Nickname or display name
    #[arg(long, value_name = "NAME")]
    pub display_name: Option<String>,
    /// Language, in the form its client uses: cn, en, zh_CN
    #[arg(long)]
    pub language: Option<String>,
    /// Birthday: YYYY-MM-DD
    #[arg(long, value_name = "DATE")]
    pub birthday: Option<Date>,
    /// Postal address
    #[arg(long)]
    pub address: Option<String>,
    /// Country
    #[arg(long)]
    pub country: Option<String>,
    /// The groups it belongs to; may be given several times
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,
    /// A file with its password; without it, the password is asked for, or read from standard input
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub password_file: Option<PathBuf>,
    /// The password that was read.
    #[arg(skip)]
    pub password: Option<Secret>,
}

/// What can be done with accounts. ACCOUNT is a number or any of the account's identifiers.
#[derive(Debug, Subcommand, Serialize, Deserialize)]
pub enum AccountCommand {
    /// Register an account with one identifier or more
    Create(Box<AccountCreate>),
    /// List accounts
    List {
        /// Which part of the list.
        #[command(flatten)]
        paging: Paging,
    },
    /// Show an account
    Show {
        /// Number, user name, e-mail address or +phone
        account: String,
    },
    /// Set an account's password, and end its sessions
    SetPassword {
        /// Number, user name, e-mail address or +phone
        account: String,
        /// A file with the password; without it, the password is asked for, or read from standard input
        #[arg(long, value_name = "FILE")]
        #[serde(skip)]
        password_file: Option<PathBuf>,
        /// The password that was read.
        #[arg(skip)]
        password: Option<Secret>,
    },
    /// Activate an account
    Activate {
        /// Number, user name, e-mail address or +phone
        account: String,
    },
    /// Forbid an account to be used, and end its sessions
    Disable {
        /// Number, user name, e-mail address or +phone
        account: String,
    },
    /// Allow an account to be used again
    Enable {
        /// Number, user name, e-mail address or +phone
        account: String,
    },
    /// Register accounts from a file, with the verifiers that another system kept
    ///
    /// A row has one identifier or more (username, email, phone), a scheme and a verifier, and may have region, activation, enabled,
    /// display_name, language, birthday, address, country, groups, id, apikey and registered_at. Schemes: plain, md5, sha256-md5 (hex),
    /// bcrypt, bcrypt-md5, argon2, argon2-md5 (PHC), and hearthgate (what `account export` writes). An import that was broken off
    /// goes on where it was when it is started again with the same file.
    Import(ImportFile),
    /// Write all accounts with their verifiers to a file, which `account import` reads under the same master key
    Export {
        /// The file; it must not be there yet
        file: PathBuf,
        /// Its form; without it, what its name ends in
        #[arg(long)]
        format: Option<Format>,
    },
    /// Rows of a file on their way to whoever registers them.
    #[command(skip)]
    ImportBatch(Batch),
    /// How far a file was imported.
    #[command(skip)]
    ImportedUpTo {
        /// The file's own fingerprint.
        source: String,
    },
    /// Some rows of an export.
    #[command(skip)]
    ExportPage {
        /// The account after which they begin.
        after: Option<i64>,
    },
}

/// The form of a file of accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Format {
    /// Comma-separated, the first line names the columns
    Csv,
    /// A JSON object on each line
    Jsonl,
}

/// A file of accounts to be registered.
#[derive(Debug, Args, Serialize, Deserialize)]
pub struct ImportFile {
    /// The file
    pub file: PathBuf,
    /// Its form; without it, what its name ends in
    #[arg(long)]
    pub format: Option<Format>,
    /// Only say what would be refused
    #[arg(long)]
    pub dry_run: bool,
    /// Write the rows that are refused to this file, each with line and reason; an import that goes on adds to it. Without it, they are
    /// printed
    #[arg(long, value_name = "FILE")]
    pub refused: Option<PathBuf>,
}

/// What can be done with devices.
#[derive(Debug, Subcommand, Serialize, Deserialize)]
pub enum DeviceCommand {
    /// Register a touch panel or phone
    Register {
        /// Its serial number, which it sends as uuid when it logs in
        sn: Serial,
        /// What it is
        #[arg(long, value_name = "oomi_touch|android_phone|ios_phone")]
        kind: DeviceKind,
        /// The version of its app, such as V2.0.4.15
        #[arg(long, value_name = "VERSION")]
        app_version: Option<AppVersion>,
    },
    /// List devices
    List {
        /// Which part of the list.
        #[command(flatten)]
        paging: Paging,
    },
}

/// What can be done with cubes and hubs.
#[derive(Debug, Subcommand, Serialize, Deserialize)]
pub enum CubeCommand {
    /// Register a cube or hub
    Register {
        /// Its serial number
        sn: Serial,
        /// What it is
        #[arg(long, value_name = "oomi_cube|oomi_hub", default_value = "oomi_cube")]
        kind: GatewayKind,
        /// The lowest version of an app that may log in with it
        #[arg(long, value_name = "VERSION")]
        min_version: Option<AppVersion>,
    },
    /// List cubes and hubs
    List {
        /// Which part of the list.
        #[command(flatten)]
        paging: Paging,
    },
    /// Set the lowest version of an app that may log in with a cube
    SetMinVersion {
        /// Its serial number
        sn: Serial,
        /// The lowest version; without one, every version may log in
        version: Option<AppVersion>,
    },
    /// Bind a free cube to an account
    Bind {
        /// Its serial number
        sn: Serial,
        /// Number, user name, e-mail address or +phone
        account: String,
    },
    /// Free a cube from its account
    Unbind {
        /// Its serial number
        sn: Serial,
    },
}

/// What can be done with sessions.
#[derive(Debug, Subcommand, Serialize, Deserialize)]
pub enum SessionCommand {
    /// List sessions
    List {
        /// Only this account's (number, user name, e-mail address or +phone)
        #[arg(long)]
        account: Option<String>,
        /// Which part of the list.
        #[command(flatten)]
        paging: Paging,
    },
    /// End a session
    Revoke {
        /// Its id
        id: ObjectId,
    },
}

/// What can be done about wrong guesses.
#[derive(Debug, Subcommand, Serialize, Deserialize)]
pub enum ThrottleCommand {
    /// List where wrong guesses are counted: `account/…` and `nobody/…` for all who guess at an account or an unknown name,
    /// `account/…/from/…`, `/on/…` and `/in/…` for its owner's address, device and session, `from/…`,
    /// `tokens/…` and `newcomers/…` for an address
    List {
        /// Only those at this account (number, user name, e-mail address or +phone), or at a name that no account has
        #[arg(long)]
        account: Option<String>,
        /// Which part of the list.
        #[command(flatten)]
        paging: Paging,
    },
    /// Forget wrong guesses, so that nobody has to wait for them any more
    #[command(group = ArgGroup::new("of").required(true).args(["account", "source"]))]
    Clear {
        /// Those at this account (number, user name, e-mail address or +phone), or at a name that no account has
        #[arg(long)]
        account: Option<String>,
        /// Those that came from this address; of IPv6, from its /64
        #[arg(long, value_name = "ADDRESS")]
        source: Option<IpAddr>,
    },
}

/// What can be done with the audit trail.
#[derive(Debug, Subcommand, Serialize, Deserialize)]
pub enum AuditCommand {
    /// List entries, the oldest first
    List {
        /// Only this account's (number, user name, e-mail address or +phone; of one that is closed, its number)
        #[arg(long)]
        account: Option<String>,
        /// Only those with these words in their outcome, such as "wrong password"
        #[arg(long, value_name = "WORDS")]
        reason: Option<String>,
        /// Only those from then on: a time before now such as 30m, 24h or 7d, or a point in time such as 2026-01-16T10:48:42Z
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Which part of the list.
        #[command(flatten)]
        paging: Paging,
    },
}

/// What can be done with the master key.
#[derive(Debug, Subcommand, Serialize, Deserialize)]
pub enum KeyCommand {
    /// Draw the next master key into the data folder, as master.key.next
    ///
    /// Where several nodes serve from one database, copy that file into the data folder of each before you rotate: all of them take the
    /// new key up within a second then.
    Draw,
    /// Put the next master key in the place of the one in force, while the server runs
    ///
    /// Application secrets and queued messages are sealed anew. The former key stays in the database, sealed under the new one, for the
    /// verifiers that are peppered by it; each is renewed at its owner's next login. Its file stays too, under another name, for backups
    /// that were made before.
    Rotate,
    /// Show the master keys, by their fingerprints, and how many verifiers are peppered by each
    List,
}

/// What can be done with regions.
#[derive(Debug, Subcommand, Serialize, Deserialize)]
pub enum RegionCommand {
    /// Move an account to another region, with its password and cubes; its sessions end. What was interrupted is finished by the same
    /// command
    Move {
        /// Number, user name, e-mail address or +phone
        account: String,
        /// The region
        region: Region,
        /// A file with the URL of the region's PostgreSQL database, when that is not this one
        #[arg(long, value_name = "FILE")]
        #[serde(skip)]
        store_file: Option<PathBuf>,
        /// The URL from the file.
        #[arg(skip)]
        store: Option<Secret>,
    },
    /// Bring the directory that regions share in line with the accounts that are here: claims what is missing, gives back what nobody
    /// has
    Sync,
    /// Claims one page of accounts' identifiers.
    #[command(skip)]
    ClaimPage {
        /// The account after which it begins.
        after: Option<i64>,
    },
    /// Gives back what was not claimed since.
    #[command(skip)]
    Sweep {
        /// Milliseconds since 1970.
        since: i64,
    },
}

/// What can be done with messages.
#[derive(Debug, Subcommand, Serialize, Deserialize)]
pub enum OutboxCommand {
    /// List messages: those in the outbox folder, and those that wait to be sent or were given up
    List {
        /// Which part of the list.
        #[command(flatten)]
        paging: Paging,
    },
    /// Show a message from the outbox folder
    Show {
        /// Its id
        id: ObjectId,
    },
}

/// What can be done about mail and SMS.
#[derive(Debug, Subcommand, Serialize, Deserialize)]
pub enum NotifyCommand {
    /// Send a message that says that messages arrive
    #[command(group = ArgGroup::new("to").required(true).args(["email", "sms"]))]
    Test {
        /// By mail, to this address
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
        /// By SMS, to this number with its country code
        #[arg(long, value_name = "NUMBER")]
        sms: Option<String>,
        /// In this language: en or zh
        #[arg(long, default_value = "en", value_name = "en|zh", value_parser = ["en", "zh"])]
        language: String,
    },
}

impl Command {
    /// The secret that must be read before the command can be carried out.
    pub fn wanted(&mut self) -> Option<Wanted<'_>> {
        match self {
            Self::App(AppCommand::Create { secret_file, secret, .. }) => Some(Wanted::FromFile(secret_file.take(), secret)),
            Self::Region(RegionCommand::Move { store_file, store, .. }) => Some(Wanted::FromFile(store_file.take(), store)),
            Self::Account(AccountCommand::Create(new)) => Some(Wanted::Password(new.password_file.take(), &mut new.password)),
            Self::Account(AccountCommand::SetPassword { password_file, password, .. }) => {
                Some(Wanted::Password(password_file.take(), password))
            }
            _ => None,
        }
    }

    /// What it is called on the command line, such as `account disable`.
    #[must_use]
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Account(AccountCommand::ImportBatch(_)) => return "account import".to_owned(),
            Self::Region(RegionCommand::ClaimPage { .. } | RegionCommand::Sweep { .. }) => return "region sync".to_owned(),
            _ => {}
        }
        let written = serde_json::to_value(self).unwrap_or_default();
        let (group, rest) =
            written.as_object().and_then(|outer| outer.iter().next()).map_or(("", None), |(key, value)| (key, Some(value)));
        let command = rest.and_then(|rest| rest.as_str().or_else(|| rest.as_object()?.keys().next().map(String::as_str)));
        kebab(group) + " " + &kebab(command.unwrap_or_default())
    }

    /// Whether it is a part of something that is given again where it was broken off. What nobody waits for any more must not be done
    /// meanwhile.
    pub(crate) fn goes_on_later(&self) -> bool {
        matches!(self, Self::Account(AccountCommand::ImportBatch(_)))
    }
}

/// `SetPassword` as `set-password`.
fn kebab(name: &str) -> String {
    let mut written = String::new();
    for (place, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && place > 0 {
            written.push('-');
        }
        written.push(letter.to_ascii_lowercase());
    }
    written
}

impl Paging {
    pub(crate) fn text<K: std::str::FromStr>(&self) -> Result<account::store::Page<K>, &'static str> {
        let after = self.after.as_deref().map(str::parse).transpose().map_err(|_| "--after names no entry of this list")?;
        Ok(account::store::Page { after, limit: self.limit })
    }

    pub(crate) fn number(&self) -> Result<account::store::Page<AccountNumber>, &'static str> {
        let page = self.text::<i64>()?;
        Ok(account::store::Page { after: page.after.map(AccountNumber), limit: page.limit })
    }
}
