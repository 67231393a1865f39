//! Identifiers: what a person types to log in, each in one canonical form.
//!
//! Anything can be looked up: a name that nobody could have registered is simply nobody's. What may be *registered* is narrower
//! ([`Identifier::registrable`]), so that the three kinds never collide.

use std::fmt;
use std::str::FromStr;

use crate::text::{Malformed, plain, text_type};

/// The longest identifier, in characters (`fantem`: `username` is `String(255)`).
const LONGEST: usize = 255;

text_type! {
    /// A user name: case-sensitive, 1 to 255 characters.
    UserName, |text| plain(text, LONGEST).map(|()| text.to_owned())
}

text_type! {
    /// An e-mail address in lower case; addresses are compared without regard to case (`fantem` §1, `ewelink-v8` §2).
    Email, |text| {
        // `İ` becomes two characters.
        let canonical = text.to_lowercase();
        plain(&canonical, LONGEST)?;
        if canonical.contains('@') { Ok(canonical) } else { Err(Malformed("is not an e-mail address")) }
    }
}

text_type! {
    /// A phone number in E.164: `+8613123456789`. Written without its `+`, it is read as if it had one.
    Phone, |text| {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let all_digits = digits.bytes().all(|b| b.is_ascii_digit());
        if all_digits && (4..=32).contains(&digits.len()) {
            Ok(e164(format!("+{digits}")))
        } else {
            Err(Malformed("is not a phone number"))
        }
    }
}

/// The shortest and the longest phone number that anybody can have, in characters, with the `+`.
const SHORTEST_E164: usize = 8;
const LONGEST_E164: usize = 16;

/// Takes a national prefix out (`+4407911123456` is `+447911123456`), as far as the number belongs to a known plan.
fn e164(number: String) -> String {
    if number.len() <= SHORTEST_E164 {
        return number;
    }
    match phonenumber::parse(None, &number) {
        Ok(parsed) => {
            let canonical = parsed.format().mode(phonenumber::Mode::E164).to_string();
            // Each round takes something away, so this ends. What would become shorter than any number is none: it stays as it is.
            if (SHORTEST_E164..number.len()).contains(&canonical.len()) { e164(canonical) } else { number }
        }
        Err(_) => number,
    }
}

impl Email {
    /// Whether mail could be sent to it. Anything with an `@` can be looked up, only this can be registered.
    #[must_use]
    pub fn is_address(&self) -> bool {
        email_address::EmailAddress::is_valid(&self.0)
    }
}

impl Phone {
    /// A phone number in two parts, as Fantem clients send it: `+86` and `13123456789`.
    ///
    /// # Errors
    /// [`Malformed`] unless both are digits, the country code behind a `+`.
    pub fn from_parts(country_code: &str, national: &str) -> Result<Self, Malformed> {
        let code = country_code.strip_prefix('+').ok_or(Malformed("has a country code without +"))?;
        if national.starts_with('+') {
            return Err(Malformed("is not a national number"));
        }
        format!("+{code}{national}").parse()
    }

    /// Whether anybody could have it. Any digits can be looked up, only this can be registered.
    #[must_use]
    pub fn is_number(&self) -> bool {
        (SHORTEST_E164..=LONGEST_E164).contains(&self.0.len()) && self.country_code().is_some()
    }

    /// Whether the plan of its country has such a number.
    #[must_use]
    pub fn is_in_its_plan(&self) -> bool {
        phonenumber::parse(None, &self.0).is_ok_and(|parsed| parsed.is_valid())
    }

    /// The country code, such as `+86`. `None` for a number in no known plan, which cannot be registered.
    #[must_use]
    pub fn country_code(&self) -> Option<String> {
        let parsed = phonenumber::parse(None, &self.0).ok()?;
        Some(format!("+{}", parsed.code().value()))
    }

    /// The number without its country code: `13123456789`.
    #[must_use]
    pub fn national(&self) -> &str {
        let code = self.country_code().map_or(1, |code| code.len());
        self.0.get(code..).unwrap_or_default()
    }
}

