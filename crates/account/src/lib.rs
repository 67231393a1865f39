//! Hearthgate's core: what an account, session, device, gateway, application and region is, and every decision about them.
//!
//! Nothing here knows HTTP or SQL, and no dialect's codes. The core owns the ports that it needs ([`Store`], [`PasswordHasher`],
//! [`Clock`], [`Rng`]); other crates implement them. Documents are cited as `ewelink-v8` and `fantem` (`docs/dialects/`).

mod account;
mod application;
mod binding;
mod core;
mod device;
mod hasher;
mod identifier;
mod login;
mod master_key;
mod operator;
mod password;
mod random;
mod region;
mod session;
pub mod store;
mod text;
mod time;
mod token;
mod version;

pub use crate::account::{Account, AccountNumber, Activation, ApiKey, Date, Details, ObjectId, Standing};
pub use crate::application::{Application, ApplicationId, ApplicationSecret, Profile};
pub use crate::core::{AuthenticateError, Authenticated, Core};
pub use crate::device::{Device, DeviceKind, Gateway, GatewayKind, Guid, Serial};
pub use crate::hasher::{HashError, PasswordHasher, Verdict};
pub use crate::identifier::{Email, Identifier, Masked, Phone, UserName};
pub use crate::login::{Caller, LoggedIn, Login, LoginError};
pub use crate::master_key::{MasterKey, Sealed};
pub use crate::operator::{NewAccount, OperatorError};
pub use crate::password::{Password, PasswordDigest, Verifier};
pub use crate::random::{Rng, SystemRng, alphanumeric};
pub use crate::region::Region;
pub use crate::session::{Audience, Client, Session, Terms, Tokens};
pub use crate::store::{Store, StoreError};
pub use crate::text::Malformed;
pub use crate::time::{Clock, SystemClock, Timestamp};
pub use crate::token::{Token, TokenHash, TokenLength};
pub use crate::version::AppVersion;
