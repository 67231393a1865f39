//! Devices that log in.

use account::store::{InsertError, Page};
use account::{Audience, Device, EndReason, Guid, Serial, StoreError, Timestamp};

use crate::engine::{self, Connection, EngineError, Record};
use crate::row::{Row, facts, insert_failed};
use crate::session_events::{self, Which};

/// A query of whole devices, by the names of their columns: a newer version may have added some.
macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT serial, guid, kind, app_version, name, facts, registered_at FROM devices ", $rest)
    };
}

const INSERT: &str =
    "INSERT INTO devices (serial, guid, kind, app_version, name, facts, registered_at) VALUES ($1, $2, $3, $4, $5, $6, $7)";
const UPDATE: &str =
    "UPDATE devices SET guid = $2, kind = $3, app_version = $4, name = $5, facts = $6, registered_at = $7 WHERE serial = $1";

pub(crate) async fn insert(connection: &mut Connection, device: &Device) -> Result<(), InsertError> {
    write(connection, INSERT, device).await.map_err(insert_failed).map(drop)
}

pub(crate) async fn put(connection: &mut Connection, device: &Device, now: Timestamp) -> Result<(), InsertError> {
    let mut transaction = connection.begin().await?;
    let older = engine::query_scalar("SELECT guid FROM devices WHERE serial = $1").bind(device.serial.as_str());
    let older: Option<String> = older.fetch_optional(&mut transaction).await?;
    let statement = if older.is_some() { UPDATE } else { INSERT };
    write(&mut transaction, statement, device).await.map_err(insert_failed)?;
    if older.is_some_and(|guid| guid != device.guid.as_str()) {
        session_events::end(
            &mut transaction,
            Which::At(&Audience::Device(device.serial.clone())),
            EndReason::DeviceReplaced,
            now,
        )
        .await?;
    }
    transaction.commit().await?;
    Ok(())
}

async fn write(connection: &mut Connection, statement: &'static str, device: &Device) -> Result<u64, EngineError> {
    let query = engine::query(statement)
        .bind(device.serial.as_str())
        .bind(device.guid.as_str())
        .bind(device.kind.as_str())
        .bind(device.app_version.clone())
        .bind(device.name.clone())
        .bind(facts::write(&device.facts))
        .bind(device.registered_at.0);
    query.execute(connection).await
}

pub(crate) async fn find_by_guid(connection: &mut Connection, guid: &Guid) -> Result<Option<Device>, StoreError> {
    let query = engine::query(select!("WHERE guid = $1")).bind(guid.as_str());
    query.fetch_optional(connection).await?.as_ref().map(read).transpose()
}

pub(crate) async fn rename(connection: &mut Connection, guid: &Guid, name: &str) -> Result<bool, StoreError> {
    for statement in ["UPDATE devices SET name = $1 WHERE guid = $2", "UPDATE gateways SET name = $1 WHERE guid = $2"] {
        let update = engine::query(statement).bind(name).bind(guid.as_str());
        if update.execute(connection).await? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(crate) async fn find(connection: &mut Connection, serial: &Serial) -> Result<Option<Device>, StoreError> {
    let query = engine::query(select!("WHERE serial = $1")).bind(serial.as_str());
    query.fetch_optional(connection).await?.as_ref().map(read).transpose()
}

pub(crate) async fn list(connection: &mut Connection, page: &Page<Serial>) -> Result<Vec<Device>, StoreError> {
    let after = page.after.as_ref().map_or("", |after| after.as_str());
    let query = engine::query(select!("WHERE serial > $1 ORDER BY serial LIMIT $2"));
    let rows = query.bind(after).bind(i64::from(page.limit)).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

fn read(row: &Record) -> Result<Device, StoreError> {
    let row = Row { table: "devices", row };
    Ok(Device {
        serial: row.parse("serial")?,
        guid: row.parse("guid")?,
        kind: row.parse("kind")?,
        app_version: row.get("app_version")?,
        name: row.get("name")?,
        facts: facts::read(&row)?,
        registered_at: Timestamp(row.get("registered_at")?),
    })
}
