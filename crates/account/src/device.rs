//! Devices that log in, and gateways that are bound to accounts.

use std::collections::BTreeMap;
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

/// What a device reports of itself that decides nothing: its maker, model, system and the like, by the names it uses.
pub type Facts = BTreeMap<String, String>;

/// What a gateway is recognised by, besides its serial number. A gateway that an operator registered has none of it until it
/// registers itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its id on the peer-to-peer network.
    pub ptop_uid: Option<String>,
    /// The hardware address of its Wi-Fi.
    pub wifi_mac: Option<String>,
    /// The hardware address of its Bluetooth.
    pub bluetooth_mac: Option<String>,
    /// Its random code. The factory's default, which many have, tells it from nobody.
    pub random_code: Option<String>,
}

impl Identity {
    /// The factory's default code (`fantem` §5).
    pub const DEFAULT_RANDOM_CODE: &str = "RD000000";

    /// Its random code, if that is its own.
    #[must_use]
    pub fn own_random_code(&self) -> Option<&str> {
        self.random_code.as_deref().filter(|code| *code != Self::DEFAULT_RANDOM_CODE)
    }

    /// Its parts, in a fixed order.
    #[must_use]
    pub fn parts(&self) -> [Option<&str>; 4] {
        [&self.ptop_uid, &self.wifi_mac, &self.bluetooth_mac, &self.random_code].map(Option::as_deref)
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
    /// What its owner calls it.
    pub name: Option<String>,
    /// What else it reported.
    pub facts: Facts,
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
    /// What it is recognised by.
    pub identity: Identity,
    /// What its owner calls it.
    pub name: Option<String>,
    /// How it can be reached on the peer-to-peer network: `v1` or `v2`.
    pub connect_method: Option<String>,
    /// What else it reported.
    pub facts: Facts,
    /// The lowest version of an app that may log in with it.
    pub min_app_version: Option<AppVersion>,
    /// The account it is bound to.
    pub account: Option<AccountNumber>,
    /// When it was registered.
    pub registered_at: Timestamp,
}

impl Gateway {
    /// Whether this is the gateway with that serial number and identity. What is not known of it yet fits anything.
    #[must_use]
    pub fn is(&self, serial: &Serial, identity: &Identity) -> bool {
        let fits = |(known, reported): (Option<&str>, Option<&str>)| known.is_none() || known == reported;
        self.serial == *serial && self.identity.parts().into_iter().zip(identity.parts()).all(fits)
    }
}
