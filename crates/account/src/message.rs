//! Messages to people, and the port that delivers them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::account::ObjectId;
use crate::code::Purpose;
use crate::identifier::{Email, Identifier, Phone};
use crate::language::Language;
use crate::master_key::Sealed;
use crate::text::Malformed;
use crate::time::Timestamp;

/// Where a message can be sent: an identifier that is also an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Address {
    /// An e-mail address: by mail.
    Email(Email),
    /// A phone number: by SMS.
    Phone(Phone),
}

impl Address {
    /// The canonical text. An e-mail address holds an `@`, a phone number never does.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Email(email) => email.as_str(),
            Self::Phone(phone) => phone.as_str(),
        }
    }

    /// The identifier that it is.
    #[must_use]
    pub fn identifier(&self) -> Identifier {
        match self {
            Self::Email(email) => Identifier::Email(email.clone()),
            Self::Phone(phone) => Identifier::Phone(phone.clone()),
        }
    }
}

impl TryFrom<Identifier> for Address {
    type Error = Malformed;

    fn try_from(identifier: Identifier) -> Result<Self, Malformed> {
        match identifier {
            Identifier::Email(email) => Ok(Self::Email(email)),
            Identifier::Phone(phone) => Ok(Self::Phone(phone)),
            Identifier::UserName(_) => Err(Malformed("is neither an e-mail address nor a phone number")),
        }
    }
}

/// A code or link on its way to its owner. Never printed; written only into a sealed message.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Confidential(pub String);

impl fmt::Debug for Confidential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// What a message says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// A code, and what it is for.
    Code {
        /// What it is for.
        purpose: Purpose,
        /// The six digits.
        code: Confidential,
        /// How long it is valid.
        lifetime: Duration,
    },
    /// A link that activates an account.
    Activation {
        /// The whole link.
        url: Confidential,
        /// How long it is valid.
        lifetime: Duration,
    },
    /// A link to set a new password.
    Reset {
        /// The whole link.
        url: Confidential,
        /// How long it is valid.
        lifetime: Duration,
    },
    /// The account's password was changed.
    PasswordChanged {
        /// When.
        at: Timestamp,
    },
    /// An operator tries whether messages arrive.
    Test,
}

/// A message to a person.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Message {
    /// Where it goes.
    pub to: Address,
    /// The language it is written in.
    pub language: Language,
    /// What it says.
    pub notice: Notice,
}

/// A message that waits to be delivered, as the store keeps it.
#[derive(Debug, Clone)]
pub struct Queued {
    /// Its id.
    pub id: ObjectId,
    /// What it is about; a newer message about the same takes its place.
    pub subject: String,
    /// The [`Message`], sealed: it holds a code or a link.
    pub sealed: Sealed,
    /// When it was written.
    pub created_at: Timestamp,
    /// From when on it is of no use.
    pub expires_at: Timestamp,
    /// When to try next; `None` when it was given up.
    pub due_at: Option<Timestamp>,
    /// How often it was tried.
    pub attempts: i64,
    /// What went wrong the last time.
    pub last_error: Option<String>,
}

/// Why a message was not delivered: words for the operator, which hold nothing of the message.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the message was not sent: {0}")]
pub struct DeliveryError(pub String);

/// The port to whatever delivers messages.
#[async_trait::async_trait]
pub trait Notifier: Send + Sync {
    /// Delivers a message, within a time of its own. `id` tells the message from others, also when it is tried again.
    ///
    /// # Errors
    /// [`DeliveryError`].
    async fn deliver(&self, id: &ObjectId, message: &Message) -> Result<(), DeliveryError>;

    /// Tells whoever works the queue off that there is something in it.
    fn wake(&self);
}
