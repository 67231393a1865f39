//! The fields that every signed call carries (§1), and how a field is read in each profile.

use std::time::Duration;

use account::{Profile, Timestamp};
use serde_json::Value;
use wire::{Object, Query};

use super::failure::Failure;

/// The only version that the documents know, and the lowest that clients are known to send.
const VERSION: i64 = 8;
const OLDEST_VERSION: i64 = 6;

/// From here on, a `ts` counts milliseconds: as seconds it would be the year 5138.
const MILLISECONDS: i64 = 100_000_000_000;

/// A call's body, whose required fields are there.
pub(crate) struct Call(Object);

impl Call {
    /// Reads a body and checks that `ts`, `version`, `nonce` and `required` are there. Not `appid`: without it a call is well-formed
    /// but not authenticated.
    pub fn parse(body: &[u8], required: &[&'static str]) -> Result<Self, Failure> {
        Self::unsigned(Object::parse(body)?, &["nonce", "ts", "version"])?.with(required)
    }

    /// Reads a query, likewise. Its fields are all texts: numbers among them are read as numbers.
    pub fn of_query(query: &Query, required: &[&'static str]) -> Result<Self, Failure> {
        let mut object = Object::of(query);
        for field in ["ts", "version"] {
            if let Some(number) = query.get(field).and_then(|text| text.parse::<i64>().ok()) {
                object.set(field, number.into());
            }
        }
        Self::unsigned(object, &["nonce", "ts", "version"])?.with(required)
    }

    /// Takes the fields of a call that is not signed.
    pub fn unsigned(object: Object, required: &[&'static str]) -> Result<Self, Failure> {
        Self(object).with(required)
    }

    fn with(self, required: &[&'static str]) -> Result<Self, Failure> {
        let missing = required.iter().find(|field| self.get(field).is_none());
        missing.map_or(Ok(()), |field| Err(Failure::Missing(field)))?;
        Ok(self)
    }

    /// The application that calls, if it says so.
    pub fn application(&self) -> Result<&str, Failure> {
        match self.0.get("appid") {
            None => Err(Failure::NoApplication),
            Some(Value::String(id)) => Ok(id),
            Some(_) => Err(Failure::Malformed("appid")),
        }
    }

    /// A field's value; `null` and an empty string count as absent.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| value.as_str() != Some(""))
    }

    /// A field that must be a string of at most `most` characters, without NUL.
    pub fn text(&self, field: &'static str, most: usize) -> Result<Option<&str>, Failure> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(text)) if text.chars().count() <= most && !text.contains('\0') => Ok(Some(text)),
            Some(_) => Err(Failure::Malformed(field)),
        }
    }

    /// A field that apps send for information: what is not a string is ignored, unless the profile is strict.
    pub fn remark(&self, field: &'static str, profile: Profile) -> Result<Option<&str>, Failure> {
        const LONGEST: usize = 255;
        match (self.get(field), profile) {
            (Some(Value::String(_)), _) | (_, Profile::Strict) => self.text(field, LONGEST),
            _ => Ok(None),
        }
    }

    /// A whole number; in the compat profile also as a string.
    fn number(&self, field: &'static str, profile: Profile) -> Result<i64, Failure> {
        let number = match (self.get(field), profile) {
            (Some(Value::Number(number)), _) => number.as_i64(),
            (Some(Value::String(text)), Profile::Compat) => text.parse().ok(),
            _ => None,
        };
        number.ok_or(Failure::Malformed(field))
    }

    /// Checks the form of `nonce`, `ts` and `version`, and returns what tells this call from another.
    pub fn stamp(&self, profile: Profile) -> Result<Stamp, Failure> {
        let version = self.number("version", profile)?;
        let known = match profile {
            Profile::Strict => version == VERSION,
            Profile::Compat => (OLDEST_VERSION..=VERSION).contains(&version),
        };
        if !known {
            return Err(Failure::Malformed("version"));
        }
        let ts = self.number("ts", profile)?;
        if ts < 0 || (profile == Profile::Strict && ts >= MILLISECONDS) {
            return Err(Failure::Malformed("ts"));
        }
        let sent_at = if ts >= MILLISECONDS { ts } else { ts * 1000 };
        Ok(Stamp { nonce: self.nonce(profile)?, sent_at: Timestamp(sent_at) })
    }

    fn nonce(&self, profile: Profile) -> Result<String, Failure> {
        let nonce = match (self.get("nonce"), profile) {
            (Some(Value::String(nonce)), _) => nonce.clone(),
            (Some(Value::Number(nonce)), Profile::Compat) => nonce.to_string(),
            _ => return Err(Failure::Malformed("nonce")),
        };
        let fits = match profile {
            Profile::Strict => nonce.len() == 8 && nonce.bytes().all(|b| b.is_ascii_alphanumeric()),
            Profile::Compat => (4..=16).contains(&nonce.len()) && nonce.bytes().all(|b| b.is_ascii_graphic()),
        };
        if fits { Ok(nonce) } else { Err(Failure::Malformed("nonce")) }
    }
}

/// When a call was sent, as it says, and its nonce.
#[derive(Debug)]
pub(crate) struct Stamp {
    pub nonce: String,
    pub sent_at: Timestamp,
}

impl Stamp {
    /// Whether the caller's clock is within `skew` of `now`.
    pub fn is_current(&self, now: Timestamp, skew: Duration) -> bool {
        (now.minus(skew)..=now.plus(skew)).contains(&self.sent_at)
    }

    /// What may reach the password check only once.
    pub fn once(&self) -> String {
        format!("{} {}", self.sent_at.0, self.nonce)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn stamp(nonce: &Value, ts: &Value, version: &Value, profile: Profile) -> Option<(String, i64)> {
        let body = json!({"nonce": nonce, "ts": ts, "version": version}).to_string();
        let stamp = Call::parse(body.as_bytes(), &[]).ok()?.stamp(profile).ok()?;
        Some((stamp.nonce, stamp.sent_at.0))
    }

    #[test]
    fn compat_reads_what_real_clients_send() {
        let compat = |nonce: Value, ts: Value, version: Value| stamp(&nonce, &ts, &version, Profile::Compat);
        let read = Some(("q3wz95p6".to_owned(), 1_558_004_249_000));
        assert_eq!(compat(json!("q3wz95p6"), json!(1_558_004_249), json!(8)), read);
        assert_eq!(compat(json!("q3wz95p6"), json!("1558004249"), json!("8")), read);
        assert_eq!(compat(json!("q3wz95p6"), json!(1_558_004_249_000_i64), json!("6")), read);
        for nonce in [json!(12345678), json!("abcd"), json!("a+b/c=d"), json!("0123456789abcdef")] {
            assert!(compat(nonce.clone(), json!(1), json!(6)).is_some(), "{nonce}");
        }
        for nonce in
            [json!("abc"), json!("0123456789abcdefg"), json!("a b c d"), json!(true), json!(["abcd"]), json!("abcd\u{0}")]
        {
            assert!(compat(nonce.clone(), json!(1), json!(8)).is_none(), "{nonce}");
        }
        for ts in [json!(-1), json!(1.5), json!("x"), json!("9223372036854775808"), json!(u64::MAX), json!({})] {
            assert!(compat(json!("q3wz95p6"), ts.clone(), json!(8)).is_none(), "{ts}");
        }
        assert_eq!(compat(json!("q3wz95p6"), json!(i64::MAX), json!(8)).unwrap().1, i64::MAX);
        for version in [json!(5), json!(9), json!("v8"), json!(8.5), json!(i64::MIN)] {
            assert!(compat(json!("q3wz95p6"), json!(1), version.clone()).is_none(), "{version}");
        }
    }

    #[test]
    fn strict_wants_what_the_document_says() {
        let strict = |nonce: Value, ts: Value, version: Value| stamp(&nonce, &ts, &version, Profile::Strict).is_some();
        let (nonce, ts, version) = (json!("q3wz95p6"), json!(1_558_004_249), json!(8));
        assert!(strict(nonce.clone(), ts.clone(), version.clone()));
        for bad in [json!("q3wz95p"), json!("q3wz95p66"), json!("q3wz95+/"), json!(12345678)] {
            assert!(!strict(bad.clone(), ts.clone(), version.clone()), "{bad}");
        }
        for bad in [json!("1558004249"), json!(1_558_004_249_000_i64), json!(-1)] {
            assert!(!strict(nonce.clone(), bad.clone(), version.clone()), "{bad}");
        }
        for bad in [json!("8"), json!(6), json!(9)] {
            assert!(!strict(nonce.clone(), ts.clone(), bad.clone()), "{bad}");
        }
    }

    #[test]
    fn the_clock_may_be_off_by_the_skew() {
        let stamp = |ms| Stamp { nonce: String::new(), sent_at: Timestamp(ms) };
        let (now, skew) = (Timestamp(1_000_000), Duration::from_secs(600));
        for (sent_at, current) in [(400_000, true), (1_600_000, true), (399_999, false), (1_600_001, false), (i64::MAX, false)] {
            assert_eq!(stamp(sent_at).is_current(now, skew), current, "{sent_at}");
        }
    }

    proptest! {
        #[test]
        fn any_stamp_is_read_or_refused(nonce in "\\PC{0,20}", ts in any::<i64>(), version in any::<i64>()) {
            for profile in [Profile::Compat, Profile::Strict] {
                if let Some((read, sent_at)) = stamp(&json!(nonce), &json!(ts), &json!(version), profile) {
                    prop_assert_eq!(&read, &nonce);
                    prop_assert!(sent_at >= 0 && (6..=8).contains(&version));
                }
            }
        }
    }
}
