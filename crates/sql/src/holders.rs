//! Who holds access tokens.

use std::collections::HashMap;
use std::fmt::Write;
use std::hash::Hash;

use account::{Audience, Guid, Holder, StoreError, TokenHash};

use crate::engine::{self, Connection, FromValue, Query, Record, Value};
use crate::row::Row;
use crate::{accounts, sessions};

pub(crate) async fn find(connection: &mut Connection, access: &[TokenHash]) -> Result<Vec<Holder>, StoreError> {
    let hashes = access.iter().map(TokenHash::as_str);
    let sessions = select(connection, sessions::SELECT, "access_hash", hashes).await?;
    complete(connection, &sessions).await
}

pub(crate) async fn find_at(connection: &mut Connection, apikey: &str, audience: &str) -> Result<Vec<Holder>, StoreError> {
    let head = sessions::SELECT;
    let text = format!("{head} WHERE account = (SELECT number FROM accounts WHERE apikey = $1) AND audience = $2");
    let query = engine::query(text).bind(apikey.to_owned()).bind(audience.to_owned());
    let sessions = query.fetch_all(connection).await?;
    complete(connection, &sessions).await
}

/// Adds to sessions whose they are.
async fn complete(connection: &mut Connection, sessions: &[Record]) -> Result<Vec<Holder>, StoreError> {
    let sessions: Vec<_> = sessions.iter().map(sessions::read).collect::<Result<_, _>>()?;
    let numbers: Vec<_> = sessions.iter().map(|session| session.account.0).collect();
    let accounts = select(connection, accounts::SELECT, "number", numbers.iter().copied()).await?;
    let accounts: Vec<_> = accounts.iter().map(accounts::read).collect::<Result<_, _>>()?;
    let accounts: HashMap<_, _> = accounts.into_iter().map(|account| (account.number, account)).collect();
    let serials = sessions.iter().filter_map(|session| match &session.audience {
        Audience::Device(serial) => Some(serial.as_str()),
        Audience::Application(_) => None,
    });
    let devices = select(connection, "SELECT serial AS owner, guid FROM devices", "serial", serials).await?;
    let devices = guids::<String>("devices", &devices)?;
    let gateways = select(connection, "SELECT account AS owner, guid FROM gateways", "account", numbers.iter().copied()).await?;
    let gateways = guids::<i64>("gateways", &gateways)?;
    let holder = |session: account::Session| {
        let account = accounts.get(&session.account)?.clone();
        let device = devices.get(session.audience.id()).and_then(|guids| guids.first()).cloned();
        let device = device.filter(|_| matches!(session.audience, Audience::Device(_)));
        let gateways = gateways.get(&session.account.0).cloned().unwrap_or_default();
        Some(Holder { account, session, device, gateways })
    };
    Ok(sessions.into_iter().filter_map(holder).collect())
}

/// The rows in which a column has one of these values.
async fn select<T: Into<Value> + Clone>(
    connection: &mut Connection,
    head: &str,
    column: &str,
    values: impl Iterator<Item = T>,
) -> Result<Vec<Record>, StoreError> {
    let mut values: Vec<T> = values.collect();
    let Some(last) = values.last().cloned() else { return Ok(Vec::new()) };
    // Few texts, which the engine remembers having planned.
    values.resize(values.len().next_power_of_two(), last);
    let mut text = format!("{head} WHERE {column} IN (");
    for place in 1..=values.len() {
        let comma = if place == 1 { "" } else { ", " };
        write!(text, "{comma}${place}").expect("a text takes any text");
    }
    text.push(')');
    let query = values.into_iter().fold(engine::query(text), Query::bind);
    Ok(query.fetch_all(connection).await?)
}

/// Each owner's guids.
fn guids<O: Eq + Hash + FromValue>(table: &'static str, rows: &[Record]) -> Result<HashMap<O, Vec<Guid>>, StoreError> {
    let mut owned: HashMap<O, Vec<Guid>> = HashMap::new();
    for row in rows {
        let row = Row { table, row };
        owned.entry(row.get("owner")?).or_default().push(row.parse("guid")?);
    }
    Ok(owned)
}