impl UserName {
    /// Whether it could be taken for a phone number without a country code: 6 to 15 digits and nothing else.
    #[must_use]
    pub fn looks_like_phone(&self) -> bool {
        (6..=15).contains(&self.0.len()) && self.0.bytes().all(|b| b.is_ascii_digit())
    }
}

/// One of an account's identifiers, or what somebody takes for one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identifier {
    /// A user name.
    UserName(UserName),
    /// An e-mail address.
    Email(Email),
    /// A phone number.
    Phone(Phone),
}

impl Identifier {
    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::UserName(name) => name.as_str(),
            Self::Email(email) => email.as_str(),
            Self::Phone(phone) => phone.as_str(),
        }
    }

    /// Checks that this may be given to a new account: a working address, a number of a known plan, a user name that cannot be
    /// taken for either.
    ///
    /// # Errors
    /// [`Malformed`] with the rule that is broken.
    pub fn registrable(&self) -> Result<(), Malformed> {
        match self {
            Self::UserName(name) if name.as_str().contains('@') => Err(Malformed("holds an @, like an e-mail address")),
            Self::UserName(name) if name.looks_like_phone() || name.as_str().starts_with('+') => {
                Err(Malformed("looks like a phone number (6 to 15 digits, or a leading +)"))
            }
            Self::UserName(name) if name.as_str().trim() != name.as_str() => Err(Malformed("begins or ends with a space")),
            Self::Email(email) if !email.is_address() => Err(Malformed("is not an e-mail address")),
            Self::Phone(phone) if !phone.is_number() => {
                Err(Malformed("is not a phone number with its country code (such as +8613123456789)"))
            }
            _ => Ok(()),
        }
    }

    /// Enough to recognise it by, too little to use it: for the log.
    #[must_use]
    pub fn masked(&self) -> Masked<'_> {
        Masked(self)
    }
}

/// Reads what a person typed into one field: with an `@` it is an e-mail address, with a leading `+` and digits a phone number, else
/// a user name.
impl FromStr for Identifier {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.contains('@') {
            return text.parse().map(Self::Email);
        }
        match text.strip_prefix('+').map(|_| text.parse()) {
            Some(Ok(phone)) => Ok(Self::Phone(phone)),
            _ => text.parse().map(Self::UserName),
        }
    }
}

