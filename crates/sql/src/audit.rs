//! The audit trail.

use account::store::Page;
use account::{AccountNumber, AuditQuery, Entry, ObjectId, StoreError, Timestamp};

use crate::engine::{self, Connection, Record};
use crate::row::Row;

/// Within a transaction. What is there already was written by an earlier try, whose answer was lost; more that is alike may have come since.
pub(crate) async fn append(connection: &mut Connection, entries: &[Entry]) -> Result<(), StoreError> {
    for entry in entries {
        engine::query(
            "INSERT INTO audit (id, at, what, outcome, refused, account, identifier, audience, address, request, times) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
             ON CONFLICT (id) DO UPDATE SET times = excluded.times",
        )
        .bind(entry.id.as_str())
        .bind(entry.at.0)
        .bind(entry.what.as_str())
        .bind(entry.outcome.as_str())
        .bind(i64::from(entry.refused))
        .bind(entry.account.map(|account| account.0))
        .bind(entry.identifier.clone())
        .bind(entry.audience.clone())
        .bind(entry.address.map(|address| address.to_string()))
        .bind(entry.request.clone())
        .bind(entry.times)
        .execute(connection)
        .await?;
    }
    Ok(())
}

pub(crate) async fn list(
    connection: &mut Connection,
    wanted: &AuditQuery,
    page: &Page<ObjectId>,
) -> Result<Vec<Entry>, StoreError> {
    let account = if wanted.account.is_some() { "AND account = $5" } else { "" };
    let query = format!(
        "SELECT id, at, what, outcome, refused, account, identifier, audience, address, request, times FROM audit \
         WHERE id > $1 AND at >= $2 AND LOWER(outcome) LIKE $3 ESCAPE '!' {account} ORDER BY id LIMIT $4"
    );
    let reason = wanted.reason.as_deref().unwrap_or_default();
    let query = engine::query(query)
        .bind(page.after.as_ref().map_or("", |after| after.as_str()).to_owned())
        .bind(wanted.since.map_or(0, |since| since.0))
        .bind(format!("%{}%", reason.replace('!', "!!").replace('%', "!%").replace('_', "!_")))
        .bind(i64::from(page.limit));
    let query = match wanted.account {
        None => query,
        Some(account) => query.bind(account.0),
    };
    query.fetch_all(connection).await?.iter().map(read).collect()
}

fn read(row: &Record) -> Result<Entry, StoreError> {
    let row = Row { table: "audit", row };
    let account: Option<i64> = row.get("account")?;
    let address: Option<String> = row.get("address")?;
    Ok(Entry {
        id: row.parse("id")?,
        at: Timestamp(row.get("at")?),
        what: row.get("what")?,
        outcome: row.get("outcome")?,
        refused: row.flag("refused")?,
        account: account.map(AccountNumber),
        identifier: row.get("identifier")?,
        audience: row.get("audience")?,
        address: address.map(|text| text.parse().map_err(|error| row.wrong("address", &error))).transpose()?,
        request: row.get("request")?,
        times: row.get("times")?,
    })
}
