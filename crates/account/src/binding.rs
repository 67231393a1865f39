//! Which gateway a login binds, and which one sets the lowest app version (`fantem`, "Binding at login").

use crate::account::AccountNumber;
use crate::device::{Device, Gateway};
use crate::login::LoginError;
use crate::version::AppVersion;

/// What a login from a device does about gateways.
#[derive(Debug)]
pub(crate) struct Binding<'a> {
    /// The gateway that sets the lowest app version.
    pub governing: &'a Gateway,
    /// Whether it is to be bound to the account.
    pub bind: bool,
}

/// Decides on the gateway that the device named and the ones that the account has. A login never takes a gateway from anyone.
pub(crate) fn decide<'a>(
    account: AccountNumber,
    named: Option<&'a Gateway>,
    own: &'a [Gateway],
) -> Result<Binding<'a>, LoginError> {
    match (named, own) {
        (_, [_, _, ..]) => Err(LoginError::SeveralGateways),
        (Some(named), [_]) => Ok(Binding { governing: named, bind: false }),
        (None, [own]) => Ok(Binding { governing: own, bind: false }),
        (Some(named), []) => match named.account {
            None => Ok(Binding { governing: named, bind: true }),
            Some(owner) if owner == account => Ok(Binding { governing: named, bind: false }),
            Some(_) => Err(LoginError::GatewayTaken),
        },
        (None, []) => Err(LoginError::NoGateway),
    }
}

/// Checks the device's app against the lowest version that `gateway` allows. An app whose version cannot be read passes only where
/// there is none.
pub(crate) fn check_version(device: &Device, gateway: &Gateway) -> Result<(), LoginError> {
    let Some(lowest) = &gateway.min_app_version else { return Ok(()) };
    let version: Option<AppVersion> = device.app_version.as_deref().and_then(|text| text.parse().ok());
    match version {
        Some(version) if version >= *lowest => Ok(()),
        _ => Err(LoginError::AppTooOld),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{DeviceKind, Facts, GatewayKind, Guid, Identity};
    use crate::random::SystemRng;
    use crate::time::Timestamp;

    const ME: AccountNumber = AccountNumber(1);
    const OTHER: AccountNumber = AccountNumber(2);

    fn gateway(serial: &str, account: Option<AccountNumber>) -> Gateway {
        Gateway {
            serial: serial.parse().unwrap(),
            guid: Guid::draw(&SystemRng),
            kind: GatewayKind::Cube,
            identity: Identity::default(),
            name: None,
            connect_method: None,
            facts: Facts::new(),
            min_app_version: None,
            account,
            registered_at: Timestamp(0),
        }
    }

    fn outcome(named: Option<&Gateway>, own: &[Gateway]) -> String {
        match decide(ME, named, own) {
            Ok(binding) => format!("{} {}", binding.governing.serial, if binding.bind { "bind" } else { "keep" }),
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn every_rule() {
        let (free, mine, theirs) = (gateway("A", None), gateway("B", Some(ME)), gateway("C", Some(OTHER)));
        let (one, two) = ([mine.clone()], [mine.clone(), gateway("D", Some(ME))]);
        assert_eq!(outcome(Some(&free), &[]), "A bind");
        assert_eq!(outcome(Some(&mine), &one), "B keep");
        assert_eq!(outcome(Some(&mine), &[]), "B keep", "was given away between two looks at it: nothing is taken from anyone");
        assert_eq!(outcome(Some(&theirs), &[]), "GatewayTaken");
        assert_eq!(outcome(Some(&free), &one), "A keep", "has a different one: no binding, and the named one governs");
        assert_eq!(outcome(Some(&theirs), &one), "C keep");
        assert_eq!(outcome(None, &one), "B keep");
        assert_eq!(outcome(None, &[]), "NoGateway");
        assert_eq!(outcome(None, &two), "SeveralGateways");
        assert_eq!(outcome(Some(&mine), &two), "SeveralGateways");
    }

    #[test]
    fn lowest_version() {
        let device = |version: Option<&str>| Device {
            serial: "touch".parse().unwrap(),
            guid: Guid::draw(&SystemRng),
            kind: DeviceKind::Touch,
            app_version: version.map(Into::into),
            name: None,
            facts: Facts::new(),
            registered_at: Timestamp(0),
        };
        let gateway =
            |lowest: Option<&str>| Gateway { min_app_version: lowest.map(|v| v.parse().unwrap()), ..gateway("A", None) };
        for (version, lowest, passes) in [
            (None, None, true),
            (Some("beta"), None, true),
            (None, Some("1"), false),
            (Some("beta"), Some("1"), false),
            (Some("V2.0.4.15"), Some("2.0.4.15"), true),
            (Some("V2.0.4.9"), Some("2.0.4.15"), false),
            (Some("2"), Some("v2.0.0"), true),
        ] {
            assert_eq!(check_version(&device(version), &gateway(lowest)).is_ok(), passes, "{version:?} {lowest:?}");
        }
    }
}
