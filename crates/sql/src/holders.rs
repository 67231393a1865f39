//! Who holds access tokens.

use std::collections::HashSet;
use std::iter;

use account::{Guid, Holder, Malformed, StoreError, TokenHash};

use crate::engine::{self, Connection, Query, Record};
use crate::row::Row;
use crate::{accounts, sessions};

pub(crate) async fn find(connection: &mut Connection, access: &[TokenHash]) -> Result<Vec<Holder>, StoreError> {
    let Some(last) = access.last() else { return Ok(Vec::new()) };
    // Few texts, which the engine remembers having planned.
    let count = access.len().next_power_of_two();
    let places: Vec<_> = (1..=count).map(|place| format!("${place}")).collect();
    let query = select(&format!("SUBSTR(sessions.access_hash, 1, 16) IN ({})", places.join(", ")));
    let hashes = access.iter().chain(iter::repeat(last)).take(count);
    let query = hashes.fold(query, |query, hash| query.bind(sessions::indexed(hash)));
    let mut holders: Vec<_> = query.fetch_all(connection).await?.into_iter().map(read).collect::<Result<_, _>>()?;
    // Another hash may begin the same.
    let asked: HashSet<_> = access.iter().collect();
    holders.retain(|holder| asked.contains(&holder.session.access_hash));
    Ok(holders)
}

pub(crate) async fn find_at(connection: &mut Connection, apikey: &str, audience: &str) -> Result<Vec<Holder>, StoreError> {
    let query = select("accounts.apikey = $1 AND sessions.audience = $2").bind(apikey).bind(audience);
    query.fetch_all(connection).await?.into_iter().map(read).collect()
}

/// A query of sessions with all that belongs to them: one look finds it.
fn select(condition: &str) -> Query {
    engine::query(format!(
        "SELECT {}, {}, \
         (SELECT guid FROM devices WHERE serial = sessions.audience AND sessions.audience_kind = 'device') AS device_guid, \
         (SELECT STRING_AGG(guid, ' ') FROM gateways WHERE gateways.account = sessions.account) AS gateway_guids \
         FROM sessions JOIN accounts ON accounts.number = sessions.account WHERE {condition}",
        sessions::COLUMNS,
        accounts::COLUMNS,
    ))
}

fn read(mut session: Record) -> Result<Holder, StoreError> {
    // The account's first column, and the first of the others.
    let mut account = session.split_off("number")?;
    let guids = account.split_off("device_guid")?;
    let guids = Row { table: "devices and gateways", row: &guids };
    let gateways = guids.get::<Option<String>>("gateway_guids")?.unwrap_or_default();
    let gateways: Result<Vec<Guid>, Malformed> = gateways.split_whitespace().map(str::parse).collect();
    Ok(Holder {
        account: accounts::read(&account)?,
        session: sessions::read(&session)?,
        device: guids.parse_optional("device_guid")?,
        gateways: gateways.map_err(|error| guids.wrong("gateway_guids", &error))?,
    })
}
