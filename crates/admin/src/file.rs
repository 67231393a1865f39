//! Files of accounts, read row by row.

use std::io::{self, BufRead, BufReader, Read};

use crate::command::Format;
use crate::rows::{COLUMNS, NEEDED, Row};

/// The longest line of JSON that is read, in bytes.
const LONGEST_LINE: u64 = 64 * 1024;

/// A row, or why it is none, with the line that it begins on.
pub type Numbered = (i64, Result<Row, String>);

/// The rows of a file, with the lines that they begin on.
pub struct Rows<R> {
    source: Source<R>,
    /// The line of the last row that was read.
    line: i64,
}

enum Source<R> {
    Csv(Box<csv::Reader<R>>, csv::StringRecord),
    Jsonl(BufReader<R>, u64),
}

impl<R: Read> Rows<R> {
    /// Begins to read a file of this form.
    ///
    /// # Errors
    /// When it cannot be read, or the first line of CSV does not name columns of accounts. What stands there is not repeated: where that
    /// line is missing, it is somebody's account.
    pub fn new(file: R, format: Format) -> io::Result<Self> {
        let source = match format {
            Format::Jsonl => Source::Jsonl(BufReader::new(file), 0),
            Format::Csv => {
                let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
                let columns = reader.headers()?.clone();
                check_columns(&columns).map_err(|wrong| io::Error::new(io::ErrorKind::InvalidData, wrong))?;
                Source::Csv(Box::new(reader), columns)
            }
        };
        // The first line of CSV is no row.
        let line = i64::from(matches!(format, Format::Csv));
        Ok(Self { source, line })
    }

    /// How many bytes were read.
    #[must_use]
    pub fn position(&self) -> u64 {
        match &self.source {
            Source::Csv(reader, _) => reader.position().byte(),
            Source::Jsonl(_, position) => *position,
        }
    }

    /// The line of the last row that was read.
    #[must_use]
    pub fn line(&self) -> i64 {
        self.line
    }

    /// The next row with its line, or why it is none; `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next_row(&mut self) -> io::Result<Option<Numbered>> {
        match &mut self.source {
            Source::Csv(reader, columns) => {
                let mut record = csv::StringRecord::new();
                let line = reader.position().line();
                let row = match reader.read_record(&mut record) {
                    Ok(false) => return Ok(None),
                    Ok(true) if record.len() != columns.len() => {
                        Err("has another number of fields than the first line".to_owned())
                    }
                    Ok(true) => record.deserialize(Some(columns)).map_err(|error| csv_problem(&error)),
                    Err(error) if error.is_io_error() => return Err(error.into()),
                    Err(error) => Err(csv_problem(&error)),
                };
                let line = i64::try_from(record.position().map_or(line, csv::Position::line)).unwrap_or(i64::MAX);
                // Lines that end with a lone CR are not counted; but what is gone on with later is told by its line.
                self.line = line.max(self.line + 1);
                Ok(Some((self.line, row)))
            }
            Source::Jsonl(reader, position) => loop {
                let mut text = Vec::new();
                let length = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut text)?;
                if length == 0 {
                    return Ok(None);
                }
                self.line += 1;
                *position += length as u64;
                if length as u64 == LONGEST_LINE && text.last() != Some(&b'\n') {
                    *position += skip_line(reader)?;
                    return Ok(Some((self.line, Err("is longer than 64 KiB".into()))));
                }
                if text.trim_ascii().is_empty() {
                    continue;
                }
                // What serde says may quote a value: only the place is passed on.
                let row = serde_json::from_slice(&text);
                let row = row.map_err(|error| format!("is not an account as JSON (near character {})", error.column()));
                return Ok(Some((self.line, row)));
            },
        }
    }
}

