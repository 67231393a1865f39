//! Versions of apps, as devices report them and gateways demand them.

use std::cmp::Ordering;
use std::str::FromStr;

use crate::text::Malformed;

/// A dotted version with an optional leading `V` or `v`, such as `V2.0.4.15`. Compared number by number; missing parts count as 0, so
/// `2.0` equals `2.0.0` (`fantem`, "Binding at login").
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppVersion {
    text: String,
    parts: Vec<u64>,
}

impl AppVersion {
    /// The version as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for AppVersion {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        const WRONG: Malformed = Malformed("is not a version (dotted numbers, such as V2.0.4.15)");
        if text.len() > 32 {
            return Err(WRONG);
        }
        let numbers = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let part = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten()
        };
        let parts: Option<Vec<u64>> = numbers.split('.').map(part).collect();
        Ok(Self { text: text.to_owned(), parts: parts.ok_or(WRONG)? })
    }
}

impl TryFrom<String> for AppVersion {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl From<AppVersion> for String {
    fn from(version: AppVersion) -> Self {
        version.text
    }
}

impl Ord for AppVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        let length = self.parts.len().max(other.parts.len());
        let padded = |version: &Self| (0..length).map(|i| version.parts.get(i).copied().unwrap_or(0)).collect::<Vec<_>>();
        padded(self).cmp(&padded(other))
    }
}

impl PartialOrd for AppVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for AppVersion {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for AppVersion {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> AppVersion {
        text.parse().unwrap()
    }

    #[test]
    fn numbers_compare_as_numbers() {
        assert!(version("V2.0.4.15") > version("2.0.4.9"));
        assert!(version("10") > version("9.9.9"));
        assert_eq!(version("v2.0"), version("2.0.0"));
        assert!(version("2.0") < version("2.0.0.1"));
        assert_ne!(version("2.0"), version("2.0.0.1"));
    }

    #[test]
    fn a_version_is_kept_as_it_was_written() {
        let longest = "1.".repeat(15) + "10";
        for text in ["V2.0.4.15", "2.0", &longest] {
            assert_eq!(String::from(version(text)), text);
        }
        assert!(format!("{longest}0").parse::<AppVersion>().is_err(), "more than 32 characters");
    }

    #[test]
    fn what_is_not_a_version_does_not_parse() {
        for bad in ["", "v", "1.", ".1", "1..2", "1.a", "-1", "+1", "1 ", "V V1", "99999999999999999999", &"1".repeat(33)] {
            assert!(bad.parse::<AppVersion>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn order_is_that_of_the_padded_numbers(a in prop::collection::vec(0u64..1000, 1..5), b in prop::collection::vec(0u64..1000, 1..5)) {
            let text = |parts: &[u64]| parts.iter().map(u64::to_string).collect::<Vec<_>>().join(".");
            let pad = |parts: &[u64]| { let mut p = parts.to_vec(); p.resize(5, 0); p };
            prop_assert_eq!(version(&text(&a)).cmp(&version(&format!("V{}", text(&b)))), pad(&a).cmp(&pad(&b)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            if let Ok(version) = text.parse::<AppVersion>() {
                prop_assert_eq!(version.as_str(), text);
            }
        }
    }
}
