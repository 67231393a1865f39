//! Resource servers.

use account::store::{InsertError, Page};
use account::{ResourceServer, ResourceServerId, StoreError, Timestamp, TokenHash};

use crate::engine::{self, Connection, Record};
use crate::row::{Row, insert_failed};

/// A query of whole resource servers, by the names of their columns: a newer version may have added some.
macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT id, name, secret_hash, previous_hash, previous_until, enabled, created_at FROM resource_servers ", $rest)
    };
}

pub(crate) async fn insert(connection: &mut Connection, server: &ResourceServer) -> Result<(), InsertError> {
    let previous = server.previous.as_ref();
    engine::query(
        "INSERT INTO resource_servers (id, name, secret_hash, previous_hash, previous_until, enabled, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(server.id.as_str())
    .bind(server.name.as_str())
    .bind(server.secret.as_str())
    .bind(previous.map(|(hash, _)| hash.as_str().to_owned()))
    .bind(previous.map(|(_, until)| until.0))
    .bind(i64::from(server.enabled))
    .bind(server.created_at.0)
    .execute(connection)
    .await
    .map_err(insert_failed)?;
    Ok(())
}

pub(crate) async fn find(connection: &mut Connection, id: &ResourceServerId) -> Result<Option<ResourceServer>, StoreError> {
    let query = engine::query(select!("WHERE id = $1")).bind(id.as_str());
    query.fetch_optional(connection).await?.as_ref().map(read).transpose()
}

pub(crate) async fn list(connection: &mut Connection, page: &Page<ResourceServerId>) -> Result<Vec<ResourceServer>, StoreError> {
    let after = page.after.as_ref().map_or("", |after| after.as_str());
    let query = engine::query(select!("WHERE id > $1 ORDER BY id LIMIT $2"));
    let rows = query.bind(after).bind(i64::from(page.limit)).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

pub(crate) async fn rotate(
    connection: &mut Connection,
    id: &ResourceServerId,
    secret: &TokenHash,
    until: Timestamp,
) -> Result<bool, StoreError> {
    let update = "UPDATE resource_servers SET previous_hash = secret_hash, previous_until = $1, secret_hash = $2 WHERE id = $3";
    let update = engine::query(update).bind(until.0).bind(secret.as_str()).bind(id.as_str());
    Ok(update.execute(connection).await? > 0)
}

pub(crate) async fn enable(connection: &mut Connection, id: &ResourceServerId, enabled: bool) -> Result<bool, StoreError> {
    let update = engine::query("UPDATE resource_servers SET enabled = $1 WHERE id = $2");
    let update = update.bind(i64::from(enabled)).bind(id.as_str());
    Ok(update.execute(connection).await? > 0)
}

fn read(row: &Record) -> Result<ResourceServer, StoreError> {
    let row = Row { table: "resource_servers", row };
    let previous = row.get::<Option<String>>("previous_hash")?.zip(row.get::<Option<i64>>("previous_until")?);
    Ok(ResourceServer {
        id: row.parse("id")?,
        name: row.get("name")?,
        secret: TokenHash::from_stored(row.get("secret_hash")?),
        previous: previous.map(|(hash, until)| (TokenHash::from_stored(hash), Timestamp(until))),
        enabled: row.flag("enabled")?,
        created_at: Timestamp(row.get("created_at")?),
    })
}
