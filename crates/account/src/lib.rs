//! Hearthgate's core: what an account, session, device, gateway, application and region is, and every decision about them.
//!
//! Nothing here knows HTTP or SQL, and no dialect's codes. The core owns the ports that it needs ([`Store`], [`PasswordHasher`],
//! [`Clock`], [`Rng`]); other crates implement them. Documents are cited as `ewelink-v8` and `fantem` (`docs/dialects/`).

mod account;
mod application;
mod binding;
mod code;
mod core;
mod device;
mod directory;
mod enrolment;
mod hasher;
mod identifier;
mod import;
mod language;
mod link;
mod login;
mod master_key;
mod message;
mod operator;
mod outbox;
mod password;
mod password_change;
mod random;
mod refresh;
mod region;
mod register;
mod sealed_stream;
mod session;
pub mod store;
mod text;
mod time;
mod token;
mod token_check;
mod version;

pub use crate::account::{Account, AccountNumber, Activation, ApiKey, Date, Details, ObjectId, Standing};
pub use crate::application::{Application, ApplicationId, ApplicationSecret, Profile};
pub use crate::code::{CodeError, CodeWanted, Limit, ProvenCode, Purpose, SendError, Sending, StoredCode};
pub use crate::core::{AuthenticateError, Authenticated, Core, Ports};
pub use crate::device::{Device, DeviceKind, Facts, Gateway, GatewayKind, Guid, Identity, Serial};
pub use crate::directory::{Directory, DirectoryKey, MoveError};
pub use crate::enrolment::{BindError, EnrolError, Kind, Report};
pub use crate::hasher::{HashError, PasswordHasher, Verdict};
pub use crate::identifier::{Email, Identifier, Masked, Phone, UserName};
pub use crate::import::{ImportError, KeptPassword, Newcomer, Refused};
pub use crate::language::Language;
pub use crate::link::{Activated, Link, LinkError, LinkForm, LinkPurpose};
pub use crate::login::{Caller, Credential, LoggedIn, Login, LoginError};
pub use crate::master_key::{MasterKey, Sealed};
pub use crate::message::{Address, Confidential, DeliveryError, Message, Notice, Notifier, Queued};
pub use crate::operator::{NewAccount, OperatorError};
pub use crate::outbox::Delivery;
pub use crate::password::{Candidate, Password, PasswordDigest, Scheme, Verifier};
pub use crate::password_change::{ChangeError, Reset, ResetError, ResetProof};
pub use crate::random::{Rng, SystemRng, alphanumeric};
pub use crate::refresh::{Refresh, RefreshError, Refreshed, SpentToken};
pub use crate::region::Region;
pub use crate::register::{RegisterError, Registered, Registration, RegistrationProof};
pub use crate::sealed_stream::OpenStreamError;
pub use crate::session::{Audience, Client, Opening, Session, Terms, Tokens};
pub use crate::store::{Store, StoreError};
pub use crate::text::Malformed;
pub use crate::time::{Clock, SystemClock, Timestamp};
pub use crate::token::{Token, TokenHash, TokenLength};
pub use crate::token_check::{CloseError, TokenError};
pub use crate::version::AppVersion;
