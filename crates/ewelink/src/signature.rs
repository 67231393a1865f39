//! `Authorization: Sign <base64>` (§1).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use wire::Query;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The signature in an `Authorization` header; `None` when it holds none.
pub(crate) fn parse(authorization: &str) -> Option<Vec<u8>> {
    let (scheme, value) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Sign") {
        return None;
    }
    BASE64.decode(value.trim()).ok()
}

/// What a request without a body is signed over: its parameters but `sign` (§1). The general rule sorts them by name, some clients sign
/// them in the order sent.
pub(crate) fn messages(query: &Query) -> [Vec<u8>; 2] {
    let join = |pairs: &[&(String, String)]| {
        let joined: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        joined.join("&").into_bytes()
    };
    let sent: Vec<_> = query.pairs().iter().filter(|(name, _)| name != "sign").collect();
    let mut sorted = sent.clone();
    sorted.sort();
    [join(&sorted), join(&sent)]
}

#[cfg(test)]
mod tests {
    use account::ApplicationSecret;

    use super::*;

    /// The public test vectors (§1).
    #[test]
    fn public_vectors() {
        let secret = ApplicationSecret::parse("OdPuCZ4PkPPi0rVKRVcGmll2NM6vVk0c").unwrap();
        for (body, signature) in [
            (
                r#"{"appid":"McFJj4Noke1mGDZCR1QarGW7P9Ycp0Vr","nonce":"asbsedwq","password":"12345678","phoneNumber":"+8613123456789","ts":1560306258,"version":8}"#,
                "XuOzGxtG50CiF4H3odUfZsvKVl5+qSPzhfLEuUd4eJw=",
            ),
            (
                r#"{"appid": "McFJj4Noke1mGDZCR1QarGW7P9Ycp0Vr", "nonce": "asbsedwq", "password": "12345678", "phoneNumber": "+8613123456789", "ts": 1560306258, "version": 8}"#,
                "XfWcNURxPxpk6Z+6I+WR/j9wHURhvTEK1qa3sAJFNR0=",
            ),
        ] {
            let parsed = parse(&format!("Sign {signature}")).unwrap();
            assert!(secret.signed(body.as_bytes(), &parsed));
            assert!(!secret.signed(format!("{body} ").as_bytes(), &parsed));
            assert!(!secret.signed(body.as_bytes(), &parsed[1..]));
        }
    }

    #[test]
    fn parameters_are_signed_in_both_orders() {
        let query = Query::parse("ts=1&appid=a%2Bb&sign=x&nonce=n").unwrap();
        assert_eq!(messages(&query), [b"appid=a+b&nonce=n&ts=1".to_vec(), b"ts=1&appid=a+b&nonce=n".to_vec()]);
    }

    #[test]
    fn what_is_no_signature() {
        assert_eq!(parse("sign AAEC").unwrap(), [0, 1, 2]);
        assert_eq!(parse("Sign AAE").unwrap(), [0, 1], "padding left out");
        for bad in ["", "Sign", "Bearer AAEC", "Sign *", "SignAAEC", "Sign AA EC"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
