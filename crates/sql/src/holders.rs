//! Who holds access tokens.

use std::collections::HashMap;
use std::fmt::Write;

use account::{Audience, Guid, Holder, StoreError, TokenHash};
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Encode, Type};

use crate::row::{Row, failed};
use crate::{accounts, sessions};

pub(crate) async fn find(connection: &mut AnyConnection, access: &[TokenHash]) -> Result<Vec<Holder>, StoreError> {
    let hashes = access.iter().map(TokenHash::as_str);
    let sessions = select(&mut *connection, sessions::SELECT, "access_hash", hashes).await?;
    complete(connection, &sessions).await
}

pub(crate) async fn find_at(connection: &mut AnyConnection, apikey: &str, audience: &str) -> Result<Vec<Holder>, StoreError> {
    let head = sessions::SELECT;
    let text = format!("{head} WHERE account = (SELECT number FROM accounts WHERE apikey = $1) AND audience = $2");
    let query = sqlx::query(AssertSqlSafe(text)).bind(apikey.to_owned()).bind(audience.to_owned());
    let sessions = query.fetch_all(&mut *connection).await.map_err(failed)?;
    complete(connection, &sessions).await
}

/// Adds to sessions whose they are.
async fn complete(connection: &mut AnyConnection, sessions: &[AnyRow]) -> Result<Vec<Holder>, StoreError> {
    let sessions: Vec<_> = sessions.iter().map(sessions::read).collect::<Result<_, _>>()?;
    let numbers: Vec<_> = sessions.iter().map(|session| session.account.0).collect();
    let accounts = select(&mut *connection, accounts::SELECT, "number", numbers.iter().copied()).await?;
    let accounts: Vec<_> = accounts.iter().map(accounts::read).collect::<Result<_, _>>()?;
    let accounts: HashMap<_, _> = accounts.into_iter().map(|account| (account.number, account)).collect();
    let serials = sessions.iter().filter_map(|session| match &session.audience {
        Audience::Device(serial) => Some(serial.as_str()),
        Audience::Application(_) => None,
    });
    let devices = select(&mut *connection, "SELECT serial AS owner, guid FROM devices", "serial", serials).await?;
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
async fn select<'q, T: Encode<'q, Any> + Type<Any> + Clone + 'q>(
    connection: &mut AnyConnection,
    head: &str,
    column: &str,
    values: impl Iterator<Item = T>,
) -> Result<Vec<AnyRow>, StoreError> {
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
    let query: Query<'q, Any, AnyArguments> = sqlx::query(AssertSqlSafe(text));
    let query = values.into_iter().fold(query, Query::bind);
    query.fetch_all(connection).await.map_err(failed)
}

/// Each owner's guids.
fn guids<O>(table: &'static str, rows: &[AnyRow]) -> Result<HashMap<O, Vec<Guid>>, StoreError>
where
    O: Eq + std::hash::Hash + for<'r> sqlx::Decode<'r, Any> + Type<Any>,
{
    let mut owned: HashMap<O, Vec<Guid>> = HashMap::new();
    for row in rows {
        let row = Row { table, row };
        owned.entry(row.get("owner")?).or_default().push(row.parse("guid")?);
    }
    Ok(owned)
}
