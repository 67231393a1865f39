//! Devices that log in, and gateways that are bound to accounts.

use std::str::FromStr;

use crate::account::AccountNumber;
use crate::random::{self, Rng};
use crate::text::{Malformed, plain, text_type};
use crate::time::Timestamp;
use crate::version::AppVersion;

text_type! {
    /// A serial number (`sn`): 1 to 64 characters.
    Serial, |text| plain(text, 64).map(|()| text.to_owned())
}

text_type! {
    /// The id that a device is given at its registration: 32 upper-case hex digits.
    Guid, |text| {
        let hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
        if text.len() == 32 && hex { Ok(text.to_owned()) } else { Err(Malformed("is not a guid (32 upper-case hex digits)")) }
    }
}

impl Guid {
    /// Draws a new id.
    pub fn draw(rng: &dyn Rng) -> Self {
        Self(hex::encode_upper(random::bytes::<16>(rng)))
    }
}

/// Declares an enum of wire names with their conversions.
macro_rules! kinds {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// The name that devices give it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl FromStr for $name {
            type Err = Malformed;

            fn from_str(text: &str) -> Result<Self, Malformed> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(Malformed($what)),
                }
            }
        }
    };
}

kinds! {
    /// What kind of device a person logs in with.
    DeviceKind, "is not a kind of device (oomi_touch, android_phone or ios_phone)" {
        /// A touch panel: logs in together with its gateway.
        Touch = "oomi_touch",
        /// An Android phone.
        AndroidPhone = "android_phone",
        /// An iPhone.
        IosPhone = "ios_phone",
    }
}

kinds! {
    /// What kind of gateway it is.
    GatewayKind, "is not a kind of gateway (oomi_cube or oomi_hub)" {
        /// A cube.
        Cube = "oomi_cube",
        /// A hub.
        Hub = "oomi_hub",
    }
}

/// A touch panel or phone that may log in.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its serial number, by which it logs in (`uuid` of the login call).
    pub serial: Serial,
    /// The id it was given.
    pub guid: Guid,
    /// What it is.
    pub kind: DeviceKind,
    /// The version of its app as it reported it; need not be a version that we can read.
    pub app_version: Option<String>,
    /// When it was registered.
    pub registered_at: Timestamp,
}

/// A gateway: a device that belongs to at most one account.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// Its serial number.
    pub serial: Serial,
    /// The id it was given.
    pub guid: Guid,
    /// What it is.
    pub kind: GatewayKind,
    /// The lowest version of an app that may log in with it.
    pub min_app_version: Option<AppVersion>,
    /// The account it is bound to.
    pub account: Option<AccountNumber>,
    /// When it was registered.
    pub registered_at: Timestamp,
}
