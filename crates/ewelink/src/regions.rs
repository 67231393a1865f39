//! Which region a country belongs to, by its calling code.

/// The table of the public documents: calling code, region.
const TABLE: &str = include_str!("../data/calling-code-regions.csv");

/// The region of a calling code, with or without `+`; `None` for one that is not in the table.
pub(crate) fn of_calling_code(code: &str) -> Option<&'static str> {
    let digits = code.trim().trim_start_matches('+');
    let rows = TABLE.lines().skip(1).filter_map(|line| line.split_once(','));
    rows.into_iter().find_map(|(known, region)| (known == digits).then_some(region))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read() {
        for (code, region) in
            [("86", Some("cn")), ("+86", Some("cn")), ("+1", Some("us")), ("49", Some("eu")), ("", None), ("x", None)]
        {
            assert_eq!(of_calling_code(code), region, "{code:?}");
        }
        for line in TABLE.lines().skip(1) {
            let (code, region) = line.split_once(',').unwrap();
            assert!(code.bytes().all(|b| b.is_ascii_digit()) && ["cn", "as", "eu", "us"].contains(&region), "{line}");
        }
    }
}
