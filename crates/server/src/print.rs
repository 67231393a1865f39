//! Answers to operators: JSON for programs, tables for people.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value};

/// Prints an object or an array of objects.
pub(crate) fn answer(value: &Value, json: bool) {
    if json {
        println!("{value:#}");
        return;
    }
    match value {
        Value::Array(rows) if rows.is_empty() => println!("none"),
        Value::Array(rows) => println!("{}", table(rows)),
        Value::Object(object) => println!("{}", fields(object)),
        other => println!("{}", cell(other)),
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
