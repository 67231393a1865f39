//! What commands change: whether there is anything to record in the audit trail, and what it tells of it.

use std::fmt::Display;

use account::{ObjectId, Serial};

use crate::command::{
    AccountCommand, AppCommand, Command, CubeCommand, DeviceCommand, KeyCommand, RegionCommand, ResourceCommand, SessionCommand,
    ThrottleCommand,
};

/// What a command changes, as far as it says so itself.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    /// Whose account, or what belongs to it.
    pub account: Option<Whose<'a>>,
    /// Something else.
    pub object: Option<Object>,
}

/// How to find whose account a command is about.
#[derive(Debug)]
pub(crate) enum Whose<'a> {
    /// By its number or an identifier.
    Called(&'a str),
    /// By a session.
    SessionOf(&'a ObjectId),
    /// By a cube or hub that is bound to it.
    OwnerOf(&'a Serial),
}

/// What a command is about when it is no account. Nothing that tells who somebody is, and no secret.
#[derive(Debug)]
pub(crate) enum Object {
    /// What the command calls so.
    Named(String),
    /// What the command makes: the answer has its name, here.
    Made(&'static str),
}

impl Object {
    fn named(name: impl Display) -> Self {
        Self::Named(name.to_string())
    }

    fn named_or_made(name: Option<&impl Display>, made: &'static str) -> Self {
        name.map_or(Self::Made(made), Self::named)
    }
}

impl<'a> Change<'a> {
    /// Nothing that the command names; the answer may.
    const UNSAID: Self = Self { account: None, object: None };

    fn of_account(name: &'a str) -> Self {
        Self { account: Some(Whose::Called(name)), object: None }
    }

    fn of(object: Object) -> Self {
        Self { account: None, object: Some(object) }
    }

    fn of_both(account: Whose<'a>, name: impl Display) -> Self {
        Self { account: Some(account), object: Some(Object::named(name)) }
    }
}

impl Command {
    /// What it changes; `None` when it only reads.
    pub(crate) fn change(&self) -> Option<Change<'_>> {
        match self {
            Self::App(command) => command.change(),
            Self::Resource(command) => command.change(),
            Self::Account(command) => command.change(),
            Self::Device(DeviceCommand::Register { sn, .. }) => Some(Change::of(Object::named(sn))),
            Self::Cube(command) => command.change(),
            Self::Session(SessionCommand::Revoke { id }) => Some(Change::of_both(Whose::SessionOf(id), id)),
            Self::Throttle(ThrottleCommand::Clear { account, source }) => {
                Some(Change { account: account.as_deref().map(Whose::Called), object: source.map(Object::named) })
            }
            Self::Region(command) => Some(command.change()),
            Self::Key(KeyCommand::Rotate) => Some(Change::of(Object::Made("key"))),
            Self::Key(KeyCommand::Draw) | Self::Notify(_) => Some(Change::UNSAID),
            Self::Device(DeviceCommand::List { .. })
            | Self::Session(SessionCommand::List { .. })
            | Self::Throttle(ThrottleCommand::List { .. })
            | Self::Audit(_)
            | Self::Key(KeyCommand::List)
            | Self::Outbox(_) => None,
        }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        self.change().is_none()
    }
}

impl AppCommand {
    fn change(&self) -> Option<Change<'_>> {
        match self {
            Self::Create { appid, .. } => Some(Change::of(Object::named_or_made(appid.as_ref(), "appid"))),
            Self::Disable { appid } | Self::Enable { appid } => Some(Change::of(Object::named(appid))),
            Self::List { .. } | Self::Show { .. } => None,
        }
    }
}

impl ResourceCommand {
    fn change(&self) -> Option<Change<'_>> {
        match self {
            Self::Create { id, .. } => Some(Change::of(Object::named_or_made(id.as_ref(), "id"))),
            Self::Rotate { id, .. } | Self::Disable { id } | Self::Enable { id } => Some(Change::of(Object::named(id))),
            Self::List { .. } => None,
        }
    }
}

impl AccountCommand {
    fn change(&self) -> Option<Change<'_>> {
        match self {
            Self::SetPassword { account, .. }
            | Self::Activate { account }
            | Self::Disable { account }
            | Self::Enable { account } => Some(Change::of_account(account)),
            Self::Create(_) | Self::Import(_) | Self::ImportBatch(_) => Some(Change::UNSAID),
            Self::List { .. } | Self::Show { .. } | Self::ImportedUpTo { .. } | Self::ExportPage { .. } | Self::Export { .. } => {
                None
            }
        }
    }
}

impl CubeCommand {
    fn change(&self) -> Option<Change<'_>> {
        match self {
            Self::Register { sn, .. } => Some(Change::of(Object::named(sn))),
            Self::Bind { sn, account } => Some(Change::of_both(Whose::Called(account), sn)),
            Self::SetMinVersion { sn, .. } | Self::Unbind { sn } => Some(Change::of_both(Whose::OwnerOf(sn), sn)),
            Self::List { .. } => None,
        }
    }
}

impl RegionCommand {
    fn change(&self) -> Change<'_> {
        match self {
            Self::Move { account, region, .. } => Change::of_both(Whose::Called(account), region),
            Self::Sync | Self::ClaimPage { .. } | Self::Sweep { .. } => Change::UNSAID,
        }
    }
}
