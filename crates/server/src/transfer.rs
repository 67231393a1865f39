//! Files of accounts: read and written where the command line is, in parts that the server works off.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use admin::{AccountCommand, Batch, BatchOutcome, Command, Format, ImportFile, Outcome, Row};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::failure::{Context, Failure};
use crate::operate::Executor;
use crate::progress;

/// How many rows travel at once, and are registered in one transaction.
const ROWS: usize = 100;

/// The longest line that is read, in bytes.
const LONGEST_LINE: u64 = 64 * 1024;

/// Reads a file of accounts and has them registered.
pub(crate) async fn import(executor: &Executor<'_>, wish: &ImportFile) -> Result<Value, Failure> {
    let format = format(&wish.file, wish.format)?;
    let source = fingerprint(&wish.file)?;
    let done: Value =
        executor.run(command(AccountCommand::ImportedUpTo { source: source.clone() })).await?.map_err(Failure::from)?;
    let done = if wish.dry_run { 0 } else { done.as_i64().unwrap_or(0) };
    let mut report = Report::new(wish.refused.as_deref())?;
    let mut rows = Rows::open(&wish.file, format)?;
    let size = fs::metadata(&wish.file).context(|| format!("cannot read {}", wish.file.display()))?.len();
    let bar = progress::bar(size);
    let (mut batch, mut imported, mut read) = (Vec::new(), 0, 0_u64);
    loop {
        let next = rows.next_row()?;
        let ended = next.is_none();
        if let Some((line, row)) = next {
            read += 1;
            match row {
                _ if line <= done => {}
                Ok(row) => batch.push((line, row)),
                Err(reason) => report.refuse(line, &reason)?,
            }
        }
        if batch.len() == ROWS || (ended && !batch.is_empty()) {
            let (taken, refused) = send(executor, &source, rows.line, std::mem::take(&mut batch), wish.dry_run).await?;
            imported += taken;
            for (line, reason) in refused {
                report.refuse(line, &reason)?;
            }
            bar.set_position(rows.position());
            bar.set_message(format!("{imported} accounts, {} refused", report.refused));
        }
        if ended {
            break;
        }
    }
    bar.finish_and_clear();
    report.finish()?;
    let resumed = (done > 0).then_some(done);
    Ok(json!({
        "dry_run": wish.dry_run, "imported": imported, "refused": report.refused, "rows": read, "resumed_after_line": resumed,
    }))
}

/// Has a batch registered; while the server is busy with logins, waits as long as it says.
async fn send(
    executor: &Executor<'_>,
    source: &str,
    line: i64,
    rows: Vec<(i64, Row)>,
    dry_run: bool,
) -> Result<(u64, Vec<(i64, String)>), Failure> {
    loop {
        let batch = Batch { source: source.to_owned(), line, rows: rows.clone(), dry_run };
        let outcome: Outcome = executor.run(command(AccountCommand::ImportBatch(batch))).await?;
        let answer = serde_json::from_value(outcome.map_err(Failure::from)?);
        match answer.context(|| "the running server does not answer as it should".to_owned())? {
            BatchOutcome::Done { imported, refused } => return Ok((imported, refused)),
            BatchOutcome::Busy { milliseconds } => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
        }
    }
}

fn command(command: AccountCommand) -> Command {
    Command::Account(command)
}

fn format(file: &Path, given: Option<Format>) -> Result<Format, Failure> {
    let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    match (given, ending) {
        (Some(format), _) => Ok(format),
        (None, "csv") => Ok(Format::Csv),
        (None, "jsonl" | "ndjson") => Ok(Format::Jsonl),
        (None, _) => {
            Err(format!("{} ends in neither .csv nor .jsonl: name its form with --format csv or --format jsonl", file.display())
                .into())
        }
    }
}

