//! Files of accounts, as CSV and as lines of JSON: every row has its line, what is read is read again, and nothing that is said of a row
//! tells its password.
#![no_main]

use account::Region;
use admin::{Format, Row, Rows};
use fuzz::choose;
use libfuzzer_sys::fuzz_target;

/// What the seeds have as passwords.
const SECRET: &str = "hunter2";

fuzz_target!(|data: &[u8]| {
    let Some((format, file)) = choose(&[Format::Csv, Format::Jsonl], data) else { return };
    let regions: [Region; 2] = ["cn", "eu"].map(|name| name.parse().expect("a region"));
    let Ok(mut rows) = Rows::new(file, *format) else { return };
    let lines = i64::try_from(file.split(|byte| matches!(byte, b'\n' | b'\r')).count()).expect("so many lines");
    let (mut last, mut count) = (0, 0);
    while let Some((line, row)) = rows.next_row().expect("a file in memory") {
        assert!((last + 1..=lines).contains(&line), "line {line} after {last} of {lines}");
        (last, count) = (line, count + 1);
        assert!(rows.position() <= file.len() as u64);
        let refused = match row.and_then(|row| check(&row, &regions)) {
            Ok(()) => continue,
            Err(reason) => reason,
        };
        assert!(!refused.contains(SECRET), "{refused}");
        assert!(!refused.chars().any(char::is_control), "{refused:?}");
    }
    assert!(count <= lines);
});

fn check(row: &Row, regions: &[Region]) -> Result<(), String> {
    let written = serde_json::to_vec(row).expect("a row is written");
    let again = Rows::new(&written[..], Format::Jsonl).and_then(|mut rows| rows.next_row()).expect("a file in memory");
    let (line, again) = again.expect("one row");
    let again = again.expect("what was read is read again");
    assert_eq!((line, serde_json::to_vec(&again).ok()), (1, Some(written)));
    row.newcomer(regions).map(drop)
}
