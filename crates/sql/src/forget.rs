//! What is of no more use goes, a little at a time: there can be millions of rows, and whoever writes waits meanwhile.

use account::store::Forget;
use account::{StoreError, Timestamp};

use crate::engine::{self, Connection};

/// How many rows go at once. A login waits for them, and does so twice; a group of refreshes leaves half as many.
pub(crate) const AT_ONCE: u64 = 1000;

/// Rows of a table, told apart by its primary key, that are of no more use once a time has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Old {
    table: &'static str,
    key: &'static str,
    condition: &'static str,
    time: Timestamp,
}

/// All that is of no more use. Whatever happened to sessions must have its number by now: by that, whoever follows sees that something
/// is gone.
pub(crate) fn old(before: &Forget) -> [Old; 10] {
    let Forget { now, old, events, audit } = *before;
    [
        ("nonces", "audience_kind, audience, nonce", "expires_at < $1", now),
        ("spent_tokens", "hash", "expires_at <= $1", now),
        ("lanes", "lane", "forget_at <= $1", now),
        ("messages", "id", "expires_at <= $1", old),
        ("codes", "purpose, address", "expires_at <= $1", old),
        ("links", "account, purpose", "expires_at <= $1", old),
        ("sendings", "id", "sent_at <= $1", old),
        ("addressees", "address", "sent_at <= $1", old),
        ("session_events", "id", "at <= $1 AND sequence IS NOT NULL", events),
        ("audit", "id", "at <= $1", audit),
    ]
    .map(|(table, key, condition, time)| Old { table, key, condition, time })
}

/// Forgets no more than [`AT_ONCE`] rows, and says how many.
pub(crate) async fn part(connection: &mut Connection, old: Old) -> Result<u64, StoreError> {
    let Old { table, key, condition, time } = old;
    // The condition once more: on PostgreSQL, a row may have become of use again meanwhile.
    let some = format!("SELECT {key} FROM {table} WHERE {condition} LIMIT {AT_ONCE}");
    let delete = format!("DELETE FROM {table} WHERE ({key}) IN ({some}) AND {condition}");
    Ok(engine::query(delete).bind(time.0).execute(connection).await?)
}
