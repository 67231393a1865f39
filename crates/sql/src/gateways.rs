//! Gateways and their binding.

use account::store::{InsertError, Page};
use account::{AccountNumber, AppVersion, Entry, Gateway, Guid, Identity, Serial, SessionChange, StoreError, Timestamp};

use crate::accounts::bump_revision;
use crate::engine::{self, Connection, Record};
use crate::row::{Row, facts, insert_failed};
use crate::{audit, session_events};

/// A query of whole gateways, by the names of their columns: a newer version may have added some.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT serial, guid, kind, ptop_uid, wifi_mac, bluetooth_mac, random_code, name, connect_method, facts, \
             min_app_version, account, registered_at FROM gateways ",
            $rest
        )
    };
}

pub(crate) async fn insert(connection: &mut Connection, gateway: &Gateway) -> Result<(), InsertError> {
    let identity = &gateway.identity;
    engine::query(
        "INSERT INTO gateways (serial, guid, kind, ptop_uid, wifi_mac, bluetooth_mac, random_code, name, connect_method, facts, \
         min_app_version, account, registered_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(gateway.serial.as_str())
    .bind(gateway.guid.as_str())
    .bind(gateway.kind.as_str())
    .bind(identity.ptop_uid.clone())
    .bind(identity.wifi_mac.clone())
    .bind(identity.bluetooth_mac.clone())
    .bind(identity.random_code.clone())
    .bind(gateway.name.clone())
    .bind(gateway.connect_method.clone())
    .bind(facts::write(&gateway.facts))
    .bind(gateway.min_app_version.clone().map(String::from))
    .bind(gateway.account.map(|account| account.0))
    .bind(gateway.registered_at.0)
    .execute(connection)
    .await
    .map_err(insert_failed)?;
    Ok(())
}

pub(crate) async fn put(connection: &mut Connection, gateway: &Gateway) -> Result<(), InsertError> {
    let mut transaction = connection.begin().await?;
    let identity = &gateway.identity;
    let update = engine::query(
        "UPDATE gateways SET kind = $1, ptop_uid = $2, wifi_mac = $3, bluetooth_mac = $4, random_code = $5, name = $6, facts = $7 \
         WHERE guid = $8 AND serial = $9",
    )
    .bind(gateway.kind.as_str())
    .bind(identity.ptop_uid.clone())
    .bind(identity.wifi_mac.clone())
    .bind(identity.bluetooth_mac.clone())
    .bind(identity.random_code.clone())
    .bind(gateway.name.clone())
    .bind(facts::write(&gateway.facts))
    .bind(gateway.guid.as_str())
    .bind(gateway.serial.as_str());
    if update.execute(&mut transaction).await.map_err(insert_failed)? == 0 {
        insert(&mut transaction, gateway).await?;
    }
    transaction.commit().await?;
    Ok(())
}

pub(crate) async fn find_by_guid(connection: &mut Connection, guid: &Guid) -> Result<Option<Gateway>, StoreError> {
    let query = engine::query(select!("WHERE guid = $1")).bind(guid.as_str());
    query.fetch_optional(connection).await?.as_ref().map(read).transpose()
}

pub(crate) async fn alike(connection: &mut Connection, serial: &Serial, identity: &Identity) -> Result<Vec<Gateway>, StoreError> {
    let query = engine::query(select!(
        "WHERE serial = $1 OR ptop_uid = $2 OR wifi_mac = $3 OR bluetooth_mac = $4 OR random_code = $5 \
         ORDER BY serial"
    ))
    .bind(serial.as_str())
    .bind(identity.ptop_uid.clone())
    .bind(identity.wifi_mac.clone())
    .bind(identity.bluetooth_mac.clone())
    .bind(identity.own_random_code().map(str::to_owned));
    query.fetch_all(connection).await?.iter().map(read).collect()
}

pub(crate) async fn set_connect_method(connection: &mut Connection, guid: &Guid, method: &str) -> Result<bool, StoreError> {
    let update = engine::query("UPDATE gateways SET connect_method = $1 WHERE guid = $2").bind(method).bind(guid.as_str());
    Ok(update.execute(connection).await? > 0)
}

pub(crate) async fn find(connection: &mut Connection, serial: &Serial) -> Result<Option<Gateway>, StoreError> {
    let query = engine::query(select!("WHERE serial = $1")).bind(serial.as_str());
    query.fetch_optional(connection).await?.as_ref().map(read).transpose()
}

pub(crate) async fn list(connection: &mut Connection, page: &Page<Serial>) -> Result<Vec<Gateway>, StoreError> {
    let after = page.after.as_ref().map_or("", |after| after.as_str());
    let query = engine::query(select!("WHERE serial > $1 ORDER BY serial LIMIT $2"));
    let rows = query.bind(after).bind(i64::from(page.limit)).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

pub(crate) async fn of_account(connection: &mut Connection, account: AccountNumber) -> Result<Vec<Gateway>, StoreError> {
    let query = engine::query(select!("WHERE account = $1 ORDER BY serial")).bind(account.0);
    query.fetch_all(connection).await?.iter().map(read).collect()
}

pub(crate) async fn set_min_app_version(
    connection: &mut Connection,
    serial: &Serial,
    version: Option<&AppVersion>,
) -> Result<bool, StoreError> {
    let query = engine::query("UPDATE gateways SET min_app_version = $1 WHERE serial = $2");
    let query = query.bind(version.map(|version| version.as_str().to_owned())).bind(serial.as_str());
    Ok(query.execute(connection).await? > 0)
}

pub(crate) async fn bind(
    connection: &mut Connection,
    serial: &Serial,
    account: AccountNumber,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut transaction = connection.begin().await?;
    let bound = bump_revision(&mut transaction, account).await? && bind_free(&mut transaction, serial, account, now).await?;
    if bound {
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(bound)
}

/// Binds the gateway if it is free, and says whether it was. The account's revision was counted up before.
pub(crate) async fn bind_free(
    connection: &mut Connection,
    serial: &Serial,
    account: AccountNumber,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let update = engine::query("UPDATE gateways SET account = $1 WHERE serial = $2 AND account IS NULL");
    let done = update.bind(account.0).bind(serial.as_str()).execute(connection).await?;
    let bound = done > 0;
    if bound {
        session_events::note_gateway(connection, account, SessionChange::GatewayGained, now).await?;
    }
    Ok(bound)
}

pub(crate) async fn rebind(
    connection: &mut Connection,
    serial: &Serial,
    from: AccountNumber,
    to: AccountNumber,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut transaction = connection.begin().await?;
    // In the order of their numbers, so that two such moves never wait for each other.
    let (first, second) = if from <= to { (from, to) } else { (to, from) };
    let there = bump_revision(&mut transaction, first).await? & bump_revision(&mut transaction, second).await?;
    let update = engine::query("UPDATE gateways SET account = $1 WHERE serial = $2 AND account = $3");
    let update = update.bind(to.0).bind(serial.as_str()).bind(from.0);
    if there && update.execute(&mut transaction).await? > 0 {
        session_events::note_gateway(&mut transaction, from, SessionChange::GatewayLost, now).await?;
        session_events::note_gateway(&mut transaction, to, SessionChange::GatewayGained, now).await?;
        transaction.commit().await?;
        Ok(true)
    } else {
        transaction.rollback().await?;
        Ok(false)
    }
}

pub(crate) async fn unbind(
    connection: &mut Connection,
    serial: &Serial,
    account: Option<AccountNumber>,
    now: Timestamp,
    entry: &[Entry],
) -> Result<bool, StoreError> {
    let mut transaction = connection.begin().await?;
    let owner = engine::query_scalar("SELECT account FROM gateways WHERE serial = $1 AND account IS NOT NULL");
    let owner: Option<i64> = owner.bind(serial.as_str()).fetch_optional(&mut transaction).await?;
    let Some(owner) = owner.filter(|owner| account.is_none_or(|account| account.0 == *owner)) else { return Ok(false) };
    bump_revision(&mut transaction, AccountNumber(owner)).await?;
    let update = engine::query("UPDATE gateways SET account = NULL WHERE serial = $1 AND account = $2");
    let done = update.bind(serial.as_str()).bind(owner).execute(&mut transaction).await?;
    let unbound = done > 0;
    if unbound {
        session_events::note_gateway(&mut transaction, AccountNumber(owner), SessionChange::GatewayLost, now).await?;
        audit::append(&mut transaction, entry).await?;
    }
    transaction.commit().await?;
    Ok(unbound)
}

fn read(row: &Record) -> Result<Gateway, StoreError> {
    let row = Row { table: "gateways", row };
    Ok(Gateway {
        serial: row.parse("serial")?,
        guid: row.parse("guid")?,
        kind: row.parse("kind")?,
        identity: Identity {
            ptop_uid: row.get("ptop_uid")?,
            wifi_mac: row.get("wifi_mac")?,
            bluetooth_mac: row.get("bluetooth_mac")?,
            random_code: row.get("random_code")?,
        },
        name: row.get("name")?,
        connect_method: row.get("connect_method")?,
        facts: facts::read(&row)?,
        min_app_version: row.parse_optional("min_app_version")?,
        account: row.get::<Option<i64>>("account")?.map(AccountNumber),
        registered_at: Timestamp(row.get("registered_at")?),
    })
}
