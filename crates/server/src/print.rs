//! Answers to operators: JSON for programs, tables for people.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value};

use crate::failure::{Context, Failure};

/// Prints an object or an array of objects: the answer to something that is done by now.
pub(crate) fn answer(value: &Value, json: bool) -> Result<(), Failure> {
    match value {
        value if json => line(format_args!("{value:#}")),
        Value::Array(rows) if rows.is_empty() => line("none"),
        Value::Array(rows) => line(table(rows)),
        Value::Object(object) => line(fields(object)),
        other => line(cell(other)),
    }
}

/// Prints a line, or a text of several. Whoever has read enough of it may go away.
pub(crate) fn line(text: impl Display) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context(|| "it is done, but the answer cannot be printed".to_owned()),
    }
}

fn table(rows: &[Value]) -> Table {
    let mut table = plain();
    if let Some(first) = rows.first().and_then(Value::as_object) {
        table.set_header(first.keys());
    }
    for row in rows.iter().filter_map(Value::as_object) {
        table.add_row(row.values().map(cell));
    }
    table
}

fn fields(object: &Map<String, Value>) -> Table {
    let mut table = plain();
    for (name, value) in object {
        table.add_row([name.clone(), cell(value)]);
    }
    table
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// A value in one cell. Control characters cannot reach the operator's terminal.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        other => other.to_string(),
    }
}