fn check_columns(columns: &csv::StringRecord) -> Result<(), String> {
    if let Some(place) = columns.iter().position(|column| !COLUMNS.contains(&column)) {
        let all = COLUMNS.join(", ");
        return Err(format!("its first line must name columns, separated by commas, but number {} is none of {all}", place + 1));
    }
    match NEEDED.iter().find(|needed| !columns.iter().any(|column| column == **needed)) {
        Some(missing) => Err(format!("its first line does not name the column {missing}")),
        None => Ok(()),
    }
}

/// Words that hold nothing of the row: it may hold a password.
fn csv_problem(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "is not UTF-8".into(),
        csv::ErrorKind::Deserialize { err, .. } => match err.kind() {
            // It names a field of ours; others quote what was read.
            csv::DeserializeErrorKind::Message(message) if message.starts_with("duplicate field") => message.clone(),
            _ => match err.field() {
                Some(field) => format!("field {} cannot be read", field + 1),
                None => "one of the fields cannot be read".into(),
            },
        },
        _ => "cannot be read as CSV".into(),
    }
}

fn skip_line(reader: &mut impl BufRead) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let part = reader.fill_buf()?;
        let (length, ended) = match part.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (part.len(), part.is_empty()),
        };
        reader.consume(length);
        skipped += length as u64;
        if ended {
            return Ok(skipped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with each row of a file.
    fn problems(text: &str, format: Format) -> Vec<(i64, String)> {
        let mut rows = Rows::new(text.as_bytes(), format).unwrap();
        let next = || rows.next_row().unwrap().map(|(line, row)| (line, row.map(drop).err().unwrap_or_default()));
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn what_is_said_of_a_row_holds_nothing_of_it() {
        let shifted = "scheme,verifier,activation,registered_at\nplain,x,hunter2,1\nplain,x,active,hunter2\nplain,x,active,1\n";
        let expected = [(2, "one of the fields cannot be read"), (3, "field 4 cannot be read"), (4, "")];
        assert_eq!(problems(shifted, Format::Csv), expected.map(|(line, problem)| (line, problem.to_owned())));
        for line in [r#"{"scheme":"plain","verifier":"x","activation":"hunter2"}"#, r#"{"hunter2":1}"#, "hunter2"] {
            let said = problems(line, Format::Jsonl);
            assert!(said.len() == 1 && !said[0].1.contains("hunter2") && !said[0].1.is_empty(), "{said:?}");
        }
    }

    #[test]
    fn a_first_line_that_names_no_columns_is_told_at_once() {
        let wrong = |text: &str| Rows::new(text.as_bytes(), Format::Csv).err().map(|error| error.to_string()).unwrap_or_default();
        let said = wrong("plain,hunter2\nplain,x\n");
        assert!(said.contains("number 1 is none of username, email") && !said.contains("hunter2"), "{said}");
        for (first, place) in [("scheme;verifier", 1), ("scheme,verifier,Username", 3)] {
            assert!(wrong(first).contains(&format!("number {place} is none of")), "{first}");
        }
        assert_eq!(wrong("scheme\nplain\n"), "its first line does not name the column verifier");
        assert_eq!(wrong("verifier\nplain\n"), "its first line does not name the column scheme");
        assert_eq!(wrong(&COLUMNS.join(",")), "");
        let row: Row = serde_json::from_str(r#"{"scheme":"plain","verifier":"x","key":"k"}"#).unwrap();
        let mut written = csv::Writer::from_writer(Vec::new());
        written.serialize(row).unwrap();
        let written = String::from_utf8(written.into_inner().unwrap()).unwrap();
        assert_eq!(written.lines().next(), Some(COLUMNS.join(",").as_str()), "all columns that there are");
    }

    #[test]
    fn no_two_rows_have_one_line() {
        let rows = |end: &str| problems(&["scheme,verifier", "plain,x", "plain", "plain,y", ""].join(end), Format::Csv);
        for end in ["\n", "\r\n", "\r"] {
            assert_eq!(rows(end).into_iter().map(|(line, _)| line).collect::<Vec<_>>(), [2, 3, 4], "{end:?}");
        }
    }
}
