//! Whatever is typed into the field for a name: its canonical form is canonical, and the three kinds never collide.
#![no_main]

use account::{Email, Identifier, Phone, UserName};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(identifier) = text.parse::<Identifier>() else { return };
    let canonical = identifier.as_str();
    assert!(!canonical.is_empty() && !canonical.chars().any(char::is_control));
    assert_eq!(canonical.parse::<Identifier>().as_ref(), Ok(&identifier), "a canonical form is its own");
    let masked = identifier.masked().to_string();
    assert!(!masked.chars().any(char::is_control) && masked.contains("***"));

    let kinds = [
        text.parse::<UserName>().map(Identifier::UserName),
        text.parse::<Email>().map(Identifier::Email),
        text.parse::<Phone>().map(Identifier::Phone),
    ];
    for kind in kinds.iter().flatten() {
        // As one of three columns holds it, and as the directory of all regions knows it.
        let written = serde_json::to_string(kind).expect("an identifier is written");
        assert_eq!(&serde_json::from_str::<Identifier>(&written).expect("and read"), kind);
        if kind.registrable().is_ok() {
            assert_eq!(kind.as_str().parse::<Identifier>().as_ref(), Ok(kind), "{text:?}: who registers it logs in with it");
        }
    }
});