/// Tells a file from any other, also from itself after a change.
fn fingerprint(path: &Path) -> Result<String, Failure> {
    let failed = || format!("cannot read {}", path.display());
    let mut file = BufReader::new(File::open(path).context(failed)?);
    let mut hash = Sha256::new();
    loop {
        let part = file.fill_buf().context(failed)?;
        if part.is_empty() {
            return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(part);
        let length = part.len();
        file.consume(length);
    }
}

/// A row, or why it is none, with the line that it begins on.
type Numbered = (i64, Result<Row, String>);

/// The rows of a file, with the lines that they begin on.
struct Rows {
    source: Source,
    /// The line of the last row that was read.
    line: i64,
}

enum Source {
    Csv(Box<csv::Reader<File>>, csv::StringRecord),
    Jsonl(BufReader<File>, u64),
}

impl Rows {
    fn open(path: &Path, format: Format) -> Result<Self, Failure> {
        let failed = || format!("cannot read {}", path.display());
        let file = File::open(path).context(failed)?;
        let source = match format {
            Format::Jsonl => Source::Jsonl(BufReader::new(file), 0),
            Format::Csv => {
                let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
                let columns = reader.headers().context(failed)?.clone();
                Source::Csv(Box::new(reader), columns)
            }
        };
        Ok(Self { source, line: 0 })
    }

    /// How many bytes were read.
    fn position(&self) -> u64 {
        match &self.source {
            Source::Csv(reader, _) => reader.position().byte(),
            Source::Jsonl(_, position) => *position,
        }
    }

    /// The next row with its line, or why it is none; `None` at the end.
    fn next_row(&mut self) -> Result<Option<Numbered>, Failure> {
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
                    Err(error) if error.is_io_error() => return Err(Failure::new(format!("cannot read the file: {error}"))),
                    Err(error) => Err(csv_problem(&error)),
                };
                self.line = i64::try_from(record.position().map_or(line, csv::Position::line)).unwrap_or(i64::MAX);
                Ok(Some((self.line, row)))
            }
            Source::Jsonl(reader, position) => loop {
                let mut text = Vec::new();
                let length = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut text);
                let length = length.context(|| "cannot read the file".to_owned())?;
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

/// Words that hold nothing of the row: it may hold a password.
fn csv_problem(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "is not UTF-8".into(),
        csv::ErrorKind::Deserialize { err, .. } => match err.kind() {
            csv::DeserializeErrorKind::Message(message) => message.clone(),
            _ => format!("field {} cannot be read", err.field().map_or(0, |field| field + 1)),
        },
        _ => "cannot be read as CSV".into(),
    }
}

fn skip_line(reader: &mut impl BufRead) -> Result<u64, Failure> {
    let mut skipped = 0;
    loop {
        let part = reader.fill_buf().context(|| "cannot read the file".to_owned())?;
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

/// Where refused rows are told.
struct Report {
    file: Option<BufWriter<File>>,
    refused: u64,
}

impl Report {
    fn new(path: Option<&Path>) -> Result<Self, Failure> {
        let create = |path: &Path| File::create(path).context(|| format!("cannot write {}", path.display()));
        Ok(Self { file: path.map(create).transpose()?.map(BufWriter::new), refused: 0 })
    }

    fn refuse(&mut self, line: i64, reason: &str) -> Result<(), Failure> {
        self.refused += 1;
        match &mut self.file {
            Some(file) => {
                writeln!(file, "{}", json!({ "line": line, "reason": reason })).context(|| "cannot write the report".to_owned())
            }
            None => {
                eprintln!("line {line}: {reason}");
                Ok(())
            }
        }
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.file.as_mut().map_or(Ok(()), BufWriter::flush).context(|| "cannot write the report".to_owned())
    }
}

/// Writes all accounts to a new file that only its owner can read.
pub(crate) async fn export(executor: &Executor<'_>, path: &Path, given: Option<Format>) -> Result<Value, Failure> {
    let failed = || format!("cannot write {}", path.display());
    let format = format(path, given)?;
    let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).context(failed)?;
    let mut writer = Writer::new(BufWriter::new(file), format);
    let (mut after, mut exported) = (None, 0_u64);
    loop {
        let page = executor.run(command(AccountCommand::ExportPage { after })).await?.map_err(Failure::from)?;
        let page: Vec<(i64, Row)> =
            serde_json::from_value(page).context(|| "the running server does not answer as it should".to_owned())?;
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        for (_, row) in &page {
            writer.write(row).context(failed)?;
            exported += 1;
        }
    }
    writer.finish().context(failed)?;
    Ok(json!({ "exported": exported, "file": path.display().to_string() }))
}

enum Writer {
    Csv(Box<csv::Writer<BufWriter<File>>>),
    Jsonl(BufWriter<File>),
}

impl Writer {
    fn new(file: BufWriter<File>, format: Format) -> Self {
        match format {
            Format::Csv => Self::Csv(Box::new(csv::Writer::from_writer(file))),
            Format::Jsonl => Self::Jsonl(file),
        }
    }

    fn write(&mut self, row: &Row) -> io::Result<()> {
        match self {
            Self::Csv(writer) => writer.serialize(row).map_err(io::Error::other),
            Self::Jsonl(file) => {
                serde_json::to_writer(&mut *file, row)?;
                file.write_all(b"\n")
            }
        }
    }

    /// Durable before it is said to be done.
    fn finish(self) -> io::Result<()> {
        let file = match self {
            Self::Csv(writer) => writer.into_inner().map_err(|error| io::Error::other(error.to_string()))?,
            Self::Jsonl(file) => file,
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}
