//! The parameters of a login (§2).

use account::{Identifier, PasswordDigest, Phone, Serial};
use wire::Form;

use crate::failure::{Failure, code};
use crate::fields::country_code;

/// A login's parameters, well-formed.
#[derive(Debug)]
pub(crate) struct Parameters {
    /// The device (`uuid`).
    pub device: Serial,
    /// Who logs in.
    pub name: Name,
    pub password: PasswordDigest,
    /// The gateway (`cubeSn`).
    pub gateway: Option<Serial>,
}

/// Who logs in, as far as the parameters tell.
#[derive(Debug, PartialEq)]
pub(crate) enum Name {
    Clear(Identifier),
    /// Only digits, without a country code: a user name of that form, or a phone number that cannot be read.
    MaybePhone(Identifier),
}

impl Parameters {
    /// Reads a login's form: first every parameter's own form (3), then the country code (8005).
    pub fn read(form: &Form) -> Result<Self, Failure> {
        let device = required(form, "uuid")?.parse().map_err(|_| malformed("uuid"))?;
        let user_name = required(form, "username")?;
        let typed: Identifier = user_name.parse().map_err(|_| malformed("username"))?;
        let password = PasswordDigest::parse(required(form, "password")?).map_err(|_| malformed("password"))?;
        let gateway = form.get("cubeSn").map(str::parse).transpose().map_err(|_| malformed("cubeSn"))?;
        check_reserved(form)?;
        let country_code = form.get("countryCode").map(country_code).transpose()?;
        Ok(Self { device, name: name(typed, country_code), password, gateway })
    }
}

fn required<'a>(form: &'a Form, name: &'static str) -> Result<&'a str, Failure> {
    form.get(name).ok_or_else(|| Failure::new(code::PARAMETERS, format!("{name} is missing")))
}

fn malformed(name: &str) -> Failure {
    Failure::new(code::PARAMETERS, format!("{name} is malformed"))
}

/// `devToken` and `expireTime` are reserved: their length is checked, nothing else.
fn check_reserved(form: &Form) -> Result<(), Failure> {
    let length = |name| form.get(name).map_or(0, |value| value.chars().count());
    if !matches!(length("devToken"), 0 | 32) {
        return Err(malformed("devToken"));
    }
    if length("expireTime") > 64 {
        return Err(malformed("expireTime"));
    }
    Ok(())
}

/// A country code turns what looks like a phone number into one; it says nothing about any other name.
pub(crate) fn name(typed: Identifier, country_code: Option<&str>) -> Name {
    match &typed {
        Identifier::UserName(user_name) if user_name.looks_like_phone() => {
            let phone = country_code.and_then(|code| Phone::from_parts(code, user_name.as_str()).ok());
            phone.map_or(Name::MaybePhone(typed), |phone| Name::Clear(Identifier::Phone(phone)))
        }
        _ => Name::Clear(typed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "uuid=touch&username=apilogin&password=e10adc3949ba59abbe56e057f20f883e";

    fn read(form: &str) -> Result<Parameters, Failure> {
        Parameters::read(&Form::parse(form.as_bytes()).unwrap())
    }

    #[test]
    fn lengths() {
        let with = |name: &str, length: usize| read(&format!("{GOOD}&{name}={}", "a".repeat(length))).is_ok();
        for (name, fits, does_not) in [("cubeSn", 64, 65), ("devToken", 32, 31), ("devToken", 0, 33), ("expireTime", 64, 65)] {
            assert!(with(name, fits) && !with(name, does_not), "{name}");
        }
        let name = |length: usize| read(&GOOD.replace("apilogin", &"a".repeat(length))).is_ok();
        assert!(name(1) && name(255) && !name(256));
        let uuid = |length: usize| read(&GOOD.replace("touch", &"a".repeat(length))).is_ok();
        assert!(uuid(1) && uuid(64) && !uuid(65));
        assert!(read(&GOOD.replace("touch", &"%E4%BD%A0".repeat(64))).is_ok(), "lengths count characters");
    }

    #[test]
    fn names() {
        let name = |name: &str, code: &str| read(&format!("{}&countryCode={code}", GOOD.replace("apilogin", name))).unwrap().name;
        let phone = || Name::Clear(Identifier::Phone("+8613123456789".parse().unwrap()));
        assert_eq!(name("13123456789", "%2B86"), phone());
        assert_eq!(name("%2B8613123456789", ""), phone());
        assert_eq!(name("%2B8613123456789", "%2B1"), phone());
        assert!(matches!(name("13123456789", ""), Name::MaybePhone(Identifier::UserName(_))));
        assert!(matches!(name("12345", ""), Name::Clear(Identifier::UserName(_))));
        assert!(matches!(name("apilogin", "%2B86"), Name::Clear(Identifier::UserName(_))));
        assert!(matches!(name("A@Example.com", "%2B86"), Name::Clear(Identifier::Email(e)) if e.as_str() == "a@example.com"));
    }

    #[test]
    fn country_codes() {
        for good in ["+1", "+86", "+1242", "+123456789012345"] {
            assert!(country_code(good).is_ok(), "{good}");
        }
        for bad in ["86", "+", "++1", "+8 6", "+86a", "+1234567890123456", "+８６"] {
            assert!(country_code(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_form_is_read_or_refused(body in "(uuid|username|password|cubeSn|countryCode|[a-z&=%+]|\\PC){0,40}") {
            if let Ok(form) = Form::parse(body.as_bytes())
                && let Ok(parameters) = Parameters::read(&form)
            {
                prop_assert!(parameters.device.as_str().chars().count() <= 64);
            }
        }
    }
}
