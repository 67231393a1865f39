//! Files of accounts: read and written where the command line is, in parts that the server works off.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use admin::{AccountCommand, Batch, BatchOutcome, Command, Format, ImportFile, Outcome, Row, Rows};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::failure::{Context, Failure};
use crate::operate::Executor;
use crate::progress;

/// How many rows travel at once, and are registered in one transaction.
const ROWS: usize = 100;

/// Reads a file of accounts and has them registered.
pub(crate) async fn import(executor: &Executor<'_>, wish: &ImportFile) -> Result<Value, Failure> {
    let format = format(&wish.file, wish.format)?;
    let source = fingerprint(&wish.file)?;
    let done: Value =
        executor.run(command(AccountCommand::ImportedUpTo { source: source.clone() })).await?.map_err(Failure::from)?;
    let done = if wish.dry_run { 0 } else { done.as_i64().unwrap_or(0) };
    let mut report = Report::new(wish, done > 0)?;
    let unreadable = || format!("cannot read {}", wish.file.display());
    let mut rows = File::open(&wish.file).and_then(|file| Rows::new(file, format)).context(unreadable)?;
    let size = fs::metadata(&wish.file).context(unreadable)?.len();
    let bar = progress::bar(size);
    let (mut batch, mut imported, mut read) = (Vec::new(), 0, 0_u64);
    loop {
        let next = rows.next_row().context(unreadable)?;
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
            let (taken, refused) = send(executor, &source, rows.line(), std::mem::take(&mut batch), wish.dry_run).await?;
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

/// Whether both are names of one file.
fn is_same(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    matches!((file(one), file(other)), (Ok(one), Ok(other)) if one == other)
}

/// Where refused rows are told.
struct Report {
    file: Option<BufWriter<File>>,
    refused: u64,
}

impl Report {
    /// A new one, or more of the one that an import has begun which goes on.
    fn new(wish: &ImportFile, goes_on: bool) -> Result<Self, Failure> {
        let Some(path) = &wish.refused else { return Ok(Self { file: None, refused: 0 }) };
        if is_same(path, &wish.file) {
            return Err(format!("{} is what is to be imported: name another file with --refused", path.display()).into());
        }
        let opened = OpenOptions::new().create(true).write(true).append(goes_on).truncate(!goes_on).open(path);
        let file = opened.context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { file: Some(BufWriter::new(file)), refused: 0 })
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
