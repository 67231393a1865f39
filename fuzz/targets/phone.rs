//! Phone numbers, whole and in two parts: one canonical form, from which both parts can be taken.
#![no_main]

use account::{Identifier, Phone};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // In two parts where there is a space.
    let phone = match text.split_once(' ') {
        Some((code, national)) => Phone::from_parts(code, national),
        None => text.parse::<Phone>(),
    };
    let Ok(phone) = phone else { return };
    let canonical = phone.as_str();
    assert!(canonical.starts_with('+') && canonical[1..].bytes().all(|digit| digit.is_ascii_digit()), "{canonical}");
    assert_eq!(canonical.parse::<Phone>().as_ref(), Ok(&phone));
    assert_eq!(canonical[1..].parse::<Phone>().as_ref(), Ok(&phone), "the + may be left out");
    if let Some(code) = phone.country_code() {
        assert_eq!(format!("{code}{}", phone.national()), canonical);
        assert_eq!(Phone::from_parts(&code, phone.national()).as_ref(), Ok(&phone));
    }
    if Identifier::Phone(phone.clone()).registrable().is_ok() {
        assert!((8..=16).contains(&canonical.len()), "{canonical}");
    }
});
