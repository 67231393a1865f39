//! Regions: where an account is registered.

use crate::text::{Malformed, text_type};

text_type! {
    /// The name of a region, such as `cn` or `eu`: 1 to 16 lower-case letters, digits and hyphens. eWeLink clients build host names
    /// from it.
    Region, |text| {
        let fits = (1..=16).contains(&text.len());
        let letters = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits && letters { Ok(text.to_owned()) } else { Err(Malformed("is not a region (1 to 16 of a-z, 0-9 and -)")) }
    }
}
