//! Sessions: one account at one audience.

use std::net::IpAddr;
use std::time::Duration;

use crate::account::{AccountNumber, ObjectId};
use crate::application::ApplicationId;
use crate::device::Serial;
use crate::time::Timestamp;
use crate::token::{Token, TokenHash, TokenLength};

/// Where a session is valid. An account has at most one session at each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Audience {
    /// An application (eWeLink).
    Application(ApplicationId),
    /// A touch panel or phone (Fantem).
    Device(Serial),
}

impl Audience {
    /// `application` or `device`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Application(_) => "application",
            Self::Device(_) => "device",
        }
    }

    /// The application's id or the device's serial number.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Application(id) => id.as_str(),
            Self::Device(serial) => serial.as_str(),
        }
    }
}

/// What a dialect promises about its sessions.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// The length of both tokens.
    pub token_length: TokenLength,
    /// How long an access token is valid.
    pub access_lifetime: Duration,
    /// How long a refresh token is valid.
    pub refresh_lifetime: Duration,
    /// For how long a refresh may be repeated by a client that lost the answer; `None` where it may not.
    pub repeatable: Option<Duration>,
}

/// A session that is to begin.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Where it will be valid.
    pub audience: Audience,
    /// What the dialect promises.
    pub terms: Terms,
    /// The program at the other end.
    pub client: Client,
}

/// What is known of the program at the other end.
#[derive(Debug, Clone)]
pub struct Client {
    /// The address that the request came from.
    pub address: IpAddr,
    /// Its version, as it says.
    pub app_version: Option<String>,
    /// Its operating system, as it says.
    pub os: Option<String>,
}

/// A session, as the store keeps it.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its id; every login makes a new one.
    pub id: ObjectId,
    /// Whose it is.
    pub account: AccountNumber,
    /// Where it is valid.
    pub audience: Audience,
    /// The hash of its access token.
    pub access_hash: TokenHash,
    /// When the access token was made.
    pub access_issued_at: Timestamp,
    /// The end of the access token.
    pub access_expires_at: Timestamp,
    /// The hash of its refresh token.
    pub refresh_hash: TokenHash,
    /// The end of the refresh token.
    pub refresh_expires_at: Timestamp,
    /// When the login was.
    pub created_at: Timestamp,
    /// What it was made with. A login that does not say its version or system keeps what the replaced session said.
    pub client: Client,
}

/// A session's two tokens, on their way to its owner.
#[derive(Debug)]
pub struct Tokens {
    /// The access token.
    pub access: Token,
    /// The refresh token.
    pub refresh: Token,
}