/// [`Identifier::masked`]: `a***@e***.com`, `+86***89`, `a***`. Holds no control characters, and gives away no password that was typed
/// into the wrong field.
#[derive(Debug)]
pub struct Masked<'a>(&'a Identifier);

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.as_str();
        let first = |text: &str| text.chars().next().filter(|c| c.is_alphanumeric()).unwrap_or('*');
        match self.0 {
            Identifier::UserName(_) => write!(f, "{}***", first(text)),
            Identifier::Phone(_) => write!(f, "{}***{}", &text[..3], &text[text.len() - 2..]),
            Identifier::Email(_) => {
                let domain = text.rsplit('@').next().unwrap_or_default();
                write!(f, "{}***@{}***", first(text), first(domain))?;
                let top = domain.rsplit_once('.').map(|(_, top)| top);
                let known = top.filter(|top| top.len() <= 4 && top.bytes().all(|b| b.is_ascii_alphabetic()));
                known.map_or(Ok(()), |top| write!(f, ".{top}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identifier(text: &str) -> Identifier {
        text.parse().unwrap()
    }

    #[test]
    fn both_forms_of_a_phone_number_are_one() {
        let whole: Phone = "+8613123456789".parse().unwrap();
        assert_eq!(Phone::from_parts("+86", "13123456789").unwrap(), whole);
        assert_eq!("8613123456789".parse::<Phone>().unwrap(), whole);
        assert_eq!((whole.country_code().unwrap().as_str(), whole.national()), ("+86", "13123456789"));
    }

    #[test]
    fn a_national_prefix_does_not_make_another_number() {
        assert_eq!(Phone::from_parts("+44", "07911123456").unwrap().as_str(), "+447911123456");
        assert_eq!(Phone::from_parts("+39", "0612345678").unwrap().as_str(), "+390612345678", "Italy keeps its zero");
    }

    #[test]
    fn what_was_typed_tells_its_kind() {
        assert!(matches!(identifier("Anna@Example.COM"), Identifier::Email(e) if e.as_str() == "anna@example.com"));
        assert!(matches!(identifier("+8613123456789"), Identifier::Phone(_)));
        assert!(matches!(identifier("13123456789"), Identifier::UserName(_)));
        assert!(matches!(identifier("+anna"), Identifier::UserName(_)));
        assert!("".parse::<Identifier>().is_err());
        assert!("a\0".parse::<Identifier>().is_err());
        assert!("a".repeat(256).parse::<Identifier>().is_err());
        assert!(("İ".repeat(127) + "@").parse::<Identifier>().is_ok());
        assert!(("İ".repeat(128) + "@").parse::<Identifier>().is_err(), "longer in its canonical form");
    }

    #[test]
    fn only_names_that_cannot_be_mistaken_are_registered() {
        for good in ["apilogin", "12345", "1234567890123456", "安娜", "anna@example.com", "+8613123456789"] {
            assert!(identifier(good).registrable().is_ok(), "{good}");
        }
        for bad in [
            "123456",
            "123456789012345",
            "@",
            "anna@",
            "+999123",
            "+99912345678",
            "+86131",
            "+861312345678901234",
            " anna",
            "+anna",
        ] {
            assert!(identifier(bad).registrable().is_err(), "{bad}");
        }
        for name in ["+8613123456789", "anna@example.com", "anna@home"] {
            let name = Identifier::UserName(name.parse().unwrap());
            assert!(name.registrable().is_err(), "a user name that is something else: {}", name.as_str());
        }
    }

    #[test]
    fn a_plan_knows_which_numbers_there_are() {
        let is_in_its_plan = |number: &str| number.parse::<Phone>().unwrap().is_in_its_plan();
        assert!(is_in_its_plan("+8613123456789"));
        assert!(!is_in_its_plan("+8600000000000"), "nobody's");
        assert!(!is_in_its_plan("+99912345678"), "no country's");
    }

    #[test]
    fn the_mask_hides() {
        assert_eq!(identifier("anna@example.com").masked().to_string(), "a***@e***.com");
        assert_eq!(identifier("+8613123456789").masked().to_string(), "+86***89");
        assert_eq!(identifier("apilogin").masked().to_string(), "a***");
        assert_eq!(identifier("\u{202e}evil@x\u{202e}y").masked().to_string(), "****@x***");
        assert_eq!(identifier("p@ssw0rd").masked().to_string(), "p***@s***", "a password in the wrong field");
    }

    proptest! {
        #[test]
        fn canonical_forms_are_canonical(text in "(\\PC{1,40}|\\+?[0-9]{1,20}|[A-Za-z0-9.]{1,10}@[A-Za-z0-9]{1,10}\\.[a-z]{2,3})") {
            if let Ok(first) = text.parse::<Identifier>() {
                prop_assert_eq!(&first.as_str().parse::<Identifier>().unwrap(), &first);
            }
        }

        #[test]
        fn a_phone_number_is_canonical_and_splits(number in "\\+[1-9][0-9]{3,16}") {
            let phone: Phone = number.parse().unwrap();
            prop_assert_eq!(&phone.as_str().parse::<Phone>().unwrap(), &phone);
            if let Some(code) = phone.country_code() {
                prop_assert_eq!(format!("{code}{}", phone.national()), phone.as_str());
                prop_assert_eq!(&Phone::from_parts(&code, phone.national()).unwrap(), &phone);
            }
        }

        #[test]
        fn the_three_kinds_never_collide(text in "(\\PC{1,20}|\\+?[0-9]{1,17}|[a-z]{1,5}@[a-z]{1,5}\\.com)") {
            let kinds = [
                text.parse().map(Identifier::UserName),
                text.parse().map(Identifier::Email),
                text.strip_prefix('+').ok_or(Malformed("")).and_then(|_| text.parse()).map(Identifier::Phone),
            ];
            let registrable = kinds.iter().flatten().filter(|kind| kind.registrable().is_ok());
            prop_assert!(registrable.count() <= 1, "{text}");
        }
    }
}
