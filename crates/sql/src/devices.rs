//! Devices that log in.

use account::store::{InsertError, Page};
use account::{Device, Serial, StoreError, Timestamp};
use sqlx::AnyPool;
use sqlx::any::AnyRow;

use crate::row::{Row, failed, insert_failed};

pub(crate) async fn insert(pool: &AnyPool, device: &Device) -> Result<(), InsertError> {
    sqlx::query("INSERT INTO devices (serial, guid, kind, app_version, registered_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(device.serial.as_str())
        .bind(device.guid.as_str())
        .bind(device.kind.as_str())
        .bind(device.app_version.clone())
        .bind(device.registered_at.0)
        .execute(pool)
        .await
        .map_err(insert_failed)?;
    Ok(())
}

pub(crate) async fn find(pool: &AnyPool, serial: &Serial) -> Result<Option<Device>, StoreError> {
    let query = sqlx::query("SELECT * FROM devices WHERE serial = $1").bind(serial.as_str());
    query.fetch_optional(pool).await.map_err(failed)?.as_ref().map(read).transpose()
}

pub(crate) async fn list(pool: &AnyPool, page: Page<Serial>) -> Result<Vec<Device>, StoreError> {
    let after = page.after.map_or_else(String::new, Into::into);
    let query = sqlx::query("SELECT * FROM devices WHERE serial > $1 ORDER BY serial LIMIT $2");
    let rows = query.bind(after).bind(i64::from(page.limit)).fetch_all(pool).await.map_err(failed)?;
    rows.iter().map(read).collect()
}

fn read(row: &AnyRow) -> Result<Device, StoreError> {
    let row = Row { table: "devices", row };
    Ok(Device {
        serial: row.parse("serial")?,
        guid: row.parse("guid")?,
        kind: row.parse("kind")?,
        app_version: row.get("app_version")?,
        registered_at: Timestamp(row.get("registered_at")?),
    })
}
