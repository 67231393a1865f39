//! What an operator sees of things: everything but their secrets.

use account::{
    Account, Application, Device, Entry, Gateway, KeyInfo, KeyState, LaneState, Message, Queued, ResourceServer, Session,
    Timestamp,
};
use notify::Shown;
use serde::Serialize;

#[derive(Serialize)]
pub(crate) struct ApplicationView {
    appid: String,
    name: String,
    profile: &'static str,
    enabled: bool,
    created_at: String,
    /// Only at its creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl From<Application> for ApplicationView {
    fn from(application: Application) -> Self {
        Self {
            appid: application.id.into(),
            name: application.name,
            profile: application.profile.as_str(),
            enabled: application.enabled,
            created_at: application.created_at.iso8601(),
            secret: None,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct ResourceServerView {
    id: String,
    name: String,
    enabled: bool,
    created_at: String,
    /// Until when the secret before is good, if there was one.
    previous_until: Option<String>,
    /// Only at its creation and rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl From<ResourceServer> for ResourceServerView {
    fn from(server: ResourceServer) -> Self {
        Self {
            id: server.id.into(),
            name: server.name,
            enabled: server.enabled,
            created_at: server.created_at.iso8601(),
            previous_until: server.previous.map(|(_, until)| until.iso8601()),
            secret: None,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct LaneView {
    lane: String,
    failures: i64,
    failed_at: Option<String>,
    paused_until: Option<String>,
    day_full_until: Option<String>,
}

impl From<LaneState> for LaneView {
    fn from(state: LaneState) -> Self {
        Self {
            lane: state.lane.as_str().to_owned(),
            failures: state.failures,
            failed_at: state.failed_at.map(Timestamp::iso8601),
            paused_until: state.paused_until.map(Timestamp::iso8601),
            day_full_until: state.day_full_until.map(Timestamp::iso8601),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct KeyView {
    key: String,
    state: &'static str,
    /// When another took its place.
    until: Option<String>,
    verifiers: u64,
}

impl From<KeyInfo> for KeyView {
    fn from(key: KeyInfo) -> Self {
        Self {
            key: key.fingerprint,
            state: match key.state {
                KeyState::InForce => "in force",
                KeyState::Former(_) => "former",
                KeyState::Next => "next",
            },
            until: if let KeyState::Former(until) = key.state { Some(until.iso8601()) } else { None },
            verifiers: key.verifiers,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct EntryView {
    at: String,
    what: String,
    outcome: String,
    refused: bool,
    account: Option<i64>,
    identifier: Option<String>,
    address: Option<String>,
    audience: Option<String>,
    request: Option<String>,
    times: i64,
    id: String,
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        Self {
            at: entry.at.iso8601(),
            what: entry.what,
            outcome: entry.outcome,
            refused: entry.refused,
            account: entry.account.map(|account| account.0),
            identifier: entry.identifier,
            address: entry.address.map(|address| address.to_string()),
            audience: entry.audience,
            request: entry.request,
            times: entry.times,
            id: entry.id.into(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct AccountView {
    account: i64,
    username: Option<String>,
    email: Option<String>,
    phone: Option<String>,
    region: String,
    activation: account::Standing,
    enabled: bool,
    registered_at: String,
    last_login_at: Option<String>,
    display_name: Option<String>,
    language: Option<String>,
    id: String,
    apikey: String,
}

impl AccountView {
    pub fn new(account: Account, now: Timestamp) -> Self {
        Self {
            account: account.number.0,
            username: account.user_name.map(Into::into),
            email: account.email.map(Into::into),
            phone: account.phone.map(Into::into),
            region: account.region.into(),
            activation: account.activation.standing(now),
            enabled: account.enabled,
            registered_at: account.registered_at.iso8601(),
            last_login_at: account.last_login_at.map(Timestamp::iso8601),
            display_name: account.details.display_name,
            language: account.details.language,
            id: account.id.into(),
            apikey: account.apikey.into(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct DeviceView {
    sn: String,
    kind: &'static str,
    name: Option<String>,
    app_version: Option<String>,
    guid: String,
    registered_at: String,
}

impl From<Device> for DeviceView {
    fn from(device: Device) -> Self {
        Self {
            sn: device.serial.into(),
            kind: device.kind.as_str(),
            name: device.name,
            app_version: device.app_version,
            guid: device.guid.into(),
            registered_at: device.registered_at.iso8601(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct GatewayView {
    sn: String,
    kind: &'static str,
    name: Option<String>,
    account: Option<i64>,
    min_version: Option<String>,
    guid: String,
    registered_at: String,
}

impl From<Gateway> for GatewayView {
    fn from(gateway: Gateway) -> Self {
        Self {
            sn: gateway.serial.into(),
            kind: gateway.kind.as_str(),
            name: gateway.name,
            account: gateway.account.map(|account| account.0),
            min_version: gateway.min_app_version.map(Into::into),
            guid: gateway.guid.into(),
            registered_at: gateway.registered_at.iso8601(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct SessionView {
    id: String,
    account: i64,
    audience_kind: &'static str,
    audience: String,
    created_at: String,
    access_expires_at: String,
    refresh_expires_at: String,
    address: String,
    app_version: Option<String>,
    os: Option<String>,
}

impl From<Session> for SessionView {
    fn from(session: Session) -> Self {
        Self {
            id: session.id.into(),
            account: session.account.0,
            audience_kind: session.audience.kind(),
            audience: session.audience.id().to_owned(),
            created_at: session.created_at.iso8601(),
            access_expires_at: session.access_expires_at.iso8601(),
            refresh_expires_at: session.refresh_expires_at.iso8601(),
            address: session.client.address.to_string(),
            app_version: session.client.app_version,
            os: session.client.os,
        }
    }
}

/// A message: one in the outbox folder, or one in the queue.
#[derive(Serialize)]
pub(crate) struct MessageView {
    id: String,
    state: &'static str,
    time: String,
    to: Option<String>,
    subject: Option<String>,
    attempts: Option<i64>,
    next_try: Option<String>,
    error: Option<String>,
}

impl From<Shown> for MessageView {
    fn from(message: Shown) -> Self {
        Self {
            id: message.id.into(),
            state: "outbox",
            time: message.time,
            to: Some(message.to),
            subject: message.subject,
            attempts: None,
            next_try: None,
            error: None,
        }
    }
}

impl From<(Queued, Option<Message>)> for MessageView {
    fn from((queued, message): (Queued, Option<Message>)) -> Self {
        Self {
            id: queued.id.into(),
            state: if queued.due_at.is_some() { "waiting" } else { "given up" },
            time: queued.created_at.iso8601(),
            to: message.map(|message| message.to.as_str().to_owned()),
            subject: queued.subject.split(' ').next().map(str::to_owned),
            attempts: Some(queued.attempts),
            next_try: queued.due_at.map(Timestamp::iso8601),
            error: queued.last_error,
        }
    }
}
